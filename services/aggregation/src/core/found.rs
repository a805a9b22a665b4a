//! What the answer to a statement means for each window that it asked for. Pure.
//!
//! Invariant: rows land in order, so an answer that holds the row of the late tick holds all rows before it, unless older ones
//! have expired, which the oldest row says that is left after the statement.
//! Failure: a table that is dropped and written again loses nothing, so its windows wait. Before a window is given up for a
//! missing row, or an empty table, all is asked again, how far the table is included.

use domain::{AskedWindow, BarVersion};
use stores::Oldest;

use super::restate::has_expired;

/// What becomes of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its bar is that of the answer.
    Bar,
    /// Rows of it may have expired.
    Expired,
    /// It needs nothing: a newer version of its bar is stored.
    Superseded,
    /// The answer lacks the row of the late tick: once all was asked again, it is none of this window. The bar of the rows
    /// before it is right still, with the version of the last of them.
    Missing,
}

/// That of this window. `last_offset` is that of the last row in the answer, `oldest` the partition's oldest row, asked for
/// after the statement: what has expired by then may have been missing in it. `kept` is what the table of bars says then.
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

/// What the table of bars says of a window of whose time rows have expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// No row that matters is gone.
    Whole,
    /// A newer version is stored.
    Superseded,
}

/// A window has what it needs where the rows that are left make its newest stored bar again, or where it never had one: a row
/// expires a year after its bar was stored, or goes along with that. `None` where rows are missing.
///
/// Only for windows that had closed before the oldest row: of others the clock of the rows that are left says less than that
/// of the log.
pub fn kept<T: PartialEq>(asked: BarVersion, stored: Option<(BarVersion, T)>, again: Option<T>) -> Option<Kept> {
    match stored {
        None => Some(Kept::Whole),
        Some((version, _)) if version.last_offset > asked.last_offset => Some(Kept::Superseded),
        Some((_, bar)) => (again == Some(bar)).then_some(Kept::Whole),
    }
}

/// Whether all is to be asked once more, before a window of these fates is given up.
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
    fn a_window_is_whole_where_its_rows_make_its_stored_bar_or_it_has_none() {
        let version = |last_offset| BarVersion {
            last_offset,
            closed: true,
        };
        let kept = |stored, again| kept(version(7), stored, again);
        assert_eq!(kept(None, Some(1)), Some(Kept::Whole));
        assert_eq!(kept(Some((version(7), 1)), Some(1)), Some(Kept::Whole));
        assert_eq!(kept(Some((version(7), 1)), Some(2)), None);
        assert_eq!(kept(Some((version(6), 1)), None), None);
        // What the newer version has replaced may be gone.
        assert_eq!(kept(Some((version(8), 1)), Some(1)), Some(Kept::Superseded));
    }

    #[test]
    fn a_missing_row_and_an_empty_table_are_asked_for_twice() {
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
