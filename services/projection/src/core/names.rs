//! Names that very many instruments share: each combination is kept once.
//!
//! Invariant: a combination that no instrument has any more is given back, at the latest when twice as many are known as
//! were in use the last time.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

/// Feed, market, product, currency, unit.
#[derive(Debug, PartialEq, Eq)]
pub struct Names([Box<str>; 5]);

impl Names {
    /// Whether they are these.
    pub fn are(&self, names: &[&str; 5]) -> bool {
        self.0.iter().zip(names).all(|(own, name)| **own == **name)
    }

    /// The feed.
    pub fn feed(&self) -> &str {
        let [feed, ..] = &self.0;
        feed
    }

    /// All of them, in the order of their declaration.
    pub fn all(&self) -> [&str; 5] {
        self.0.each_ref().map(|name| &**name)
    }
}

/// Combinations in use.
#[derive(Debug)]
pub struct SharedNames {
    known: HashTable<Arc<Names>>,
    /// So many are looked through for those that nobody has any more.
    sweep_at: usize,
}

/// Below this number nothing is looked through.
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
    /// The one copy of these names.
    pub fn share(&mut self, names: [&str; 5]) -> Arc<Names> {
        let hashed = hash(names);
        if let Some(known) = self.known.find(hashed, |known| known.are(&names)) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            self.sweep_at = (self.known.len() * 2).max(FEW);
        }
        let made = Arc::new(Names(names.map(Box::from)));
        self.known
            .insert_unique(hashed, Arc::clone(&made), |known| hash(known.all()));
        made
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
    fn equal_names_are_kept_once_and_given_back_when_nobody_has_them() {
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
