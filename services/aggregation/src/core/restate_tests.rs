use domain::{Decimal, Origin};
use stream::Partition;

use super::*;

const RULES: RestateRules = RestateRules {
    intervals: 0b11111,
    windows: 4,
    linger: 1_000,
};
const MINUTE: Micros = 60_000_000;

fn late(instrument_id: &str, enriched_offset: i64, event_time: Micros, missed: u8, closed: u8) -> LateTick<'_> {
    LateTick {
        origin: Origin {
            feed: "f",
            partition: 0,
            offset: enriched_offset,
            index: 0,
        },
        tenant_id: "t",
        instrument_id,
        event_time,
        price: Decimal::ZERO,
        volume: None,
        missed_intervals: missed,
        closed_intervals: closed,
        is_close: false,
        watermark: 0,
        enriched_offset,
    }
}

fn record(offset: i64) -> KeptMessage {
    KeptMessage {
        source: Partition {
            topic: "late".into(),
            number: 0,
        },
        offset,
        timestamp: 0,
        has_append_time: false,
        key: None,
        payload: Some([0; 100].into()),
    }
}

fn take(restater: &mut Restater, offset: i64, late: &LateTick<'_>, now: Micros) {
    restater.take(record(offset), late, now);
}

fn statement(restater: &mut Restater, now: Micros) -> Vec<(Micros, &'static str, i64, bool)> {
    let windows = restater.next_statement(now, Ticket(0)).unwrap_or_default();
    windows
        .iter()
        .map(|asked| {
            let version = asked.version;
            (
                asked.window.start / MINUTE,
                asked.window.interval.name(),
                version.last_offset,
                version.closed,
            )
        })
        .collect()
}

#[test]
fn only_the_newest_version_of_a_window_is_requested() {
    let mut restater = Restater::new(RULES);
    take(&mut restater, 0, &late("a", 9, MINUTE, 0b1, 0b1), 0);
    take(&mut restater, 1, &late("a", 7, MINUTE + 1, 0b1, 0b1), 0);
    take(&mut restater, 2, &late("a", 9, MINUTE, 0b11, 0b10), 0);
    assert_eq!(statement(&mut restater, 999), []);
    assert_eq!(
        statement(&mut restater, 1_000),
        [(1, "1m", 9, true), (0, "5m", 9, true)]
    );
    assert_eq!(statement(&mut restater, 9_999), [], "one at a time");
}

#[test]
fn the_position_moves_when_every_bar_before_it_is_acknowledged() {
    let mut restater = Restater::new(RULES);
    take(&mut restater, 5, &late("a", 1, 0, 0b1, 0), 0);
    assert_eq!(statement(&mut restater, 1_000).len(), 1);
    take(&mut restater, 6, &late("a", 2, 0, 0b1, 0), 1_000);
    assert_eq!(restater.durable(Ticket(99)), None, "nothing was sent");
    restater.answered(Answer::Sent(Ticket(3)), 1_001);
    assert_eq!(restater.durable(Ticket(2)), None);
    assert_eq!(
        restater.durable(Ticket(3)),
        Some(6),
        "not past the late tick that arrived in the meantime"
    );
    assert_eq!(statement(&mut restater, 2_000), [(0, "1m", 2, false)]);
    restater.answered(Answer::Sent(Ticket(4)), 2_001);
    restater.pass(7);
    assert_eq!(statement(&mut restater, 2_002), []);
    assert_eq!(
        restater.durable(Ticket(4)),
        Some(8),
        "a dead letter before ticket 4, too"
    );
    assert_eq!(statement(&mut restater, 9_999), []);
    assert_eq!(restater.durable(Ticket(9)), None);
}

#[test]
fn a_batch_does_not_grow_while_the_table_is_behind() {
    let mut restater = Restater::new(RULES);
    take(&mut restater, 0, &late("a", 1, 0, 0b1, 0), 0);
    let first = statement(&mut restater, 1_000);
    restater.answered(Answer::Behind, 1_000);
    take(&mut restater, 1, &late("a", 50, 0, 0b1, 0), 1_001);
    assert_eq!(statement(&mut restater, 1_001), [], "repeated only after a wait");
    assert_eq!(statement(&mut restater, 1_000 + BEHIND_WAIT), first);
}

#[test]
fn a_statement_that_exceeds_its_limits_is_split_without_losing_windows() {
    let mut restater = Restater::new(RULES);
    for minute in 0..4 {
        take(&mut restater, minute, &late("a", minute, minute * MINUTE, 0b1, 0), 0);
    }
    assert!(restater.is_full());
    let mut now = 0;
    assert_eq!(statement(&mut restater, now).len(), 4, "a full batch does not wait");
    restater.answered(Answer::TooMuch, now);
    let (mut seen, mut largest) = (Vec::new(), 0);
    while !restater.is_empty() {
        now += LONGEST_RETRY;
        let piece = statement(&mut restater, now);
        largest = largest.max(piece.len());
        seen.extend(piece);
        restater.answered(Answer::Sent(Ticket(1)), now);
    }
    assert_eq!(
        seen.iter().map(|(minute, ..)| *minute).collect::<Vec<_>>(),
        [0, 1, 2, 3]
    );
    assert_eq!(largest, 2);
    assert_eq!(restater.durable(Ticket(1)), Some(4));
}

#[test]
fn failed_statements_are_retried_after_growing_waits() {
    let mut restater = Restater::new(RULES);
    take(&mut restater, 0, &late("a", 1, 0, 0b1, 0), 0);
    let mut now = 1_000;
    for wait in [FIRST_RETRY, 2 * FIRST_RETRY, 4 * FIRST_RETRY] {
        assert_eq!(statement(&mut restater, now).len(), 1);
        restater.answered(Answer::Failed, now);
        assert_eq!(statement(&mut restater, now + wait - 1), []);
        now += wait;
    }
}

#[test]
fn a_window_has_expired_if_some_of_its_rows_may_have() {
    let asked = |last_offset, start| AskedWindow {
        tenant_id: "t".into(),
        instrument_id: "i".into(),
        window: Interval::OneMinute.window_of(start),
        version: BarVersion {
            last_offset,
            closed: true,
        },
    };
    let oldest = |offset| Oldest {
        offset,
        appended_at: 0,
        ingested_at: 100 * MINUTE,
    };
    let three_years_ago = -3 * 365 * 86_400_000_000;
    assert!(
        !has_expired(&asked(5, three_years_ago), Some(&oldest(0))),
        "the table has the whole log"
    );
    assert!(
        has_expired(&asked(5, 0), Some(&oldest(6))),
        "the late tick itself has expired"
    );
    assert!(has_expired(&asked(7, LONGEST_AHEAD + 99 * MINUTE), Some(&oldest(6))));
    assert!(!has_expired(&asked(7, LONGEST_AHEAD + 100 * MINUTE), Some(&oldest(6))));
    assert!(has_expired(&asked(7, 0), None));
}

#[test]
fn a_record_with_a_row_of_another_window_is_returned_once_and_hides_no_closing() {
    let mut restater = Restater::new(RULES);
    take(&mut restater, 0, &late("a", 9, MINUTE, 0b11, 0b11), 0);
    take(&mut restater, 1, &late("a", 50, MINUTE, 0b11, 0), 0);
    take(&mut restater, 2, &late("b", 8, MINUTE, 0b1, 0), 0);
    assert_eq!(
        statement(&mut restater, 1_000),
        [(1, "1m", 50, true), (0, "5m", 50, true), (1, "1m", 8, false)]
    );
    let mut refuse = |number| restater.refuse(number).map(|record| record.offset);
    assert_eq!((refuse(0), refuse(1), refuse(2)), (Some(1), None, Some(2)));
    assert_eq!(refuse(3), None);
}

#[test]
fn foreign_late_ticks_are_recognized_with_few_queries_to_the_broker() {
    let asked = std::cell::Cell::new(0);
    let mut next_enriched = 0;
    let mut code = |late: &LateTick<'_>, end| {
        let ask = || {
            asked.set(asked.get() + 1);
            Ok::<_, ()>(end)
        };
        let rules = RestateRules {
            intervals: 0b11101,
            ..RULES
        };
        let flaw = flaw(late, &rules, &mut next_enriched, ask).unwrap_or_default();
        flaw.map_or("", |(code, _)| code)
    };
    // Close to the known end, the broker is not queried.
    for offset in [0, 9, 999] {
        assert_eq!(code(&late("a", offset, 0, 0b1, 0), 0), "");
    }
    assert_eq!(asked.get(), 0);
    assert_eq!(code(&late("a", 1_000, 0, 0b1, 0), 2_000), "");
    for offset in 1_001..3_000 {
        assert_eq!(code(&late("a", offset, 0, 0b1, 0), 0), "");
    }
    assert_eq!(asked.get(), 1);
    assert_eq!(code(&late("a", -1, 0, 0b1, 0), 20), FOREIGN_ORIGIN);
    assert_eq!(code(&late("a", 9, 0, 0, 0), 20), NO_INTERVAL);
    assert_eq!(code(&late("a", 9, 0, 0b10, 0), 20), NO_INTERVAL, "5m is not computed");
    for time in [i64::MIN, TABLE_TIMES.start - 1, TABLE_TIMES.end, i64::MAX] {
        assert_eq!(code(&late("a", 9, time, 0b1, 0), 20), TIME_OUT_OF_RANGE);
    }
    for offset in [3_000, 1 << 60, i64::MAX] {
        assert_eq!(code(&late("a", offset, 0, 0b1, 0), 2_000), FOREIGN_ORIGIN);
    }
    assert_eq!(code(&late("a", 3_000, 0, 0b1, 0), 3_001), "", "it has grown");
}

#[test]
fn offsets_that_do_not_exist_are_found_when_the_table_is_behind_for_long() {
    let mut restater = Restater::new(RULES);
    take(&mut restater, 0, &late("a", 50, 0, 0b1, 0), 0);
    take(&mut restater, 1, &late("b", 9, 0, 0b1, 0), 0);
    assert_eq!(statement(&mut restater, 1_000).len(), 2);
    restater.answered(Answer::Behind, 1_000);
    assert!(!restater.needs_end(LONG_BEHIND));
    statement(&mut restater, LONG_BEHIND);
    restater.answered(Answer::Behind, 1_000 + LONG_BEHIND);
    assert!(restater.needs_end(1_000 + LONG_BEHIND));
    let returned = restater.ends_at(20, 1_000 + LONG_BEHIND);
    assert_eq!(returned.iter().map(|record| record.offset).collect::<Vec<_>>(), [0]);
    assert!(restater.ends_at(20, 1_000 + LONG_BEHIND).is_empty(), "once");
    assert!(!restater.needs_end(1_000 + LONG_BEHIND));
    let asked = statement(&mut restater, 2 * LONG_BEHIND);
    let offsets: Vec<i64> = asked.iter().map(|(_, _, offset, _)| *offset).collect();
    assert_eq!(offsets, [19, 9]);
}

#[test]
fn records_of_any_size_take_bounded_memory() {
    let mut restater = Restater::new(RestateRules {
        windows: usize::MAX,
        ..RULES
    });
    let large = KeptMessage {
        payload: Some(vec![0; MOST_BYTES].into()),
        ..record(0)
    };
    assert!(!restater.is_full());
    restater.take(large, &late("a", 1, 0, 0b1, 0), 0);
    assert!(restater.is_full());
    assert_eq!(statement(&mut restater, 0).len(), 1, "a full batch does not wait");
    assert!(!restater.is_full());
}
