//! `dp position`: where every consumer stands; accepts what a log has lost, and passes what cannot be read.

mod show;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use service::clients::{Clients, Dependency, Use};
use stores::AcceptedGap;
use stream::kafka::groups::GroupReader;

use super::present::{print_json, print_line};
use crate::connection::Connection;
use crate::positions::homes::Homes;
use crate::positions::survey::{self, Finding, Standing, Wanted};

/// A service that has just ended leaves its group at once; one that was killed is missed after 10 s.
const MEMBERS_GONE_WITHIN: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Show where every consumer stands, accept what a log has lost, pass what cannot be read.
///
/// A position lives where its outputs live: the stateless stages have it in Kafka (committed offset), the ClickHouse writers
/// in their tables (and a floor beside them), projection in PostgreSQL, aggregation in its state topic. A service that finds
/// its position outside of the log stops, and names the command that continues. Two things may have happened:
///
/// Records were REMOVED that were never processed (retention, deleted records). They are lost, and everything else still
/// means what it meant: `dp position accept` moves the position to the oldest record that is left, keeps what is known of
/// repetitions, and stores the gap, so that `dp verify` shows it.
///
/// Records were REPLACED (the topic was deleted and made again, or Kafka lost the end of a log and new records took the old
/// offsets). They would be taken for repetitions of the old ones. Nothing in place is sound: a new generation is built from
/// the raw log, beside the old tables.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

impl Args {
    /// Whether it moves a position.
    pub fn writes(&self) -> bool {
        !matches!(self.command, Command::Show(_))
    }
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Show(ShowArgs),
    Accept(AcceptArgs),
    Skip(SkipArgs),
}

/// Show every position with the range of its log, and the command where one is needed.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 every position is within its log; 1 one is not.\n\nExamples:\n  dp position show\n  \
    dp position show enrichment\n  dp position show --json | jq '.[] | select(.command)'"
)]
struct ShowArgs {
    /// Only of this service
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
}

/// Accept that records were removed before a service had processed them.
///
/// For each consumer of the service (its stage, and its ClickHouse writer) and each partition whose position is older than
/// the log: the gap is stored in ClickHouse (accepted_gaps), then the position moves to the oldest record. Positions within
/// their logs stay. The service must be stopped: `dp stop SERVICE`, in Kubernetes `kubectl scale --replicas=0`. It continues
/// when it is started again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  dp position accept enrichment --dry-run\n  \
    dp position accept normalization --topic ingestion.market.raw.v1 --partition 0 --reason 'retention during the outage'")]
struct AcceptArgs {
    /// Service that has stopped: normalization, enrichment, aggregation or projection
    #[arg(value_name = "SERVICE")]
    service: String,
    /// Only in this topic
    #[arg(long)]
    topic: Option<String>,
    /// Only in this partition
    #[arg(long, value_name = "N", requires = "topic")]
    partition: Option<i32>,
    #[command(flatten)]
    how: How,
}

/// Pass records that cannot be read.
///
/// Moves the position of one consumer forward to --to, the first offset that is read again; everything from the position up
/// to there is never processed. The gap is stored first, so that `dp verify` shows it. For a place that cannot be fetched,
/// which health, log and metric name with this command. What can be fetched never needs it: it becomes ticks or a dead
/// letter. The service must be stopped, as for accept.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  \
    dp position skip normalization --topic ingestion.market.raw.v1 --partition 2 --to 1481")]
struct SkipArgs {
    /// Service that reads the topic
    #[arg(value_name = "SERVICE")]
    service: String,
    /// Topic
    #[arg(long)]
    topic: String,
    /// Partition
    #[arg(long, value_name = "N")]
    partition: i32,
    /// First offset to be read again
    #[arg(long, value_name = "OFFSET")]
    to: i64,
    /// Only of this consumer group, where two of the service read the topic
    #[arg(long)]
    group: Option<String>,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, clap::Args)]
struct How {
    /// Why: shown by `dp verify` later
    #[arg(long, value_name = "WORDS", default_value = "")]
    reason: String,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs `dp position …`.
///
/// # Errors
/// A server does not answer, the service still runs, or there is nothing sound to be done.
pub async fn run(connection: &Connection, args: &Args) -> anyhow::Result<ExitCode> {
    let homes = Homes::open(connection).await?;
    match &args.command {
        Command::Show(args) => show::run(connection, &homes, args).await,
        Command::Accept(args) => accept(connection, &homes, args).await.map(|()| ExitCode::SUCCESS),
        Command::Skip(args) => skip(connection, &homes, args).await.map(|()| ExitCode::SUCCESS),
    }
}

async fn accept(connection: &Connection, homes: &Homes<'_>, args: &AcceptArgs) -> anyhow::Result<()> {
    let wanted = Wanted {
        service: Some(args.service.clone()),
        topic: args.topic.clone(),
        partition: args.partition,
    };
    let standings = survey_some(connection, homes, &wanted).await?;
    if let Some(standing) = standings
        .iter()
        .find(|standing| matches!(standing.finding, Finding::Replaced { .. }))
    {
        let Finding::Replaced { why } = &standing.finding else {
            return Ok(());
        };
        bail!(
            "{}: {why}; new records would be taken for old ones, so nothing can be accepted in place. Stop the services, set \
             DATA_PROC_GENERATION for all of them, and run `{}`",
            standing.partition,
            standing.remedy(connection.names.generation()).unwrap_or_default()
        );
    }
    let lost: Vec<(&Standing, i64)> = standings
        .iter()
        .filter_map(|standing| match standing.finding {
            Finding::Removed { to, .. } => Some((standing, to)),
            _ => None,
        })
        .collect();
    pass(connection, homes, &lost, "accept", &args.how).await
}

async fn skip(connection: &Connection, homes: &Homes<'_>, args: &SkipArgs) -> anyhow::Result<()> {
    let wanted = Wanted {
        service: Some(args.service.clone()),
        topic: Some(args.topic.clone()),
        partition: Some(args.partition),
    };
    let standings = survey_some(connection, homes, &wanted).await?;
    let standing = the_one(&standings, args)?;
    if matches!(standing.finding, Finding::Replaced { .. }) {
        bail!(
            "{}: the log is another one than that which was read; see `dp position show`",
            standing.partition
        );
    }
    let position = standing
        .stored
        .as_ref()
        .map_or(standing.range.0, |stored| stored.next_offset);
    let (_, next) = standing.range;
    if standing.stored.is_none() {
        bail!(
            "{} has no position in {} yet: start the service first, it stores one within a second",
            standing.consumer.group,
            standing.partition
        );
    }
    if !(position..=next).contains(&args.to) {
        bail!(
            "--to {} is not between the position {position} and the end of the log {next} of {}: nothing behind a position is \
             read again, and nothing that does not exist yet can be passed",
            args.to,
            standing.partition
        );
    }
    let passed: Vec<(&Standing, i64)> = (args.to > position)
        .then_some((standing, args.to))
        .into_iter()
        .collect();
    pass(connection, homes, &passed, "skip", &args.how).await
}

/// The one position that is meant: to move another one too would pass records that it can read.
fn the_one<'s>(standings: &'s [Standing], args: &SkipArgs) -> anyhow::Result<&'s Standing> {
    let is_meant = |standing: &&Standing| {
        let group = &standing.consumer.group;
        args.group.as_ref().is_none_or(|wanted| wanted == group)
    };
    let meant: Vec<&Standing> = standings.iter().filter(is_meant).collect();
    if let [one] = meant[..] {
        return Ok(one);
    }
    let groups = standings.iter().map(|standing| {
        let stored = standing.stored.as_ref().map(|stored| stored.next_offset);
        let at = stored.map_or_else(|| "has no position yet".to_owned(), |next| format!("is at {next}"));
        format!("{} {at}", standing.consumer.group)
    });
    let groups: Vec<String> = groups.collect();
    bail!(
        "name one consumer group of {} with --group: in {}[{}] {}",
        args.service,
        args.topic,
        args.partition,
        groups.join(", ")
    )
}

async fn survey_some(connection: &Connection, homes: &Homes<'_>, wanted: &Wanted) -> anyhow::Result<Vec<Standing>> {
    let standings = survey::survey(connection, homes, wanted).await?;
    if standings.is_empty() {
        let known: Vec<String> = crate::positions::consumers(&connection.names)
            .iter()
            .map(|consumer| format!("{} reads {}", consumer.service, consumer.topic))
            .collect();
        bail!("nobody reads that: {}", known.join(", "));
    }
    Ok(standings)
}

/// Stores the gaps, and moves the positions over them.
async fn pass(
    connection: &Connection,
    homes: &Homes<'_>,
    passed: &[(&Standing, i64)],
    action: &str,
    how: &How,
) -> anyhow::Result<()> {
    let gaps: Vec<AcceptedGap> = passed
        .iter()
        .map(|(standing, to)| gap(standing, *to, action, how))
        .collect();
    if !how.dry_run && !gaps.is_empty() {
        for (standing, _) in passed {
            wait_until_stopped(connection, standing).await?;
        }
        migrated(connection).await?;
        for ((standing, to), gap) in passed.iter().zip(&gaps) {
            let Some(stored) = &standing.stored else { continue };
            homes
                .clickhouse()
                .accept_gap(gap)
                .await
                .context("store the gap in ClickHouse")?;
            homes
                .advance(&standing.consumer, &standing.partition, stored, *to)
                .await
                .with_context(|| format!("move the position of {}", standing.consumer.group))?;
        }
    }
    if connection.json {
        return print_json(&serde_json::json!({ "dry_run": how.dry_run, "passed": gaps }));
    }
    for gap in &gaps {
        print_line(&format!(
            "{} {}[{}]: offsets {} to {} ({} in all) {} passed by {}",
            if how.dry_run { "would accept" } else { "accepted" },
            gap.topic,
            gap.partition,
            gap.from_offset,
            gap.to_offset - 1,
            gap.to_offset - gap.from_offset,
            if how.dry_run { "would be" } else { "are" },
            gap.consumer_group
        ))?;
    }
    print_line(&match (gaps.is_empty(), how.dry_run, passed.first()) {
        (false, false, Some((standing, _))) => format!(
            "start the service again: dp start {}; `dp verify` shows the gap",
            standing.consumer.service
        ),
        (false, ..) => "nothing was changed (--dry-run)".to_owned(),
        (true, ..) => "every position is within its log: there is nothing to accept".to_owned(),
    })
}

fn gap(standing: &Standing, to: i64, action: &str, how: &How) -> AcceptedGap {
    AcceptedGap {
        service: standing.consumer.service.to_owned(),
        consumer_group: standing.consumer.group.clone(),
        topic: standing.consumer.topic.clone(),
        topic_id: standing.topic_id.clone(),
        partition: standing.partition.number,
        from_offset: standing.stored.as_ref().map_or(to, |stored| stored.next_offset),
        to_offset: to,
        action: action.to_owned(),
        reason: how.reason.clone(),
        accepted_by: std::env::var("USER")
            .or_else(|_| std::env::var("LOGNAME"))
            .unwrap_or_default(),
    }
}

/// A running member would write its own position over the new one, and Kafka refuses commits for it.
async fn wait_until_stopped(connection: &Connection, standing: &Standing) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let (bootstrap, group) = (
            connection.settings.kafka_bootstrap.clone(),
            standing.consumer.group.clone(),
        );
        let state = survey::blocking(move || GroupReader::new(&bootstrap, &group)?.state()).await?;
        let members = state.map_or(0, |state| state.members);
        if members == 0 {
            return Ok(());
        }
        if started.elapsed() > MEMBERS_GONE_WITHIN {
            let service = standing.consumer.service;
            bail!(
                "{service} still runs: group {} has {members} member(s), which would continue from their own position. Stop it \
                 first: `dp stop {service}` (in Kubernetes: kubectl scale deployment/{service}-service --replicas=0), then run \
                 this again",
                standing.consumer.group
            );
        }
        if started.elapsed() < LOOK_AGAIN {
            eprintln!("waiting until group {} has no members", standing.consumer.group);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// An installation that was made before there was a table of gaps gets it.
async fn migrated(connection: &Connection) -> anyhow::Result<()> {
    let uses = [Dependency::ClickHouse].map(Use::required);
    Clients::connect(&uses, &connection.settings, &connection.names)
        .map_err(|error| anyhow::anyhow!(error))?
        .migrate_clickhouse()
        .await
        .context("bring the tables up to date")
}
