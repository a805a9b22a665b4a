//! Model of aggregation. The simulation has: an enriched log with repetitions, late and future ticks, repeated intervals and
//! instruments with two products; a compacted state topic; owners that crash at any step, zombies that keep writing, idle
//! closes at any time; a table that lags, loses its writer, expires, and is dropped and written again; and several second
//! stages that restate from it, each killed between any two steps.
//!
//! The code under test is the production code ([`super::partition_state`], [`super::checkpoint`], [`super::restore`],
//! [`super::restate`], [`super::found`]); the oracle recomputes every bar from the whole log and shares no code with it. Each
//! rule of the protocol is also taken out once, for example by a wrong order of steps, and the model must notice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod checks;
pub mod fixtures;
pub mod oracle;
mod second_stage;
mod table;
mod world;

use world::{Mutation, run};

use super::log_clock::Rule;

#[test]
fn bars_are_exact_under_any_crash_zombie_and_idle_close() {
    for seed in 0..3000 {
        if let Err(difference) = run(seed, Mutation::None) {
            panic!("seed {seed}: {difference}");
        }
    }
}

/// Whether one of many seeds fails; for most rules one of the first does.
fn is_noticed(mutation: Mutation) -> bool {
    (0..20_000).any(|seed| run(seed, mutation).is_err())
}

#[test]
fn state_saved_before_its_bars_are_acknowledged_is_noticed() {
    assert!(is_noticed(Mutation::StateBeforeBars));
}

#[test]
fn windows_merged_from_all_writers_are_noticed() {
    assert!(is_noticed(Mutation::WritersMerged));
}

#[test]
fn a_sequencer_state_newer_than_its_position_is_noticed() {
    assert!(is_noticed(Mutation::SequencerOfNow));
}

#[test]
fn tombstones_before_the_copy_is_acknowledged_are_noticed() {
    assert!(is_noticed(Mutation::TombstonesBeforeCopy));
}

#[test]
fn tombstones_before_the_position_has_passed_their_windows_are_noticed() {
    assert!(is_noticed(Mutation::TombstonesBeforePosition));
}

#[test]
fn a_position_saved_before_its_windows_is_noticed() {
    assert!(is_noticed(Mutation::SequencerBeforeState));
}

#[test]
fn a_log_clock_beyond_the_start_is_noticed() {
    assert!(is_noticed(Mutation::ClockOfNow));
}

#[test]
fn every_rule_of_the_windows_is_needed() {
    for rule in [
        Rule::AppendTime,
        Rule::MarkLate,
        Rule::MarkAgain,
        Rule::MarkEveryWindow,
        Rule::CloseByTable,
        Rule::MarkMixed,
    ] {
        assert!(is_noticed(Mutation::Windows(rule)), "{rule:?}");
    }
}

#[test]
fn rows_beyond_the_offset_asked_for_are_noticed() {
    assert!(is_noticed(Mutation::NewestRows));
}

#[test]
fn prices_that_count_for_the_nominal_length_are_noticed() {
    assert!(is_noticed(Mutation::NominalLengths));
}

#[test]
fn rows_without_effect_that_revise_a_bar_are_noticed() {
    assert!(is_noticed(Mutation::EveryRowCounts));
}

#[test]
fn a_price_that_replaces_a_better_vintage_is_noticed() {
    assert!(is_noticed(Mutation::LastOriginCounts));
}

#[test]
fn a_table_that_is_not_awaited_is_noticed() {
    assert!(is_noticed(Mutation::TableNotAwaited));
}

#[test]
fn a_late_position_committed_before_its_bars_are_acknowledged_is_noticed() {
    assert!(is_noticed(Mutation::LateCommittedEarly));
}

#[test]
fn a_bar_of_a_window_whose_rows_have_expired_is_noticed() {
    assert!(is_noticed(Mutation::ExpiryNotSeen));
}

#[test]
fn a_window_whose_stored_bar_is_not_made_again_is_noticed() {
    assert!(is_noticed(Mutation::StoredNotCompared));
}

#[test]
fn rows_that_expire_during_a_statement_are_noticed() {
    assert!(is_noticed(Mutation::OldestOfBefore));
}

#[test]
fn an_answer_without_the_row_of_the_late_tick_is_noticed() {
    assert!(is_noticed(Mutation::LastRowNotCompared));
}

#[test]
fn giving_up_a_window_of_a_table_that_is_written_again_is_noticed() {
    assert!(is_noticed(Mutation::AskedOnce));
}

#[test]
fn a_repair_that_keeps_the_floors_of_deleted_rows_is_noticed() {
    assert!(is_noticed(Mutation::RepairKeepsTheFloors));
}

/// Why a repair deletes rows to the table's end, or builds a new generation.
#[test]
fn a_repair_of_rows_in_the_middle_is_noticed() {
    assert!(is_noticed(Mutation::RepairOfTheMiddle));
}

#[test]
fn a_window_that_takes_again_what_it_has_is_noticed() {
    assert!(is_noticed(Mutation::AppliedOffsetLost));
}
