//! The id of a tick as text, `feed/partition/offset/index`, and the part of the raw log that a repair is limited to. Pure.

use std::collections::BTreeMap;

use domain::RawPosition;
use stream::Partition;

/// A tick by its origin.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TickId {
    /// Raw topic.
    pub feed: String,
    /// Raw partition.
    pub partition: i32,
    /// Place in the partition, and in the message.
    pub position: RawPosition,
}

impl TickId {
    /// Reads an id; `None` if the text is none.
    pub fn parse(text: &str) -> Option<TickId> {
        let mut parts = text.rsplitn(4, '/');
        let index = parts.next()?.parse().ok()?;
        let offset = parts.next()?.parse().ok()?;
        let partition = parts.next()?.parse().ok()?;
        Some(TickId {
            feed: parts.next()?.to_owned(),
            partition,
            position: RawPosition { offset, index },
        })
    }

    /// Its raw partition.
    pub fn place(&self) -> Partition {
        Partition {
            topic: self.feed.as_str().into(),
            number: self.partition,
        }
    }
}

impl std::fmt::Display for TickId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let TickId {
            feed,
            partition,
            position,
        } = self;
        write!(f, "{feed}/{partition}/{}/{}", position.offset, position.index)
    }
}

/// A range of raw messages by append time, as offsets of each raw partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Period(Option<BTreeMap<(String, i32), (i64, i64)>>);

impl Period {
    /// Everything.
    pub fn everything() -> Period {
        Period(None)
    }

    /// These offsets `[from, to)` of raw partitions.
    pub fn of(ranges: impl IntoIterator<Item = ((String, i32), (i64, i64))>) -> Period {
        Period(Some(ranges.into_iter().collect()))
    }

    /// Whether a row that comes from this tick belongs to it. A row of an unknown tick belongs only to everything.
    pub fn contains(&self, tick: &str) -> bool {
        let Some(ranges) = &self.0 else { return true };
        TickId::parse(tick).is_some_and(|tick| {
            ranges
                .get(&(tick.feed, tick.partition))
                .is_some_and(|(from, to)| (*from..*to).contains(&tick.position.offset))
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_from_its_end_because_a_feed_may_contain_the_separator() {
        let tick = TickId::parse("a/b/3/17/2").unwrap();
        assert_eq!((tick.feed.as_str(), tick.partition), ("a/b", 3));
        assert_eq!(tick.position, RawPosition { offset: 17, index: 2 });
        assert_eq!(tick.to_string(), "a/b/3/17/2");
        for text in ["", "a/1/2", "a/1/2/x", "a/x/2/3"] {
            assert_eq!(TickId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_period_has_the_ticks_of_its_offsets_and_no_others() {
        let period = Period::of([(("raw".to_owned(), 0), (5, 7)), (("raw".to_owned(), 1), (0, 1))]);
        let belongs = ["raw/0/5/0", "raw/0/6/9", "raw/1/0/0"];
        let others = ["raw/0/4/0", "raw/0/7/0", "raw/1/1/0", "raw/2/5/0", "other/0/5/0", ""];
        assert!(belongs.iter().all(|tick| period.contains(tick)));
        assert!(!others.iter().any(|tick| period.contains(tick)));
        assert!(others.iter().all(|tick| Period::everything().contains(tick)));
    }
}
