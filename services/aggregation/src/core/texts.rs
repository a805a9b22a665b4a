//! Feed and market names as small numbers: a window holds three of them, and a partition sees a handful in its life.

/// Number of a text in its [`Texts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TextId(u32);

/// The texts seen by one partition. Never shrinks: feeds and markets are closed sets of the configuration.
#[derive(Debug, Default)]
pub struct Texts {
    texts: Vec<Box<str>>,
}

impl Texts {
    /// The number of this text, new or known.
    pub fn id(&mut self, text: &str) -> TextId {
        let known = self.texts.iter().position(|t| **t == *text);
        let index = known.unwrap_or_else(|| {
            self.texts.push(text.into());
            self.texts.len() - 1
        });
        TextId(index as u32)
    }

    /// The text of a number given by this table (of a foreign number: empty).
    pub fn text(&self, id: TextId) -> &str {
        self.texts.get(id.0 as usize).map_or("", |text| text)
    }
}
