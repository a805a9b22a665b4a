//! `dp kafka reset-offsets`: arguments, the plan and the report.

use std::process::ExitCode;

use anyhow::bail;
use ops::connection::Connection;
use ops::positions::members::{self, Active, how_to_stop};
use ops::positions::reset::{Plan, Target, carry_out, plan};
use ops::present::{found, grouped, moment, print_either, table};
use ops::topic_names::resolve;

/// Set the committed offsets of a consumer group; without --yes only show the plan
///
/// The group must have no members: stop its service first. Backwards is safe for every group of the pipeline: what is read again is
/// recognized by its origin, and nothing is doubled. Most groups do not continue from these offsets (`dp position show`); for them the
/// command changes what lag tools show until the service starts. Forwards is refused for stages, because messages would be skipped in
/// silence: `dp position skip` records what it skips.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 set, or the plan can be carried out; 1 refused, or the group of a plan has members; 2 the group still has \
    members with --yes, Kafka is unavailable, or wrong usage\n\n\
    Examples:\n  dp kafka reset-offsets --group normalization-local --to earliest\n  \
    dp kafka reset-offsets --group enrichment-local --to 2h --yes\n  \
    dp kafka reset-offsets --group my-readers --topic bars --to 2026-10-01T00:00Z --execute"
)]
pub struct Args {
    /// Consumer group
    #[arg(long)]
    group: String,
    /// Only this topic; needed if the group is not one of the pipeline
    #[arg(long)]
    topic: Option<String>,
    /// earliest, latest, an offset, a time, or a length of time before now
    #[arg(long, value_name = "WHERE", value_parser = target)]
    to: Target,
    /// The same as --yes
    #[arg(long)]
    execute: bool,
}

impl Args {
    /// Whether the offsets are set.
    pub fn writes(&self, yes: bool) -> bool {
        yes || self.execute
    }
}

fn target(text: &str) -> Result<Target, String> {
    match text {
        "earliest" => Ok(Target::Earliest),
        "latest" => Ok(Target::Latest),
        _ => match text.parse::<i64>() {
            Ok(offset) if offset >= 0 => Ok(Target::Offset(offset)),
            _ => moment(text)
                .map(|time| Target::Time(time.as_microsecond()))
                .map_err(|refused| format!("use earliest, latest, an offset, or a time; {refused}")),
        },
    }
}

/// Runs `dp kafka reset-offsets`; without `yes` it is a dry run.
///
/// # Errors
/// The group has members, or Kafka does not answer.
pub async fn run(connection: &Connection, args: &Args, yes: bool) -> anyhow::Result<ExitCode> {
    let topic = args
        .topic
        .as_deref()
        .map(|topic| resolve(&connection.names, topic))
        .transpose()?;
    let plan = plan(connection, &args.group, topic.as_deref(), args.to).await?;
    let is_refused = plan.skips().is_some();
    let executes = args.writes(yes) && !is_refused;
    if executes {
        refuse_active(connection, &plan).await?;
        carry_out(connection, &plan).await?;
    }
    let groups = [plan.group.clone()];
    let active = match executes {
        true => None,
        false => members::active(connection, &groups).await?.into_iter().next(),
    };
    let shown = serde_json::json!({ "executed": executes, "refused": is_refused, "active": active, "plan": plan });
    print_either(connection.json, &shown, || text(&plan, executes, active.as_ref()))?;
    Ok(found(is_refused || active.is_some()))
}

/// How to stop the members of the group.
fn stopped_by(plan: &Plan) -> String {
    plan.service
        .map_or_else(|| "its programs".to_owned(), |service| how_to_stop(&[service]))
}

/// A running member would overwrite the new offsets, and Kafka rejects the commit.
async fn refuse_active(connection: &Connection, plan: &Plan) -> anyhow::Result<()> {
    let groups = [plan.group.clone()];
    let still = members::await_none(connection, &groups, members::GONE_WITHIN).await?;
    let Some(active) = still.first() else {
        return Ok(());
    };
    let how = stopped_by(plan);
    bail!("{active}: Kafka sets no offsets of an active group. Stop it first: {how}, then run this command again")
}

fn text(plan: &Plan, executed: bool, active: Option<&Active>) -> String {
    let rows = plan.rows.iter().map(|row| {
        let skipped = if row.skipped > 0 {
            format!("-{}", grouped(row.skipped))
        } else {
            grouped(row.again)
        };
        vec![
            row.topic.clone(),
            row.partition.to_string(),
            row.current.map_or_else(|| "none".to_owned(), grouped),
            grouped(row.new),
            skipped,
        ]
    });
    let mut text = table(&["topic", "partition", "current", "new", "read again"], 1, rows);
    if let Some(row) = plan.skips() {
        let service = plan.service.unwrap_or_default();
        text.push_str(&format!(
            "\nrefused: {} message(s) of {}[{}] would be skipped in silence. `dp position skip {service} --topic {} --partition {} --to {}` \
             skips them and stores the gap",
            grouped(row.skipped), row.topic, row.partition, row.topic, row.partition, row.new
        ));
        return text;
    }
    if let (false, Some(home)) = (plan.is_position, &plan.home) {
        text.push_str(&format!(
            "\n{} does not continue from these offsets, but from its position in {home}: it sets them again when it starts",
            plan.group
        ));
    }
    let start = plan
        .service
        .map_or_else(String::new, |service| format!("; start it again: `dp start {service}`"));
    text.push_str(&match (executed, active) {
        (true, _) => format!("\nthe offsets are set{start}"),
        (false, None) => "\nnothing was changed; --yes sets these offsets".to_owned(),
        (false, Some(active)) => format!(
            "\nnothing was changed. {active}, and Kafka sets no offsets of an active group: stop it first, {}; then --yes sets these offsets",
            stopped_by(plan)
        ),
    });
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_for_an_active_group_says_how_to_stop_it() {
        let mut plan = Plan {
            group: "enrichment-local".to_owned(),
            service: Some("enrichment"),
            is_position: true,
            home: None,
            rows: Vec::new(),
        };
        let active = Active {
            group: plan.group.clone(),
            members: 2,
        };
        assert!(text(&plan, false, None).ends_with("--yes sets these offsets"));
        let told = text(&plan, false, Some(&active));
        assert!(
            told.contains("has 2 member(s)") && told.contains("dp stop enrichment"),
            "{told}"
        );
        plan.service = None;
        assert!(text(&plan, false, Some(&active)).contains("its programs"));
    }

    #[test]
    fn every_form_of_a_target_is_read() {
        assert_eq!(target("earliest"), Ok(Target::Earliest));
        assert_eq!(target("latest"), Ok(Target::Latest));
        assert_eq!(target("1481"), Ok(Target::Offset(1_481)));
        assert!(matches!(target("2026-10-01T00:00Z"), Ok(Target::Time(_))));
        assert!(matches!(target("2h"), Ok(Target::Time(_))));
        assert!(target("-5").unwrap_err().contains("earliest") && target("first").is_err());
    }
}
