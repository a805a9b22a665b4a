//! Rows of the writers' own tables, as returned by the server.

use serde::Deserialize;

use crate::stored_origin::StoredOrigin;

#[derive(Deserialize)]
pub(super) struct Epoch {
    pub(super) epoch: u64,
}

#[derive(Deserialize)]
pub(super) struct Running {
    pub(super) query_id: String,
}

#[derive(Deserialize)]
pub(super) struct TopicId {
    pub(super) topic: String,
    pub(super) topic_id: String,
}

/// The end of a lane in the table; feed and origin are empty for tables without origins.
#[derive(Deserialize)]
pub(super) struct LaneEnd {
    pub(super) last_offset: i64,
    pub(super) origin: Option<StoredOrigin>,
}

#[derive(Deserialize)]
pub(super) struct StoredFloor {
    pub(super) next_offset: i64,
    pub(super) sequencer: Vec<StoredOrigin>,
}
