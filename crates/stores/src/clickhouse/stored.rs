//! Rows of the writers' own tables, as the server answers them.

use domain::{LastOrigin, RawPosition};
use serde::Deserialize;

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

#[derive(Deserialize)]
pub(super) struct StoredOrigin {
    pub(super) feed: String,
    pub(super) raw_partition: i32,
    pub(super) raw_offset: i64,
    pub(super) raw_index: i32,
}

/// Where a lane of the table ends; feed and origin stay empty for tables without origins.
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

impl From<StoredOrigin> for LastOrigin {
    fn from(stored: StoredOrigin) -> LastOrigin {
        LastOrigin {
            feed: stored.feed,
            raw_partition: stored.raw_partition,
            position: RawPosition {
                offset: stored.raw_offset,
                index: stored.raw_index,
            },
        }
    }
}
