//! A simulation around the real [`super::lane::Lane`]: two owners, a Postgres with compare-and-set whose answers get lost, a Redis that
//! loses its data. At the end both stores must contain the newest price of every instrument. If a rule is taken out, some
//! seed must fail.

pub mod fixtures;
mod rebuild;
mod servers;
mod world;

use fixtures::{CADENCE, LogTick, enriched};
use world::{Without, World};

use super::book::{Book, Target};
use super::lane::Lane;
use super::rules::{MAX_AGE, Rule};
use super::work::{Answers, Committed, Next};

fn run(without: Without, seed: u64) -> Result<(), String> {
    let mut world = World::new(without, seed);
    // Runs of many lengths, so that some end right after a fault.
    (0..30 + seed % 300).for_each(|_| world.step());
    world.verdict()
}

#[test]
fn both_stores_end_with_the_newest_prices_under_any_faults() {
    for seed in 0..6000 {
        assert_eq!(run(Without::Nothing, seed), Ok(()), "seed {seed}");
    }
}

#[test]
fn each_rule_is_needed() {
    for without in [
        Without::CompareAndSet,
        Without::ReadingThePosition,
        Without::CopyCheck,
        Without::EvictionCheck,
        Without::RedisCompare,
        Without::Epoch,
        Without::Replaced,
    ] {
        assert!(
            (0..20_000).any(|seed| run(without, seed).is_err()),
            "the model does not notice that {without:?} is missing"
        );
    }
}

#[test]
fn writes_to_redis_without_a_pause_do_not_put_off_the_commit_to_postgres() {
    let mut lane = Lane::new(CADENCE, 0, None, Book::new(0));
    let mut commits = Vec::new();
    for now in 0..3_000 {
        let tick = LogTick {
            instrument: 0,
            event_time: now,
            version: None,
            sequence: None,
            raw_offset: now,
        };
        lane.take_in(now, &enriched(&tick));
        let Some(work) = lane.work(now, false) else { continue };
        let committed = work.commit.is_some().then_some(Committed::Yes);
        if committed.is_some() {
            commits.push(now);
        }
        let answers = Answers {
            redis_ok: true,
            committed,
            ..Answers::default()
        };
        lane.finished(&answers, now);
    }
    let longest = commits.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(
        commits.len() >= 5 && longest <= Some(2 * CADENCE.postgres),
        "{commits:?}"
    );
}

#[test]
fn the_last_tick_of_a_stored_position_is_that_of_the_position() {
    let mut lane = Lane::new(CADENCE, 0, None, Book::new(0));
    let take_in = |lane: &mut Lane, offset: i64| {
        let tick = enriched(&LogTick {
            instrument: offset as usize,
            event_time: 1,
            version: None,
            sequence: None,
            raw_offset: offset,
        });
        lane.take_in(offset, &tick);
    };
    // Three prices are a round of two parts.
    for offset in 0..3 {
        take_in(&mut lane, offset);
    }
    let answers = Answers {
        redis_ok: true,
        committed: Some(Committed::Yes),
        ..Answers::default()
    };
    assert!(lane.work(0, false).unwrap().commit.unwrap().position.is_none());
    // It arrives while the round is written, so the position does not cover it.
    take_in(&mut lane, 3);
    assert_eq!(lane.finished(&answers, 0), Next::Continue);
    assert!(lane.work(0, false).unwrap().commit.unwrap().position.is_some());
    assert_eq!(
        (lane.finished(&answers, 0), lane.stored_tick().map(|tick| tick.offset)),
        (Next::Stored(3), Some(2))
    );
}

#[test]
fn a_price_has_the_unit_of_the_reference_data_if_it_has_one() {
    let mut book = Book::new(0);
    let mut gas = enriched(&LogTick {
        instrument: 0,
        event_time: 1,
        version: None,
        sequence: None,
        raw_offset: 1,
    });
    let mut units = Vec::new();
    // Known at first, then lost, then known again.
    for unit in [Some("MMBtu"), None, Some("MMBtu")] {
        gas.enrichment.unit = unit;
        gas.tick.event_time += 1;
        assert!(book.take_in(&gas));
        units.extend(book.take_waiting(Target::Redis, 10).into_iter().map(|price| price.unit));
    }
    assert_eq!(units, ["MMBtu", "MWh", "MMBtu"]);
}

#[test]
fn a_price_that_becomes_too_old_gives_a_notice_without_a_price() {
    let mut lane = Lane::new(CADENCE, 0, None, Book::new(0));
    let start = domain::fixtures::tick().appended_at;
    let told = |lane: &mut Lane, now| {
        let mut told = Vec::new();
        while let Some(work) = lane.work(now, false) {
            told.extend(work.notices.iter().map(|notice| (notice.rule, work.redis.len())));
            let answers = Answers {
                redis_ok: true,
                committed: work.commit.is_some().then_some(Committed::Yes),
                ..Answers::default()
            };
            lane.finished(&answers, now);
        }
        told
    };
    assert!(told(&mut lane, start).is_empty());
    let tick = LogTick {
        instrument: 0,
        event_time: 1,
        version: None,
        sequence: None,
        raw_offset: 1,
    };
    assert!(lane.take_in(0, &enriched(&tick)));
    assert!(told(&mut lane, start + MAX_AGE).is_empty());
    assert_eq!(told(&mut lane, start + MAX_AGE + 1), [(Rule::Age, 0)]);
    assert!(told(&mut lane, start + 2 * MAX_AGE).is_empty());
}
