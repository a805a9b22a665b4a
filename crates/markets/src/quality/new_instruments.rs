//! How many instruments a tenant has shown for the first time in an hour of the log.
//!
//! Invariants: the hour is that of the append time, so that reading a log again counts as its producers did, however fast;
//! memory is bounded ([`KNOWN`], [`TENANTS`]). What is forgotten counts as new again. An instrument beyond the limit is not
//! remembered: in the next hour it is a new one.

use std::collections::{HashMap, HashSet};

use domain::Micros;

/// Instruments that are remembered at most: 20 to 40 MB.
const KNOWN: usize = 2_000_000;
/// Tenants that are counted at most.
const TENANTS: usize = 10_000;
const HOUR: Micros = 3_600_000_000;

#[derive(Debug, Clone, Copy)]
struct Hour {
    number: i64,
    instruments: u64,
}

/// What this instance has seen.
#[derive(Debug, Default)]
pub(crate) struct NewInstruments {
    /// Hashes of tenant and instrument.
    known: HashSet<u64>,
    hours: HashMap<Box<str>, Hour>,
}

impl NewInstruments {
    /// Whether this instrument is one too many of its tenant. `key` is the hash of both names.
    pub(crate) fn exceeds(&mut self, key: u64, tenant_id: &str, appended_at: Micros, limit: u64) -> bool {
        if self.known.contains(&key) {
            return false;
        }
        let number = appended_at.div_euclid(HOUR);
        let began = Hour { number, instruments: 0 };
        let hour = match self.hours.get_mut(tenant_id) {
            Some(hour) => hour,
            None => {
                if self.hours.len() >= TENANTS {
                    self.hours.clear();
                }
                self.hours.entry(tenant_id.into()).or_insert(began)
            }
        };
        // Partitions are not read in the order of their times: the hour only continues.
        if number > hour.number {
            *hour = began;
        }
        hour.instruments += 1;
        if hour.instruments > limit {
            return true;
        }
        if self.known.len() < KNOWN {
            self.known.insert(key);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_for_each_tenant_and_hour_and_what_is_known_does_not_count() {
        let mut new = NewInstruments::default();
        let mut exceeds = |key, tenant, at| new.exceeds(key, tenant, at, 2);
        assert_eq!([1, 2, 3, 4].map(|key| exceeds(key, "a", 0)), [false, false, true, true]);
        assert_eq!([1, 2].map(|key| exceeds(key, "a", 1)), [false, false], "known");
        assert!(!exceeds(5, "b", 1), "another tenant");
        assert!(!exceeds(3, "a", HOUR), "another hour");
        // A partition that is behind does not begin the earlier hour again.
        assert_eq!([6, 7].map(|key| exceeds(key, "a", HOUR - 1)), [false, true]);
    }
}
