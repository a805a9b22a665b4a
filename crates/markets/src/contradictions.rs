//! Rows of one document with the same instrument and interval, and other prices or components.
//!
//! Role: nothing tells which of them is right, and stored one after the other, the last one would replace the others without a sign. So the
//! first one is kept, and each later one with another price or component is refused. The same prices again are accepted.
//! Invariants: what is found depends on the document alone, and on all of its rows, also those that a replay does not select. A vintage of its
//! own is another row. The table is used again for the next document, so a row costs a look-up and no allocation.
//! Failure: `schema_violation`. Of more than [`ROWS`] rows the later ones are not compared. Two of a document's rows with one hash
//! of 64 bits would be taken for one: about once in 10¹¹ documents of 10,000 rows.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use domain::Decimal;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::clock;
use crate::document::{Prices, Row};
use crate::rejection::{RejectCode, Rejection};
use crate::table::located;

/// Rows of one document that are compared, so that memory is bounded. Reports have 100,000 at most.
const ROWS: usize = 1 << 20;
/// A table of more rows is given back after its document: 4 MB.
const KEPT: usize = 1 << 16;

/// The prices of the rows of one document so far.
#[derive(Debug, Default)]
pub(crate) struct Stated(HashMap<u64, Said, BuildHasherDefault<Hashed>>);

/// What the rows of one instrument and interval say.
#[derive(Debug, Clone, Copy)]
struct Said {
    price: Decimal,
    /// Hashes of energy, congestion, loss and greenhouse gas; [`SILENT`] as long as no row has it.
    components: [u32; 4],
}

const SILENT: u32 = 0;

/// The hash of an instrument id, for [`Stated::check`].
pub(crate) fn hash_of(instrument_id: &str) -> u64 {
    xxh3_64(instrument_id.as_bytes())
}

impl Stated {
    /// Begins a document.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
        self.0.shrink_to(KEPT);
    }

    /// Notes a row, and refuses it if an earlier one has another price or component.
    pub(crate) fn check(&mut self, (instrument_id, hash): (&str, u64), row: &Row<'_>) -> Result<(), Rejection> {
        let interval = u128::from(row.start.cast_unsigned()) << 64 | u128::from(row.end.cast_unsigned());
        let mut hash = xxh3_64_with_seed(&interval.to_le_bytes(), hash);
        if let Some(version) = row.version {
            hash = xxh3_64_with_seed(version.as_bytes(), hash);
        }
        if self.0.len() >= ROWS {
            return Ok(());
        }
        let said = Said::of(&row.prices);
        let first = self.0.entry(hash).or_insert(said);
        if first.accepts(&said) {
            return Ok(());
        }
        Err(refused(instrument_id, row, first.price))
    }
}

impl Said {
    fn of(prices: &Prices) -> Said {
        let all = [prices.energy, prices.congestion, prices.loss, prices.ghg];
        Said {
            price: prices.price,
            components: all.map(|component| component.map_or(SILENT, hashed)),
        }
    }

    /// Whether another row says the same; then what it says beyond is kept. A component that is not stated contradicts none.
    fn accepts(&mut self, other: &Said) -> bool {
        let pairs = || self.components.iter().zip(&other.components);
        let differs = |(own, other): (&u32, &u32)| *own != SILENT && *other != SILENT && own != other;
        if self.price != other.price || pairs().any(differs) {
            return false;
        }
        for (own, other) in self.components.iter_mut().zip(&other.components) {
            if *own == SILENT {
                *own = *other;
            }
        }
        true
    }
}

fn hashed(component: Decimal) -> u32 {
    let hash = xxh3_64(&component.unscaled().to_le_bytes());
    // One of two halves is never silent but for one value in 2⁶⁴.
    let (low, high) = ((hash & u64::from(u32::MAX)), hash >> 32);
    u32::try_from(if low == 0 { high } else { low }).unwrap_or(1)
}

#[cold]
fn refused(instrument_id: &str, row: &Row<'_>, first: Decimal) -> Rejection {
    let (interval, price) = (clock::shown(row.start), row.prices.price);
    let what = match first == price {
        false => format!(
            "the price of {instrument_id} for the interval that begins at {interval} UTC is {price}, but an earlier row of the document says {first}"
        ),
        true => format!(
            "the components of the price of {instrument_id} for the interval that begins at {interval} UTC are not those of an earlier row of the document"
        ),
    };
    let message =
        format!("{what}; only the first one is kept: find out which is right, correct the document and send it again");
    located(row.spot, Rejection::new(RejectCode::SchemaViolation, message))
}

/// Keys are hashes.
#[derive(Debug, Default)]
pub(crate) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    // No key is hashed like this.
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
