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
    /// Reads the row at the beginning of a text, if it has this markup. If its interval has the text that is expected, which is one of
    /// a row with this markup, its four texts are left empty.
    pub(super) fn read(&self, text: &'a str, expected: Option<&str>) -> Option<Alike<'a>> {
        let mut texts = [""; TEXTS];
        let (mut rest, mut interval) = (text, 0..0);
        let mut pieces = self.before.iter().enumerate();
        while let Some((place, (markup, number))) = pieces.next() {
            let inner = rest.strip_prefix(markup)?;
            if let Some((first, last)) = self.interval
                && first == place
            {
                interval.start = text.len() - inner.len();
                // The markup that follows shows that the last of its texts ends there.
                if let Some(after) = expected.and_then(|expected| inner.strip_prefix(expected)) {
                    interval.end = text.len() - after.len();
                    rest = after;
                    pieces.nth(last - first - 1);
                    continue;
                }
            }
            // The markup that follows begins with the bracket: it does not fit an entity.
            let length = memchr2(b'<', b'&', inner.as_bytes()).filter(|length| *length <= LONGEST)?;
            let (written, after) = inner.split_at_checked(length)?;
            *texts.get_mut(*number)? = written;
            if self.interval.is_some_and(|(_, last)| last == place) {
                interval.end = text.len() - after.len();
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

/// What quick-xml has read since the last row of an item: the end of this item, and the beginning and the header of the next one, if
/// nothing else. Then the same text, right behind the rows of that next item, is the same end and the same header again.
#[derive(Debug, Default)]
pub(super) struct Between {
    start: usize,
    /// Number of open elements around the rows.
    depth: usize,
    /// The name of the item that has ended, as written.
    name: Vec<u8>,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Step {
    /// Something else has been read.
    #[default]
    Other,
    Rows,
    Ended,
    Begun,
}

impl Between {
    /// Begins behind a row.
    pub(super) fn begin(&mut self, start: usize, depth: usize) {
        (self.start, self.depth, self.step) = (start, depth, Step::Rows);
    }

    /// An element begins, inside of as many others. `is_item` is `None` if it is neither an item nor one that a header may have.
    pub(super) fn element(&mut self, name: &[u8], is_item: Option<bool>, depth: usize) {
        self.step = match (self.step, is_item) {
            (Step::Ended, Some(true)) if depth + 1 == self.depth && self.name == name => Step::Begun,
            (Step::Begun, Some(false)) => Step::Begun,
            _ => Step::Other,
        };
    }

    /// An element ends, inside of as many others.
    pub(super) fn end(&mut self, name: &[u8], depth: usize) {
        self.step = match self.step {
            Step::Rows if depth + 1 == self.depth => {
                self.name.clear();
                self.name.extend(name);
                Step::Ended
            }
            Step::Begun if depth >= self.depth => Step::Begun,
            _ => Step::Other,
        };
    }

    /// Says that there is something else than elements and their texts.
    pub(super) fn other(&mut self) {
        self.step = Step::Other;
    }

    /// The text between the rows of two items, if a row begins here, inside of as many elements.
    pub(super) fn text<'a>(&self, document: &'a str, end: usize, depth: usize) -> Option<&'a str> {
        let is_all = self.step == Step::Begun && depth == self.depth;
        document.get(self.start..end).filter(|_| is_all)
    }
}
