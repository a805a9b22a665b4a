//! A window to be computed from the rows of the enriched ticks' table.

use crate::{BarVersion, Window};

/// One window of one instrument, as of an enriched offset.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct AskedWindow {
    pub tenant_id: Box<str>,
    pub instrument_id: Box<str>,
    pub window: Window,
    /// Version of the bar as the late tick states it: the bar contains the rows of the window up to this offset. The table
    /// decides whether the row at that offset belongs to the window, and whether it closed the window.
    pub version: BarVersion,
}
