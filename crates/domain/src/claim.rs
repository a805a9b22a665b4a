//! Who may write (INV-8).

use uuid::Uuid;

/// The right to write one source partition into one table. The newest claim of a partition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Source topic.
    pub topic: String,
    /// Source partition.
    pub partition: i32,
    /// One more than every earlier claim's that was seen.
    pub epoch: u64,
    /// Fresh for each claim; decides between equal epochs.
    pub writer: Uuid,
}
