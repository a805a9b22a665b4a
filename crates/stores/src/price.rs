//! The newest price of an instrument, as stored and served.

use domain::{Decimal, LatestRank, Micros, Origin, QualityFlag, QualityFlags, Vintage};
use serde_json::Value;

/// The field of a price in Redis that the script compares. Builds whose ranks had no vintage named it `order`: their values
/// count as missing, and are overwritten.
pub const RANK: &str = "standing";

/// An origin that owns the feed's name. Ordered like [`Origin`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub struct OwnedOrigin {
    pub feed: String,
    pub partition: i32,
    pub offset: i64,
    pub index: i32,
}

impl OwnedOrigin {
    /// The borrowed form.
    pub fn as_origin(&self) -> Origin<'_> {
        Origin {
            feed: &self.feed,
            partition: self.partition,
            offset: self.offset,
            index: self.index,
        }
    }
}

impl From<Origin<'_>> for OwnedOrigin {
    fn from(origin: Origin<'_>) -> OwnedOrigin {
        OwnedOrigin {
            feed: origin.feed.to_owned(),
            partition: origin.partition,
            offset: origin.offset,
            index: origin.index,
        }
    }
}

/// The price of an instrument at its newest event time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct LatestPrice {
    pub tenant_id: String,
    pub instrument_id: String,
    pub price: Decimal,
    pub volume: Option<Decimal>,
    pub event_time: Micros,
    /// How certain it is, if it is the price of an interval.
    pub vintage: Vintage,
    /// The producer's sequence, if any.
    pub sequence: Option<i64>,
    pub origin: OwnedOrigin,
    /// Partition of the enriched topic that the instrument belongs to (INV-4).
    pub src_partition: i32,
    pub market: String,
    pub product: String,
    pub currency: String,
    pub unit: String,
    pub quality_flags: QualityFlags,
    pub appended_at: Micros,
}

impl LatestPrice {
    /// The order between two prices of an instrument. The order of arrival never matters.
    pub fn rank(&self) -> LatestRank<'_> {
        (self.event_time, self.vintage, self.sequence, self.origin.as_origin())
    }

    /// The rank as a string whose byte order is the order of ranks: no sequence is `-`, which sorts before every digit, and
    /// the feed ends with a blank, which sorts before every character of a topic name.
    pub fn rank_text(&self) -> String {
        let Origin {
            feed,
            partition,
            offset,
            index,
        } = self.origin.as_origin();
        // Signed numbers as unsigned numbers, in the same order.
        let shifted = |number: i64| format!("{:020}", (number as u64) ^ (1 << 63));
        let time = shifted(self.event_time);
        let vintage = shifted(self.vintage.rank().into());
        let sequence = self.sequence.map_or("-".to_owned(), shifted);
        format!("{time} {vintage} {sequence} {feed} {partition:010} {offset:020} {index:010}")
    }

    /// The value of the instrument's key in Redis. It begins with the rank, which the compare script reads; numbers are JSON
    /// numbers with every digit, times RFC 3339 with microseconds.
    pub fn to_json(&self) -> String {
        self.json_of(PriceField::ALL.map(|field| (field.name(), field)))
    }

    /// A value with these fields under these names, and the rank in front.
    pub fn json_of<'f>(&self, fields: impl IntoIterator<Item = (&'f str, PriceField)>) -> String {
        use std::fmt::Write;
        let mut out = format!("{{\"{RANK}\":{}", quoted(&self.rank_text()));
        for (name, field) in fields {
            // Writing to a String cannot fail.
            let _ = write!(out, ",{}:{}", quoted(name), self.field(field));
        }
        out.push('}');
        out
    }

    /// The JSON of a field.
    fn field(&self, field: PriceField) -> String {
        match field {
            PriceField::TenantId => quoted(&self.tenant_id),
            PriceField::InstrumentId => quoted(&self.instrument_id),
            PriceField::Price => self.price.to_string(),
            PriceField::Volume => self.volume.map_or("null".to_owned(), |volume| volume.to_string()),
            PriceField::EventTime => quoted(&rfc3339(self.event_time)),
            PriceField::TickId => quoted(&self.origin.as_origin().to_string()),
            PriceField::Market => quoted(&self.market),
            PriceField::Product => quoted(&self.product),
            PriceField::Currency => quoted(&self.currency),
            PriceField::Unit => quoted(&self.unit),
            PriceField::QualityFlags => {
                let flags: Vec<String> = self.quality_flags.iter().map(|flag| quoted(flag.name())).collect();
                format!("[{}]", flags.join(","))
            }
            PriceField::AppendedAt => quoted(&rfc3339(self.appended_at)),
        }
    }

    /// The public form for HTTP: like [`LatestPrice::to_json`], without the rank.
    pub fn to_public_json(&self) -> String {
        LatestPrice::public_json(&self.to_json())
    }

    /// The public form of a value in Redis.
    pub fn public_json(stored: &str) -> String {
        // The rank is the first field and contains no comma.
        match stored.split_once(',') {
            Some((_, rest)) => format!("{{{rest}"),
            None => stored.to_owned(),
        }
    }
}

/// A field of a served price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PriceField {
    TenantId,
    InstrumentId,
    Price,
    Volume,
    EventTime,
    TickId,
    Market,
    Product,
    Currency,
    Unit,
    QualityFlags,
    AppendedAt,
}

impl PriceField {
    /// All, in the order of the JSON.
    pub const ALL: [PriceField; 12] = [
        PriceField::TenantId,
        PriceField::InstrumentId,
        PriceField::Price,
        PriceField::Volume,
        PriceField::EventTime,
        PriceField::TickId,
        PriceField::Market,
        PriceField::Product,
        PriceField::Currency,
        PriceField::Unit,
        PriceField::QualityFlags,
        PriceField::AppendedAt,
    ];

    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            PriceField::TenantId => "tenant_id",
            PriceField::InstrumentId => "instrument_id",
            PriceField::Price => "price",
            PriceField::Volume => "volume",
            PriceField::EventTime => "event_time",
            PriceField::TickId => "tick_id",
            PriceField::Market => "market",
            PriceField::Product => "product",
            PriceField::Currency => "currency",
            PriceField::Unit => "unit",
            PriceField::QualityFlags => "quality_flags",
            PriceField::AppendedAt => "appended_at",
        }
    }
}

/// A text as JSON.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Flags by their names; `None` if a name is unknown.
pub(crate) fn flags_of(names: &[String]) -> Option<QualityFlags> {
    let mut flags = QualityFlags::NONE;
    for name in names {
        flags.insert(QualityFlag::ALL.into_iter().find(|flag| flag.name() == name)?);
    }
    Some(flags)
}

/// `2026-10-01T00:05:00.000000Z`; the bare number if the time is outside the calendar (years -9999 to 9999).
pub fn rfc3339(time: Micros) -> String {
    jiff::Timestamp::from_microsecond(time).map_or_else(|_| time.to_string(), |at| format!("{at:.6}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn price(event_time: Micros, vintage: i32, sequence: Option<i64>, origin: OwnedOrigin) -> LatestPrice {
        LatestPrice {
            tenant_id: "default".into(),
            instrument_id: "PJM.WESTERN%20HUB.RTH".into(),
            price: "-31.55".parse().unwrap(),
            volume: None,
            event_time,
            vintage: Vintage::from_rank(vintage),
            sequence,
            origin,
            src_partition: 1,
            market: "PJM".into(),
            product: "rth".into(),
            currency: "USD".into(),
            unit: "MWh".into(),
            quality_flags: flags_of(&["price_negative".into(), "missing_volume".into()]).unwrap(),
            appended_at: 1_790_812_800_000_001,
        }
    }

    fn origins() -> impl Strategy<Value = OwnedOrigin> {
        let feed = proptest::sample::select(vec!["a", "a.b", "a-b", "a_b", "ab", "A"]).prop_map(str::to_owned);
        (feed, 0i32..12, 0i64..200, 0i32..12).prop_map(|(feed, partition, offset, index)| OwnedOrigin {
            feed,
            partition,
            offset,
            index,
        })
    }

    fn sequences() -> impl Strategy<Value = Option<i64>> {
        proptest::option::of(proptest::sample::select(vec![i64::MIN, -1, 0, 1, 10, i64::MAX]))
    }

    #[test]
    fn the_json_has_every_digit_and_the_public_form_has_no_rank() {
        let origin = OwnedOrigin {
            feed: "raw.v1".into(),
            partition: 2,
            offset: 17,
            index: 3,
        };
        let json = price(1_790_812_800_000_000, 0, None, origin).to_public_json();
        let expected = r#"{"tenant_id":"default","instrument_id":"PJM.WESTERN%20HUB.RTH","price":-31.55,"volume":null,"event_time":"2026-10-01T00:00:00.000000Z","tick_id":"raw.v1/2/17/3","market":"PJM","product":"rth","currency":"USD","unit":"MWh","quality_flags":["price_negative","missing_volume"],"appended_at":"2026-10-01T00:00:00.000001Z"}"#;
        assert_eq!(json, expected);
    }

    #[test]
    fn chosen_fields_have_their_own_names_behind_the_rank() {
        let price = price(
            1_790_812_800_000_000,
            0,
            None,
            Origin {
                feed: "raw.v1",
                partition: 2,
                offset: 17,
                index: 3,
            }
            .into(),
        );
        let json = price.json_of([("value", PriceField::Price), ("at \"x\"", PriceField::EventTime)]);
        let expected = r#"{"value":-31.55,"at \"x\"":"2026-10-01T00:00:00.000000Z"}"#;
        assert_eq!(LatestPrice::public_json(&json), expected);
        assert!(
            json.starts_with(&format!(r#"{{"standing":"{}","#, price.rank_text())),
            "{json}"
        );
    }

    proptest! {
        #[test]
        fn rank_texts_compare_as_ranks_do(
            (one_time, other_time) in (-3i64..3, -3i64..3),
            (one_vintage, other_vintage) in (-2i32..2, -2i32..2),
            (one_sequence, other_sequence) in (sequences(), sequences()),
            (one, other) in (origins(), origins()),
        ) {
            let one = price(one_time, one_vintage, one_sequence, one);
            let other = price(other_time, other_vintage, other_sequence, other);
            prop_assert_eq!(one.rank().cmp(&other.rank()), one.rank_text().as_bytes().cmp(other.rank_text().as_bytes()));
        }
    }
}
