//! `dp topics`: creates the topics of the pipeline (`create`) and lists them (`list`).
//!
//! Invariant: `create` fails if an existing topic has another number of partitions than configured (INV-4).

use ops::connection::Connection;
use ops::present::{grouped, print_json, print_line, table};
use ops::progress::waiting;
use ops::topics::{self, Listed, Outcome};

/// Create the topics of the pipeline, or list them.
///
/// `dp up` creates the topics of a local stack. Use `create` for any other cluster, before the services start there, and
/// again after an upgrade that adds topics.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  dp topics create\n  dp topics list --json | jq '.[].partitions'")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

impl Args {
    /// Whether it creates or changes topics.
    pub fn writes(&self) -> bool {
        !matches!(self.command, Command::List)
    }
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Create the topics that do not exist yet; safe to run again.
    ///
    /// All topics except dlq get DATA_PROC_TOPIC_PARTITIONS partitions. Raw topics get the broker's append time
    /// (LogAppendTime), which decides about late ticks and repeated events. The state topic is compacted. Existing topics
    /// keep their data; their max.message.bytes and the append time of raw topics are corrected, and their retention if a
    /// variable DATA_PROC_RETENTION_* is set. A shorter one removes older records, so it is applied only with --yes; without,
    /// the command says which topics keep theirs. The command fails, and names the topic, if an existing topic between the
    /// stages has another number of partitions.
    Create(CreateArgs),
    /// List every topic with its id, partitions and offset ranges.
    ///
    /// It only shows, so its exit code is 0 even if a topic does not exist: `dp kafka topics` has exit code 1 then.
    #[command(after_help = "Examples:\n  dp topics list\n  dp topics list --json | jq -r '.[].name'")]
    List,
}

/// Options of `topics create`.
#[derive(Debug, Default, clap::Args)]
#[command(
    after_help = "Examples:\n  dp topics create\n  dp topics create --replication 3\n  DATA_PROC_RETENTION_RAW_HOURS=48 dp topics create --yes"
)]
pub struct CreateArgs {
    /// Replicas of each partition of a new topic [default: DATA_PROC_KAFKA_REPLICATION_FACTOR]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=9))]
    pub replication: Option<i32>,
}

/// Runs `dp topics …`; with `yes`, a shorter retention is applied.
pub async fn run(connection: &Connection, args: &Args, yes: bool) -> anyhow::Result<()> {
    match &args.command {
        Command::Create(args) => {
            let creating = topics::create(connection, args.replication, yes);
            let Outcome { created, changed, kept } = waiting("creating the topics", creating).await?;
            if connection.json {
                return print_json(&serde_json::json!({ "created": created, "changed": changed, "kept": kept }));
            }
            print_line(&match created.len() {
                0 => "all topics exist already".to_owned(),
                count => format!("created {count} topic(s): {}", created.join(", ")),
            })?;
            changed.iter().chain(&kept).try_for_each(|line| print_line(line))
        }
        Command::List => {
            let listed = topics::list(connection).await?;
            match connection.json {
                true => print_json(&listed),
                false => show(&listed),
            }
        }
    }
}

/// Prints one row for each topic.
fn show(listed: &[Listed]) -> anyhow::Result<()> {
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
        print_line("some topics do not exist: create them with `dp topics create`")?;
    }
    Ok(())
}
