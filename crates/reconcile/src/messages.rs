//! Whether messages of a topic, or of files, are what the pipeline reads there.
//!
//! Role: raw messages are diagnosed with normalization's own rules, as they would be at that place of the log; all other records
//! with the schema of their topic.
//! Failure: a message that is wrong is a finding with code and place. Only a server that does not answer is an error.

use codec::Wire;
use codec::changed::Changed;
use domain::{Classified as _, Micros};
use markets::{Normalizer, NormalizerConfig, RawMessage};
use ops::dead_letters::Letter;
use ops::schemas::expected_in;
use serde::Serialize;
use service::Names;
use stream::dead_letter::ledger::Marker;
use stream::kafka::reader::{LogReader, UNKNOWN_TOPIC};
use stream::{Message, StreamError};

use crate::raw::{Read, Rules};

/// The result for one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// `topic/partition/offset`, or the file.
    pub message: String,
    /// What is wrong: code, reason and the field's path. Empty if it is valid.
    pub problems: Vec<String>,
    #[serde(skip)]
    time: Micros,
}

impl Checked {
    /// Whether nothing is wrong.
    pub fn is_valid(&self) -> bool {
        self.problems.is_empty()
    }
}

/// What is read from a topic.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Largest number of messages.
    pub most: usize,
    /// Whether the oldest messages are read instead of the newest.
    pub oldest: bool,
}

/// Checks messages of a topic, in the order of their time. Blocks.
///
/// # Errors
/// Kafka does not answer, or the topic does not exist.
pub fn of_topic(
    rules: &Rules,
    wire: &Wire,
    names: &Names,
    topic: &str,
    sample: Sample,
) -> Result<Vec<Checked>, StreamError> {
    let log = LogReader::new(&rules.bootstrap)?;
    let mut checked = Vec::new();
    let reach = i64::try_from(sample.most).unwrap_or(i64::MAX);
    for partition in log.partitions(topic)? {
        let (oldest, end) = log.log_range(&partition)?;
        let (from, to) = match sample.oldest {
            true => (oldest, oldest.saturating_add(reach).min(end)),
            false => (end.saturating_sub(reach).max(oldest), end),
        };
        let mut normalizer = Normalizer::new(rules.config.clone());
        let is_raw = names.raw.iter().any(|raw| raw == topic);
        rules.each(
            |show| log.read(&partition, from, to, show),
            |message, read| {
                let problems = match is_raw {
                    true => of_raw(&mut normalizer, &read),
                    false => of_record(wire, names, message),
                };
                checked.push(Checked {
                    message: format!("{}/{}/{}", message.topic, message.partition, message.offset),
                    problems,
                    time: message.timestamp,
                });
            },
        )?;
    }
    checked.sort_by_key(|checked| checked.time);
    match sample.oldest {
        true => checked.truncate(sample.most),
        false => _ = checked.drain(..checked.len().saturating_sub(sample.most)),
    }
    Ok(checked)
}

/// What a changed schema makes of records that are in the topics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReadAgain {
    /// Records of this schema, in any version.
    pub records: usize,
    /// Those that cannot be read with the changed schema.
    pub unreadable: Vec<Checked>,
}

/// Reads the newest records of each topic of a changed schema with it. Blocks.
///
/// Messages that are no such record are passed over: JSON in a raw topic, another record of the same topic, a deleted key.
///
/// # Errors
/// Kafka does not answer.
pub fn read_again(
    log: &LogReader,
    wire: &Wire,
    topics: &[String],
    changed: &Changed,
    most: usize,
) -> Result<ReadAgain, StreamError> {
    let mut found = ReadAgain::default();
    let reach = i64::try_from(most).unwrap_or(i64::MAX);
    for topic in topics {
        let partitions = match log.partitions(topic) {
            // A topic that no message has come to.
            Err(error) if error.code() == UNKNOWN_TOPIC => continue,
            other => other?,
        };
        let mut newest: Vec<(Micros, Option<Checked>)> = Vec::new();
        for partition in partitions {
            let (oldest, end) = log.log_range(&partition)?;
            log.read(&partition, end.saturating_sub(reach).max(oldest), end, |message| {
                if let Some(problem) = of_changed(wire, changed, message) {
                    let checked = problem.map(|problem| Checked {
                        message: format!("{}/{}/{}", message.topic, message.partition, message.offset),
                        problems: vec![problem],
                        time: message.timestamp,
                    });
                    newest.push((message.timestamp, checked));
                }
                true
            })?;
        }
        newest.sort_by_key(|(time, _)| *time);
        newest.drain(..newest.len().saturating_sub(most));
        found.records += newest.len();
        found
            .unreadable
            .extend(newest.into_iter().filter_map(|(_, checked)| checked));
    }
    Ok(found)
}

/// Whether a message can be read with a changed schema; `None` if it is not a record of it.
fn of_changed(wire: &Wire, changed: &Changed, message: &Message<'_>) -> Option<Option<String>> {
    let payload = wire.current(changed.record(), message.payload?);
    let (record, datum) = wire.open(&payload).ok()?;
    (record == changed.record()).then(|| changed.problem(datum))
}

/// Checks the content of a file as one raw message; `format` is that of a document.
pub fn of_file(config: &NormalizerConfig, name: &str, content: &[u8], format: Option<&str>, now: Micros) -> Checked {
    let message = RawMessage {
        feed: "file",
        partition: 0,
        offset: 0,
        appended_at: now,
        key: None,
        payload: content,
        format,
        tenant: None,
        replay: None,
    };
    Checked {
        message: name.to_owned(),
        problems: of_raw(&mut Normalizer::new(config.clone()), &Ok(message)),
        time: now,
    }
}

fn of_raw(normalizer: &mut Normalizer, read: &Read<'_>) -> Vec<String> {
    let message = match read {
        Ok(message) => message,
        Err(unreadable) => return vec![format!("{}: its headers are invalid", unreadable.code)],
    };
    let diagnosis = normalizer.diagnose(message, message.appended_at);
    let mut problems: Vec<String> = diagnosis.errors.iter().map(ToString::to_string).collect();
    let rows = diagnosis.rejected.first.iter();
    problems.extend(rows.map(|row| format!("row {}: {}", row.index, row.rejection)));
    let named = diagnosis.rejected.first.len() as u64;
    let more = diagnosis.rejected.count().saturating_sub(named);
    if more > 0 {
        problems.push(format!("{more} more rows are rejected"));
    }
    if diagnosis.bare && problems.is_empty() {
        problems.push("contract_violation: the tick has no envelope; a topic accepts it only inside of one".to_owned());
    }
    problems
}

fn of_record(wire: &Wire, names: &Names, message: &Message<'_>) -> Vec<String> {
    let Some(payload) = message.payload else {
        // A deleted key of a compacted topic.
        return Vec::new();
    };
    if message.topic == names.dlq {
        let is_known = Letter::of(message).is_some() || Marker::of(message).is_some();
        return match is_known {
            true => Vec::new(),
            false => vec![
                "neither a dead letter nor the marker of a replay: its headers do not name code and origin".to_owned(),
            ],
        };
    }
    let expected = expected_in(message.topic, names);
    match codec::json::describe(wire, payload) {
        Ok((record, _)) if expected.is_empty() || expected.contains(&record) => Vec::new(),
        Ok((record, _)) => vec![format!("a record {} does not belong into this topic", record.name())],
        Err(_) if expected.is_empty() && serde_json::from_slice::<serde::de::IgnoredAny>(payload).is_ok() => Vec::new(),
        Err(error) => vec![error.to_string()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_checked_as_a_raw_message_and_every_problem_is_named() {
        let check = |content: &str, format| {
            of_file(
                &NormalizerConfig::default(),
                "x.json",
                content.as_bytes(),
                format,
                1_790_000_000_000_000,
            )
        };
        let tick = |raw: &str| {
            format!(
                r#"{{"envelope":{{"event_type":"t","event_id":"1","timestamp":"2026-01-01T00:00:00Z","tenant_id":"t","source":"s","version":"1.0"}},"payload":{{"market":"miso","instrument_id":"X","raw_data":{{{raw}}}}}}}"#
            )
        };
        let valid = check(&tick(r#""timestamp":"2026-01-01T00:00:00Z","price":1"#), None);
        assert!(valid.is_valid(), "{valid:?}");
        let broken = check("{", None);
        assert!(
            broken.problems.iter().any(|problem| problem.starts_with("broken_json")),
            "{broken:?}"
        );
        let wrong = check(&tick(r#""timestamp":"yesterday","price":"x""#), None);
        assert!(wrong.problems.len() >= 2, "{wrong:?}");
        let document = check("a,b\n", Some("miso.da.expost.csv"));
        assert!(!document.is_valid(), "{document:?}");
    }
}
