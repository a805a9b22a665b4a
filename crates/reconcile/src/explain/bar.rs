//! A bar and the ticks of its window: which ticks it counts and why, whether the stream computed it or `restate` recomputed
//! it from the table, and whether its numbers follow from its ticks. Pure.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Interval, Kind, Micros, Origin, Vintage, Window};
use serde::Serialize;

use super::logs::RawRecord;
use super::numbers::{Compared, compare, recompute};
use super::{At, BarRow, Place, TickRow};
use crate::products::Products;

/// Whether the bar's newest version counts a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Counted {
    /// It is counted.
    Yes,
    /// Not counted: a price of the same interval with a better vintage, or a later one with the same, has replaced it.
    Replaced,
    /// Not counted: in the enriched topic it comes after the last tick of this version.
    AfterThisVersion,
    /// Not counted: it is normalized, but `enriched_ticks` has no row of it.
    NotEnriched,
}

/// A tick of the window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TracedTick {
    /// The tick and its positions.
    #[serde(flatten)]
    pub tick: TickRow,
    /// Whether the bar counts it.
    pub counted: Counted,
    /// Numbers of the bar that come from this tick: open, high, low, close.
    pub gives: Vec<&'static str>,
    /// Whether the log clock had closed the window before the tick was read. Such a tick makes a revision, unless it is `without_effect`.
    pub after_close: bool,
    /// Whether the price that counted in its interval until then stays: it is of a better vintage or a later origin, or has the same values.
    pub without_effect: bool,
}

/// How the newest version was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// By the stream, from the ticks as they arrived.
    Stream,
    /// By `restate`, from the rows of `enriched_ticks`, because a tick took the table path.
    Table,
}

/// Why a tick took the table path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The stream had forgotten the window.
    Late,
    /// It is another price of an interval that already had one.
    SameIntervalAgain,
    /// An earlier tick had taken the table path. All later ticks of that window take it too.
    WindowFromTheTable,
}

/// A tick that took the table path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Detour {
    pub tick_id: String,
    pub cause: Cause,
    /// The log clock at this tick.
    pub clock: At,
    pub enriched: Place,
    /// Position in the late topic.
    pub late: Place,
}

/// A bar traced back.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct BarTrace {
    pub tenant_id: String,
    pub instrument_id: String,
    pub interval: String,
    pub window_start: At,
    pub window_end: At,
    /// Every version that the table still has, newest first.
    pub versions: Vec<BarRow>,
    /// Numbers of the newest version, stored and recomputed.
    pub numbers: Vec<Compared>,
    /// Whether all numbers agree.
    pub agrees: bool,
    /// How the newest version was computed.
    pub way: Way,
    /// The ticks that took the table path, by enriched offset.
    pub because: Vec<Detour>,
    /// Every tick of the window, by event time, sequence, origin.
    pub ticks: Vec<TracedTick>,
    /// How many ticks the text output shows.
    #[serde(skip)]
    pub shown: usize,
    /// The raw messages of the first ticks.
    pub raw: Vec<RawRecord>,
    pub notes: Vec<String>,
}

/// The ticks of a bar, and its recomputed numbers.
pub struct Parts {
    /// Every tick of the window.
    pub ticks: Vec<TracedTick>,
    /// The numbers of the version, compared.
    pub numbers: Vec<Compared>,
    /// Ticks of this version that took the table path, by enriched offset.
    pub because: Vec<Detour>,
}

impl Parts {
    /// How the version was computed. After one tick has taken the table path, `restate` computes all later versions.
    pub fn way(&self) -> Way {
        if self.because.is_empty() {
            Way::Stream
        } else {
            Way::Table
        }
    }
}

/// Assigns ticks to the newest version and compares its numbers. `clocks`: the log clock at each enriched offset.
///
/// # Errors
/// A number of a row is not a decimal.
pub fn assemble(
    bar: &BarRow,
    window: Window,
    ticks: Vec<TickRow>,
    clocks: &BTreeMap<i64, Micros>,
    products: &Products,
) -> anyhow::Result<Parts> {
    let of_version = |tick: &TickRow| {
        let place = tick.enriched.as_ref()?;
        (place.offset <= bar.last_enriched_offset).then_some(place.offset)
    };
    let standing = standing(ticks.iter().filter(|tick| of_version(tick).is_some()));
    let counted = |tick: &TickRow| match (&tick.enriched, of_version(tick)) {
        (None, _) => Counted::NotEnriched,
        (Some(_), None) => Counted::AfterThisVersion,
        _ if tick.is_of_interval && !standing.contains(&tick.tick_id) => Counted::Replaced,
        _ => Counted::Yes,
    };
    let those: Vec<&TickRow> = ticks.iter().filter(|tick| counted(tick) == Counted::Yes).collect();
    let numbers = recompute(&those)?;
    let clock = |tick: &TickRow| clocks.get(&tick.enriched.as_ref()?.offset).copied();
    let mut because: Vec<Detour> = ticks
        .iter()
        .filter(|tick| of_version(tick).is_some())
        .filter_map(|tick| detour(tick, window, &ticks, clock(tick)?, products))
        .collect();
    because.sort_by_key(|detour| detour.enriched.offset);
    let without_effect = without_effect(ticks.iter().collect());
    let traced = ticks.iter().map(|tick| {
        let counted = counted(tick);
        let mut gives = Vec::new();
        if let (Counted::Yes, Some(numbers)) = (counted, &numbers) {
            let own = [
                ("open", tick.tick_id == numbers.first_tick),
                ("high", tick.price == numbers.high),
                ("low", tick.price == numbers.low),
                ("close", tick.tick_id == numbers.last_tick),
            ];
            gives.extend(own.into_iter().filter(|(_, is)| *is).map(|(name, _)| name));
        }
        let closes = window.end().saturating_add(products.rule(tick.product()).close_after);
        TracedTick {
            tick: tick.clone(),
            counted,
            gives,
            after_close: clock(tick).is_some_and(|clock| clock >= closes),
            without_effect: without_effect.contains(&tick.tick_id),
        }
    });
    Ok(Parts {
        ticks: traced.collect(),
        numbers: compare(&bar.numbers, numbers.as_ref()),
        because,
    })
}

fn rank(tick: &TickRow) -> (Vintage, Origin<'_>) {
    (Vintage::of(tick.version.as_deref(), Kind::Interval), tick.origin())
}

/// The ids of the prices that were below the one that counted in their interval when they were enriched, or repeated it.
fn without_effect(mut ticks: Vec<&TickRow>) -> BTreeSet<String> {
    ticks.retain(|tick| tick.is_of_interval && tick.enriched.is_some());
    ticks.sort_by_key(|tick| tick.enriched.as_ref().map(|place| place.offset));
    // ClickHouse prints equal numbers alike. No volume adds what a volume of 0 adds.
    let values = |tick: &TickRow| {
        let volume = tick.volume.clone().filter(|volume| volume != "0");
        (rank(tick).0, tick.price.clone(), volume, tick.priced_seconds())
    };
    let mut standing: BTreeMap<(Micros, Option<Interval>), &TickRow> = BTreeMap::new();
    let mut without_effect = BTreeSet::new();
    for tick in ticks {
        let key = (tick.event_time.0, tick.product().nominal());
        let Some(stands) = standing.get_mut(&key) else {
            standing.insert(key, tick);
            continue;
        };
        if rank(tick) < rank(stands) || values(tick) == values(stands) {
            without_effect.insert(tick.tick_id.clone());
        }
        if rank(tick) > rank(stands) {
            *stands = tick;
        }
    }
    without_effect
}

/// The id of the price that counts of each interval (start and length): the one of the best vintage, of equal ones the last
/// origin.
fn standing<'t>(ticks: impl Iterator<Item = &'t TickRow>) -> Vec<String> {
    let mut standing: BTreeMap<(Micros, Option<Interval>), &'t TickRow> = BTreeMap::new();
    for tick in ticks.filter(|tick| tick.is_of_interval) {
        let stands = standing
            .entry((tick.event_time.0, tick.product().nominal()))
            .or_insert(tick);
        if rank(tick) > rank(stands) {
            *stands = tick;
        }
    }
    standing.into_values().map(|tick| tick.tick_id.clone()).collect()
}

fn detour(tick: &TickRow, window: Window, ticks: &[TickRow], clock: Micros, products: &Products) -> Option<Detour> {
    let late = tick.late_for(window.interval.name())?;
    let enriched = tick.enriched.clone()?;
    let before = |other: &TickRow| {
        other
            .enriched
            .as_ref()
            .is_some_and(|place| place.offset < enriched.offset)
    };
    let again = |other: &TickRow| other.event_time == tick.event_time && before(other);
    let forgets = window.end().saturating_add(products.rule(tick.product()).forget_after);
    let cause = if clock >= forgets {
        Cause::Late
    } else if tick.is_of_interval && ticks.iter().any(again) {
        Cause::SameIntervalAgain
    } else {
        Cause::WindowFromTheTable
    };
    Some(Detour {
        tick_id: tick.tick_id.clone(),
        cause,
        clock: At(clock),
        enriched,
        late: late.place.clone(),
    })
}

/// Notes on the trace. `revision` is the revision of the newest version.
pub fn notes(trace: &BarTrace, revision: i32) -> Vec<String> {
    let (limit, mut notes) = (trace.shown, Vec::new());
    if trace.ticks.len() > limit {
        notes.push(format!(
            "{limit} of {} ticks are shown: use --limit to show more",
            trace.ticks.len()
        ));
    }
    if !trace.agrees {
        notes.push("the stored bar does not follow from its ticks: `dp verify` lists every wrong row".to_owned());
    }
    let in_version = |tick: &&TracedTick| matches!(tick.counted, Counted::Yes | Counted::Replaced);
    let after = trace
        .ticks
        .iter()
        .filter(in_version)
        .filter(|tick| tick.after_close && !tick.without_effect)
        .count();
    if i64::try_from(after).ok() != Some(i64::from(revision)) {
        notes.push(format!(
            "with the settings of this `dp` (AGGREGATION_WATERMARK_DELAY_MS), {after} ticks arrived after the close, but the \
             bar counts {revision}: use the settings of the service, or run `dp verify`"
        ));
    }
    let not_restated = trace
        .ticks
        .iter()
        .filter(|tick| tick.counted == Counted::AfterThisVersion && tick.tick.late_for(&trace.interval).is_some())
        .count();
    if not_restated > 0 {
        notes.push(format!(
            "{not_restated} late ticks are not in the bar yet: the service is recomputing it from the table. Run the command \
             again shortly; `dp groups` shows the lag"
        ));
    }
    notes
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
pub(crate) mod tests {
    use domain::Interval;

    use super::super::LateRow;
    use super::super::numbers::tests::tick;
    use super::*;

    const MINUTE: i64 = 60_000_000;

    fn place(topic: &str, offset: i64) -> Place {
        Place {
            topic: topic.to_owned(),
            partition: 0,
            offset,
        }
    }

    pub(crate) fn enriched(offset: i64, event_time: i64, price: &str) -> TickRow {
        TickRow {
            enriched: Some(place("enriched", offset + 100)),
            normalized: Some(place("normalized", offset + 50)),
            ..tick(offset, event_time, price, Some("1"))
        }
    }

    fn late(tick: TickRow, clock: i64) -> TickRow {
        TickRow {
            late: Some(LateRow {
                intervals: vec!["1m".to_owned()],
                clock: At(clock),
                place: place("late", 0),
            }),
            ..tick
        }
    }

    fn products() -> Products {
        Products::read(&mut service::Reader::new(&service::Env::new()))
    }

    /// A minute with five ticks: one in time, one after the close, one late, and two that this version does not count.
    pub(crate) fn traced() -> (BarRow, Parts) {
        let window = Interval::OneMinute.window_of(0);
        let (first, revising) = (enriched(1, 10, "2"), enriched(3, 5, "1"));
        let late_one = late(enriched(4, 7, "9"), 10 * MINUTE);
        let numbers = recompute(&[&first, &revising, &late_one]).unwrap().unwrap();
        let bar = BarRow {
            interval: "1m".to_owned(),
            window_start: At(0),
            version: 104 * 2 + 1,
            last_enriched_offset: 104,
            closed: true,
            revision: 2,
            cause: Some("late".to_owned()),
            numbers,
            place: place("bars", 7),
            ingested_at: At(MINUTE),
        };
        let clocks = BTreeMap::from([(101, 10), (103, 2 * MINUTE), (104, 10 * MINUTE)]);
        let ticks = vec![first, revising, late_one, enriched(5, 8, "3"), tick(6, 9, "4", None)];
        let parts = assemble(&bar, window, ticks, &clocks, &products()).unwrap();
        (bar, parts)
    }

    #[test]
    fn each_tick_is_counted_or_has_a_reason() {
        let (_, parts) = traced();
        let counted: Vec<Counted> = parts.ticks.iter().map(|tick| tick.counted).collect();
        assert_eq!(
            counted,
            [
                Counted::Yes,
                Counted::Yes,
                Counted::Yes,
                Counted::AfterThisVersion,
                Counted::NotEnriched
            ]
        );
        assert!(parts.numbers.iter().all(|number| number.agrees), "{:?}", parts.numbers);
        let gives: Vec<&[&str]> = parts.ticks.iter().map(|tick| &tick.gives[..]).collect();
        assert_eq!(gives, [&["close"][..], &["open", "low"], &["high"], &[], &[]]);
    }

    #[test]
    fn a_tick_after_the_close_makes_a_revision_and_a_late_tick_takes_the_table_path() {
        let (_, parts) = traced();
        let after: Vec<bool> = parts.ticks.iter().map(|tick| tick.after_close).collect();
        assert_eq!(after, [false, true, true, false, false]);
        assert_eq!(parts.way(), Way::Table);
        let because: Vec<(&str, Cause, i64)> = parts
            .because
            .iter()
            .map(|detour| (&*detour.tick_id, detour.cause, detour.late.offset))
            .collect();
        assert_eq!(because, [("raw/0/4/0", Cause::Late, 0)]);
    }

    fn price(offset: i64, time: Micros, digits: &str) -> TickRow {
        TickRow {
            product: "rt5".to_owned(),
            is_of_interval: true,
            ..enriched(offset, time, digits)
        }
    }

    #[test]
    fn the_best_vintage_of_an_interval_counts_whatever_comes_later() {
        let of = |offset, version: Option<&str>| TickRow {
            version: version.map(str::to_owned),
            ..price(offset, 0, "2")
        };
        let ticks = [of(1, Some("final")), of(2, Some("preliminary")), of(3, None)];
        assert_eq!(standing(ticks.iter()), ["raw/0/1/0"]);
        assert_eq!(standing(ticks[1..].iter()), ["raw/0/2/0"]);
    }

    #[test]
    fn a_price_that_replaces_none_is_no_revision() {
        let of = |offset, digits: &str, version: &str| TickRow {
            version: Some(version.to_owned()),
            ..price(offset, 0, digits)
        };
        let other_volume = |volume: Option<&str>, tick: TickRow| TickRow {
            volume: volume.map(str::to_owned),
            ..tick
        };
        let shorter = TickRow {
            interval_end: Some(At(8_000_000)),
            ..of(8, "7", "final")
        };
        let ticks = [
            other_volume(None, of(1, "2", "preliminary")),
            other_volume(Some("0"), of(2, "2", "preliminary")),
            of(3, "7", "preliminary"),
            of(4, "2", "preliminary"),
            of(5, "7", "final"),
            of(6, "7", "final"),
            of(7, "2", "preliminary"),
            shorter,
        ];
        let without_effect = without_effect(ticks.iter().collect());
        assert_eq!(
            without_effect.into_iter().collect::<Vec<_>>(),
            ["raw/0/2/0", "raw/0/6/0", "raw/0/7/0"]
        );

        let window = Interval::OneMinute.window_of(0);
        let (mut bar, _) = traced();
        (bar.revision, bar.last_enriched_offset) = (1, 106);
        bar.numbers = recompute(&[&ticks[5]]).unwrap().unwrap();
        let clocks = BTreeMap::from([(105, 60 * MINUTE), (106, 60 * MINUTE)]);
        let parts = assemble(&bar, window, ticks[4..6].to_vec(), &clocks, &products()).unwrap();
        let found: Vec<(Counted, bool, bool)> = parts
            .ticks
            .iter()
            .map(|tick| (tick.counted, tick.after_close, tick.without_effect))
            .collect();
        assert_eq!(found, [(Counted::Replaced, true, false), (Counted::Yes, true, true)]);
    }

    #[test]
    fn a_later_price_of_an_interval_replaces_the_earlier_one() {
        let window = Interval::OneMinute.window_of(0);
        let ticks = vec![price(1, 0, "2"), late(price(2, 0, "7"), 10), late(price(3, 5, "1"), 10)];
        let (mut bar, _) = traced();
        bar.numbers = recompute(&[&ticks[1], &ticks[2]]).unwrap().unwrap();
        let clocks = BTreeMap::from([(101, 10), (102, 10), (103, 10)]);
        let parts = assemble(&bar, window, ticks, &clocks, &products()).unwrap();
        let counted: Vec<Counted> = parts.ticks.iter().map(|tick| tick.counted).collect();
        assert_eq!(counted, [Counted::Replaced, Counted::Yes, Counted::Yes]);
        assert!(parts.numbers.iter().all(|number| number.agrees), "{:?}", parts.numbers);
        let causes: Vec<Cause> = parts.because.iter().map(|detour| detour.cause).collect();
        assert_eq!(causes, [Cause::SameIntervalAgain, Cause::WindowFromTheTable]);
    }
}
