//! `dp position`: shows the position of every consumer, and moves positions over lost or unreadable records.
//!
//! Invariant: a gap is stored before the position moves over it, so `dp verify` always shows it.

mod show;
mod survey;

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::builder::PossibleValuesParser;
use service::clients::{Clients, Dependency, Use};
use service::settings::TABLES;
use stores::AcceptedGap;

use ops::connection::Connection;
use ops::consent;
use ops::hints::command;
use ops::place::Place;
use ops::positions::homes::Homes;
use ops::positions::members;
use ops::positions::survey::{Finding, Standing, Wanted};
use ops::present::{print_json, print_line};
use ops::topic_names::resolve;

use survey::survey_some;

/// Show the position of every consumer; continue after lost or unreadable records.
///
/// Use it when a service has stopped because its position is outside of the log. Begin with `dp position show`: it prints the
/// command that continues, also for a partition that is blocked by a record that cannot be fetched. `accept` and `skip` ask before they give records up.
///
/// A position is stored with the outputs of its consumer: that of a stateless stage in Kafka (committed offset), of a
/// ClickHouse writer in its table and its floor, of projection in PostgreSQL, of aggregation in its state topic. A position
/// is outside of the log for one of two reasons:
///
/// Records were REMOVED before they were processed (retention, deleted records). They are lost; all other offsets remain
/// valid. `dp position accept` moves the position to the oldest remaining record, keeps the state that recognizes
/// repetitions, and stores the gap, so that `dp verify` shows it.
///
/// Records were REPLACED (the topic was deleted and created again, or Kafka lost the end of a log and new records have the old
/// offsets). The new records would be mistaken for repetitions of the old ones, so the position cannot be repaired in place.
/// Start a new generation, which is built from the raw log next to the old tables.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp position show\n  dp position accept enrichment --dry-run\n  \
    dp position skip normalization --topic ingestion.market.raw.v1 --partition 2 --to 1481"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

impl Args {
    /// Whether it moves a position.
    pub fn writes(&self) -> bool {
        match &self.command {
            Command::Show(_) => false,
            Command::Accept(args) => !args.how.dry_run,
            Command::Skip(args) => !args.how.dry_run,
        }
    }
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Show(show::ShowArgs),
    Accept(AcceptArgs),
    Skip(SkipArgs),
}

/// Continue after records were removed before a service had processed them.
///
/// The removed records are given up. The command looks at every partition and at every consumer of the service, which are its
/// stages and its ClickHouse writer. For each position older than the log, it stores the gap in ClickHouse (table
/// accepted_gaps) and then moves the position to the oldest record. All other positions are left alone. Stop the service
/// first with `dp stop SERVICE`, in Kubernetes with `kubectl scale --replicas=0`, and start it again afterwards.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  dp position accept enrichment --dry-run\n  \
    dp position accept normalization --topic ingestion.market.raw.v1 --partition 0 --reason outage")]
struct AcceptArgs {
    /// The stopped service
    #[arg(value_name = "SERVICE", value_parser = PossibleValuesParser::new(TABLES))]
    service: String,
    /// Limit to this topic; short names such as raw and bars are accepted
    #[arg(long)]
    topic: Option<String>,
    /// Limit to this partition
    #[arg(long, value_name = "N", requires = "topic")]
    partition: Option<i32>,
    #[command(flatten)]
    how: How,
}

/// Skip records that cannot be fetched from Kafka.
///
/// Use it if the health check or log of a service names an offset that cannot be fetched, together with this command. A
/// record that can be fetched never needs it: it becomes ticks or a dead letter. The command stores the gap, so that
/// `dp verify` shows it, and then moves the position of one consumer forward to --to. Records from the position up to --to are
/// never processed. Stop the service first, as for accept, and start it again afterwards.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  \
    dp position skip normalization --topic ingestion.market.raw.v1 --partition 2 --to 1481")]
struct SkipArgs {
    /// Service that reads the topic
    #[arg(value_name = "SERVICE", value_parser = PossibleValuesParser::new(TABLES))]
    service: String,
    /// Topic of the records; short names such as raw and bars are accepted
    #[arg(long)]
    topic: String,
    /// Partition of the records
    #[arg(long, value_name = "N")]
    partition: i32,
    /// Next offset to read
    #[arg(long, value_name = "OFFSET")]
    to: i64,
    /// Consumer group, needed if several groups of the service read the topic
    #[arg(long)]
    group: Option<String>,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, clap::Args)]
struct How {
    /// Reason, stored with the gap
    #[arg(long, value_name = "WORDS", default_value = "", hide_default_value = true)]
    reason: String,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs `dp position …`; `yes` skips the question before records are given up.
///
/// # Errors
/// A server does not answer, the service still runs, the user does not confirm, or the position cannot be repaired in place.
pub async fn run(place: &Place, connection: &Connection, args: &Args, yes: bool) -> anyhow::Result<ExitCode> {
    let homes = Homes::open(connection).await?;
    match &args.command {
        Command::Show(args) => show::run(place, connection, &homes, args).await,
        Command::Accept(args) => accept(connection, &homes, args, yes).await.map(|()| ExitCode::SUCCESS),
        Command::Skip(args) => skip(connection, &homes, args, yes).await.map(|()| ExitCode::SUCCESS),
    }
}

async fn accept(connection: &Connection, homes: &Homes<'_>, args: &AcceptArgs, yes: bool) -> anyhow::Result<()> {
    let wanted = Wanted {
        service: Some(args.service.clone()),
        topic: args
            .topic
            .as_deref()
            .map(|topic| resolve(&connection.names, topic))
            .transpose()?,
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
            "{}: {why}; new records would be mistaken for old ones, so the position cannot be repaired in place. Stop the \
             services, set DATA_PROC_GENERATION for all of them, and run `{}`",
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
    pass(connection, homes, &lost, ("accept", yes), &args.how).await
}

async fn skip(connection: &Connection, homes: &Homes<'_>, args: &SkipArgs, yes: bool) -> anyhow::Result<()> {
    let wanted = Wanted {
        service: Some(args.service.clone()),
        topic: Some(resolve(&connection.names, &args.topic)?),
        partition: Some(args.partition),
    };
    let standings = survey_some(connection, homes, &wanted).await?;
    let standing = the_one(&standings, args)?;
    if matches!(standing.finding, Finding::Replaced { .. }) {
        bail!(
            "{}: this is not the log that was read before; see `dp position show`",
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
            "{} has no position in {} yet: start the service first; it stores one within a second",
            standing.consumer.group,
            standing.partition
        );
    }
    if !(position..=next).contains(&args.to) {
        bail!(
            "--to {} is not between the position {position} and the end of the log {next} of {}: a position cannot move \
             backward or beyond the end of its log",
            args.to,
            standing.partition
        );
    }
    let passed: Vec<(&Standing, i64)> = (args.to > position)
        .then_some((standing, args.to))
        .into_iter()
        .collect();
    pass(connection, homes, &passed, ("skip", yes), &args.how).await
}

/// The one position to move. Moving a second one would skip records that its consumer can read.
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

/// Stores the gaps, then moves the positions over them.
async fn pass(
    connection: &Connection,
    homes: &Homes<'_>,
    passed: &[(&Standing, i64)],
    (action, yes): (&str, bool),
    how: &How,
) -> anyhow::Result<()> {
    let gaps: Vec<AcceptedGap> = passed
        .iter()
        .map(|(standing, to)| gap(standing, *to, action, how))
        .collect();
    if !how.dry_run && !gaps.is_empty() {
        consent::ask(&given_up(&gaps), action, yes).await?;
        move_over(connection, homes, passed, &gaps).await?;
    }
    if connection.json {
        return print_json(&serde_json::json!({ "dry_run": how.dry_run, "passed": gaps }));
    }
    for gap in &gaps {
        print_line(&format!(
            "{} {}[{}]: offsets {} to {} ({} in all) {} skipped by {}",
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
            "start the service again: {}; {} shows the gap",
            command(&format!("dp start {}", standing.consumer.service)),
            command("dp verify")
        ),
        (false, ..) => "nothing was changed (--dry-run)".to_owned(),
        (true, ..) => "every position is within its log; nothing to do".to_owned(),
    })
}

/// What the user is asked to confirm.
fn given_up(gaps: &[AcceptedGap]) -> String {
    let each = gaps.iter().map(|gap| {
        let (from, to, records) = (gap.from_offset, gap.to_offset - 1, gap.to_offset - gap.from_offset);
        format!(
            "{records} record(s) of {}[{}] for {} (offsets {from} to {to})",
            gap.topic, gap.partition, gap.consumer_group
        )
    });
    format!("give up for good {}", each.collect::<Vec<_>>().join(", "))
}

async fn move_over(
    connection: &Connection,
    homes: &Homes<'_>,
    passed: &[(&Standing, i64)],
    gaps: &[AcceptedGap],
) -> anyhow::Result<()> {
    for (standing, _) in passed {
        wait_until_stopped(connection, standing).await?;
    }
    migrated(connection).await?;
    for ((standing, to), gap) in passed.iter().zip(gaps) {
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
    Ok(())
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

async fn wait_until_stopped(connection: &Connection, standing: &Standing) -> anyhow::Result<()> {
    let groups = [standing.consumer.group.clone()];
    let still = members::await_none(connection, &groups, members::GONE_WITHIN).await?;
    let Some(active) = still.first() else {
        return Ok(());
    };
    let service = standing.consumer.service;
    bail!(
        "{service} still runs: {active}, which would overwrite the new position. Stop it first: {}, then run this command again",
        members::how_to_stop(&[service])
    )
}

/// Creates the table of gaps in an installation that is older than this table.
async fn migrated(connection: &Connection) -> anyhow::Result<()> {
    let uses = [Dependency::ClickHouse].map(Use::required);
    Clients::connect(&uses, &connection.settings, &connection.names)
        .map_err(|error| anyhow::anyhow!(error))?
        .migrate_clickhouse()
        .await
        .context("update the tables")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_names_what_is_given_up() {
        let gap = AcceptedGap {
            service: "enrichment".to_owned(),
            consumer_group: "enrichment-local".to_owned(),
            topic: "normalized".to_owned(),
            topic_id: String::new(),
            partition: 3,
            from_offset: 10,
            to_offset: 15,
            action: "accept".to_owned(),
            reason: String::new(),
            accepted_by: String::new(),
        };
        assert_eq!(
            given_up(&[gap]),
            "give up for good 5 record(s) of normalized[3] for enrichment-local (offsets 10 to 14)"
        );
    }
}
