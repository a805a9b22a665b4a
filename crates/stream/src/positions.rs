//! Errors for stored positions that do not fit the log: what was lost, and the command that accepts it.
//!
//! Rule: if records were only *removed* (retention, deleted records), the loss can be accepted, since the remaining origins
//! and offsets keep their meaning. If old offsets now belong to *other* records (a recreated topic, a log that was cut), it
//! cannot: every sequencer and table would take the new records for old ones, so only a new generation is sound.
//! Failure: each error is fatal, and names topic, partition, the lost offsets and the command, ready to be copied.

use crate::{Partition, StreamError};

/// The reader, as the operator's commands name it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reader {
    /// Service name.
    pub service: String,
    /// Generation, empty for the first.
    pub generation: String,
}

impl Reader {
    /// Accepts the loss of everything before the oldest offset.
    pub fn accept_command(&self, partition: &Partition) -> String {
        let Reader { service, .. } = self;
        let (prefix, topic, number) = (self.prefix(), &partition.topic, partition.number);
        format!("{prefix}dp position accept {service} --topic {topic} --partition {number}")
    }

    /// Skips everything before `to`.
    pub fn skip_command(&self, partition: &Partition, to: i64) -> String {
        let Reader { service, .. } = self;
        let (prefix, topic, number) = (self.prefix(), &partition.topic, partition.number);
        format!("{prefix}dp position skip {service} --topic {topic} --partition {number} --to {to}")
    }

    /// Creates the topics of the next generation and restarts the services on it.
    pub fn generation_command(&self) -> String {
        let next = next_generation(&self.generation);
        format!("DATA_PROC_GENERATION={next} dp topics create && DATA_PROC_GENERATION={next} dp restart")
    }

    fn prefix(&self) -> String {
        if self.generation.is_empty() {
            String::new()
        } else {
            format!("DATA_PROC_GENERATION={} ", self.generation)
        }
    }
}

/// `g2` after the first, `g3` after `g2`; a name without a number gets `2` appended.
pub fn next_generation(generation: &str) -> String {
    let digits = generation.chars().rev().take_while(char::is_ascii_digit).count();
    let (name, number) = generation.split_at(generation.len() - digits);
    match (name, number.parse::<u32>()) {
        ("", Err(_)) => "g2".to_owned(),
        (name, Ok(number)) if number < u32::MAX => format!("{name}{}", number + 1),
        (name, _) => format!("{name}{number}2"),
    }
}

/// How a stored position fits its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// The log continues there.
    Whole,
    /// These offsets were removed unread: `[from, to)`.
    Removed {
        /// The position.
        from: i64,
        /// The oldest offset.
        to: i64,
    },
    /// These offsets were read, and the log no longer contains them: `[from, to)`.
    Cut {
        /// The log's end.
        from: i64,
        /// The position.
        to: i64,
    },
}

/// Compares a position with the log's range, oldest and next offset.
pub fn fit(position: i64, (oldest, next): (i64, i64)) -> Fit {
    if position < oldest {
        Fit::Removed {
            from: position,
            to: oldest,
        }
    } else if position > next {
        Fit::Cut {
            from: next,
            to: position,
        }
    } else {
        Fit::Whole
    }
}

/// Rejects a stored position that the log no longer contains, or does not contain yet.
///
/// # Errors
/// `position_out_of_range`, with the command.
pub fn check_range(
    reader: &Reader,
    partition: &Partition,
    position: i64,
    range: (i64, i64),
) -> Result<(), StreamError> {
    match fit(position, range) {
        Fit::Whole => Ok(()),
        Fit::Removed { from, to } => Err(StreamError::fatal(
            "position_out_of_range",
            format!(
                "{partition}: the stored position {from} is older than the log, which begins at {to}: retention or an \
                 operator removed the offsets from {from} to {} before they were processed ({} in all). Restore them, or \
                 accept the loss: stop the service, then run `{}`, then start it again",
                to - 1,
                to - from,
                reader.accept_command(partition)
            ),
        )),
        Fit::Cut { from, to } => Err(cut(reader, partition, from, to)),
    }
}

/// The log ends before the records that were read from it.
pub fn cut(reader: &Reader, partition: &Partition, from: i64, to: i64) -> StreamError {
    StreamError::fatal(
        "position_out_of_range",
        format!(
            "{partition}: the offsets from {from} to {} were read and no longer exist, the log ends at {from}: Kafka \
             lost records. New records will get these offsets and would be taken for the old ones, so the tables cannot \
             continue. {}",
            to - 1,
            in_a_new_generation(reader)
        ),
    )
}

/// The log was cut and contains other records at offsets that were read.
pub fn refilled(reader: &Reader, partition: &Partition, from: i64, to: i64) -> StreamError {
    StreamError::fatal(
        "log_refilled",
        format!(
            "{partition}: the offsets from {from} to {} hold other records than those that were read there: Kafka lost \
             records, and new ones took their offsets. They would be taken for the old ones, so the tables cannot continue. {}",
            to - 1,
            in_a_new_generation(reader)
        ),
    )
}

/// Code of a topic that was deleted and recreated.
pub const TOPIC_ID_CHANGED: &str = "topic_id_changed";

/// A topic of this name was deleted and recreated.
pub fn topic_changed(reader: &Reader, topic: &str, known: &str, found: &str) -> StreamError {
    StreamError::fatal(
        TOPIC_ID_CHANGED,
        format!(
            "topic {topic} has the id {found}, but was read with the id {known}: it was deleted and recreated, so the \
             offsets from 0 on mean other records in every partition. Restore the old topic, or accept the new one: {}",
            in_a_new_generation(reader)
        ),
    )
}

/// The remedy if only a new generation is sound.
pub fn in_a_new_generation(reader: &Reader) -> String {
    format!(
        "Build a new generation from the raw log: stop the services, set DATA_PROC_GENERATION={} for all of them, then run \
         `{}`",
        next_generation(&reader.generation),
        reader.generation_command()
    )
}

#[cfg(test)]
mod tests {
    use domain::Classified;
    use proptest::prelude::*;

    use super::*;

    fn partition() -> Partition {
        Partition {
            topic: "t".into(),
            number: 3,
        }
    }

    fn reader(generation: &str) -> Reader {
        Reader {
            service: "enrichment".to_owned(),
            generation: generation.to_owned(),
        }
    }

    #[test]
    fn a_removed_range_names_its_first_and_last_offset_and_the_command() {
        let error = check_range(&reader("g2"), &partition(), 5, (9, 20)).unwrap_err();
        let text = error.to_string();
        for part in [
            "t[3]",
            "from 5 to 8",
            "(4 in all)",
            "`DATA_PROC_GENERATION=g2 dp position accept enrichment --topic t --partition 3`",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(error.code(), "position_out_of_range");
    }

    #[test]
    fn the_error_of_a_cut_log_names_the_next_generation() {
        let text = check_range(&reader(""), &partition(), 9, (0, 5))
            .unwrap_err()
            .to_string();
        for part in ["t[3]", "from 5 to 8", "`DATA_PROC_GENERATION=g2 dp topics create && "] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn generations_are_numbered_consecutively() {
        let next = |generation| next_generation(generation);
        assert_eq!(
            [next(""), next("g2"), next("g9"), next("blue")],
            ["g2", "g3", "g10", "blue2"]
        );
    }

    proptest! {
        #[test]
        fn a_position_fits_exactly_within_the_log(position in 0i64..50, oldest in 0i64..50, length in 0i64..50) {
            let range = (oldest, oldest + length);
            let fits = check_range(&reader(""), &partition(), position, range).is_ok();
            prop_assert_eq!(fits, (range.0..=range.1).contains(&position));
        }

        #[test]
        fn the_next_generation_has_another_name(generation in "[a-z0-9]{0,6}") {
            prop_assert_ne!(next_generation(&generation), generation);
        }
    }
}
