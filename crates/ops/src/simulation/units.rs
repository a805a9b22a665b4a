//! Lengths of time in microseconds.

use domain::Micros;

pub(super) const MINUTE: Micros = 60_000_000;
pub(super) const HOUR: Micros = 60 * MINUTE;
pub(super) const DAY: Micros = 24 * HOUR;
