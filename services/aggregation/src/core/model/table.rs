//! The enriched table as the second stage sees it: one writer inserts rows in order, block by block, and after a kill continues
//! from its position; the oldest rows expire; the table is dropped, or its end is deleted, and written again.

use std::collections::BTreeMap;

use domain::{AskedWindow, Micros};
use fastrand::Rng;
use stores::Oldest;

use super::fixtures::{LogTick, OwnedBar};
use super::oracle::{BarKey, Rows};
use super::world::Mutation;

/// A loss of rows; at most one per simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The oldest rows expire.
    Expiry,
    /// The table is dropped, and its writer continues from the floor.
    Dropped,
    /// The table and its floors are dropped, and its writer starts from the beginning of the log.
    DroppedWithItsFloors,
    /// The table and its floors are dropped, and its writer continues without noticing.
    DroppedUnderTheWriter,
    /// A repair: the last rows and the floors above them are deleted, and the writer writes them again.
    EndWrittenAgain,
    /// A repair against the rules: rows in the middle are deleted, and restored later.
    MiddleWrittenAgain,
}

impl Loss {
    /// The loss of a simulation, if it has one.
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

/// Rows by offset, with their ingestion time.
#[derive(Default)]
pub struct Table {
    held: BTreeMap<i64, Micros>,
    floor: Option<i64>,
    /// The writer's next offset.
    next: i64,
    /// Rows that a repair restores.
    taken_out: BTreeMap<i64, Micros>,
    /// Some rows are lost for good.
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

    /// The writer stores its position as a floor.
    pub fn save_floor(&mut self) {
        if self.next > 0 {
            self.floor = self.floor.max(Some(self.next));
        }
    }

    /// The log must be kept from this offset on.
    pub fn needs(&self) -> i64 {
        self.floor.unwrap_or(0)
    }

    /// Another writer continues: after the last row or at the floor, else from the beginning of the log.
    pub fn restart_writer(&mut self, log_start: i64) {
        let behind_last = self.held.last_key_value().map(|(offset, _)| offset + 1);
        let position = behind_last.max(self.floor);
        self.floor = position;
        self.next = position.unwrap_or(log_start);
    }

    /// Loses rows, for good or until they are written again. Rows below `stored` have stored bars; only these are lost for
    /// good, since bars are stored within minutes and rows expire after a year.
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
                // Floors are stored much more often than rows expire.
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

    /// Ends a repair of the middle.
    pub fn put_back(&mut self) {
        self.held.append(&mut self.taken_out);
    }

    /// Stands for `stores::History::has_reached`.
    pub fn has_reached(&self, offset: i64) -> bool {
        self.held.range(offset..).next().is_some() || self.floor > Some(offset)
    }

    /// Stands for `stores::History::oldest`.
    pub fn oldest(&self, rows: &Rows) -> Option<Oldest> {
        let (offset, ingested_at) = self.held.first_key_value()?;
        let row = rows.0.iter().find(|row| row.tick.offset == *offset)?;
        Some(Oldest {
            offset: *offset,
            appended_at: row.tick.appended_at,
            ingested_at: *ingested_at,
        })
    }

    /// Whether the last row of the window, among those that are left, replaces no price.
    pub fn ends_without_effect(&self, rows: &Rows, asked: &AskedWindow) -> bool {
        self.rows_left(rows)
            .ends_without_effect(&key(asked), asked.version.last_offset)
    }

    fn rows_left(&self, rows: &Rows) -> Rows {
        let ticks = rows.0.iter().map(|row| &row.tick);
        let held: Vec<LogTick> = ticks
            .filter(|tick| self.held.contains_key(&tick.offset))
            .cloned()
            .collect();
        Rows::of(&held)
    }

    /// Stands for `stores::History::restate`: the bars of the existing rows, each with the offset of its last row.
    pub fn restate(&self, rows: &Rows, asked: &[AskedWindow], mutation: Mutation) -> Vec<Option<OwnedBar>> {
        let mut held = self.rows_left(rows);
        for row in held.0.iter_mut().filter(|_| mutation == Mutation::LastOriginCounts) {
            row.tick.version = None;
        }
        let bar = |asked: &AskedWindow| {
            let key = key(asked);
            let upto = match mutation {
                Mutation::NewestRows => i64::MAX,
                _ => asked.version.last_offset,
            };
            let closed = asked.version.closed || held.is_closed_with(&key, upto);
            let mut bar = held.content(&key, upto, closed)?;
            if mutation == Mutation::NewestRows {
                bar.version = asked.version;
            }
            if mutation == Mutation::EveryRowCounts {
                bar.revision = held.after_close(&key, upto);
            }
            Some(bar)
        };
        asked.iter().map(bar).collect()
    }
}

fn key(asked: &AskedWindow) -> BarKey {
    (
        asked.instrument_id.as_ref().to_owned(),
        asked.window.interval,
        asked.window.start,
    )
}
