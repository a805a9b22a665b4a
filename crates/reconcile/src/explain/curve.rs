//! Traces a snapshot of a curve to its points, its quotes, and the raw messages of these.
//!
//! Invariant: the price of each quote is computed again from the points of the snapshot, by the code of `dp verify`, and each quote is
//! compared with its tick.
//! Failure: a tick or message that a store no longer has is reported as gone; a snapshot that cannot be read is an error that names it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use domain::Micros;
use jiff::civil::Date;
use serde::Serialize;
use serde_json::{Map, Value};
use service::Names;
use service::writer::tables::CURVE_SNAPSHOTS;
use stores::clickhouse::literal;

use super::logs::{RawRecord, Search};
use super::served::place_of;
use super::session::{LOOKED_THROUGH, Session};
use super::{At, Place, TickRow};
use crate::sql::moment;
use crate::verify::curves::delivery::Market;
use crate::verify::curves::levels::{Plans, Subject};
use crate::verify::curves::pricing::{Mean, Point, Quoted, Weights};
use crate::verify::curves::rows::content;
use ops::rows::{number, text};

/// A version of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct CurveVersion {
    pub version: u64,
    /// How often the snapshot was sent before.
    pub revision: i32,
    pub cause: String,
    /// The newest quote of its interval.
    pub origin: String,
    /// Since when it is known: `as_of` of `GET /curves/{curve_id}` finds it from then on.
    pub known_at: At,
    /// Position in the topic of curve snapshots.
    pub place: Place,
    pub ingested_at: At,
}

/// A point.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct CurvePoint {
    pub contract: String,
    pub block: String,
    pub delivery_start: String,
    pub delivery_end: String,
    pub price: f64,
    /// How it got its price.
    pub method: String,
}

/// A quote.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct CurveInput {
    pub contract: String,
    pub block: String,
    pub price: f64,
    pub state: String,
    /// Quoted price less that of the curve.
    pub residual: Option<f64>,
    /// Delivered hours of its contract: its weight. `None` if the points do not cover it.
    pub hours: Option<i64>,
    /// What the points give for it, computed again.
    pub recomputed: Option<f64>,
    pub known_at: At,
    pub origin: String,
    /// Its tick in the tables.
    pub tick: Option<TickRow>,
    /// What its tick says instead. Empty if both agree.
    pub differences: Vec<String>,
}

/// A snapshot traced back.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct CurveTrace {
    pub tenant_id: String,
    pub curve_id: String,
    pub market: String,
    pub horizon: String,
    pub as_of: At,
    /// `current`, or `taken_back`: its quotes were wrong, and it has no points.
    pub status: &'static str,
    /// The last trade date of its quotes.
    pub day: Date,
    pub definition: String,
    /// The versions that the table still has and that were known at the time, newest first.
    pub versions: Vec<CurveVersion>,
    /// Of the first of them, as the rest.
    pub points: Vec<CurvePoint>,
    pub inputs: Vec<CurveInput>,
    pub raw: Vec<RawRecord>,
    /// What the points do not give.
    pub differences: Vec<String>,
    /// Whether the points reprice the quotes, and each quote is the price of its tick.
    pub agrees: bool,
    pub notes: Vec<String>,
}

/// Which snapshot is asked for.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Snapshot<'a> {
    pub tenant_id: &'a str,
    pub curve_id: &'a str,
    pub horizon: &'a str,
    /// The newest one as it was known at this time.
    pub at: Option<Micros>,
    /// The newest one at or before this time, with the revisions that came later.
    pub is_revised: bool,
}

impl Snapshot<'_> {
    fn of_curve(&self) -> String {
        format!(
            "tenant_id = {} AND curve_id = {}",
            literal(self.tenant_id),
            literal(self.curve_id)
        )
    }

    /// Whether a version counts that is known since this time.
    fn counts(&self, known_at: Micros) -> bool {
        self.is_revised || self.at.is_none_or(|at| known_at <= at)
    }

    /// All versions of the newest time that has one that counts.
    fn versions(&self, names: &Names) -> String {
        let table = names.table(CURVE_SNAPSHOTS.name);
        let until = self
            .at
            .map(|at| match self.is_revised {
                true => format!(" AND as_of <= {}", moment(at)),
                false => format!(" AND as_of <= {0} AND log_clock <= {0}", moment(at)),
            })
            .unwrap_or_default();
        let of = format!("{} AND horizon = {}", self.of_curve(), literal(self.horizon));
        format!(
            "SELECT toString(toUnixTimestamp64Micro(as_of)) AS as_of_, toString(market) AS market_, toString(day) AS day_, \
             toString(definition) AS definition_, points, inputs, toString(version) AS version_, toString(revision) AS revision_, \
             toString(cause) AS cause_, origin, toString(toUnixTimestamp64Micro(log_clock)) AS known_, toString(src_partition) AS src_partition_, toString(src_offset) AS src_offset_, \
             toString(toUnixTimestamp64Micro(ingested_at)) AS ingested_ FROM {table} WHERE {of} \
             AND as_of = (SELECT max(as_of) FROM {table} WHERE {of}{until}) ORDER BY version DESC, src_offset DESC"
        )
    }
}

impl Session<'_> {
    /// Traces the newest snapshot of a curve to a horizon, or the newest one as it was known at a time.
    ///
    /// # Errors
    /// The curve has no such snapshot, the snapshot cannot be read, or a server does not answer.
    pub async fn curve(&self, asked: Snapshot<'_>) -> anyhow::Result<CurveTrace> {
        let names = &self.connection.names;
        let rows = self.clickhouse.query_json(&asked.versions(names)).await;
        let mut rows = rows.context("read the versions of the curve snapshot")?;
        let later = known_later(asked, &mut rows)?;
        let Some(newest) = rows.first() else {
            return Err(self.no_snapshot(asked).await?);
        };
        let mut trace = trace(asked, newest)?;
        trace.notes.extend(later);
        trace.versions = rows
            .iter()
            .map(|row| version(row, names))
            .collect::<anyhow::Result<_>>()?;
        let found = self.ticks_of_inputs(&trace.inputs).await?;
        for input in &mut trace.inputs {
            input.tick = found.get(&input.origin).cloned();
            input.differences = differences(input);
            trace.agrees &= input.differences.is_empty();
            if input.tick.is_none() {
                trace
                    .notes
                    .push(format!("no table has the tick {} of {}", input.origin, input.contract));
            }
        }
        let places: BTreeSet<Place> = places(&trace.inputs).collect();
        let shown: BTreeSet<Place> = places.iter().take(self.limit).cloned().collect();
        if places.len() > shown.len() {
            trace.notes.push(format!(
                "{} of {} raw messages are shown: use --limit to show more",
                shown.len(),
                places.len()
            ));
        }
        trace.raw = self.raw(shown, Search::UpTo(LOOKED_THROUGH)).await?;
        Ok(trace)
    }

    /// A document has many quotes: its ticks are read once.
    async fn ticks_of_inputs(&self, inputs: &[CurveInput]) -> anyhow::Result<BTreeMap<String, TickRow>> {
        let mut found = BTreeMap::new();
        for place in places(inputs).collect::<BTreeSet<_>>() {
            let ticks = self.tables().ticks_from(&place, None).await?;
            found.extend(ticks.into_iter().map(|tick| (tick.tick_id.clone(), tick)));
        }
        Ok(found)
    }

    async fn no_snapshot(&self, asked: Snapshot<'_>) -> anyhow::Result<anyhow::Error> {
        let Snapshot {
            tenant_id: tenant,
            curve_id: curve,
            horizon,
            at,
            ..
        } = asked;
        let sql = format!(
            "SELECT toString(tenant_id) AS tenant_, toString(curve_id) AS name_, toString(toUnixTimestamp64Micro(min(as_of))) AS first_ \
             FROM {} WHERE horizon = {} GROUP BY tenant_, name_ ORDER BY name_ != {}, tenant_ != {}, name_ LIMIT 5",
            self.connection.names.table(CURVE_SNAPSHOTS.name),
            literal(horizon),
            literal(curve),
            literal(tenant)
        );
        let none = "no curve has one yet: `dp curve list` shows the curves that are defined, `dp ingest FILE` brings their quotes, and a snapshot \
                    is made when a tick comes after the interval of these";
        let hint = self.instead(&sql, tenant, none).await?;
        let until = at
            .map(|at| format!(" that was known at {}", At(at)))
            .unwrap_or_default();
        Ok(anyhow::anyhow!(
            "curve {curve} of tenant {tenant} has no snapshot to horizon {horizon}{until}: {hint}"
        ))
    }
}

/// Removes the versions that do not count, and says how many they are.
fn known_later(asked: Snapshot<'_>, rows: &mut Vec<Map<String, Value>>) -> anyhow::Result<Option<String>> {
    let mut all = Vec::with_capacity(rows.len());
    for row in rows.drain(..) {
        all.push((number::<Micros>(&row, "known_")?, row));
    }
    let found = all.len();
    let known = all.into_iter().filter(|(known_at, _)| asked.counts(*known_at));
    rows.extend(known.map(|(_, row)| row));
    let later = found - rows.len();
    Ok((later > 0).then(|| format!("{later} revision(s) of it came later: --revised shows the newest")))
}

/// The trace of a row, without what is read elsewhere.
fn trace(asked: Snapshot<'_>, row: &Map<String, Value>) -> anyhow::Result<CurveTrace> {
    let as_of = At(number(row, "as_of_")?);
    let unread = || format!("the newest version of {}/{} at {as_of}", asked.curve_id, asked.horizon);
    let (points, quotes) = content(text(row, "points")?, text(row, "inputs")?)
        .map_err(|why| anyhow::anyhow!("{why}: a writer or a person has changed the row (`dp verify` lists it)"))
        .with_context(unread)?;
    let market = text(row, "market_")?;
    let day = text(row, "day_")?.parse::<Date>().with_context(unread)?;
    let (known, mut notes) = (Market::of(market), Vec::new());
    let weights = known.as_ref().map(|known| Weights::of(known, day, &points));
    if weights.is_none() {
        notes.push(format!(
            "the quotes are not computed again: market {market} is not in the registry"
        ));
    }
    let mut differences = weights
        .as_ref()
        .map_or_else(Vec::new, |weights| weights.differences(&quotes, asked.horizon == "all"));
    if let Some(market) = known.as_ref().filter(|_| !points.is_empty()) {
        let found = Plans::default().check(Subject {
            market,
            day,
            horizon: asked.horizon,
            definition: text(row, "definition_")?,
            points: &points,
            inputs: &quotes,
        });
        differences.extend(found.differences);
    }
    if asked.at.is_some_and(|at| at != as_of.0) {
        notes.push(format!(
            "no snapshot of the time {} was known then: this is the newest one before it",
            At(asked.at.unwrap_or_default())
        ));
    }
    Ok(CurveTrace {
        tenant_id: asked.tenant_id.to_owned(),
        curve_id: asked.curve_id.to_owned(),
        market: market.to_owned(),
        horizon: asked.horizon.to_owned(),
        as_of,
        status: if points.is_empty() { "taken_back" } else { "current" },
        day,
        definition: text(row, "definition_")?.to_owned(),
        versions: Vec::new(),
        inputs: quotes
            .iter()
            .map(|quoted| input(quoted, weights.as_ref().and_then(|weights| weights.of_quote(quoted))))
            .collect(),
        points: points.into_iter().map(point).collect(),
        raw: Vec::new(),
        agrees: differences.is_empty(),
        differences,
        notes,
    })
}

fn point(point: Point) -> CurvePoint {
    CurvePoint {
        contract: point.contract,
        block: point.block,
        delivery_start: point.delivery_start,
        delivery_end: point.delivery_end,
        price: point.price,
        method: point.method,
    }
}

fn input(quoted: &Quoted, mean: Option<Mean>) -> CurveInput {
    CurveInput {
        contract: quoted.contract.clone(),
        block: quoted.block.clone(),
        price: quoted.price,
        state: quoted.state.clone(),
        residual: quoted.residual,
        hours: mean.map(|mean| mean.hours),
        recomputed: mean.map(|mean| mean.price).filter(|_| quoted.is_used()),
        known_at: At(quoted.known_at),
        origin: quoted.source.clone(),
        tick: None,
        differences: Vec::new(),
    }
}

fn version(row: &Map<String, Value>, names: &Names) -> anyhow::Result<CurveVersion> {
    Ok(CurveVersion {
        version: number(row, "version_")?,
        revision: number(row, "revision_")?,
        cause: text(row, "cause_")?.to_owned(),
        origin: text(row, "origin")?.to_owned(),
        known_at: At(number(row, "known_")?),
        place: Place {
            topic: names.curves.clone(),
            partition: number(row, "src_partition_")?,
            offset: number(row, "src_offset_")?,
        },
        ingested_at: At(number(row, "ingested_")?),
    })
}

fn places(inputs: &[CurveInput]) -> impl Iterator<Item = Place> {
    let origins = inputs.iter().filter_map(|input| place_of(&input.origin));
    origins.map(|(place, _)| place)
}

/// What the tick of a quote says instead.
fn differences(input: &CurveInput) -> Vec<String> {
    let Some(tick) = &input.tick else { return Vec::new() };
    let mut differences = Vec::new();
    if tick.event_time != input.known_at {
        differences.push(format!("its tick has the time {}", tick.event_time));
    }
    // The nearest binary number of a decimal, as in the snapshot.
    if tick.price.parse::<f64>() != Ok(input.price) {
        differences.push(format!("its tick has the price {}", tick.price));
    }
    differences
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
pub(super) mod tests {
    use super::super::bar::tests::traced;
    use super::*;

    pub(in super::super) fn quote() -> CurveInput {
        let tick = traced().1.ticks[0].tick.clone();
        CurveInput {
            contract: "Q1-27".to_owned(),
            block: "flat".to_owned(),
            price: tick.price.parse().unwrap_or_default(),
            state: "contradictory".to_owned(),
            residual: Some(0.25),
            hours: Some(2_159),
            recomputed: Some(40.25),
            known_at: tick.event_time,
            origin: tick.tick_id.clone(),
            tick: Some(tick),
            differences: Vec::new(),
        }
    }

    #[test]
    fn a_quote_that_is_not_the_price_of_its_tick_is_named() {
        let right = quote();
        assert!(differences(&right).is_empty());
        let wrong = CurveInput {
            price: right.price + 0.5,
            known_at: At(right.known_at.0 + 1),
            ..right
        };
        assert_eq!(differences(&wrong).len(), 2);
        let gone = CurveInput { tick: None, ..wrong };
        assert!(differences(&gone).is_empty());
    }

    #[test]
    fn a_revision_of_later_is_left_out_and_told_unless_it_is_asked_for() {
        let versions = || -> Vec<Map<String, Value>> {
            let known = ["90000000", "61000000", "60000000"];
            let row = |(version, known): (usize, &str)| {
                let columns = [("known_", known.to_owned()), ("version_", version.to_string())];
                columns
                    .map(|(name, value)| (name.to_owned(), value.into()))
                    .into_iter()
                    .collect()
            };
            known.into_iter().enumerate().map(row).collect()
        };
        for (at, is_revised, first, told) in [
            (Some(61_000_000), false, "1", Some("1 revision(s)")),
            (Some(60_000_000), false, "2", Some("2 revision(s)")),
            (Some(60_000_000), true, "0", None),
            (None, false, "0", None),
        ] {
            let asked = Snapshot {
                tenant_id: "t",
                curve_id: "C",
                horizon: "all",
                at,
                is_revised,
            };
            let mut rows = versions();
            let Ok(note) = known_later(asked, &mut rows) else {
                unreachable!("the rows can be read");
            };
            assert_eq!(rows[0]["version_"], first, "{asked:?}");
            assert_eq!(note.is_some(), told.is_some());
            let has = |note: &String| told.is_some_and(|told| note.contains(told));
            assert!(note.as_ref().is_none_or(has), "{note:?}");
        }
    }

    #[test]
    fn a_quote_has_its_hours_and_what_the_points_give_for_it() {
        let mut row = Map::new();
        let points = r#"[{"contract":"2027-01","block":"flat","delivery_start":"2027-01-01T00:00:00-05:00",
            "delivery_end":"2027-02-01T00:00:00-05:00","price":40.0,"method":"quoted"}]"#;
        let inputs = r#"[{"contract":"2027-01","block":"flat","price":40.5,"curve_price":40.5,"residual":0.0,"state":"repriced",
            "implied_by":[],"source":"raw/0/1/0","known_at":7}]"#;
        for (name, value) in [
            ("as_of_", "60000000"),
            ("points", points),
            ("inputs", inputs),
            ("market_", "PJM"),
            ("day_", "2026-12-18"),
            ("definition_", "flat"),
        ] {
            row.insert(name.to_owned(), value.into());
        }
        let asked = Snapshot {
            tenant_id: "t",
            curve_id: "C",
            horizon: "all",
            at: Some(61_000_000),
            is_revised: false,
        };
        let Ok(traced) = trace(asked, &row) else {
            unreachable!("the row can be read");
        };
        assert_eq!(
            (traced.inputs[0].hours, traced.inputs[0].recomputed),
            (Some(744), Some(40.0))
        );
        assert!(
            !traced.agrees && traced.differences[0].contains("is not repriced"),
            "{:?}",
            traced.differences
        );
        let by_method = "point 2027-01 flat is 40 instead of 40.5, which the quotes give by method flat";
        assert!(
            traced.differences.iter().any(|one| one == by_method),
            "{:?}",
            traced.differences
        );
        assert!(traced.status == "current" && traced.notes[0].contains("the newest one before it"));
        row.insert("points".to_owned(), "[".into());
        let refused = trace(asked, &row).err().map(|error| format!("{error:#}"));
        assert!(refused.is_some_and(|why| why.contains("C/all") && why.contains("dp verify")));
    }
}
