//! Trades of venues in the form in which they are captured, as messages of shape B: one for each trade.
//!
//! Role: reads Kraken's REST answer, Coinbase's websocket capture and BitMEX's CSV. A trade is identified by venue, instrument and
//! trade id, so identical trades with different ids are different events, and the same trade in two captures is one event within
//! the event window. A numeric id is the sequence that orders trades of the same time.
//! Invariants: prices, sizes and times are passed on as written; times are not changed, so late rows stay late.
//! Failure: a row that cannot be read is returned with its line, and the others are read. So is a last line of a CSV without its line end:
//! a file that is cut in its last number still looks like a trade.

use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// A trade as a raw message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TradeMessage {
    /// Key of the record: trades of an instrument stay in order.
    pub instrument_id: String,
    /// The message.
    pub payload: Vec<u8>,
}

/// A form of captured trades.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capture {
    /// `{"error":[],"result":{"PAIR":[[price, volume, time, side, type, misc, id], …]}}`, with any white space
    Kraken,
    /// Lines `<receive time>: {"type":"match", …}`
    Coinbase,
    /// `exchange,symbol,timestamp,local_timestamp,id,side,price,amount`
    BitMex,
}

const BITMEX_HEADER: &str = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount";

impl Capture {
    /// The form of a file that begins like this.
    pub fn detect(head: &[u8]) -> Option<Capture> {
        let text = String::from_utf8_lossy(head);
        let first = text.trim_start().lines().next().unwrap_or_default().trim_end();
        let is_match = |line: &str| {
            let (received, message) = line.split_once(": ")?;
            let fields = outline(message);
            let has = |name: &str| fields.iter().any(|(field, _)| field == name);
            Some(received.parse::<f64>().is_ok() && has("type") && has("trade_id"))
        };
        if first == BITMEX_HEADER && text.lines().nth(1).is_some_and(|line| line.starts_with("bitmex,")) {
            Some(Capture::BitMex)
        } else if is_match(first) == Some(true) {
            Some(Capture::Coinbase)
        } else if is_answer(&outline(&text)) {
            Some(Capture::Kraken)
        } else {
            None
        }
    }

    /// The venue, as `NORMALIZATION_VENUES` must name it.
    pub fn venue(self) -> &'static str {
        match self {
            Capture::Kraken => "KRAKEN",
            Capture::Coinbase => "COINBASE",
            Capture::BitMex => "BITMEX",
        }
    }

    /// The trades of a capture, and what could not be read, in the order of the file.
    pub fn messages(self, content: &[u8], tenant: &str) -> Vec<Result<TradeMessage, String>> {
        let Ok(text) = std::str::from_utf8(content) else {
            return vec![Err("is not UTF-8".to_owned())];
        };
        let trades = match self {
            Capture::Kraken => kraken(text),
            Capture::Coinbase => lines(text, 0)
                .map(|line| coinbase(line.text).ok_or_else(|| line.unread()))
                .collect(),
            Capture::BitMex => lines(text, 1)
                .map(|line| {
                    let trade = bitmex(line.text).filter(|_| line.has_end);
                    trade.ok_or_else(|| line.unread())
                })
                .collect(),
        };
        let message = |trade: Trade<'_>| self.message(&trade, tenant);
        trades.into_iter().map(|trade| trade.map(message)).collect()
    }

    fn message(self, trade: &Trade<'_>, tenant: &str) -> TradeMessage {
        let venue = self.venue();
        let instrument_id = format!("{venue}.{}", trade.symbol);
        let raw = json!({
            "instrument_id": instrument_id, "price": trade.price, "volume": trade.size, "timestamp": trade.time, "product": "trade"
        });
        let mut payload = json!({
            "event_id": format!("{instrument_id}.{}", trade.id),
            "trace_id": format!("{instrument_id}.{}", trade.id),
            "schema_version": "1.0.0",
            "tenant_id": tenant,
            "producer": "dp-ingest",
            "occurred_at": trade.time,
            "ingested_at": trade.time,
            "payload": {
                "source_system": venue.to_lowercase(), "market": venue, "symbol": trade.symbol, "received_at": trade.time,
                "raw_payload": raw.to_string(), "encoding": "json", "metadata": {"instrument_id": instrument_id}, "retry_count": 0
            }
        });
        if let (Ok(sequence), Some(inner)) = (trade.id.parse::<i64>(), payload.get_mut("payload")) {
            inner["sequence"] = sequence.into();
        }
        TradeMessage {
            instrument_id,
            payload: payload.to_string().into_bytes(),
        }
    }
}

/// Values as written.
struct Trade<'t> {
    symbol: &'t str,
    id: String,
    time: String,
    price: String,
    size: String,
}

/// Whether these are the fields of an answer of Kraken.
fn is_answer(fields: &[(String, char)]) -> bool {
    let has = |name: &str, begins: char| fields.iter().any(|(field, value)| field == name && *value == begins);
    has("error", '[') && has("result", '{')
}

/// The fields of the JSON object that the text begins with, each with the first character of its value. The text may be cut.
fn outline(text: &str) -> Vec<(String, char)> {
    let mut fields = Vec::new();
    let mut rest = text.trim_start().strip_prefix('{');
    while let Some(text) = rest {
        rest = field(text, &mut fields);
    }
    fields
}

/// Adds the field that the text begins with; returns what follows the comma behind it.
fn field<'t>(text: &'t str, fields: &mut Vec<(String, char)>) -> Option<&'t str> {
    let mut names = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let name = names.next()?.ok()?;
    let value = text.get(names.byte_offset()..)?.trim_start().strip_prefix(':')?;
    let value = value.trim_start();
    fields.push((name, value.chars().next()?));
    let mut values = serde_json::Deserializer::from_str(value).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    value.get(values.byte_offset()..)?.trim_start().strip_prefix(',')
}

/// A line of a capture.
struct Line<'t> {
    /// From 1.
    number: usize,
    /// Without the blanks around it.
    text: &'t str,
    /// Whether its end is in the file; the last line may lack it.
    has_end: bool,
}

impl Line<'_> {
    /// Why it is not read.
    fn unread(&self) -> String {
        let number = self.number;
        match self.has_end {
            true => format!("line {number}: not a trade of this form"),
            false => format!(
                "line {number} has no line end: it may be cut; ingest the whole file, or end the line if it is whole"
            ),
        }
    }
}

/// The lines with text after the first `skipped` ones.
fn lines(text: &str, skipped: usize) -> impl Iterator<Item = Line<'_>> {
    let numbered = text.split_inclusive('\n').enumerate().skip(skipped);
    numbered
        .map(|(index, line)| Line {
            number: index + 1,
            text: line.trim(),
            has_end: line.ends_with('\n'),
        })
        .filter(|line| !line.text.is_empty())
}

/// A JSON string without its quotes, or a number, as written.
fn written(value: &RawValue) -> Option<String> {
    let text = value.get();
    if text.starts_with('"') {
        return serde_json::from_str(text).ok();
    }
    text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        .then(|| text.to_owned())
}

fn kraken(text: &str) -> Vec<Result<Trade<'_>, String>> {
    #[derive(serde::Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        result: Pairs<'a>,
    }
    let answer: Answer<'_> = match serde_json::from_str(text) {
        Ok(answer) => answer,
        Err(error) => return vec![Err(format!("not an answer of Kraken: {error}"))],
    };
    let mut trades = Vec::new();
    let Pairs(pairs) = answer.result;
    // `last` is a mark for the next request.
    for (symbol, rows) in pairs.iter().filter(|(symbol, _)| *symbol != "last") {
        let is_it = |(other, _): &&(&str, &RawValue)| other == symbol;
        if pairs.iter().filter(is_it).count() > 1 {
            trades.push(Err(format!(
                "/result/{symbol}: the pair is there twice, and nothing tells which one is meant"
            )));
            continue;
        }
        let rows: Vec<&RawValue> = match serde_json::from_str(rows.get()) {
            Ok(rows) => rows,
            Err(error) => {
                trades.push(Err(format!("/result/{symbol}: {error}")));
                continue;
            }
        };
        for (index, row) in rows.into_iter().enumerate() {
            let trade = kraken_row(symbol, row);
            trades.push(trade.ok_or_else(|| format!("/result/{symbol}/{index}: not a trade of this form")));
        }
    }
    trades
}

/// The fields of an object in their order, each as often as it is there: a map would keep the last one.
struct Pairs<'a>(Vec<(&'a str, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Pairs<'a>, D::Error> {
        struct Fields;
        impl<'de> serde::de::Visitor<'de> for Fields {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object with the trades of each pair")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

fn kraken_row<'t>(symbol: &'t str, row: &RawValue) -> Option<Trade<'t>> {
    let cells: Vec<&RawValue> = serde_json::from_str(row.get()).ok()?;
    let [price, size, time, _, _, _, id] = cells.as_slice() else {
        return None;
    };
    Some(Trade {
        symbol,
        id: written(id)?,
        time: written(time)?,
        price: written(price)?,
        size: written(size)?,
    })
}

fn coinbase(line: &str) -> Option<Trade<'_>> {
    #[derive(serde::Deserialize)]
    struct Match<'a> {
        #[serde(borrow)]
        product_id: &'a str,
        #[serde(borrow)]
        trade_id: &'a RawValue,
        time: Value,
        price: Value,
        size: Value,
    }
    let (_, message) = line.split_once(": ")?;
    let found: Match<'_> = serde_json::from_str(message).ok()?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Some(Trade {
        symbol: found.product_id,
        id: written(found.trade_id)?,
        time: text(&found.time)?,
        price: text(&found.price)?,
        size: text(&found.size)?,
    })
}

fn bitmex(line: &str) -> Option<Trade<'_>> {
    let cells: Vec<&str> = line.split(',').collect();
    let ["bitmex", symbol, time, _, id, _, price, size] = cells.as_slice() else {
        return None;
    };
    let is_trade = [time, id, price, size].iter().all(|cell| !cell.is_empty());
    is_trade.then(|| Trade {
        symbol,
        id: (*id).to_owned(),
        time: (*time).to_owned(),
        price: (*price).to_owned(),
        size: (*size).to_owned(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write as _;
    use std::path::PathBuf;

    use markets::{Normalizer, NormalizerConfig, RawMessage, Venue};

    use super::*;

    /// Instrument, sequence, event time in µs, price and volume; and whether it is late.
    type Read = (String, Option<i64>, i64, String, String, bool);

    /// Normalizes the messages of a capture; repeated events are dropped as in the stage.
    fn read(capture: Capture, content: &[u8]) -> (Vec<Read>, Vec<String>) {
        let mut config = NormalizerConfig::default();
        config.venues.push(Venue::new(capture.venue(), "", "USD", "unit"));
        let mut normalizer = Normalizer::new(config);
        let (mut ticks, mut problems, mut events) = (Vec::new(), Vec::new(), std::collections::HashSet::new());
        for message in capture.messages(content, "t") {
            let message = match message {
                Ok(message) => message,
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            };
            let raw = RawMessage {
                feed: "raw",
                partition: 0,
                offset: ticks.len() as i64,
                appended_at: 1_800_000_000_000_000,
                key: None,
                payload: &message.payload,
                format: None,
                tenant: None,
                replay: None,
            };
            let parsed = normalizer.parse(&raw).unwrap();
            let key = parsed.event_key();
            if !events.insert((key.id, key.facts)) {
                continue;
            }
            let rejected = parsed.emit(0, domain::QualityFlags::NONE, &mut |tick| {
                assert_eq!(tick.kind, domain::Kind::Trade);
                ticks.push((
                    tick.instrument_id.to_owned(),
                    tick.sequence,
                    tick.event_time,
                    tick.price.to_string(),
                    tick.volume.unwrap().to_string(),
                    tick.quality_flags.contains(domain::QualityFlag::LateArrival),
                ));
            });
            assert!(rejected.is_empty());
        }
        (ticks, problems)
    }

    fn trade(id: &str, sequence: Option<i64>, time: i64, price: &str, volume: &str) -> Read {
        (id.into(), sequence, time, price.into(), volume.into(), true)
    }

    #[test]
    fn trades_of_kraken_keep_their_digits_and_ids_break_ties() {
        let text = br#"{"error":[],"result":{"XBTUSDT":[
["105383.80000","0.00012460",1762795473.9373446,"b","m","",10218210],
["105383.80000","0.00012460",1762795473.9373446,"b","m","",10218211],
["105383.80000","0.00012460",1762795473.9373446,"b","m","",10218211],
["105383.80000","0.00012460"]],"last":"1"}}"#;
        assert_eq!(Capture::detect(text), Some(Capture::Kraken));
        let (ticks, problems) = read(Capture::Kraken, text);
        let of = |id| {
            trade(
                "KRAKEN.XBTUSDT",
                Some(id),
                1_762_795_473_937_344,
                "105383.8",
                "0.0001246",
            )
        };
        assert_eq!(
            ticks,
            [of(10_218_210), of(10_218_211)],
            "two trades, and one of them twice"
        );
        assert_eq!(problems, ["/result/XBTUSDT/3: not a trade of this form"]);
    }

    #[test]
    fn a_pair_that_is_there_twice_is_named_and_the_others_are_read() {
        let text = br#"{"error":[],"result":{"XBTUSDT":[["1","2",1762795473.9,"b","m","",301]],
"ETHUSDT":[["7","2",1762795473.9,"b","m","",5]],"XBTUSDT":[["1","2",1762795473.9,"b","m","",302]],"last":"1"}}"#;
        let (ticks, problems) = read(Capture::Kraken, text);
        let ids: Vec<_> = ticks.iter().map(|(name, id, ..)| (name.as_str(), *id)).collect();
        assert_eq!(ids, [("KRAKEN.ETHUSDT", Some(5))]);
        assert_eq!(problems.len(), 2);
        assert!(
            problems.iter().all(|problem| problem.starts_with("/result/XBTUSDT: ")),
            "{problems:?}"
        );
    }

    #[test]
    fn a_late_match_of_coinbase_keeps_its_time() {
        let text = b"1618677817.079762: {\"type\":\"last_match\",\"trade_id\":7,\"side\":\"sell\",\"size\":\"0.04\",\"price\":\"14.7775\",\"product_id\":\"BAND-GBP\",\"sequence\":9,\"time\":\"2021-04-17T16:43:30.244075Z\"}\n\
            1618677817.1: {\"type\":\"match\",\"trade_id\":8\n";
        assert_eq!(Capture::detect(text), Some(Capture::Coinbase));
        let (ticks, problems) = read(Capture::Coinbase, text);
        assert_eq!(
            ticks,
            [trade(
                "COINBASE.BAND-GBP",
                Some(7),
                1_618_677_810_244_075,
                "14.7775",
                "0.04"
            )]
        );
        assert_eq!(problems, ["line 2: not a trade of this form"]);
    }

    #[test]
    fn identical_rows_of_bitmex_with_different_ids_are_different_trades() {
        let row = |id: &str| format!("bitmex,XBTUSD,1583020803276000,1583020803336743,{id},sell,8531.5,1\n");
        let text = format!(
            "{BITMEX_HEADER}\n{}{}{}bitmex,XBTUSD\n",
            row("a-1"),
            row("a-2"),
            row("a-1")
        );
        assert_eq!(Capture::detect(text.as_bytes()), Some(Capture::BitMex));
        let (ticks, problems) = read(Capture::BitMex, text.as_bytes());
        assert_eq!(
            ticks,
            vec![trade("BITMEX.XBTUSD", None, 1_583_020_803_276_000, "8531.5", "1"); 2]
        );
        assert_eq!(problems, ["line 5: not a trade of this form"]);
    }

    #[test]
    fn a_last_line_of_bitmex_without_its_end_is_named_and_not_read() {
        let row = |id: &str| format!("bitmex,XBTUSD,1583020803276000,1583020803336743,{id},sell,100.5,98765");
        let whole = format!("{BITMEX_HEADER}\r\n{}\r\n{}\r\n", row("a-1"), row("a-2"));
        let (ticks, problems) = read(Capture::BitMex, whole.as_bytes());
        assert_eq!((ticks.len(), problems), (2, Vec::new()));
        // Without the line end nothing tells 98 of 98765 from 98765, nor 98765 from 987654.
        for kept in ["98", "98765", "98765\r"] {
            let cut = whole.trim_end().strip_suffix("98765").unwrap();
            let (ticks, problems) = read(Capture::BitMex, format!("{cut}{kept}").as_bytes());
            assert_eq!(ticks.len(), 1, "{kept:?}");
            assert!(
                matches!(problems.as_slice(), [one] if one.starts_with("line 3 has no line end: it may be cut")),
                "{kept:?}: {problems:?}"
            );
        }
    }

    #[test]
    fn a_last_line_of_coinbase_without_its_end_is_read_if_its_json_is_complete() {
        let line = r#"1618677817.079762: {"type":"match","trade_id":7,"size":"0.04","price":"14.7775","product_id":"BAND-GBP","time":"2021-04-17T16:43:30.244075Z"}"#;
        let text = format!("{line}\n{}", line.replace(":7,", ":8,"));
        let (ticks, problems) = read(Capture::Coinbase, text.as_bytes());
        assert_eq!((ticks.len(), problems), (2, Vec::new()));
        let (ticks, problems) = read(Capture::Coinbase, &text.as_bytes()[..text.len() - 4]);
        assert_eq!(ticks.len(), 1);
        assert!(
            matches!(problems.as_slice(), [one] if one.starts_with("line 2 has no line end: it may be cut")),
            "{problems:?}"
        );
    }

    #[test]
    fn captures_are_recognized_by_their_structure_and_not_by_their_white_space() {
        let rows = r#"[["105383.8","0.1",1762795473.9,"b","m","",1]]"#;
        for (text, whole) in [
            (
                format!(r#"{{"error": [], "result": {{"XBTUSDT": {rows}, "last": "1"}}}}"#),
                true,
            ),
            (
                format!(r#" {{ "error" : [] , "result" : {{ "XBTUSDT" : {rows} }} }} "#),
                true,
            ),
            (
                format!("{{\n  \"error\": [\n  ],\n  \"result\": {{\n    \"XBTUSDT\": {rows}\n  }}\n}}\n"),
                true,
            ),
            (format!(r#"{{"result": {{"XBTUSDT": {rows}}}, "error": []}}"#), true),
            // The head of a large file ends anywhere.
            (
                r#"{"error": [], "result": {"XBTUSDT": [["105383.8","0."#.to_owned(),
                false,
            ),
        ] {
            assert_eq!(Capture::detect(text.as_bytes()), Some(Capture::Kraken), "{text}");
            let (ticks, problems) = read(Capture::Kraken, text.as_bytes());
            assert_eq!(
                (ticks.len(), problems.is_empty()),
                (usize::from(whole), whole),
                "{text}"
            );
        }
        let of_coinbase = r#"1618677817.1: { "type": "match", "trade_id": 8, "size": "1""#;
        assert_eq!(Capture::detect(of_coinbase.as_bytes()), Some(Capture::Coinbase));
    }

    #[test]
    fn other_files_are_no_captures() {
        for text in [
            "",
            "{\"items\":[]}",
            "a,b\n1,2",
            "12: x",
            "exchange,symbol",
            r#"{"error": "none", "result": {}}"#,
            r#"{"error": [], "result": []}"#,
            r#"{"error": []}"#,
            r#"{"a": {"error": [], "result": {}}}"#,
            r#"[{"error": [], "result": {}}]"#,
            r#"12: {"type": "ticker"}"#,
        ] {
            assert_eq!(Capture::detect(text.as_bytes()), None, "{text}");
        }
    }

    /// The real captures next to the project, with the number of their trades. A line names the test for each that is missing.
    fn real_captures(test: &str) -> Vec<(&'static str, Capture, usize, Vec<u8>)> {
        let folder = std::env::var_os("DATA_PROC_SAMPLE_DATA").map_or_else(
            || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")),
            PathBuf::from,
        );
        let captures = [
            ("kraken_xbtusdt_trades_20251110_a.json", Capture::Kraken, 600),
            ("coinbase_ws_matches_20210417_a.txt", Capture::Coinbase, 70),
            ("bitmex_xbtusd_trades_tardis_20200301.csv", Capture::BitMex, 10),
        ];
        let read = |(file, capture, count)| match std::fs::read(folder.join("trades").join(file)) {
            Ok(content) => Some((file, capture, count, content)),
            Err(_) => {
                // Past the capture of the test harness, which would hide it since the test passes.
                let mut stderr = std::io::stderr();
                writeln!(stderr, "SKIPPED {test}: {file} is missing; set DATA_PROC_SAMPLE_DATA").unwrap();
                None
            }
        };
        captures.into_iter().filter_map(read).collect()
    }

    /// Id, price and size of each trade: a second reading, which takes the text apart at fixed places of a line.
    fn second_reading(capture: Capture, text: &str) -> Vec<[String; 3]> {
        let between = |line: &str, before: &str, after: char| {
            let (_, rest) = line.split_once(before).unwrap();
            rest.split(after).next().unwrap().to_owned()
        };
        let cell = |line: &str, number: usize| {
            let cell = line.split(',').nth(number).unwrap();
            cell.trim_matches(['[', ']', '"']).to_owned()
        };
        let trade = |line: &str| match capture {
            Capture::Kraken => line
                .starts_with("[\"")
                .then(|| [6, 0, 1].map(|number| cell(line, number))),
            Capture::Coinbase => Some([
                between(line, "\"trade_id\":", ','),
                between(line, "\"price\":\"", '"'),
                between(line, "\"size\":\"", '"'),
            ]),
            Capture::BitMex => line
                .starts_with("bitmex,")
                .then(|| [4, 6, 7].map(|number| cell(line, number))),
        };
        text.lines().filter_map(trade).collect()
    }

    /// Id, price and size as a message states them.
    fn stated(message: &TradeMessage) -> [String; 3] {
        let payload: Value = serde_json::from_slice(&message.payload).unwrap();
        let raw: Value = serde_json::from_str(payload["payload"]["raw_payload"].as_str().unwrap()).unwrap();
        let event = payload["event_id"].as_str().unwrap();
        let id = event.strip_prefix(&format!("{}.", message.instrument_id)).unwrap();
        let text = |name: &str| raw[name].as_str().unwrap().to_owned();
        [id.to_owned(), text("price"), text("volume")]
    }

    /// A number without the zeros at the end of its decimals.
    fn trimmed(number: &str) -> &str {
        match number.contains('.') {
            true => number.trim_end_matches('0').trim_end_matches('.'),
            false => number,
        }
    }

    #[test]
    fn every_trade_of_the_real_captures_is_read() {
        for (file, capture, count, content) in real_captures("every_trade_of_the_real_captures_is_read") {
            assert_eq!(Capture::detect(&content), Some(capture), "{file}");
            let messages = capture.messages(&content, "t").into_iter();
            let messages: Vec<TradeMessage> = messages.map(Result::unwrap).collect();
            let expected = second_reading(capture, std::str::from_utf8(&content).unwrap());
            assert_eq!(expected.len(), count, "{file}");
            let told: Vec<[String; 3]> = messages.iter().map(stated).collect();
            assert_eq!(told, expected, "{file}: id, price and size as written");
            let (ticks, problems) = read(capture, &content);
            assert_eq!((ticks.len(), problems), (count, Vec::new()), "{file}");
            for ((_, sequence, _, price, volume, is_late), [id, of, size]) in ticks.iter().zip(&expected) {
                assert_eq!(*sequence, id.parse::<i64>().ok(), "{file}");
                assert_eq!(
                    (price.as_str(), volume.as_str()),
                    (trimmed(of), trimmed(size)),
                    "{file}: {id}"
                );
                assert!(is_late, "{file}: years old");
            }
        }
    }

    #[test]
    fn a_real_capture_that_is_cut_has_no_trade_that_the_whole_lacks() {
        for (file, capture, count, content) in
            real_captures("a_real_capture_that_is_cut_has_no_trade_that_the_whole_lacks")
        {
            let read = |content: &[u8]| -> Vec<Vec<u8>> {
                let messages = capture.messages(content, "t").into_iter().flatten();
                messages.map(|message| message.payload).collect()
            };
            let whole: std::collections::HashSet<Vec<u8>> = read(&content).into_iter().collect();
            assert_eq!(whole.len(), count, "{file}");
            let mut most = 0;
            for end in (0..content.len()).step_by(97) {
                let cut = &content[..end];
                assert!(
                    Capture::detect(cut).is_none_or(|found| found == capture),
                    "{file} cut at byte {end}"
                );
                let trades = read(cut);
                most = most.max(trades.len());
                assert!(
                    trades.iter().all(|trade| whole.contains(trade)),
                    "{file} cut at byte {end} has another trade"
                );
            }
            // Of JSON nothing is read unless it is whole; of lines those before the cut.
            assert_eq!(most > 0, capture != Capture::Kraken, "{file}");
        }
    }
}
