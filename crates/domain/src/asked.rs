//! A window that is to be computed from the rows of the enriched ticks' table.

use crate::{BarVersion, Window};

/// One window of one instrument, as of an enriched offset.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct AskedWindow {
    pub tenant_id: Box<str>,
    pub instrument_id: Box<str>,
    pub window: Window,
    /// As the late tick says: the bar holds the rows of the window up to this offset. The table knows whether that row is one of
    /// them, and whether it closed the window.
    pub version: BarVersion,
}
