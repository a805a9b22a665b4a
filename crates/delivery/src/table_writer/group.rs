//! When the rows of a table are inserted: the decision for all partitions of one writer together.
//!
//! The cost of an insert depends little on its number of rows. So rows of all partitions share one insert, and wait for each other as
//! long as the table's bound on freshness allows.
//! Invariants: at most one insert of a table is under way. It carries the claim of every partition in it, and at most
//! [`MAX_ROWS`] rows, so that it is one block. A lane whose earlier dead letter is not acknowledged waits for the next one.

use domain::{Claim, Micros};

use super::Rows;
use super::lane::Lane;

/// A server splits a larger insert into two blocks, which are not atomic together.
pub const MAX_ROWS: usize = 1_000_000;

/// When the rows of a table are due and how many may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Rows that make an insert due.
    pub rows: usize,
    /// Bytes that make an insert due.
    pub bytes: usize,
    /// Age of the oldest row that makes an insert due.
    pub freshness: Micros,
}

/// Rows that wait for an insert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    /// Number of rows.
    pub rows: usize,
    /// Their size.
    pub bytes: usize,
    /// Since when the oldest waits, if there is one.
    pub since: Option<Micros>,
}

impl Waiting {
    fn and(self, other: Waiting) -> Waiting {
        Waiting {
            rows: self.rows + other.rows,
            bytes: self.bytes + other.bytes,
            since: self.since.into_iter().chain(other.since).min(),
        }
    }
}

/// A lane as a candidate for an insert.
pub struct Candidate<'l, K, B> {
    /// How the caller finds it again.
    pub key: K,
    /// The lane.
    pub lane: &'l mut Lane<B>,
    /// Whether its dead letters are acknowledged: no row after a dead letter is inserted before it.
    pub is_clear: bool,
}

/// One insert: each part is the rows of one partition under its claim.
#[derive(Debug)]
pub struct Cut<K, B> {
    /// Key, claim and rows of each partition.
    pub parts: Vec<(K, Claim, Rows<B>)>,
}

/// One table of a writer.
#[derive(Debug)]
pub struct Group {
    limits: BatchLimits,
    /// All rows that wait, those of lanes that are not clear included.
    waiting: Waiting,
    is_inserting: bool,
}

impl Group {
    /// A group without rows.
    pub fn new(limits: BatchLimits) -> Group {
        Group {
            limits,
            waiting: Waiting::default(),
            is_inserting: false,
        }
    }

    /// A row of this size was taken in by one of its lanes.
    pub fn took(&mut self, bytes: usize) {
        self.waiting.rows += 1;
        self.waiting.bytes += bytes;
    }

    /// Whether no more rows may be taken in: they must be inserted, or wait behind the insert under way.
    pub fn is_full(&self) -> bool {
        self.limits.is_reached(&self.waiting)
    }

    /// The next insert if one is due (or `drain` is set) and none is under way. `lanes` are all lanes of the table.
    pub fn cut<'l, K, B: Clone + 'l>(
        &mut self,
        lanes: impl Iterator<Item = Candidate<'l, K, B>>,
        now: Micros,
        drain: bool,
    ) -> Option<Cut<K, B>> {
        let mut ready = Vec::new();
        let (mut all, mut clear) = (Waiting::default(), Waiting::default());
        for candidate in lanes {
            let waiting = candidate.lane.waiting();
            all = all.and(waiting);
            if candidate.is_clear && waiting.rows > 0 {
                clear = clear.and(waiting);
                ready.push(candidate);
            }
        }
        self.waiting = all;
        let is_old = |since| now - since >= self.limits.freshness;
        let is_due = drain || self.limits.is_reached(&clear) || clear.since.is_some_and(is_old);
        if self.is_inserting || !is_due {
            return None;
        }
        let parts = self.parts(ready);
        self.is_inserting = !parts.is_empty();
        self.is_inserting.then_some(Cut { parts })
    }

    fn parts<K, B: Clone>(&mut self, ready: Vec<Candidate<'_, K, B>>) -> Vec<(K, Claim, Rows<B>)> {
        let (mut parts, mut total) = (Vec::with_capacity(ready.len()), 0);
        for Candidate { key, lane, .. } in ready {
            total += lane.waiting().rows;
            if total > MAX_ROWS {
                break;
            }
            if let Some((claim, rows)) = lane.cut() {
                self.waiting.rows -= rows.count;
                self.waiting.bytes -= rows.bytes;
                parts.push((key, claim, rows));
            }
        }
        parts
    }

    /// The insert under way has ended; its lanes have been told.
    pub fn ended(&mut self) {
        self.is_inserting = false;
    }
}

impl BatchLimits {
    fn is_reached(&self, waiting: &Waiting) -> bool {
        waiting.rows >= self.rows || waiting.bytes >= self.bytes
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::lane::tests::writing;
    use super::*;

    const LIMITS: BatchLimits = BatchLimits {
        rows: 10,
        bytes: 1_000,
        freshness: 5,
    };

    /// Takes `rows` rows of ten bytes into the lane at this time.
    fn fill(group: &mut Group, lane: &mut Lane<()>, rows: i64, now: Micros) {
        for _ in 0..rows {
            let offset = lane.next_offset().unwrap();
            lane.took(offset, Some(10), now);
            group.took(10);
        }
    }

    fn cut(
        group: &mut Group,
        lanes: &mut [Lane<()>],
        clear: &[bool],
        now: Micros,
        drain: bool,
    ) -> Option<Vec<(usize, usize)>> {
        let candidates = lanes.iter_mut().zip(clear).enumerate();
        let candidates = candidates.map(|(key, (lane, is_clear))| Candidate {
            key,
            lane,
            is_clear: *is_clear,
        });
        let cut = group.cut(candidates, now, drain)?;
        Some(cut.parts.iter().map(|(key, _, rows)| (*key, rows.count)).collect())
    }

    #[test]
    fn rows_of_all_partitions_together_make_an_insert_due() {
        let (mut group, mut lanes) = (Group::new(LIMITS), [writing(0), writing(1), writing(2)]);
        fill(&mut group, &mut lanes[0], 4, 0);
        fill(&mut group, &mut lanes[2], 5, 1);
        assert_eq!(cut(&mut group, &mut lanes, &[true; 3], 4, false), None);
        assert!(!group.is_full());
        fill(&mut group, &mut lanes[2], 1, 4);
        assert!(group.is_full());
        assert_eq!(
            cut(&mut group, &mut lanes, &[true; 3], 4, false),
            Some(vec![(0, 4), (2, 6)])
        );
        assert!(!group.is_full());
    }

    #[test]
    fn the_oldest_row_makes_an_insert_due_and_a_second_one_waits_for_the_first() {
        let (mut group, mut lanes) = (Group::new(LIMITS), [writing(0), writing(1)]);
        fill(&mut group, &mut lanes[0], 1, 0);
        fill(&mut group, &mut lanes[1], 1, 4);
        assert_eq!(
            cut(&mut group, &mut lanes, &[true; 2], 5, false),
            Some(vec![(0, 1), (1, 1)])
        );
        fill(&mut group, &mut lanes[1], 2, 6);
        assert_eq!(cut(&mut group, &mut lanes, &[true; 2], 50, true), None);
        lanes.iter_mut().for_each(|lane| {
            lane.inserted(&Ok(()), 51);
        });
        group.ended();
        assert_eq!(cut(&mut group, &mut lanes, &[true; 2], 7, false), None);
        assert_eq!(cut(&mut group, &mut lanes, &[true; 2], 7, true), Some(vec![(1, 2)]));
    }

    #[test]
    fn a_lane_with_an_open_dead_letter_waits_without_making_an_insert_due() {
        let (mut group, mut lanes) = (Group::new(LIMITS), [writing(0), writing(1)]);
        fill(&mut group, &mut lanes[0], 12, 0);
        fill(&mut group, &mut lanes[1], 1, 30);
        assert_eq!(cut(&mut group, &mut lanes, &[false, true], 31, false), None);
        assert!(group.is_full(), "its rows are in memory");
        assert_eq!(
            cut(&mut group, &mut lanes, &[false, true], 35, false),
            Some(vec![(1, 1)])
        );
    }
}
