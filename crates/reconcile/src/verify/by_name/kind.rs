//! What is served by name: its table in ClickHouse, the one in Postgres, and how both are asked. Pure.
//!
//! Invariant: numbers are asked for as text, so that every digit arrives.

use std::borrow::Cow;

use codec::{CodecError, Record, Wire};
use domain::Micros;
use ops::present::iso;
use service::Names;
use service::writer::TableSpec;
use service::writer::tables::{CURVE_SNAPSHOTS, DERIVED_PRICES};
use stores::Projection;
use stores::clickhouse::literal;
use stores::redis;
use stores::redis::key::every_served;

/// Tenant, curve or series, and horizon (empty for a series).
pub(super) type Key = [String; 3];
/// Time, then version: of two rows of a name the higher one is served.
pub(super) type Rank = (Micros, i64);

/// What is served by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The newest snapshot of each curve and horizon.
    CurveSnapshot,
    /// The newest price of each derived series.
    DerivedPrice,
}

/// What to do about wrong copies in Redis.
pub const COPIES_CURE: &str = "copies of curve snapshots and derived prices in Redis: `dp cache refresh` writes them again from \
    PostgreSQL, which must be right first; one that is still wrong then, or that nothing explains, goes with `dp cache invalidate --key KEY`";

impl Kind {
    /// Both.
    pub(super) const ALL: [Kind; 2] = [Kind::CurveSnapshot, Kind::DerivedPrice];

    /// What to do about wrong rows in Postgres.
    pub fn cure(self) -> &'static str {
        match self {
            Kind::CurveSnapshot => {
                "newest curve snapshots in PostgreSQL: `dp projection rebuild curve_snapshot --full --yes` writes them again from the log; \
                 if table curve_snapshots lacks rows too, `dp reconcile --repair` comes first"
            }
            Kind::DerivedPrice => {
                "newest derived prices in PostgreSQL: `dp projection rebuild derived_price --full --yes` writes them again from the log; \
                 if table derived_prices lacks rows too, `dp reconcile --repair` comes first"
            }
        }
    }

    /// The table of ClickHouse that has every version.
    pub(super) fn table(self) -> &'static TableSpec {
        match self {
            Kind::CurveSnapshot => &CURVE_SNAPSHOTS,
            Kind::DerivedPrice => &DERIVED_PRICES,
        }
    }

    /// The table of Postgres.
    pub(super) fn served(self) -> &'static str {
        match self {
            Kind::CurveSnapshot => "served_curve_snapshots",
            Kind::DerivedPrice => "served_derived_prices",
        }
    }

    /// The pattern (for `SCAN`) that matches its copies in Redis.
    pub(super) fn every_copy(self) -> String {
        every_served(match self {
            Kind::CurveSnapshot => Projection::CurveSnapshot,
            Kind::DerivedPrice => Projection::DerivedPrice,
        })
    }

    /// The key of its copy in Redis.
    pub(super) fn copy(self, [tenant, name, horizon]: &Key) -> String {
        match self {
            Kind::CurveSnapshot => redis::Key::curve_snapshot(tenant, name, horizon).to_string(),
            Kind::DerivedPrice => redis::Key::derived_price(tenant, name).to_string(),
        }
    }

    /// Tenant, name and horizon of a copy's key; `None` if it is not one of this kind.
    pub(super) fn of_copy(self, key: &str) -> Option<Key> {
        match (self, redis::Key::parse(key)?) {
            (
                Kind::CurveSnapshot,
                redis::Key::CurveSnapshot {
                    tenant_id,
                    curve_id,
                    horizon,
                },
            ) => Some([tenant_id, curve_id, horizon].map(Cow::into_owned)),
            (Kind::DerivedPrice, redis::Key::DerivedPrice { tenant_id, series }) => {
                Some([tenant_id.into_owned(), series.into_owned(), String::new()])
            }
            _ => None,
        }
    }

    /// What a key of a copy names.
    pub(super) fn names(self) -> &'static str {
        match self {
            Kind::CurveSnapshot => "a curve and horizon",
            Kind::DerivedPrice => "a derived series",
        }
    }

    /// Its rows in a title or a note.
    pub(super) fn rows(self) -> &'static str {
        match self {
            Kind::CurveSnapshot => "newest snapshot of each curve and horizon",
            Kind::DerivedPrice => "newest price of each derived series",
        }
    }

    /// A name in words.
    pub(super) fn named(self, [tenant, name, horizon]: &Key) -> String {
        match self {
            Kind::CurveSnapshot => format!("curve {name} to horizon {horizon} of tenant {tenant}"),
            Kind::DerivedPrice => format!("series {name} of tenant {tenant}"),
        }
    }

    /// Time and version in words.
    pub(super) fn words(self, (time, version): Rank) -> String {
        let column = match self {
            Kind::CurveSnapshot => "as_of",
            Kind::DerivedPrice => "event_time",
        };
        format!("{column} {}, version {version}", iso(time))
    }

    /// Name and rank of a record.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn of_record(self, wire: &Wire, payload: &[u8]) -> Result<(Key, Rank), CodecError> {
        let key = |tenant: &str, name: &str, horizon: &str| [tenant, name, horizon].map(str::to_owned);
        match self {
            Kind::CurveSnapshot => {
                let payload = wire.current(Record::CurveSnapshot, payload);
                let snapshot = wire.decode_curve(&payload)?;
                let key = key(snapshot.tenant_id, snapshot.curve_id, snapshot.horizon);
                Ok((key, (snapshot.as_of, snapshot.version)))
            }
            Kind::DerivedPrice => {
                let payload = wire.current(Record::DerivedPrice, payload);
                let price = wire.decode_derived(&payload)?;
                Ok((
                    key(price.tenant_id, price.series, ""),
                    (price.event_time, price.version),
                ))
            }
        }
    }

    /// The newest row of each name in ClickHouse; `passed` is SQL ` AND NOT (…)`. The names and ranks are found first, so that no content of
    /// an older row is read.
    pub(super) fn newest(self, names: &Names, passed: &str) -> String {
        let (table, columns) = (names.table(self.table().name), self.columns());
        let (key, time) = match self {
            Kind::CurveSnapshot => ("tenant_id, curve_id, horizon", "as_of"),
            Kind::DerivedPrice => ("tenant_id, series", "timestamp"),
        };
        let rank = format!("({time}, version)");
        format!(
            "SELECT {columns}, toString(toUnixTimestamp64Micro({time})) AS time_, toString(version) AS version_, \
             toString(src_partition) AS partition_, toString(revision) AS revision_, toString(cause) AS cause_ FROM {table} \
             WHERE ({key}, {time}, version) IN (SELECT {key}, argMax({time}, {rank}), argMax(version, {rank}) FROM {table} \
             WHERE 1{passed} GROUP BY {key}){passed} ORDER BY src_offset DESC LIMIT 1 BY {key}"
        )
    }

    fn columns(self) -> String {
        let optional = |column: &str| format!("if(isNull({column}), NULL, toString({column}))");
        let leg = |leg: &str| {
            format!(
                "toString({leg}_role) AS {leg}_role_, toString({leg}_instrument) AS {leg}_instrument_, {} AS {leg}_price_, \
                 {} AS {leg}_time_, {} AS {leg}_age_, {leg}_origin AS {leg}_origin_",
                optional(&format!("{leg}_price")),
                optional(&format!("toUnixTimestamp64Micro({leg}_time)")),
                optional(&format!("{leg}_age")),
            )
        };
        match self {
            Kind::CurveSnapshot => {
                "toString(tenant_id) AS tenant_, toString(curve_id) AS name_, toString(horizon) AS horizon_, toString(market) AS market_, \
                 toString(day) AS day_, toString(method) AS method_, toString(definition) AS definition_, origin AS origin_, \
                 points AS points_, inputs AS inputs_"
                    .to_owned()
            }
            Kind::DerivedPrice => format!(
                "toString(tenant_id) AS tenant_, toString(series) AS name_, toString(kind) AS kind_, {} AS value_, \
                 toString(unit) AS unit_, cause_origin AS origin_, {}, {}",
                optional("value"),
                leg("first"),
                leg("second")
            ),
        }
    }

    /// The rows of a generation in Postgres: name (3 columns), time, version, partition, seconds since it was written, body.
    pub(super) fn in_postgres(self, generation: &str) -> String {
        let (name, time, body) = match self {
            Kind::CurveSnapshot => ("curve_id, horizon", "as_of", "snapshot"),
            Kind::DerivedPrice => ("series, ''", "event_time", "price"),
        };
        format!(
            "SELECT tenant_id, {name}, (extract(epoch FROM {time}) * 1000000)::bigint, version, src_partition, \
             extract(epoch FROM now() - updated_at)::bigint, {body}::text FROM {} WHERE generation = {}",
            self.served(),
            literal(generation)
        )
    }
}
