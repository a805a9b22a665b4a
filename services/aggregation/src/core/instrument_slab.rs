//! The instruments of a partition, in numbered places.
//!
//! Invariants: an instrument is found by tenant and id as two values (INV-10). A place is reused after its instrument is
//! removed, so a number stored elsewhere may later belong to another instrument.
//! Failure: none; a place without an instrument is `None`.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

use super::instrument::Instrument;

/// Number of a place. Memory runs out long before these numbers do.
pub type Place = u32;

/// Up to this many places are never packed.
const FEW: usize = 64;

/// The instruments and their places.
#[derive(Default)]
pub struct Places {
    /// Places by the ids of their instruments; the ids are not stored twice.
    index: HashTable<Place>,
    slots: Vec<Option<Box<Instrument>>>,
    free: Vec<Place>,
}

impl Places {
    /// The place of this instrument.
    pub fn find(&self, tenant_id: &str, instrument_id: &str) -> Option<Place> {
        let ids = (tenant_id, instrument_id);
        let is_it = |place: &Place| at(&self.slots, *place).is_some_and(|found| found.ids() == ids);
        self.index.find(hash(ids), is_it).copied()
    }

    /// Adds an instrument that has no place yet.
    pub fn add(&mut self, instrument: Instrument) -> Place {
        self.put(Box::new(instrument))
    }

    fn put(&mut self, instrument: Box<Instrument>) -> Place {
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as Place
        });
        let hash_of_new = hash(instrument.ids());
        if let Some(slot) = self.slots.get_mut(place as usize) {
            *slot = Some(instrument);
        }
        let slots = &self.slots;
        let hash_of = |place: &Place| at(slots, *place).map_or(0, |known| hash(known.ids()));
        self.index.insert_unique(hash_of_new, place, hash_of);
        place
    }

    /// The instrument at this place.
    #[inline]
    pub fn get(&self, place: Place) -> Option<&Instrument> {
        at(&self.slots, place)
    }

    /// The instrument at this place.
    #[inline]
    pub fn get_mut(&mut self, place: Place) -> Option<&mut Instrument> {
        self.slots.get_mut(place as usize)?.as_deref_mut()
    }

    /// Frees a place.
    pub fn remove(&mut self, place: Place) {
        let Some(removed) = self.slots.get_mut(place as usize).and_then(Option::take) else {
            return;
        };
        if let Ok(entry) = self.index.find_entry(hash(removed.ids()), |known| *known == place) {
            entry.remove();
        }
        self.free.push(place);
    }

    /// All instruments with their places.
    pub fn iter(&self) -> impl Iterator<Item = (Place, &Instrument)> {
        let numbered = (0..).zip(&self.slots);
        numbered.filter_map(|(place, slot)| Some((place, slot.as_deref()?)))
    }

    /// All instruments with their places.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Place, &mut Instrument)> {
        let numbered = (0..).zip(&mut self.slots);
        numbered.filter_map(|(place, slot)| Some((place, slot.as_deref_mut()?)))
    }

    /// Number of instruments.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether most places are free.
    pub fn is_sparse(&self) -> bool {
        self.slots.len() > FEW && self.len() * 4 < self.slots.len()
    }

    /// The same instruments at new places, without free ones.
    pub fn packed(self) -> Places {
        let mut packed = Places {
            index: HashTable::with_capacity(self.len()),
            slots: Vec::with_capacity(self.len()),
            free: Vec::new(),
        };
        for known in self.slots.into_iter().flatten() {
            packed.put(known);
        }
        packed
    }
}

fn at(slots: &[Option<Box<Instrument>>], place: Place) -> Option<&Instrument> {
    slots.get(place as usize)?.as_deref()
}

fn hash(ids: (&str, &str)) -> u64 {
    FxBuildHasher.hash_one(ids)
}
