#![allow(clippy::unwrap_used)]

use super::*;
use crate::core::model::fixtures::{LogTick, OwnedBar};
use domain::TimeWeighted;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn tick(offset: i64, event_time: Micros, price: i64, volume: Option<i64>) -> LogTick {
    LogTick {
        feed: if offset % 2 == 0 { "b" } else { "a" },
        price,
        volume,
        ..LogTick::trade(offset, event_time)
    }
}

const WINDOW: Window = Window {
    interval: Interval::OneDay,
    start: 0,
};

fn window_of(tick: &Contribution) -> WindowState {
    WindowState::new(WINDOW, tick, Product::Trade, false)
}

fn bar_of(ticks: &[LogTick]) -> OwnedBar {
    bar_with(Product::Trade, ticks)
}

fn bar_with<'t>(product: Product, ticks: impl IntoIterator<Item = &'t LogTick>) -> OwnedBar {
    let mut texts = Texts::default();
    let mut window: Option<WindowState> = None;
    for tick in ticks {
        let tick = LogTick {
            product: product.name(),
            ..tick.clone()
        };
        let contribution = Contribution::of(&tick.tick(), tick.offset, &mut texts);
        match &mut window {
            None => window = Some(WindowState::new(WINDOW, &contribution, product, false)),
            Some(window) => assert_ne!(window.add(&contribution, &texts), Added::Overflow),
        }
    }
    OwnedBar::from(&window.unwrap().bar(("t", "X"), &texts).unwrap())
}

/// A bar from those of the windows that it consists of, in their order.
fn merged(bars: &[OwnedBar]) -> OwnedBar {
    let mut whole = bars[0].clone();
    for bar in &bars[1..] {
        let ([open, high, low, _], [_, higher, lower, close]) = (whole.prices, bar.prices);
        whole.prices = [open, high.max(higher), low.min(lower), close];
        whole.volume += bar.volume;
        whole.turnover.0 += bar.turnover.0;
        whole.time_weighted.price_seconds += bar.time_weighted.price_seconds;
        whole.time_weighted.seconds += bar.time_weighted.seconds;
        whole.trade_count += bar.trade_count;
        whole.close = bar.close.clone();
        whole.version.last_offset = whole.version.last_offset.max(bar.version.last_offset);
        whole.last_appended_at = whole.last_appended_at.max(bar.last_appended_at);
    }
    whole.vwap = whole.turnover.vwap(whole.volume);
    whole
}

proptest! {
    /// One minute, five, fifteen, an hour, four hours, a day: each from the bars of the length before.
    #[test]
    fn the_bars_of_short_windows_merge_exactly_to_those_of_long_ones(
        ticks in proptest::collection::vec((0i64..86_400, -1_000_000_000i64..1_000_000_000, proptest::option::of(0i64..1_000_000), 0i64..400), 1..60),
        of_intervals in any::<bool>(),
    ) {
        let mut priced = BTreeSet::new();
        let ticks: Vec<LogTick> = ticks
            .into_iter()
            .map(|(second, price, volume, length)| if of_intervals { (second / 300 * 300, price, None, length) } else { (second, price, volume, 0) })
            // An interval has one price.
            .filter(|(second, ..)| priced.insert(*second) || !of_intervals)
            .zip(0..)
            .map(|((second, price, volume, length), offset)| LogTick {
                end: (length > 0).then_some((second + length) * 1_000_000),
                ..tick(offset, second * 1_000_000, price, volume)
            })
            .collect();
        let delivered: i64 = ticks.iter().map(|tick| tick.end.map_or(300, |end| (end - tick.event_time) / 1_000_000).min(300)).sum();
        let product = if of_intervals { Product::RealTimeFive } else { Product::Trade };
        let bars_of = |seconds: i64| {
            let mut windows: BTreeMap<i64, Vec<&LogTick>> = BTreeMap::new();
            for tick in &ticks {
                windows.entry(tick.event_time / 1_000_000 / seconds * seconds).or_default().push(tick);
            }
            let bar = |(start, ticks): (i64, Vec<&LogTick>)| (start, bar_with(product, ticks));
            windows.into_iter().map(bar).collect::<BTreeMap<i64, OwnedBar>>()
        };
        // No bar is shorter than the interval of its prices.
        let mut lengths = [60, 300, 900, 3_600, 14_400, 86_400].into_iter().skip(usize::from(of_intervals));
        let mut shorter = bars_of(lengths.next().unwrap());
        for seconds in lengths {
            let mut windows: BTreeMap<i64, Vec<OwnedBar>> = BTreeMap::new();
            for (start, bar) in shorter {
                windows.entry(start / seconds * seconds).or_default().push(bar);
            }
            shorter = windows.into_iter().map(|(start, bars)| (start, merged(&bars))).collect();
            prop_assert_eq!(&shorter, &bars_of(seconds), "{} s", seconds);
        }
        let of_day: Vec<i64> = shorter.values().map(|bar| bar.time_weighted.seconds).collect();
        prop_assert_eq!(of_day, [if of_intervals { delivered } else { 0 }]);
    }

    #[test]
    fn arrival_order_never_matters(
        ticks in proptest::collection::vec((0i64..3, proptest::option::of(-1i64..2), -1_000_000_000i64..1_000_000_000, proptest::option::of(0i64..1_000_000)), 1..30),
        seed in any::<u64>(),
    ) {
        let ticks: Vec<LogTick> = ticks.into_iter().enumerate().map(|(i, (time, sequence, price, volume))| LogTick { sequence, ..tick(i as i64, time, price, volume) }).collect();
        let mut other: Vec<LogTick> = ticks.clone();
        let mut random = fastrand::Rng::with_seed(seed);
        for i in (1..other.len()).rev() {
            other.swap(i, random.usize(..i + 1));
        }
        // The origins are fixed; the offset in the enriched log is that of the arrival.
        other.iter_mut().enumerate().for_each(|(i, tick)| tick.offset = i as i64);
        let feeds: Vec<&str> = ticks.iter().map(|t| t.feed).collect();
        prop_assert!(other.iter().all(|t| feeds[t.raw_offset as usize] == t.feed));
        let bar = bar_of(&ticks);
        prop_assert_eq!(&bar, &bar_of(&other));
        // Computed here: of the ticks with this edge time, those without a sequence are the lowest, then by feed and offset.
        let place = |t: &&LogTick| (t.event_time, t.sequence.map_or(-9, |sequence| sequence), t.feed, t.raw_offset);
        let (first, last) = (ticks.iter().min_by_key(place).unwrap(), ticks.iter().max_by_key(place).unwrap());
        prop_assert_eq!((bar.open.raw.1, bar.close.raw.1), (first.raw_offset, last.raw_offset));
    }
}

#[test]
fn equal_times_are_ordered_by_origin() {
    let bar = bar_of(&[tick(0, 7, 100, None), tick(1, 7, 200, None), tick(2, 7, 300, None)]);
    // Feed `a` (offset 1) sorts before feed `b` (offsets 0 and 2).
    assert_eq!(bar.open.raw.1, 1);
    assert_eq!(bar.close.raw.1, 2);
    assert_eq!(bar.volume, 0);
    assert_eq!(bar.vwap, None);
}

#[test]
fn equal_times_are_ordered_by_the_sequence_before_the_origin() {
    let numbered = |offset, sequence, price| LogTick {
        sequence,
        ..tick(offset, 7, price, None)
    };
    let bar = bar_of(&[
        numbered(0, Some(3), 30),
        numbered(2, Some(1), 10),
        numbered(4, Some(2), 20),
    ]);
    assert_eq!((bar.prices[0].unscaled(), bar.prices[3].unscaled()), (10, 30));
    // A missing sequence ranks below the lowest one.
    let bar = bar_of(&[numbered(0, Some(i64::MIN), 30), numbered(2, None, 10)]);
    assert_eq!((bar.prices[0].unscaled(), bar.prices[3].unscaled()), (10, 30));
}

#[test]
fn a_tick_that_was_counted_before_changes_nothing() {
    let mut texts = Texts::default();
    let first = Contribution::of(&tick(5, 0, 100, Some(10)).tick(), 5, &mut texts);
    let mut window = window_of(&first);
    let before = window.clone();
    assert_eq!(window.add(&first, &texts), Added::Known);
    assert_eq!(window, before);
}

#[test]
fn a_tick_whose_sum_does_not_fit_is_rejected_and_the_window_is_unchanged() {
    let mut texts = Texts::default();
    let largest = 999_999_999_999_999_999;
    let contribution =
        |offset, texts: &mut Texts| Contribution::of(&tick(offset, 0, largest, Some(largest)).tick(), offset, texts);
    let mut window = window_of(&contribution(0, &mut texts));
    let mut counted = 1;
    // One product is just below 10^36, so the hundredth would reach 10^38.
    for offset in 1..200 {
        let before = window.clone();
        match window.add(&contribution(offset, &mut texts), &texts) {
            Added::Counted => counted += 1,
            added => {
                assert_eq!(added, Added::Overflow);
                assert_eq!(window, before);
            }
        }
    }
    assert_eq!(counted, 100);
}

#[test]
fn a_restored_window_gives_the_same_bar() {
    let mut texts = Texts::default();
    let mut first = tick(1, 3, -100, Some(10));
    first.sequence = Some(5);
    let mut window = window_of(&Contribution::of(&first.tick(), 1, &mut texts));
    assert_eq!(
        window.add(&Contribution::of(&tick(2, 1, 200, None).tick(), 2, &mut texts), &texts),
        Added::Counted
    );
    window.revise();
    let bar = OwnedBar::from(&window.bar(("t", "X"), &texts).unwrap());
    let mut other_texts = Texts::default();
    other_texts.id("a feed with the first number");
    let restored = WindowState::restored(&window.record(bar.bar()), &mut other_texts).unwrap();
    assert_eq!(OwnedBar::from(&restored.bar(("t", "X"), &other_texts).unwrap()), bar);
    // The edges are saved with their sequence: a tick of the same time with a lower one is not the last.
    assert_eq!(bar.close.raw.1, 1);
    let (mut window, mut lower) = (restored, tick(9, 3, 7, None));
    lower.sequence = Some(4);
    window.add(&Contribution::of(&lower.tick(), 9, &mut other_texts), &other_texts);
    let bar = OwnedBar::from(&window.bar(("t", "X"), &other_texts).unwrap());
    assert_eq!(bar.close.raw.1, 1);
}

/// Eight seconds at 100, then 292 seconds at 25; alone, and both.
#[test]
fn the_seconds_of_short_intervals_are_saved_and_read_back() {
    let prices = [(0, 100, 0, 8), (1, 25, 8, 300)].map(|(offset, price, start, end)| LogTick {
        product: "rt5",
        end: Some(end * 1_000_000),
        ..tick(offset, start * 1_000_000, price, None)
    });
    for (prices, sums) in [(&prices[..1], (800, 8)), (&prices[..], (8_100, 300))] {
        let mut texts = Texts::default();
        let [first, others @ ..] = prices else {
            unreachable!("a price")
        };
        let first = Contribution::of(&first.tick(), 0, &mut texts);
        let mut window = WindowState::new(WINDOW, &first, Product::RealTimeFive, false);
        for price in others {
            let price = Contribution::of(&price.tick(), price.offset, &mut texts);
            assert_eq!(window.add(&price, &texts), Added::Counted);
        }
        let bar = OwnedBar::from(&window.bar(("t", "X"), &texts).unwrap());
        let weighted = bar.time_weighted;
        assert_eq!((weighted.price_seconds, weighted.seconds), sums);
        let restored = WindowState::restored(&window.record(bar.bar()), &mut texts).unwrap();
        assert!(!restored.is_from_table());
        assert_eq!(OwnedBar::from(&restored.bar(("t", "X"), &texts).unwrap()), bar);
        // An earlier release saved no seconds: only the table has them.
        let without = OwnedBar {
            time_weighted: TimeWeighted::default(),
            ..bar
        };
        let restored = WindowState::restored(&window.record(without.bar()), &mut texts).unwrap();
        assert!(restored.is_from_table());
    }
}

#[test]
fn a_marked_window_has_no_bar_and_its_closing_carries_its_last_tick() {
    let mut texts = Texts::default();
    let mut window = window_of(&Contribution::of(&tick(1, 30, 100, None).tick(), 1, &mut texts));
    assert!(!window.holds_another(1) && window.holds_another(2));
    let second = Contribution::of(&tick(2, 10, 200, None).tick(), 2, &mut texts);
    assert_eq!(window.take_from_table(&second), Added::ByTable);
    assert_eq!(window.take_from_table(&second), Added::Known);
    assert!(window.is_from_table() && !window.marks().bar_due && window.holds_another(1));
    let closing = window.closing(("t", "X"), &texts).unwrap();
    assert_eq!(
        (closing.last_offset, closing.event_time, closing.origin.offset),
        (2, 10, 2)
    );
}

#[test]
fn a_window_is_settled_when_it_is_closed_sent_complete_and_below_the_position() {
    let quarter = Window {
        interval: Interval::FifteenMinutes,
        start: 0,
    };
    let price = |product: Product, offset: i64, end: Option<Micros>| {
        let price = LogTick {
            product: product.name(),
            end,
            ..tick(offset, offset * 300_000_000, 100, None)
        };
        Contribution::of(&price.tick(), offset, &mut Texts::default())
    };
    // `end` is that of the last price.
    let ending = |product, until: i64, end| {
        let end = |offset: i64| if offset + 1 == until { end } else { None };
        let mut window = WindowState::new(quarter, &price(product, 0, end(0)), product, false);
        for offset in 1..until {
            let price = price(product, offset, end(offset));
            assert_eq!(window.add(&price, &Texts::default()), Added::Counted);
        }
        window.close();
        window.marks_mut().bar_due = false;
        window
    };
    let whole = |product, until| ending(product, until, None);
    let is_settled = |window: &WindowState, position| {
        let mut window = window.clone();
        window.settle(position);
        matches!(window.held(("t", "X"), &Texts::default()), Held::Settled(of) if of == quarter)
    };
    let window = whole(Product::RealTimeFive, 3);
    assert!(is_settled(&window, 3) && !is_settled(&window, 2));
    let mut not_yet = window.clone();
    not_yet.marks_mut().bar_due = true;
    let mut open = window.clone();
    open.marks_mut().closed = false;
    let mut mixed = window.clone();
    mixed.marks_mut().mixed = true;
    for other in [
        not_yet,
        open,
        mixed,
        whole(Product::RealTimeFive, 2),
        whole(Product::Trade, 3),
        // The last interval is a second too short.
        ending(Product::RealTimeFive, 3, Some(899_000_000)),
    ] {
        assert!(!is_settled(&other, 100));
    }
    assert!(is_settled(&whole(Product::RealTimeFifteen, 1), 3));
    let mut settled = window;
    settled.settle(3);
    assert!(settled.holds_another(3));
    let other = price(Product::RealTimeFive, 3, None);
    assert_eq!(settled.add(&other, &Texts::default()), Added::ByTable);
    assert!(settled.is_from_table());
}

#[test]
fn a_window_takes_three_words_and_one_tick_nine() {
    assert_eq!((size_of::<WindowState>(), size_of::<Single>()), (24, 72));
    assert_eq!(size_of::<Sums>(), 176);
}
