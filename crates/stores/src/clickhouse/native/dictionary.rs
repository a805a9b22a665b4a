//! `LowCardinality` columns: each text once, then a number for each row.
//!
//! The bytes: the version of the format, the width of the numbers with two flags (the keys are in this block, and replace
//! earlier ones), the number of keys, the keys, the number of rows, the numbers.
//! Names mostly repeat that of the row before. Such a row costs one comparison: the numbers of a run are written when it ends.

use std::hash::{BuildHasher, BuildHasherDefault};

use hashbrown::HashTable;
use rustc_hash::FxHasher;

use super::text;

const VERSION: u64 = 1;
const HAS_KEYS: u64 = 1 << 9;
const NEW_DICTIONARY: u64 = 1 << 10;

/// The values of one column.
#[derive(Debug, Clone)]
pub(super) struct Dictionary {
    is_nullable: bool,
    /// Keys with their lengths, as they are sent.
    keys: Vec<u8>,
    /// Where the text of each key lies in `keys`.
    places: Vec<Place>,
    by_text: HashTable<u32>,
    /// The keys of the rows before the run.
    rows: Numbers,
    run: Run,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    start: u32,
    end: u32,
}

/// The value of the rows since it last changed.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// Its number.
    key: u32,
    /// Its length; one that no text has for null, and before the first row.
    length: usize,
    ends: Ends,
    place: Place,
}

const NULL: Run = Run {
    key: 0,
    length: usize::MAX,
    ends: Ends(0, 0),
    place: Place { start: 0, end: 0 },
};
/// Not null, so that a first null counts as a change. Its number is never used, because there are no rows of it.
const NO_ROW: Run = Run {
    length: usize::MAX - 1,
    ..NULL
};

/// The first and the last bytes of a text, which are all of it up to a length of 16. Two words are compared without a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ends(u64, u64);

impl Ends {
    #[inline]
    fn of(text: &[u8]) -> Ends {
        if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
            return Ends(u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        }
        if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
            return Ends(u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into());
        }
        match *text {
            [a] => Ends(a.into(), 0),
            [a, b] => Ends(a.into(), b.into()),
            [a, b, c] => Ends(a.into(), u16::from_le_bytes([b, c]).into()),
            _ => Ends(0, 0),
        }
    }

    const COVER: usize = 16;
}

/// By how much a value has made its column larger, beside its own number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Growth {
    /// Bytes of a new key.
    pub key: usize,
    /// Bytes by which the number of every row is wider now.
    pub each: usize,
}

type Hasher = BuildHasherDefault<FxHasher>;

impl Dictionary {
    pub(super) fn new(is_nullable: bool) -> Dictionary {
        let mut dictionary = Dictionary {
            is_nullable,
            keys: Vec::new(),
            places: Vec::new(),
            by_text: HashTable::new(),
            rows: Numbers::default(),
            run: NO_ROW,
        };
        dictionary.clear();
        dictionary
    }

    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.places.clear();
        self.by_text.clear();
        self.rows.clear();
        self.run = NO_ROW;
        if self.is_nullable {
            self.append(b"");
        }
    }

    /// Bytes that it can take without new memory, about.
    pub(super) fn capacity(&self) -> usize {
        let of_key = size_of::<Place>() + size_of::<u32>();
        self.keys.capacity() + self.places.capacity() * of_key + self.rows.bytes.capacity()
    }

    /// Bytes of a row's number.
    pub(super) fn width(&self) -> usize {
        self.rows.width
    }

    /// Sets the value of the row with this number, after those of all rows before it. Returns by how much the column has grown
    /// beside the row's number.
    #[inline]
    pub(super) fn push(&mut self, value: Option<&[u8]>, row: usize) -> Option<Growth> {
        let is_same = match value {
            Some(value) => self.is_run(value),
            None => self.run.length == NULL.length,
        };
        (!is_same).then(|| self.change(value, row))
    }

    #[inline]
    fn is_run(&self, value: &[u8]) -> bool {
        let Run {
            length, ends, place, ..
        } = self.run;
        value.len() == length
            && ends == Ends::of(value)
            && (length <= Ends::COVER || text_at(&self.keys, place) == Some(value))
    }

    #[inline(never)]
    fn change(&mut self, value: Option<&[u8]>, row: usize) -> Growth {
        self.rows.fill(self.run.key, row);
        let before = (self.keys.len(), self.rows.width);
        self.run = match value {
            None => NULL,
            Some(value) => {
                let key = self.key(value);
                Run {
                    key,
                    length: value.len(),
                    ends: Ends::of(value),
                    place: self.places.get(key as usize).copied().unwrap_or_default(),
                }
            }
        };
        self.rows.hold(self.places.len());
        Growth {
            key: self.keys.len() - before.0,
            each: self.rows.width - before.1,
        }
    }

    fn key(&mut self, value: &[u8]) -> u32 {
        let hash = hash_of(value);
        let (keys, places) = (&self.keys, &self.places);
        let is_its = |&key: &u32| text_of(keys, places, key) == Some(value);
        if let Some(&key) = self.by_text.find(hash, is_its) {
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
        self.places.push(Place {
            start: (end - value.len()) as u32,
            end: end as u32,
        });
        (self.places.len() - 1) as u32
    }

    /// What precedes the keys of an array, and the sizes of the arrays come after it.
    pub(super) fn write_version(out: &mut Vec<u8>) {
        out.extend_from_slice(&VERSION.to_le_bytes());
    }

    /// The column of so many rows, without the version.
    pub(super) fn write(&self, rows: usize, out: &mut Vec<u8>) {
        let int64 = |value: u64, out: &mut Vec<u8>| out.extend_from_slice(&value.to_le_bytes());
        int64(self.rows.code() | HAS_KEYS | NEW_DICTIONARY, out);
        int64(self.places.len() as u64, out);
        out.extend_from_slice(&self.keys);
        int64(rows as u64, out);
        self.rows.write(self.run.key, rows, out);
    }
}

/// Numbers of 1, 2 or 4 bytes.
#[derive(Debug, Clone)]
struct Numbers {
    width: usize,
    bytes: Vec<u8>,
}

impl Default for Numbers {
    fn default() -> Numbers {
        Numbers {
            width: 1,
            bytes: Vec::new(),
        }
    }
}

impl Numbers {
    fn clear(&mut self) {
        self.width = 1;
        self.bytes.clear();
    }

    /// How the format names the width.
    fn code(&self) -> u64 {
        match self.width {
            1 => 0,
            2 => 1,
            _ => 2,
        }
    }

    /// Repeats the number until there are so many.
    #[inline]
    fn fill(&mut self, number: u32, until: usize) {
        let missing = until.saturating_sub(self.bytes.len() / self.width);
        append(number, missing, self.width, &mut self.bytes);
    }

    /// Widens all numbers if there are more keys than they can hold.
    #[inline]
    fn hold(&mut self, keys: usize) {
        let width = match keys {
            0..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            _ => 4,
        };
        if width > self.width {
            self.widen(width);
        }
    }

    #[cold]
    fn widen(&mut self, width: usize) {
        let mut bytes = Vec::with_capacity(self.bytes.len() / self.width * width);
        for number in self.bytes.chunks_exact(self.width) {
            bytes.extend_from_slice(number);
            bytes.resize(bytes.len() + width - self.width, 0);
        }
        *self = Numbers { width, bytes };
    }

    /// The numbers, then the last one until there are so many.
    fn write(&self, last: u32, until: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
        let missing = until.saturating_sub(self.bytes.len() / self.width);
        append(last, missing, self.width, out);
    }
}

#[inline]
fn append(number: u32, times: usize, width: usize, out: &mut Vec<u8>) {
    let bytes = number.to_le_bytes();
    match (width, bytes) {
        (1, [byte, ..]) => out.resize(out.len() + times, byte),
        (2, [low, high, ..]) => (0..times).for_each(|_| out.extend_from_slice(&[low, high])),
        _ => (0..times).for_each(|_| out.extend_from_slice(&bytes)),
    }
}

#[inline]
fn text_at(keys: &[u8], place: Place) -> Option<&[u8]> {
    keys.get(place.start as usize..place.end as usize)
}

#[inline]
fn text_of<'k>(keys: &'k [u8], places: &[Place], key: u32) -> Option<&'k [u8]> {
    text_at(keys, *places.get(key as usize)?)
}

#[inline]
fn hash_of(value: &[u8]) -> u64 {
    Hasher::default().hash_one(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(names: &Dictionary, rows: usize) -> Vec<u8> {
        let mut out = Vec::new();
        names.rows.write(names.run.key, rows, &mut out);
        out
    }

    #[test]
    fn null_is_not_the_empty_text() {
        let mut names = Dictionary::new(true);
        for (row, value) in [None, Some(&b""[..]), None, Some(&b"X"[..]), Some(&b""[..])]
            .into_iter()
            .enumerate()
        {
            names.push(value, row);
        }
        assert_eq!(numbers(&names, 5), [0, 1, 0, 2, 1]);
    }

    #[test]
    fn a_run_lasts_until_the_value_changes() {
        let mut names = Dictionary::new(false);
        for (row, value) in ["a", "a", "b", "b", "b", "a", "a"].into_iter().enumerate() {
            names.push(Some(value.as_bytes()), row);
        }
        assert_eq!(numbers(&names, 7), [0, 0, 1, 1, 1, 0, 0]);
    }

    #[test]
    fn a_cleared_dictionary_does_not_know_its_last_value() {
        let mut names = Dictionary::new(true);
        for (row, value) in [Some(&b"a"[..]), Some(b"b"), None].into_iter().enumerate() {
            names.push(value, row);
        }
        for value in [Some(&b"b"[..]), None] {
            names.clear();
            names.push(value, 0);
            let mut new = Dictionary::new(true);
            new.push(value, 0);
            let (mut cleared, mut expected) = (Vec::new(), Vec::new());
            names.write(1, &mut cleared);
            new.write(1, &mut expected);
            assert_eq!(cleared, expected);
        }
        let mut names = Dictionary::new(false);
        names.push(Some(b"b"), 0);
        names.clear();
        assert!(!names.is_run(b"b"));
    }

    #[test]
    fn names_of_every_length_are_told_apart_in_every_byte() {
        for length in 0..40 {
            let mut names = Dictionary::new(false);
            let name = vec![b'x'; length];
            names.push(Some(&name), 0);
            assert!(names.is_run(&name));
            assert!(!names.is_run(&vec![b'x'; length + 1]));
            for at in 0..length {
                let mut other = name.clone();
                other[at] = b'y';
                assert!(!names.is_run(&other), "byte {at} of {length}");
            }
        }
    }

    #[test]
    fn numbers_widen_with_the_number_of_keys() {
        for (keys, width) in [(256, 1), (257, 2), (65_536, 2), (65_537, 4)] {
            let (mut names, mut size) = (Dictionary::new(false), 0);
            for key in 0..keys {
                let growth = names.push(Some(format!("{key:05}").as_bytes()), key).unwrap();
                size += growth.key + growth.each * key + names.width();
            }
            let mut out = Vec::new();
            names.write(keys, &mut out);
            assert_eq!(out.len(), 24 + keys * 6 + keys * width, "{keys} keys");
            assert_eq!(size, keys * 6 + keys * width, "{keys} keys");
            let last = (keys as u32 - 1).to_le_bytes();
            assert!(out.ends_with(&last[..width]));
        }
    }
}
