//! `dp position show`: a row for each position, who reads it now, and the commands that are needed.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use serde::Serialize;
use service::settings::TABLES;

use super::survey::survey_some;
use ops::connection::Connection;
use ops::definitions::DEFAULT_PORTS;
use ops::hints::{command, localized};
use ops::lag::Owner;
use ops::place::Place;
use ops::positions::homes::Homes;
use ops::positions::owners::{Answers, Reading, owners};
use ops::positions::survey::{Finding, Standing, Wanted};
use ops::present::{print_json, print_line, printable, table};

/// Show every position with the range of its log, and the commands that are needed.
///
/// It changes nothing. `owner` is the member of the group that reads the partition now. `state` is what the position and the service say
/// together: `ok`; `blocked` by a record that cannot be fetched, with the service's reason and the command that skips it; `paused` by
/// `dp pause`; `lost` or `replaced` records. A service that gives no answer is named below the table: whether it has stopped is unknown.
/// The services are those of the local stack, else those that DATA_PROC_SERVICE_URLS names.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 every position is within its log; 1 one is not, or a partition is blocked.\n\nExamples:\n  dp position show\n  \
    dp position show enrichment\n  dp position show --json | jq '.[] | select(.command)'\n  \
    dp position show --json | jq '.[] | select(.reader.state == \"blocked\") | .reader.reason'"
)]
pub(super) struct ShowArgs {
    /// Show only the positions of this service
    #[arg(value_name = "SERVICE", value_parser = PossibleValuesParser::new(TABLES))]
    service: Option<String>,
}

#[derive(Debug, Serialize)]
struct Shown {
    service: String,
    group: String,
    topic: String,
    partition: i32,
    home: String,
    position: Option<i64>,
    oldest: i64,
    next: i64,
    #[serde(flatten)]
    finding: Finding,
    /// Who reads the partition now; `null` if nobody does.
    owner: Option<Owner>,
    reader: Reading,
    command: Option<String>,
}

pub(super) async fn run(
    place: &Place,
    connection: &Connection,
    homes: &Homes<'_>,
    args: &ShowArgs,
) -> anyhow::Result<ExitCode> {
    let wanted = Wanted {
        service: args.service.clone(),
        ..Wanted::default()
    };
    let (standings, answers) = tokio::join!(
        survey_some(connection, homes, &wanted),
        Answers::ask(place, connection, &DEFAULT_PORTS)
    );
    let standings = standings?;
    let groups = standings.iter().map(|standing| standing.consumer.group.clone());
    let mut owners = owners(connection, groups.collect()).await?;
    let services: BTreeSet<&str> = standings.iter().map(|standing| standing.consumer.service).collect();
    let problems = answers.problems(&services);
    let shown: Vec<Shown> = standings
        .into_iter()
        .map(|standing| {
            let owned = (standing.consumer.group.clone(), standing.partition.clone());
            let reader = answers.of(&standing.consumer, &standing.partition);
            Shown::of(standing, (owners.remove(&owned), reader), connection.names.generation())
        })
        .collect();
    if connection.json {
        print_json(&shown)?;
    } else {
        print_line(&as_text(&shown, &problems))?;
    }
    let is_good = shown.iter().all(Shown::is_good);
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

impl Shown {
    fn of(standing: Standing, (owner, reader): (Option<Owner>, Reading), generation: &str) -> Shown {
        Shown {
            command: standing.remedy(generation).map(|remedy| command(&remedy)),
            service: standing.consumer.service.to_owned(),
            group: standing.consumer.group,
            topic: standing.consumer.topic,
            partition: standing.partition.number,
            home: standing.consumer.home.name(),
            position: standing.stored.map(|stored| stored.next_offset),
            oldest: standing.range.0,
            next: standing.range.1,
            finding: standing.finding,
            owner,
            reader,
        }
    }

    fn is_good(&self) -> bool {
        self.command.is_none() && !matches!(self.reader, Reading::Blocked { .. })
    }

    /// A position outside of its log comes first: its reader cannot go on whatever it says.
    fn state(&self) -> String {
        match (&self.finding, &self.reader) {
            (Finding::Removed { from, to }, _) => format!("lost {from} to {}", to - 1),
            (Finding::Replaced { .. }, _) => "replaced".to_owned(),
            (_, Reading::Blocked { .. }) => "blocked".to_owned(),
            (_, Reading::Paused) => "paused".to_owned(),
            (_, Reading::NotRun) => "not run".to_owned(),
            (Finding::None, _) => "not started".to_owned(),
            (Finding::Good, _) => "ok".to_owned(),
        }
    }

    fn row(&self) -> Vec<String> {
        let owner = |owner: &Owner| format!("{} at {}", owner.client_id, owner.host);
        let position = |position: i64| position.to_string();
        vec![
            self.group.clone(),
            format!("{}[{}]", self.topic, self.partition),
            self.home.clone(),
            self.state(),
            self.owner
                .as_ref()
                .map_or_else(|| "none".to_owned(), |member| printable(&owner(member))),
            self.position.map_or_else(|| "none".to_owned(), position),
            format!("{}–{}", self.oldest, self.next),
        ]
    }
}

fn as_text(shown: &[Shown], problems: &[String]) -> String {
    let headers = ["group", "partition", "stored in", "state", "owner", "position", "log"];
    let mut text = table(&headers, 5, shown.iter().map(Shown::row));
    for shown in shown {
        if let Finding::Replaced { why } = &shown.finding {
            text.push_str(&format!("\n{}[{}]: {why}", shown.topic, shown.partition));
        }
    }
    for problem in problems {
        text.push_str(&format!("\n{}", printable(&localized(problem))));
    }
    let unknown: BTreeSet<String> = shown.iter().filter_map(unknown).collect();
    for note in unknown {
        text.push_str(&format!("\n{}", printable(&note)));
    }
    let mut commands: Vec<&String> = shown.iter().filter_map(|shown| shown.command.as_ref()).collect();
    commands.dedup();
    if !commands.is_empty() {
        text.push_str(
            "\n\nStop the service, run the command, then start the service again (see `dp position --help`):",
        );
        commands
            .iter()
            .for_each(|command| text.push_str(&format!("\n  {command}")));
    }
    text
}

/// One line for all partitions of a service that share a reason.
fn unknown(shown: &Shown) -> Option<String> {
    match &shown.reader {
        Reading::Unknown { reason } => Some(format!(
            "whether {} has stopped a partition is unknown: {reason}",
            shown.service
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(finding: Finding, reader: Reading) -> Shown {
        let command = match finding {
            Finding::None | Finding::Good => None,
            _ => Some("dp position accept normalization".to_owned()),
        };
        Shown {
            service: "normalization".to_owned(),
            group: "normalization-local".to_owned(),
            topic: "raw".to_owned(),
            partition: 2,
            home: "committed offset".to_owned(),
            position: Some(7),
            oldest: 0,
            next: 12,
            finding,
            owner: Some(Owner {
                client_id: "normalization-raw".to_owned(),
                host: "10.0.0.1".to_owned(),
                member: "m1".to_owned(),
            }),
            reader,
            command,
        }
    }

    fn blocked() -> Reading {
        let reason = "raw[2] cannot be read at offset 7: bad compression".to_owned();
        Reading::Blocked { reason }
    }

    #[test]
    fn a_blocked_partition_is_shown_with_its_owner_and_the_words_of_the_service() {
        let rows = [shown(Finding::Good, blocked())];
        let text = as_text(
            &rows,
            &["normalization is degraded: partitions: raw[2] cannot".to_owned()],
        );
        let row = text.lines().find(|line| line.contains("raw[2] ")).unwrap_or_default();
        for part in ["blocked", "normalization-raw at 10.0.0.1", " 7 ", "0–12"] {
            assert!(row.contains(part), "{part}: {text}");
        }
        assert!(
            text.ends_with("\nnormalization is degraded: partitions: raw[2] cannot"),
            "{text}"
        );
        assert!(!rows[0].is_good());
    }

    #[test]
    fn a_position_outside_of_its_log_goes_before_what_the_service_says() {
        let removed = || Finding::Removed { from: 3, to: 5 };
        for (finding, reader, state, is_good) in [
            (removed(), blocked(), "lost 3 to 4", false),
            (Finding::Good, Reading::Paused, "paused", true),
            (Finding::None, Reading::NotRun, "not run", true),
            (Finding::None, Reading::Reads, "not started", true),
            (Finding::Good, Reading::Reads, "ok", true),
        ] {
            let shown = shown(finding, reader);
            assert_eq!((shown.state().as_str(), shown.is_good()), (state, is_good));
        }
    }

    #[test]
    fn a_service_without_an_answer_is_named_once_and_is_no_failure() {
        let reason = "normalization gives no answer: refused".to_owned();
        let one = || shown(Finding::Good, Reading::Unknown { reason: reason.clone() });
        let rows = [one(), one()];
        let text = as_text(&rows, &[]);
        assert_eq!(text.matches("gives no answer").count(), 1, "{text}");
        assert!(rows.iter().all(Shown::is_good));
        let json = serde_json::to_value(&rows[0]).unwrap_or_default();
        assert_eq!(
            (&json["state"], &json["reader"]["state"]),
            (&"good".into(), &"unknown".into())
        );
    }
}
