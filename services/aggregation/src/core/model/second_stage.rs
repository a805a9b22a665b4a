//! The second stage, as far as its protocol goes: it reads the late topic from the position that its group committed, waits
//! for the table, computes each window once a batch, and commits when its bars are acknowledged.

use std::collections::{BTreeMap, VecDeque};

use domain::{Interval, Micros};

use super::fixtures::{OwnedBar, Random};
use super::oracle::{BarKey, Rows};
use super::world::{Broker, Mutation};

/// A record of the late topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LateRecord {
    pub enriched_offset: i64,
    pub instrument_id: String,
    pub event_time: Micros,
    pub by_table: u8,
    pub closed: u8,
    pub is_close: bool,
}

impl LateRecord {
    /// The windows asked for, and whether each was closed.
    fn windows(&self) -> impl Iterator<Item = (BarKey, bool)> {
        let asked = Interval::ALL
            .into_iter()
            .filter(|i| self.by_table >> i.index() & 1 == 1);
        asked.map(|interval| {
            let start = self.event_time.div_euclid(interval.micros()) * interval.micros();
            let closed = self.closed >> interval.index() & 1 == 1;
            ((self.instrument_id.clone(), interval, start), closed)
        })
    }
}

/// One of those that restate; two may do so at once.
#[derive(Debug, Clone, Default)]
pub struct Restater {
    next: usize,
    in_flight: VecDeque<OwnedBar>,
}

impl Restater {
    pub fn start(broker: &Broker) -> Restater {
        Restater {
            next: broker.late_committed,
            in_flight: VecDeque::new(),
        }
    }

    /// Takes the next records whose rows the table has, where nothing is on its way.
    pub fn batch(&mut self, broker: &mut Broker, rows: &Rows, most: usize, mutation: Mutation) {
        if !self.in_flight.is_empty() {
            return;
        }
        let mut asked: BTreeMap<BarKey, (i64, bool)> = BTreeMap::new();
        for record in broker.late.iter().skip(self.next).take(most) {
            if record.enriched_offset >= broker.table_end && mutation != Mutation::TableNotAwaited {
                break;
            }
            self.next += 1;
            for (key, closed) in record.windows() {
                let best = asked.entry(key).or_default();
                *best = (*best).max((record.enriched_offset, closed));
            }
        }
        for (key, (offset, closed)) in asked {
            let of_window = || rows.0.iter().filter(|row| row.tick.offset <= offset && row.is_in(&key));
            if of_window().any(|row| row.tick.offset < broker.table_start) {
                broker.not_restated.insert(key);
                continue;
            }
            let seen = match mutation {
                Mutation::NewestRows => broker.table_end - 1,
                _ => offset.min(broker.table_end - 1),
            };
            if let Some(mut bar) = rows.content(&key, seen, closed) {
                bar.version.last_offset = offset;
                self.in_flight.push_back(bar);
            }
        }
        if mutation == Mutation::LateCommittedEarly {
            broker.late_committed = self.next;
        }
    }

    /// Some of its bars arrive; when all have, it commits.
    pub fn deliver(&mut self, broker: &mut Broker, count: usize) {
        let count = count.min(self.in_flight.len());
        broker.bars.extend(self.in_flight.drain(..count));
        if self.in_flight.is_empty() {
            broker.late_committed = self.next;
        }
    }

    /// Its process ends while some of its bars arrive.
    pub fn crash(mut self, broker: &mut Broker, random: &mut Random) {
        let arriving = random.below(self.in_flight.len() + 1);
        broker.bars.extend(self.in_flight.drain(..arriving));
    }
}
