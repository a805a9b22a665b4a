//! The text of a row. ClickHouse and this module write the same text, so both sides can be compared by a checksum.
//!
//! Role: a table is compared by the columns of its own layout: those that are a function of the raw log by [`RawText`], those
//! that only its records have by [`SourceText`]. The file of the table in `comparisons` has these.
//! Invariant: for a correct row, the SQL expression of a column gives the bytes that [`Writer`] appends for the same value
//! (end-to-end tests check this with a real server).

use std::fmt::Write;

use codec::{CodecError, Wire};
use domain::{Micros, Origin, QualityFlag, Tick};
use service::writer::TableSpec;

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

pub(super) const fn plain(name: &'static str) -> Column {
    Column {
        name,
        form: Form::Plain,
    }
}

pub(super) const fn optional(name: &'static str) -> Column {
    Column {
        name,
        form: Form::Optional,
    }
}

pub(super) const fn time(name: &'static str) -> Column {
    Column { name, form: Form::Time }
}

pub(super) const fn list(name: &'static str) -> Column {
    Column { name, form: Form::List }
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

/// A column, and how a record's value is written in it.
#[derive(Debug)]
pub(super) struct Field<F> {
    column: Column,
    pub write: F,
}

pub(super) const fn field<F: Copy>(column: Column, write: F) -> Field<F> {
    Field { column, write }
}

pub(super) type OfTick = fn(&mut Writer<'_>, &Tick<'_>);

/// What is a function of the raw log (INV-1).
static FACTS: [Field<OfTick>; 32] = [
    field(plain("raw_offset"), |to, tick| to.value(tick.origin.offset)),
    field(plain("raw_index"), |to, tick| to.value(tick.origin.index)),
    field(plain("tenant_id"), |to, tick| to.value(tick.tenant_id)),
    field(plain("instrument_id"), |to, tick| to.value(tick.instrument_id)),
    field(time("timestamp"), |to, tick| to.value(tick.event_time)),
    field(plain("price"), |to, tick| to.value(tick.price)),
    field(optional("volume"), |to, tick| to.optional(tick.volume)),
    field(optional("bid"), |to, tick| to.optional(tick.bid)),
    field(optional("ask"), |to, tick| to.optional(tick.ask)),
    field(optional("energy"), |to, tick| to.optional(tick.energy)),
    field(optional("congestion"), |to, tick| to.optional(tick.congestion)),
    field(optional("loss"), |to, tick| to.optional(tick.loss)),
    field(optional("ghg"), |to, tick| to.optional(tick.ghg)),
    field(plain("market"), |to, tick| to.value(tick.market)),
    field(plain("product"), |to, tick| to.value(tick.product)),
    field(plain("kind"), |to, tick| to.value(tick.kind.name())),
    field(plain("currency"), |to, tick| to.value(tick.currency)),
    field(plain("unit"), |to, tick| to.value(tick.unit)),
    field(optional("symbol"), |to, tick| to.optional(tick.symbol)),
    field(optional("node"), |to, tick| to.optional(tick.node)),
    field(optional("zone"), |to, tick| to.optional(tick.zone)),
    field(optional("hub"), |to, tick| to.optional(tick.hub)),
    field(optional("market_status"), |to, tick| to.optional(tick.market_status)),
    field(optional("version"), |to, tick| to.optional(tick.version)),
    field(
        Column {
            name: "interval_end",
            form: Form::OptionalTime,
        },
        |to, tick| to.optional(tick.interval_end),
    ),
    field(plain("source_system"), |to, tick| to.value(tick.source_system)),
    field(optional("sequence"), |to, tick| to.optional(tick.sequence)),
    field(plain("source_event_id"), |to, tick| to.value(tick.source_event_id)),
    field(plain("correlation_id"), |to, tick| to.value(tick.correlation_id)),
    field(optional("causation_id"), |to, tick| to.optional(tick.causation_id)),
    field(time("appended_at"), |to, tick| to.value(tick.appended_at)),
    field(
        Column {
            name: "quality_flags",
            form: Form::Flag(QualityFlag::EventIdReused),
        },
        |to, tick| to.value(u8::from(tick.quality_flags.contains(QualityFlag::EventIdReused))),
    ),
];

/// All flags of a tick, which only its records have.
pub(super) const FLAGS: Field<OfTick> = field(list("quality_flags"), |to, tick| {
    to.list(tick.quality_flags.iter().map(|flag| flag.name()));
});

const SRC_OFFSET: Column = plain("src_offset");

/// The columns of these fields, in the order of the text.
pub(super) fn columns<F>(fields: &[Field<F>]) -> Vec<Column> {
    fields.iter().map(|field| field.column).collect()
}

/// The text of a table of ticks, as far as the raw log determines it.
#[derive(Debug, Clone)]
pub struct RawText {
    /// The table, without the suffix of a generation.
    pub table: &'static str,
    facts: Vec<&'static Field<OfTick>>,
}

impl RawText {
    /// That of a table whose rows are ticks.
    pub(super) fn of(table: &TableSpec) -> RawText {
        let has = |name: &str| table.layout.fields().any(|(of_table, _)| of_table == name);
        RawText {
            table: table.name,
            facts: FACTS.iter().filter(|field| has(field.column.name)).collect(),
        }
    }

    /// The compared columns.
    pub fn columns(&self) -> Vec<Column> {
        self.facts.iter().map(|field| field.column).collect()
    }

    /// Replaces `out` by the text of a tick's row.
    pub fn write(&self, tick: &Tick<'_>, out: &mut String) {
        let mut to = Writer::new(out);
        self.facts.iter().for_each(|field| (field.write)(&mut to, tick));
    }
}

/// The text of a table's rows, as far as only the records of its topic determine it.
#[derive(Debug, Clone, Copy)]
pub struct SourceText {
    /// The columns after the offset.
    pub(super) columns: fn() -> Vec<Column>,
    pub(super) append: Append,
}

/// Appends the values of these columns in a record; returns the origin of the record.
type Append = for<'r> fn(&Wire, &'r [u8], &mut Writer<'_>) -> Result<Origin<'r>, CodecError>;

impl SourceText {
    /// The compared columns.
    pub fn columns(&self) -> Vec<Column> {
        std::iter::once(SRC_OFFSET).chain((self.columns)()).collect()
    }

    /// Replaces `out` by the text of the row of a record at this offset; returns the origin of the record.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn write<'r>(
        &self,
        wire: &Wire,
        payload: &'r [u8],
        offset: i64,
        out: &mut String,
    ) -> Result<Origin<'r>, CodecError> {
        let mut to = Writer::new(out);
        to.value(offset);
        (self.append)(wire, payload, &mut to)
    }
}

/// The SQL expression of a row's text.
pub fn sql(columns: &[Column]) -> String {
    let values: Vec<String> = columns.iter().map(Column::sql).collect();
    format!("concatWithSeparator('\\x1f', {})", values.join(", "))
}

/// Writes the text of a row.
pub(super) struct Writer<'a> {
    out: &'a mut String,
    is_first: bool,
}

impl<'a> Writer<'a> {
    /// Clears `out` and begins a text in it.
    fn new(out: &'a mut String) -> Writer<'a> {
        out.clear();
        Writer { out, is_first: true }
    }

    pub(super) fn value(&mut self, value: impl std::fmt::Display) {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(SEPARATOR);
        }
        // Writing to a String cannot fail.
        let _ = write!(self.out, "{value}");
    }

    pub(super) fn optional(&mut self, value: Option<impl std::fmt::Display>) {
        match value {
            Some(value) => self.value(value),
            None => self.value(NULL),
        }
    }

    pub(super) fn list<'t>(&mut self, names: impl Iterator<Item = &'t str>) {
        self.value("");
        for (index, name) in names.enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            self.out.push_str(name);
        }
    }
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
    use domain::{Classification, Decimal, EnrichedTick, Enrichment, Kind, LateTick, QualityFlags};

    use super::super::comparisons;
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
            symbol: Some("s"),
            kind: Kind::Interval,
            event_time: -5,
            price: "-0.50".parse().unwrap(),
            bid: Some("7".parse().unwrap()),
            node: Some(""),
            product: "rt5",
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
            ..domain::fixtures::tick()
        }
    }

    /// The text of a tick in a table, as `column=value`.
    fn of_tick(table: &str) -> Vec<String> {
        let text = RawText::of(TableSpec::named(table).unwrap());
        let mut out = String::new();
        text.write(&tick(), &mut out);
        let values = out.split(SEPARATOR);
        assert_eq!(values.clone().count(), text.columns().len());
        let columns = text.columns();
        columns
            .iter()
            .zip(values)
            .map(|(column, value)| format!("{}={value}", column.name))
            .collect()
    }

    #[test]
    fn a_table_is_compared_by_the_columns_that_it_has() {
        let (market, enriched) = (of_tick("market_ticks"), of_tick("enriched_ticks"));
        for fact in ["price=-0.5", "timestamp=-5", "sequence=9", "quality_flags=0"] {
            for table in [&market, &enriched] {
                assert!(table.iter().any(|found| found == fact), "{fact}: {table:?}");
            }
        }
        for fact in ["bid=7", "source_system=x", "node="] {
            assert!(market.iter().any(|found| found == fact), "{fact}: {market:?}");
            assert!(!enriched.iter().any(|found| found == fact), "{fact}: {enriched:?}");
        }
    }

    #[test]
    fn a_record_is_compared_by_what_only_it_has() {
        let wire = Wire::single_object();
        let text = |table: &str, payload: &[u8]| {
            let mut out = String::new();
            let text = comparisons::source_text(TableSpec::named(table).unwrap()).unwrap();
            let origin = text.write(&wire, payload, 11, &mut out).unwrap();
            assert_eq!(origin, tick().origin);
            assert_eq!(out.split(SEPARATOR).count(), text.columns().len());
            out.replace(SEPARATOR, "|")
        };
        let mut datum = Vec::new();
        wire.encode_tick(&tick(), &mut datum);
        assert_eq!(text("market_ticks", &datum), "11|price_negative,late_arrival|3");
        let enrichment = Enrichment {
            commodity: "electricity",
            region: "midwest",
            product_tier: "standard",
            unit: None,
            contract_size: None,
            tick_size: Some("0.01".parse().unwrap()),
            curve_id: None,
            curve_definition: None,
            confidence_percent: 90,
            method: Classification::RuleBased,
            low_confidence: false,
            enriched_at: 4,
        };
        datum.clear();
        let enriched = EnrichedTick {
            tick: tick(),
            enrichment,
        };
        wire.encode_enriched(&enriched, &mut datum);
        assert_eq!(
            text("enriched_ticks", &datum),
            "11|price_negative,late_arrival|electricity|midwest|standard|\\N|\\N|0.01|\\N|0.9|rule_based|false|4"
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
        datum.clear();
        wire.encode_late(&late, &mut datum);
        assert!(text("late_ticks", &datum).contains("|1m,5m,1d|2|3|"));
    }

    #[test]
    fn times_are_shown_in_iso_8601() {
        assert_eq!(shown(&time("timestamp"), "1000000"), "1970-01-01T00:00:01Z");
        assert_eq!(shown(&optional("volume"), NULL), "null");
    }
}
