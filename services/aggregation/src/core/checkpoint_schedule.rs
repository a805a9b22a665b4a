//! When the partitions of a worker begin their checkpoints: each once in an interval, one after the other.
//!
//! Role: open bars are sent at the begin of a checkpoint. Partitions that begin together would show all bars in one instant, with a
//! pause of a whole interval behind it.
//! Invariants: the turns of a partition follow from the time alone. A checkpoint that began late, or a rebalance that held the worker up,
//! moves none of them.

use std::time::Duration;

/// The turns of a worker.
#[derive(Debug, Clone, Copy)]
pub struct Turns {
    /// Time between two checkpoints of a partition.
    pub interval: Duration,
}

impl Turns {
    /// The number of the turn that the partition at `place` of `count` has at this time; it begins a checkpoint when the number
    /// changes.
    pub fn number(self, time: Duration, place: usize, count: usize) -> u128 {
        let interval = self.interval.as_nanos().max(1);
        let shift = interval * place as u128 / count.max(1) as u128;
        (time.as_nanos() + interval - shift) / interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURNS: Turns = Turns {
        interval: Duration::from_millis(1_000),
    };

    fn begins(place: usize, count: usize) -> Vec<u64> {
        let number = |time| TURNS.number(Duration::from_millis(time), place, count);
        (1..5_000).filter(|time| number(*time) != number(*time - 1)).collect()
    }

    #[test]
    fn four_partitions_begin_a_quarter_of_an_interval_apart() {
        for place in 0..4 {
            let first = if place == 0 { 1_000 } else { place as u64 * 250 };
            let expected: Vec<u64> = (first..5_000).step_by(1_000).collect();
            assert_eq!(begins(place, 4), expected, "place {place}");
        }
    }

    #[test]
    fn one_partition_begins_at_each_interval() {
        assert_eq!(begins(0, 1), [1_000, 2_000, 3_000, 4_000]);
    }
}
