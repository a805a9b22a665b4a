//! The rolling statistic that a series shows. Pure.

use domain::Micros;

/// The statistic as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rolled {
    pub statistic: &'static str,
    pub count: Option<usize>,
    pub width: Micros,
}
