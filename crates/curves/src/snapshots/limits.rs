//! How much of a curve is kept, and why quotes do not count.

use domain::{DerivedCause, Micros};

/// A rule that the model takes out, to check that it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// A quote that came late changes later times too.
    ReviseLater,
    /// Quotes that came longer ago than the maximum age do not count.
    LeaveOutStale,
    /// What a late quote changes is known since it came, and not since its time.
    KnownSinceLateQuote,
    /// The trade date and the vintage rank above the stated time, and a price without a time of day ranks above those with one.
    RankByDay,
    /// Quotes in other units than the newest one of the last trade date do not count.
    SameUnits,
    /// Instruments that the definition of the newest quote leaves out do not count.
    Members,
}

const DAY: Micros = 86_400_000_000;
/// How far ahead of the log clock the event time of a quote may lie.
pub(super) const AHEAD: Micros = DAY;

/// How snapshots are made, and how much of a curve is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// At most one snapshot of each horizon in each interval of the log clock, in microseconds.
    pub interval: Micros,
    /// Snapshots older than this on the log clock are not revised any more.
    pub hold: Micros,
    /// A quote counts for so long by the log clock, unless a newer one of its instrument comes, and if its trade date is not further before
    /// the day of the curve.
    pub max_age: Micros,
    /// Most quotes in memory; beyond, the oldest are forgotten before their time.
    pub quotes: usize,
    /// The rule that this run of the model takes out.
    #[cfg(test)]
    pub(super) without: Option<Rule>,
}

impl Limits {
    /// Limits of these microseconds: interval, hold time and maximum age.
    pub fn new((interval, hold, max_age): (Micros, Micros, Micros), quotes: usize) -> Limits {
        Limits {
            interval,
            hold,
            max_age,
            quotes,
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

/// How far back on the log clock the quotes reach that a curve with these limits may need.
pub fn read_back(limits: &Limits) -> Micros {
    let reach = limits.max_age.saturating_add(limits.hold);
    // A day is for clocks of hosts that differ, and for partitions that are behind.
    reach.saturating_add(limits.interval).saturating_add(DAY)
}

/// Why a quote, or a time of a curve, gave no snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The tick carries no definition that can be read.
    Undefined,
    /// The registry does not have the market.
    UnknownMarket,
    /// The instrument names no contract of the market, or the market lacks its block.
    NotAContract,
    /// The event time is more than a day ahead of the log clock, or outside the calendar.
    OutOfReach,
    /// It came after the hold time.
    TooLate,
    /// A quote came into the log longer ago than the maximum age, or its trade date is further before the day of the curve.
    Stale,
    /// The market is not that of the instrument id, or not that of the newest quote of the curve.
    OtherMarket,
    /// A quote was in another currency or unit than the newest one of the last trade date.
    UnitMismatch,
    /// The definition of the newest quote leaves the instrument out.
    NotAMember,
    /// The size of the price is beyond that of any contract.
    TooLarge,
    /// The contract ends more than twenty years after the trade date.
    TooFar,
    /// The curve has more quotes than it can be made from; those that deliver last do not count.
    TooMany,
    /// No quote could be used.
    NoQuotes,
    /// The equations of the curve have no solution.
    NotBuilt,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 14] = [
        Reason::Undefined,
        Reason::UnknownMarket,
        Reason::NotAContract,
        Reason::OutOfReach,
        Reason::TooLate,
        Reason::Stale,
        Reason::OtherMarket,
        Reason::UnitMismatch,
        Reason::NotAMember,
        Reason::TooLarge,
        Reason::TooFar,
        Reason::TooMany,
        Reason::NoQuotes,
        Reason::NotBuilt,
    ];

    /// The public name.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Undefined => "undefined",
            Reason::UnknownMarket => "unknown_market",
            Reason::NotAContract => "not_a_contract",
            Reason::OutOfReach => "out_of_reach",
            Reason::TooLate => "too_late",
            Reason::Stale => "stale",
            Reason::OtherMarket => "other_market",
            Reason::UnitMismatch => "unit_mismatch",
            Reason::NotAMember => "not_a_member",
            Reason::TooLarge => "too_large",
            Reason::TooFar => "too_far",
            Reason::TooMany => "too_many",
            Reason::NoQuotes => "no_quotes",
            Reason::NotBuilt => "not_built",
        }
    }
}

/// Counts since they were last taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Snapshots sent, one for each horizon, by [`DerivedCause`].
    pub sent: [u64; DerivedCause::ALL.len()],
    /// Those of them with a quote that contradicts others.
    pub contradictory: u64,
    /// By [`Reason`].
    pub skipped: [u64; Reason::ALL.len()],
    /// Quotes forgotten before their time, because there were too many.
    pub evicted: u64,
}

impl Counts {
    pub(super) fn skip(&mut self, reason: Reason) {
        if let Some(count) = self.skipped.get_mut(reason as usize) {
            *count += 1;
        }
    }
}
