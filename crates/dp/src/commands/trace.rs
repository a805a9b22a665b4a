//! `dp trace`: the path of one message through every stage, with times.

use std::process::ExitCode;

use ops::connection::Connection;
use ops::present::print_either;
use ops::progress::waiting;
use reconcile::explain::content::SHOWN;
use reconcile::explain::session::Session;
use reconcile::explain::trace_text;

/// Follow one message through every stage, with times
///
/// Finds the messages with this event id or correlation id: in table market_ticks, among the dead letters, and if there is none
/// among the newest raw messages. A trace id (32 hex digits of a `traceparent`) is looked for in the headers of the dead letters
/// and of the newest raw messages. Shows for each when it was appended to the raw topic, normalized, enriched and written, the
/// bars whose windows hold it, whether it was late, whether it is the latest price, and its dead letters. The milliseconds are
/// those since the step that caused it: normalized since raw, rows since the stage that made them, bars and prices since
/// enriched. Of a bar only the newest version is known, which a later tick may have caused.
///
/// Without an id, --recent lists the newest raw messages with the ids of their first tick and the stage that each has reached.
/// A message that stays at stage raw waits, or it was a repetition, which leaves no row: `dp explain row` tells.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 found; 1 no message has this id, or there is none; 2 a server is unavailable, or wrong usage\n\n\
    Examples:\n  dp trace 0b54c7de-e2b8-4a9e-9d53-1c1c6a9b1e7f\n  dp trace order-17 --tenant acme\n  dp trace --recent 20\n  \
    dp trace 0af7651916cd43dd8448eb211c80319c       # from dp send --traceparent new\n  \
    dp trace order-17 --json | jq '.messages[].ticks[].steps[] | {step, milliseconds}'"
)]
pub struct Args {
    /// Event id, correlation id or trace id
    #[arg(value_name = "ID", value_parser = clap::builder::NonEmptyStringValueParser::new(), required_unless_present = "recent")]
    id: Option<String>,
    /// Only ticks of this tenant [default: all tenants]
    #[arg(long, requires = "id")]
    tenant: Option<String>,
    /// Instead of an id: list the newest N raw messages, the newest first
    #[arg(long, value_name = "N", conflicts_with = "id", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    recent: Option<u16>,
    /// Show at most N ticks of a message
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

/// Runs `dp trace`.
///
/// # Errors
/// A server does not answer.
pub async fn run(connection: &Connection, args: &Args) -> anyhow::Result<ExitCode> {
    let session = Session::open(connection, SHOWN, args.limit).await?;
    let Some(id) = &args.id else {
        return recent(connection, &session, args.recent.unwrap_or_default()).await;
    };
    let looking = session.id(id, args.tenant.as_deref());
    let trace = waiting("looking for the messages of this id", looking).await?;
    print_either(connection.json, &trace, || trace_text::trace(&trace))?;
    Ok(ExitCode::from(u8::from(trace.messages.is_empty())))
}

async fn recent(connection: &Connection, session: &Session<'_>, most: u16) -> anyhow::Result<ExitCode> {
    let looking = session.recent(usize::from(most));
    let messages = waiting("looking for the newest messages", looking).await?;
    print_either(connection.json, &messages, || trace_text::recent(&messages))?;
    Ok(ExitCode::from(u8::from(messages.is_empty())))
}
