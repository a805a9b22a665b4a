//! `dp kafka`: consumer groups, their lag and offsets, topics and their messages, and where partitions are.

mod reassign;
mod reset;

use std::process::ExitCode;

use anyhow::Context as _;
use ops::connection::Connection;
use ops::inspect::kafka::{PartitionRange, offsets, under_replicated};
use ops::lag::{GroupLag, survey};
use ops::present::{found, grouped, print_either, print_line, table};
use ops::topic_names::resolve;
use ops::topics::{self, Listed};
use stream::kafka::replicas::Replicas;

use crate::lag_table::{by_group, by_partition};
use crate::tail::{Selection, show};

/// Look into Kafka: groups, lag, topics, offsets, messages; set the offsets of a group
///
/// Only reset-offsets changes something, and only with --yes or --execute.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing is wrong; 1 something was found; 2 Kafka is unavailable, or wrong usage\n\n\
    Examples:\n  dp kafka groups\n  dp kafka lag --over 10000\n  dp kafka topics --under-replicated\n  \
    dp kafka offsets raw\n  dp kafka tail raw --limit 1\n  dp kafka reset-offsets --group normalization-local --to earliest"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Groups(GroupsArgs),
    Lag(LagArgs),
    Topics(TopicsArgs),
    Offsets(OffsetsArgs),
    Tail(TailArgs),
    ResetOffsets(reset::Args),
    PlanReassign(reassign::Args),
}

impl Args {
    /// Whether the command sets offsets.
    pub fn writes(&self, yes: bool) -> bool {
        match &self.command {
            Command::ResetOffsets(args) => args.writes(yes),
            _ => false,
        }
    }

    /// Whether it prints once, and asks nothing.
    pub fn prints_once(&self, yes: bool) -> bool {
        !self.writes(yes) && !matches!(self.command, Command::Tail(_))
    }
}

/// Show every consumer group with its state, the partitions of each member, and its lag
///
/// Exit code 1 if a group has messages to read and no member: its service does not run, or is not in the group. State `Empty`
/// means that the group has no members; `none`, that the broker does not know it. A member is shown with the name of its service and
/// stage, and with the address from which it is connected.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp kafka groups\n  dp kafka groups --group enrichment-local\n  \
    dp kafka groups --json | jq '.[] | select(.members == 0)'"
)]
struct GroupsArgs {
    /// Show only this group
    #[arg(long)]
    group: Option<String>,
}

/// Show how many messages each group still has to read, by partition, and who reads it
///
/// The owner is the member that the partition is assigned to: none while the service does not run or the group rebalances. Exit code 1
/// if a group is more messages behind than --over. Lag is no position: only the stages of normalization and enrichment continue from
/// their committed offsets (see `dp position show`).
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp kafka lag\n  dp kafka lag --over 10000 || echo behind\n  \
    dp kafka lag --group projection-local --json\n  \
    dp kafka lag --json | jq '.[].partitions[] | {partition, lag, owner}'"
)]
struct LagArgs {
    /// Show only this group
    #[arg(long)]
    group: Option<String>,
    /// Report a group that is more messages behind
    #[arg(long, value_name = "MESSAGES", value_parser = clap::value_parser!(i64).range(0..))]
    over: Option<i64>,
}

/// Show each topic of the pipeline with its id, partitions and messages
///
/// Exit code 1 if a topic does not exist or has another number of partitions than configured; with --under-replicated, if a partition
/// lacks copies: fewer of its replicas are in sync than it has, or no broker leads it, so that it can be neither read nor written.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp kafka topics\n  dp kafka topics --under-replicated\n  \
    dp kafka topics --under-replicated --json | jq '.[].missing'"
)]
struct TopicsArgs {
    /// Show only partitions that lack copies, with the brokers that should have them
    #[arg(long)]
    under_replicated: bool,
}

/// Show the oldest and the next offset of each partition of a topic
///
/// With --at also the first offset at or after that time, by the time that the broker or the producer has set.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp kafka offsets raw\n  dp kafka offsets ingestion.market.raw.v1 --at 2026-10-01T00:00Z\n  \
    dp kafka offsets dlq --json | jq '.[].end'"
)]
struct OffsetsArgs {
    /// Topic name, or a short name such as raw, normalized, enriched, bars, dlq
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// Also show where this time begins
    #[arg(long, value_name = "TIME", value_parser = ops::present::time)]
    at: Option<jiff::Timestamp>,
}

/// Show messages of a topic with key, headers and decoded value
///
/// The same as `dp tail`, beside the other commands for Kafka: the newest messages, or those from the oldest on. No offsets are
/// committed, so no group notices it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp kafka tail raw --limit 5 --from-beginning\n  dp kafka tail dlq --follow\n  \
    dp kafka tail normalized --json | jq '.value.instrument_id'"
)]
struct TailArgs {
    #[command(flatten)]
    selection: Selection,
}

/// Runs `dp kafka`.
///
/// # Errors
/// Kafka does not answer, or a group or topic does not exist.
pub async fn run(connection: &Connection, args: &Args, yes: bool) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Groups(args) => {
            let lags = lags(connection, args.group.as_deref()).await?;
            let idle = lags.iter().any(|lag| lag.members == 0 && lag.lag > 0);
            print_either(connection.json, &lags, || by_group(&lags))?;
            Ok(found(idle))
        }
        Command::Lag(args) => {
            let lags = lags(connection, args.group.as_deref()).await?;
            let behind = |lag: &GroupLag| args.over.is_some_and(|over| lag.lag > over);
            print_either(connection.json, &lags, || by_partition(&lags))?;
            Ok(found(lags.iter().any(behind)))
        }
        Command::Topics(args) if args.under_replicated => {
            let (lacking, looked_at) = under_replicated(connection).await?;
            print_either(connection.json, &lacking, || by_replica(&lacking, looked_at))?;
            Ok(found(!lacking.is_empty()))
        }
        Command::Topics(_) => listed(connection).await,
        Command::Offsets(args) => {
            let ranges = ranges(connection, args).await?;
            print_either(connection.json, &ranges, || by_offset(&ranges))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Tail(args) => {
            show(connection, &args.selection).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::ResetOffsets(args) => reset::run(connection, args, yes).await,
        Command::PlanReassign(args) => reassign::run(connection, args).await,
    }
}

async fn listed(connection: &Connection) -> anyhow::Result<ExitCode> {
    let listed = topics::list(connection).await?;
    let problems = problems(connection, &listed);
    print_either(connection.json, &listed, || by_topic(&listed))?;
    if !connection.json {
        problems.iter().try_for_each(|problem| print_line(problem))?;
    }
    Ok(found(!problems.is_empty()))
}

async fn lags(connection: &Connection, group: Option<&str>) -> anyhow::Result<Vec<GroupLag>> {
    let (bootstrap, names) = (connection.settings.kafka_bootstrap.clone(), connection.names.clone());
    let mut lags = tokio::task::spawn_blocking(move || survey(&bootstrap, &names))
        .await
        .context("read lag")?
        .context("read lag: is Kafka running (`dp status`), and do the topics exist (`dp topics create`)?")?;
    if let Some(group) = group {
        let mut known: Vec<String> = lags.iter().map(|lag| lag.group.clone()).collect();
        known.dedup();
        lags.retain(|lag| lag.group == group);
        anyhow::ensure!(
            !lags.is_empty(),
            "the pipeline has no group {group}; its groups are {}",
            known.join(", ")
        );
    }
    Ok(lags)
}

async fn ranges(connection: &Connection, args: &OffsetsArgs) -> anyhow::Result<Vec<PartitionRange>> {
    let topic = resolve(&connection.names, &args.topic)?;
    let (bootstrap, time) = (
        connection.settings.kafka_bootstrap.clone(),
        args.at.map(jiff::Timestamp::as_microsecond),
    );
    let asked = topic.clone();
    tokio::task::spawn_blocking(move || offsets(&bootstrap, &asked, time))
        .await
        .context("read offsets")?
        .with_context(|| format!("read the offsets of {topic}: does it exist (`dp kafka topics`)?"))
}

/// What is wrong with the topics, and what to do.
fn problems(connection: &Connection, listed: &[Listed]) -> Vec<String> {
    let names = &connection.names;
    let wanted = connection.settings.topic_partitions;
    let mut problems = Vec::new();
    for topic in listed {
        if topic.id.is_none() {
            problems.push(format!(
                "{} does not exist: create it with `dp topics create`",
                topic.name
            ));
        } else if topic.partitions != wanted && !topics::may_have_any_partitions(names, &topic.name) {
            problems.push(format!(
                "{} has {} partitions, but {wanted} are configured: set DATA_PROC_TOPIC_PARTITIONS to the existing number, or start \
                 a new generation (DATA_PROC_GENERATION)",
                topic.name, topic.partitions
            ));
        }
    }
    problems
}

fn by_topic(listed: &[Listed]) -> String {
    let rows = listed.iter().map(|topic| {
        vec![
            topic.name.clone(),
            topic.id.clone().unwrap_or_else(|| "does not exist".to_owned()),
            topic.partitions.to_string(),
            grouped(topic.messages),
        ]
    });
    table(&["topic", "id", "partitions", "messages"], 2, rows)
}

fn by_replica(lacking: &[Replicas], looked_at: usize) -> String {
    if lacking.is_empty() {
        return format!("all {looked_at} partitions have a leader and all their replicas in sync");
    }
    let rows = lacking.iter().map(|one| {
        let missing: Vec<String> = one.missing.iter().map(i32::to_string).collect();
        vec![
            one.topic.clone(),
            if one.has_leader { "yes" } else { "none" }.to_owned(),
            missing.join(" "),
            one.partition.to_string(),
            one.in_sync.to_string(),
            one.replicas.to_string(),
        ]
    });
    table(
        &[
            "topic",
            "leader",
            "brokers that lack it",
            "partition",
            "in sync",
            "replicas",
        ],
        3,
        rows,
    )
}

fn by_offset(ranges: &[PartitionRange]) -> String {
    let rows = ranges.iter().map(|range| {
        vec![
            range.partition.to_string(),
            grouped(range.oldest),
            grouped(range.end),
            grouped(range.messages),
            range.at_time.map_or_else(String::new, grouped),
        ]
    });
    table(&["partition", "oldest", "next", "messages", "at that time"], 0, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_lacks_copies_is_shown_with_the_brokers_that_should_have_it() {
        let lacking = Replicas {
            topic: "dlq".to_owned(),
            partition: 4,
            has_leader: false,
            replicas: 3,
            in_sync: 1,
            missing: vec![2, 7],
        };
        let text = by_replica(&[lacking], 9);
        assert!(["dlq", "none", "2 7"].iter().all(|part| text.contains(part)), "{text}");
        let none = by_replica(&[], 9);
        assert!(
            none.starts_with("all 9 partitions") && none.lines().count() == 1,
            "{none}"
        );
    }
}
