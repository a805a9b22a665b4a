//! Accepted gaps: offsets that a consumer will never process, and who accepted them.
//!
//! Failure: a gap is stored before the position moves, so after a crash in between, the same command completes the move.

use serde::{Deserialize, Serialize};

use super::{ClickHouse, literal};
use crate::StoreError;

/// Offsets of one partition that one consumer skips.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct AcceptedGap {
    pub service: String,
    pub consumer_group: String,
    pub topic: String,
    pub topic_id: String,
    pub partition: i32,
    /// First offset.
    pub from_offset: i64,
    /// The offset after the last one.
    pub to_offset: i64,
    /// `accept` or `skip`.
    pub action: String,
    pub reason: String,
    pub accepted_by: String,
}

impl ClickHouse {
    /// Stores a gap.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn accept_gap(&self, gap: &AcceptedGap) -> Result<(), StoreError> {
        let texts = [
            &gap.service,
            &gap.consumer_group,
            &gap.topic,
            &gap.topic_id,
            &gap.action,
            &gap.reason,
            &gap.accepted_by,
        ];
        let sql = format!(
            "INSERT INTO {}.accepted_gaps (service, consumer_group, topic, topic_id, action, reason, accepted_by, \
             partition, from_offset, to_offset) SELECT {}, {}, {}, {}",
            self.database(),
            texts.map(|text| literal(text)).join(", "),
            gap.partition,
            gap.from_offset,
            gap.to_offset
        );
        self.exec(&sql).await
    }

    /// The distinct gaps of these consumer groups.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn accepted_gaps(&self, groups: &[String]) -> Result<Vec<AcceptedGap>, StoreError> {
        let groups: Vec<String> = groups.iter().map(|group| literal(group)).collect();
        let sql = format!(
            "SELECT service, consumer_group, topic, topic_id, partition, from_offset, to_offset, toString(action) AS action, \
             any(reason) AS reason, any(accepted_by) AS accepted_by FROM {}.accepted_gaps WHERE consumer_group IN ({}) \
             GROUP BY service, consumer_group, topic, topic_id, partition, from_offset, to_offset, action \
             ORDER BY topic, partition, from_offset, consumer_group",
            self.database(),
            groups.join(", ")
        );
        self.rows("read accepted gaps", &sql).await
    }
}
