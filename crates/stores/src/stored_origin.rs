//! How the origins in a sequencer's state are stored: as tuples in ClickHouse, as JSON in PostgreSQL, with the same names.

use domain::{LastOrigin, RawPosition};
use serde::{Deserialize, Serialize};

/// `{"feed","raw_partition","raw_offset","raw_index"}`.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredOrigin {
    feed: String,
    raw_partition: i32,
    raw_offset: i64,
    raw_index: i32,
}

impl From<&LastOrigin> for StoredOrigin {
    fn from(origin: &LastOrigin) -> StoredOrigin {
        StoredOrigin {
            feed: origin.feed.clone(),
            raw_partition: origin.raw_partition,
            raw_offset: origin.position.offset,
            raw_index: origin.position.index,
        }
    }
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

/// The state as JSON.
pub(crate) fn to_json(sequencer: &[LastOrigin]) -> serde_json::Result<String> {
    let stored: Vec<StoredOrigin> = sequencer.iter().map(StoredOrigin::from).collect();
    serde_json::to_string(&stored)
}

/// The state from that JSON.
pub(crate) fn from_json(text: &str) -> serde_json::Result<Vec<LastOrigin>> {
    let stored: Vec<StoredOrigin> = serde_json::from_str(text)?;
    Ok(stored.into_iter().map(LastOrigin::from).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn states() -> impl Strategy<Value = Vec<LastOrigin>> {
        let lane = (".{0,9}", any::<i32>(), any::<i64>(), any::<i32>());
        let lane = lane.prop_map(|(feed, raw_partition, offset, index)| LastOrigin {
            feed,
            raw_partition,
            position: RawPosition { offset, index },
        });
        proptest::collection::vec(lane, 0..8)
    }

    proptest! {
        #[test]
        fn a_stored_state_is_read_back_as_it_was(state in states()) {
            let text = to_json(&state).unwrap();
            prop_assert_eq!(from_json(&text).unwrap(), state);
        }
    }
}
