//! Whether the inserts into a table take long, for health and the log. Pure.
//!
//! Role: a server that confirms every insert, but each after many seconds, fails no check: it answers, and rows arrive, only late.
//! Invariant: what is told ends by itself after a fast insert, or when no insert was slow for a minute.

use std::time::Duration;

use domain::Micros;

/// Rows wait up to five seconds for others; an insert that takes longer than that is the larger part of their delay.
pub(super) const SLOW: Duration = Duration::from_secs(5);
/// A slow insert of an earlier time says nothing of now.
const REMEMBERED: Micros = 60_000_000;

/// The duration of the inserts into one table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pace {
    begun: Option<Micros>,
    /// How long the last insert took, and when it ended.
    slow: Option<(Duration, Micros)>,
}

impl Pace {
    pub(super) fn begins(&mut self, now: Micros) {
        self.begun = Some(now);
    }

    pub(super) fn ended(&mut self, took: Duration, now: Micros) {
        self.begun = None;
        self.slow = (took >= SLOW).then_some((took, now));
    }

    /// For operators: what is slow, and what to look at.
    pub(super) fn text(&self, table: &str, now: Micros) -> Option<String> {
        let under_way = self.begun.map(|begun| micros(now - begun)).filter(|took| *took >= SLOW);
        let last = self.slow.filter(|(_, at)| now - at < REMEMBERED).map(|(took, _)| took);
        let took = under_way.max(last)?;
        Some(format!(
            "inserts into {table} take {} s, so its rows are late; nothing is lost. `dp clickhouse parts` and `dp clickhouse processes` \
             show what ClickHouse is busy with",
            took.as_secs()
        ))
    }
}

fn micros(time: Micros) -> Duration {
    Duration::from_micros(u64::try_from(time).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Micros = 1_000_000;

    fn says(pace: &Pace, now: Micros) -> Option<String> {
        let text = pace.text("market_ticks", now)?;
        text.split(',').next().map(str::to_owned)
    }

    #[test]
    fn a_slow_insert_is_told_while_it_runs_and_until_a_fast_one() {
        let mut pace = Pace::default();
        pace.begins(0);
        assert_eq!(says(&pace, 4 * SECOND), None);
        assert_eq!(
            says(&pace, 7 * SECOND).as_deref(),
            Some("inserts into market_ticks take 7 s")
        );
        pace.ended(Duration::from_secs(9), 9 * SECOND);
        pace.begins(10 * SECOND);
        assert_eq!(
            says(&pace, 11 * SECOND).as_deref(),
            Some("inserts into market_ticks take 9 s")
        );
        pace.ended(Duration::from_millis(30), 12 * SECOND);
        assert_eq!(says(&pace, 13 * SECOND), None);
    }

    #[test]
    fn a_slow_insert_is_forgotten_after_a_minute_without_another() {
        let mut pace = Pace::default();
        pace.begins(0);
        pace.ended(Duration::from_secs(9), 9 * SECOND);
        assert!(says(&pace, 68 * SECOND).is_some());
        assert_eq!(says(&pace, 69 * SECOND), None);
    }
}
