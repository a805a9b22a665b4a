//! Parses raw messages to ticks: shapes A, B and C, and documents of MISO and PJM.

mod documents;
mod miso;
mod pjm;

use anyhow::Context as _;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::avro::Schema;
use crate::kafka::Record;
use crate::numbers::at_scale_8;
use crate::objects::{Object, any, inner, object, string};
use crate::products::{furthest, product};
use crate::times::micros;
use documents::EARLIEST;

const MARKETS: [&str; 7] = ["MISO", "CAISO", "ERCOT", "PJM", "NYISO", "ISONE", "SPP"];
const MEBIBYTE: usize = 1024 * 1024;

/// An expected tick.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Tick {
    pub feed: String,
    pub partition: i32,
    pub offset: i64,
    pub index: i32,
    pub tenant: String,
    pub instrument: String,
    /// The producer's event id. `None` for documents, whose id is a hash that the oracle does not compute.
    pub event_id: Option<String>,
    /// Scale 8.
    pub price: i128,
    pub volume: Option<i128>,
    /// Microseconds since 1970.
    pub time: i64,
    /// End of the interval of a price, if it may be shorter than that of its product; no message that is read here has one.
    pub end: Option<i64>,
    /// The producer's sequence, if it sends one.
    pub sequence: Option<i64>,
    /// `trade`, `da`, `rt5`, …
    pub product: String,
    /// Version or vintage of an interval price, which PJM's documents have.
    pub version: Option<String>,
    /// Whether its document says that it is not the complete set that it belongs to.
    pub is_part: bool,
    /// When the broker appended its message, in microseconds since 1970.
    pub appended: i64,
    /// Whether its message has the id of another event. [`expect`](crate::expect) sets it.
    pub reused_id: bool,
}

/// The content of a valid message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sound {
    /// The event key: tenant, source (or format) and id (or bytes).
    pub id: [Vec<u8>; 3],
    /// The values that must be equal for two messages with one key to be the same event.
    pub facts: String,
    /// Its ticks by index.
    pub ticks: Vec<Tick>,
    /// Rejected rows of a document.
    pub rejected: Vec<i32>,
}

/// The expected code of the dead letter of a whole message.
pub type Refusal = &'static str;

/// Parses messages.
pub struct Parser {
    schema_c: Schema,
    default_tenant: String,
    /// The zone of PJM's local times.
    eastern: TimeZone,
}

impl Parser {
    /// `schema_c` is the text of `raw_market_tick.avsc`.
    pub fn new(schema_c: &str, default_tenant: &str) -> anyhow::Result<Parser> {
        Ok(Parser {
            schema_c: Schema::parse(schema_c)?,
            default_tenant: default_tenant.to_owned(),
            eastern: TimeZone::get("America/New_York").context("read the time zone of PJM")?,
        })
    }

    /// Parses one record of a raw topic.
    pub fn parse(&self, record: &Record) -> Result<Sound, Refusal> {
        let payload = record.payload.as_slice();
        if wide_or_packed(payload) && record.header("dp.format").is_none() {
            return Err("broken_json");
        }
        let avro = match payload {
            [0xC3, 0x01, ..] => payload.get(10..).or(Some(&[])),
            [0x00, ..] => payload.get(5..).or(Some(&[])),
            _ => None,
        };
        if let (None, Some(format)) = (avro, record.header("dp.format")) {
            return documents::parse(self, record, &format);
        }
        if payload.len() > MEBIBYTE {
            return Err("oversize");
        }
        let fields = match avro {
            Some(datum) => from_avro(&self.schema_c.decode(datum).map_err(|_| "invalid_avro")?)?,
            None => {
                let text = std::str::from_utf8(payload).map_err(|_| "broken_json")?;
                from_json(text.strip_prefix('\u{FEFF}').unwrap_or(text))?
            }
        };
        let (source, quote) = (fields.source.trim().to_owned(), fields.quote());
        let tick = fields.checked(record)?;
        let event_id = tick.event_id.clone().unwrap_or_default();
        Ok(Sound {
            id: [tick.tenant.clone(), source, event_id].map(String::into_bytes),
            facts: format!(
                "{:?} {} {} {:?} {quote}",
                tick.instrument, tick.time, tick.price, tick.volume
            ),
            ticks: vec![tick],
            rejected: Vec::new(),
        })
    }
}

// UTF-16 and gzip are recognized by their first bytes.
fn wide_or_packed(payload: &[u8]) -> bool {
    let starts = [
        &[0xFF, 0xFE][..],
        &[0xFE, 0xFF],
        &[0x1F, 0x8B],
        b"{\0",
        b"[\0",
        b"\0{\0",
        b"\0[\0",
    ];
    starts.iter().any(|start| payload.starts_with(start))
}

/// The fields that all three shapes have, as strings.
#[derive(Default)]
struct Fields {
    event_id: String,
    tenant: String,
    market: String,
    instrument: Option<String>,
    time: Option<String>,
    price: Option<String>,
    volume: Option<String>,
    source: String,
    bid: Option<String>,
    ask: Option<String>,
    sequence: Option<String>,
    /// The producer's name for it.
    product: Option<String>,
    /// Other times in the message. They must be valid.
    stated_times: Vec<Option<String>>,
    /// Whether the other required fields of the shape are present and its version is supported.
    complete: bool,
}

impl Fields {
    /// Bid, ask and sequence.
    fn quote(&self) -> String {
        let number = |text: &Option<String>| text.as_deref().and_then(at_scale_8);
        format!("{:?} {:?} {:?}", number(&self.bid), number(&self.ask), self.sequence)
    }

    fn checked(self, record: &Record) -> Result<Tick, Refusal> {
        if !self.complete || self.market.trim().is_empty() || self.source.trim().is_empty() {
            return Err("schema_violation");
        }
        if !MARKETS.contains(&self.market.trim().to_uppercase().as_str()) {
            return Err("unknown_market");
        }
        if self.stated_times.iter().flatten().any(|time| micros(time).is_none()) {
            return Err("invalid_time");
        }
        let trimmed = |text: &str| text.trim().to_owned();
        let instrument = self.instrument.as_deref().map(trimmed);
        let instrument = instrument.filter(|id| !id.is_empty()).ok_or("missing_instrument")?;
        let (event_id, tenant) = (trimmed(&self.event_id), trimmed(&self.tenant));
        let time = micros(&self.time.ok_or("missing_time")?).ok_or("invalid_time")?;
        let price = at_scale_8(&self.price.ok_or("missing_price")?).ok_or("invalid_price")?;
        let volume = self
            .volume
            .map(|text| at_scale_8(&text).ok_or("invalid_number"))
            .transpose()?;
        let sequence = self.sequence.map(|text| text.parse().map_err(|_| "schema_violation"));
        let sequence = sequence.transpose()?;
        for name in [&event_id, &tenant, &instrument] {
            if name.trim().is_empty() || name.len() > 256 || name.contains(|c: char| c == '|' || c.is_control()) {
                return Err("invalid_identifier");
            }
        }
        if time < EARLIEST {
            return Err("time_out_of_range");
        }
        let product = product(self.product.as_deref(), &self.market);
        if time - record.timestamp * 1000 > furthest(self.market.trim(), &product) {
            return Err("future_time");
        }
        if volume.is_some_and(|volume| volume < 0) {
            return Err("negative_volume");
        }
        let (of_id, _) = instrument.split_once('.').unwrap_or_default();
        if (MARKETS.contains(&of_id) || of_id == "GAS") && of_id != self.market.trim().to_uppercase() {
            return Err("schema_violation");
        }
        Ok(Tick {
            feed: record.topic.clone(),
            partition: record.partition,
            offset: record.offset,
            index: 0,
            tenant,
            instrument,
            event_id: Some(event_id),
            price,
            volume,
            time,
            end: None,
            sequence,
            product,
            version: None,
            is_part: false,
            appended: record.timestamp * 1000,
            reused_id: false,
        })
    }
}

fn from_avro(value: &Value) -> Result<Fields, Refusal> {
    let text = |name: &str| match &value[name] {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    // The values are unscaled integers. An exponent restores the decimal point.
    let scaled = |name: &str| text(name).map(|digits| format!("{digits}e-8"));
    Ok(Fields {
        event_id: text("event_id").ok_or("invalid_avro")?,
        tenant: text("tenant_id").ok_or("invalid_avro")?,
        market: text("market").ok_or("invalid_avro")?,
        instrument: text("instrument_id"),
        time: text("timestamp").map(|micros| format!("{micros}us")),
        price: scaled("price"),
        volume: scaled("volume"),
        source: text("source").ok_or("invalid_avro")?,
        bid: scaled("bid"),
        ask: scaled("ask"),
        sequence: text("sequence"),
        product: None,
        stated_times: Vec::new(),
        complete: true,
    })
}

fn from_json(text: &str) -> Result<Fields, Refusal> {
    let value: Value = serde_json::from_str(text).map_err(|_| "broken_json")?;
    if !value.is_object() {
        return Err("schema_violation");
    }
    let top = object(text)?;
    match top.get("envelope") {
        Some(envelope) => shape_a(&object(envelope.get())?, &inner(&top, "payload")?),
        None => shape_b(&top),
    }
}

fn shape_a(envelope: &Object, payload: &Object) -> Result<Fields, Refusal> {
    let required = ["event_type", "event_id", "tenant_id", "source"];
    let raw = inner(payload, "raw_data").unwrap_or_default();
    Ok(Fields {
        event_id: string(envelope, "event_id").unwrap_or_default(),
        tenant: string(envelope, "tenant_id").unwrap_or_default(),
        market: string(payload, "market").unwrap_or_default(),
        instrument: string(payload, "instrument_id"),
        time: any(&raw, &["timestamp", "time"]),
        price: any(&raw, &["price", "last_price", "value"]),
        volume: any(&raw, &["volume"]),
        source: string(envelope, "source").unwrap_or_default(),
        bid: any(&raw, &["bid_price", "bid"]),
        ask: any(&raw, &["ask_price", "ask"]),
        sequence: None,
        product: any(&raw, &["product"]),
        stated_times: vec![any(envelope, &["timestamp"])],
        complete: required
            .iter()
            .all(|name| string(envelope, name).is_some_and(|text| !text.trim().is_empty() || name.ends_with("_id")))
            && any(envelope, &["timestamp"]).is_some()
            && string(envelope, "version").is_some_and(|version| version == "1" || version.starts_with("1."))
            && payload.contains_key("raw_data"),
    })
}

fn shape_b(top: &Object) -> Result<Fields, Refusal> {
    let payload = inner(top, "payload")?;
    let metadata = inner(&payload, "metadata").unwrap_or_default();
    let raw = object(&string(&payload, "raw_payload").ok_or("schema_violation")?)?;
    let stated = [
        string(&metadata, "instrument_id"),
        string(&raw, "instrument_id"),
        string(&payload, "symbol"),
    ];
    Ok(Fields {
        event_id: string(top, "event_id").unwrap_or_default(),
        tenant: string(top, "tenant_id").unwrap_or_default(),
        market: string(&payload, "market").unwrap_or_default(),
        instrument: stated
            .into_iter()
            .flatten()
            .map(|text| text.trim().to_owned())
            .find(|text| !text.is_empty()),
        time: any(&raw, &["timestamp", "time"]).or_else(|| any(top, &["occurred_at"])),
        price: any(&raw, &["price", "last_price", "value"]),
        volume: any(&raw, &["volume"]),
        source: string(top, "producer")
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
            .or_else(|| string(&payload, "source_system"))
            .unwrap_or_default(),
        bid: any(&raw, &["bid_price", "bid"]),
        ask: any(&raw, &["ask_price", "ask"]),
        sequence: any(&payload, &["sequence"]),
        product: any(&raw, &["product"]),
        stated_times: vec![any(top, &["occurred_at"])],
        complete: ["event_id", "tenant_id"].iter().all(|name| string(top, name).is_some())
            && string(top, "schema_version").is_some_and(|version| version == "1" || version.starts_with("1."))
            && string(&payload, "source_system").is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA_C: &str = include_str!("../../../schemas/avro/raw_market_tick.avsc");

    fn parse(payload: &str, format: Option<&str>) -> Result<Sound, Refusal> {
        let record = Record {
            topic: "raw".to_owned(),
            partition: 2,
            offset: 7,
            timestamp: 1_790_000_000_000,
            key: None,
            payload: payload.as_bytes().to_vec(),
            headers: format
                .map(|format| ("dp.format".to_owned(), format.as_bytes().to_vec()))
                .into_iter()
                .collect(),
        };
        Parser::new(SCHEMA_C, "default").unwrap().parse(&record)
    }

    const A: &str = r#"{"envelope":{"event_type":"t","event_id":"e1","timestamp":"2026-01-01T00:00:00Z","tenant_id":"acme","source":"s","version":"1.0"},
        "payload":{"market":"miso","instrument_id":"X","raw_data":{"timestamp":"2026-01-01T00:00:00-05:00","price":31.55,"volume":"2.5"}}}"#;
    const B: &str = r#"{"event_id":"e2","schema_version":"1.0.0","tenant_id":"acme","occurred_at":1767225600000000,"payload":{"source_system":"s",
        "market":"PJM","symbol":" Y ","raw_payload":"{\"last_price\":\"-0.5\"}","encoding":"json","metadata":{}}}"#;

    #[test]
    fn both_json_shapes_are_read() {
        let a = parse(A, None).unwrap().ticks.remove(0);
        assert_eq!(
            (a.price, a.volume, a.time),
            (3_155_000_000, Some(250_000_000), 1_767_243_600_000_000)
        );
        assert_eq!(
            (a.tenant.as_str(), a.instrument.as_str(), a.event_id.as_deref()),
            ("acme", "X", Some("e1"))
        );
        let b = parse(B, None).unwrap().ticks.remove(0);
        assert_eq!((b.price, b.volume, b.time), (-50_000_000, None, 1_767_225_600_000_000));
        assert_eq!((b.instrument.as_str(), b.partition, b.offset, b.index), ("Y", 2, 7, 0));
    }

    #[test]
    fn invalid_messages_have_a_code() {
        for (from, to, code) in [
            ("{\"envelope\"", "\"envelope\"", "broken_json"),
            ("\"event_id\"", "\"id\"", "schema_violation"),
            ("\"1.0\"", "\"2.0\"", "schema_violation"),
            ("miso", "xetra", "unknown_market"),
            ("\"instrument_id\"", "\"id\"", "missing_instrument"),
            ("\"timestamp\":\"2026-01-01T00:00:00-05:00\",", "", "missing_time"),
            ("2026-01-01T00:00:00-05:00", "1970-01-02T00:00:00Z", "time_out_of_range"),
            ("\"price\":31.55,", "", "missing_price"),
            ("2026-01-01T00:00:00-05:00", "2026-12-01T00:00:00Z", "future_time"),
            ("2026-01-01T00:00:00Z", "not a time", "invalid_time"),
            ("\"X\"", "\" \"", "missing_instrument"),
            ("\"source\":\"s\"", "\"source\":\"\"", "schema_violation"),
            ("31.55", "\"n/a\"", "invalid_price"),
            ("\"2.5\"", "-1", "negative_volume"),
            ("\"X\"", "\"PJM.X\"", "schema_violation"),
        ] {
            assert_eq!(parse(&A.replace(from, to), None), Err(code), "{from} -> {to}");
        }
        assert_eq!(parse("[1]", None), Err("schema_violation"));
        assert_eq!(parse("x", Some("spp.da_lmp_sl.csv")), Err("unsupported_format"));
    }

    #[test]
    fn the_product_decides_how_far_ahead_a_price_may_be() {
        // The record is of 2026-09-21T14:13:20Z.
        let at = |market: &str, product: &str, minutes: i64| {
            let b = B.replace("PJM", market).replace(
                "1767225600000000",
                &(1_790_000_000_000_000 + minutes * 60_000_000).to_string(),
            );
            let raw = format!("\\\"product\\\":\\\"{product}\\\",\\\"last_price");
            parse(&b.replace("\\\"last_price", &raw), None).map(|sound| sound.ticks.len())
        };
        for (market, product, minutes) in [
            ("PJM", "rt5", 10),
            ("CAISO", "RT15", 60),
            ("PJM", "day_ahead", 9 * 1440),
        ] {
            assert_eq!(at(market, product, minutes), Ok(1), "{market} {product}");
            assert_eq!(
                at(market, product, minutes + 1),
                Err("future_time"),
                "{market} {product}"
            );
        }
        let document = r#"{"headers":["CPNODE","INTERVAL","LMP","MLC","MCC"],"data":[["A","2026-09-21T09:28:20","1","0","0"],["B","2026-09-21T09:29:20","1","0","0"]]}"#;
        assert_eq!(
            parse(document, Some(miso::REAL_TIME)).map(|sound| sound.rejected),
            Ok(vec![1])
        );
    }

    #[test]
    fn a_miso_document_is_read_by_its_headers_and_its_stamps_are_ends_in_est() {
        let row = |stamp: &str, node: &str, price: &str, loss: &str| {
            format!(r#"["{node}","{stamp}","{price}","{loss}","0"]"#)
        };
        let stamp = "2026-01-01T00:05:00";
        let rows = [
            row(stamp, "A B", "31.55", "0"),
            row("x", "C", "1", "0"),
            row("2026-01-01T00:05:00-05:00", "C", "1", "0"),
            row(stamp, " ", "1", "0"),
            row(stamp, "C", "n/a", "0"),
            row(stamp, "C", "1", "nil"),
            row("1980-01-01T00:05:00", "C", "1", "0"),
            r#"["C","2026-01-01T00:05:00","1","0"]"#.to_owned(),
            "null".to_owned(),
            row("2026-07-01T00:05:00", "D", "-.5", "None"),
        ];
        let document = format!(
            r#"{{"headers":["CPNODE","INTERVAL","LMP","MLC","MCC"],"data":[{}]}}"#,
            rows.join(",")
        );
        let sound = parse(&document, Some(miso::REAL_TIME)).unwrap();
        assert_eq!(sound.rejected, [1, 2, 3, 4, 5, 6, 7, 8]);
        let read: Vec<(&str, i128, i64)> = sound
            .ticks
            .iter()
            .map(|tick| (tick.instrument.as_str(), tick.price, tick.time))
            .collect();
        assert_eq!(
            read,
            [
                ("MISO.A%20B.RT5", 3_155_000_000, 1_767_243_600_000_000),
                ("MISO.D.RT5", -50_000_000, 1_782_882_000_000_000)
            ]
        );
        for (from, to, code) in [
            ("\"MCC\"", "\"MEC\"", "schema_violation"),
            ("]}", "]", "broken_json"),
            ("\"data\"", "\"rows\"", "schema_violation"),
        ] {
            let document = document.replace(from, to);
            assert_eq!(parse(&document, Some(miso::REAL_TIME)), Err(code), "{from} -> {to}");
        }
    }

    const PJM: &str = "datetime_beginning_utc,datetime_beginning_ept,pnode_id,pnode_name,voltage,equipment,type,zone,system_energy_price_rt,\
        total_lmp_rt,congestion_price_rt,marginal_loss_price_rt,row_is_current,version_nbr\r\n\
        11/2/2025 5:00:00 AM,11/2/2025 1:00:00 AM,7,A HUB,,,HUB,,40.000000,43.250000,3.000000,.25,True,2\r\n\
        11/2/2025 6:00:00 AM,11/2/2025 1:00:00 AM,7,UNIT,230 KV,T-10,GEN,PSEG,40,-42.75,,none,False,1\r\n";

    #[test]
    fn a_pjm_document_has_vintages_and_both_passes_of_a_repeated_hour() {
        let sound = parse(PJM, Some(pjm::HOURLY)).unwrap();
        let read: Vec<(&str, i128, i64, Option<&str>)> = sound
            .ticks
            .iter()
            .map(|tick| (tick.instrument.as_str(), tick.price, tick.time, tick.version.as_deref()))
            .collect();
        assert_eq!(
            read,
            [
                (
                    "PJM.A%20HUB.RTH",
                    4_325_000_000,
                    1_762_059_600_000_000,
                    Some("verified.2")
                ),
                (
                    "PJM.UNIT.7.RTH",
                    -4_275_000_000,
                    1_762_063_200_000_000,
                    Some("verified.1.superseded")
                ),
            ]
        );
        assert!(sound.rejected.is_empty());
        let day_ahead = PJM.replace("_rt", "_da");
        let sound = parse(&day_ahead, Some(pjm::DAY_AHEAD)).unwrap();
        assert_eq!(
            sound.ticks.first().map(|tick| tick.instrument.as_str()),
            Some("PJM.A%20HUB.DA")
        );
        let quoted = PJM.replace("A HUB", "\"A HUB\"");
        assert_eq!(parse(&quoted, Some(pjm::HOURLY)).map(|sound| sound.ticks.len()), Ok(2));
    }

    #[test]
    fn a_row_of_pjm_that_cannot_be_read_is_rejected_alone_and_an_unknown_header_refuses_all() {
        for (from, to) in [
            ("43.250000", "None"),
            ("3.000000", "three"),
            (",7,A", ",7a,A"),
            (",7,A HUB", ",7,"),
            (",A HUB", ",\"A HUB"),
            ("True,2", "True,two"),
            ("True,2", "maybe,2"),
            ("True,2", "True"),
            ("True,2", "True,2,x"),
            ("5:00:00 AM,11/2/2025 1", "5:00:00 AM,11/2/2025 12"),
            ("11/2/2025 5:00:00 AM,", ","),
        ] {
            let document = PJM.replacen(from, to, 1);
            assert_ne!(document, PJM);
            let sound = parse(&document, Some(pjm::HOURLY)).unwrap();
            assert_eq!((sound.rejected, sound.ticks.len()), (vec![0], 1), "{from} -> {to}");
        }
        for (from, to, code) in [
            ("pnode_name", "pnode_title", "schema_violation"),
            ("voltage", "pnode_name", "schema_violation"),
            ("datetime_beginning_utc", "<html>", "schema_violation"),
            ("datetime_beginning_utc", "{", "broken_json"),
            ("total_lmp_rt", "total_lmp_da", "schema_violation"),
        ] {
            let document = PJM.replacen(from, to, 1);
            assert_eq!(parse(&document, Some(pjm::HOURLY)), Err(code), "{from} -> {to}");
        }
        assert_eq!(parse("", Some(pjm::HOURLY)), Err("broken_json"));
    }

    const ITEM: &str = r#"{"datetime_beginning_utc":"2025-11-02T05:00:00","datetime_beginning_ept":"2025-11-02T01:00:00","pnode_id":7,
        "pnode_name":"A HUB","voltage":null,"equipment":null,"type":"HUB","zone":null,"system_energy_price_rt":40,"total_lmp_rt":43.250000,
        "congestion_price_rt":3.000000,"marginal_loss_price_rt":0.25,"row_is_current":true,"version_nbr":2}"#;

    #[test]
    fn a_page_of_pjm_has_the_rows_of_the_report_and_says_whether_it_is_all() {
        let of_csv = parse(PJM, Some(pjm::HOURLY)).unwrap().ticks;
        for (document, is_part) in [
            (format!("[{ITEM}]"), false),
            (format!(r#"{{"items":[{ITEM}]}}"#), false),
            (
                format!(r#"{{"items":[{ITEM}],"totalRows":1,"links":[{{"rel":"self","href":"next"}}]}}"#),
                false,
            ),
            (format!(r#"{{"items":[{ITEM}],"totalRows":2}}"#), true),
            (
                format!(r#"{{"links":[{{"rel":"next","href":"x"}}],"items":[{ITEM}],"totalRows":1}}"#),
                true,
            ),
        ] {
            let sound = parse(&document, Some(pjm::HOURLY)).unwrap();
            assert_eq!((sound.ticks.len(), sound.rejected.len()), (1, 0), "{document}");
            let expected = Tick {
                is_part,
                ..of_csv[0].clone()
            };
            assert_eq!(sound.ticks[0], expected, "{document}");
        }
        assert!(of_csv.iter().all(|tick| !tick.is_part));
        assert_eq!(
            parse(r#"{"items":[],"totalRows":0}"#, Some(pjm::HOURLY)).map(|sound| sound.ticks),
            Ok(Vec::new())
        );
    }

    #[test]
    fn an_item_with_other_fields_or_values_is_rejected_alone_and_a_broken_page_as_a_whole() {
        for (from, to) in [
            ("43.250000", "null"),
            ("3.000000", "\"three\""),
            (":7,", ":\"7a\","),
            ("\"A HUB\"", "\" \""),
            ("\"version_nbr\":2", "\"version_nbr\":null"),
            (",\"version_nbr\":2", ""),
            ("\"voltage\"", "\"wattage\""),
            ("2025-11-02T01", "2025-11-02T00"),
            ("2025-11-02T05:00:00", ""),
            (ITEM, "5"),
        ] {
            let document = format!("[{ITEM},{}]", ITEM.replacen(from, to, 1));
            let sound = parse(&document, Some(pjm::HOURLY)).unwrap();
            assert_eq!((sound.rejected, sound.ticks.len()), (vec![1], 1), "{from} -> {to}");
        }
        for (document, code) in [
            (format!(r#"{{"items":[{ITEM}]"#), "broken_json"),
            (format!("[{ITEM}"), "broken_json"),
            (format!(r#"{{"rows":[{ITEM}]}}"#), "schema_violation"),
            (format!("[{}]", ITEM.replace("pnode_name", "node")), "schema_violation"),
            (format!("[{}]", ITEM.replace("_rt", "_da")), "schema_violation"),
        ] {
            assert_eq!(parse(&document, Some(pjm::HOURLY)), Err(code), "{document}");
        }
    }
}
