//! Compares the newest curve snapshots and derived prices that are served with the newest rows of their tables, which `curves` and `derived`
//! compare with ticks.
//!
//! Role: `kind` has the queries, `columns` and `body` read both sides into the form of `rows`, `compare` names what differs. Nothing is shared
//! with the stage that serves them. Redis has a copy of each row.
//! Invariant: of the rows of a name up to the cut, that of the last time, and of these that of the largest version, is served.
//! Failure: a server that does not answer is an error. What a record since the cut has changed is counted in a note.

mod body;
mod columns;
mod compare;
mod kind;
mod rows;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use domain::Micros;
use ops::connection::Connection;
use ops::threads::reading;
use service::clients::Clients;
use stores::{ClickHouse, Postgres};

use super::cut::Cut;
use super::gaps::Gaps;
use super::ranges;
use super::report::VerifyReport;
use super::served;
use super::versions::{self, Versions};
use columns::{CurveRow, PriceRow};
use compare::{Around, Found, Left, Stored};
use kind::{Key, Rank};
use rows::{Expected, Row};

pub use kind::{COPIES_CURE, Kind};

/// Compares both kinds in every store that serves them.
///
/// # Errors
/// A server does not answer, or a table is missing.
pub(super) async fn check(
    connection: &Connection,
    clients: &Clients,
    gaps: &Gaps,
    report: &mut VerifyReport,
) -> anyhow::Result<()> {
    let clickhouse = clients.clickhouse().map_err(|error| anyhow::anyhow!(error))?;
    let postgres = clients.postgres().map_err(|error| anyhow::anyhow!(error))?;
    let redis = clients.redis().map_err(|error| anyhow::anyhow!(error))?;
    let cut = report.cut.clone();
    for kind in Kind::ALL {
        let source = Source {
            connection,
            clickhouse: &clickhouse,
            gaps,
            cut: &cut,
            kind,
        };
        let expected = source.expected().await?;
        let stored = source.stored(&postgres).await?;
        let copies = served::in_redis(&redis, &kind.every_copy()).await?;
        // The records since the cut come last, so that they have what every store has.
        let around = source.around().await?;
        let (check, left) = around.postgres(&expected, &stored);
        if !check.ok {
            report.notes.push(kind.cure().to_owned());
        }
        report.checks.push(check);
        report.notes.extend(said(&around, "PostgreSQL", &left));
        let (check, left) = around.redis(&expected, &stored, &copies);
        if !check.ok && !report.notes.iter().any(|note| note == COPIES_CURE) {
            report.notes.push(COPIES_CURE.to_owned());
        }
        report.checks.push(check);
        report.notes.extend(said(&around, "Redis", &left));
    }
    Ok(())
}

/// Notes on what was not compared.
fn said(around: &Around, store: &str, left: &Left) -> Vec<String> {
    let rows = around.kind.rows();
    let mut notes: Vec<String> = versions::moved(&format!("row(s) of \"{rows}\" in {store}"), left.moved)
        .into_iter()
        .collect();
    if left.expired > 0 {
        notes.push(format!(
            "{} row(s) of \"{rows}\" in {store} are not compared: the rows of {} that they follow from may have expired",
            left.expired, around.table
        ));
    }
    if !left.excused.is_empty() {
        let names: Vec<&str> = left.excused.iter().map(String::as_str).collect();
        notes.push(format!(
            "\"{rows}\" in {store} with an accepted gap are not compared: {}",
            names.join(", ")
        ));
    }
    notes
}

/// Where one kind is read.
struct Source<'a> {
    connection: &'a Connection,
    clickhouse: &'a ClickHouse,
    gaps: &'a Gaps,
    cut: &'a Cut,
    kind: Kind,
}

impl Source<'_> {
    fn topic(&self) -> String {
        (self.kind.table().topic)(&self.connection.names).clone()
    }

    /// The newest row of each name in ClickHouse, up to the cut.
    async fn expected(&self) -> anyhow::Result<BTreeMap<Key, Expected>> {
        let names = &self.connection.names;
        let sql = self.kind.newest(names, &self.cut.condition(&self.topic()));
        let context = || format!("find the newest rows of {}", names.table(self.kind.table().name));
        match self.kind {
            Kind::CurveSnapshot => {
                let rows: Vec<CurveRow> = self.clickhouse.query_rows(&sql).await.with_context(context)?;
                rows.into_iter().map(CurveRow::expected).collect()
            }
            Kind::DerivedPrice => {
                let rows: Vec<PriceRow> = self.clickhouse.query_rows(&sql).await.with_context(context)?;
                rows.into_iter().map(PriceRow::expected).collect()
            }
        }
    }

    /// The rows of Postgres.
    async fn stored(&self, postgres: &Postgres) -> anyhow::Result<BTreeMap<Key, Stored>> {
        let sql = self.kind.in_postgres(self.connection.names.generation());
        let served = self.kind.served();
        let rows = postgres.query_text(&sql).await;
        let rows =
            rows.with_context(|| format!("read {served}: is the table of this release there (`dp migrate`)?"))?;
        let read = |row| stored(self.kind, row).with_context(|| format!("read a row of {served}"));
        rows.into_iter().map(read).collect()
    }

    /// What the comparison knows besides the rows.
    async fn around(&self) -> anyhow::Result<Around> {
        let names = &self.connection.names;
        let topic = self.topic();
        let passed = [names.served_group("projection"), names.writer_group("aggregation")];
        let excuse = self.gaps.excuse(&passed.map(|group| (group, topic.as_str(), 1)));
        let versions = Versions {
            connection: self.connection,
            clickhouse: self.clickhouse,
            gaps: self.gaps,
            cut: self.cut,
            expired: &[],
            named: 0,
            spec: self.kind.table(),
        };
        Ok(Around {
            kind: self.kind,
            table: versions.name(),
            kept_since: versions.kept_since().await?,
            excused: excuse.partitions,
            later: self.later(topic).await?,
        })
    }

    /// Times and versions of the records since the cut. One that cannot be read is a dead letter of its readers.
    async fn later(&self, topic: String) -> anyhow::Result<BTreeMap<Key, BTreeSet<Rank>>> {
        let wire = self.connection.wire().await?;
        let bootstrap = self.connection.settings.kafka_bootstrap.clone();
        let group = self.connection.names.served_group("projection");
        let (gaps, cut, kind, context) = (self.gaps.clone(), self.cut.clone(), self.kind, format!("read {topic}"));
        reading(move || {
            let mut ranges = ranges::ranges(&bootstrap, &[topic])?;
            gaps.leave_out(&group, &mut ranges);
            let mut later: BTreeMap<Key, BTreeSet<Rank>> = BTreeMap::new();
            for range in &ranges {
                let from = cut.end(&range.partition()).unwrap_or(range.end).max(range.first);
                if from >= range.end {
                    continue;
                }
                range.read(&bootstrap, from, |message| {
                    if let Ok((key, rank)) = kind.of_record(&wire, message.payload.unwrap_or_default()) {
                        later.entry(key).or_default().insert(rank);
                    }
                })?;
            }
            Ok(later)
        })
        .await
        .context(context)
    }
}

/// A row of [`Kind::in_postgres`].
fn stored(kind: Kind, row: Vec<Option<String>>) -> anyhow::Result<(Key, Stored)> {
    let row: [Option<String>; 8] = row
        .try_into()
        .ok()
        .context("PostgreSQL returned another number of columns")?;
    let [tenant, name, horizon, time, version, partition, age, body] = row.map(Option::unwrap_or_default);
    let rank: Rank = (number::<Micros>("time", &time)?, number("version", &version)?);
    let stored = Stored {
        found: Found {
            columns: Some(rank),
            body: Row::of_body(kind, &body),
        },
        partition: number("src_partition", &partition)?,
        age: number("age", &age)?,
    };
    Ok(([tenant, name, horizon], stored))
}

fn number<T: std::str::FromStr>(name: &str, text: &str) -> anyhow::Result<T> {
    text.parse::<T>()
        .ok()
        .with_context(|| format!("PostgreSQL returned \"{text}\" for {name}, which is not a number"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::rows::tests::curve_body;
    use super::*;

    #[test]
    fn a_row_of_postgres_has_its_rank_its_age_and_what_its_json_shows() {
        let body = curve_body(0, 7, 1.0);
        let columns = ["t", "C", "1m", "60000000", "7", "3", "12", body.as_str()];
        let row = |columns: &[&str]| columns.iter().map(|text| Some((*text).to_owned())).collect::<Vec<_>>();
        let (key, found) = stored(Kind::CurveSnapshot, row(&columns)).unwrap();
        assert_eq!(key, ["t", "C", "1m"].map(str::to_owned));
        assert_eq!((found.partition, found.age), (3, 12));
        assert_eq!(found.found.columns, Some((60_000_000, 7)));
        assert!(found.found.body.is_ok());
        assert!(stored(Kind::CurveSnapshot, row(&columns[..7])).is_err());
        let why = stored(Kind::CurveSnapshot, row(&["t", "C", "1m", "x", "7", "3", "12", "{}"])).unwrap_err();
        assert!(format!("{why:#}").contains("\"x\" for time"), "{why:#}");
    }

    #[test]
    fn what_is_not_compared_is_said() {
        let around = Around {
            kind: Kind::DerivedPrice,
            table: "derived_prices".to_owned(),
            later: BTreeMap::new(),
            kept_since: 0,
            excused: BTreeSet::new(),
        };
        let left = Left {
            moved: 2,
            expired: 1,
            excused: ["series s of tenant t".to_owned()].into(),
        };
        let notes = said(&around, "PostgreSQL", &left);
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert!(
            notes
                .iter()
                .any(|note| note.ends_with("not compared: series s of tenant t")),
            "{notes:?}"
        );
        assert!(said(&around, "PostgreSQL", &Left::default()).is_empty());
    }
}
