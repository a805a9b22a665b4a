//! Write ownership of a partition (INV-8).

use uuid::Uuid;

/// The right to write one source partition into one table. The newest claim of a partition is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Source topic.
    pub topic: String,
    /// Source partition.
    pub partition: i32,
    /// One more than every earlier claim that was seen.
    pub epoch: u64,
    /// New for each claim; decides between equal epochs.
    pub writer: Uuid,
}
