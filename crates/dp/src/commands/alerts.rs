//! `dp alerts`: what fires in Alertmanager, who has silenced it, and acknowledgements.
//!
//! An acknowledgement is a silence of exactly the labels of one alert, with its author and a comment: until it ends, nobody is called.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use ops::alerts::alert::{matchers, named, silences_named};
use ops::alerts::{Alert, Alertmanager, Matcher, Reason, Silence, State};
use ops::connection::Connection;
use ops::consent;
use ops::place::Place;
use ops::present::{duration, found, milliseconds, print_either, printable, wrapped};
use ops::progress::waiting;
use serde::Serialize;
use service::settings::Environment;

/// Width of the text: that of the smallest terminal in use.
const COLUMNS: usize = 80;
/// Width of the column of severities.
const INDENT: usize = 10;

/// List the alerts that fire, acknowledge and silence them
///
/// Alertmanager is at DATA_PROC_ALERTMANAGER_URL; without it, dp uses the one that `make monitor` starts for the local stack.
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(ListArgs),
    Ack(AckArgs),
    Silence(SilenceArgs),
    Unsilence(UnsilenceArgs),
}

/// List alerts, the worst and oldest first, and silences
///
/// Each alert has its severity, age, id, summary, labels and runbook. A silenced alert names who silenced it and until when; an inhibited one
/// is a consequence of another alert.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing fires; 1 an alert fires that is neither silenced nor inhibited; 2 Alertmanager does not answer\n\n\
    Examples:\n  dp alerts list\n  dp alerts list --severity critical,warning\n  \
    dp alerts list --json | jq -r '.alerts[] | .severity + \" \" + .name + \" \" + .runbook'"
)]
struct ListArgs {
    /// Only alerts of these severities, separated by commas
    #[arg(long, value_name = "SEVERITIES", value_delimiter = ',')]
    severity: Vec<String>,
}

/// Acknowledge an alert: silence exactly its labels for some time
///
/// Nobody is called for it until the time is over, and the escalation after 15 minutes does not happen. Other alerts are not affected.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp alerts ack RedisDown --by ann --message 'disk replaced, restarting'\n  \
    dp alerts ack 3f2a --by ann --message 'known, see ticket 17' --for 30m"
)]
struct AckArgs {
    /// The beginning of its id, or its name if no other alert has it
    #[arg(value_name = "ALERT")]
    alert: String,
    #[command(flatten)]
    reason: ReasonArgs,
}

/// Silence everything with these labels, for example before maintenance
///
/// All conditions must hold. Outside of the local environment it asks for confirmation (--yes answers it), because it may mute alerts that do not
/// exist yet.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp alerts silence service=projection --by ann --message 'upgrade of PostgreSQL' --for 1h\n  \
    dp alerts silence 'alertname=~Redis.*' 'severity!=critical' --by ann --message 'Redis moves'"
)]
struct SilenceArgs {
    /// A condition on a label: NAME=VALUE, NAME!=VALUE, NAME=~EXPRESSION or NAME!~EXPRESSION
    #[arg(value_name = "CONDITION", required = true, value_parser = Matcher::parse)]
    conditions: Vec<Matcher>,
    #[command(flatten)]
    reason: ReasonArgs,
}

/// End a silence, or the silences of an alert
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  dp alerts unsilence 8a51c7e0\n  dp alerts unsilence RedisDown")]
struct UnsilenceArgs {
    /// The beginning of the id of a silence; or an alert, as for `dp alerts ack`
    #[arg(value_name = "SILENCE")]
    silence: String,
}

#[derive(Debug, clap::Args)]
struct ReasonArgs {
    /// Who does it
    #[arg(long, value_name = "NAME", env = "USER")]
    by: String,
    /// Why, for the others
    #[arg(long, visible_alias = "comment", value_name = "TEXT")]
    message: String,
    /// For how long
    #[arg(long = "for", value_name = "TIME", default_value = "2h", value_parser = duration)]
    length: Duration,
}

impl ReasonArgs {
    fn reason(&self) -> Reason {
        Reason {
            author: self.by.clone(),
            comment: self.message.clone(),
            length: self.length,
        }
    }
}

/// Runs `dp alerts`.
///
/// # Errors
/// No Alertmanager is named, it does not answer, or it refuses.
pub async fn run(place: &Place, connection: &Connection, args: &Args, yes: bool) -> anyhow::Result<ExitCode> {
    let alertmanager = Alertmanager::required(place, connection)?;
    let json = connection.json;
    match &args.command {
        Command::List(args) => list(&alertmanager, args, json).await,
        Command::Ack(args) => ack(&alertmanager, args, json).await,
        Command::Silence(args) => {
            let environment = connection.settings.environment;
            if environment != Environment::Local {
                let shown: Vec<String> = args.conditions.iter().map(Matcher::shown).collect();
                let what = format!("silence {} at {}", shown.join(", "), alertmanager.address());
                consent::ask(&what, environment.name(), yes).await?;
            }
            silence(&alertmanager, &args.conditions, &args.reason.reason(), json).await
        }
        Command::Unsilence(args) => unsilence(&alertmanager, args, json).await,
    }
}

#[derive(Serialize)]
struct Listed {
    alerts: Vec<Alert>,
    silences: Vec<Silence>,
}

async fn asked(alertmanager: &Alertmanager) -> anyhow::Result<Listed> {
    let what = format!("asking Alertmanager at {}", alertmanager.address());
    let (alerts, silences) = waiting(&what, alertmanager.alerts()).await?;
    Ok(Listed { alerts, silences })
}

async fn list(alertmanager: &Alertmanager, args: &ListArgs, json: bool) -> anyhow::Result<ExitCode> {
    let mut listed = asked(alertmanager).await?;
    if !args.severity.is_empty() {
        listed.alerts.retain(|alert| args.severity.contains(&alert.severity));
    }
    print_either(json, &listed, || text(&listed, jiff::Timestamp::now()))?;
    Ok(found(listed.alerts.iter().any(|alert| alert.state == State::Firing)))
}

async fn ack(alertmanager: &Alertmanager, args: &AckArgs, json: bool) -> anyhow::Result<ExitCode> {
    let listed = asked(alertmanager).await?;
    let alert = named(&listed.alerts, &args.alert).map_err(|problem| anyhow!(problem))?;
    silence(alertmanager, &matchers(alert), &args.reason.reason(), json).await
}

#[derive(Serialize)]
struct Silenced<'a> {
    silence: String,
    matchers: &'a [Matcher],
    seconds: u64,
}

async fn silence(
    alertmanager: &Alertmanager,
    matchers: &[Matcher],
    reason: &Reason,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let silenced = Silenced {
        silence: alertmanager
            .silence(matchers, reason)
            .await
            .context("create the silence")?,
        matchers,
        seconds: reason.length.as_secs(),
    };
    print_either(json, &silenced, || {
        let shown: Vec<String> = matchers.iter().map(|matcher| printable(&matcher.shown())).collect();
        format!(
            "silenced for {}: {}\n`dp alerts unsilence {}` ends it",
            milliseconds(i64::try_from(reason.length.as_millis()).unwrap_or(i64::MAX)),
            shown.join(", "),
            silenced.silence
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn unsilence(alertmanager: &Alertmanager, args: &UnsilenceArgs, json: bool) -> anyhow::Result<ExitCode> {
    let listed = asked(alertmanager).await?;
    let ids = silences_named(&listed.alerts, &listed.silences, &args.silence).map_err(|problem| anyhow!(problem))?;
    for id in &ids {
        alertmanager
            .expire(id)
            .await
            .with_context(|| format!("end silence {id}"))?;
    }
    print_either(json, &serde_json::json!({ "ended": ids }), || {
        format!("ended: {}", ids.join(", "))
    })?;
    Ok(ExitCode::SUCCESS)
}

fn text(listed: &Listed, now: jiff::Timestamp) -> String {
    let firing = listed
        .alerts
        .iter()
        .filter(|alert| alert.state == State::Firing)
        .count();
    let mut text: String = listed.alerts.iter().map(|alert| block(alert, now)).collect();
    text.extend(listed.silences.iter().map(silence_block));
    text.push_str(&format!(
        "{firing} firing, {} silenced or inhibited; {} silence(s)",
        listed.alerts.len() - firing,
        listed.silences.len()
    ));
    text
}

/// An alert: its first line begins with the severity.
fn block(alert: &Alert, now: jiff::Timestamp) -> String {
    let age = milliseconds(
        now.duration_since(alert.since)
            .as_millis()
            .try_into()
            .unwrap_or(i64::MAX),
    );
    let state = match alert.state {
        State::Firing => String::new(),
        muted => format!(", {}", muted.name()),
    };
    let labels: Vec<String> = alert
        .labels
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "alertname" | "severity"))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mut text = lines(&format!("{}{state}, for {age}, id {}", alert.name, alert.id));
    text.replace_range(..INDENT, &format!("{:<INDENT$}", printable(&alert.severity)));
    for said in [&alert.summary, &labels.join(" ")] {
        if !said.is_empty() {
            text.push_str(&lines(said));
        }
    }
    for silence in &alert.silences {
        text.push_str(&lines(&format!(
            "silenced until {} by {}: {}",
            silence.ends_at, silence.created_by, silence.comment
        )));
    }
    if !alert.runbook.is_empty() {
        // Not wrapped, so that it can be copied.
        text.push_str(&format!(
            "{}runbook: {}\n",
            " ".repeat(INDENT),
            printable(&alert.runbook)
        ));
    }
    text
}

fn silence_block(silence: &Silence) -> String {
    let matchers: Vec<String> = silence.matchers.iter().map(Matcher::shown).collect();
    let mut text = lines(&format!(
        "{} until {} by {}: {}",
        silence.id, silence.ends_at, silence.created_by, silence.comment
    ));
    text.replace_range(..INDENT, &format!("{:<INDENT$}", "silence"));
    text + &lines(&matchers.join(", "))
}

fn lines(said: &str) -> String {
    let indent = " ".repeat(INDENT);
    let lines = wrapped(&printable(said), COLUMNS - INDENT - 2);
    format!("{indent}{}\n", lines.join(&format!("\n{indent}  ")))
}
