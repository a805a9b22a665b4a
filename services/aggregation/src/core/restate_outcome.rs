//! Decides what the answer to a statement means for each of its windows. Pure.
//!
//! Invariant: rows are inserted in order, so an answer with the row of the late tick contains all rows before it, unless
//! older ones have expired; the oldest row left after the statement shows whether they may have.
//! Failure: a table that is dropped and written again loses nothing, so its windows wait. Before a window is given up for a
//! missing row or an empty table, all queries are repeated, including how far the table is.

use domain::{AskedWindow, BarVersion};
use stores::Oldest;

use super::restate::has_expired;

/// The outcome of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its bar is in the answer.
    Bar,
    /// Some of its rows may have expired.
    Expired,
    /// Nothing to do: a newer version of its bar is stored.
    Superseded,
    /// The answer lacks the row of the late tick. If a repeated query lacks it too, the row is not of this window. The bar of
    /// the rows before it is still right, with the version of the last of them.
    Missing,
}

/// The outcome of this window. `last_offset` is the offset of the last row in the answer. `oldest` is the partition's oldest
/// row, read after the statement: rows that had expired by then may be missing in the answer. `kept` is the result of the
/// check against the table of bars.
pub fn fate(asked: &AskedWindow, last_offset: Option<i64>, oldest: Option<&Oldest>, kept: Option<Kept>) -> Fate {
    if has_expired(asked, oldest) && kept != Some(Kept::Whole) {
        match kept {
            Some(Kept::Superseded) => Fate::Superseded,
            _ => Fate::Expired,
        }
    } else if last_offset != Some(asked.version.last_offset) {
        Fate::Missing
    } else {
        Fate::Bar
    }
}

/// The check of a window with expired rows against the table of bars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// No row that counts is missing.
    Whole,
    /// A newer version is stored.
    Superseded,
}

/// A window is whole if its remaining rows reproduce its newest stored bar, or if it never had one: a row expires a year after
/// its bar was stored, or together with it. `None` if rows are missing.
///
/// Only for windows that had closed before the oldest row: for others the clock of the remaining rows may be behind the log
/// clock.
pub fn kept<T: PartialEq>(asked: BarVersion, stored: Option<(BarVersion, T)>, again: Option<T>) -> Option<Kept> {
    match stored {
        None => Some(Kept::Whole),
        Some((version, _)) if version.last_offset > asked.last_offset => Some(Kept::Superseded),
        Some((_, bar)) => (again == Some(bar)).then_some(Kept::Whole),
    }
}

/// Whether to repeat all queries once before a window is given up.
pub fn ask_again(fates: impl IntoIterator<Item = Fate>, oldest: Option<&Oldest>, is_second: bool) -> bool {
    !is_second && (oldest.is_none() || fates.into_iter().any(|fate| fate == Fate::Missing))
}

#[cfg(test)]
mod tests {
    use domain::{Interval, Window};

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
        assert_eq!(fate(&asked, Some(7), Some(&oldest(0)), None), Fate::Bar);
        assert_eq!(fate(&asked, Some(6), Some(&oldest(0)), None), Fate::Missing);
        assert_eq!(fate(&asked, None, Some(&oldest(0)), None), Fate::Missing);
        assert_eq!(fate(&asked, Some(7), Some(&oldest(3)), None), Fate::Expired);
        assert_eq!(fate(&asked, Some(7), Some(&oldest(3)), Some(Kept::Whole)), Fate::Bar);
        assert_eq!(fate(&asked, None, None, None), Fate::Expired);
    }

    #[test]
    fn a_window_is_whole_if_its_rows_reproduce_its_stored_bar_or_it_has_none() {
        let version = |last_offset| BarVersion {
            last_offset,
            closed: true,
        };
        let kept = |stored, again| kept(version(7), stored, again);
        assert_eq!(kept(None, Some(1)), Some(Kept::Whole));
        assert_eq!(kept(Some((version(7), 1)), Some(1)), Some(Kept::Whole));
        assert_eq!(kept(Some((version(7), 1)), Some(2)), None);
        assert_eq!(kept(Some((version(6), 1)), None), None);
        // The rows of the replaced version may have expired.
        assert_eq!(kept(Some((version(8), 1)), Some(1)), Some(Kept::Superseded));
    }

    #[test]
    fn the_queries_are_repeated_once_for_a_missing_row_or_an_empty_table() {
        let oldest = Oldest {
            offset: 0,
            appended_at: 0,
            ingested_at: 0,
        };
        assert!(!ask_again([Fate::Bar, Fate::Expired], Some(&oldest), false));
        assert!(ask_again([Fate::Bar, Fate::Missing], Some(&oldest), false));
        assert!(!ask_again([Fate::Bar, Fate::Missing], Some(&oldest), true));
        assert!(ask_again([Fate::Expired], None, false));
        assert!(!ask_again([Fate::Expired], None, true));
    }
}
