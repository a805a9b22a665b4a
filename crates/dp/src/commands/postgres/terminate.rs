//! `dp postgres terminate`: arguments, confirmation and the report.

use std::process::ExitCode;
use std::time::Duration;

use ops::connection::Connection;
use ops::consent;
use ops::inspect::postgres::{Chosen, SessionRow, activity, terminate};
use ops::present::{duration, found, print_either};
use serde_json::json;
use stores::Postgres;

use super::sessions::sessions_text;

/// End sessions that hold a lock, or take up the connections
///
/// Chooses the sessions of this database that meet every condition. Sessions of the pipeline are spared without --own: the services
/// connect again, and lose nothing. An open transaction is rolled back.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 they have ended, or would with --dry-run; 1 no session meets the conditions; 2 PostgreSQL is unavailable \
    or refuses, or wrong usage\n\n\
    Examples:\n  dp postgres terminate --application report --dry-run\n  dp postgres terminate --idle-in-transaction 5m --yes\n  \
    dp postgres terminate 4711 --yes"
)]
pub struct Args {
    /// These sessions, as `dp postgres locks` and `dp postgres activity` name them
    #[arg(value_name = "PID", required_unless_present_any = ["application", "idle_in_transaction"])]
    pids: Vec<i64>,
    /// Those of this program
    #[arg(long, value_name = "NAME")]
    application: Option<String>,
    /// Those with an open transaction in which nothing has happened for this long
    #[arg(long, value_name = "TIME", value_parser = duration)]
    idle_in_transaction: Option<Duration>,
    /// Also sessions of the services and of dp
    #[arg(long)]
    own: bool,
    /// Only show which would end
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// Runs `dp postgres terminate`; `yes` skips the question.
///
/// # Errors
/// PostgreSQL does not answer or refuses, or the user does not confirm.
pub async fn run(connection: &Connection, postgres: &Postgres, args: &Args, yes: bool) -> anyhow::Result<ExitCode> {
    let chosen = Chosen {
        pids: args.pids.clone(),
        application: args.application.clone(),
        idle_in_transaction: args.idle_in_transaction,
        own: args.own,
    };
    let (sessions, spared) = chosen.of(&activity(postgres).await?.sessions);
    let ends = !args.dry_run && !sessions.is_empty();
    if ends {
        let what = format!("end {} session(s) of PostgreSQL", sessions.len());
        consent::ask(&what, "terminate", yes).await?;
    }
    let gone = match ends {
        true => terminate(postgres, &sessions).await?,
        false => Vec::new(),
    };
    let shown = json!({ "ended": ends, "sessions": sessions, "spared": spared, "had_ended": gone });
    print_either(connection.json, &shown, || text(&sessions, spared.len(), ends))?;
    Ok(found(sessions.is_empty()))
}

fn text(sessions: &[SessionRow], spared: usize, ended: bool) -> String {
    let mut text = sessions_text(sessions, "no session meets the conditions");
    if !sessions.is_empty() {
        let verb = if ended { "were ended" } else { "would be ended" };
        text.push_str(&format!("\n{} session(s) {verb}", sessions.len()));
    }
    if spared > 0 {
        text.push_str(&format!(
            "\n{spared} session(s) of the pipeline are spared; --own ends them too"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_says_whether_sessions_ended_and_which_were_spared() {
        let session = SessionRow {
            pid: 4_711,
            user: "u".to_owned(),
            application: "report".to_owned(),
            state: "idle".to_owned(),
            waits_for: String::new(),
            transaction_ms: None,
            state_ms: 5,
            query: String::new(),
        };
        let shown = text(std::slice::from_ref(&session), 0, false);
        assert!(
            shown.contains("4711") && shown.ends_with("1 session(s) would be ended"),
            "{shown}"
        );
        assert!(text(&[session], 0, true).ends_with("1 session(s) were ended"));
        assert_eq!(
            text(&[], 2, false),
            "no session meets the conditions\n2 session(s) of the pipeline are spared; --own ends them too"
        );
    }
}
