//! A bar and the ticks of its window: which it counts, which not and why, and whether its numbers follow from them. Pure.

use std::collections::BTreeMap;

use domain::{Micros, Window};
use serde::Serialize;

use super::logs::RawRecord;
use super::numbers::{Compared, compare, recompute};
use super::{At, BarRow, TickRow};

/// Whether the bar's newest version counts a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Counted {
    /// It does.
    Yes,
    /// It came too late: the window was forgotten. It stands in `late_ticks`.
    TooLate,
    /// It lies in the enriched topic after the last tick of this version.
    AfterThisVersion,
    /// It is normalized, and `enriched_ticks` has no row of it.
    NotEnriched,
}

/// A tick of the window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TracedTick {
    /// The tick and its places.
    #[serde(flatten)]
    pub tick: TickRow,
    /// Whether it counts.
    pub counted: Counted,
    /// Numbers of the bar that are this tick's own: open, high, low, close.
    pub gives: Vec<&'static str>,
    /// Whether the instrument's watermark had passed the end of the window when it was read: it made a revision.
    pub after_close: bool,
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
    /// Every version that is still there, newest first.
    pub versions: Vec<BarRow>,
    /// Numbers of the newest version, stored and recomputed.
    pub numbers: Vec<Compared>,
    /// Whether all of them agree.
    pub agrees: bool,
    /// Every tick of the window, in the order of prices.
    pub ticks: Vec<TracedTick>,
    /// How many of them are shown to people.
    #[serde(skip)]
    pub shown: usize,
    /// The raw messages of the first ticks.
    pub raw: Vec<RawRecord>,
    pub notes: Vec<String>,
}

/// What the newest version counts, and its numbers compared. `newest_by_then` is by tick the largest event time of the
/// instrument when the tick was read, `delay` that of the watermark.
///
/// # Errors
/// A number of a row is no decimal.
pub fn assemble(
    bar: &BarRow,
    window: Window,
    ticks: Vec<TickRow>,
    newest_by_then: &BTreeMap<String, Micros>,
    delay: Micros,
) -> anyhow::Result<(Vec<TracedTick>, Vec<Compared>)> {
    let counted = |tick: &TickRow| match &tick.enriched {
        None => Counted::NotEnriched,
        Some(_) if tick.is_late_for(&bar.interval) => Counted::TooLate,
        Some(place) if place.offset > bar.last_enriched_offset => Counted::AfterThisVersion,
        Some(_) => Counted::Yes,
    };
    let those: Vec<&TickRow> = ticks.iter().filter(|tick| counted(tick) == Counted::Yes).collect();
    let numbers = recompute(&those)?;
    let compared = compare(&bar.numbers, numbers.as_ref());
    let traced = ticks.into_iter().map(|tick| {
        let counted = counted(&tick);
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
        let newest = newest_by_then.get(&tick.tick_id);
        let after_close = newest.is_some_and(|newest| newest.saturating_sub(delay) >= window.end());
        TracedTick {
            tick,
            counted,
            gives,
            after_close,
        }
    });
    Ok((traced.collect(), compared))
}

/// What is to be said about the trace; `revision` is that of the newest version.
pub fn notes(trace: &BarTrace, revision: i32) -> Vec<String> {
    let (limit, mut notes) = (trace.shown, Vec::new());
    if trace.ticks.len() > limit {
        notes.push(format!(
            "{limit} of {} ticks are shown: --limit shows more",
            trace.ticks.len()
        ));
    }
    if !trace.agrees {
        notes.push(
            "the stored bar does not follow from its ticks: `dp verify` names every row that is wrong".to_owned(),
        );
    }
    let is_revision = |tick: &&TracedTick| tick.after_close && tick.counted == Counted::Yes;
    let after = trace.ticks.iter().filter(is_revision).count();
    if i64::try_from(after).ok() != Some(i64::from(revision)) {
        notes.push(format!(
            "{after} ticks came after the end by AGGREGATION_WATERMARK_DELAY_MS as it is set here, and the bar counts {revision}: \
             set it as the service has it"
        ));
    }
    notes
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
pub(crate) mod tests {
    use domain::Interval;

    use super::super::numbers::tests::tick;
    use super::super::{LateRow, Place};
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

    /// A minute of three ticks: one in time, one after the end, one too late, and one that this version does not know.
    pub(crate) fn traced() -> (BarRow, Vec<TracedTick>, Vec<Compared>) {
        let window = Interval::OneMinute.window_of(0);
        let (first, revising) = (enriched(1, 10, "2"), enriched(3, 5, "1"));
        let late = TickRow {
            late: Some(LateRow {
                intervals: vec!["1m".to_owned()],
                watermark: At(10 * MINUTE),
                place: place("late", 0),
            }),
            ..enriched(4, 7, "9")
        };
        let numbers = recompute(&[&first, &revising]).unwrap().unwrap();
        let bar = BarRow {
            interval: "1m".to_owned(),
            window_start: At(0),
            version: 103 * 2 + 1,
            last_enriched_offset: 103,
            closed: true,
            revision: 1,
            numbers,
            place: place("bars", 7),
            ingested_at: At(MINUTE),
        };
        let newest_by_then = [("raw/0/1/0", 10), ("raw/0/3/0", 2 * MINUTE), ("raw/0/4/0", 10 * MINUTE)];
        let newest_by_then = newest_by_then.map(|(id, time)| (id.to_owned(), time)).into();
        let ticks = vec![first, revising, late, enriched(5, 8, "3"), tick(6, 9, "4", None)];
        let (ticks, compared) = assemble(&bar, window, ticks, &newest_by_then, 30_000_000).unwrap();
        (bar, ticks, compared)
    }

    #[test]
    fn each_tick_is_counted_or_has_its_reason() {
        let (_, ticks, compared) = traced();
        let counted: Vec<Counted> = ticks.iter().map(|tick| tick.counted).collect();
        assert_eq!(
            counted,
            [
                Counted::Yes,
                Counted::Yes,
                Counted::TooLate,
                Counted::AfterThisVersion,
                Counted::NotEnriched
            ]
        );
        assert!(compared.iter().all(|number| number.agrees), "{compared:?}");
        assert_eq!(
            (&ticks[0].gives[..], &ticks[1].gives[..]),
            (&["high", "close"][..], &["open", "low"][..])
        );
    }

    #[test]
    fn a_tick_that_was_read_after_the_end_by_the_watermark_made_the_revision() {
        let (_, ticks, _) = traced();
        let after: Vec<bool> = ticks.iter().map(|tick| tick.after_close).collect();
        assert_eq!(after, [false, true, true, false, false]);
    }
}
