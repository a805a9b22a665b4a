//! What makes two messages the same event.

/// The event of a message, by hashes. Two messages carry the same event iff both parts are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct EventKey {
    /// Tenant, source, the producer's event id, and the attempt of a replay.
    pub id: u64,
    /// The content of the message: instrument, time and numbers as parsed; of a document, its bytes.
    pub facts: u64,
}
