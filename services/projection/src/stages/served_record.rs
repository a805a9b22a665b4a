//! A record of a curve snapshot or derived price as the row that is served.

use codec::{CodecError, Wire, json};
use domain::{Classified, ErrorClass, Micros};
use serde_json::Value;
use stores::served::Rank;
use stores::{Projection, ServedKey, ServedRow};
use stream::StreamError;

/// Code of a record that Postgres could not store.
const INVALID_VALUE: &str = "invalid_value";
/// The years that every store can hold, 1 to 9999.
const CALENDAR: std::ops::Range<Micros> = -62_135_596_800_000_000..253_402_300_800_000_000;

/// A record that was read; the row is made only if it is needed.
pub(crate) struct Record<'a> {
    /// What it is about.
    pub(crate) key: &'a ServedKey,
    /// Its place in the order.
    pub(crate) rank: Rank,
    body: &'a dyn Fn() -> Value,
}

impl Record<'_> {
    /// As it is served.
    pub(crate) fn row(&self, src_partition: i32) -> ServedRow {
        let (time, version) = self.rank;
        ServedRow {
            key: self.key.clone(),
            time,
            version,
            src_partition,
            body: (self.body)().to_string(),
        }
    }
}

/// Why a record was not read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// It is a dead letter: code and reason.
    Poison(&'static str, String),
    /// Its schema is not known yet.
    Later(StreamError),
}

/// Bytes of the names of a key: PostgreSQL indexes at most about 2,700.
const LONGEST_KEY: usize = 2_000;

/// Passes the record of this payload on.
pub(crate) fn read<T>(
    wire: &Wire,
    projection: Projection,
    payload: &[u8],
    take: impl FnOnce(Record<'_>) -> T,
) -> Result<T, Unread> {
    match projection {
        Projection::CurveSnapshot => {
            let payload = wire.current(codec::Record::CurveSnapshot, payload);
            let snapshot = wire.decode_curve(&payload).map_err(unread)?;
            let key = key(snapshot.tenant_id, snapshot.curve_id, snapshot.horizon);
            let body = || json::curve(&snapshot);
            checked(&key, (snapshot.as_of, snapshot.version), &body, take)
        }
        Projection::DerivedPrice => {
            let payload = wire.current(codec::Record::DerivedPrice, payload);
            let price = wire.decode_derived(&payload).map_err(unread)?;
            let key = key(price.tenant_id, price.series, "");
            let body = || json::derived(&price);
            checked(&key, (price.event_time, price.version), &body, take)
        }
    }
}

fn key(tenant_id: &str, name: &str, horizon: &str) -> ServedKey {
    ServedKey {
        tenant_id: tenant_id.to_owned(),
        name: name.to_owned(),
        horizon: horizon.to_owned(),
    }
}

/// Refuses what Postgres cannot store: it would stop the partition (INV-9).
fn checked<T>(
    key: &ServedKey,
    rank: Rank,
    body: &dyn Fn() -> Value,
    take: impl FnOnce(Record<'_>) -> T,
) -> Result<T, Unread> {
    let refused = |reason: String| Err(Unread::Poison(INVALID_VALUE, reason));
    if !CALENDAR.contains(&rank.0) {
        return refused(format!("the time {} µs is not in the years 1 to 9999", rank.0));
    }
    let names = [&key.tenant_id, &key.name, &key.horizon];
    if names.iter().any(|name| name.contains('\0')) {
        return refused("a name contains the character NUL".to_owned());
    }
    let bytes: usize = names.iter().map(|name| name.len()).sum();
    if bytes > LONGEST_KEY {
        return refused(format!("its names have {bytes} bytes, more than {LONGEST_KEY}"));
    }
    Ok(take(Record { key, rank, body }))
}

fn unread(error: CodecError) -> Unread {
    match error.class() {
        ErrorClass::Poison => Unread::Poison(error.code(), error.to_string()),
        _ => Unread::Later(StreamError::transient(error.code(), format!("read a record: {error}"))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use domain::{CurveSnapshot, DerivedCause, DerivedPrice, Origin};

    use super::*;

    fn origin() -> Origin<'static> {
        Origin {
            feed: "raw",
            partition: 1,
            offset: 2,
            index: 3,
        }
    }

    fn snapshot<'a>(curve_id: &'a str, as_of: Micros) -> CurveSnapshot<'a> {
        CurveSnapshot {
            origin: origin(),
            tenant_id: "acme",
            curve_id,
            market: "PJM",
            horizon: "1y",
            as_of,
            day: 20_000,
            method: "smooth",
            definition: "smooth",
            log_clock: as_of,
            version: 7,
            revision: 1,
            cause: DerivedCause::Late,
            points: Vec::new(),
            inputs: Vec::new(),
        }
    }

    fn row(projection: Projection, payload: &[u8]) -> Result<ServedRow, (&'static str, String)> {
        let wire = Wire::single_object();
        read(&wire, projection, payload, |record| record.row(4)).map_err(|error| match error {
            Unread::Poison(code, reason) => (code, reason),
            Unread::Later(error) => ("later", error.to_string()),
        })
    }

    fn encoded(snapshot: &CurveSnapshot<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        Wire::single_object().encode_curve(snapshot, &mut bytes);
        bytes
    }

    #[test]
    fn a_record_is_served_under_its_names_with_its_rank_and_all_its_fields() {
        let row_of_curve = row(Projection::CurveSnapshot, &encoded(&snapshot("PJM:WEST", 60_000_000))).unwrap();
        assert_eq!(row_of_curve.key, key("acme", "PJM:WEST", "1y"));
        assert_eq!((row_of_curve.rank(), row_of_curve.src_partition), ((60_000_000, 7), 4));
        let body: Value = serde_json::from_str(&row_of_curve.body).unwrap();
        for (field, expected) in [
            ("curve_id", Value::from("PJM:WEST")),
            ("as_of", "1970-01-01T00:01:00.000000Z".into()),
            ("revision", 1.into()),
            ("cause", "late".into()),
        ] {
            assert_eq!(body[field], expected, "{body}");
        }

        let price = DerivedPrice {
            tenant_id: "acme",
            series: "spark",
            kind: "spark_spread",
            event_time: 5,
            value: None,
            unit: "USD/MWh",
            legs: Vec::new(),
            log_clock: 6,
            version: 9,
            revision: 0,
            cause: DerivedCause::First,
            cause_origin: origin(),
        };
        let mut bytes = Vec::new();
        Wire::single_object().encode_derived(&price, &mut bytes);
        let row_of_series = row(Projection::DerivedPrice, &bytes).unwrap();
        assert_eq!(
            (&row_of_series.key, row_of_series.rank()),
            (&key("acme", "spark", ""), (5, 9))
        );
        // A record of the other topic.
        assert!(row(Projection::CurveSnapshot, &bytes).is_err());
    }

    #[test]
    fn what_postgres_cannot_store_is_a_dead_letter() {
        let long = "x".repeat(LONGEST_KEY);
        for (curve, as_of, reason) in [
            ("C", i64::MAX, "years"),
            ("C", i64::MIN, "years"),
            ("a\0b", 0, "NUL"),
            (long.as_str(), 0, "bytes"),
        ] {
            let (code, told) = row(Projection::CurveSnapshot, &encoded(&snapshot(curve, as_of))).unwrap_err();
            assert_eq!(code, INVALID_VALUE);
            assert!(told.contains(reason), "{told}");
        }
        let bytes = encoded(&snapshot("C", 0));
        let cut = row(Projection::CurveSnapshot, &bytes[..bytes.len() - 1]);
        assert_eq!(cut.map_err(|(code, _)| code), Err("truncated"));
    }
}
