//! `dp topics`: makes every topic of the pipeline, and shows what there is (INV-4: partition counts must agree).

use std::time::Duration;

use anyhow::{Context as _, bail};
use domain::Classified;
use serde::Serialize;
use service::{Names, Settings};
use stream::kafka::admin::{TopicSpec, create_topics};
use stream::kafka::describe::{TopicDescription, describe_topics};
use stream::kafka::reader::LogReader;
use stream::kafka::settings::{MAX_RAW_BYTES, MAX_SENT_BYTES};
use stream::kafka::topic_settings::{APPEND_TIME, Changed, MAX_MESSAGE_BYTES, TIMESTAMP_TYPE, set_where_different};
use stream::{Brokers, StreamError};

use super::present::{grouped, print_json, print_line, table};
use crate::connection::Connection;

const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// Make the topics of the pipeline, or list them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  dp topics create\n  dp topics list --json | jq '.[].partitions'")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

impl Args {
    /// Whether it makes or changes topics.
    pub fn writes(&self) -> bool {
        !matches!(self.command, Command::List)
    }
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make the topics that do not exist yet; running it again changes nothing.
    ///
    /// Raw topics keep the broker's append time (lateness and repeated events are decided by it), the state topic is
    /// compacted, and all topics that the stages share get DATA_PROC_TOPIC_PARTITIONS partitions. When an existing topic
    /// has another number, the command says which, and fails. The largest record that a topic takes is set where it differs.
    Create(CreateArgs),
    /// Show every topic with its id, partitions and the range of offsets in each.
    List,
}

/// Options of `topics create`.
#[derive(Debug, Default, clap::Args)]
pub struct CreateArgs {
    /// Copies of each partition [default: DATA_PROC_KAFKA_REPLICATION_FACTOR]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=9))]
    pub replication: Option<i32>,
}

/// Runs `dp topics …`.
pub async fn run(connection: &Connection, args: &Args) -> anyhow::Result<()> {
    match &args.command {
        Command::Create(args) => {
            let Outcome { created, changed } = create(connection, args).await?;
            if connection.json {
                return print_json(&serde_json::json!({ "created": created, "changed": changed }));
            }
            print_line(&match created.len() {
                0 => "all topics exist already, with the partitions that they need".to_owned(),
                count => format!("created {count} topic(s): {}", created.join(", ")),
            })?;
            changed.iter().try_for_each(|line| print_line(line))
        }
        Command::List => list(connection).await,
    }
}

/// What `dp topics create` has changed.
#[derive(Debug)]
pub struct Outcome {
    /// Topics that were made.
    pub created: Vec<String>,
    /// A sentence for each setting of a topic that was another: its largest record, or whose clock stamps its records.
    pub changed: Vec<String>,
}

/// Makes the missing topics, gives all of them the largest record that they need (INV-9), and checks their partitions.
pub async fn create(connection: &Connection, args: &CreateArgs) -> anyhow::Result<Outcome> {
    let settings = &connection.settings;
    let specs = specs(&connection.names, settings, args.replication);
    let bootstrap = &settings.kafka_bootstrap;
    let created = create_topics(bootstrap, &specs)
        .await
        .with_context(|| format!("make topics at {bootstrap}: is Kafka running (`dp status`)?"))?;
    let resized = set_where_different(bootstrap, &specs, MAX_MESSAGE_BYTES)
        .await
        .context("give the topics the largest record that they need")?;
    let restamped = set_where_different(bootstrap, &specs, TIMESTAMP_TYPE)
        .await
        .context("give the raw topics the broker's append time")?;
    let told = |name: &'static str| {
        move |changed: Changed| {
            let Changed {
                topic,
                from,
                to,
                refused,
            } = changed;
            match refused {
                None => format!("set {name} of topic {topic} from {from} to {to}"),
                Some(why) => format!("topic {topic} keeps {name}={from}: a limit of the cluster refuses {to} ({why})"),
            }
        }
    };
    let resized = resized.into_iter().map(told(MAX_MESSAGE_BYTES));
    let changed = resized.chain(restamped.into_iter().map(told(TIMESTAMP_TYPE))).collect();
    let names: Vec<String> = specs.iter().map(|spec| spec.name.clone()).collect();
    let found = describe(bootstrap.clone(), names).await?;
    let problems = differing(&connection.names, &specs, &found);
    if !problems.is_empty() {
        bail!(
            "{}; partitions decide where an instrument's ticks are, so they cannot be changed in place: set \
             DATA_PROC_TOPIC_PARTITIONS to the number there, or start a new generation (DATA_PROC_GENERATION)",
            problems.join("; ")
        );
    }
    Ok(Outcome { created, changed })
}

/// A raw topic takes what fits into a dead letter, every other one what a stage can send.
fn largest(names: &Names, topic: &str) -> usize {
    if names.raw.iter().any(|raw| raw == topic) {
        MAX_RAW_BYTES
    } else {
        MAX_SENT_BYTES
    }
}

/// Every topic of the pipeline with its settings.
pub fn specs(names: &Names, settings: &Settings, replication: Option<i32>) -> Vec<TopicSpec> {
    let replication = replication.unwrap_or(settings.kafka_replication);
    // What one stage can send, the next topic must take: a record that a broker refuses for its size would stop a
    // partition for ever (INV-9).
    let spec = |name: &str, partitions: i32, config: &[(&str, &str)]| TopicSpec {
        name: name.to_owned(),
        partitions,
        replication,
        config: config
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .chain([(MAX_MESSAGE_BYTES.to_owned(), largest(names, name).to_string())])
            .collect(),
    };
    let week = ("retention.ms", "604800000");
    let state = [
        ("cleanup.policy", "compact"),
        // A restore that reads while the cleaner works must still see what it was promised.
        ("min.compaction.lag.ms", "600000"),
        ("segment.bytes", "16777216"),
        ("segment.ms", "600000"),
        ("min.cleanable.dirty.ratio", "0.1"),
        ("delete.retention.ms", "86400000"),
    ];
    let partitions = settings.topic_partitions;
    let mut specs: Vec<TopicSpec> = names
        .raw
        .iter()
        .map(|name| spec(name, partitions, &[(TIMESTAMP_TYPE, APPEND_TIME), week]))
        .collect();
    let keyed = [
        &names.normalized,
        &names.enriched,
        &names.bars,
        &names.curves,
        &names.derived,
        &names.late,
        &names.legs,
        &names.invalidation,
    ];
    specs.extend(keyed.into_iter().map(|name| spec(name, partitions, &[week])));
    specs.push(spec(&names.state, partitions, &state));
    // One partition keeps dead letters in the order of their failure; a month is time to look at them.
    specs.push(spec(&names.dlq, 1, &[("retention.ms", "2592000000")]));
    specs
}

// One sentence for each topic that exists with another number of partitions. Raw topics and the dead letters may have any.
fn differing(names: &Names, specs: &[TopicSpec], found: &[TopicDescription]) -> Vec<String> {
    specs
        .iter()
        .filter(|spec| spec.name != names.dlq && !names.raw.contains(&spec.name))
        .filter_map(|spec| {
            let topic = found.iter().find(|topic| topic.name == spec.name)?;
            (topic.partitions != spec.partitions).then(|| {
                format!(
                    "topic {} has {} partitions where {} are asked for",
                    spec.name, topic.partitions, spec.partitions
                )
            })
        })
        .collect()
}

async fn describe(bootstrap: Brokers, names: Vec<String>) -> anyhow::Result<Vec<TopicDescription>> {
    tokio::task::spawn_blocking(move || describe_when_known(&bootstrap, &names))
        .await
        .context("describe topics")?
        .context("describe topics")
}

// A topic that was made a moment ago may be unknown to a broker for another moment.
fn describe_when_known(bootstrap: &Brokers, names: &[String]) -> Result<Vec<TopicDescription>, StreamError> {
    let deadline = std::time::Instant::now() + CALL_TIMEOUT;
    loop {
        match describe_topics(bootstrap, names, CALL_TIMEOUT) {
            Err(error) if error.code() == "unknown_topic" && std::time::Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(100));
            }
            result => return result,
        }
    }
}

/// One topic as `dp topics list` shows it.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    id: Option<String>,
    /// Number of partitions, 0 where the topic does not exist.
    partitions: i32,
    /// Messages between the oldest and the newest offset of all partitions.
    messages: i64,
    ranges: Vec<Range>,
}

#[derive(Debug, Serialize)]
struct Range {
    partition: i32,
    /// Oldest offset.
    start: i64,
    /// Offset after the newest.
    end: i64,
}

async fn list(connection: &Connection) -> anyhow::Result<()> {
    let bootstrap = connection.settings.kafka_bootstrap.clone();
    let names: Vec<String> = specs(&connection.names, &connection.settings, None)
        .into_iter()
        .map(|spec| spec.name)
        .collect();
    let listed = tokio::task::spawn_blocking(move || -> Result<Vec<Listed>, StreamError> {
        let reader = LogReader::new(&bootstrap)?;
        names
            .into_iter()
            .map(|name| listed(&bootstrap, &reader, name))
            .collect()
    })
    .await
    .context("list topics")?
    .context("list topics: is Kafka running (`dp status`)?")?;
    if connection.json {
        return print_json(&listed);
    }
    let rows = listed.iter().map(|topic| {
        let ranges: Vec<String> = topic
            .ranges
            .iter()
            .map(|r| format!("{}:{}–{}", r.partition, r.start, r.end))
            .collect();
        let id = topic.id.clone().unwrap_or_else(|| "does not exist".to_owned());
        vec![
            topic.name.clone(),
            id,
            ranges.join("  "),
            topic.partitions.to_string(),
            grouped(topic.messages),
        ]
    });
    print_line(&table(
        &["topic", "id", "partition:oldest–next offset", "partitions", "messages"],
        3,
        rows,
    ))?;
    if listed.iter().any(|topic| topic.id.is_none()) {
        print_line("some topics do not exist: make them with `dp topics create`")?;
    }
    Ok(())
}

fn listed(bootstrap: &Brokers, reader: &LogReader, name: String) -> Result<Listed, StreamError> {
    let described = match describe_topics(bootstrap, std::slice::from_ref(&name), CALL_TIMEOUT) {
        Ok(described) => described.into_iter().next(),
        Err(error) if error.code() == "unknown_topic" => None,
        Err(error) => return Err(error),
    };
    let mut ranges = Vec::new();
    if described.is_some() {
        for partition in reader.partitions(&name)? {
            let (start, end) = reader.log_range(&partition)?;
            ranges.push(Range {
                partition: partition.number,
                start,
                end,
            });
        }
    }
    ranges.sort_by_key(|range| range.partition);
    Ok(Listed {
        name,
        partitions: described.as_ref().map_or(0, |topic| topic.partitions),
        id: described.map(|topic| topic.id),
        messages: ranges.iter().map(|range| range.end - range.start).sum(),
        ranges,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use service::settings::{Env, load};

    fn settings_for(pairs: &[(&str, &str)]) -> Settings {
        let env: Env = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        load(&env, 8080, |_| ()).unwrap().settings
    }

    fn specs_for(pairs: &[(&str, &str)]) -> Vec<TopicSpec> {
        let settings = settings_for(pairs);
        specs(&Names::new(&settings), &settings, None)
    }

    fn setting<'s>(specs: &'s [TopicSpec], topic: &str, key: &str) -> Option<&'s str> {
        let spec = specs.iter().find(|spec| spec.name == topic)?;
        spec.config
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    #[test]
    fn raw_topics_keep_append_time_and_only_the_state_is_compacted() {
        let specs = specs_for(&[("DATA_PROC_RAW_TOPICS", "ingestion.market.raw.v1,other.raw")]);
        for raw in ["ingestion.market.raw.v1", "other.raw"] {
            assert_eq!(setting(&specs, raw, "message.timestamp.type"), Some("LogAppendTime"));
        }
        let compacted: Vec<&str> = specs
            .iter()
            .filter(|spec| setting(&specs, &spec.name, "cleanup.policy") == Some("compact"))
            .map(|spec| spec.name.as_str())
            .collect();
        assert_eq!(compacted, ["aggregation.state.v1"]);
        let largest = |topic| setting(&specs, topic, MAX_MESSAGE_BYTES);
        assert_eq!(largest("other.raw"), Some("67108864"));
        let written = specs.iter().filter(|spec| !spec.name.contains("raw"));
        assert!(
            written
                .map(|spec| largest(&spec.name))
                .all(|size| size == Some("75497472"))
        );
    }

    #[test]
    fn partitions_and_copies_follow_the_environment() {
        let local = specs_for(&[]);
        assert!(
            local
                .iter()
                .all(|spec| spec.replication == 1 && (spec.partitions == 4 || spec.name == "dlq"))
        );
        let staging = specs_for(&[
            ("DATA_PROC_ENV", "staging"),
            ("DATA_PROC_TOPIC_PARTITIONS", "24"),
            ("DATA_PROC_KAFKA_BOOTSTRAP", "kafka:9092"),
            ("DATA_PROC_CLICKHOUSE_URL", "https://clickhouse:8123"),
            ("DATA_PROC_CLICKHOUSE_PASSWORD", "secret"),
            (
                "DATA_PROC_POSTGRES_DSN",
                "postgresql://pipeline:secret@postgres/db?sslmode=verify-full",
            ),
            ("DATA_PROC_REDIS_URL", "redis://redis:6379/0"),
        ]);
        assert!(
            staging
                .iter()
                .all(|spec| spec.replication == 3 && (spec.partitions == 24 || spec.name == "dlq"))
        );
    }

    #[test]
    fn a_topic_with_another_number_of_partitions_is_named() {
        let specs = specs_for(&[]);
        let found: Vec<TopicDescription> = specs
            .iter()
            .map(|spec| TopicDescription {
                name: spec.name.clone(),
                id: String::new(),
                partitions: if spec.name.starts_with("enriched") {
                    3
                } else {
                    spec.partitions
                },
            })
            .map(|topic| {
                if topic.name == "dlq" {
                    TopicDescription { partitions: 9, ..topic }
                } else {
                    topic
                }
            })
            .collect();
        let names = Names::new(&settings_for(&[]));
        assert_eq!(
            differing(&names, &specs, &found),
            ["topic enriched.market.ticks.v1 has 3 partitions where 4 are asked for"]
        );
    }
}
