//! Counts the new instruments of each tenant per hour of append time.
//!
//! Invariants: the hour is that of the append time, so replaying a log at any speed counts the same; memory is bounded
//! ([`KNOWN`], [`TENANTS`]). A forgotten instrument counts as new again. An instrument beyond the limit is not remembered, so
//! it is new again in the next hour.

use std::collections::{HashMap, HashSet};

use domain::Micros;

/// Maximum number of remembered instruments: 20 to 40 MB.
const KNOWN: usize = 2_000_000;
/// Maximum number of counted tenants.
const TENANTS: usize = 10_000;
const HOUR: Micros = 3_600_000_000;

#[derive(Debug, Clone, Copy)]
struct Hour {
    number: i64,
    instruments: u64,
}

/// The instruments that this instance has read.
#[derive(Debug, Default)]
pub(crate) struct NewInstruments {
    /// Hashes of tenant and instrument.
    known: HashSet<u64>,
    hours: HashMap<Box<str>, Hour>,
}

impl NewInstruments {
    /// Whether this instrument exceeds the limit of its tenant. `key` is the hash of both names.
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
        // Partitions are at different times, so the hour never moves backwards.
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
    fn the_limit_is_per_tenant_and_hour_and_known_instruments_do_not_count() {
        let mut new = NewInstruments::default();
        let mut exceeds = |key, tenant, at| new.exceeds(key, tenant, at, 2);
        assert_eq!([1, 2, 3, 4].map(|key| exceeds(key, "a", 0)), [false, false, true, true]);
        assert_eq!([1, 2].map(|key| exceeds(key, "a", 1)), [false, false], "known");
        assert!(!exceeds(5, "b", 1), "another tenant");
        assert!(!exceeds(3, "a", HOUR), "another hour");
        // A partition that lags does not restart the earlier hour.
        assert_eq!([6, 7].map(|key| exceeds(key, "a", HOUR - 1)), [false, true]);
    }
}
