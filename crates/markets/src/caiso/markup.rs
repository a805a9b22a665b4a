//! The markup of a row of a report in XML: its text around the texts of its elements.
//!
//! Role: the rows of a report differ in these texts only. So a row is compared with the markup of an earlier one, which quick-xml has
//! read, and its texts are taken from between.
//! Invariant: a row that has the markup has the texts that quick-xml finds. Any other row, and each with an entity, a comment or
//! CDATA where its texts are, is left to quick-xml.
//! Failure: none; what is wrong with a row is told by quick-xml.

use std::ops::Range;

use memchr::memchr2;

/// Number of texts of a row.
pub(super) const TEXTS: usize = 7;
/// Those that name an interval: day, hour, start and end.
const OF_INTERVAL: Range<usize> = 2..6;
/// Longest text of one element. The longest known is a disclaimer.
pub(super) const LONGEST: usize = 64 * 1024;

/// The markup of one row.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Markup<'a> {
    /// The markup before each text, which is the end of the row before for the first one, and the number of the text.
    before: Vec<(&'a str, usize)>,
    after: &'a str,
    /// The places, in `before`, of the first and the last text of the interval, if they follow each other.
    interval: Option<(usize, usize)>,
    /// Number of open elements around the row.
    pub depth: usize,
}

/// A row with a known markup.
pub(super) struct Alike<'a> {
    /// Those that it does not have are empty.
    pub texts: [&'a str; TEXTS],
    /// The texts of the interval with the markup between them, if they follow each other.
    pub interval: Option<&'a str>,
    /// Where the row ends.
    pub length: usize,
}

impl<'a> Markup<'a> {
    /// Reads the row at the beginning of a text, if it has this markup.
    pub(super) fn read(&self, text: &'a str) -> Option<Alike<'a>> {
        let mut texts = [""; TEXTS];
        let (mut rest, mut interval) = (text, 0..0);
        for (place, (markup, number)) in self.before.iter().enumerate() {
            let inner = rest.strip_prefix(markup)?;
            // The markup that follows begins with the bracket: it does not fit an entity.
            let length = memchr2(b'<', b'&', inner.as_bytes()).filter(|length| *length <= LONGEST)?;
            let (written, after) = inner.split_at_checked(length)?;
            *texts.get_mut(*number)? = written;
            match self.interval {
                Some((first, _)) if first == place => interval.start = text.len() - inner.len(),
                Some((_, last)) if last == place => interval.end = text.len() - after.len(),
                _ => {}
            }
            rest = after;
        }
        let rest = rest.strip_prefix(self.after)?;
        Some(Alike {
            texts,
            interval: self.interval.and_then(|_| text.get(interval)),
            length: text.len() - rest.len(),
        })
    }
}

/// What quick-xml has read since the end of the row before.
#[derive(Debug, Default)]
pub(super) struct Seen {
    start: usize,
    /// Where each text is, and its number.
    texts: Vec<(Range<usize>, usize)>,
    is_other: bool,
}

impl Seen {
    /// Begins at this place of the document.
    pub(super) fn begin(&mut self, start: usize) {
        self.start = start;
        self.texts.clear();
        self.is_other = false;
    }

    /// Adds a text of a row.
    pub(super) fn text(&mut self, place: Range<usize>, number: usize) {
        self.is_other |= number >= TEXTS || self.texts.iter().any(|(_, other)| *other == number);
        self.texts.push((place, number));
    }

    /// Says that there is something else than elements and their texts, or an element that is not one of a row.
    pub(super) fn other(&mut self) {
        self.is_other = true;
    }

    /// The markup of the row that ends here.
    pub(super) fn markup<'a>(&self, document: &'a str, end: usize, depth: usize) -> Option<Markup<'a>> {
        if self.is_other || self.texts.is_empty() {
            return None;
        }
        let (mut before, mut start) = (Vec::with_capacity(self.texts.len()), self.start);
        for (place, number) in &self.texts {
            before.push((document.get(start..place.start)?, *number));
            start = place.end;
        }
        let is_of_interval = |(_, number): &(&str, usize)| OF_INTERVAL.contains(number);
        let first = before.iter().position(is_of_interval);
        let last = before.iter().rposition(is_of_interval);
        let interval = first
            .zip(last)
            .filter(|(first, last)| last - first + 1 == OF_INTERVAL.len());
        let after = document.get(start..end)?;
        // Each text must end at markup.
        let is_closed = |markup: &str| markup.starts_with('<');
        let are_closed = before.iter().skip(1).all(|(markup, _)| is_closed(markup)) && is_closed(after);
        are_closed.then_some(Markup {
            interval: interval.filter(|(first, last)| {
                before
                    .get(*first..=*last)
                    .is_some_and(|all| all.iter().all(is_of_interval))
            }),
            before,
            after,
            depth,
        })
    }
}
