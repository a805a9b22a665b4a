//! How sequencer states are stored as JSON.

use domain::{LastOrigin, RawPosition};
use serde::{Deserialize, Serialize};

/// How a lane is stored in JSON: `{"feed","raw_partition","raw_offset","raw_index"}`.
#[derive(Serialize, Deserialize)]
struct StoredLane {
    feed: String,
    raw_partition: i32,
    raw_offset: i64,
    raw_index: i32,
}

/// The state as JSON text.
pub(crate) fn to_json(sequencer: &[LastOrigin]) -> serde_json::Result<String> {
    let lanes: Vec<StoredLane> = sequencer
        .iter()
        .map(|lane| StoredLane {
            feed: lane.feed.clone(),
            raw_partition: lane.raw_partition,
            raw_offset: lane.position.offset,
            raw_index: lane.position.index,
        })
        .collect();
    serde_json::to_string(&lanes)
}

/// The state of that JSON text.
pub(crate) fn from_json(text: &str) -> serde_json::Result<Vec<LastOrigin>> {
    let lanes: Vec<StoredLane> = serde_json::from_str(text)?;
    Ok(lanes
        .into_iter()
        .map(|lane| LastOrigin {
            feed: lane.feed,
            raw_partition: lane.raw_partition,
            position: RawPosition {
                offset: lane.raw_offset,
                index: lane.raw_index,
            },
        })
        .collect())
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
