//! Names that many instruments share: each combination is stored once.
//!
//! Invariant: a combination that no instrument uses any more is freed, at the latest when there are twice as many
//! combinations as were in use after the last sweep.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

/// Feed, market, product, currency, unit.
#[derive(Debug, PartialEq, Eq)]
pub struct Names([Box<str>; 5]);

impl Names {
    /// Whether these are the names.
    pub fn are(&self, names: &[&str; 5]) -> bool {
        self.0.iter().zip(names).all(|(own, name)| **own == **name)
    }

    /// The feed.
    pub fn feed(&self) -> &str {
        let [feed, ..] = &self.0;
        feed
    }

    /// All names, in the order above.
    pub fn all(&self) -> [&str; 5] {
        self.0.each_ref().map(|name| &**name)
    }
}

/// Combinations in use.
#[derive(Debug)]
pub struct SharedNames {
    known: HashTable<Arc<Names>>,
    /// Number of combinations at which unused ones are freed.
    sweep_at: usize,
}

/// Below this number nothing is freed.
const FEW: usize = 1024;

impl Default for SharedNames {
    fn default() -> SharedNames {
        SharedNames {
            known: HashTable::new(),
            sweep_at: FEW,
        }
    }
}

impl SharedNames {
    /// The shared copy of these names.
    pub fn share(&mut self, names: [&str; 5]) -> Arc<Names> {
        let hashed = hash(names);
        if let Some(known) = self.known.find(hashed, |known| known.are(&names)) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            self.sweep_at = (self.known.len() * 2).max(FEW);
        }
        let new = Arc::new(Names(names.map(Box::from)));
        self.known
            .insert_unique(hashed, Arc::clone(&new), |known| hash(known.all()));
        new
    }
}

fn hash(names: [&str; 5]) -> u64 {
    let mut hasher = FxBuildHasher.build_hasher();
    for name in names {
        hasher.write(name.as_bytes());
        hasher.write_u8(0xff);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_are_stored_once_and_freed_when_unused() {
        let mut shared = SharedNames::default();
        let kept = shared.share(["f", "MISO", "rt5", "USD", "MWh"]);
        assert!(Arc::ptr_eq(&kept, &shared.share(["f", "MISO", "rt5", "USD", "MWh"])));
        assert!(!Arc::ptr_eq(&kept, &shared.share(["fM", "ISO", "rt5", "USD", "MWh"])));
        for number in 0..10 * FEW {
            shared.share(["f", "MISO", "rt5", "USD", &number.to_string()]);
        }
        assert!(shared.known.len() <= FEW, "{} are kept", shared.known.len());
        assert!(Arc::ptr_eq(&kept, &shared.share(["f", "MISO", "rt5", "USD", "MWh"])));
    }
}
