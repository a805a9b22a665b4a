//! Feed and market names, and the sources of ticks, as small numbers: a window stores three of them, and a partition has
//! few different ones.

/// Number of a string in its [`Texts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TextId(u32);

/// Number of a source in its [`Texts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceId(u32);

/// The source of ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source<'a> {
    /// Raw topic.
    pub feed: &'a str,
    /// Raw partition.
    pub partition: i32,
    /// Whether these ticks have a sequence from their producer.
    pub is_numbered: bool,
}

/// The strings and sources of one partition. It never shrinks: the configuration limits feeds and markets.
#[derive(Debug, Default)]
pub struct Texts {
    texts: Vec<Box<str>>,
    sources: Vec<(TextId, i32, bool)>,
}

impl Texts {
    /// The number of this text; added if it is new.
    pub fn id(&mut self, text: &str) -> TextId {
        let known = self.texts.iter().position(|t| **t == *text);
        let index = known.unwrap_or_else(|| {
            self.texts.push(text.into());
            self.texts.len() - 1
        });
        TextId(index as u32)
    }

    /// The text of this number; empty if the number is unknown.
    pub fn text(&self, id: TextId) -> &str {
        self.texts.get(id.0 as usize).map_or("", |text| text)
    }

    /// The number of this source; added if it is new.
    pub fn source_id(&mut self, source: &Source<'_>) -> SourceId {
        let is_it = |(feed, partition, is_numbered): &(TextId, i32, bool)| {
            *partition == source.partition && *is_numbered == source.is_numbered && self.text(*feed) == source.feed
        };
        let index = self.sources.iter().position(is_it).unwrap_or_else(|| {
            let feed = self.id(source.feed);
            self.sources.push((feed, source.partition, source.is_numbered));
            self.sources.len() - 1
        });
        SourceId(index as u32)
    }

    /// The source of this number; without a name if the number is unknown.
    pub fn source(&self, id: SourceId) -> Source<'_> {
        let known = self.sources.get(id.0 as usize);
        Source {
            feed: known.map_or("", |(feed, _, _)| self.text(*feed)),
            partition: known.map_or(0, |(_, partition, _)| *partition),
            is_numbered: known.is_some_and(|(_, _, is_numbered)| *is_numbered),
        }
    }
}
