//! Load for a broker without the pipeline: `dp bench produce`, as `kafka-producer-perf-test` does it.
//!
//! Role: sends records of letters to a topic of its own, with the producer settings of the services, and measures acknowledgements. Unlike
//! the other benchmarks it uses the Kafka that the settings name.
//! Invariant: never a topic of the pipeline, which would take the letters for messages. A topic that existed before is not deleted.
//! Failure: the topic that it has created is deleted after an error or Ctrl-C too, unless it is kept on request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use domain::Classified as _;
use ops::connection::Connection;
use ops::interrupt::{Interrupted, interrupt_flag};
use ops::present::{grouped, table};
use ops::progress::Progress;
use ops::threads::blocking;
use serde::Serialize;
use stream::kafka::admin::{TopicSpec, create_topics, delete_topic};
use stream::kafka::describe::describe_topics;
use stream::kafka::timed::{Load, Timed, send};
use stream::{Brokers, StreamError};

use crate::statistics::quantile;

const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Shorter loads show no progress.
const QUIET: Duration = Duration::from_secs(2);
/// A topic that is kept, or that could not be deleted, does not fill the disk.
const KEPT_MS: &str = "3600000";

/// Options of `dp bench produce`.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Examples:\n  dp bench produce\n  dp bench produce --records 100000 --size 400\n  \
    dp bench produce --records 20000 --rate 2000 --json | jq '{p50_ms, p99_ms, max_ms}'\n  \
    dp bench produce --topic load-test --keep && dp kafka offsets load-test"
)]
pub struct Args {
    /// Topic; none of the pipeline
    #[arg(long, default_value = "test-topic")]
    topic: String,
    /// Records to send
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    records: u64,
    /// Bytes of each record
    #[arg(long, value_name = "BYTES", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    size: u32,
    /// Records a second [default: as fast as possible]
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: Option<u64>,
}

/// What was measured. Field names are the JSON keys.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Produced {
    /// Topic.
    pub topic: String,
    /// Its partitions.
    pub partitions: i32,
    /// Whether the command has created it.
    pub created: bool,
    /// Whether the command has deleted it again.
    pub deleted: bool,
    /// Records that the broker has acknowledged: all of them.
    pub records: u64,
    /// Bytes of each record.
    pub size: u32,
    /// From the first record to the last acknowledgement.
    pub seconds: f64,
    /// Records in a second.
    pub records_per_second: f64,
    /// Megabytes (1,000,000 bytes) in a second.
    pub mb_per_second: f64,
    /// Median time from a record to its acknowledgement, in milliseconds.
    pub p50_ms: f64,
    /// 95th percentile of it.
    pub p95_ms: f64,
    /// 99th percentile of it.
    pub p99_ms: f64,
    /// The longest of these times.
    pub max_ms: f64,
}

impl Produced {
    fn of(args: &Args, place: &Place, deleted: bool, timed: &Timed) -> Produced {
        let mut millis: Vec<f64> = timed.latencies.iter().map(|micros| *micros as f64 / 1e3).collect();
        millis.sort_by(f64::total_cmp);
        let at = |share| quantile(&millis, share).unwrap_or_default();
        let records = millis.len() as u64;
        // The clock counts in nanoseconds, and a record takes longer than one.
        let seconds = timed.elapsed.as_secs_f64().max(1e-9);
        Produced {
            topic: args.topic.clone(),
            partitions: place.partitions,
            created: place.created,
            deleted,
            records,
            size: args.size,
            seconds,
            records_per_second: records as f64 / seconds,
            mb_per_second: records as f64 * f64::from(args.size) / 1e6 / seconds,
            p50_ms: at(0.5),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            max_ms: at(1.0),
        }
    }

    /// A table for people.
    pub fn shown(&self) -> String {
        let row = vec![
            grouped(i64::try_from(self.records).unwrap_or(i64::MAX)),
            format!("{:.2}", self.seconds),
            grouped(self.records_per_second.round() as i64),
            format!("{:.1}", self.mb_per_second),
            format!("{:.1}", self.p50_ms),
            format!("{:.1}", self.p95_ms),
            format!("{:.1}", self.p99_ms),
            format!("{:.1}", self.max_ms),
        ];
        let headers = [
            "records",
            "seconds",
            "records/s",
            "MB/s",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "max ms",
        ];
        let afterwards = match (self.created, self.deleted) {
            (_, true) => "it was created and deleted again",
            (true, false) => "it was created and still exists",
            (false, false) => "it existed before and keeps the records",
        };
        format!(
            "{}\nto {} with {} partition(s); {afterwards}",
            table(&headers, 0, [row]),
            self.topic,
            self.partitions
        )
    }
}

/// The topic of the load.
#[derive(Debug, Clone, Copy)]
struct Place {
    partitions: i32,
    created: bool,
}

/// Sends the load and measures it. The topic is created if it is missing, and then deleted again unless `keep`.
///
/// The second part says why the topic still exists although it should not.
///
/// # Errors
/// The topic is one of the pipeline, Kafka does not answer or refuses a record, or Ctrl-C.
pub async fn run(connection: &Connection, args: &Args, keep: bool) -> anyhow::Result<(Produced, anyhow::Result<()>)> {
    refuse_own(connection.names.owns(&args.topic), &args.topic)?;
    let interrupted = interrupt_flag();
    let bootstrap = connection.settings.kafka_bootstrap.clone();
    let place = provide(connection, &args.topic).await?;
    let measured = measure(connection, args, place, Arc::clone(&interrupted)).await;
    let removed = match place.created && !keep {
        true => Some(remove(&bootstrap, &args.topic).await),
        false => None,
    };
    let is_removed = removed.as_ref().is_some_and(Result::is_ok);
    if interrupted.load(Ordering::Relaxed) && measured.is_err() {
        let left = if is_removed {
            "was deleted again"
        } else {
            "keeps its records"
        };
        return Err(Interrupted(format!("topic {} {left}", args.topic)).into());
    }
    let produced = Produced::of(args, &place, is_removed, &measured?);
    Ok((produced, removed.unwrap_or(Ok(()))))
}

fn refuse_own(is_own: bool, topic: &str) -> anyhow::Result<()> {
    ensure!(
        !is_own,
        "{topic} belongs to the pipeline or to Kafka itself, and records without content would harm it: name another topic with --topic, \
         or use `dp simulate` for a load of ticks"
    );
    Ok(())
}

/// Finds the topic, or creates it as large as those of the pipeline.
async fn provide(connection: &Connection, topic: &str) -> anyhow::Result<Place> {
    let settings = &connection.settings;
    let (bootstrap, asked) = (settings.kafka_bootstrap.clone(), [topic.to_owned()]);
    let found = blocking(move || match describe_topics(&bootstrap, &asked, CALL_TIMEOUT) {
        Ok(found) => Ok(found.into_iter().next()),
        Err(error) if error.code() == "unknown_topic" => Ok(None),
        Err(error) => Err(error).context("look up the topic: is Kafka running (`dp status`)?"),
    })
    .await?;
    if let Some(found) = found {
        return Ok(Place {
            partitions: found.partitions,
            created: false,
        });
    }
    let spec = TopicSpec {
        name: topic.to_owned(),
        partitions: settings.topic_partitions,
        replication: settings.kafka_replication,
        config: vec![("retention.ms".to_owned(), KEPT_MS.to_owned())],
    };
    let created = create_topics(&settings.kafka_bootstrap, std::slice::from_ref(&spec)).await?;
    Ok(Place {
        partitions: spec.partitions,
        created: !created.is_empty(),
    })
}

async fn measure(
    connection: &Connection,
    args: &Args,
    place: Place,
    interrupted: Arc<AtomicBool>,
) -> anyhow::Result<Timed> {
    let bootstrap = connection.settings.kafka_bootstrap.clone();
    let (args, compression) = (args.clone(), connection.settings.kafka_compression);
    blocking(move || {
        let load = Load {
            topic: &args.topic,
            partitions: place.partitions,
            records: args.records,
            rate: args.rate,
            compression,
        };
        let mut letters = Letters(1);
        let (began, mut progress) = (Instant::now(), None);
        let told = |acknowledged: u64| {
            if interrupted.load(Ordering::Relaxed) {
                return Err(StreamError::transient("interrupted", "interrupted"));
            }
            if began.elapsed() > QUIET {
                let progress = progress.get_or_insert_with(|| Progress::new("producing", args.records, "records"));
                progress.set(acknowledged, "");
            }
            Ok(())
        };
        let timed = send(&bootstrap, &load, |payload| letters.fill(payload, args.size), told);
        if let Some(progress) = progress {
            progress.finish();
        }
        Ok(timed?)
    })
    .await
}

async fn remove(bootstrap: &Brokers, topic: &str) -> anyhow::Result<()> {
    let deleted = delete_topic(bootstrap, topic).await;
    deleted.context("the topic of the benchmark still exists; Kafka removes its records after an hour")
}

/// Random capital letters, as the tool of Kafka sends: they are compressed to some 60 %.
struct Letters(u64);

impl Letters {
    fn fill(&mut self, payload: &mut Vec<u8>, size: u32) {
        payload.extend((0..size).map(|_| self.letter()));
    }

    /// Xorshift: fast, and without a pattern that compression would find.
    fn letter(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        b'A' + (self.0 % 26) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> Args {
        Args {
            topic: "t".to_owned(),
            records: 100,
            size: 500,
            rate: None,
        }
    }

    fn produced(created: bool, deleted: bool) -> Produced {
        let timed = Timed {
            elapsed: Duration::from_millis(500),
            // In the order of the acknowledgements.
            latencies: (1..=100).rev().map(|millis| millis * 1_000).collect(),
        };
        let place = Place { partitions: 3, created };
        Produced::of(&args(), &place, deleted, &timed)
    }

    #[test]
    fn figures_are_those_of_the_acknowledged_records() {
        let produced = produced(true, true);
        assert_eq!((produced.records, produced.records_per_second), (100, 200.0));
        assert_eq!(produced.mb_per_second, 0.1);
        assert_eq!(
            (produced.p50_ms, produced.p95_ms, produced.p99_ms, produced.max_ms),
            (50.0, 95.0, 99.0, 100.0)
        );
    }

    #[test]
    fn the_table_says_what_became_of_the_topic() {
        for (created, deleted, expected) in [
            (true, true, "deleted again"),
            (true, false, "still exists"),
            (false, false, "existed before"),
        ] {
            let text = produced(created, deleted).shown();
            assert!(text.contains(expected) && text.contains("200"), "{text}");
            assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        }
    }

    #[test]
    fn a_topic_of_the_pipeline_is_refused_with_the_way_out() {
        assert!(refuse_own(false, "test-topic").is_ok());
        let refused = refuse_own(true, "dlq").map_err(|error| error.to_string());
        assert!(
            refused
                .as_ref()
                .is_err_and(|text| text.contains("dlq") && text.contains("--topic")),
            "{refused:?}"
        );
    }

    #[test]
    fn each_payload_has_its_size_and_differs_from_the_last() {
        let mut letters = Letters(1);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        letters.fill(&mut first, 64);
        letters.fill(&mut second, 64);
        assert_eq!((first.len(), second.len()), (64, 64));
        assert_ne!(first, second);
        assert!(first.iter().all(u8::is_ascii_uppercase));
    }
}
