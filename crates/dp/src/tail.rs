//! Shows decoded messages of any topic: what `dp tail` and `dp kafka tail` do, and their arguments.

mod line;

use std::time::Duration;

use anyhow::{Context as _, bail};
use codec::Wire;
use stream::kafka::reader::LogReader;
use stream::{Message, Partition, StreamError};

use self::line::line;
use crate::message::Shown;
use ops::connection::Connection;
use ops::present::{print_data, print_json_line, printable};
use ops::topic_names::resolve;

const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Messages shown without `--limit` and `--follow`.
const DEFAULT_LIMIT: u64 = 10;

/// Which messages are shown.
#[derive(Debug, Clone, clap::Args)]
pub struct Selection {
    /// Topic name or short name
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// Keep showing new messages until Ctrl-C or --limit
    #[arg(long, short)]
    follow: bool,
    /// Number of messages to show [default: 10; unlimited with --follow]
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Read only this partition
    #[arg(long, value_name = "P")]
    partition: Option<i32>,
    /// Start at this offset of the partition
    #[arg(long, value_name = "N", requires = "partition", conflicts_with = "from_beginning")]
    offset: Option<i64>,
    /// Start at the oldest message
    #[arg(long)]
    from_beginning: bool,
    /// Show only messages whose key contains this text
    #[arg(long, value_name = "TEXT")]
    key: Option<String>,
}

/// Shows the messages, one at a time.
pub async fn show(connection: &Connection, selection: &Selection) -> anyhow::Result<()> {
    let topic = resolve(&connection.names, &selection.topic)?;
    let wire = connection.wire().await?;
    let (bootstrap, json, selection) = (
        connection.settings.kafka_bootstrap.clone(),
        connection.json,
        selection.clone(),
    );
    tokio::task::spawn_blocking(move || {
        let tail = Tail {
            reader: LogReader::new(&bootstrap)?,
            wire,
            json,
            selection,
        };
        tail.run(&topic).with_context(|| format!("read {topic} at {bootstrap}"))
    })
    .await
    .context("tail")?
}

struct Tail {
    reader: LogReader,
    wire: Wire,
    json: bool,
    selection: Selection,
}

impl Tail {
    fn run(&self, topic: &str) -> anyhow::Result<()> {
        let mut partitions = self.reader.partitions(topic)?;
        if let Some(number) = self.selection.partition {
            let count = partitions.len();
            partitions.retain(|partition| partition.number == number);
            if partitions.is_empty() {
                bail!("there is no partition {number}: the topic has {count}, counted from 0");
            }
        }
        if !self.selection.follow && !self.selection.from_beginning && self.selection.offset.is_none() {
            return self.show_newest(&partitions);
        }
        self.show_from_positions(partitions)
    }

    fn show_newest(&self, partitions: &[Partition]) -> anyhow::Result<()> {
        let limit = self.selection.limit.unwrap_or(DEFAULT_LIMIT);
        let mut newest = Vec::new();
        for partition in partitions {
            newest.extend(self.newest_of(partition, limit)?);
        }
        newest.sort_by_key(|(time, shown)| (*time, shown.partition, shown.offset));
        let skipped = newest
            .len()
            .saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        if newest.is_empty() {
            self.report_nothing_found(partitions);
        }
        newest.iter().skip(skipped).try_for_each(|(_, shown)| self.print(shown))
    }

    /// Reports an empty result on stderr: without it an empty output looks like a mistake.
    fn report_nothing_found(&self, partitions: &[Partition]) {
        if let (false, Some(partition)) = (self.json, partitions.first()) {
            match &self.selection.key {
                Some(key) => eprintln!(
                    "{} has no message whose key contains '{}'",
                    partition.topic,
                    printable(key)
                ),
                None => eprintln!("{} is empty", partition.topic),
            }
        }
    }

    /// Looks back twice as far until it finds enough: compaction and a filter leave gaps.
    fn newest_of(&self, partition: &Partition, limit: u64) -> Result<Vec<(i64, Shown)>, StreamError> {
        let (start, end) = self.reader.log_range(partition)?;
        let mut reach = i64::try_from(limit).unwrap_or(i64::MAX);
        loop {
            let from = end.saturating_sub(reach).max(start);
            let mut found = Vec::new();
            self.reader.read(partition, from, end, |message| {
                if self.is_wanted(message) {
                    found.push((message.timestamp, Shown::of(&self.wire, message)));
                }
                true
            })?;
            if found.len() as u64 >= limit || from == start {
                return Ok(found);
            }
            reach = reach.saturating_mul(2);
        }
    }

    fn show_from_positions(&self, partitions: Vec<Partition>) -> anyhow::Result<()> {
        let mut left = self
            .selection
            .limit
            .unwrap_or(if self.selection.follow { u64::MAX } else { DEFAULT_LIMIT });
        let asked = left;
        let mut positions = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let (start, end) = self.reader.log_range(&partition)?;
            let from = match self.selection.offset {
                Some(offset) if offset < start || offset > end => {
                    bail!("offset {offset} is not in the log of {partition}, which contains {start} to {end}");
                }
                Some(offset) => offset,
                None if self.selection.from_beginning => start,
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
            if !self.selection.follow {
                if left == asked {
                    let read: Vec<Partition> = positions.iter().map(|(partition, _)| partition.clone()).collect();
                    self.report_nothing_found(&read);
                }
                break;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Shows up to `limit` messages of a range; returns how many.
    fn show_range(&self, partition: &Partition, from: i64, to: i64, limit: u64) -> anyhow::Result<u64> {
        let (mut shown, mut failure) = (0, None);
        if limit == 0 {
            return Ok(0);
        }
        self.reader.read(partition, from, to, |message| {
            if self.is_wanted(message) {
                failure = self.print(&Shown::of(&self.wire, message)).err();
                shown += 1;
            }
            failure.is_none() && shown < limit
        })?;
        failure.map_or(Ok(shown), Err)
    }

    fn is_wanted(&self, message: &Message<'_>) -> bool {
        let Some(text) = &self.selection.key else {
            return true;
        };
        message
            .key
            .is_some_and(|key| String::from_utf8_lossy(key).contains(text.as_str()))
    }

    fn print(&self, shown: &Shown) -> anyhow::Result<()> {
        if self.json {
            print_json_line(shown)
        } else {
            print_data(&line(shown))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        selection: Selection,
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
}
