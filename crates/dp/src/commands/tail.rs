//! `dp tail`: shows messages of any topic of the pipeline, decoded.

mod letter;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use codec::Wire;
use serde::Serialize;
use serde_json::Value;
use service::Names;
use stream::kafka::reader::LogReader;
use stream::{Message, Partition, StreamError};

use super::present::{iso, print_json_line, print_line, printable};
use crate::connection::Connection;

const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Characters of a value on one line for people; --json shows all.
const SHOWN_CHARACTERS: usize = 800;

/// Show messages of a topic: Avro and JSON decoded, keys, headers.
///
/// TOPIC is a name or one of: raw, normalized, enriched, bars, curves, derived, late, legs, state, invalidation, dlq.
/// Without --follow the newest messages are shown, oldest first. With it, those that come from now on.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  \
    dp tail normalized --limit 3\n  \
    dp tail normalized --follow --limit 10 --json\n  \
    dp tail dlq --limit 5                # code, reason, origin and bytes of the newest dead letters\n  \
    dp tail raw --partition 2 --offset 1042 --limit 1\n  \
    dp tail bars --key MISO.INDIANA.HUB --json | jq .value.close")]
pub struct Args {
    /// Topic or short name
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// Keep showing messages as they come
    #[arg(long, short)]
    follow: bool,
    /// Messages to show [default: 10; with --follow without end]
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// One partition only
    #[arg(long, value_name = "P")]
    partition: Option<i32>,
    /// Begin at this offset of the partition
    #[arg(long, value_name = "N", requires = "partition", conflicts_with = "from_beginning")]
    offset: Option<i64>,
    /// Begin at the oldest message
    #[arg(long)]
    from_beginning: bool,
    /// Only messages whose key holds this text
    #[arg(long, value_name = "TEXT")]
    key: Option<String>,
}

/// One message as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    topic: String,
    partition: i32,
    offset: i64,
    timestamp: String,
    key: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    /// Name of the Avro record, `json`, `text`, `bytes` or `tombstone`.
    format: &'static str,
    value: Value,
}

/// Runs `dp tail`.
pub async fn run(connection: &Connection, args: &Args) -> anyhow::Result<()> {
    let topic = resolve(&connection.names, &args.topic)?;
    let wire = connection.wire().await?;
    let (bootstrap, json, args) = (
        connection.settings.kafka_bootstrap.clone(),
        connection.json,
        args.clone(),
    );
    tokio::task::spawn_blocking(move || {
        let tail = Tail {
            reader: LogReader::new(&bootstrap)?,
            wire,
            json,
            args,
        };
        tail.run(&topic).with_context(|| format!("read {topic} at {bootstrap}"))
    })
    .await
    .context("tail")?
}

/// The topic of a short name; a name with a dot or a dash is taken as it is.
fn resolve(names: &Names, text: &str) -> anyhow::Result<String> {
    let short = [
        ("raw", names.raw.first().map_or("", String::as_str)),
        ("normalized", &names.normalized),
        ("enriched", &names.enriched),
        ("bars", &names.bars),
        ("curves", &names.curves),
        ("derived", &names.derived),
        ("late", &names.late),
        ("legs", &names.legs),
        ("state", &names.state),
        ("invalidation", &names.invalidation),
        ("dlq", &names.dlq),
    ];
    if let Some((_, topic)) = short.iter().find(|(name, _)| *name == text) {
        return Ok((*topic).to_owned());
    }
    if text.contains(['.', '-']) {
        return Ok(text.to_owned());
    }
    let known: Vec<&str> = short.iter().map(|(name, _)| *name).collect();
    bail!(
        "there is no topic '{text}'; use a full topic name or one of {}",
        known.join(", ")
    )
}

struct Tail {
    reader: LogReader,
    wire: Wire,
    json: bool,
    args: Args,
}

impl Tail {
    fn run(&self, topic: &str) -> anyhow::Result<()> {
        let mut partitions = self.reader.partitions(topic)?;
        if let Some(number) = self.args.partition {
            let count = partitions.len();
            partitions.retain(|partition| partition.number == number);
            if partitions.is_empty() {
                bail!("there is no partition {number}: the topic has {count}, counted from 0");
            }
        }
        if !self.args.follow && !self.args.from_beginning && self.args.offset.is_none() {
            return self.show_newest(&partitions);
        }
        self.show_on(partitions)
    }

    fn show_newest(&self, partitions: &[Partition]) -> anyhow::Result<()> {
        let limit = self.args.limit.unwrap_or(10);
        let mut newest = Vec::new();
        for partition in partitions {
            newest.extend(self.newest_of(partition, limit)?);
        }
        newest.sort_by_key(|(time, shown)| (*time, shown.partition, shown.offset));
        let skipped = newest
            .len()
            .saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        if newest.is_empty() {
            self.say_nothing_there(partitions);
        }
        newest.iter().skip(skipped).try_for_each(|(_, shown)| self.print(shown))
    }

    /// An empty answer looks like a mistake.
    fn say_nothing_there(&self, partitions: &[Partition]) {
        if let (false, Some(partition)) = (self.json, partitions.first()) {
            match &self.args.key {
                Some(key) => eprintln!("no message of {} has a key with '{}'", partition.topic, printable(key)),
                None => eprintln!("{} is empty", partition.topic),
            }
        }
    }

    // Looks back twice as far until there are enough: compaction and a filter leave gaps.
    fn newest_of(&self, partition: &Partition, limit: u64) -> Result<Vec<(i64, Shown)>, StreamError> {
        let (start, end) = self.reader.log_range(partition)?;
        let mut reach = i64::try_from(limit).unwrap_or(i64::MAX);
        loop {
            let from = end.saturating_sub(reach).max(start);
            let mut found = Vec::new();
            self.reader.read(partition, from, end, |message| {
                if self.is_wanted(message) {
                    found.push((message.timestamp, self.shown(message)));
                }
                true
            })?;
            if found.len() as u64 >= limit || from == start {
                return Ok(found);
            }
            reach = reach.saturating_mul(2);
        }
    }

    fn show_on(&self, partitions: Vec<Partition>) -> anyhow::Result<()> {
        let mut left = self.args.limit.unwrap_or(if self.args.follow { u64::MAX } else { 10 });
        let asked = left;
        let mut positions = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let (start, end) = self.reader.log_range(&partition)?;
            let from = match self.args.offset {
                Some(offset) if offset < start || offset > end => {
                    bail!("offset {offset} is not in the log of {partition}, which holds {start} to {end}");
                }
                Some(offset) => offset,
                None if self.args.from_beginning => start,
                None => end,
            };
            positions.push((partition, from));
        }
        while left > 0 {
            for (partition, next) in &mut positions {
                let (_, end) = self.reader.log_range(partition)?;
                left -= self.show_range(partition, *next, end, left)?;
                *next = end;
            }
            if !self.args.follow {
                if left == asked {
                    let read: Vec<Partition> = positions.iter().map(|(partition, _)| partition.clone()).collect();
                    self.say_nothing_there(&read);
                }
                break;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Shows up to `limit` messages of a range; answers how many.
    fn show_range(&self, partition: &Partition, from: i64, to: i64, limit: u64) -> anyhow::Result<u64> {
        let (mut shown, mut failure) = (0, None);
        if limit == 0 {
            return Ok(0);
        }
        self.reader.read(partition, from, to, |message| {
            if self.is_wanted(message) {
                failure = self.print(&self.shown(message)).err();
                shown += 1;
            }
            failure.is_none() && shown < limit
        })?;
        failure.map_or(Ok(shown), Err)
    }

    fn is_wanted(&self, message: &Message<'_>) -> bool {
        let Some(text) = &self.args.key else {
            return true;
        };
        message
            .key
            .is_some_and(|key| String::from_utf8_lossy(key).contains(text.as_str()))
    }

    fn shown(&self, message: &Message<'_>) -> Shown {
        let (format, value) = decode(&self.wire, message.payload);
        Shown {
            topic: message.topic.to_owned(),
            partition: message.partition,
            offset: message.offset,
            timestamp: iso(message.timestamp),
            key: message.key.map(|key| String::from_utf8_lossy(key).into_owned()),
            headers: message
                .headers()
                .map(|(name, value)| {
                    (
                        name.into_owned(),
                        String::from_utf8_lossy(value.unwrap_or_default()).into_owned(),
                    )
                })
                .collect(),
            format,
            value,
        }
    }

    fn print(&self, shown: &Shown) -> anyhow::Result<()> {
        if self.json {
            print_json_line(shown)
        } else {
            print_line(&line(shown))
        }
    }
}

/// What the bytes are, and their content; what cannot be read is shown as text or in hexadecimal, never left out.
fn decode(wire: &Wire, payload: Option<&[u8]>) -> (&'static str, Value) {
    let Some(payload) = payload else {
        return ("tombstone", Value::Null);
    };
    if matches!(payload, [0xC3, 0x01, ..] | [0x00, ..]) {
        return match codec::json::describe(wire, payload) {
            Ok((record, value)) => (record.name(), value),
            Err(error) => ("bytes", Value::String(format!("{error}: {}", hex::encode(payload)))),
        };
    }
    match std::str::from_utf8(payload) {
        Ok(text) => match serde_json::from_str(text) {
            Ok(value) => ("json", value),
            Err(_) => ("text", Value::String(text.to_owned())),
        },
        Err(_) => ("bytes", Value::String(hex::encode(payload))),
    }
}

fn line(shown: &Shown) -> String {
    let value = match &shown.value {
        Value::Null => String::new(),
        // Texts stand for themselves here, without the quotes and escapes of JSON.
        Value::String(text) => printable(text),
        value => value.to_string(),
    };
    if let Some(block) = letter::block(shown, &value) {
        return block;
    }
    let mut line = format!("{} {}/{}", shown.timestamp, shown.partition, shown.offset);
    if let Some(key) = &shown.key {
        line.push_str(&format!(" [{}]", printable(key)));
    }
    for (name, value) in &shown.headers {
        line.push_str(&format!(" {}={}", printable(name), shortened(&printable(value))));
    }
    if !shown.value.is_null() {
        line.push_str(&format!(" {}: {}", shown.format, shortened(&value)));
    }
    if shown.format == "tombstone" {
        line.push_str(" tombstone");
    }
    line
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!(
            "{}… ({} bytes; --json shows all)",
            text.get(..end).unwrap_or(text),
            text.len()
        ),
        None => text.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clap::Parser;
    use service::settings::{Env, load};

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn names(generation: &str) -> Names {
        let env = Env::from([("DATA_PROC_GENERATION".to_owned(), generation.to_owned())]);
        Names::new(&load(&env, 8080, |_| ()).unwrap().settings)
    }

    #[test]
    fn short_names_stand_for_the_topics_of_the_generation_in_effect() {
        assert_eq!(resolve(&names(""), "bars").unwrap(), "aggregation.bars.v1");
        assert_eq!(
            resolve(&names("g2"), "normalized").unwrap(),
            "normalized.market.ticks.v1-g2"
        );
        assert_eq!(resolve(&names("g2"), "dlq").unwrap(), "dlq");
        assert_eq!(resolve(&names(""), "some.other.topic").unwrap(), "some.other.topic");
        let error = resolve(&names(""), "barz").unwrap_err().to_string();
        assert!(error.contains("barz") && error.contains("normalized"), "{error}");
    }

    #[test]
    fn an_offset_without_a_partition_and_a_limit_of_zero_are_argument_errors() {
        for arguments in [
            &["tail", "raw", "--offset", "5"][..],
            &["tail", "raw", "--limit", "0"],
            &["tail"],
        ] {
            assert!(Cli::try_parse_from(arguments).is_err(), "{arguments:?}");
        }
        assert!(Cli::try_parse_from(["tail", "raw", "--partition", "1", "--offset", "5"]).is_ok());
    }

    #[test]
    fn whatever_the_bytes_are_something_is_shown() {
        let wire = Wire::single_object();
        assert_eq!(decode(&wire, None), ("tombstone", Value::Null));
        assert_eq!(decode(&wire, Some(b"{\"a\":1}")).0, "json");
        assert_eq!(
            decode(&wire, Some(b"{\"a\":")),
            ("text", Value::String("{\"a\":".to_owned()))
        );
        assert_eq!(
            decode(&wire, Some(&[0xff, 0x00])),
            ("bytes", Value::String("ff00".to_owned()))
        );
        let (format, value) = decode(&wire, Some(&[0xC3, 0x01, 2]));
        assert!(
            format == "bytes" && value.as_str().unwrap().ends_with("c30102"),
            "{value}"
        );
    }

    fn shown(headers: &[(&str, &str)], value: Value) -> Shown {
        Shown {
            topic: "dlq".to_owned(),
            partition: 0,
            offset: 17,
            timestamp: "2026-01-01T00:00:00Z".to_owned(),
            key: Some("A\u{1b}[2J".to_owned()),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            format: "text",
            value,
        }
    }

    #[test]
    fn a_dead_letter_is_a_block_that_says_each_thing_once() {
        use stream::dead_letter::header;
        let letter = shown(
            &[
                (header::TOPIC, "raw"),
                (header::PARTITION, "2"),
                (header::OFFSET, "42"),
                (header::STAGE, "normalize"),
                (header::SERVICE, "normalization"),
                (header::ATTEMPTS, "1"),
                (header::CODE, "broken_json"),
                (header::CLASS, "broken_json"),
                (header::MESSAGE, "no value\r\nat byte 0"),
                (header::FAILED_AT, "1700000000000000"),
                ("dp.format", "x\u{1b}]0;title"),
            ],
            Value::String("x".repeat(5_000)),
        );
        let text = line(&letter);
        assert!(text.starts_with("2023-11-14T22:13:20Z  broken_json\n"), "{text}");
        for part in [
            "raw/2/42, dead letter dlq/0/17",
            "normalize of normalization",
            r"no value\r\nat byte 0",
            "(5000 bytes",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert_eq!(text.matches("broken_json").count(), 1, "{text}");
        assert!(!text.contains("__connect") && !text.contains("1700000000"), "{text}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert!(text.len() < 900, "{} bytes", text.len());
    }

    #[test]
    fn no_message_can_control_the_terminal() {
        let text = line(&shown(
            &[("a\u{1b}", "b\rc\nd\u{202e}")],
            Value::String("\u{9b}2J".to_owned()),
        ));
        assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
    }
}
