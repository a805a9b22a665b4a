#![allow(clippy::unwrap_used)]

use super::*;
use crate::core::model::fixtures::{LogTick, OwnedBar, RULES, SECOND, log};
use crate::core::model::oracle::Rows;
use domain::{BarCause, Window};
use fastrand::Rng;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::LazyLock;

const NOON: Micros = 1_700_049_600 * SECOND;
const MINUTE: Micros = 60 * SECOND;

/// Shared, since parsing the schemas takes longer than a checkpoint.
static WIRE: LazyLock<Wire> = LazyLock::new(Wire::single_object);

struct Bench {
    state: PartitionState,
    bars: Vec<OwnedBar>,
    /// Interval, event time and offset of the closings that are left to the table.
    closings: Vec<(Interval, Micros, i64)>,
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
            state: PartitionState::new(RULES, writer, Vec::new(), NOON),
            bars: Vec::new(),
            closings: Vec::new(),
            offset: 0,
        }
    }

    /// Applies a trade that was appended at its event time.
    fn apply(&mut self, event_time: Micros) -> Applied {
        self.trade(event_time, event_time)
    }

    fn trade(&mut self, event_time: Micros, appended_at: Micros) -> Applied {
        self.priced("X", "trade", event_time, appended_at)
    }

    fn priced(
        &mut self,
        instrument_id: &'static str,
        product: &'static str,
        event_time: Micros,
        appended_at: Micros,
    ) -> Applied {
        self.offset += 1;
        self.apply_tick(&LogTick {
            instrument_id,
            product,
            appended_at,
            ..LogTick::trade(self.offset, event_time)
        })
    }

    fn apply_tick(&mut self, tick: &LogTick) -> Applied {
        let arrived = Arrived {
            tick: &tick.tick(),
            offset: tick.offset,
            now: tick.event_time,
        };
        let (bars, closings) = (&mut self.bars, &mut self.closings);
        self.state.apply(&arrived, &mut |shown| take(shown, bars, closings))
    }

    fn verdict(&mut self, event_time: Micros, appended_at: Micros) -> Verdict {
        verdict(self.trade(event_time, appended_at))
    }

    fn close_idle(&mut self, now: Micros) {
        let (bars, closings) = (&mut self.bars, &mut self.closings);
        self.state.close_idle(now, &mut |shown| take(shown, bars, closings));
    }

    fn snapshot(&mut self) -> Option<Snapshot> {
        let (bars, closings) = (&mut self.bars, &mut self.closings);
        self.state.snapshot(&WIRE, &mut |shown| take(shown, bars, closings))
    }

    fn newest(&self, interval: Interval, start: Micros) -> &OwnedBar {
        let bars = self
            .bars
            .iter()
            .filter(|bar| (bar.window.interval, bar.window.start) == (interval, start));
        bars.max_by_key(|bar| bar.version).unwrap()
    }
}

fn take(shown: Shown<'_>, bars: &mut Vec<OwnedBar>, closings: &mut Vec<(Interval, Micros, i64)>) {
    match shown {
        Shown::Bar(bar) => bars.push(OwnedBar::from(bar)),
        Shown::Closing(closing) => closings.push((closing.interval, closing.event_time, closing.last_offset)),
    }
}

fn verdict(applied: Applied) -> Verdict {
    match applied {
        Applied::Counted(verdict) => verdict,
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn a_closed_bar_is_sent_at_once_and_an_open_one_at_the_checkpoint() {
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
fn a_tick_appended_after_the_close_is_a_revision() {
    let mut bench = Bench::new();
    bench.apply(NOON);
    bench.apply(NOON + 200 * SECOND);
    assert_eq!(bench.verdict(NOON + 1, NOON + 200 * SECOND).revised, 0b00001);
    bench.snapshot();
    let bar = bench.newest(Interval::OneMinute, NOON);
    assert_eq!((bar.revision, bar.trade_count, bar.version.closed), (1, 2, true));
    assert_eq!(bench.newest(Interval::FiveMinutes, NOON).revision, 0);
    // Of its close, of the late tick, and of a bar that was open for it.
    let causes: Vec<Option<BarCause>> = bench
        .bars
        .iter()
        .filter(|bar| bar.window == Interval::OneMinute.window_of(NOON))
        .map(|bar| bar.cause)
        .collect();
    assert_eq!(causes, [Some(BarCause::Live), Some(BarCause::Late)]);
    assert_eq!(bench.newest(Interval::FiveMinutes, NOON).cause, Some(BarCause::Live));
}

#[test]
fn a_tick_for_a_forgotten_window_is_left_to_the_table_and_counts_in_its_longer_windows() {
    let mut bench = Bench::new();
    bench.apply(NOON);
    bench.apply(NOON + 400 * SECOND);
    let verdict = bench.verdict(NOON + 1, NOON + 400 * SECOND);
    assert_eq!(
        (verdict.by_table, verdict.closed, verdict.revised),
        (0b00001, 0b00001, 0b00010)
    );
    bench.snapshot();
    assert_eq!(bench.newest(Interval::OneMinute, NOON).trade_count, 1);
    assert_eq!(bench.newest(Interval::FiveMinutes, NOON).trade_count, 2);
}

#[test]
fn event_times_do_not_move_the_clock() {
    let mut bench = Bench::new();
    bench.apply(NOON);
    // Its event time is six days ahead: its own windows wait for their time, all others continue.
    let ahead = bench.verdict(NOON + 6 * 86_400 * SECOND, NOON + SECOND);
    assert_eq!(ahead, Verdict::default());
    let behind = bench.verdict(NOON + 2, NOON + 2 * SECOND);
    assert_eq!((behind, bench.bars.len()), (Verdict::default(), 0));
    // Another instrument closes them, by its append time.
    bench.priced("Y", "trade", NOON, NOON + 90 * SECOND);
    assert!(bench.newest(Interval::OneMinute, NOON).version.closed);
}

#[test]
fn an_unknown_window_is_new_until_the_clock_forgets_it() {
    let mut bench = Bench::new();
    bench.apply(NOON + 389 * SECOND);
    assert_eq!(bench.verdict(NOON, NOON).by_table, 0);
    bench.apply(NOON + 390 * SECOND);
    assert_eq!(bench.verdict(NOON, NOON).by_table, 0b00001);
}

#[test]
fn ticks_with_the_usual_delay_of_their_product_are_live_and_revise_nothing() {
    let mut bench = Bench::new();
    let usual = |bench: &mut Bench, instrument_id, product, event_time, appended_at| {
        let verdict = verdict(bench.priced(instrument_id, product, event_time, appended_at));
        assert_eq!(verdict, Verdict::default(), "{product}");
    };
    for five in 0..24 {
        let start = NOON + five * 5 * MINUTE;
        // Real-time prices: five to ten minutes after the end of the interval. Trades: after two seconds.
        usual(&mut bench, "R", "rt5", start - 10 * MINUTE, start + (five % 5) * MINUTE);
        usual(
            &mut bench,
            "T",
            "trade",
            start + 4 * MINUTE,
            start + 4 * MINUTE + 2 * SECOND,
        );
        if five % 3 == 0 {
            usual(
                &mut bench,
                "Q",
                "rt15",
                start - 15 * MINUTE,
                start + 4 * MINUTE + 3 * SECOND,
            );
        }
        if five % 12 == 0 {
            usual(
                &mut bench,
                "H",
                "rth",
                start - 60 * MINUTE,
                start + 4 * MINUTE + 4 * SECOND,
            );
        }
    }
    // Day-ahead prices arrive all at once, in any order.
    for hour in [7, 3, 23, 0, 11] {
        usual(
            &mut bench,
            "D",
            "da",
            NOON + (12 + hour) * 60 * MINUTE,
            NOON + 120 * MINUTE,
        );
    }
    assert!(bench.closings.is_empty());
}

#[test]
fn an_interval_price_has_no_bar_shorter_than_its_interval() {
    let mut bench = Bench::new();
    bench.priced("H", "rth", NOON, NOON);
    bench.priced("F", "rt5", NOON, NOON);
    bench.snapshot();
    let of = |instrument_id: &str| {
        let bars = bench.bars.iter().filter(|bar| bar.instrument_id == instrument_id);
        bars.map(|bar| bar.window.interval.name()).collect::<Vec<_>>()
    };
    assert_eq!(of("H"), ["1h", "1d"]);
    assert_eq!(of("F"), ["5m", "15m", "1h", "1d"]);
}

#[test]
fn a_second_price_of_an_interval_leaves_its_windows_to_the_table_until_they_close() {
    let mut bench = Bench::new();
    bench.priced("F", "rt5", NOON, NOON);
    bench.snapshot();
    let shown = bench.bars.len();
    let again = verdict(bench.priced("F", "rt5", NOON, NOON + SECOND));
    assert_eq!((again.by_table, again.closed), (0b11110, 0));
    // The next interval shares the longer windows, and counts in its own.
    let next = verdict(bench.priced("F", "rt5", NOON + 5 * MINUTE, NOON + 2 * SECOND));
    assert_eq!(next.by_table, 0b11100);
    bench.snapshot();
    assert_eq!(bench.bars.len(), shown + 1);
    bench.apply(NOON + 20 * MINUTE);
    assert_eq!(bench.closings, [(Interval::FiveMinutes, NOON, 2)]);
    let closed = verdict(bench.priced("F", "rt5", NOON, NOON + 20 * MINUTE));
    assert_eq!((closed.by_table, closed.closed), (0b11110, 0b00010));
}

#[test]
fn an_interval_price_that_is_late_for_its_own_window_marks_the_longer_ones() {
    let mut bench = Bench::new();
    bench.priced("F", "rt5", NOON + 60 * MINUTE, NOON + 65 * MINUTE);
    let late = verdict(bench.priced("F", "rt5", NOON, NOON + 65 * MINUTE));
    assert_eq!((late.by_table, late.closed), (0b11110, 0b00110));
    assert_eq!(
        verdict(bench.priced("F", "rt5", NOON + 65 * MINUTE, NOON + 66 * MINUTE)).by_table,
        0b10000
    );
}

#[test]
fn windows_with_two_products_are_left_to_the_table() {
    let mut bench = Bench::new();
    bench.apply(NOON);
    // The one-minute windows of the trade are forgotten; those of a real-time price would still be open.
    let mixed = verdict(bench.priced("X", "rt5", NOON, NOON + 700 * SECOND));
    assert_eq!(mixed.by_table, 0b11110);
    assert_eq!(
        bench.verdict(NOON + 700 * SECOND, NOON + 701 * SECOND).by_table,
        0b11111
    );
}

#[test]
fn the_next_tick_reverts_an_idle_close_and_is_no_revision() {
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
    assert_eq!(bench.verdict(NOON + 1, NOON + 1).revised, 0);
    bench.snapshot();
    let reopened = bench.newest(Interval::OneMinute, NOON);
    assert!(!reopened.version.closed && reopened.version > closed.version);
    assert_eq!((reopened.revision, reopened.trade_count), (0, 2));
}

#[test]
fn an_idle_close_of_a_window_from_the_table_sends_its_closing() {
    let mut bench = Bench::new();
    bench.priced("F", "rt5", NOON, NOON);
    bench.priced("F", "rt5", NOON, NOON);
    bench.close_idle(NOON + 20 * MINUTE);
    assert_eq!(bench.closings, [(Interval::FiveMinutes, NOON, 2)]);
    // The close by the log clock sends no second one.
    bench.apply(NOON + 21 * MINUTE);
    assert_eq!(bench.closings.len(), 1);
}

#[test]
fn an_instrument_is_removed_with_its_last_window() {
    let mut bench = Bench::new();
    bench.apply(NOON);
    bench.snapshot();
    assert_eq!(bench.state.instrument_count(), 1);
    let two_days = NOON + 2 * 86_400 * SECOND;
    // Too late for all its windows: no instrument is created.
    assert_eq!(verdict(bench.priced("Y", "trade", NOON, two_days)).by_table, 0b11111);
    assert_eq!(bench.state.instrument_count(), 0);
    assert_eq!(bench.snapshot().map(|snapshot| snapshot.tombstones.len()), Some(5));
    bench.apply(two_days + SECOND);
    assert_eq!(bench.state.counts().map(|count| count.open), [1; 5]);
}

/// The windows of an instrument, and whether they are settled.
fn held(state: &PartitionState, instrument_id: &str) -> Vec<(Window, bool)> {
    let mut found = Vec::new();
    state.bars("t", instrument_id, &mut |held| {
        found.push((held.window(), matches!(held, Held::Settled(_))));
    });
    found
}

#[test]
fn a_checkpoint_settles_closed_windows_that_have_every_price() {
    let mut bench = Bench::new();
    for minutes in [0, 5, 10, 20, 35] {
        bench.priced("F", "rt5", NOON + minutes * MINUTE, NOON + (minutes + 10) * MINUTE);
    }
    let settled = |bench: &Bench| {
        let held = held(&bench.state, "F").into_iter();
        held.filter_map(|(window, is_settled)| is_settled.then_some((window.interval.name(), window.start - NOON)))
            .collect::<Vec<_>>()
    };
    assert_eq!(settled(&bench), []);
    bench.snapshot();
    // The window of 12:15 has one of three prices: that of 12:20, whose own window is closed and settled.
    let minutes = |minutes: i64| minutes * MINUTE;
    let whole = [
        ("5m", minutes(0)),
        ("5m", minutes(5)),
        ("5m", minutes(10)),
        ("5m", minutes(20)),
        ("15m", minutes(0)),
    ];
    assert_eq!(settled(&bench), whole);
    // So a late price counts there.
    let late = verdict(bench.priced("F", "rt5", NOON + 15 * MINUTE, NOON + 46 * MINUTE));
    assert_eq!((late.by_table, late.revised), (0, 0b00110));
    let again = verdict(bench.priced("F", "rt5", NOON + 5 * MINUTE, NOON + 46 * MINUTE));
    assert_eq!((again.by_table, again.closed), (0b11110, 0b00110));
    assert!(bench.snapshot().is_some_and(|snapshot| snapshot.state.len() >= 4));
    // Settled windows are forgotten like others.
    bench.apply(NOON + 26 * 60 * MINUTE);
    assert_eq!(held(&bench.state, "F"), []);
}

#[test]
fn places_are_packed_when_few_instruments_remain() {
    let mut bench = Bench::new();
    for number in 0..1_000 {
        bench.priced(format!("I{number}").leak(), "trade", NOON, NOON);
    }
    bench.snapshot();
    let kept = NOON + 3 * 86_400 * SECOND;
    for name in ["I7", "I400", "I999"] {
        bench.priced(name, "trade", kept, NOON + SECOND);
    }
    bench.apply(NOON + 2 * 86_400 * SECOND);
    assert_eq!(bench.state.instrument_count(), 4);
    assert!(bench.state.places.iter().all(|(place, _)| place < 256));
    // The remaining ones are found, saved, and closed in time.
    assert_eq!(bench.snapshot().map(|snapshot| snapshot.state.len()), Some(20));
    bench.bars.clear();
    bench.priced("I7", "trade", kept + MINUTE, kept + 2 * MINUTE);
    let mut closed: Vec<&str> = bench.bars.iter().map(|bar| bar.instrument_id.as_str()).collect();
    closed.sort_unstable();
    // A minute of each, and all five bars of X.
    assert_eq!(closed, ["I400", "I7", "I999", "X", "X", "X", "X", "X"]);
    for name in ["I7", "I400", "I999"] {
        assert!(!held(&bench.state, name).is_empty());
    }
}

#[test]
fn a_repetition_moves_the_position_and_nothing_else() {
    let mut bench = Bench::new();
    bench.apply(NOON);
    assert_eq!(bench.snapshot().map(|s| (s.position, s.state.len())), Some((2, 5)));
    assert_eq!(bench.snapshot(), None);
    let repetition = LogTick {
        offset: 2,
        ..LogTick::trade(1, NOON + 500 * SECOND)
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
fn a_time_out_of_range_is_rejected() {
    let mut bench = Bench::new();
    for event_time in [i64::MAX - SECOND, i64::MIN + SECOND] {
        assert_eq!(bench.trade(event_time, NOON), Applied::TimeOutOfRange);
    }
    assert_eq!(bench.trade(NOON, i64::MAX - SECOND), Applied::TimeOutOfRange);
    assert_eq!(bench.state.instrument_count(), 0);
    assert_eq!(bench.state.position(), Some(4));
    assert_eq!(bench.state.log_clock(), None);
}

#[test]
fn a_mark_of_the_clock_that_is_due_is_saved_with_the_position() {
    let mut bench = Bench::new();
    bench.apply(NOON);
    bench.state.marks().quoted(NOON, MINUTE);
    let saved = bench.snapshot().unwrap();
    let (_, value) = saved.sequencer.iter().next().unwrap();
    let record = WIRE.decode_sequencer(value).unwrap();
    assert_eq!(record.marks_due, Some(NOON + MINUTE));
    let mut restored = Bench::new();
    restored.state.restore_position(&record);
    assert!(!restored.state.marks().take(NOON + MINUTE - 1));
    assert!(restored.state.marks().take(NOON + MINUTE));
    assert!(!restored.state.marks().take(NOON + 2 * MINUTE));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// For any order of rows and event times and any repetitions: a bar whose newest version is from the stream equals the
    /// naive recomputation, and ticks that the stream did not count are reported with their windows.
    #[test]
    fn bars_equal_a_naive_recomputation(seed in any::<u64>(), checkpoint_every in 1usize..40) {
        let log = log(&mut Rng::with_seed(seed), 150);
        let rows = Rows::of(&log);
        let mut bench = Bench::new();
        let mut newest: BTreeMap<_, (i64, bool, bool)> = BTreeMap::new();
        for (index, tick) in log.iter().enumerate() {
            if let Applied::Counted(verdict) = bench.apply_tick(tick) {
                for interval in Interval::ALL.into_iter().filter(|i| verdict.by_table >> i.index() & 1 == 1) {
                    let key = (tick.instrument_id.to_owned(), interval, interval.window_of(tick.event_time).start);
                    newest.insert(key, (tick.offset, verdict.closed >> interval.index() & 1 == 1, false));
                }
            }
            if index % checkpoint_every == 0 {
                bench.snapshot();
            }
        }
        bench.snapshot();
        for bar in &bench.bars {
            let best = newest.entry(bar.key()).or_default();
            *best = (*best).max((bar.version.last_offset, bar.version.closed, true));
        }
        prop_assert_eq!(newest.keys().cloned().collect::<std::collections::BTreeSet<_>>(), rows.keys());
        for (key, (offset, closed, here)) in newest {
            let wanted = rows.content(&key, i64::MAX, closed).unwrap();
            prop_assert_eq!(wanted.version.last_offset, offset);
            if here {
                let bar = bench.bars.iter().rfind(|bar| bar.version == wanted.version && bar.key() == key);
                prop_assert_eq!(bar, Some(&wanted));
                prop_assert_eq!(closed, rows.is_closed(&key));
            }
        }
    }

    /// A checkpoint settles only windows that would count no later tick.
    #[test]
    fn a_checkpoint_changes_no_verdict(seed in any::<u64>(), checkpoint_every in 1usize..20) {
        let log = log(&mut Rng::with_seed(seed), 150);
        let (mut with, mut without) = (Bench::new(), Bench::new());
        for (index, tick) in log.iter().enumerate() {
            prop_assert_eq!(with.apply_tick(tick), without.apply_tick(tick), "tick {}", index);
            if index % checkpoint_every == 0 {
                with.snapshot();
            }
        }
    }
}
