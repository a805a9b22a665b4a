//! Groups that do not keep up: those that commit nothing although messages wait, and those that fall further and further behind.
//!
//! Role: compares the reports of the broker about every group of the pipeline. A process that is frozen, or whose workers have left
//! their group, cannot report itself: the other services see it here. Pure.
//! Invariant: each trouble is told once when it begins and once when it ends, however often the broker is asked.
//! Failure: a group that is missing in a report (the broker did not answer) keeps what is known of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Each stage commits at least once in this time if it works: the longest interval between two commits is some seconds.
const TROUBLE_AFTER: Duration = Duration::from_secs(60);
/// Messages from which a group is behind: a smaller lag is worked off in seconds. The limit of alert `ConsumerLagGrowing`.
pub const LARGE_LAG: i64 = 10_000;

/// A group and one of its topics.
pub(crate) type Reader = (String, String);

/// A group at a report of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub reader: Reader,
    /// Messages of all partitions that are not committed.
    pub lag: i64,
    /// Sum of the committed offsets.
    pub committed: i64,
}

/// What is wrong with a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Messages wait, and it commits nothing.
    Stalled,
    /// It commits, and its lag grows.
    FallsBehind,
}

/// A change to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct News {
    pub reader: Reader,
    /// `None`: the trouble has ended.
    pub trouble: Option<Trouble>,
    pub lag: i64,
    /// For how long it has lasted.
    pub seconds: u64,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    lag: i64,
    committed: i64,
    /// Since when nothing was committed although messages waited.
    stands: Instant,
    /// Since when the lag has grown from report to report.
    grows: Instant,
    told: Option<Trouble>,
}

impl Known {
    fn new(seen: &Seen, now: Instant) -> Known {
        Known {
            lag: seen.lag,
            committed: seen.committed,
            stands: now,
            grows: now,
            told: None,
        }
    }

    fn after(self, seen: &Seen, now: Instant) -> Known {
        let stands = self.lag > 0 && seen.lag > 0 && seen.committed == self.committed;
        let grows = seen.lag > self.lag;
        Known {
            lag: seen.lag,
            committed: seen.committed,
            stands: if stands { self.stands } else { now },
            grows: if grows { self.grows } else { now },
            told: self.told,
        }
    }

    fn trouble(&self, now: Instant) -> Option<(Trouble, Duration)> {
        let (stands, grows) = (now.duration_since(self.stands), now.duration_since(self.grows));
        if stands >= TROUBLE_AFTER {
            Some((Trouble::Stalled, stands))
        } else if self.lag > LARGE_LAG && grows >= TROUBLE_AFTER {
            Some((Trouble::FallsBehind, grows))
        } else {
            None
        }
    }
}

/// What is known of every group.
#[derive(Debug, Default)]
pub(crate) struct Backlogs {
    known: BTreeMap<Reader, Known>,
}

impl Backlogs {
    /// Takes in a report; returns what has changed.
    pub(crate) fn observe(&mut self, seen: &[Seen], now: Instant) -> Vec<News> {
        let mut news = Vec::new();
        for seen in seen {
            let before = self.known.get(&seen.reader);
            let mut known = before.map_or_else(|| Known::new(seen, now), |before| before.after(seen, now));
            let trouble = known.trouble(now);
            let kind = trouble.map(|(kind, _)| kind);
            // A lag that neither grows nor shrinks because nothing is read is no end of a trouble.
            let goes_on = seen.lag == 0 || before.is_none_or(|before| before.committed != seen.committed);
            if kind != known.told && (kind.is_some() || goes_on) {
                news.push(News {
                    reader: seen.reader.clone(),
                    trouble: kind,
                    lag: seen.lag,
                    seconds: trouble.map_or(0, |(_, lasts)| lasts.as_secs()),
                });
                known.told = kind;
            }
            self.known.insert(seen.reader.clone(), known);
        }
        news
    }

    /// Forgets the groups that are paused: what stood still or grew meanwhile counts from their end.
    pub(crate) fn forget(&mut self, is_paused: impl Fn(&str) -> bool) {
        self.known.retain(|(group, _), _| !is_paused(group));
    }

    /// The groups of this service that fall behind, or that stand still while this process reads none of their partitions, each with an
    /// explanation, for health. One that stands still and is read here is found by `crate::health`, which knows what its workers have
    /// handled.
    pub(crate) fn problems(&self, prefix: &str, is_read_here: impl Fn(&str) -> bool, now: Instant) -> Vec<String> {
        let own = self.known.iter().filter(|((group, _), _)| group.starts_with(prefix));
        own.filter_map(|((group, topic), known)| {
            let (trouble, lasts) = known.trouble(now)?;
            let (lag, seconds) = (known.lag, lasts.as_secs());
            match trouble {
                Trouble::FallsBehind => Some(format!(
                    "consumer group {group} falls behind: {lag} messages of {topic} wait, more at each report for {seconds} s. If another \
                     check names a server, cure that first; else `dp capacity` shows what it could handle: more CPU, or a replica"
                )),
                Trouble::Stalled if !is_read_here(group) => Some(format!(
                    "consumer group {group} is stalled: {lag} messages of {topic} wait, nothing has been committed for {seconds} s, and \
                     this process reads none of its partitions; `dp kafka groups` shows who does. If nobody does, restart the service"
                )),
                Trouble::Stalled => None,
            }
        })
        .collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn seen(lag: i64, committed: i64) -> [Seen; 1] {
        [Seen {
            reader: ("enrichment-local".to_owned(), "normalized".to_owned()),
            lag,
            committed,
        }]
    }

    /// Reports as (second, lag, committed), with what is told after each.
    fn told(reports: &[(u64, i64, i64)]) -> Vec<Vec<(Option<Trouble>, u64)>> {
        let (start, mut backlogs) = (Instant::now(), Backlogs::default());
        let each = |(second, lag, committed): &(u64, i64, i64)| {
            let news = backlogs.observe(&seen(*lag, *committed), start + Duration::from_secs(*second));
            news.into_iter().map(|news| (news.trouble, news.seconds)).collect()
        };
        reports.iter().map(each).collect()
    }

    #[test]
    fn a_group_that_commits_nothing_is_told_once_and_its_end_too() {
        let stalled = Some(Trouble::Stalled);
        assert_eq!(
            told(&[
                (0, 5, 70),
                (30, 9, 70),
                (60, 9, 70),
                (90, 20, 70),
                (120, 3, 90),
                (150, 3, 93)
            ]),
            [vec![], vec![], vec![(stalled, 60)], vec![], vec![(None, 0)], vec![]]
        );
    }

    #[test]
    fn a_group_without_waiting_messages_does_not_stand_still() {
        // The messages came only before the last report.
        assert_eq!(
            told(&[(0, 0, 70), (60, 0, 70), (120, 0, 70), (150, 4, 70)]),
            [const { Vec::new() }; 4]
        );
    }

    #[test]
    fn a_lag_that_grows_beyond_seconds_of_work_is_told_and_a_falling_one_is_not() {
        let behind = Some(Trouble::FallsBehind);
        let steps = told(&[
            (0, 9_000, 1),
            (30, 12_000, 2),
            (60, 15_000, 3),
            (90, 18_000, 4),
            (120, 17_000, 9),
        ]);
        assert_eq!(steps, [vec![], vec![], vec![(behind, 60)], vec![], vec![(None, 0)]]);
        let small = told(&[(0, 10, 1), (60, 20, 2), (120, 30, 3)]);
        assert_eq!(small, [const { Vec::new() }; 3]);
        let catching_up = told(&[(0, 90_000, 1), (60, 60_000, 2), (120, 30_000, 3)]);
        assert_eq!(catching_up, [const { Vec::new() }; 3]);
    }

    #[test]
    fn a_lag_that_stands_still_because_nothing_is_read_is_no_end_of_a_trouble() {
        let steps = told(&[
            (0, 9_000, 1),
            (30, 12_000, 2),
            (60, 15_000, 3),
            (90, 15_000, 3),
            (120, 15_000, 3),
            (150, 100, 15_000),
        ]);
        let (behind, stalled) = (Some(Trouble::FallsBehind), Some(Trouble::Stalled));
        assert_eq!(
            steps,
            [
                vec![],
                vec![],
                vec![(behind, 60)],
                vec![],
                vec![(stalled, 60)],
                vec![(None, 0)]
            ]
        );
    }

    #[test]
    fn health_names_an_own_group_that_stands_still_if_nothing_of_it_is_read_here() {
        let (start, mut backlogs) = (Instant::now(), Backlogs::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        for second in [0, 60] {
            backlogs.observe(&seen(300, 7), at(second));
        }
        let own = backlogs.problems("enrichment-", |_| false, at(60));
        assert!(
            own.len() == 1 && own[0].contains("enrichment-local is stalled: 300 messages of normalized"),
            "{own:?}"
        );
        let none = Vec::<String>::new();
        assert_eq!(backlogs.problems("enrichment-", |_| true, at(60)), none);
        assert_eq!(backlogs.problems("projection-", |_| false, at(60)), none);
    }

    #[test]
    fn health_names_only_own_groups_that_fall_behind() {
        let (start, mut backlogs) = (Instant::now(), Backlogs::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        for (second, lag) in [(0, 20_000), (60, 30_000)] {
            backlogs.observe(&seen(lag, i64::try_from(second).unwrap()), at(second));
        }
        let own = backlogs.problems("enrichment-", |_| true, at(60));
        assert_eq!(own.len(), 1, "{own:?}");
        assert!(
            own[0].contains("enrichment-local falls behind: 30000 messages of normalized"),
            "{own:?}"
        );
        assert_eq!(backlogs.problems("projection-", |_| true, at(60)), Vec::<String>::new());
        backlogs.forget(|group| group == "enrichment-local");
        assert_eq!(backlogs.problems("enrichment-", |_| true, at(60)), Vec::<String>::new());
    }
}
