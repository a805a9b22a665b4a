//! How deep a verification looks.

use super::report::NAMED;

/// How much of what differs is looked at one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Differing blocks of offsets whose rows are compared, for each check.
    pub blocks: usize,
    /// Wrong bars that are named, for each query.
    pub bars: usize,
}

impl Depth {
    /// What a person reads.
    pub const READ: Depth = Depth {
        blocks: 64,
        bars: NAMED,
    };
    /// What a repair needs. The rest is found by its next run.
    pub const REPAIRED: Depth = Depth {
        blocks: 512,
        bars: 20_000,
    };
}
