//! Compares the stored snapshots of a curve with what must be there. Pure.

use std::collections::{BTreeMap, BTreeSet};

use domain::Micros;
use ops::present::iso;

use super::super::cut::Arrived;
use super::super::report::{Differences, Wrong, WrongRow};
use super::super::versions::{Compared, decimal, place, tenant_option};
use super::delivery::Market;
use super::levels::{self, Found, Plans};
use super::pricing::{Point, Quoted, Weights};
use super::rows::{GoneRow, Stored};
use super::rules::{Content, Fate, Input, Quotes, Times, Wanted};
use super::sql::Lane;

/// How far snapshots reach.
const HORIZONS: [&str; 5] = ["1m", "3m", "6m", "1y", "all"];
/// The horizon that reaches to the last quote.
const WHOLE: &str = "all";
/// Differences of one snapshot that are named.
const SHOWN: usize = 4;

/// What is not compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    /// Snapshots before this time may have lost quotes.
    pub complete_since: Micros,
    /// Snapshots of quotes that came before this time may have expired.
    pub snapshots_since: Micros,
    /// Up to this time the interval was another one.
    pub other_interval: Micros,
}

/// One curve of one tenant.
pub(super) struct Comparison<'a> {
    pub lane: &'a Lane,
    pub times: Times,
    pub kept: Kept,
    /// The tenant that commands use if none is named.
    pub own_tenant: &'a str,
}

impl Comparison<'_> {
    /// Compares the snapshots of these times with the quotes of the curve up to the cut. `arrived` are the ticks since, up to a time after
    /// `stored` was read.
    pub(super) fn part(&self, times: &[Micros], quotes: &Quotes, stored: Vec<Stored>, arrived: &Arrived) -> Compared {
        let mut by_time: BTreeMap<Micros, Vec<Stored>> = BTreeMap::new();
        for one in stored {
            by_time.entry(one.time).or_default().push(one);
        }
        let (mut compared, mut plans) = (Compared::default(), Plans::default());
        for time in times {
            let found = by_time.remove(time).unwrap_or_default();
            // The horizons of a time are of one state, but may not have arrived together.
            if found.iter().any(|one| one.has_changed(arrived)) {
                compared.moved += found.len() as u64;
                continue;
            }
            let definition = found.first().map(|one| one.definition.as_str());
            let wanted = quotes.wanted(*time, definition, self.times);
            self.one(*time, &wanted, (&found, &mut plans), &mut compared);
        }
        compared
    }

    /// The snapshots of which an earlier version is gone. The newest one may be right.
    pub(super) fn gone(&self, rows: &[GoneRow]) -> anyhow::Result<Differences> {
        let mut gone = Differences::default();
        for row in rows {
            let what = format!("has {} of {} versions", row.found, row.sent);
            let place = (row.time.parse()?, row.horizon_.as_str());
            gone.add_row(self.wrong(Wrong::Missing, place, &row.origin_, &what));
        }
        if let Some(row) = rows.first() {
            gone.total = row.total.parse()?;
        }
        Ok(gone)
    }

    fn one(&self, time: Micros, wanted: &Wanted, (found, plans): (&[Stored], &mut Plans), compared: &mut Compared) {
        let rows = found.len() as u64;
        if time < self.kept.complete_since {
            compared.expired += rows;
            return;
        }
        if time <= self.kept.other_interval {
            compared.earlier += rows;
            return;
        }
        match wanted {
            Wanted::Unknown => compared.unknown += rows,
            Wanted::Nothing | Wanted::NoCurve => {}
            Wanted::Snapshots(content) => {
                let is_missing = |horizon: &&str| found.iter().all(|one| one.horizon != *horizon);
                for horizon in HORIZONS.into_iter().filter(is_missing) {
                    self.missing(time, horizon, content, compared);
                }
            }
        }
        for one in found {
            let why = match wanted {
                Wanted::Nothing => Some("but its interval has no quote that counts"),
                Wanted::NoCurve if !one.is_withdrawn() => Some("but no quote can be used"),
                _ if !HORIZONS.contains(&one.horizon.as_str()) => Some("but there is no such horizon"),
                _ => None,
            };
            compared.found += 1;
            if let Some(why) = why {
                let text = format!("is stored with {}, {why}", said(one));
                compared
                    .wrong
                    .push(self.wrong(Wrong::Surplus, (time, &one.horizon), &one.origin, &text));
                continue;
            }
            compared.expected += 1;
            // What the points give does not depend on which quotes count.
            let mut differences = priced(one);
            if let Wanted::Snapshots(content) = wanted {
                differences.extend(unlike(one, content));
            }
            differences.extend(of_horizons(one, found));
            let points = of_method(one, plans);
            compared.unpriced += u64::from(!points.is_whole);
            differences.extend(points.differences);
            if !differences.is_empty() {
                let text = format!("differs: {}", listed(&differences));
                compared
                    .wrong
                    .push(self.wrong(Wrong::Different, (time, &one.horizon), &one.origin, &text));
            }
        }
    }

    fn missing(&self, time: Micros, horizon: &str, content: &Content, compared: &mut Compared) {
        if !content.is_over {
            // No tick has told the stage that the interval is over.
            return;
        }
        if content.clock < self.kept.snapshots_since {
            compared.expired += 1;
            return;
        }
        compared.expected += 1;
        let newest = content.inputs.iter().find(|input| input.origin == content.origin);
        let of = newest.map_or_else(String::new, |input| format!(", the newest {}", quote(input)));
        let text = format!("is missing: it must have {} quote(s){of}", content.inputs.len());
        let origin = place(&content.origin);
        compared
            .wrong
            .push(self.wrong(Wrong::Missing, (time, horizon), &origin, &text));
    }

    fn wrong(&self, wrong: Wrong, (time, horizon): (Micros, &str), origin: &str, what: &str) -> WrongRow {
        let Lane { tenant, curve } = self.lane;
        let at = iso(time);
        let of = tenant_option(tenant, self.own_tenant);
        WrongRow {
            wrong,
            key: [tenant.as_str(), curve, horizon, &at].map(str::to_owned).to_vec(),
            origin: origin.to_owned(),
            text: format!(
                "curve snapshot {tenant}/{curve}/{horizon}/{at} {what} (`dp explain curve {curve} --horizon {horizon} --at {at} --revised{of}`)"
            ),
        }
    }
}

fn quote(input: &Input) -> String {
    format!(
        "{} {} of {}",
        input.contract,
        decimal(input.figure),
        place(&input.origin)
    )
}

fn said(stored: &Stored) -> String {
    match &stored.content {
        Ok((points, inputs)) => format!("{} point(s) of {} quote(s)", points.len(), inputs.len()),
        Err(why) => why.clone(),
    }
}

fn listed(differences: &[String]) -> String {
    let rest = differences.len().saturating_sub(SHOWN);
    let shown = differences.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    match rest {
        0 => shown,
        rest => format!("{shown}; and {rest} more"),
    }
}

/// What the points of a snapshot do not give.
fn priced(stored: &Stored) -> Vec<String> {
    let (points, inputs) = match &stored.content {
        Ok(content) => content,
        Err(why) => return vec![why.clone()],
    };
    match Market::of(&stored.market) {
        Some(market) => Weights::of(&market, stored.day, points).differences(inputs, stored.horizon == WHOLE),
        None => vec![format!("its market {} is not in the registry", stored.market)],
    }
}

/// The points that the method does not give for the quotes. What cannot be read is a difference already.
fn of_method(stored: &Stored, plans: &mut Plans) -> Found {
    let nothing = Found {
        differences: Vec::new(),
        is_whole: true,
    };
    let (Ok((points, inputs)), Some(market)) = (&stored.content, Market::of(&stored.market)) else {
        return nothing;
    };
    match stored.is_withdrawn() {
        true => nothing,
        false => plans.check(levels::Subject {
            market: &market,
            day: stored.day,
            horizon: &stored.horizon,
            definition: &stored.definition,
            points,
            inputs,
        }),
    }
}

/// Points that the whole curve of the same time has with another price.
fn of_horizons(stored: &Stored, all: &[Stored]) -> Vec<String> {
    let whole = all
        .iter()
        .find(|one| one.horizon == WHOLE && one.horizon != stored.horizon);
    let (Ok((points, _)), Some(Ok((others, _)))) = (&stored.content, whole.map(|one| &one.content)) else {
        return Vec::new();
    };
    let key = |point: &Point| (point.contract.clone(), point.block.clone());
    let prices: BTreeMap<_, f64> = others.iter().map(|point| (key(point), point.price)).collect();
    let unlike = |point: &Point| {
        let other = prices
            .get(&key(point))
            .filter(|other| (*other - point.price).abs() > f64::EPSILON)?;
        let Point {
            contract, block, price, ..
        } = point;
        Some(format!(
            "point {contract} {block} is {price} and {other} in horizon {WHOLE}"
        ))
    };
    points.iter().filter_map(unlike).collect()
}

/// What a snapshot says of its time and quotes, and the ticks do not.
fn unlike(stored: &Stored, content: &Content) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |name: &str, found: &str, wanted: &str| {
        if found != wanted {
            differences.push(format!("{name} is {found} instead of {wanted}"));
        }
    };
    compare("market", &stored.market, &content.market);
    compare("day", &stored.day.to_string(), &content.day.to_string());
    compare("newest quote", &stored.origin, &place(&content.origin));
    if let Some(definition) = &content.definition {
        compare("definition", &stored.definition, definition);
    }
    let method = stored.definition.split(';').next().unwrap_or_default();
    compare("method", &stored.method, method);
    let Ok((points, inputs)) = &stored.content else {
        return differences;
    };
    if points.is_empty() {
        differences.push("it has no points".to_owned());
    }
    differences.extend(levels::volumes(points, &content.inputs));
    let mut wanted: BTreeMap<String, &Input> = content
        .inputs
        .iter()
        .map(|input| (place(&input.origin), input))
        .collect();
    let mut seen = BTreeSet::new();
    for quoted in inputs {
        match wanted.remove(&quoted.source) {
            Some(input) => differences.extend(unlike_quote(quoted, input)),
            None if seen.contains(&quoted.source) => {
                differences.push(format!("quote {quoted} of {} is in it twice", quoted.source));
            }
            None => differences.push(format!(
                "quote {quoted} of {} does not count at this time",
                quoted.source
            )),
        }
        seen.insert(quoted.source.clone());
    }
    differences.extend(
        wanted
            .values()
            .map(|input| format!("quote {} is missing", quote(input))),
    );
    differences
}

fn unlike_quote(quoted: &Quoted, input: &Input) -> Option<String> {
    let name = (quoted.contract.as_str(), quoted.block.as_str());
    let price = input.figure as f64 / 1e8;
    let state = match input.fate {
        Fate::Used if quoted.is_used() => quoted.state.as_str(),
        Fate::Used => "used",
        Fate::InDelivery => "in_delivery",
        Fate::Superseded => "superseded",
        Fate::NoDelivery => "no_delivery",
    };
    let of = &quoted.source;
    match () {
        () if name != (input.contract.name.as_str(), input.contract.block) => {
            Some(format!("quote {quoted} of {of} is of {}", input.contract))
        }
        () if (quoted.price - price).abs() > 4.0 * f64::EPSILON * price.abs() => Some(format!(
            "quote {} {} of {of} is {} instead of {}",
            quoted.contract,
            quoted.block,
            quoted.price,
            decimal(input.figure)
        )),
        () if quoted.known_at != input.time => Some(format!(
            "quote {quoted} of {of} has the time {} instead of {}",
            iso(quoted.known_at),
            iso(input.time)
        )),
        () if quoted.state != state => Some(format!("quote {quoted} of {of} is {} instead of {state}", quoted.state)),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::cut::tests::{ends, raw_cut};
    use super::super::pricing::tests::{DAY, point, quoted};
    use super::super::rules::tests::{START, TIMES, quote};
    use super::*;

    const MINUTE: Micros = 60_000_000;
    const KEPT: Kept = Kept {
        complete_since: Micros::MIN,
        snapshots_since: Micros::MIN,
        other_interval: Micros::MIN,
    };

    /// January and February at 40, quoted in the first minute.
    fn quotes() -> Quotes {
        Quotes::new(vec![quote("2027-01", 0, 40, 1), quote("2027-02", 0, 40, 2)], TIMES)
    }

    fn input(contract: &str, offset: i64) -> Quoted {
        Quoted {
            source: format!("raw/0/{offset}/0"),
            known_at: START,
            ..quoted(contract, 40.0, 0.0, "repriced")
        }
    }

    const MONTHS: [&str; 12] = [
        "2027-01", "2027-02", "2027-03", "2027-04", "2027-05", "2027-06", "2027-07", "2027-08", "2027-09", "2027-10",
        "2027-11", "2027-12",
    ];

    /// Months of a snapshot.
    fn reach(horizon: &str) -> usize {
        match horizon {
            "1m" => 1,
            "3m" => 3,
            "6m" => 6,
            "1y" => 12,
            _ => 2,
        }
    }

    /// After February the last price is held.
    fn of_month(month: &str) -> Point {
        let (is_quoted, source) = match month {
            "2027-01" => (true, "raw/0/1/0"),
            "2027-02" => (true, "raw/0/2/0"),
            _ => (false, "raw/0/2/0"),
        };
        Point {
            confidence: Some(if is_quoted { 1.0 } else { 0.3 }),
            method: if is_quoted { "quoted" } else { "extrapolated" }.to_owned(),
            extrapolated: Some(!is_quoted),
            sources: Some(vec![source.to_owned()]),
            ..point(month, 40.0)
        }
    }

    fn stored(horizon: &str) -> Stored {
        Stored {
            time: START + MINUTE,
            horizon: horizon.to_owned(),
            market: "PJM".to_owned(),
            day: DAY,
            method: "flat".to_owned(),
            definition: "flat".to_owned(),
            origin: "raw/0/2/0".to_owned(),
            content: Ok((
                MONTHS.into_iter().take(reach(horizon)).map(of_month).collect(),
                vec![input("2027-01", 1), input("2027-02", 2)],
            )),
        }
    }

    fn all() -> Vec<Stored> {
        HORIZONS.map(stored).to_vec()
    }

    fn lane() -> Lane {
        Lane {
            tenant: "t".to_owned(),
            curve: "C".to_owned(),
        }
    }

    fn compare(stored: Vec<Stored>, kept: Kept) -> Compared {
        compare_at(&Arrived::default(), stored, kept)
    }

    fn compare_at(arrived: &Arrived, stored: Vec<Stored>, kept: Kept) -> Compared {
        let lane = lane();
        let comparison = Comparison {
            lane: &lane,
            times: TIMES,
            kept,
            own_tenant: "t",
        };
        let times: BTreeSet<Micros> = stored.iter().map(|one| one.time).chain([START + MINUTE]).collect();
        comparison.part(&Vec::from_iter(times), &quotes(), stored, arrived)
    }

    fn texts(compared: &Compared) -> String {
        let texts: Vec<&str> = compared.wrong.iter().map(|row| row.text.as_str()).collect();
        texts.join("\n")
    }

    /// The differences if one snapshot is another one.
    fn changed(change: impl FnOnce(&mut Stored)) -> String {
        let mut all = all();
        if let Some(one) = all.last_mut() {
            change(one);
        }
        texts(&compare(all, KEPT))
    }

    fn content(stored: &mut Stored) -> &mut (Vec<Point>, Vec<Quoted>) {
        match &mut stored.content {
            Ok(content) => content,
            Err(why) => unreachable!("{why}"),
        }
    }

    #[test]
    fn what_is_missing_wrong_or_too_much_is_named_with_both_values_and_a_command() {
        let right = compare(all(), KEPT);
        assert_eq!((right.expected, right.found, texts(&right)), (5, 5, String::new()));
        let at = iso(START + MINUTE);
        let missing = compare(all().split_off(1), KEPT);
        assert_eq!((missing.expected, missing.found), (5, 4));
        let expected = format!(
            "curve snapshot t/C/1m/{at} is missing: it must have 2 quote(s), the newest 2027-02 flat 40 of raw/0/2/0 \
             (`dp explain curve C --horizon 1m --at {at} --revised`)"
        );
        assert_eq!(texts(&missing), expected);
        let mut later = stored("all");
        later.time += MINUTE;
        let surplus = compare([all(), vec![later]].concat(), KEPT);
        assert!(texts(&surplus).contains("2 point(s) of 2 quote(s), but its interval has no quote that counts"));
    }

    #[test]
    fn each_wrong_value_is_named() {
        let price = changed(|one| content(one).1.iter_mut().for_each(|quoted| quoted.price = 41.0));
        assert!(
            price.contains("quote 2027-01 flat of raw/0/1/0 is 41 instead of 40"),
            "{price}"
        );
        assert!(
            price.contains("quote 2027-01 flat 41 is not repriced: its points give 40"),
            "{price}"
        );
        let lost = changed(|one| content(one).1.truncate(1));
        assert!(lost.contains("quote 2027-02 flat 40 of raw/0/2/0 is missing"), "{lost}");
        let other = changed(|one| content(one).1.iter_mut().for_each(|quoted| quoted.source.push('9')));
        assert!(other.contains("of raw/0/1/09 does not count at this time"), "{other}");
        let twice = changed(|one| content(one).1.push(input("2027-01", 1)));
        assert!(twice.contains("is in it twice"), "{twice}");
        let moved = changed(|one| content(one).0.iter_mut().for_each(|point| point.price = 39.0));
        assert!(
            moved.contains("is not repriced") && moved.contains("point 2027-01 flat is 40 and 39 in horizon all"),
            "{moved}"
        );
        let unread = changed(|one| one.content = Err("its points cannot be read: x".to_owned()));
        assert!(unread.contains("its points cannot be read"), "{unread}");
        let longer = changed(|one| content(one).0.push(of_month("2027-03")));
        assert!(
            longer.contains("point 2027-03 flat is none of this horizon"),
            "{longer}"
        );
        let again = changed(|one| content(one).0.push(of_month("2027-02")));
        assert!(again.contains("point 2027-02 flat is in it twice"), "{again}");
        let volume = changed(|one| content(one).0.iter_mut().for_each(|point| point.volume = Some(5.0)));
        assert!(
            volume.contains("volume of point 2027-01 flat is 5 instead of none"),
            "{volume}"
        );
        let method = changed(|one| one.method = "linear".to_owned());
        assert!(method.contains("method is linear instead of flat"), "{method}");
        let state = changed(|one| {
            content(one)
                .1
                .iter_mut()
                .for_each(|quoted| quoted.state = "superseded".to_owned())
        });
        assert!(state.contains("is superseded instead of used"), "{state}");
    }

    #[test]
    fn snapshots_that_name_a_tick_that_arrived_meanwhile_are_not_compared() {
        let arrived = raw_cut(5).arrived(ends(&[("raw", 0, 20)]));
        let change = |change: &dyn Fn(&mut Stored)| {
            let mut all = all();
            all.iter_mut().take(1).for_each(change);
            all
        };
        let by_origin = change(&|one| one.origin = "raw/0/6/0".to_owned());
        let by_input = change(&|one| content(one).1.push(input("2027-03", 7)));
        for changed in [by_origin, by_input] {
            let found = compare_at(&arrived, changed, KEPT);
            assert_eq!(
                (found.moved, found.expected, found.found, found.wrong.len()),
                (5, 0, 0, 0)
            );
        }
        let wrong = change(&|one| one.method = "linear".to_owned());
        let found = compare_at(&arrived, wrong, KEPT);
        assert_eq!((found.moved, found.wrong.len()), (0, 1));
    }

    #[test]
    fn a_snapshot_that_has_lost_an_earlier_version_is_named() {
        let lane = lane();
        let comparison = Comparison {
            lane: &lane,
            times: TIMES,
            kept: KEPT,
            own_tenant: "t",
        };
        let [time, found, sent, total] = [START, 2, 3, 70].map(|number| number.to_string());
        let row = GoneRow {
            horizon_: "1m".to_owned(),
            time,
            origin_: "raw/0/2/0".to_owned(),
            found,
            sent,
            total,
        };
        let Ok(gone) = comparison.gone(&[row]) else {
            unreachable!("the numbers can be read");
        };
        let at = iso(START);
        let named = format!(
            "curve snapshot t/C/1m/{at} has 2 of 3 versions (`dp explain curve C --horizon 1m --at {at} --revised`)"
        );
        assert_eq!((gone.total, gone.named), (70, vec![named]));
        let rows: Vec<_> = gone.rows.iter().map(|row| (row.wrong, row.origin.as_str())).collect();
        assert_eq!(rows, [(Wrong::Missing, "raw/0/2/0")]);
    }

    #[test]
    fn what_may_have_expired_or_is_of_another_interval_is_not_wrong() {
        let after = Kept {
            complete_since: Micros::MAX,
            ..KEPT
        };
        assert_eq!(compare(vec![stored("1m")], after).expired, 1);
        let gone = Kept {
            snapshots_since: Micros::MAX,
            ..KEPT
        };
        let gone = compare(Vec::new(), gone);
        assert_eq!((gone.expired, gone.wrong.len()), (5, 0));
        let other = Kept {
            other_interval: START + MINUTE,
            ..KEPT
        };
        let other = compare(vec![stored("1m")], other);
        assert_eq!((other.earlier, other.wrong.len()), (1, 0));
    }
}
