//! `dp doctor`: runs every check, and ranks what is wrong with evidence, likely cause and next command.

use std::process::ExitCode;
use std::time::Duration;

use ops::connection::Connection;
use ops::definitions::DEFAULT_PORTS;
use ops::doctor::{Area, Diagnosis, Finding, Outcome, Severity, examine};
use ops::hints::{command, localized};
use ops::place::Place;
use ops::present::{duration, print_either, printable, wrapped};
use ops::progress::waiting;
use ops::targets::{self, Target};

/// Width of the text: that of the smallest terminal in use.
const COLUMNS: usize = 80;
/// Width of the column of severities.
const INDENT: usize = 10;

/// Find out what is wrong: run every check, and rank what they find
///
/// Checks services (health, readiness, versions) and servers, clocks, the disk of the local stack, migrations and tables, topics,
/// replicas, positions, lag that nobody works off or that grows, dead letters, ClickHouse (disks, parts, failed and slow inserts, slow
/// queries), PostgreSQL (connections, locks, long transactions), memory of Redis, and the result of the last `dp verify`. Each finding
/// has what happened, where, evidence, the likely cause and the next command; what follows from it is listed below it and is no
/// finding of its own. It changes nothing. It takes some seconds, and about ten
/// more if there is lag: whether a group works it off shows only on a second look.
///
/// Severities: `critical` data is not processed, is wrong or may be lost; `warning` a part works badly, or soon may not work; `note`
/// worth knowing. A check that could not run is a finding too; on a busy machine, give checks more time with `--timeout`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing, or notes only; 1 something was found; 2 no service and no server gave an answer, \
    or wrong usage\n\n\
    Examples:\n  dp doctor\n  dp doctor --json | jq -r '.findings[] | .severity + \" \" + .what + \": \" + .next'\n  \
    dp doctor --service aggregation=http://aggregation-service:8080"
)]
pub struct Args {
    /// A service and its address, instead of the usual ones; may be repeated
    #[arg(long, value_name = "NAME=URL", value_parser = targets::parse)]
    service: Vec<Target>,
    /// Longest wait for one check
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = duration)]
    timeout: Duration,
}

/// Runs `dp doctor`.
///
/// # Errors
/// An address cannot be parsed, or no services are named.
pub async fn run(place: &Place, connection: &Connection, args: &Args) -> anyhow::Result<ExitCode> {
    let examining = examine(place, connection, &args.service, &DEFAULT_PORTS, args.timeout);
    let (mut diagnosis, outcome) = waiting("examining services and servers", examining).await?;
    for finding in &mut diagnosis.findings {
        finding.next = command(&finding.next);
    }
    print_either(connection.json, &diagnosis, || text(&diagnosis))?;
    Ok(match outcome {
        Outcome::Fine => ExitCode::SUCCESS,
        Outcome::Found => ExitCode::from(1),
        Outcome::NothingChecked => ExitCode::from(2),
    })
}

fn text(diagnosis: &Diagnosis) -> String {
    let mut text: String = diagnosis.findings.iter().map(block).collect();
    let counts = [Severity::Critical, Severity::Warning, Severity::Note]
        .map(|severity| format!("{} {}", diagnosis.count(severity), severity.name()));
    let names: Vec<&str> = diagnosis.checked.iter().copied().map(Area::name).collect();
    let last = format!("{}; checked: {}", counts.join(", "), names.join(", "));
    text.push_str(&wrapped(&last, COLUMNS).join("\n"));
    text
}

/// A finding: its first line begins with the severity. The command is not wrapped, so that it can be copied.
fn block(finding: &Finding) -> String {
    let indent = " ".repeat(INDENT);
    let lines = |label: &str, said: &str| {
        let said = format!("{label}{}", printable(&localized(said)));
        format!(
            "{indent}{}\n",
            wrapped(&said, COLUMNS - INDENT - 2).join(&format!("\n{indent}  "))
        )
    };
    let mut text = lines("", &format!("{} ({})", finding.what, finding.place));
    text.replace_range(..INDENT, &format!("{:<INDENT$}", finding.severity.name()));
    text.extend(finding.evidence.iter().map(|line| lines("- ", line)));
    text.push_str(&lines("likely cause: ", &finding.cause));
    text.extend(finding.consequences.iter().map(|what| lines("because of it: ", what)));
    text.push_str(&format!("{indent}next: {}\n", printable(&finding.next)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_fits_80_columns_and_its_command_is_one_line() {
        let command = format!("dp logs normalization --since {}", "x".repeat(90));
        let finding = Finding::new(Severity::Critical, Area::Lag, "a group stands ".repeat(12), "topic")
            .shown_by([
                "12 behind\u{1b}[2J ".repeat(10),
                "one word ".to_owned() + &"w".repeat(200),
            ])
            .because("a cause of many words ".repeat(6), command.clone());
        let diagnosis = Diagnosis::ranked(vec![finding], vec![Area::Lag], Vec::new());
        let text = text(&diagnosis);
        assert!(text.starts_with("critical  a group stands"), "{text}");
        assert!(text.contains(&format!("next: {command}\n")), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        let is_long = |line: &&str| line.chars().count() > COLUMNS;
        let long: Vec<&str> = text.lines().filter(is_long).collect();
        // The command, and a word that cannot be broken.
        assert_eq!(long.len(), 2, "{long:?}");
        assert!(text.ends_with("1 critical, 0 warning, 0 note; checked: lag"), "{text}");
    }
}
