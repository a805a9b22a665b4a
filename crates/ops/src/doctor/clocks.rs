//! Judges the clocks of the servers against that of this machine. Pure.
//!
//! Invariant: an answer tells a server's time only to within half of the time that the question took, so that much is never
//! reported as a difference.

use domain::Micros;

use super::{Area, Finding, Severity};
use crate::present::milliseconds;

/// Latencies between hops and ages are wrong by this much.
const NOTICED: Micros = 1_000_000;
/// Dead letters are searched with this much allowance, and tokens and certificates are refused.
const HARMFUL: Micros = 60_000_000;

/// The answer to the question for the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    pub server: &'static str,
    /// This machine's time when the question was sent.
    pub asked: Micros,
    /// This machine's time when the answer came.
    pub answered: Micros,
    /// The server's time.
    pub told: Micros,
}

impl Told {
    /// How far the server's clock is ahead, and the most by which that may be wrong.
    fn ahead(&self) -> (Micros, Micros) {
        let half = self.answered.saturating_sub(self.asked).max(0) / 2;
        (self.told - (self.asked + half), half)
    }
}

/// Clocks that differ by more than the question took.
pub(super) fn differing(all: &[Told]) -> Vec<Finding> {
    all.iter()
        .filter_map(|told| {
            let (ahead, uncertain) = told.ahead();
            let at_least = ahead.abs() - uncertain;
            let severity = match at_least {
                HARMFUL.. => Severity::Critical,
                NOTICED.. => Severity::Warning,
                _ => return None,
            };
            let direction = if ahead > 0 { "ahead of" } else { "behind" };
            let what = format!("the clock of {} is {direction} that of this machine", told.server);
            let finding = Finding::new(severity, Area::Clocks, what, told.server);
            Some(
                finding
                    .shown_by([format!(
                        "by {}, give or take {}",
                        milliseconds(ahead.abs() / 1_000),
                        milliseconds(uncertain / 1_000)
                    )])
                    .because(
                        "one of the two machines does not follow a time server",
                        "timedatectl status",
                    ),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn severity(asked: Micros, answered: Micros, told: Micros) -> Option<Severity> {
        let all = [Told {
            server: "redis",
            asked,
            answered,
            told,
        }];
        differing(&all).first().map(|finding| finding.severity)
    }

    #[test]
    fn a_difference_is_reported_only_beyond_what_the_question_took() {
        assert_eq!(severity(0, 0, 999_999), None);
        assert_eq!(severity(0, 0, 1_000_000), Some(Severity::Warning));
        assert_eq!(severity(0, 0, -1_000_000), Some(Severity::Warning));
        assert_eq!(severity(0, 0, -60_000_000), Some(Severity::Critical));
        // The answer took four seconds: the server may have answered at once or at the end.
        assert_eq!(severity(0, 4_000_000, 4_000_000), None);
        assert_eq!(severity(0, 4_000_000, 4_999_999), None);
        assert_eq!(severity(0, 4_000_000, 5_000_000), Some(Severity::Warning));
    }

    #[test]
    fn the_direction_is_named() {
        let told = |told| Told {
            server: "postgres",
            asked: 0,
            answered: 0,
            told,
        };
        let what: Vec<String> = differing(&[told(2_000_000), told(-2_000_000)])
            .into_iter()
            .map(|finding| finding.what)
            .collect();
        assert_eq!(
            what,
            [
                "the clock of postgres is ahead of that of this machine",
                "the clock of postgres is behind that of this machine"
            ]
        );
    }
}
