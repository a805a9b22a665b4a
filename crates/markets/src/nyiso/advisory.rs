//! The advisory prices at the end of NYISO's real-time file of a day.
//!
//! The file has the prices of each dispatch run (RTD), five minutes apart, and behind the newest one those of the commitment run (RTC)
//! for the next quarters, which are forecasts and no prices of five minutes. Nothing marks them but their stamps.
//! Invariant: a row is advisory only if it belongs to the tail of its name of which each stamp is on a quarter and more than five
//! minutes behind the one before, and if an earlier step of the name was five minutes or less. A document of quarters alone has no
//! advisory rows, and a tail of a document is one of each beginning of it that reaches into the tail.

use std::collections::HashMap;

use super::lbmp::GRID;
use super::passes::NAMES;
use crate::clock::MINUTE;
use domain::Micros;

const QUARTER: Micros = 15 * MINUTE;

/// The last stamp of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub stamp: Micros,
    /// Whether a step to it, or to an earlier one, was five minutes or less.
    has_short_step: bool,
}

impl Seen {
    pub(super) fn first(stamp: Micros) -> Seen {
        Seen {
            stamp,
            has_short_step: false,
        }
    }

    /// Takes the next stamp; returns the state before.
    pub(super) fn next(&mut self, stamp: Micros) -> Seen {
        let earlier = *self;
        self.has_short_step |= (1..=GRID).contains(&(stamp - earlier.stamp));
        self.stamp = stamp;
        earlier
    }

    /// Whether the stamp that follows may be one of the tail.
    pub(super) fn may_precede_advisory(self, stamp: Micros) -> bool {
        self.has_short_step && stamp - self.stamp > GRID && stamp.rem_euclid(QUARTER) == 0
    }
}

/// Where the tail of each name begins.
#[derive(Debug, Default)]
pub(super) struct Advisory(HashMap<String, (Seen, Option<Micros>)>);

impl Advisory {
    /// Notes the stamp of a row, in the order of the document.
    pub(super) fn note(&mut self, name: &str, stamp: Micros) {
        let is_full = self.0.len() >= NAMES;
        match self.0.get_mut(name) {
            Some((seen, tail)) => {
                let earlier = seen.next(stamp);
                *tail = match *tail {
                    _ if !earlier.may_precede_advisory(stamp) => None,
                    Some(first) => Some(first),
                    None => Some(stamp),
                };
            }
            None if !is_full => _ = self.0.insert(name.to_owned(), (Seen::first(stamp), None)),
            None => {}
        }
    }

    /// Whether a stamp of a name, one that may be of a tail, is.
    pub(super) fn has(&self, name: &str, stamp: Micros) -> bool {
        let tail = self.0.get(name).and_then(|(_, tail)| *tail);
        tail.is_some_and(|first| first <= stamp)
    }
}
