//! The texts of the prices of a series, or of the quotes of a curve, stored once.
//!
//! Invariant: a text that no price has any more is dropped, so that memory follows the prices that are kept, not all that producers ever wrote.

use std::collections::BTreeSet;
use std::sync::Arc;

/// Unused texts that are looked for at the earliest.
const FEW: usize = 16;

/// Feeds, currencies and units.
#[derive(Debug, Clone, Default)]
pub(crate) struct Texts {
    known: BTreeSet<Arc<str>>,
    /// Number of texts that were used when unused ones were dropped last.
    used: usize,
}

impl Texts {
    /// The text, stored once.
    pub(crate) fn kept(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.known.get(text) {
            return Arc::clone(known);
        }
        // Looked for when their number has doubled, so that each text costs little.
        if self.known.len() >= FEW.max(2 * self.used) {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            self.used = self.known.len();
        }
        let new: Arc<str> = text.into();
        self.known.insert(Arc::clone(&new));
        new
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}
