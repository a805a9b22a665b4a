//! Compares snapshots of curves with naive arithmetic over all expected quotes, and the served ones with the newest of them.
//!
//! Which curve a tick is a quote of is read from `enriched_ticks`, which has its own comparison with the raw log: enrichment knows a curve from when it
//! has read its row, and a quote before that is a tick like any other. What depends on the clock of the stage is said in [`crate::curves`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Context as _;
use serde_json::Value;

use super::{Comparison, cell, newest, once, origin, place};
use crate::bars::Placed;
use crate::curves::{self, Curve, HORIZONS, Input, Point, TENANT, Wanted};
use crate::numbers::at_scale_8;
use crate::stores::{ClickHouse, Postgres, Row};
use crate::times::micros;

/// Curve, horizon and time.
type Key = (String, String, i64);

/// A snapshot as it is stored.
#[derive(Debug, Clone, PartialEq)]
struct Found {
    version: u64,
    origin: String,
    definition: String,
    points: String,
    inputs: String,
    known_at: i64,
}

/// Compares the newest revision of every snapshot of these curves, then what PostgreSQL serves with the newest snapshots.
pub fn curves(
    (clickhouse, postgres): (&ClickHouse, &Postgres),
    table: &str,
    ticks: &[Placed<'_>],
    all: &[Curve],
) -> anyhow::Result<[Comparison; 2]> {
    let names: Vec<String> = all.iter().map(|curve| format!("'{}'", curve.name)).collect();
    let these = format!("tenant_id = '{TENANT}' AND curve_id IN ({})", names.join(", "));
    let rows = clickhouse.rows(&format!(
        "SELECT feed, raw_partition, raw_offset, raw_index, curve_id FROM enriched_ticks WHERE {these}"
    ))?;
    let mut curve_of = HashMap::new();
    for row in &rows {
        curve_of.insert(origin(row)?, cell(row, 4)?.to_owned());
    }
    let rows = clickhouse.rows(&format!(
        "SELECT curve_id, horizon, toUnixTimestamp64Micro(as_of), revision, version, origin, definition, points, inputs, \
         src_partition, src_offset, toUnixTimestamp64Micro(log_clock) FROM {table} WHERE {these}"
    ))?;
    let mut compared = Comparison {
        name: table.to_owned(),
        ..Comparison::default()
    };
    once(&rows, 9, &mut compared)?;
    let stored = newest_revisions(&rows, &mut compared)?;
    let last_clock = ticks.iter().map(|placed| placed.last_clock).max().unwrap_or(i64::MIN);
    for curve in all {
        let is_its = |placed: &&Placed<'_>| {
            let name = curve_of.get(&place(placed.tick));
            placed.tick.product == curves::PRODUCT && name.is_some_and(|name| name == curve.name)
        };
        let quotes: Vec<Placed<'_>> = ticks.iter().filter(is_its).copied().collect();
        snapshots(curve, &quotes, last_clock, &stored, &mut compared)?;
    }
    let rows = postgres.rows(&format!(
        "SELECT curve_id, horizon, (extract(epoch FROM as_of) * 1000000)::bigint, version, snapshot::text \
         FROM served_curve_snapshots WHERE generation = '' AND {these}"
    ))?;
    Ok([compared, served(&rows, &stored)?])
}

/// The newest revision of each snapshot. A revision has one content, all before it exist, and later ones have larger versions and are not known
/// earlier.
fn newest_revisions(rows: &[Row], compared: &mut Comparison) -> anyhow::Result<BTreeMap<Key, Found>> {
    // Two contents of one revision are wrong even if their versions differ, so the revision is a part of the key.
    let of_revisions = newest(rows, compared, |row| {
        let key: Key = (
            cell(row, 0)?.to_owned(),
            cell(row, 1)?.to_owned(),
            cell(row, 2)?.parse()?,
        );
        let revision: u64 = cell(row, 3)?.parse()?;
        let found = Found {
            version: cell(row, 4)?.parse()?,
            origin: cell(row, 5)?.to_owned(),
            definition: cell(row, 6)?.to_owned(),
            points: cell(row, 7)?.to_owned(),
            inputs: cell(row, 8)?.to_owned(),
            known_at: cell(row, 11)?.parse()?,
        };
        Ok(((key, revision), revision, found))
    })?;
    let mut last: BTreeMap<Key, (u64, Found)> = BTreeMap::new();
    for ((key, revision), found) in of_revisions {
        let before = last.get(&key);
        if revision != before.map_or(0, |(before, _)| before + 1) {
            compared.lost.push(format!("{key:?}: the revision before {revision}"));
        }
        if let Some((_, before)) = before.filter(|(_, before)| before.version >= found.version) {
            let (earlier, later) = (before.version, found.version);
            compared.wrong.push(format!(
                "{key:?}: version {later} of revision {revision} after {earlier}"
            ));
        }
        let known_before = before.map_or(key.2, |(_, before)| before.known_at);
        if found.known_at < known_before {
            let known_at = found.known_at;
            compared.wrong.push(format!(
                "{key:?}: revision {revision} is known at {known_at}, before {known_before}"
            ));
        }
        last.insert(key, (revision, found));
    }
    Ok(last.into_iter().map(|(key, (_, found))| (key, found)).collect())
}

/// Compares all snapshots of a curve.
fn snapshots(
    curve: &Curve,
    quotes: &[Placed<'_>],
    last_clock: i64,
    stored: &BTreeMap<Key, Found>,
    compared: &mut Comparison,
) -> anyhow::Result<()> {
    let wanted = curves::wanted(curve, quotes, last_clock)?;
    let is_unknown = |(name, _, time): &&Key| name == curve.name && !wanted.contains_key(time);
    for key in stored.keys().filter(is_unknown) {
        compared.wrong.push(format!("{key:?}: its interval has no quote"));
    }
    for (time, wanted) in &wanted {
        let key = |horizon: &str| (curve.name.to_owned(), horizon.to_owned(), *time);
        let whole = stored.get(&key("all"));
        for (horizon, months) in HORIZONS {
            let key = key(horizon);
            // All horizons are sent at once.
            let must_exist = wanted.must_exist || whole.is_some();
            let found = stored.get(&key);
            compared.expected += usize::from(must_exist || found.is_some());
            compared.found += usize::from(found.is_some());
            match (found, whole) {
                (Some(found), Some(whole)) => match flaws(curve, months, wanted, (found, whole)) {
                    Ok(flaws) if flaws.is_empty() => {}
                    Ok(flaws) => compared.wrong.push(format!("{key:?}: {}", flaws.join("; "))),
                    Err(error) => compared.wrong.push(format!("{key:?}: {error:#}")),
                },
                (Some(_), None) => compared
                    .wrong
                    .push(format!("{key:?} is there, but not the whole curve")),
                (None, _) if must_exist => compared.lost.push(format!("{key:?}")),
                (None, _) => {}
            }
        }
    }
    Ok(())
}

fn flaws(
    curve: &Curve,
    months: Option<i32>,
    wanted: &Wanted,
    (found, whole): (&Found, &Found),
) -> anyhow::Result<Vec<String>> {
    let mut flaws = Vec::new();
    if (&found.version, &found.inputs) != (&whole.version, &whole.inputs) {
        flaws.push(format!(
            "its version or quotes are not those of the whole curve: {}",
            found.version
        ));
    }
    // The patterns of its instruments follow.
    if found.definition.split(';').next() != Some(curve.method) {
        flaws.push(format!("definition {}", found.definition));
    }
    let inputs = inputs(&found.inputs)?;
    if wanted.is_certain && found.origin != wanted.origin {
        flaws.push(format!("origin {} instead of {}", found.origin, wanted.origin));
    }
    if wanted.is_certain && inputs != wanted.inputs {
        let missing: Vec<&Input> = wanted.inputs.difference(&inputs).collect();
        let others: Vec<&Input> = inputs.difference(&wanted.inputs).collect();
        flaws.push(format!("quotes {missing:?} are missing, {others:?} are not expected"));
    }
    let (points, of_whole) = (points(&found.points)?, points(&whole.points)?);
    if months.is_none() {
        flaws.extend(curves::flaws_of_prices(curve, &inputs, &points)?);
    }
    flaws.extend(curves::flaws_of_horizon(curve, months, &inputs, (&points, &of_whole))?);
    Ok(flaws)
}

fn list(json: &str) -> anyhow::Result<Vec<Value>> {
    serde_json::from_str(json).with_context(|| format!("no list: {json}"))
}

fn text<'v>(item: &'v Value, name: &str) -> anyhow::Result<&'v str> {
    item[name].as_str().with_context(|| format!("{name} of {item}"))
}

fn points(json: &str) -> anyhow::Result<Vec<Point>> {
    let time = |item: &Value, name: &str| micros(text(item, name)?).with_context(|| format!("{name} of {item}"));
    let point = |item: &Value| {
        anyhow::Ok(Point {
            contract: text(item, "contract")?.to_owned(),
            block: text(item, "block")?.to_owned(),
            price: item["price"].as_f64().with_context(|| format!("price of {item}"))?,
            delivery: (time(item, "delivery_start")?, time(item, "delivery_end")?),
        })
    };
    list(json)?.iter().map(point).collect()
}

/// The quotes. One that does not count, or does not agree with the others, is an error.
fn inputs(json: &str) -> anyhow::Result<BTreeSet<Input>> {
    let mut inputs = BTreeSet::new();
    for item in list(json)? {
        anyhow::ensure!(text(&item, "state")? == "repriced", "a quote does not reprice: {item}");
        let price = at_scale_8(&item["price"].to_string()).with_context(|| format!("price of {item}"))?;
        let time = item["known_at"]
            .as_i64()
            .with_context(|| format!("known_at of {item}"))?;
        let [contract, block, source] =
            ["contract", "block", "source"].map(|name| text(&item, name).map(str::to_owned));
        let input = (contract?, block?, price, source?, time);
        anyhow::ensure!(inputs.insert(input), "a quote is there twice: {item}");
    }
    Ok(inputs)
}

/// Compares the served snapshots with the newest stored one of each curve and horizon.
fn served(rows: &[Row], stored: &BTreeMap<Key, Found>) -> anyhow::Result<Comparison> {
    // In the order of the keys the newest is last.
    let newest = stored
        .iter()
        .map(|((curve, horizon, time), found)| ((curve, horizon), (*time, found)));
    let mut missing: BTreeMap<(&String, &String), (i64, &Found)> = newest.collect();
    let mut compared = Comparison {
        name: "served_curve_snapshots".to_owned(),
        expected: missing.len(),
        found: rows.len(),
        ..Comparison::default()
    };
    for row in rows {
        let [Some(curve), Some(horizon)] = [row.first(), row.get(1)] else {
            compared.wrong.push(format!("{row:?} has no key"));
            continue;
        };
        let Some((time, found)) = missing.remove(&(curve, horizon)) else {
            compared
                .wrong
                .push(format!("{curve} {horizon} is served, but not stored"));
            continue;
        };
        let rank: (i64, u64) = (cell(row, 2)?.parse()?, cell(row, 3)?.parse()?);
        if rank != (time, found.version) || !is_content(cell(row, 4)?, found)? {
            compared
                .wrong
                .push(format!("{curve} {horizon}: {row:?} instead of {time} {found:?}"));
        }
    }
    compared.lost = missing.into_keys().map(|key| format!("{key:?}")).collect();
    Ok(compared)
}

/// Whether a served snapshot has the points and quotes of the stored one. Its times are texts.
fn is_content(served: &str, found: &Found) -> anyhow::Result<bool> {
    let mut served: Value = serde_json::from_str(served).context("a served snapshot is no JSON")?;
    let inputs = served.get_mut("inputs").and_then(Value::as_array_mut);
    for input in inputs.into_iter().flatten() {
        let time = micros(text(input, "known_at")?).with_context(|| format!("known_at of {input}"))?;
        input["known_at"] = Value::from(time);
    }
    Ok(served["points"] == Value::from(list(&found.points)?) && served["inputs"] == Value::from(list(&found.inputs)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bars::{Times, placed};
    use crate::curves::OF_THE_LOAD;
    use crate::parse::Tick;

    const SECOND: i64 = 1_000_000;
    /// A whole interval; 28 November 2026 in New York.
    const START: i64 = 1_795_900_000 * SECOND;
    const CURVE: Curve = OF_THE_LOAD[0];
    const MONTHS: [(&str, &str, &str); 4] = [
        ("BALMO", "2026-11-29T00:00:00-05:00", "2026-12-01T00:00:00-05:00"),
        ("2026-12", "2026-12-01T00:00:00-05:00", "2027-01-01T00:00:00-05:00"),
        ("2027-01", "2027-01-01T00:00:00-05:00", "2027-02-01T00:00:00-05:00"),
        ("2027-02", "2027-02-01T00:00:00-05:00", "2027-03-01T00:00:00-05:00"),
    ];

    /// A quote of February 2027: offset, second of the clock, second of the event time, price.
    fn quote((offset, clock, time, price): (i64, i64, i64, i128)) -> Tick {
        Tick {
            feed: "raw".to_owned(),
            partition: 0,
            offset,
            index: 0,
            tenant: TENANT.to_owned(),
            instrument: curves::instrument(&CURVE, "2027-02", "flat"),
            event_id: None,
            price: price * 100_000_000,
            volume: None,
            time: START + time * SECOND,
            end: None,
            sequence: None,
            product: curves::PRODUCT.to_owned(),
            version: None,
            is_part: false,
            appended: START + clock * SECOND,
            reused_id: false,
        }
    }

    /// Rows of the nearest horizon and of the whole curve, of a snapshot with one quote.
    fn rows((seconds, revision, version): (i64, u64, u64), tick: &Tick, (quoted, points): (f64, f64)) -> Vec<Row> {
        let point = |(contract, from, until): &(&str, &str, &str)| {
            json!({"contract": contract, "block": "flat", "price": points, "delivery_start": from,
                "delivery_end": until})
        };
        let until = |horizon: &str| if horizon == "1m" { 2 } else { 4 };
        let source = format!("raw/0/{}/0", tick.offset);
        let inputs = json!([{"contract": "2027-02", "block": "flat", "price": quoted, "state": "repriced", "source": source,
            "known_at": tick.time}]);
        let row = |horizon: &str| {
            let points: Value = MONTHS[..until(horizon)].iter().map(point).collect();
            let (time, offset) = (START + seconds * SECOND, version * 10 + horizon.len() as u64);
            vec![
                CURVE.name.to_owned(),
                horizon.to_owned(),
                time.to_string(),
                revision.to_string(),
                version.to_string(),
                source.clone(),
                CURVE.method.to_owned(),
                points.to_string(),
                inputs.to_string(),
                "0".to_owned(),
                offset.to_string(),
                (START + (seconds + revision as i64) * SECOND).to_string(),
            ]
        };
        // The other horizons reach a year; they are not made here.
        ["1m", "all"].map(row).to_vec()
    }

    fn compared(quotes: &[Tick], rows: &[Row]) -> Comparison {
        let mut compared = Comparison::default();
        let stored = newest_revisions(rows, &mut compared).unwrap();
        let quotes = quotes.iter().map(|tick| (tick, 0, tick.offset)).collect();
        let quotes = placed(quotes, &Times::default());
        let last_clock = quotes.iter().map(|quote| quote.clock).max().unwrap();
        snapshots(&CURVE, &quotes, last_clock, &stored, &mut compared).unwrap();
        let is_made = |text: &String| !["3m", "6m", "1y"].iter().any(|horizon| text.contains(horizon));
        compared.lost.retain(is_made);
        compared
    }

    /// What was found, as one text.
    fn found(quotes: &[Tick], rows: &[Row]) -> String {
        let Comparison { lost, wrong, .. } = compared(quotes, rows);
        format!("{} {}", lost.join(" "), wrong.join(" ")).trim().to_owned()
    }

    /// Two quotes of one interval, the second of which is older, and one of the next interval.
    fn quotes() -> [Tick; 3] {
        [(1, 3, 2, 40), (2, 4, 1, 50), (3, 12, 11, 60)].map(quote)
    }

    fn right() -> Vec<Row> {
        let [first, second, third] = quotes();
        let mut rows = rows((10, 0, 5), &first, (40.0, 40.0));
        // The origin is that of the last one of the interval.
        rows.iter_mut()
            .for_each(|row| row[5] = format!("raw/0/{}/0", second.offset));
        rows.extend(self::rows((20, 0, 7), &third, (60.0, 60.0)));
        rows
    }

    #[test]
    fn a_snapshot_has_the_newest_quote_by_event_time_and_the_last_one_need_not_be_sent_yet() {
        assert_eq!(found(&quotes(), &right()), "");
        assert_eq!(found(&quotes(), &right()[..2]), "");
        let lost = found(&quotes(), &right()[2..]);
        assert!(lost.contains("1m") && lost.contains("all"), "{lost}");
        let one = found(&quotes(), &right()[..3]);
        assert!(one.contains("but not the whole curve"), "{one}");
    }

    #[test]
    fn a_changed_price_a_missing_or_another_quote_and_a_foreign_time_are_found() {
        let [first, second, third] = quotes();
        let with = |rows: Vec<Row>| found(&quotes(), &[rows, right()[2..].to_vec()].concat());
        let as_first = |mut rows: Vec<Row>| {
            rows.iter_mut().for_each(|row| row[5] = "raw/0/2/0".to_owned());
            rows
        };
        let of_points = with(as_first(rows((10, 0, 5), &first, (40.0, 40.000_000_02))));
        assert!(of_points.contains("the mean is"), "{of_points}");
        let of_quote = with(as_first(rows((10, 0, 5), &first, (40.01, 40.01))));
        assert!(of_quote.contains("are missing"), "{of_quote}");
        let older = with(as_first(rows((10, 0, 5), &second, (50.0, 50.0))));
        assert!(older.contains("are missing"), "{older}");
        let none: Vec<Row> = as_first(rows((10, 0, 5), &first, (40.0, 40.0)));
        let none = none.into_iter().map(|mut row| {
            row[8] = "[]".to_owned();
            row
        });
        assert!(!with(none.collect()).is_empty());
        let foreign = found(&quotes(), &[right(), rows((30, 0, 9), &third, (60.0, 60.0))].concat());
        assert!(foreign.contains("has no quote"), "{foreign}");
        let horizon = found(&quotes(), &{
            let mut rows = right();
            rows[0][7] = rows[1][7].clone();
            rows
        });
        assert!(horizon.contains("it ends with"), "{horizon}");
    }

    #[test]
    fn a_doubled_revision_a_missing_one_and_a_repeated_record_are_found() {
        let [.., third] = quotes();
        let doubled = [right(), rows((20, 0, 8), &third, (60.0, 60.0))].concat();
        assert!(found(&quotes(), &doubled).contains("conflicting contents"));
        let revised = [right(), rows((20, 1, 8), &third, (60.0, 60.0))].concat();
        assert_eq!(found(&quotes(), &revised), "");
        let without = [right(), rows((20, 2, 8), &third, (60.0, 60.0))].concat();
        assert!(found(&quotes(), &without).contains("the revision before 2"));
        let backwards = [right(), rows((20, 1, 6), &third, (60.0, 60.0))].concat();
        assert!(found(&quotes(), &backwards).contains("version 6 of revision 1 after 7"));
        for (revision, since) in [(0, 19), (1, 20)] {
            let mut early = [right(), rows((20, 1, 8), &third, (60.0, 60.0))].concat();
            let of_revision =
                |row: &&mut Row| row[2] == (START + 20 * SECOND).to_string() && row[3] == revision.to_string();
            early
                .iter_mut()
                .filter(of_revision)
                .for_each(|row| row[11] = (START + since * SECOND - 1).to_string());
            let told = found(&quotes(), &early);
            assert!(told.contains(&format!("revision {revision} is known at")), "{told}");
        }
        let mut compared = Comparison::default();
        once(&right(), 9, &mut compared).unwrap();
        assert!(compared.doubled.is_empty());
        once(&[right(), right()].concat(), 9, &mut compared).unwrap();
        assert_eq!(compared.doubled.len(), 4);
    }

    #[test]
    fn a_served_snapshot_is_the_newest_stored_one() {
        let stored = newest_revisions(&right(), &mut Comparison::default()).unwrap();
        let row = |row: &Row, time: i64, price: f64| -> Row {
            let mut inputs: Value = serde_json::from_str(&row[8]).unwrap();
            inputs[0]["known_at"] = crate::times::iso(inputs[0]["known_at"].as_i64().unwrap()).into();
            inputs[0]["price"] = price.into();
            let points: Value = serde_json::from_str(&row[7]).unwrap();
            let body = json!({"points": points, "inputs": inputs}).to_string();
            let time = (START + time * SECOND).to_string();
            vec![row[0].clone(), row[1].clone(), time, row[4].clone(), body]
        };
        let all = right();
        let both = |time: i64, price: f64| [row(&all[2], time, price), row(&all[3], time, price)];
        assert!(served(&both(20, 60.0), &stored).unwrap().is_ok());
        assert_eq!(served(&both(20, 60.5), &stored).unwrap().wrong.len(), 2);
        assert_eq!(served(&both(10, 60.0), &stored).unwrap().wrong.len(), 2);
        assert_eq!(served(&both(20, 60.0)[1..], &stored).unwrap().lost.len(), 1);
    }
}
