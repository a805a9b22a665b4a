//! `LowCardinality` columns: each text once, then a number for each row.
//!
//! The bytes: the version of the format, the width of the numbers with two flags (the keys are in this block, and replace
//! earlier ones), the number of keys, the keys, the number of rows, the numbers.

use std::hash::{BuildHasher, BuildHasherDefault};

use hashbrown::HashTable;
use rustc_hash::FxHasher;

use super::text;

const VERSION: u64 = 1;
const HAS_KEYS: u64 = 1 << 9;
const NEW_DICTIONARY: u64 = 1 << 10;

/// The values of one column. Of a nullable one, key 0 stands for null.
#[derive(Debug, Clone)]
pub(super) struct Dictionary {
    is_nullable: bool,
    /// Keys with their lengths, as they are sent.
    keys: Vec<u8>,
    /// Where the text of each key lies in `keys`.
    places: Vec<(u32, u32)>,
    by_text: HashTable<u32>,
    /// The key of each row.
    rows: Vec<u32>,
}

type Hasher = BuildHasherDefault<FxHasher>;

impl Dictionary {
    pub(super) fn new(is_nullable: bool) -> Dictionary {
        let mut dictionary = Dictionary {
            is_nullable,
            keys: Vec::new(),
            places: Vec::new(),
            by_text: HashTable::new(),
            rows: Vec::new(),
        };
        dictionary.clear();
        dictionary
    }

    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.places.clear();
        self.by_text.clear();
        self.rows.clear();
        if self.is_nullable {
            self.append(b"");
        }
    }

    #[inline]
    pub(super) fn push(&mut self, value: Option<&[u8]>) {
        let key = match value {
            None => 0,
            // Rows of one instrument often follow each other, and markets and units hardly change.
            Some(value) => match self.rows.last() {
                Some(&last) if !self.is_null(last) && self.is_at(last, value) => last,
                _ => self.key(value),
            },
        };
        self.rows.push(key);
    }

    fn is_null(&self, key: u32) -> bool {
        self.is_nullable && key == 0
    }

    fn is_at(&self, key: u32, value: &[u8]) -> bool {
        text_of(&self.keys, &self.places, key) == Some(value)
    }

    fn key(&mut self, value: &[u8]) -> u32 {
        let hash = hash_of(value);
        let (keys, places) = (&self.keys, &self.places);
        if let Some(&key) = self
            .by_text
            .find(hash, |&key| text_of(keys, places, key) == Some(value))
        {
            return key;
        }
        let key = self.append(value);
        let (keys, places) = (&self.keys, &self.places);
        let rehash = |&key: &u32| text_of(keys, places, key).map_or(0, hash_of);
        self.by_text.insert_unique(hash, key, rehash);
        key
    }

    /// A batch is bounded by a million rows and some megabytes, so 32 bits suffice.
    fn append(&mut self, value: &[u8]) -> u32 {
        text(value, &mut self.keys);
        let end = self.keys.len();
        self.places.push(((end - value.len()) as u32, end as u32));
        (self.places.len() - 1) as u32
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let int64 = |value: u64, out: &mut Vec<u8>| out.extend_from_slice(&value.to_le_bytes());
        let count = self.places.len();
        let width: u64 = match count {
            0..=0x100 => 0,
            0x101..=0x1_0000 => 1,
            _ => 2,
        };
        int64(VERSION, out);
        int64(width | HAS_KEYS | NEW_DICTIONARY, out);
        int64(count as u64, out);
        out.extend_from_slice(&self.keys);
        int64(self.rows.len() as u64, out);
        match width {
            0 => out.extend(self.rows.iter().map(|&key| key as u8)),
            1 => self
                .rows
                .iter()
                .for_each(|&key| out.extend_from_slice(&(key as u16).to_le_bytes())),
            _ => self
                .rows
                .iter()
                .for_each(|&key| out.extend_from_slice(&key.to_le_bytes())),
        }
    }
}

#[inline]
fn text_of<'k>(keys: &'k [u8], places: &[(u32, u32)], key: u32) -> Option<&'k [u8]> {
    let &(start, end) = places.get(key as usize)?;
    keys.get(start as usize..end as usize)
}

#[inline]
fn hash_of(value: &[u8]) -> u64 {
    Hasher::default().hash_one(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_not_the_empty_text() {
        let mut names = Dictionary::new(true);
        for value in [None, Some(&b""[..]), None, Some(&b"X"[..]), Some(&b""[..])] {
            names.push(value);
        }
        assert_eq!(names.rows, [0, 1, 0, 2, 1]);
    }

    #[test]
    fn numbers_widen_with_the_number_of_keys() {
        for (keys, width) in [(256, 1), (257, 2), (65_536, 2), (65_537, 4)] {
            let mut names = Dictionary::new(false);
            for key in 0..keys {
                names.push(Some(format!("{key:05}").as_bytes()));
            }
            let mut out = Vec::new();
            names.write(&mut out);
            assert_eq!(out.len(), 32 + keys * 6 + keys * width, "{keys} keys");
        }
    }
}
