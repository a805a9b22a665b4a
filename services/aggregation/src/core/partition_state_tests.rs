#![allow(clippy::unwrap_used)]

use super::*;
use crate::core::model::fixtures::{LogTick, OwnedBar, RULES, Random, SECOND, log};
use crate::core::model::oracle::recompute;
use proptest::prelude::*;
use std::collections::BTreeMap;

const NOON: Micros = 1_700_049_600 * SECOND;

struct Bench {
    state: PartitionState,
    bars: Vec<OwnedBar>,
    offset: i64,
}

impl Bench {
    fn new() -> Bench {
        let id = WriterId { ordinal: 1, random: 1 };
        let writer = Writer {
            id,
            topic_id: "id".to_owned(),
        };
        Bench {
            state: PartitionState::new(RULES, writer, Vec::new()),
            bars: Vec::new(),
            offset: 0,
        }
    }

    fn apply(&mut self, event_time: Micros) -> Applied {
        self.offset += 1;
        self.apply_tick(&LogTick {
            offset: self.offset,
            feed: "f",
            raw_partition: 0,
            raw_offset: self.offset,
            index: 0,
            instrument_id: "X",
            event_time,
            sequence: None,
            price: 100,
            volume: Some(1),
        })
    }

    fn apply_tick(&mut self, tick: &LogTick) -> Applied {
        let arrived = Arrived {
            tick: &tick.tick(),
            offset: tick.offset,
            now: tick.event_time,
        };
        self.state
            .apply(&arrived, &mut |bar| self.bars.push(OwnedBar::from(bar)))
    }

    fn verdict(&mut self, event_time: Micros) -> Verdict {
        match self.apply(event_time) {
            Applied::Counted(verdict) => verdict,
            other => unreachable!("{other:?}"),
        }
    }

    fn close_idle(&mut self, now: Micros) {
        self.state
            .close_idle(now, &mut |bar| self.bars.push(OwnedBar::from(bar)));
    }

    fn snapshot(&mut self) -> Option<Snapshot> {
        let bars = &mut self.bars;
        self.state
            .snapshot(&Wire::single_object(), &mut |bar| bars.push(OwnedBar::from(bar)))
    }

    fn newest(&self, interval: Interval, start: Micros) -> &OwnedBar {
        let bars = self
            .bars
            .iter()
            .filter(|bar| (bar.window.interval, bar.window.start) == (interval, start));
        bars.max_by_key(|bar| bar.version).unwrap()
    }
}

#[test]
fn a_closed_bar_is_shown_at_once_and_an_open_one_at_the_checkpoint() {
    let mut bench = Bench::new();
    bench.apply(NOON);
    bench.apply(NOON + 89 * SECOND);
    assert!(bench.bars.is_empty());
    bench.apply(NOON + 90 * SECOND);
    assert_eq!(bench.bars.len(), 1);
    assert!(bench.newest(Interval::OneMinute, NOON).version.closed);
    bench.snapshot();
    assert!(!bench.newest(Interval::OneHour, NOON).version.closed);
    assert_eq!(bench.newest(Interval::OneHour, NOON).trade_count, 3);
}

#[test]
fn a_late_tick_makes_a_revision_of_the_windows_that_have_passed() {
    let mut bench = Bench::new();
    bench.apply(NOON);
    bench.apply(NOON + 200 * SECOND);
    assert_eq!(bench.verdict(NOON + 1).revised, 0b00001);
    bench.snapshot();
    let bar = bench.newest(Interval::OneMinute, NOON);
    assert_eq!((bar.revision, bar.trade_count, bar.version.closed), (1, 2, true));
    assert_eq!(bench.newest(Interval::FiveMinutes, NOON).revision, 0);
}

#[test]
fn a_tick_for_a_forgotten_window_counts_in_its_longer_windows() {
    let mut bench = Bench::new();
    bench.apply(NOON);
    bench.apply(NOON + 400 * SECOND);
    let verdict = bench.verdict(NOON + 1);
    assert_eq!((verdict.missed, verdict.revised), (0b00001, 0b00010));
    assert_eq!(verdict.watermark, NOON + 370 * SECOND);
    bench.snapshot();
    assert_eq!(bench.newest(Interval::OneMinute, NOON).trade_count, 1);
    assert_eq!(bench.newest(Interval::FiveMinutes, NOON).trade_count, 2);
}

#[test]
fn an_unknown_window_is_new_until_the_watermark_forgets_it() {
    let mut bench = Bench::new();
    bench.apply(NOON + 389 * SECOND);
    assert_eq!(bench.verdict(NOON).missed, 0);
    bench.apply(NOON + 390 * SECOND);
    assert_eq!(bench.verdict(NOON).missed, 0b00001);
}

#[test]
fn an_idle_close_is_taken_back_by_the_next_tick_and_makes_no_revision() {
    let mut bench = Bench::new();
    bench.apply(NOON);
    bench.close_idle(NOON + 119 * SECOND);
    assert!(bench.bars.is_empty());
    bench.close_idle(NOON + 120 * SECOND);
    assert_eq!(bench.bars.len(), 1);
    let closed = bench.newest(Interval::OneMinute, NOON).clone();
    assert!(closed.version.closed);
    bench.close_idle(NOON + 121 * SECOND);
    assert_eq!(bench.bars.len(), 1);
    assert_eq!(bench.verdict(NOON + 1).revised, 0);
    bench.snapshot();
    let reopened = bench.newest(Interval::OneMinute, NOON);
    assert!(!reopened.version.closed && reopened.version > closed.version);
    assert_eq!((reopened.revision, reopened.trade_count), (0, 2));
}

#[test]
fn one_instrument_does_not_close_the_windows_of_another() {
    let mut bench = Bench::new();
    bench.apply(NOON);
    let tomorrow = LogTick {
        offset: 9,
        feed: "f",
        raw_partition: 0,
        raw_offset: 9,
        index: 0,
        instrument_id: "DAY_AHEAD",
        event_time: NOON + 86_400 * SECOND,
        sequence: None,
        price: 1,
        volume: None,
    };
    bench.apply_tick(&tomorrow);
    assert!(bench.bars.is_empty());
    assert_eq!(
        bench.state.counts().map(|count| (count.open, count.closed)),
        [(2, 0); 5]
    );
}

#[test]
fn a_repetition_moves_the_position_and_nothing_else() {
    let mut bench = Bench::new();
    bench.apply(NOON);
    assert_eq!(bench.snapshot().map(|s| (s.position, s.state.len())), Some((2, 6)));
    assert_eq!(bench.snapshot(), None);
    let repetition = LogTick {
        offset: 2,
        feed: "f",
        raw_partition: 0,
        raw_offset: 1,
        index: 0,
        instrument_id: "X",
        event_time: NOON + 500 * SECOND,
        sequence: None,
        price: 5,
        volume: None,
    };
    assert_eq!(bench.apply_tick(&repetition), Applied::Duplicate);
    assert_eq!(bench.snapshot().map(|s| (s.position, s.state.len())), Some((3, 0)));
}

#[test]
fn a_saved_window_is_removed_by_the_checkpoint_after_it_was_forgotten() {
    let mut bench = Bench::new();
    bench.apply(NOON);
    assert!(bench.snapshot().unwrap().tombstones.is_empty());
    bench.apply(NOON + 390 * SECOND);
    let tombstones = bench.snapshot().unwrap().tombstones;
    let keys: Vec<Option<StateKey<'_>>> = tombstones.iter().map(|key| StateKey::parse(key)).collect();
    let window = Window {
        interval: Interval::OneMinute,
        start: NOON,
    };
    let subject = Subject::Window {
        tenant_id: "t",
        instrument_id: "X",
        window,
    };
    assert_eq!(
        keys,
        [Some(StateKey {
            writer: WriterId { ordinal: 1, random: 1 },
            subject
        })]
    );
}

#[test]
fn a_time_outside_of_all_calendars_is_refused() {
    let mut bench = Bench::new();
    for event_time in [i64::MAX - SECOND, i64::MIN + SECOND] {
        assert_eq!(bench.apply(event_time), Applied::TimeOutOfRange);
    }
    assert_eq!(bench.state.instrument_count(), 0);
    assert_eq!(bench.state.position(), Some(3));
}

proptest! {
    /// Any arrival order, any repetitions: the newest bars are those of the naive recomputation, less the late ticks.
    #[test]
    fn bars_equal_a_naive_recomputation(seed in any::<u64>(), checkpoint_every in 1usize..40) {
        let log = log(&mut Random::new(seed), 150);
        let expected = recompute(&log);
        let mut bench = Bench::new();
        let (mut accepted, mut late) = (0, 0);
        for (index, tick) in log.iter().enumerate() {
            if let Applied::Counted(verdict) = bench.apply_tick(tick) {
                accepted += 1;
                late += usize::from(verdict.missed != 0);
            }
            if index % checkpoint_every == 0 {
                bench.snapshot();
            }
        }
        bench.snapshot();
        prop_assert_eq!((accepted, late), (expected.accepted, expected.late.len()));
        let mut newest: BTreeMap<_, &OwnedBar> = BTreeMap::new();
        for bar in &bench.bars {
            let best = newest.entry(bar.key()).or_insert(bar);
            if bar.version >= best.version {
                *best = bar;
            }
        }
        prop_assert_eq!(newest.len(), expected.bars.len());
        for (key, bar) in newest {
            let wanted = &expected.bars[&key];
            prop_assert_eq!(bar.prices.map(|p| p.unscaled()), wanted.open_high_low_close);
            prop_assert_eq!((bar.volume, bar.turnover.0, bar.trade_count), (wanted.volume, wanted.turnover, wanted.trade_count));
            prop_assert_eq!((bar.revision, bar.version.last_offset), (wanted.revision, wanted.last_offset));
            prop_assert_eq!(bar.version.closed, wanted.closed);
        }
    }
}
