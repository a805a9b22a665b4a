//! Compares snapshots of curves with the ticks that they must be made from, and with their own points.
//!
//! Role: [`rules`] says which quotes count at a time, [`definition`] which instruments a curve has, [`implied`] which of them others imply, [`delivery`] and [`pricing`] what the points give
//! for them, [`levels`] which points their method gives, [`compare`] names what differs; [`sql`] and [`rows`] are the queries and their results, [`begun`] reads what the topic of legs says of each quote. The settings
//! are those of aggregation. Nothing else is shared with the stage that computes the snapshots, nor with crate `curves`.
//! Invariants: the newest version of every snapshot has the quotes that `enriched_ticks` holds for its time, whatever order they came in,
//! and its points reprice them and have the prices of their method. The earlier versions are still there: their revisions have no gap. Each query has a limited number of times, which bounds the memory of the server and of this process.
//! Failure: what depends on what cannot be known (which old quotes the stage remembers, expired rows, accepted gaps) is counted in a note,
//! never as a difference.

#[cfg(test)]
mod agreement;
mod begun;
mod compare;
mod definition;
pub(crate) mod delivery;
mod implied;
pub(crate) mod levels;
pub(crate) mod pricing;
pub(crate) mod rows;
mod rules;
mod sql;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use codec::Wire;
use domain::Micros;
use serde_json::{Map, Value};
use service::{Names, Reader};

use super::gaps::partition_of_key;
use super::ranges::{self, Range};
use super::report::NAMED;
use super::versions::{self, Compared, Outcome, Versions, notes};
use begun::Begun;
use compare::{Comparison, Kept};
use ops::rows::{number, text};
use ops::threads::reading;
use rows::{GoneRow, QuoteRow, StoredRow};
use rules::{Quotes, Times};
use sql::{Lane, Source};

/// Times whose snapshots are read by one query.
const TIMES_AT_ONCE: usize = 200;

/// The snapshots to compare.
pub(super) struct Curves<'a>(pub Versions<'a>);

/// What is known of the log besides the quotes.
struct Logs {
    begun: Begun,
    /// Of the topic of legs.
    ranges: Vec<Range>,
    /// The log clock at each quote, by enriched partition and offset.
    clocks: BTreeMap<(i32, i64), Micros>,
    /// The newest log clock of each enriched partition.
    newest: BTreeMap<i32, Micros>,
    snapshots_since: Micros,
}

impl Curves<'_> {
    fn names(&self) -> &Names {
        self.0.names()
    }

    /// Compares all curves of all tenants.
    ///
    /// # Errors
    /// A server does not answer, or a setting cannot be used.
    pub(super) async fn check(&self) -> anyhow::Result<Outcome> {
        let times = self.times()?;
        let passed = self.0.passed();
        let source = Source {
            names: self.names(),
            passed: &passed,
        };
        let (mut compared, mut excused) = (Compared::default(), Vec::new());
        let rows = self
            .0
            .clickhouse
            .query_json(&source.lanes())
            .await
            .context("list the curves")?;
        let lane = |row: &Map<String, Value>| -> anyhow::Result<Lane> {
            Ok(Lane {
                tenant: text(row, "tenant")?.to_owned(),
                curve: text(row, "curve")?.to_owned(),
            })
        };
        let lanes: BTreeSet<Lane> = rows.iter().map(lane).collect::<anyhow::Result<_>>()?;
        if !lanes.is_empty() {
            let logs = self.logs(&source).await?;
            for lane in &lanes {
                match self.is_excused(lane, logs.ranges.len()) {
                    true => excused.push(format!("{}/{}", lane.tenant, lane.curve)),
                    false => compared.add(self.lane(&source, lane, times, &logs).await?, self.0.named),
                }
            }
        }
        let notes = said(&compared, &excused);
        let gone = std::mem::take(&mut compared.gone);
        Ok(Outcome {
            checks: vec![
                self.0.newest(compared, "quotes"),
                self.0.earlier(gone, "snapshots"),
                self.0.contents(&source.conflicting(NAMED)).await?,
            ],
            notes,
        })
    }

    fn times(&self) -> anyhow::Result<Times> {
        let mut reader = Reader::new(&self.0.connection.env);
        let limits = aggregation::config::read(&mut reader).curves;
        reader.finish()?;
        Ok(Times {
            interval: limits.interval,
            hold: limits.hold,
            max_age: limits.max_age,
        })
    }

    async fn logs(&self, source: &Source<'_>) -> anyhow::Result<Logs> {
        let wire: Wire = self.0.connection.wire().await?;
        let bootstrap = self.0.connection.settings.kafka_bootstrap.clone();
        let legs = self.names().legs.clone();
        let (gaps, group) = (self.0.gaps.clone(), self.names().curves_group("aggregation"));
        let (begun, ranges) = reading(move || {
            let mut of_legs = ranges::ranges(&bootstrap, &[legs])?;
            gaps.leave_out(&group, &mut of_legs);
            let begun = begun::read(&bootstrap, &wire, &of_legs)?;
            Ok((begun, of_legs))
        })
        .await
        .with_context(|| format!("read {}", self.names().legs))?;
        let mut logs = Logs {
            begun,
            ranges,
            clocks: BTreeMap::new(),
            newest: BTreeMap::new(),
            snapshots_since: self.0.kept_since().await?,
        };
        for row in self
            .0
            .clickhouse
            .query_json(&source.partitions())
            .await
            .context("read the log clocks")?
        {
            let partition = number(&row, "partition")?;
            logs.newest.insert(partition, number(&row, "newest")?);
            self.clocks(source, partition, &mut logs.clocks).await?;
        }
        Ok(logs)
    }

    async fn clocks(
        &self,
        source: &Source<'_>,
        partition: i32,
        clocks: &mut BTreeMap<(i32, i64), Micros>,
    ) -> anyhow::Result<()> {
        let rows = self.0.clickhouse.query_json(&source.clocks(partition)).await;
        let rows = rows.context("read the log clocks at quotes")?;
        // A row has the quote before. Its own quote is in the next row, or is the last of all.
        let own = rows.iter().skip(1).map(|row| number(row, "before_"));
        let last = rows.last().map(|row| number(row, "last_"));
        let mut clock = Micros::MIN;
        for (row, own) in rows.iter().zip(own.chain(last)) {
            clock = clock.max(number(row, "clock_")?);
            clocks.insert((partition, own?), clock);
        }
        Ok(())
    }

    /// Whether an accepted gap may explain differences of the curve: one quote can change many snapshots.
    fn is_excused(&self, lane: &Lane, partitions: usize) -> bool {
        let names = self.names();
        let of_curve = self.0.gaps.excuse(&[
            (names.curves_group("aggregation"), &names.legs, 1),
            (names.writer_group("aggregation"), &names.curves, 1),
        ]);
        let of_ticks = self
            .0
            .gaps
            .excuse(&[(names.writer_group("enrichment"), &names.enriched, 1)]);
        let count = i32::try_from(partitions).unwrap_or(i32::MAX);
        // Quotes of a curve are in many partitions of ticks.
        let own = partition_of_key(&lane.tenant, &lane.curve, count);
        of_curve.partitions.contains(&own) || !of_ticks.partitions.is_empty()
    }

    async fn lane(&self, source: &Source<'_>, lane: &Lane, times: Times, logs: &Logs) -> anyhow::Result<Compared> {
        let quotes = self.quotes(source, lane, times, logs).await?;
        let stored = self.0.clickhouse.query_json(&source.times(lane)).await;
        let stored = stored.context("list the times of curve snapshots")?;
        let stored: BTreeSet<Micros> = stored
            .iter()
            .map(|row| number(row, "time"))
            .collect::<anyhow::Result<_>>()?;
        let is_other = |time: &&Micros| time.rem_euclid(times.interval.max(1)) != 0;
        let last_other = stored.iter().filter(is_other).max();
        let back = times.max_age.saturating_add(times.hold);
        let comparison = Comparison {
            lane,
            times,
            kept: Kept {
                complete_since: self.0.complete_since(back),
                snapshots_since: logs.snapshots_since,
                other_interval: last_other.and_then(|time| times.end_of(*time)).unwrap_or(Micros::MIN),
            },
            own_tenant: &self.0.connection.settings.tenant_id,
        };
        let all: BTreeSet<Micros> = stored.iter().copied().chain(quotes.ends()).collect();
        let all = Vec::from_iter(all);
        let mut compared = Compared::default();
        for (part, of_part) in sql::parts(&all, TIMES_AT_ONCE)
            .into_iter()
            .zip(all.chunks(TIMES_AT_ONCE))
        {
            let rows: Vec<StoredRow> = self.0.rows(&source.stored(lane, part)).await?;
            let stored = rows.into_iter().map(StoredRow::stored).collect::<anyhow::Result<_>>()?;
            let arrived = self.0.arrived().await?;
            compared.add(comparison.part(of_part, &quotes, stored, &arrived), self.0.named);
        }
        let gone: Vec<GoneRow> = self
            .0
            .rows(&source.gone(lane, logs.snapshots_since, self.0.named))
            .await?;
        compared.gone = comparison.gone(&gone)?;
        Ok(compared)
    }

    async fn quotes(&self, source: &Source<'_>, lane: &Lane, times: Times, logs: &Logs) -> anyhow::Result<Quotes> {
        let since = self.since(source, lane, logs).await?;
        let rows: Vec<QuoteRow> = self.0.rows(&source.quotes(lane)).await?;
        let mut quotes = Vec::with_capacity(rows.len());
        for row in rows {
            let (place, mut quote) = row.quote()?;
            let is_read = since.get(&place.0).is_some_and(|first| *first <= place.1);
            let Some(clock) = logs.clocks.get(&place).filter(|_| is_read) else {
                continue;
            };
            quote.clock = *clock;
            quote.newest_clock = logs.newest.get(&place.0).copied().unwrap_or(*clock);
            quote.read = times.read_by(*clock);
            if let Some(leg) = logs.begun.leg(place.0, place.1) {
                quote.read = leg.read;
                quote.definition = Some(leg.definition.clone());
            }
            quotes.push(quote);
        }
        Ok(Quotes::new(quotes, times))
    }

    /// The first offset of the curve in each enriched partition. Retention removes legs before it removes ticks: then stored snapshots say
    /// what was a quote.
    async fn since(&self, source: &Source<'_>, lane: &Lane, logs: &Logs) -> anyhow::Result<BTreeMap<i32, i64>> {
        let mut since = logs.begun.of(&lane.tenant, &lane.curve);
        if !since.is_empty() && !logs.ranges.iter().any(|range| range.is_cut) {
            return Ok(since);
        }
        let rows = self.0.clickhouse.query_json(&source.used_since(lane)).await;
        for row in rows.with_context(|| format!("read the first quotes of {}", lane.curve))? {
            begun::first(&mut since, number(&row, "partition")?, number(&row, "first")?);
        }
        Ok(since)
    }
}

/// Notes on what was not compared.
fn said(compared: &Compared, excused: &[String]) -> Vec<String> {
    let reasons = [
        (
            compared.unknown,
            "whether an old quote hides a newer one of an earlier trade date depends on the clock of the stage, or the definition is not in the log",
        ),
        (compared.expired, "rows of their time have expired"),
        (
            compared.earlier,
            "until then the interval was not that of AGGREGATION_CURVES_INTERVAL_S",
        ),
    ];
    let mut notes = notes(
        "curve snapshot(s) are not compared with ticks",
        reasons,
        ("curves", excused),
    );
    if compared.unpriced > 0 {
        notes.push(format!(
            "{} curve snapshot(s): not all points are compared with those of the method: the definition has a part that is not known, or the \
             points lack fields",
            compared.unpriced
        ));
    }
    notes.extend(versions::moved("curve snapshot(s)", compared.moved));
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_compared_is_said() {
        let compared = Compared {
            unknown: 2,
            earlier: 1,
            unpriced: 3,
            ..Compared::default()
        };
        let notes = said(&compared, &["t/C".to_owned()]);
        assert_eq!(notes.len(), 4);
        assert!(
            notes
                .iter()
                .any(|note| note.starts_with("3 curve snapshot(s): not all points")),
            "{notes:?}"
        );
        assert!(
            notes.iter().any(|note| note.starts_with("2 curve snapshot(s)")),
            "{notes:?}"
        );
        assert!(
            notes.iter().any(|note| note.ends_with("gap are not compared: t/C")),
            "{notes:?}"
        );
        assert!(said(&Compared::default(), &[]).is_empty());
    }
}
