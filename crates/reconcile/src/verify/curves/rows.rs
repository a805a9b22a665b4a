//! The rows that the queries return: quotes and stored snapshots.
//!
//! Failure: a number that cannot be read is an error; points or quotes that cannot be read are a difference.

use domain::{Decimal, Micros};
use jiff::civil::Date;
use serde::Deserialize;

use super::super::cut::Arrived;
use super::pricing::{Point, Quoted};
use super::rules::Quote;

/// A quote as it is asked for.
#[derive(Deserialize)]
pub(super) struct QuoteRow {
    instrument: String,
    tenor_: String,
    market_: String,
    time: String,
    vintage: String,
    sequence_: Option<String>,
    feed_: String,
    partition: String,
    offset_: String,
    index_: String,
    price_: String,
    volume_: Option<String>,
    currency_: String,
    unit_: String,
    src_partition_: String,
    src_offset_: String,
}

impl QuoteRow {
    /// Its position in the enriched topic, and the quote without what the log says of it.
    pub(super) fn quote(self) -> anyhow::Result<((i32, i64), Quote)> {
        let place = (self.src_partition_.parse()?, self.src_offset_.parse()?);
        let quote = Quote {
            instrument: self.instrument,
            tenor: Some(self.tenor_).filter(|tenor| !tenor.is_empty()),
            market: self.market_,
            clock: Micros::MIN,
            read: Micros::MIN,
            newest_clock: Micros::MIN,
            time: self.time.parse()?,
            day: Date::ZERO,
            is_dated: false,
            vintage: self.vintage.parse()?,
            sequence: self.sequence_.map(|sequence| sequence.parse()).transpose()?,
            origin: (
                self.feed_,
                self.partition.parse()?,
                self.offset_.parse()?,
                self.index_.parse()?,
            ),
            figure: Decimal::parse(self.price_.as_bytes())?.unscaled(),
            volume: self
                .volume_
                .map(|volume| Decimal::parse(volume.as_bytes()))
                .transpose()?
                .map(Decimal::unscaled),
            unit: (self.currency_, self.unit_),
            definition: None,
        };
        Ok((place, quote))
    }
}

/// A snapshot as it is asked for.
#[derive(Deserialize)]
pub(super) struct StoredRow {
    time: String,
    horizon_: String,
    market_: String,
    day_: String,
    method_: String,
    definition_: String,
    points: String,
    inputs: String,
    origin: String,
}

/// A stored snapshot.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stored {
    pub time: Micros,
    pub horizon: String,
    pub market: String,
    pub day: Date,
    pub method: String,
    pub definition: String,
    /// The tick, as text.
    pub origin: String,
    /// Points and quotes; the reason if they cannot be read.
    pub content: Result<(Vec<Point>, Vec<Quoted>), String>,
}

impl Stored {
    /// Whether it takes back the snapshot before.
    pub(super) fn is_withdrawn(&self) -> bool {
        matches!(&self.content, Ok((points, inputs)) if points.is_empty() && inputs.is_empty())
    }

    /// Whether one of these ticks has made it what it is.
    pub(super) fn has_changed(&self, arrived: &Arrived) -> bool {
        let inputs = self.content.iter().flat_map(|(_, inputs)| inputs);
        arrived.has(&self.origin) || inputs.into_iter().any(|input| arrived.has(&input.source))
    }
}

impl StoredRow {
    pub(super) fn stored(self) -> anyhow::Result<Stored> {
        Ok(Stored {
            time: self.time.parse()?,
            content: content(&self.points, &self.inputs),
            horizon: self.horizon_,
            market: self.market_,
            day: self.day_.parse()?,
            method: self.method_,
            definition: self.definition_,
            origin: self.origin,
        })
    }
}

/// A snapshot of which an earlier version is gone, as it is asked for.
#[derive(Deserialize)]
pub(super) struct GoneRow {
    pub horizon_: String,
    pub time: String,
    pub origin_: String,
    pub found: String,
    pub sent: String,
    /// Of all such snapshots.
    pub total: String,
}

/// Points and quotes from their JSON texts.
pub(crate) fn content(points: &str, inputs: &str) -> Result<(Vec<Point>, Vec<Quoted>), String> {
    let points = serde_json::from_str(points).map_err(|error| format!("its points cannot be read: {error}"))?;
    let inputs = serde_json::from_str(inputs).map_err(|error| format!("its quotes cannot be read: {error}"))?;
    Ok((points, inputs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_and_quotes_are_read_from_the_texts_of_the_table() {
        let points = r#"[{"contract":"2027-01","block":"flat","delivery_start":"a","delivery_end":"b","price":40.5,"method":"quoted","volume":7,"confidence":1,"extrapolated":false,"sources":[]},
            {"contract":"2027-02","block":"flat","delivery_start":"a","delivery_end":"b","price":40.5,"method":"quoted","volume":null}]"#;
        let inputs = r#"[{"contract":"Q1-27","block":"flat","price":-1,"curve_price":null,"residual":null,"state":"in_delivery",
            "implied_by":[],"source":"raw/0/1/2","known_at":7}]"#;
        let Ok((points, inputs)) = content(points, inputs) else {
            unreachable!("both are right");
        };
        assert_eq!((points.len(), inputs.len()), (2, 1));
        let fields: Vec<_> = points.iter().map(|point| (point.has_fields(), point.volume)).collect();
        assert_eq!(fields, [(true, Some(7.0)), (false, None)]);
        assert!(inputs.iter().all(|input| !input.is_used() && input.known_at == 7));
        assert!(content("[{}]", "[]").is_err_and(|why| why.starts_with("its points cannot be read")));
    }
}
