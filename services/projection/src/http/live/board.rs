//! Which prices clients watch, and the newest text of each.
//!
//! Role: pure. The watcher writes what it reads from Redis, each connection asks for what is newer than the last it has sent.
//! Invariant: a slow client gets fewer updates, never an older one after a newer one, and memory is bounded by the
//! subscriptions: only the newest text is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The latest price of an instrument of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watched {
    /// Tenant.
    pub tenant_id: String,
    /// Instrument.
    pub instrument_id: String,
}

#[derive(Debug, Default)]
struct Entry {
    watchers: usize,
    text: Option<Arc<str>>,
    version: u64,
}

/// The watched prices.
#[derive(Debug, Default)]
pub struct Board {
    entries: BTreeMap<Watched, Entry>,
    version: u64,
}

impl Board {
    /// One more client watches the price.
    pub fn watch(&mut self, watched: &Watched) {
        self.entries.entry(watched.clone()).or_default().watchers += 1;
    }

    /// One client less; the last one removes the price.
    pub fn unwatch(&mut self, watched: &Watched) {
        if let Some(entry) = self.entries.get_mut(watched) {
            entry.watchers = entry.watchers.saturating_sub(1);
            if entry.watchers == 0 {
                self.entries.remove(watched);
            }
        }
    }

    /// Everything that is watched.
    pub fn watched(&self) -> Vec<Watched> {
        self.entries.keys().cloned().collect()
    }

    /// Takes the text that was read; `None` if there is no price. Returns whether it is new.
    pub fn read(&mut self, watched: &Watched, text: Option<&str>) -> bool {
        let (Some(entry), Some(text)) = (self.entries.get_mut(watched), text) else {
            return false;
        };
        if entry.text.as_deref() == Some(text) {
            return false;
        }
        self.version += 1;
        entry.text = Some(Arc::from(text));
        entry.version = self.version;
        true
    }

    /// The text of the price and its version, if it is newer than `version`.
    pub fn newer(&self, watched: &Watched, version: u64) -> Option<(u64, Arc<str>)> {
        let entry = self.entries.get(watched).filter(|entry| entry.version > version)?;
        Some((entry.version, entry.text.clone()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(instrument_id: &str) -> Watched {
        Watched {
            tenant_id: "t".to_owned(),
            instrument_id: instrument_id.to_owned(),
        }
    }

    #[test]
    fn a_client_gets_what_is_newer_than_the_last_it_has_seen_and_only_that() {
        let (mut board, a, b) = (Board::default(), of("A"), of("B"));
        board.watch(&a);
        assert!(board.newer(&a, 0).is_none());
        assert!(board.read(&a, Some("1")) && !board.read(&a, Some("1")) && !board.read(&a, None));
        let (first, text) = board.newer(&a, 0).unwrap_or_default();
        assert_eq!((first, &*text), (1, "1"));
        assert!(board.newer(&a, first).is_none());
        // Two changes while the client was busy: it gets the newest.
        board.read(&a, Some("2"));
        board.read(&a, Some("3"));
        assert_eq!(
            board.newer(&a, first).map(|(_, text)| text.to_string()).as_deref(),
            Some("3")
        );
        // What nobody watches is not kept.
        assert!(!board.read(&b, Some("1")) && board.newer(&b, 0).is_none());
    }

    #[test]
    fn a_price_is_watched_until_its_last_client_leaves() {
        let (mut board, a) = (Board::default(), of("A"));
        board.watch(&a);
        board.watch(&a);
        board.read(&a, Some("1"));
        board.unwatch(&a);
        assert_eq!(board.watched(), std::slice::from_ref(&a));
        board.unwatch(&a);
        board.unwatch(&a);
        assert!(board.watched().is_empty() && board.newer(&a, 0).is_none());
    }
}
