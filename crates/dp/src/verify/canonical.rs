//! The text of a row. ClickHouse and this module write the same text, so both sides can be compared by a checksum.
//!
//! Invariant: for a correct row, the SQL expression of a column gives the bytes that [`Writer`] appends for the same value.
//! End-to-end tests check this with a real server.

use std::fmt::Write;

use domain::{Decimal, Enrichment, Interval, LateTick, Micros, QualityFlag, QualityFlags, Tick};

/// Separates values. No identifier can contain it.
pub const SEPARATOR: char = '\x1f';
const NULL: &str = "\\N";

/// How a column is written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Optional,
    Time,
    OptionalTime,
    List,
    /// Whether this quality flag is set. Only for a flag that is a function of the log.
    Flag(QualityFlag),
}

/// A column of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Name in the table.
    pub name: &'static str,
    form: Form,
}

const fn plain(name: &'static str) -> Column {
    Column {
        name,
        form: Form::Plain,
    }
}

const fn optional(name: &'static str) -> Column {
    Column {
        name,
        form: Form::Optional,
    }
}

const fn time(name: &'static str) -> Column {
    Column { name, form: Form::Time }
}

impl Column {
    fn sql(&self) -> String {
        let name = self.name;
        match self.form {
            Form::Plain => format!("toString({name})"),
            Form::Optional => format!("ifNull(toString({name}), '\\\\N')"),
            Form::Time => format!("toString(toUnixTimestamp64Micro({name}))"),
            Form::OptionalTime => format!("ifNull(toString(toUnixTimestamp64Micro({name})), '\\\\N')"),
            Form::List => format!("arrayStringConcat({name}, ',')"),
            Form::Flag(flag) => format!("toString(has({name}, '{}'))", flag.name()),
        }
    }
}

/// Columns of a tick that are a function of the raw log (INV-1).
pub const TICK: &[Column] = &[
    plain("raw_offset"),
    plain("raw_index"),
    plain("tenant_id"),
    plain("instrument_id"),
    time("timestamp"),
    plain("price"),
    optional("volume"),
    optional("bid"),
    optional("ask"),
    optional("energy"),
    optional("congestion"),
    optional("loss"),
    optional("ghg"),
    plain("market"),
    plain("product"),
    plain("kind"),
    plain("currency"),
    plain("unit"),
    optional("symbol"),
    optional("node"),
    optional("zone"),
    optional("hub"),
    optional("market_status"),
    optional("version"),
    Column {
        name: "interval_end",
        form: Form::OptionalTime,
    },
    plain("source_system"),
    optional("sequence"),
    plain("source_event_id"),
    plain("correlation_id"),
    optional("causation_id"),
    time("appended_at"),
    Column {
        name: "quality_flags",
        form: Form::Flag(QualityFlag::EventIdReused),
    },
];

/// Columns that normalization adds to a tick. Only the tick's record has them.
pub const REMARKS: &[Column] = &[
    plain("src_offset"),
    Column {
        name: "quality_flags",
        form: Form::List,
    },
    time("normalized_at"),
];

/// The same columns of an enriched tick, and the columns that enrichment adds.
pub const ENRICHMENT: &[Column] = &[
    plain("src_offset"),
    Column {
        name: "quality_flags",
        form: Form::List,
    },
    time("normalized_at"),
    plain("commodity"),
    plain("region"),
    plain("product_tier"),
    optional("instrument_unit"),
    optional("contract_size"),
    optional("tick_size"),
    optional("curve_id"),
    plain("classification_confidence"),
    plain("classification_method"),
    plain("low_confidence_classification"),
    time("enriched_at"),
];

/// Columns of a late tick.
pub const LATE: &[Column] = &[
    plain("src_offset"),
    plain("tenant_id"),
    plain("instrument_id"),
    time("timestamp"),
    plain("price"),
    optional("volume"),
    Column {
        name: "intervals",
        form: Form::List,
    },
    time("watermark"),
    plain("enriched_offset"),
];

/// The SQL expression of a row's text.
pub fn sql(columns: &[Column]) -> String {
    let values: Vec<String> = columns.iter().map(Column::sql).collect();
    format!("concatWithSeparator('\\x1f', {})", values.join(", "))
}

/// Writes the text of a row.
pub struct Writer<'a> {
    out: &'a mut String,
    is_first: bool,
}

impl<'a> Writer<'a> {
    /// Clears `out` and begins a text in it.
    pub fn new(out: &'a mut String) -> Writer<'a> {
        out.clear();
        Writer { out, is_first: true }
    }

    fn value(&mut self, value: impl std::fmt::Display) -> &mut Self {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(SEPARATOR);
        }
        // Writing to a String cannot fail.
        let _ = write!(self.out, "{value}");
        self
    }

    fn optional(&mut self, value: Option<impl std::fmt::Display>) -> &mut Self {
        match value {
            Some(value) => self.value(value),
            None => self.value(NULL),
        }
    }

    fn flags(&mut self, flags: QualityFlags) -> &mut Self {
        self.list(flags.iter().map(|flag| flag.name()))
    }

    fn list<'t>(&mut self, names: impl Iterator<Item = &'t str>) -> &mut Self {
        self.value("");
        for (index, name) in names.enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            self.out.push_str(name);
        }
        self
    }

    /// Writes [`TICK`].
    pub fn tick(mut self, tick: &Tick<'_>) {
        self.value(tick.origin.offset)
            .value(tick.origin.index)
            .value(tick.tenant_id)
            .value(tick.instrument_id)
            .value(tick.event_time)
            .value(tick.price);
        for number in [
            tick.volume,
            tick.bid,
            tick.ask,
            tick.energy,
            tick.congestion,
            tick.loss,
            tick.ghg,
        ] {
            self.optional(number);
        }
        for text in [tick.market, tick.product, tick.kind.name(), tick.currency, tick.unit] {
            self.value(text);
        }
        for text in [
            tick.symbol,
            tick.node,
            tick.zone,
            tick.hub,
            tick.market_status,
            tick.version,
        ] {
            self.optional(text);
        }
        self.optional(tick.interval_end)
            .value(tick.source_system)
            .optional(tick.sequence)
            .value(tick.source_event_id)
            .value(tick.correlation_id)
            .optional(tick.causation_id)
            .value(tick.appended_at)
            .value(u8::from(tick.quality_flags.contains(QualityFlag::EventIdReused)));
    }

    /// Writes [`REMARKS`].
    pub fn remarks(mut self, src_offset: i64, tick: &Tick<'_>) {
        self.value(src_offset)
            .flags(tick.quality_flags)
            .value(tick.normalized_at);
    }

    /// Writes [`ENRICHMENT`].
    pub fn enrichment(mut self, src_offset: i64, tick: &Tick<'_>, enrichment: &Enrichment<'_>) {
        self.value(src_offset)
            .flags(tick.quality_flags)
            .value(tick.normalized_at)
            .value(enrichment.commodity)
            .value(enrichment.region)
            .value(enrichment.product_tier)
            .optional(enrichment.unit)
            .optional(enrichment.contract_size)
            .optional(enrichment.tick_size)
            .optional(enrichment.curve_id)
            .value(hundredths(enrichment.confidence_percent))
            .value(enrichment.method.name())
            .value(enrichment.low_confidence)
            .value(enrichment.enriched_at);
    }

    /// Writes [`LATE`].
    pub fn late(mut self, src_offset: i64, late: &LateTick<'_>) {
        let is_missed = |interval: &Interval| late.missed_intervals & (1 << interval.index()) != 0;
        self.value(src_offset)
            .value(late.tenant_id)
            .value(late.instrument_id)
            .value(late.event_time)
            .value(late.price)
            .optional(late.volume)
            .list(Interval::ALL.into_iter().filter(is_missed).map(Interval::name))
            .value(late.watermark)
            .value(late.enriched_offset);
    }
}

fn hundredths(percent: i32) -> Decimal {
    Decimal::from_unscaled(i64::from(percent) * 1_000_000).unwrap_or_default()
}

/// A value as shown to users: times in ISO 8601.
pub fn shown(column: &Column, value: &str) -> String {
    let micros = || {
        value
            .parse::<Micros>()
            .ok()
            .and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok())
    };
    match (column.form, value) {
        (_, NULL) => "null".to_owned(),
        (Form::Time | Form::OptionalTime, _) => micros().map_or_else(|| value.to_owned(), |time| time.to_string()),
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use domain::{Classification, Kind, Origin, QualityFlag};

    use super::*;

    fn tick() -> Tick<'static> {
        Tick {
            origin: Origin {
                feed: "raw",
                partition: 1,
                offset: 7,
                index: 2,
            },
            appended_at: 1_790_000_000_001_000,
            source_event_id: "e",
            correlation_id: "c",
            causation_id: None,
            tenant_id: "t",
            instrument_id: "i",
            symbol: Some("s"),
            market: "MISO",
            kind: Kind::Interval,
            event_time: -5,
            interval_end: None,
            price: "-0.50".parse().unwrap(),
            volume: None,
            bid: Some("7".parse().unwrap()),
            ask: None,
            energy: None,
            congestion: None,
            loss: None,
            ghg: None,
            currency: "USD",
            unit: "MWh",
            node: Some(""),
            zone: None,
            hub: None,
            market_status: None,
            product: "rt5",
            version: None,
            source_system: "x",
            sequence: Some(9),
            quality_flags: [QualityFlag::PriceNegative, QualityFlag::LateArrival].into_iter().fold(
                QualityFlags::NONE,
                |mut flags, flag| {
                    flags.insert(flag);
                    flags
                },
            ),
            normalized_at: 3,
        }
    }

    #[test]
    fn every_text_has_one_value_for_each_column() {
        let mut out = String::new();
        let count = |text: &str| text.split(SEPARATOR).count();
        Writer::new(&mut out).tick(&tick());
        assert_eq!(count(&out), TICK.len());
        assert_eq!(out.split(SEPARATOR).nth(5), Some("-0.5"));
        Writer::new(&mut out).remarks(11, &tick());
        assert_eq!(out.replace(SEPARATOR, "|"), "11|price_negative,late_arrival|3");
        let enrichment = Enrichment {
            commodity: "electricity",
            region: "midwest",
            product_tier: "standard",
            unit: None,
            contract_size: None,
            tick_size: Some("0.01".parse().unwrap()),
            curve_id: None,
            confidence_percent: 90,
            method: Classification::RuleBased,
            low_confidence: false,
            enriched_at: 4,
        };
        Writer::new(&mut out).enrichment(11, &tick(), &enrichment);
        assert_eq!(count(&out), ENRICHMENT.len());
        assert!(
            out.replace(SEPARATOR, "|")
                .ends_with("|\\N|0.01|\\N|0.9|rule_based|false|4"),
            "{out}"
        );
        let late = LateTick {
            origin: tick().origin,
            tenant_id: "t",
            instrument_id: "i",
            event_time: 1,
            price: Decimal::ZERO,
            volume: None,
            missed_intervals: 0b10011,
            closed_intervals: 0b00010,
            is_close: false,
            watermark: 2,
            enriched_offset: 3,
        };
        Writer::new(&mut out).late(11, &late);
        assert_eq!(count(&out), LATE.len());
        assert!(out.contains("1m,5m,1d"));
    }

    #[test]
    fn times_are_shown_in_iso_8601() {
        assert_eq!(shown(&time("timestamp"), "1000000"), "1970-01-01T00:00:01Z");
        assert_eq!(shown(&optional("volume"), NULL), "null");
    }
}
