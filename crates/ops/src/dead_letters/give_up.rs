//! `dp dlq purge --open` with filters: gives chosen open letters up.
//!
//! Role: writes a [`Marker`] for each letter, so that it is no longer open: lists, `dlq_size` and a replay pass it over. Its bytes stay
//! in the topic until the retention, or a purge of the oldest letters, removes them.
//! Invariants: as a replay it claims the transactional id first and reads the topic then, so no letter is both replayed and given up,
//! and only letters that were confirmed are given up, not those that have come since.
//! Failure: an error ends the run; the letters that are still open are chosen by the next one.

use std::collections::BTreeSet;

use stream::dead_letter::ledger::Marker;
use stream::kafka::publisher::atomic::AtomicPublisher;
use stream::{Brokers, StreamError};

use super::replay::{BATCH_LETTERS, TRANSACTIONAL_ID, mark};
use super::{Letter, Wanted, each};

/// The open letters that are wanted. Blocks.
///
/// # Errors
/// Kafka does not answer, or the topic does not exist.
pub fn choose(bootstrap: &Brokers, topic: &str, wanted: &Wanted) -> Result<Vec<Letter>, StreamError> {
    let mut chosen = Vec::new();
    each(bootstrap, topic, wanted, |letter, _| {
        chosen.push(letter);
        true
    })?;
    Ok(chosen)
}

/// Gives up those of the letters that are still open, and returns them; `done` gets the number of letters so far and their total. Blocks.
///
/// # Errors
/// Kafka does not answer, refuses, or a later run has claimed the transactional id.
pub fn carry_out(
    bootstrap: &Brokers,
    topic: &str,
    wanted: &Wanted,
    confirmed: &[Letter],
    mut done: impl FnMut(usize, usize),
) -> Result<Vec<Letter>, StreamError> {
    let mut publisher = AtomicPublisher::claim(bootstrap, "dp-dlq", TRANSACTIONAL_ID)?;
    let letters = still_open(choose(bootstrap, topic, wanted)?, confirmed);
    for (index, batch) in letters.chunks(BATCH_LETTERS).enumerate() {
        publisher.together(|group| {
            batch.iter().try_for_each(|letter| {
                let shown = format!("letter {} was given up", letter.place.offset);
                mark(group, letter, Marker::GIVEN_UP, &shown)
            })
        })?;
        done(index * BATCH_LETTERS + batch.len(), letters.len());
    }
    Ok(letters)
}

/// Those that are open now and were confirmed.
fn still_open(open: Vec<Letter>, confirmed: &[Letter]) -> Vec<Letter> {
    let place = |letter: &Letter| (letter.place.partition, letter.place.offset);
    let confirmed: BTreeSet<(i32, i64)> = confirmed.iter().map(place).collect();
    open.into_iter()
        .filter(|letter| confirmed.contains(&place(letter)))
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::open_letter;
    use super::*;

    #[test]
    fn a_letter_that_came_or_was_closed_after_the_question_is_left_alone() {
        let given_up = still_open(
            vec![open_letter(2), open_letter(3), open_letter(9)],
            &[1, 2, 3].map(open_letter),
        );
        let offsets: Vec<i64> = given_up.iter().map(|letter| letter.place.offset).collect();
        assert_eq!(offsets, [2, 3]);
    }
}
