//! What identifies a log that was read before: the topic's id, and one record that was read.
//!
//! Role: pure. A mark travels in the metadata of a committed offset. It is a fact about the log, independent of its writer
//! and of time: an old mark is as good as a new one, and without a mark there is no check. So a mark is not a position.
//! Invariant: a record keeps its timestamp for as long as it exists. A record that got its offset after the log was cut was
//! appended later, so its timestamp differs.

use domain::{Micros, is_known_topic_id};

/// First word of the metadata, and its version.
const PREFIX: &str = "dp1";

/// One record of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogMark {
    /// Id of the topic; empty if the broker has no topic ids.
    pub topic_id: String,
    /// Offset and timestamp of a record that was read.
    pub record: Option<(i64, Micros)>,
}

impl LogMark {
    /// As metadata of a committed offset: `dp1 <topic id> <offset> <timestamp>`.
    pub fn to_metadata(&self) -> String {
        let id = if is_known_topic_id(&self.topic_id) {
            &self.topic_id
        } else {
            "-"
        };
        match self.record {
            Some((offset, timestamp)) => format!("{PREFIX} {id} {offset} {timestamp}"),
            None => format!("{PREFIX} {id}"),
        }
    }

    /// Parses metadata; `None` if it is not a mark (committed by some other tool).
    pub fn from_metadata(metadata: &str) -> Option<LogMark> {
        let mut words = metadata.split(' ');
        if words.next() != Some(PREFIX) {
            return None;
        }
        let topic_id = match words.next()? {
            "-" => String::new(),
            id => id.to_owned(),
        };
        let record = match (words.next(), words.next(), words.next()) {
            (None, None, None) => None,
            (Some(offset), Some(timestamp), None) => Some((offset.parse().ok()?, timestamp.parse().ok()?)),
            _ => return None,
        };
        Some(LogMark { topic_id, record })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_mark_is_read_as_it_was_written(id in "[A-Za-z0-9_-]{22}", record in proptest::option::of((0i64.., 0i64..))) {
            let mark = LogMark { topic_id: id, record };
            prop_assert_eq!(LogMark::from_metadata(&mark.to_metadata()), Some(mark));
        }

        #[test]
        fn other_metadata_is_not_a_mark(metadata in "(dp1 )?.{0,40}") {
            if let Some(mark) = LogMark::from_metadata(&metadata) {
                prop_assert!(metadata.starts_with("dp1 "), "{:?}", mark);
            }
        }
    }

    #[test]
    fn an_id_of_zeros_counts_as_missing() {
        let mark = LogMark {
            topic_id: "AAAAAAAAAAAAAAAAAAAAAA".to_owned(),
            record: None,
        };
        assert_eq!(
            LogMark::from_metadata(&mark.to_metadata()).map(|mark| mark.topic_id),
            Some(String::new())
        );
    }
}
