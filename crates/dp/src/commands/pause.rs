//! `dp pause` and `dp resume`: stop a stage from taking input, or hold the messages of a tenant, and let it go on.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::builder::PossibleValuesParser;
use ops::connection::Connection;
use ops::definitions::DEFAULT_PORTS;
use ops::pause::{Given, Instance, Paused, State, Wish, give, instances, paused};
use ops::place::Place;
use ops::present::{found, print_either, printable, wrapped};
use ops::targets::{self, Target};
use serde::Serialize;
use service::control::order::{HELD_CODE, Subject};
use service::names::STAGES;

/// Width of the text.
const COLUMNS: usize = 78;
/// In place of a list.
const NONE: &str = "no stage and no tenant is paused";
/// A topic keeps messages for a week; what a longer pause leaves unread is removed.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Pause a stage or a tenant until `dp resume`; without either, list what is paused
///
/// A paused stage takes no more input. It finishes and commits what it has taken, keeps its partitions, and is shown as degraded. Its input waits in Kafka, for the retention
/// of the topics (a week). The order applies to every replica and outlives restarts. Nothing is lost or doubled: after `dp resume` the stage goes
/// on where it stopped.
///
/// Stages: normalization, enrichment, aggregation and projection; their ClickHouse writers (normalization-clickhouse, enrichment-clickhouse,
/// aggregation-clickhouse); aggregation-restate (recomputes bars of late ticks, and finishes only while enrichment-clickhouse works); aggregation-derived (computes derived prices, if any series is configured); aggregation-curves (computes snapshots of curves); projection-served (serves curve snapshots and derived prices); projection-invalidation (carries out `dp cache` requests). Pausing a
/// service's stage leaves its writer running.
///
/// With --tenant, the stages go on, and normalization keeps the messages of that tenant as dead letters (tenant_paused). It begins and ends ten
/// seconds after the order, and counts by the time at which a message reached Kafka. After `dp resume --tenant ID`, `dp dlq replay --code
/// tenant_paused --tenant ID` sends the letters, each once. Letters are kept for 30 days.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 paused everywhere, or nothing to list; 1 not confirmed by every service, or the list is not empty; \
    2 Kafka is unavailable, or wrong usage\n\n\
    Examples:\n  dp pause\n  dp pause enrichment --reason 'restore of the taxonomy' --for 2h\n  \
    dp pause normalization-clickhouse enrichment-clickhouse aggregation-clickhouse --reason 'ClickHouse moves'\n  \
    dp pause --all --reason 'data loss, see ticket 17' --no-wait\n  dp pause --tenant acme --reason 'sends wrong prices'\n  \
    dp pause --json | jq -r '.[] | .stage // .tenant'"
)]
pub struct PauseArgs {
    /// The stages to pause
    #[arg(value_name = "STAGE", value_parser = PossibleValuesParser::new(STAGES), hide_possible_values = true)]
    stages: Vec<String>,
    /// All stages
    #[arg(long, conflicts_with = "stages")]
    all: bool,
    /// Hold the messages of this tenant, in place of a stage
    #[arg(long, value_name = "ID", conflicts_with_all = ["stages", "all"], value_parser = tenant_id)]
    tenant: Option<String>,
    /// Why; shown in health, in the log and in the list
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Resume by itself after this time, up to 168h
    #[arg(long = "for", value_name = "TIME", value_parser = limited)]
    time: Option<Duration>,
    #[command(flatten)]
    how: How,
}

/// Let a paused stage or tenant go on
///
/// A stage goes on where it stopped, and works off what has arrived meanwhile. The messages of a tenant that have arrived meanwhile are dead
/// letters: send them with `dp dlq replay --code tenant_paused --tenant ID`.
#[derive(Debug, clap::Args)]
#[command(
    group(clap::ArgGroup::new("what").required(true)),
    after_help = "Exit codes: 0 every service takes input again; 1 not confirmed by every service; 2 Kafka is unavailable, or wrong usage\n\n\
    Examples:\n  dp resume enrichment\n  dp resume --tenant acme\n  dp resume --all"
)]
pub struct ResumeArgs {
    /// The stages to resume
    #[arg(value_name = "STAGE", group = "what", value_parser = PossibleValuesParser::new(STAGES), hide_possible_values = true)]
    stages: Vec<String>,
    /// All stages and tenants that are paused
    #[arg(long, group = "what")]
    all: bool,
    /// A tenant
    #[arg(long, value_name = "ID", group = "what", value_parser = tenant_id)]
    tenant: Option<String>,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, clap::Args)]
struct How {
    /// Who gives the order
    #[arg(
        long,
        value_name = "NAME",
        env = "USER",
        default_value = "an operator",
        hide_default_value = true
    )]
    by: String,
    /// Do not wait until the services have followed the order
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for the services
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = ops::present::duration, conflicts_with = "no_wait")]
    wait: Duration,
    /// Ask this service instead of the usual ones; may be repeated
    #[arg(long, value_name = "NAME=URL", value_parser = targets::parse, conflicts_with = "no_wait")]
    service: Vec<Target>,
}

fn limited(text: &str) -> Result<Duration, String> {
    let time = ops::present::duration(text)?;
    match (Duration::from_secs(1)..=LONGEST).contains(&time) {
        true => Ok(time),
        false => Err("it must be from 1s to 168h: topics keep messages for a week".to_owned()),
    }
}

/// The id of a tenant, without the blanks that normalization takes away, too.
pub(super) fn tenant_id(text: &str) -> Result<String, String> {
    let id = text.trim();
    match domain::instrument::check_identifier(id) {
        Ok(()) => Ok(id.to_owned()),
        Err(error) => Err(format!("the id of a tenant {error}")),
    }
}

impl PauseArgs {
    /// Whether the command gives an order.
    pub fn writes(&self) -> bool {
        self.all || !self.stages.is_empty() || self.tenant.is_some()
    }
}

/// What a command has done.
#[derive(Debug, Serialize)]
struct Done {
    orders: Vec<Given>,
    /// What the services say; empty with --no-wait.
    instances: Vec<Instance>,
}

/// Runs `dp pause`.
///
/// # Errors
/// Kafka does not answer, or no service is named.
pub async fn pause(place: &Place, connection: &Connection, args: &PauseArgs) -> anyhow::Result<ExitCode> {
    if !args.writes() {
        let paused = paused(connection).await?;
        print_either(connection.json, &paused, || listed(&paused))?;
        return Ok(found(!paused.is_empty()));
    }
    let wish = Wish {
        paused: true,
        by: args.how.by.clone(),
        reason: args.reason.clone(),
        length: args.time,
    };
    let subjects = chosen(&args.stages, args.all, args.tenant.as_ref());
    order(place, connection, &subjects, &wish, &args.how).await
}

/// Runs `dp resume`.
///
/// # Errors
/// Kafka does not answer, or no service is named.
pub async fn resume(place: &Place, connection: &Connection, args: &ResumeArgs) -> anyhow::Result<ExitCode> {
    let paused: Vec<Subject> = paused(connection)
        .await?
        .into_iter()
        .map(|paused| paused.subject)
        .collect();
    let subjects = match args.all {
        true => paused,
        false => {
            let chosen = chosen(&args.stages, false, args.tenant.as_ref());
            if let Some(never) = chosen.iter().find(|subject| !paused.contains(subject)) {
                bail!("{}", not_paused(never, &paused));
            }
            chosen
        }
    };
    let wish = Wish {
        paused: false,
        by: args.how.by.clone(),
        reason: None,
        length: None,
    };
    order(place, connection, &subjects, &wish, &args.how).await
}

fn not_paused(subject: &Subject, paused: &[Subject]) -> String {
    let names: Vec<String> = paused.iter().map(Subject::to_string).collect();
    match names.is_empty() {
        true => format!("{subject} is not paused, and nothing else is; `dp pause` lists what is paused"),
        false => format!("{subject} is not paused; paused are: {}", names.join(", ")),
    }
}

/// The named stages, each once and in the order of the pipeline, or the tenant.
fn chosen(named: &[String], all: bool, tenant: Option<&String>) -> Vec<Subject> {
    let is_chosen = |stage: &&str| all || named.iter().any(|name| name == stage);
    let stages = STAGES.into_iter().filter(is_chosen).map(Subject::Stage);
    stages.chain(tenant.cloned().map(Subject::Tenant)).collect()
}

/// The stages that get their orders together. Late ticks that have been taken wait until the table has them, so their stage
/// finishes only while the writer of that table still works.
fn waves(subjects: &[Subject], is_pause: bool) -> Vec<Vec<Subject>> {
    let waits = |subject: &Subject| *subject == Subject::Stage("aggregation-restate");
    if !is_pause || !subjects.contains(&Subject::Stage("enrichment-clickhouse")) {
        return vec![subjects.to_vec()];
    }
    let (first, rest): (Vec<_>, Vec<_>) = subjects.iter().cloned().partition(waits);
    [first, rest].into_iter().filter(|wave| !wave.is_empty()).collect()
}

async fn order(
    place: &Place,
    connection: &Connection,
    subjects: &[Subject],
    wish: &Wish,
    how: &How,
) -> anyhow::Result<ExitCode> {
    // Before the order: without services to ask, nothing is done, and the error says how to name them.
    let targets = match how.no_wait {
        true => Vec::new(),
        false => targets::find(place, connection, &how.service, &DEFAULT_PORTS)?,
    };
    let (mut orders, mut said) = (Vec::new(), Vec::new());
    for wave in waves(subjects, wish.paused) {
        let given = give(connection, &wave, wish).await?;
        if !how.no_wait {
            said.extend(instances(connection, &targets, &given, how.wait).await?);
        }
        orders.extend(given);
    }
    let instances = said;
    let is_confirmed = instances.iter().all(|instance| instance.state == State::Done);
    let done = Done { orders, instances };
    print_either(connection.json, &done, || told(&done, wish.paused))?;
    Ok(found(!is_confirmed))
}

fn told(done: &Done, is_pause: bool) -> String {
    if done.orders.is_empty() {
        return NONE.to_owned();
    }
    let mut lines: Vec<String> = done
        .instances
        .iter()
        .map(|instance| {
            let name = match instance.service == instance.stage {
                true => instance.stage.to_owned(),
                false => format!("{} of {}", instance.stage, instance.service),
            };
            format!("{name}: {}", printable(&instance.detail))
        })
        .collect();
    let open = done
        .instances
        .iter()
        .filter(|instance| instance.state != State::Done)
        .count();
    let mut tenants = done
        .orders
        .iter()
        .filter(|given| matches!(given.subject, Subject::Tenant(_)));
    let named: Vec<String> = done.orders.iter().map(|given| given.subject.argument()).collect();
    let is_all = tenants.next().is_none() && named.len() == STAGES.len();
    let stages = match is_all {
        true => "--all".to_owned(),
        false => named.join(" "),
    };
    lines.push(match (is_pause, open, done.instances.is_empty()) {
        (true, 0, true) => format!("ordered a pause of {stages}; `dp pause` lists it, `dp resume {stages}` ends it"),
        (false, 0, true) => format!("ordered to resume {stages}"),
        (true, 0, false) => format!("paused {stages}; `dp resume {stages}` ends it"),
        (false, 0, false) => format!("resumed {stages}; `dp groups` shows how it catches up"),
        (_, open, _) => format!(
            "{open} not confirmed: the order stands, and a service follows it when it can; `dp health` shows the services"
        ),
    });
    if !is_pause {
        lines.extend(done.orders.iter().filter_map(next_step));
    }
    lines.join("\n")
}

/// What is left to do for a tenant that is resumed.
fn next_step(given: &Given) -> Option<String> {
    let Subject::Tenant(_) = given.subject else { return None };
    let argument = given.subject.argument();
    Some(format!(
        "next: `dp dlq replay --code {HELD_CODE} {argument}` sends what was held; `dp dlq stats --code {HELD_CODE} {argument}` counts it"
    ))
}

fn listed(paused: &[Paused]) -> String {
    if paused.is_empty() {
        return NONE.to_owned();
    }
    let line = |paused: &Paused| {
        let Paused {
            subject,
            since,
            by,
            reason,
            until,
        } = paused;
        let until = until.map(|until| format!(", until {until:.0}")).unwrap_or_default();
        let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let line = format!("{subject}: paused since {since:.0} by {by}{until}{reason}");
        wrapped(&printable(&line), COLUMNS).join("\n  ")
    };
    let mut lines: Vec<String> = paused.iter().map(line).collect();
    lines.push("`dp resume STAGE` or `dp resume --tenant ID` ends a pause".to_owned());
    lines.join("\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    enum Line {
        Pause(PauseArgs),
        Resume(ResumeArgs),
    }

    fn parsed(words: &[&str]) -> Result<Line, String> {
        Line::try_parse_from([&["dp"], words].concat()).map_err(|error| error.to_string())
    }

    #[test]
    fn stages_are_named_or_all_and_without_them_the_command_lists() {
        for (words, writes, stages) in [
            (&["pause"][..], false, &[][..]),
            (
                &["pause", "projection", "enrichment", "projection"],
                true,
                &["enrichment", "projection"],
            ),
            (&["pause", "--all", "--for", "2h"], true, &STAGES),
        ] {
            let Ok(Line::Pause(args)) = parsed(words) else {
                unreachable!("{words:?}");
            };
            assert_eq!(args.writes(), writes, "{words:?}");
            let stages: Vec<Subject> = stages.iter().copied().map(Subject::Stage).collect();
            assert_eq!(chosen(&args.stages, args.all, None), stages, "{words:?}");
        }
        let Ok(Line::Pause(args)) = parsed(&["pause", "--tenant", " a b "]) else {
            unreachable!();
        };
        assert!(args.writes());
        let chosen = chosen(&args.stages, args.all, args.tenant.as_ref());
        assert_eq!(chosen, [Subject::Tenant("a b".to_owned())]);
        assert!(matches!(parsed(&["resume", "--tenant", "acme"]), Ok(Line::Resume(_))));
        assert!(matches!(parsed(&["resume", "enrichment"]), Ok(Line::Resume(_))));
        assert!(matches!(parsed(&["resume", "--all"]), Ok(Line::Resume(_))));
    }

    #[test]
    fn late_ticks_are_finished_before_the_writer_that_they_wait_for_stops() {
        let of = |stages: &[&'static str]| -> Vec<Subject> { stages.iter().copied().map(Subject::Stage).collect() };
        let all = waves(&of(&STAGES), true);
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [1, STAGES.len() - 1]);
        assert_eq!(all.first().map(Vec::as_slice), Some(&of(&["aggregation-restate"])[..]));
        for (stages, is_pause) in [
            (&STAGES[..], false),
            (&["enrichment-clickhouse"], true),
            (&["aggregation-restate", "projection"], true),
        ] {
            assert_eq!(waves(&of(stages), is_pause), [of(stages)]);
        }
    }

    #[test]
    fn a_wrong_stage_or_time_is_refused_with_what_is_valid() {
        for (words, reason) in [
            (&["pause", "enrich"][..], "enrichment"),
            (&["pause", "acme"], "normalization"),
            (&["pause", "enrichment", "--all"], "cannot be used with"),
            (&["pause", "enrichment", "--for", "169h"], "from 1s to 168h"),
            (&["resume"], "required"),
            (&["resume", "enrichment", "--all"], "cannot be used with"),
            (&["pause", "enrichment", "--tenant", "acme"], "cannot be used with"),
            (&["pause", "--all", "--tenant", "acme"], "cannot be used with"),
            (&["resume", "--all", "--tenant", "acme"], "cannot be used with"),
            (&["pause", "--tenant", "a|b"], "contains '|'"),
            (&["pause", "--tenant", " "], "is empty"),
        ] {
            let refused = parsed(words).err().unwrap();
            assert!(refused.contains(reason), "{words:?}: {refused}");
        }
    }

    #[test]
    fn the_list_says_who_paused_what_until_when_and_why() {
        let time = |text: &str| text.parse().unwrap();
        let mut paused = Paused {
            subject: Subject::Stage("enrichment"),
            since: time("2026-10-01T00:00:00.5Z"),
            by: "ann".to_owned(),
            reason: Some("restore".to_owned()),
            until: Some(time("2026-10-01T02:00:00Z")),
        };
        let text = listed(std::slice::from_ref(&paused)).replace("\n  ", " ");
        let expected = "enrichment: paused since 2026-10-01T00:00:00Z by ann, until 2026-10-01T02:00:00Z: restore\n";
        assert!(text.starts_with(expected), "{text}");
        (paused.reason, paused.until) = (None, None);
        assert!(
            listed(std::slice::from_ref(&paused)).starts_with("enrichment: paused since 2026-10-01T00:00:00Z by ann\n")
        );
        paused.subject = Subject::Tenant("acme".to_owned());
        assert!(
            listed(std::slice::from_ref(&paused))
                .starts_with("tenant acme: paused since 2026-10-01T00:00:00Z by ann\n")
        );
        let row = serde_json::to_value(&paused).unwrap();
        assert_eq!((&row["tenant"], row.get("stage")), (&"acme".into(), None));
        assert_eq!(listed(&[]), NONE);
    }

    #[test]
    fn what_is_not_confirmed_is_said() {
        let order = r#"{"paused":true,"since":"2026-10-01T00:00:00Z","by":"ann"}"#;
        let given = Given {
            subject: Subject::Stage("enrichment"),
            offset: 1,
            order: serde_json::from_str(order).unwrap(),
        };
        let instance = |service: &str, state, detail: &str| Instance {
            service: service.to_owned(),
            stage: "enrichment",
            state,
            detail: detail.to_owned(),
        };
        let mut done = Done {
            orders: vec![given],
            instances: vec![
                instance("enrichment", State::Done, "takes no input"),
                instance("enrichment-2", State::Down, "was killed"),
            ],
        };
        let text = told(&done, true);
        assert!(
            text.starts_with("enrichment: takes no input\nenrichment of enrichment-2: was killed\n1 not confirmed"),
            "{text}"
        );
        done.instances.truncate(1);
        assert!(told(&done, true).ends_with("paused enrichment; `dp resume enrichment` ends it"));
        for given in &mut done.orders {
            given.subject = Subject::Tenant("a b".to_owned());
        }
        let text = told(&done, false);
        let expected = "next: `dp dlq replay --code tenant_paused --tenant='a b'` sends what was held";
        assert!(
            text.contains("\nresumed --tenant='a b'") && text.contains(expected),
            "{text}"
        );
        done.orders.clear();
        assert_eq!(told(&done, false), NONE);
    }
}
