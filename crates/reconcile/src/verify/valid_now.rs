//! Letters whose messages are valid by the rules of today, because a setting was changed: which of them wait for their replay.
//!
//! A message with rows does not wait: a new generation has read it by other rules than the one that wrote the letter, or normalization
//! was killed between the letter and the commit, and restarted with the new setting.
//! Failure: ClickHouse does not answer.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use ops::rows::number;
use service::Names;
use service::writer::tables::MARKET_TICKS;
use stores::ClickHouse;
use stores::clickhouse::literal;

use super::dead_letters::{Letter, Place};
use super::logs::{RawExpectation, RawLog};

/// Messages of one query.
const ASKED: usize = 500;

/// Those of the messages that are valid now that have rows, or rows that their letter names.
///
/// # Errors
/// ClickHouse does not answer.
pub async fn stored(
    clickhouse: &ClickHouse,
    names: &Names,
    raw: &RawLog,
    expected: &RawExpectation,
) -> anyhow::Result<BTreeSet<Place>> {
    let mut conditions: BTreeMap<(&str, i32), Vec<String>> = BTreeMap::new();
    let valid = expected.letters.iter().filter(|(_, letter)| letter.is_valid_now);
    for (place, _) in valid {
        if let Some(letter) = raw.open.get(place) {
            let of = conditions.entry((place.0.as_str(), place.1)).or_default();
            of.push(rows_of(place.2, letter));
        }
    }
    let mut stored = BTreeSet::new();
    for ((topic, partition), conditions) in conditions {
        for conditions in conditions.chunks(ASKED) {
            let sql = format!(
                "SELECT DISTINCT toString(raw_offset) AS offset_ FROM {} WHERE feed = {} AND raw_partition = {partition} AND ({})",
                names.table(MARKET_TICKS.name),
                literal(topic),
                conditions.join(" OR ")
            );
            let rows = clickhouse.query_json(&sql).await;
            for row in rows.context("look for rows of dead letters that are valid now")? {
                stored.insert((topic.to_owned(), partition, number(&row, "offset_")?));
            }
        }
    }
    Ok(stored)
}

/// The condition for the rows that the letter stands for.
fn rows_of(offset: i64, letter: &Letter) -> String {
    let ranges = letter.rows.ranges().iter();
    let rows: Vec<String> = ranges
        .map(|(first, last)| format!("raw_index BETWEEN {first} AND {last}"))
        .collect();
    match rows.is_empty() {
        true => format!("raw_offset = {offset}"),
        false => format!("(raw_offset = {offset} AND ({}))", rows.join(" OR ")),
    }
}

/// What to do about them, if there are any.
pub fn in_words(expected: &RawExpectation) -> Option<String> {
    let count = expected.letters.values().filter(|letter| letter.is_valid_now).count();
    let messages = match count {
        0 => return None,
        1 => "1 message is a dead letter that is".to_owned(),
        _ => format!("{count} messages are dead letters that are"),
    };
    Some(format!(
        "{messages} valid now: `dp dlq replay` sends them. Until then their rows are not expected in any table"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::dead_letters::{Digest, ExpectedLetter};
    use super::*;

    fn expected(valid: i64) -> RawExpectation {
        let letter = |is_valid_now| ExpectedLetter {
            codes: vec!["valid now"],
            rows: domain::RowRanges::default(),
            payload: Digest::of(b"7"),
            is_valid_now,
        };
        let letters = (0..=valid).map(|offset| (("raw".to_owned(), 0, offset), letter(offset > 0)));
        RawExpectation {
            letters: letters.collect(),
            ..RawExpectation::default()
        }
    }

    #[test]
    fn what_waits_for_its_replay_is_counted_and_named_with_the_command() {
        assert_eq!(in_words(&expected(0)), None);
        for (count, words) in [
            (1, "1 message is a dead letter that is valid now"),
            (3, "3 messages are dead letters that are valid now"),
        ] {
            let note = in_words(&expected(count)).unwrap_or_default();
            assert!(
                note.starts_with(&format!("{words}: `dp dlq replay` sends them")),
                "{note}"
            );
        }
    }

    #[test]
    fn rows_are_asked_for_as_the_letter_names_them() {
        let letter = |rows: &[i32]| Letter {
            code: "unknown_market".to_owned(),
            rows: rows.iter().copied().collect(),
            row_count: None,
            payload: Digest::of(b"7"),
            original_size: None,
        };
        assert_eq!(rows_of(7, &letter(&[])), "raw_offset = 7");
        assert_eq!(
            rows_of(7, &letter(&[1, 3, 4])),
            "(raw_offset = 7 AND (raw_index BETWEEN 1 AND 1 OR raw_index BETWEEN 3 AND 4))"
        );
    }
}
