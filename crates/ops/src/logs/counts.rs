//! Counts log entries by some of their fields. Pure.

use std::collections::BTreeMap;

use domain::Micros;
use serde::Serialize;

use super::line::Entry;
use crate::present::iso;

/// Different groups that are kept; a code is ours, but a target or a message may be anything.
const GROUPS: usize = 2_000;
const MINUTE: Micros = 60_000_000;

/// What entries are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum By {
    Minute,
    Service,
    Level,
    Target,
    Code,
}

impl By {
    /// Every one, in the order of columns.
    pub const ALL: [By; 5] = [By::Minute, By::Service, By::Level, By::Target, By::Code];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            By::Minute => "minute",
            By::Service => "service",
            By::Level => "level",
            By::Target => "target",
            By::Code => "code",
        }
    }

    fn of(self, entry: &Entry) -> String {
        match self {
            By::Minute => entry.at.map_or_else(String::new, |at| iso(at - at.rem_euclid(MINUTE))),
            By::Service => entry.service.clone(),
            By::Level => entry.level.name().to_owned(),
            By::Target => entry.target.clone(),
            By::Code => entry.code.clone(),
        }
    }
}

/// Entries with the same values.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// The values, by name of the field.
    #[serde(flatten)]
    pub values: BTreeMap<&'static str, String>,
    /// Number of lines, suppressed ones included.
    pub lines: u64,
    /// Lines in a minute, over the time that all logs cover.
    pub per_minute: f64,
    /// When the newest was written, in ISO 8601; empty if no line says it.
    pub newest: String,
}

/// Every group.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Counts {
    /// The largest first; by minute, the oldest first.
    pub groups: Vec<Group>,
    /// All lines.
    pub lines: u64,
    /// Lines of further groups that were not kept.
    pub uncounted: u64,
    /// Minutes between the first and the last line, at least one.
    pub minutes: f64,
}

/// Counts entries.
#[derive(Debug)]
pub struct Counter {
    by: Vec<By>,
    groups: BTreeMap<Vec<String>, (u64, Option<Micros>)>,
    lines: u64,
    uncounted: u64,
    span: Option<(Micros, Micros)>,
}

impl Counter {
    /// By these fields.
    pub fn by(by: Vec<By>) -> Counter {
        Counter {
            by,
            groups: BTreeMap::new(),
            lines: 0,
            uncounted: 0,
            span: None,
        }
    }

    /// Counts an entry.
    pub fn add(&mut self, entry: &Entry) {
        self.lines += entry.lines;
        if let Some(at) = entry.at {
            let (first, last) = self.span.unwrap_or((at, at));
            self.span = Some((first.min(at), last.max(at)));
        }
        let key: Vec<String> = self.by.iter().map(|by| by.of(entry)).collect();
        if self.groups.len() >= GROUPS && !self.groups.contains_key(&key) {
            self.uncounted += entry.lines;
            return;
        }
        let (lines, newest) = self.groups.entry(key).or_default();
        *lines += entry.lines;
        *newest = (*newest).max(entry.at);
    }

    /// The counts.
    pub fn counts(self) -> Counts {
        let span = self.span.map_or(0, |(first, last)| last - first);
        let minutes = (span as f64 / MINUTE as f64).max(1.0);
        let by_minute = self.by.contains(&By::Minute);
        let mut groups: Vec<Group> = self
            .groups
            .into_iter()
            .map(|(key, (lines, newest))| Group {
                values: self.by.iter().map(|by| by.name()).zip(key).collect(),
                lines,
                per_minute: lines as f64 / if by_minute { 1.0 } else { minutes },
                newest: newest.map(iso).unwrap_or_default(),
            })
            .collect();
        // The keys are in order, and begin with the minute.
        if !by_minute {
            groups.sort_by_key(|group| std::cmp::Reverse(group.lines));
        }
        Counts {
            groups,
            lines: self.lines,
            uncounted: self.uncounted,
            minutes,
        }
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::super::line::Level;
    use super::*;

    fn entry(at: Option<Micros>, target: &str, lines: u64) -> Entry {
        Entry {
            at,
            level: Level::Error,
            service: "s".to_owned(),
            target: target.to_owned(),
            code: String::new(),
            message: String::new(),
            text: String::new(),
            lines,
        }
    }

    #[test]
    fn rates_are_over_the_whole_time_and_suppressed_lines_count() {
        let mut counter = Counter::by(vec![By::Target]);
        for (at, target, lines) in [(Some(0), "a", 1), (Some(2 * MINUTE), "b", 7), (None, "a", 2)] {
            counter.add(&entry(at, target, lines));
        }
        let counts = counter.counts();
        assert_eq!((counts.lines, counts.minutes), (10, 2.0));
        let shown: Vec<(&str, u64, f64)> = counts
            .groups
            .iter()
            .map(|group| (group.values["target"].as_str(), group.lines, group.per_minute))
            .collect();
        assert_eq!(shown, [("b", 7, 3.5), ("a", 3, 1.5)]);
        assert_eq!(counts.groups[1].newest, iso(0));
    }

    #[test]
    fn minutes_are_in_order_and_groups_are_limited() {
        let mut counter = Counter::by(vec![By::Minute, By::Level]);
        for at in [3 * MINUTE + 5, MINUTE, MINUTE + 1] {
            counter.add(&entry(Some(at), "", 1));
        }
        let counts = counter.counts();
        let minutes: Vec<(&str, u64)> = counts
            .groups
            .iter()
            .map(|group| (group.values["minute"].as_str(), group.lines))
            .collect();
        assert_eq!(minutes, [(&*iso(MINUTE), 2), (&*iso(3 * MINUTE), 1)]);

        let mut counter = Counter::by(vec![By::Target]);
        (0..GROUPS + 5).for_each(|number| counter.add(&entry(None, &number.to_string(), 1)));
        let counts = counter.counts();
        assert_eq!((counts.groups.len(), counts.uncounted), (GROUPS, 5));
    }
}
