//! The windows of a rolling statistic: the values of its series, by their times.
//!
//! Role: [`Windows::set`] takes the value of a time, [`Windows::affected`] says which windows it is in, [`Windows::at`] gives the number of a
//! time.
//! Invariants: what a window holds follows from the values and their times, and never from the order in which they came: the values of one
//! unit before and at its time, the last ones first, as far as count and width reach. Values before the oldest time that may be revised
//! do not change any more, and are kept as far as a window can reach.
//! Failure: a window without a number gives the [`Reason`].

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound::Excluded;
use std::sync::Arc;

use domain::{Decimal, Micros};

use super::Reason;
use super::statistic::{LARGEST, RollingStatistic};
use crate::rolling::{Rolling, Statistics};
use crate::texts::Texts;

/// A value of the series.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Value {
    number: Decimal,
    unit: Arc<str>,
}

/// The window of one time.
#[derive(Debug, Clone)]
struct Last {
    time: Micros,
    unit: Arc<str>,
    rolling: Rolling,
}

impl Last {
    fn push(&mut self, of: RollingStatistic, time: Micros, value: &Value) -> Result<Statistics, Reason> {
        if self.unit != value.unit {
            // Numbers of two units have no mean.
            self.rolling = of.window();
            self.unit = Arc::clone(&value.unit);
        }
        self.time = time;
        self.rolling.push(time, value.number).map_err(|_| Reason::TooLarge)
    }
}

/// The values of a series that windows of the times that may still be revised can hold.
#[derive(Debug, Clone)]
pub(super) struct Windows {
    of: RollingStatistic,
    /// Of the times that may still be revised.
    values: BTreeMap<Micros, Value>,
    /// The newest ones before them, in the order of time.
    older: VecDeque<(Micros, Value)>,
    /// The window that was computed last. Usually the next value follows it, and then nothing is read again.
    last: Option<Last>,
    units: Texts,
}

impl Windows {
    pub(super) fn new(of: RollingStatistic) -> Windows {
        Windows {
            of,
            values: BTreeMap::new(),
            older: VecDeque::new(),
            last: None,
            units: Texts::default(),
        }
    }

    /// Sets, or removes, the value of a time. Returns whether it has changed.
    pub(super) fn set(&mut self, time: Micros, value: Option<(Decimal, &str)>) -> bool {
        let value = value
            .filter(|(number, _)| number.unscaled().unsigned_abs() < LARGEST)
            .map(|(number, unit)| Value {
                number,
                unit: self.units.kept(unit),
            });
        if self.values.get(&time) == value.as_ref() {
            return false;
        }
        if self.last.as_ref().is_some_and(|last| time <= last.time) {
            self.last = None;
        }
        match value {
            Some(value) => self.values.insert(time, value),
            None => self.values.remove(&time),
        };
        true
    }

    /// These times, and those whose windows hold the values of the changed ones, or held them before; in their order.
    pub(super) fn affected(&self, mut times: Vec<Micros>, changed: &[Micros]) -> Vec<Micros> {
        for time in changed {
            let within = self.values.range(*time..time.saturating_add(self.of.width));
            times.extend(within.take(self.of.capacity()).map(|(at, _)| *at));
        }
        times.sort_unstable();
        times.dedup();
        times
    }

    /// The number of a time.
    pub(super) fn at(&mut self, time: Micros) -> Result<Decimal, Reason> {
        let value = self.values.get(&time).cloned().ok_or(Reason::Undefined)?;
        let known = self.last.take().filter(|last| self.is_next(last.time, time));
        let mut last = match known {
            Some(last) => last,
            None => self.before(time, &value)?,
        };
        let statistics = last.push(self.of, time, &value)?;
        let number = self.of.number(&statistics, &last.rolling, value.number);
        self.last = Some(last);
        number
    }

    /// Whether no value lies between both times.
    fn is_next(&self, last: Micros, time: Micros) -> bool {
        last < time
            && self.older.back().is_none_or(|(older, _)| *older <= last)
            && self.values.range((Excluded(last), Excluded(time))).next().is_none()
    }

    /// The window of the values before this time.
    fn before(&self, time: Micros, value: &Value) -> Result<Last, Reason> {
        let start = time.saturating_sub(self.of.width);
        let newer = self.values.range(..time).rev().map(|(at, value)| (*at, value));
        let older = self.older.iter().rev().map(|(at, value)| (*at, value));
        let mut inside: Vec<(Micros, &Value)> = newer
            .chain(older)
            .take_while(|(at, _)| *at > start)
            .take(self.of.capacity().saturating_sub(1))
            .collect();
        inside.reverse();
        let mut last = Last {
            time,
            unit: Arc::clone(&value.unit),
            rolling: self.of.window(),
        };
        for (at, value) in inside {
            last.push(self.of, at, value)?;
        }
        Ok(last)
    }

    /// Values before this time do not change any more; those that no window can hold are forgotten.
    pub(super) fn forget(&mut self, floor: Micros) {
        while let Some(first) = self.values.first_entry().filter(|first| *first.key() < floor) {
            self.older.push_back(first.remove_entry());
        }
        while self.older.len() > self.of.capacity() {
            self.older.pop_front();
        }
    }
}
