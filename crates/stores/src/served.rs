//! The newest value of a name: a snapshot of a curve to a horizon, or the price of a derived series, as stored and served.
//!
//! Invariant: of two rows of a key the one of the higher [`Rank`] is served, whichever came first. Equal ranks have equal content (the
//! version is the position of what caused it), so writing one twice changes nothing.

use domain::Micros;
use serde_json::Value;

use crate::price::RANK;

/// The order between two rows of a key: their time, then their version.
pub type Rank = (Micros, i64);

/// What is served by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Projection {
    /// The newest snapshot of each curve and horizon.
    CurveSnapshot,
    /// The newest price of each derived series.
    DerivedPrice,
}

impl Projection {
    /// Both.
    pub const ALL: [Projection; 2] = [Projection::CurveSnapshot, Projection::DerivedPrice];

    /// Its name in `projection_positions`, metrics and commands.
    pub fn name(self) -> &'static str {
        match self {
            Projection::CurveSnapshot => "curve_snapshot",
            Projection::DerivedPrice => "derived_price",
        }
    }

    /// Its table in Postgres.
    pub fn table(self) -> &'static str {
        match self {
            Projection::CurveSnapshot => "served_curve_snapshots",
            Projection::DerivedPrice => "served_derived_prices",
        }
    }
}

/// What a row is about. Ordered, so that all writers lock rows in the same order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServedKey {
    /// Tenant.
    pub tenant_id: String,
    /// Id of the curve, or name of the series.
    pub name: String,
    /// Horizon of the snapshot; empty for a series.
    pub horizon: String,
}

/// The newest value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedRow {
    /// What it is about.
    pub key: ServedKey,
    /// Time of the snapshot (`as_of`) or of the price.
    pub time: Micros,
    /// Of two rows of one time, the larger one is served.
    pub version: i64,
    /// Partition of the topic that it was read from.
    pub src_partition: i32,
    /// A JSON object, as readers get it.
    pub body: String,
}

impl ServedRow {
    /// Its place in the order.
    pub fn rank(&self) -> Rank {
        (self.time, self.version)
    }

    /// The value of its key in Redis: its rank, which the compare script reads, then the body.
    pub fn to_copy(&self) -> String {
        let rank = Value::from(rank_text(self.rank()));
        match self.body.strip_prefix('{') {
            Some("}") | None => format!("{{\"{RANK}\":{rank}}}"),
            Some(fields) => format!("{{\"{RANK}\":{rank},{fields}"),
        }
    }
}

/// The rank as a string whose byte order is the order of ranks.
fn rank_text((time, version): Rank) -> String {
    // Signed numbers as unsigned numbers, in the same order.
    let shifted = |number: i64| (number as u64) ^ (1 << 63);
    format!("{:020} {:020}", shifted(time), shifted(version))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(time: Micros, version: i64, body: &str) -> ServedRow {
        ServedRow {
            key: ServedKey {
                tenant_id: "t".into(),
                name: "c".into(),
                horizon: "1m".into(),
            },
            time,
            version,
            src_partition: 0,
            body: body.to_owned(),
        }
    }

    proptest! {
        #[test]
        fn texts_of_ranks_have_their_order(one in any::<Rank>(), other in any::<Rank>()) {
            prop_assert_eq!(rank_text(one).cmp(&rank_text(other)), one.cmp(&other));
            prop_assert_eq!(row(one.0, one.1, "{}").rank(), one);
        }

        #[test]
        fn ranks_that_differ_in_one_number_have_their_order(time in -3i64..3, other in -3i64..3, version in -3i64..3, later in -3i64..3) {
            let (one, other) = ((time, version), (other, later));
            prop_assert_eq!(rank_text(one).cmp(&rank_text(other)), one.cmp(&other));
        }
    }

    #[test]
    fn a_copy_begins_with_its_rank_and_has_every_field_of_the_body() {
        for (body, fields) in [(r#"{"a":1,"b":[2]}"#, 3), (r#"{"a":{}}"#, 2), ("{}", 1)] {
            let copy = row(5, 7, body).to_copy();
            assert!(
                copy.starts_with(r#"{"standing":"09223372036854775813 09223372036854775815""#),
                "{copy}"
            );
            let mut read: serde_json::Map<String, Value> = serde_json::from_str(&copy).unwrap();
            assert_eq!(read.len(), fields, "{copy}");
            read.remove("standing");
            assert_eq!(Value::from(read), serde_json::from_str::<Value>(body).unwrap());
        }
    }
}
