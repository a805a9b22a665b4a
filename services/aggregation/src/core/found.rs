//! What the answer to a statement means for each window that it asked for. Pure.
//!
//! Invariant: a bar is made only of an answer that holds the row of the late tick, from a table whose oldest row was the same
//! before and after: rows land in order, so all rows between the two were there. That the oldest row was there from the
//! log's beginning on, or that no older one can be of the window, is [`has_expired`]'s to say.
//! Failure: a table that is dropped and written again loses nothing, so its windows wait. Before a window is given up for a
//! missing row, or an empty table, all is asked again, how far the table is included.

use domain::AskedWindow;
use stores::Oldest;

use super::restate::has_expired;

/// What becomes of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its bar is that of the answer.
    Bar,
    /// Rows of it may have expired.
    Expired,
    /// The answer lacks the row of the late tick.
    Missing,
}

/// That of this window. `last_offset` is that of the last row in the answer, `oldest` the partition's oldest row, asked for
/// after the statement: what has expired by then may have been missing in it.
pub fn fate(asked: &AskedWindow, last_offset: Option<i64>, oldest: Option<&Oldest>) -> Fate {
    if has_expired(asked, oldest) {
        Fate::Expired
    } else if last_offset != Some(asked.version.last_offset) {
        Fate::Missing
    } else {
        Fate::Bar
    }
}

/// What to do with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Bars are made of it.
    Take,
    /// The statement is asked again at once.
    Again,
    /// The table changes under it: later.
    Wait,
}

/// By the fates of its windows, and the oldest row before and after the statement.
pub fn next(
    fates: impl IntoIterator<Item = Fate>,
    before: Option<&Oldest>,
    after: Option<&Oldest>,
    is_second: bool,
) -> Next {
    if before != after {
        Next::Wait
    } else if !is_second && (after.is_none() || fates.into_iter().any(|fate| fate == Fate::Missing)) {
        Next::Again
    } else {
        Next::Take
    }
}

#[cfg(test)]
mod tests {
    use domain::{BarVersion, Interval, Window};

    use super::*;

    #[test]
    fn a_bar_needs_the_row_of_its_late_tick_and_all_rows_before_it() {
        let asked = AskedWindow {
            tenant_id: "t".into(),
            instrument_id: "X".into(),
            window: Window {
                interval: Interval::OneMinute,
                start: 0,
            },
            version: BarVersion {
                last_offset: 7,
                closed: true,
            },
        };
        let oldest = |offset| Oldest {
            offset,
            appended_at: 0,
            ingested_at: 0,
        };
        assert_eq!(fate(&asked, Some(7), Some(&oldest(0))), Fate::Bar);
        assert_eq!(fate(&asked, Some(6), Some(&oldest(0))), Fate::Missing);
        assert_eq!(fate(&asked, None, Some(&oldest(0))), Fate::Missing);
        assert_eq!(fate(&asked, Some(7), Some(&oldest(3))), Fate::Expired);
        assert_eq!(fate(&asked, None, None), Fate::Expired);
    }

    #[test]
    fn an_answer_counts_of_a_table_that_stands_still_and_a_missing_row_is_asked_for_twice() {
        let oldest = |ingested_at| Oldest {
            offset: 0,
            appended_at: 0,
            ingested_at,
        };
        let (one, other) = (oldest(1), oldest(2));
        assert_eq!(
            next([Fate::Bar, Fate::Expired], Some(&one), Some(&one), false),
            Next::Take
        );
        assert_eq!(
            next([Fate::Bar, Fate::Missing], Some(&one), Some(&one), false),
            Next::Again
        );
        assert_eq!(
            next([Fate::Bar, Fate::Missing], Some(&one), Some(&one), true),
            Next::Take
        );
        assert_eq!(next([Fate::Bar], Some(&one), Some(&other), true), Next::Wait);
        assert_eq!(next([Fate::Expired], Some(&one), None, false), Next::Wait);
        assert_eq!(next([Fate::Expired], None, None, false), Next::Again);
        assert_eq!(next([Fate::Expired], None, None, true), Next::Take);
    }
}
