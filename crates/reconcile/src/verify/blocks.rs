//! Compares two sides of a table by checksums of blocks of offsets, and differing blocks row by row.
//!
//! Invariant: a missing, doubled or different row changes the count or the checksum of its block, except with a probability
//! below 10^-18. Memory: 50 bytes for each block of [`BLOCK`] offsets, independent of the number of rows.

use std::collections::BTreeMap;

use xxhash_rust::xxh64::xxh64;

use super::canonical::{Column, SEPARATOR, shown};
use super::wrong::{Wrong, WrongRow};

pub use super::lane::{BlockKey, Lane};

/// Offsets of one block.
pub const BLOCK: i64 = 256;

/// Count and checksum of the rows of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    /// Number of rows.
    pub rows: u64,
    /// Sum of the hashes of their texts, modulo 2^64.
    pub hashes: u64,
}

/// One side of a comparison.
#[derive(Debug, Clone, Default)]
pub struct Blocks {
    sums: BTreeMap<BlockKey, Sum>,
}

impl Blocks {
    /// Adds a row.
    pub fn add(&mut self, lane: &Lane, offset: i64, text: &str) {
        self.insert(
            lane,
            offset.div_euclid(BLOCK),
            Sum {
                rows: 1,
                hashes: xxh64(text.as_bytes(), 0),
            },
        );
    }

    /// Adds a block's count and checksum.
    pub fn insert(&mut self, lane: &Lane, number: i64, sum: Sum) {
        let key = BlockKey {
            lane: lane.clone(),
            number,
        };
        let entry = self.sums.entry(key).or_default();
        entry.rows += sum.rows;
        entry.hashes = entry.hashes.wrapping_add(sum.hashes);
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.sums.values().map(|sum| sum.rows).sum()
    }

    /// The blocks whose rows differ from the other side.
    pub fn differing(&self, other: &Blocks) -> Vec<BlockKey> {
        let mut keys: Vec<&BlockKey> = self.sums.keys().chain(other.sums.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter()
            .filter(|key| self.sums.get(*key) != other.sums.get(*key))
            .cloned()
            .collect()
    }

    /// Number of rows of a block.
    pub fn rows_of(&self, block: &BlockKey) -> u64 {
        self.sums.get(block).map_or(0, |sum| sum.rows)
    }
}

/// Divides these blocks: the first ones, which have at most about so many rows on each side, and the others.
pub fn divided(
    mut blocks: Vec<BlockKey>,
    expected: &Blocks,
    found: &Blocks,
    most: u64,
) -> (Vec<BlockKey>, Vec<BlockKey>) {
    let mut rows = 0;
    let is_within = |block: &BlockKey| {
        rows += expected.rows_of(block).max(found.rows_of(block));
        rows <= most
    };
    let others = blocks.split_off(blocks.iter().map(is_within).take_while(|is_within| *is_within).count());
    (blocks, others)
}

/// Number of differences that these differing blocks have at least: one each, or as many as rows were lost or added.
pub fn at_least(blocks: &[BlockKey], expected: &Blocks, found: &Blocks) -> u64 {
    let of = |block: &BlockKey| expected.rows_of(block).abs_diff(found.rows_of(block)).max(1);
    blocks.iter().map(of).sum()
}

/// A row of which only the hashes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hashed {
    /// Of its id.
    pub id: u64,
    /// Of its text.
    pub text: u64,
}

impl Hashed {
    /// The hashes, as ClickHouse's `xxHash64` gives them.
    pub fn of(id: &str, text: &str) -> Hashed {
        Hashed {
            id: xxh64(id.as_bytes(), 0),
            text: xxh64(text.as_bytes(), 0),
        }
    }
}

/// How many differences [`compare_rows`] would name.
pub fn count_differences(mut expected: Vec<Hashed>, mut found: Vec<Hashed>) -> u64 {
    expected.sort_unstable();
    found.sort_unstable();
    let (mut expected, mut found) = (expected.as_slice(), found.as_slice());
    let mut count = 0;
    while let Some(id) = expected
        .first()
        .into_iter()
        .chain(found.first())
        .map(|row| row.id)
        .min()
    {
        let (wanted, stored) = (taken(&mut expected, id), taken(&mut found, id));
        count += match (wanted.is_empty(), stored.is_empty()) {
            (false, false) => {
                let other = stored.iter().filter(|row| !wanted.contains(row)).count() as u64;
                other + u64::from(wanted.len() != stored.len())
            }
            _ => 1,
        };
    }
    count
}

/// Takes the rows with this id from the beginning of sorted ones.
fn taken<'r>(rows: &mut &'r [Hashed], id: u64) -> &'r [Hashed] {
    let (taken, rest) = rows.split_at(rows.partition_point(|row| row.id <= id));
    *rows = rest;
    taken
}

/// A row with its id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Names the row in a difference.
    pub id: String,
    /// Its compared values (see [`canonical`](super::canonical)).
    pub text: String,
}

/// The differences between `expected` and `found`. The id of a row is the id of its tick.
pub fn compare_rows(columns: &[Column], expected: &[Row], found: &[Row]) -> Vec<WrongRow> {
    let mut sides: BTreeMap<&str, (Vec<&str>, Vec<&str>)> = BTreeMap::new();
    for row in expected {
        sides.entry(&row.id).or_default().0.push(&row.text);
    }
    for row in found {
        sides.entry(&row.id).or_default().1.push(&row.text);
    }
    let named = |(id, (expected, found)): (&str, (Vec<&str>, Vec<&str>))| {
        let differences = compare_row(columns, id, &expected, &found);
        let id = id.to_owned();
        differences.into_iter().map(move |(wrong, text)| WrongRow {
            wrong,
            key: vec![id.clone()],
            origin: id.clone(),
            text,
        })
    };
    sides.into_iter().flat_map(named).collect()
}

fn compare_row(columns: &[Column], id: &str, expected: &[&str], found: &[&str]) -> Vec<(Wrong, String)> {
    let (Some(wanted), Some(first)) = (expected.first(), found.first()) else {
        return match (expected.first(), found.first()) {
            (Some(wanted), None) => vec![(
                Wrong::Missing,
                format!("{id} is missing ({})", summary(columns, wanted)),
            )],
            (None, Some(first)) => vec![(
                Wrong::Surplus,
                format!(
                    "{id} is stored, but the log has no such row ({})",
                    summary(columns, first)
                ),
            )],
            _ => Vec::new(),
        };
    };
    let mut differences = Vec::new();
    if found.len() != expected.len() {
        let wrong = match found.len() > expected.len() {
            true => Wrong::Surplus,
            false => Wrong::Missing,
        };
        differences.push((
            wrong,
            format!(
                "{id} is stored {} times instead of {} ({})",
                found.len(),
                expected.len(),
                summary(columns, first)
            ),
        ));
    }
    for text in found.iter().filter(|text| !expected.contains(*text)) {
        differences.push((
            Wrong::Different,
            format!("{id} differs: {}", changes(columns, wanted, text)),
        ));
    }
    differences
}

fn changes(columns: &[Column], expected: &str, found: &str) -> String {
    let pairs = columns
        .iter()
        .zip(expected.split(SEPARATOR).zip(found.split(SEPARATOR)));
    let changed: Vec<String> = pairs
        .filter(|(_, (expected, found))| expected != found)
        .map(|(column, (expected, found))| {
            format!(
                "{} is {} instead of {}",
                column.name,
                shown(column, found),
                shown(column, expected)
            )
        })
        .collect();
    changed.join(", ")
}

fn summary(columns: &[Column], text: &str) -> String {
    const TELLING: [&str; 5] = ["tenant_id", "instrument_id", "timestamp", "price", "src_offset"];
    let values: Vec<String> = columns
        .iter()
        .zip(text.split(SEPARATOR))
        .filter(|(column, _)| TELLING.contains(&column.name))
        .map(|(column, value)| format!("{} {}", column.name, shown(column, value)))
        .collect();
    values.join(", ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use service::writer::TableSpec;

    use super::super::comparisons;
    use super::*;

    fn columns() -> Vec<Column> {
        comparisons::source_text(TableSpec::named("late_ticks").unwrap())
            .unwrap()
            .columns()
    }

    fn lane() -> Lane {
        Lane {
            topic: "t".into(),
            partition: 0,
        }
    }

    fn blocks(rows: &[(i64, String)]) -> Blocks {
        let mut blocks = Blocks::default();
        rows.iter()
            .for_each(|(offset, text)| blocks.add(&lane(), *offset, text));
        blocks
    }

    fn row(id: &str, price: &str) -> Row {
        Row {
            id: id.to_owned(),
            text: ["1", "t", "i", "0", price].join("\x1f"),
        }
    }

    #[test]
    fn each_kind_of_difference_is_named_with_its_values() {
        let expected = [row("a", "1"), row("b", "2"), row("c", "3")];
        let found = [row("b", "2"), row("b", "2"), row("c", "4"), row("d", "5")];
        let differences = compare_rows(&columns(), &expected, &found);
        assert_eq!(differences.len(), 4, "{differences:?}");
        for (difference, expected) in differences.iter().zip([
            "a is missing (src_offset 1, tenant_id t, instrument_id i, timestamp 1970-01-01T00:00:00Z, price 1)",
            "b is stored 2 times instead of 1 (src_offset 1, tenant_id t, instrument_id i, timestamp 1970-01-01T00:00:00Z, price 2)",
            "c differs: price is 4 instead of 3",
            "d is stored, but the log has no such row (src_offset 1, tenant_id t, instrument_id i, timestamp 1970-01-01T00:00:00Z, price 5)",
        ]) {
            assert_eq!(difference.text, expected);
        }
        let kinds: Vec<Wrong> = differences.iter().map(|difference| difference.wrong).collect();
        assert_eq!(
            kinds,
            [Wrong::Missing, Wrong::Surplus, Wrong::Different, Wrong::Surplus]
        );
        assert!(compare_rows(&columns(), &expected, &expected).is_empty());
    }

    #[test]
    fn a_doubled_row_with_a_changed_copy_gives_two_differences() {
        let differences = compare_rows(&columns(), &[row("a", "1")], &[row("a", "1"), row("a", "9")]);
        assert_eq!(differences.len(), 2, "{differences:?}");
        assert!(
            differences
                .iter()
                .any(|difference| difference.text == "a differs: price is 9 instead of 1")
        );
    }

    #[test]
    fn blocks_beyond_the_limit_are_counted_by_the_rows_that_they_lack() {
        let text = |range: std::ops::Range<i64>| -> Vec<(i64, String)> {
            range.map(|offset| (offset, format!("row {offset}"))).collect()
        };
        let (expected, found) = (blocks(&text(0..3 * BLOCK)), blocks(&text(0..2 * BLOCK + 56)));
        let all: Vec<BlockKey> = (0..3).map(|number| BlockKey { lane: lane(), number }).collect();
        let most = u64::try_from(2 * BLOCK).unwrap();
        let (first, others) = divided(all.clone(), &expected, &found, most);
        assert_eq!((first.len(), others.len()), (2, 1));
        assert_eq!(at_least(&others, &expected, &found), 200);
        assert_eq!(at_least(&all[..1], &expected, &found), 1);
        assert_eq!(divided(all.clone(), &expected, &found, u64::MAX), (all, Vec::new()));
    }

    proptest! {
        /// What is only counted is counted as it would be named: lost, doubled and changed rows, in any order.
        #[test]
        fn differences_are_counted_as_they_are_named(
            expected in proptest::collection::vec((0u8..12, 0u8..3), 0..40),
            found in proptest::collection::vec((0u8..12, 0u8..3), 0..40),
        ) {
            let rows = |of: &[(u8, u8)]| -> Vec<Row> {
                of.iter().map(|(id, price)| row(&id.to_string(), &price.to_string())).collect()
            };
            let hashed = |rows: &[Row]| rows.iter().map(|row| Hashed::of(&row.id, &row.text)).collect();
            let (expected, found) = (rows(&expected), rows(&found));
            let named = compare_rows(&columns(), &expected, &found).len() as u64;
            prop_assert_eq!(count_differences(hashed(&expected), hashed(&found)), named);
        }

        /// Removing, doubling or changing a row makes exactly its block differ. The order of rows does not matter.
        #[test]
        fn one_wrong_row_makes_exactly_its_block_differ(
            offsets in proptest::collection::btree_set(0i64..40_000, 2..200),
            at in any::<prop::sample::Index>(),
            kind in 0..3,
        ) {
            let rows: Vec<(i64, String)> = offsets.iter().map(|offset| (*offset, format!("row {offset}"))).collect();
            let mut other = rows.clone();
            other.reverse();
            prop_assert!(blocks(&rows).differing(&blocks(&other)).is_empty());
            let at = at.index(other.len());
            let (offset, text) = other[at].clone();
            match kind {
                0 => _ = other.remove(at),
                1 => other.push((offset, text)),
                _ => other[at].1.push('!'),
            }
            let differing = blocks(&rows).differing(&blocks(&other));
            prop_assert_eq!(differing, vec![BlockKey { lane: lane(), number: offset / BLOCK }]);
        }
    }
}
