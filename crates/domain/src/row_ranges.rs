//! Row numbers of a document in as few ranges as possible, as dead letters and replays name them.
//!
//! Written as `0-6499999` or `1,5,7-9`. A shortened list ends in `...`: the other rows are missing.
//! Failure: [`RowRangesError`] if a string is not such a list, or is a cut list where a whole one is required.

use std::fmt::Write;
use std::str::FromStr;

/// A set of row numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowRanges {
    /// First and last row of each range, ascending, never adjacent.
    ranges: Vec<(i32, i32)>,
}

/// A string that is not a list of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RowRangesError {
    /// Contains text other than rows and ranges.
    #[error("expected row numbers and ranges separated by commas, such as 1,5,7-9")]
    NotAList,
    /// The list ends in `...`.
    #[error("the list of rows was cut (it ends in ...), so it does not name them all")]
    Cut,
}

impl RowRanges {
    /// No row.
    pub const NONE: &RowRanges = &RowRanges { ranges: Vec::new() };
    /// The end of a list that was cut.
    pub const CUT: &str = "...";

    /// Adds a row; cheap if rows come in ascending order.
    pub fn push(&mut self, row: i32) {
        match self.ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(row) => *last = row,
            Some((_, last)) if *last >= row => {
                let mut ranges = std::mem::take(&mut self.ranges);
                ranges.push((row, row));
                *self = RowRanges::merged(ranges);
            }
            _ => self.ranges.push((row, row)),
        }
    }

    /// Number of rows.
    pub fn len(&self) -> u64 {
        self.below(i32::MAX) + u64::from(self.contains(i32::MAX))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// First and last row of each range, ascending.
    pub fn ranges(&self) -> &[(i32, i32)] {
        &self.ranges
    }

    /// Number of rows below this one.
    pub fn below(&self, row: i32) -> u64 {
        self.ranges
            .iter()
            .map(|(first, last)| {
                let end = i64::from(*last) + 1;
                u64::try_from(end.min(i64::from(row)) - i64::from(*first)).unwrap_or(0)
            })
            .sum()
    }

    /// Whether the row is in the set.
    pub fn contains(&self, row: i32) -> bool {
        let next = self.ranges.partition_point(|(first, _)| *first <= row);
        next.checked_sub(1)
            .and_then(|at| self.ranges.get(at))
            .is_some_and(|(_, last)| row <= *last)
    }

    /// Whether the ranges of the other set are the first ones of this set, as in a cut list.
    pub fn starts_with(&self, other: &RowRanges) -> bool {
        self.ranges.starts_with(&other.ranges)
    }

    /// The list, in at most `limit` bytes: ranges that do not fit are replaced by `...`.
    pub fn text(&self, limit: usize) -> String {
        let mut text = String::new();
        for (index, (first, last)) in self.ranges.iter().enumerate() {
            let before = text.len();
            let comma = if before == 0 { "" } else { "," };
            // Writing to a string cannot fail.
            _ = match first == last {
                true => write!(text, "{comma}{first}"),
                false => write!(text, "{comma}{first}-{last}"),
            };
            let is_last = index + 1 == self.ranges.len();
            let reserve = if is_last { 0 } else { RowRanges::CUT.len() + 1 };
            if text.len() + reserve > limit {
                text.truncate(before);
                text.push_str(if before == 0 { "" } else { "," });
                text.push_str(RowRanges::CUT);
                return text;
            }
        }
        text
    }

    /// Parses a list; also returns whether it was cut.
    ///
    /// # Errors
    /// [`RowRangesError::NotAList`].
    pub fn read(text: &str) -> Result<(RowRanges, bool), RowRangesError> {
        let (whole, is_cut) = match text.strip_suffix(RowRanges::CUT) {
            Some(rest) => (rest.strip_suffix(',').unwrap_or(rest), true),
            None => (text, false),
        };
        if whole.is_empty() {
            return Ok((RowRanges::default(), is_cut));
        }
        let ranges: Option<Vec<(i32, i32)>> = whole.split(',').map(range).collect();
        let ranges = ranges.ok_or(RowRangesError::NotAList)?;
        Ok((RowRanges::merged(ranges), is_cut))
    }

    fn merged(mut ranges: Vec<(i32, i32)>) -> RowRanges {
        ranges.sort_unstable();
        let mut merged: Vec<(i32, i32)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        RowRanges { ranges: merged }
    }
}

impl FromStr for RowRanges {
    type Err = RowRangesError;

    fn from_str(text: &str) -> Result<RowRanges, RowRangesError> {
        match RowRanges::read(text)? {
            (rows, false) => Ok(rows),
            (_, true) => Err(RowRangesError::Cut),
        }
    }
}

impl FromIterator<i32> for RowRanges {
    fn from_iter<T: IntoIterator<Item = i32>>(rows: T) -> RowRanges {
        RowRanges::merged(rows.into_iter().map(|row| (row, row)).collect())
    }
}

// Rows are not negative, so a minus sign always belongs to a range.
fn range(text: &str) -> Option<(i32, i32)> {
    let row = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<i32>().ok()).flatten()
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (row(first)?, row(last)?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_run_of_any_length_is_one_range() {
        let rows: RowRanges = (0..6_500_000).collect();
        assert_eq!((rows.text(100).as_str(), rows.len()), ("0-6499999", 6_500_000));
        let mut rows = RowRanges::default();
        [1, 5, 7, 8, 9].into_iter().for_each(|row| rows.push(row));
        assert_eq!(rows.text(100), "1,5,7-9");
    }

    #[test]
    fn text_that_is_not_a_list_is_refused() {
        for text in [
            "x",
            "1,",
            ",1",
            "1-",
            "-1",
            "3-1",
            "1 ,2",
            "+1",
            "2147483648",
            "1--2",
            "1-2-3",
        ] {
            assert_eq!(text.parse::<RowRanges>(), Err(RowRangesError::NotAList), "{text}");
        }
        assert_eq!("1,...".parse::<RowRanges>(), Err(RowRangesError::Cut));
        assert_eq!("".parse(), Ok(RowRanges::default()));
    }

    proptest! {
        #[test]
        fn ranges_are_the_set_of_their_rows(rows in prop::collection::vec(0i32..60, 0..40), probe in 0i32..60) {
            let set: BTreeSet<i32> = rows.iter().copied().collect();
            let mut pushed = RowRanges::default();
            rows.iter().for_each(|row| pushed.push(*row));
            let collected: RowRanges = rows.iter().copied().collect();
            prop_assert_eq!(&pushed, &collected);
            prop_assert_eq!(pushed.len(), set.len() as u64);
            prop_assert_eq!(pushed.contains(probe), set.contains(&probe));
            prop_assert_eq!(pushed.below(probe), set.range(..probe).count() as u64);
            prop_assert_eq!(pushed.text(usize::MAX).parse(), Ok(pushed.clone()));
            let listed: Vec<String> = rows.iter().map(i32::to_string).collect();
            prop_assert_eq!(listed.join(",").parse(), Ok(pushed));
        }

        #[test]
        fn a_list_that_is_too_long_keeps_whole_ranges_and_is_marked_as_cut(
            rows in prop::collection::vec(0i32..10_000, 1..60),
            limit in 4usize..200,
        ) {
            let all: RowRanges = rows.into_iter().collect();
            let text = all.text(limit);
            prop_assert!(text.len() <= limit);
            let (kept, is_cut) = RowRanges::read(&text).unwrap();
            prop_assert!(all.starts_with(&kept));
            prop_assert_eq!(is_cut, kept != all);
            prop_assert_eq!(is_cut, all.text(usize::MAX).len() > limit);
        }
    }
}
