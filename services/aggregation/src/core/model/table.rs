//! The enriched table, as far as the second stage sees it: rows land in order, a block at a time, from one writer that is
//! killed and continues from its position; its oldest rows expire; it is dropped, or its end is cut off, and written again.

use std::collections::BTreeMap;

use domain::{AskedWindow, Micros};
use fastrand::Rng;
use stores::Oldest;

use super::fixtures::{LogTick, OwnedBar};
use super::oracle::Rows;
use super::world::Mutation;

/// What happens to the rows of a life, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The oldest rows go, by their retention.
    Expiry,
    /// The table is dropped, and its writer continues from the floor.
    Dropped,
    /// The table and its floors are dropped, and its writer begins anew.
    DroppedWithItsFloors,
    /// The table and its floors are dropped, and its writer continues as if nothing had happened.
    DroppedUnderTheWriter,
    /// A repair: the rows from one on, and the floors behind it, are deleted, and the writer writes them again.
    EndWrittenAgain,
    /// No repair that the rule allows: rows in the middle are deleted, and put back later.
    MiddleWrittenAgain,
}

impl Loss {
    /// That of a life; most have none.
    pub fn any(random: &mut Rng, mutation: Mutation) -> Option<Loss> {
        match random.usize(..16) {
            0 | 1 => Some(Loss::Expiry),
            2 => Some(Loss::Dropped),
            3..=5 => Some(Loss::DroppedWithItsFloors),
            6 => Some(Loss::DroppedUnderTheWriter),
            7..=9 if mutation == Mutation::RepairOfTheMiddle => Some(Loss::MiddleWrittenAgain),
            7..=9 => Some(Loss::EndWrittenAgain),
            _ => None,
        }
    }
}

/// Rows by their offset, with the time at which each was written.
#[derive(Default)]
pub struct Table {
    held: BTreeMap<i64, Micros>,
    floor: Option<i64>,
    /// Where the writer continues.
    next: i64,
    /// Rows that a repair puts back.
    taken_out: BTreeMap<i64, Micros>,
    /// Some rows are gone for good.
    pub lost: bool,
}

impl Table {
    /// One insert: the next rows, all of them or none.
    pub fn write(&mut self, rows: &Rows, count: usize, now: Micros) {
        let next = self.next;
        let offsets = rows
            .0
            .iter()
            .map(|row| row.tick.offset)
            .filter(|offset| *offset >= next);
        for offset in offsets.take(count) {
            self.held.insert(offset, now);
            self.next = offset + 1;
        }
    }

    /// The writer stores its position, as it does now and then.
    pub fn save_floor(&mut self) {
        if self.next > 0 {
            self.floor = self.floor.max(Some(self.next));
        }
    }

    /// The log has to hold everything from here on.
    pub fn needs(&self) -> i64 {
        self.floor.unwrap_or(0)
    }

    /// Its writer ends, and another one continues: from behind the last row, or the floor, else from the log's beginning.
    pub fn restart_writer(&mut self, log_start: i64) {
        let behind_last = self.held.last_key_value().map(|(offset, _)| offset + 1);
        let position = behind_last.max(self.floor);
        self.floor = position;
        self.next = position.unwrap_or(log_start);
    }

    /// Rows are gone, or are about to be written again. Rows below `stored` have their bars: no other is gone for good, since
    /// bars are stored within minutes and rows expire within a year.
    pub fn lose(
        &mut self,
        loss: Loss,
        rows: &Rows,
        (log_start, stored): (i64, i64),
        (random, mutation): (&mut Rng, Mutation),
    ) {
        let Some(one) = self.held.keys().nth(random.usize(..self.held.len().max(1))).copied() else {
            return;
        };
        let gone_below = match loss {
            Loss::Dropped | Loss::DroppedUnderTheWriter => self.next,
            Loss::DroppedWithItsFloors => log_start,
            Loss::Expiry | Loss::EndWrittenAgain | Loss::MiddleWrittenAgain => 0,
        };
        if stored < gone_below {
            return;
        }
        match loss {
            Loss::Expiry => {
                let one = one.min(stored);
                // Floors are stored far more often than rows expire.
                self.floor = self.floor.max(Some(one));
                self.held = self.held.split_off(&one);
            }
            Loss::Dropped => {
                self.held.clear();
                self.restart_writer(log_start);
            }
            Loss::DroppedWithItsFloors => {
                (self.held, self.floor) = (BTreeMap::new(), None);
                self.restart_writer(log_start);
            }
            Loss::DroppedUnderTheWriter => (self.held, self.floor) = (BTreeMap::new(), None),
            Loss::EndWrittenAgain => {
                let from = one.max(log_start);
                self.held.split_off(&from);
                if mutation == Mutation::RepairKeepsTheFloors {
                    return self.restart_writer(log_start);
                }
                self.floor = self.floor.map(|floor| floor.min(from));
                self.restart_writer(log_start);
            }
            Loss::MiddleWrittenAgain => {
                let (from, to) = (one, one + 1 + random.usize(..30) as i64);
                let behind = self.held.split_off(&from);
                let (out, behind) = behind.into_iter().partition(|(offset, _)| *offset < to);
                self.taken_out = out;
                self.held.extend::<BTreeMap<_, _>>(behind);
                return;
            }
        }
        let first = rows.0.first().map_or(0, |row| row.tick.offset);
        let left = self.held.first_key_value().map_or(self.next, |(offset, _)| *offset);
        self.lost |= left > first;
    }

    /// A repair of the middle ends.
    pub fn put_back(&mut self) {
        self.held.append(&mut self.taken_out);
    }

    /// What `stores::History::has_reached` answers.
    pub fn has_reached(&self, offset: i64) -> bool {
        self.held.range(offset..).next().is_some() || self.floor > Some(offset)
    }

    /// What `stores::History::oldest` answers.
    pub fn oldest(&self, rows: &Rows) -> Option<Oldest> {
        let (offset, ingested_at) = self.held.first_key_value()?;
        let row = rows.0.iter().find(|row| row.tick.offset == *offset)?;
        Some(Oldest {
            offset: *offset,
            appended_at: row.tick.appended_at,
            ingested_at: *ingested_at,
        })
    }

    /// What `stores::History::restate` answers: the bars of the rows that are there, each with the offset of its last row.
    pub fn restate(&self, rows: &Rows, asked: &[AskedWindow], mutation: Mutation) -> Vec<Option<OwnedBar>> {
        let held = rows.0.iter().map(|row| &row.tick);
        let held: Vec<LogTick> = held
            .filter(|tick| self.held.contains_key(&tick.offset))
            .cloned()
            .collect();
        let held = Rows::of(&held);
        let bar = |asked: &AskedWindow| {
            let key = (
                asked.instrument_id.as_ref().to_owned(),
                asked.window.interval,
                asked.window.start,
            );
            let upto = match mutation {
                Mutation::NewestRows => i64::MAX,
                _ => asked.version.last_offset,
            };
            let closed = asked.version.closed || held.is_closed_with(&key, upto);
            let mut bar = held.content(&key, upto, closed)?;
            if mutation == Mutation::NewestRows {
                bar.version = asked.version;
            }
            Some(bar)
        };
        asked.iter().map(bar).collect()
    }
}
