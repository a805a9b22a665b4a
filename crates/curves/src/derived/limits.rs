//! How long prices count, how much of a series is kept, and what is counted.

use domain::{DerivedCause, Kind, LegPrice, Micros};

use super::Reason;

/// A rule that the model takes out, to check that it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// A price counts until its interval ends, or its maximum age has passed.
    LeaveOutStale,
    /// The second leg of a difference is taken from the first.
    Sign,
    /// A heat rate has no number if gas costs nothing or less.
    GasAboveZero,
    /// Prices in other units are not combined.
    SameUnits,
    /// Of the prices of one time the most certain counts, not the last.
    BestVintage,
    /// A price that came late changes later times too.
    ReviseLater,
    /// A price that replaces one which counted for longer changes all of its times.
    ReviseReplaced,
    /// Each value that is sent again has the next revision.
    CountRevisions,
    /// What has not changed is not sent again.
    SendChanges,
    /// A value that can no longer be computed becomes null.
    TakeBack,
    /// Values from before the hold time stay as they are.
    HoldTime,
    /// A value that changes changes every window that holds it.
    ReviseWindows,
    /// What is sent is known since the largest log clock so far, not since that of its leg.
    LargestClock,
    /// Prices are kept until the slowest leg has passed them, not the fastest one.
    WaitForSlowest,
    /// A price that came late for a part of its times does not count for them.
    CountSince,
}

#[cfg(test)]
impl Rule {
    pub(super) const ALL: [Rule; 15] = [
        Rule::LeaveOutStale,
        Rule::Sign,
        Rule::GasAboveZero,
        Rule::SameUnits,
        Rule::BestVintage,
        Rule::ReviseLater,
        Rule::ReviseReplaced,
        Rule::CountRevisions,
        Rule::SendChanges,
        Rule::TakeBack,
        Rule::HoldTime,
        Rule::ReviseWindows,
        Rule::LargestClock,
        Rule::WaitForSlowest,
        Rule::CountSince,
    ];
}

pub(super) const HOUR: Micros = 3_600_000_000;
/// How far ahead of its append a price may lie: day-ahead prices are published at most a day and a half before their interval ends.
pub(super) const AHEAD: Micros = 48 * HOUR;
/// The longest delivery interval: a market day with a repeated hour.
pub(super) const LONGEST_INTERVAL: Micros = 25 * HOUR;

/// How far a leg may be behind, if the retention of the topic of legs allows it: as long as raw topics keep their messages.
const LONGEST_BEHIND: Micros = 7 * 24 * HOUR;
/// How much of the topic of legs a restart reads at most. Its retention is two weeks.
const LONGEST_READ_BACK: Micros = 27 * 12 * HOUR;

/// How much of a series is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Times older than this when a price was appended are not revised by it, in microseconds.
    pub hold: Micros,
    /// How far the slowest leg may be behind the log clock; prices that it may need are kept for so much longer than the hold time.
    pub behind: Micros,
    /// Most prices; beyond, the oldest are forgotten before their time.
    pub prices: usize,
    /// The rule that this run of the model takes out.
    #[cfg(test)]
    pub(super) without: Option<Rule>,
}

impl Limits {
    /// Limits of this hold time and number of prices. `longest_reach` is the largest [`super::Definition::reach`].
    pub fn new(hold: Micros, longest_reach: Micros, prices: usize) -> Limits {
        let rest = LONGEST_READ_BACK.saturating_sub(needed(hold, longest_reach));
        Limits {
            hold,
            behind: rest.clamp(0, LONGEST_BEHIND),
            prices,
            #[cfg(test)]
            without: None,
        }
    }

    /// Whether a rule is in force; outside of tests, all are.
    #[cfg(not(test))]
    pub(super) fn holds(&self, _: Rule) -> bool {
        true
    }

    #[cfg(test)]
    pub(super) fn holds(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }
}

/// How far back on the log clock the prices reach that a series with these limits may need. `longest_reach` is the largest
/// [`super::Definition::reach`].
pub fn read_back(limits: &Limits, longest_reach: Micros) -> Micros {
    limits.behind.saturating_add(needed(limits.hold, longest_reach))
}

/// The same, of a series whose legs are read alike.
fn needed(hold: Micros, longest_reach: Micros) -> Micros {
    // The last hour is for clocks of hosts that differ.
    hold + longest_reach.max(LONGEST_INTERVAL) + AHEAD + HOUR
}

/// The last microsecond at which a price counts; `None` if no series can use it.
pub(super) fn last_time(leg: &LegPrice<'_>, max_age: Micros) -> Option<Micros> {
    if leg.event_time.checked_sub(leg.appended())? > AHEAD {
        return None;
    }
    match (leg.kind, leg.interval_end) {
        (Kind::Interval, Some(end)) => {
            let length = end.checked_sub(leg.event_time)?;
            (1..=LONGEST_INTERVAL).contains(&length).then_some(end - 1)
        }
        _ => leg.event_time.checked_add(max_age),
    }
}

/// What became of a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It counts.
    Used,
    /// A better price of the same leg and time is known, or it is this one.
    Superseded,
    /// It cannot be used.
    Skipped(Reason),
}

/// Counts since they were last taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Values sent, by [`DerivedCause`].
    pub sent: [u64; DerivedCause::ALL.len()],
    /// Prices and times without a value, by [`Reason`].
    pub skipped: [u64; Reason::ALL.len()],
    /// Prices forgotten before their time, because there were too many.
    pub evicted: u64,
}
