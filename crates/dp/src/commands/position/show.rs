//! `dp position show`: a row for each position, and the commands that are needed.

use std::process::ExitCode;

use serde::Serialize;

use super::{ShowArgs, survey_some};
use ops::connection::Connection;
use ops::hints::command;
use ops::positions::homes::Homes;
use ops::positions::survey::{Finding, Wanted};
use ops::present::{print_json, print_line, table};

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
    command: Option<String>,
}

pub(super) async fn run(connection: &Connection, homes: &Homes<'_>, args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let wanted = Wanted {
        service: args.service.clone(),
        ..Wanted::default()
    };
    let standings = survey_some(connection, homes, &wanted).await?;
    let shown: Vec<Shown> = standings
        .into_iter()
        .map(|standing| Shown {
            command: standing
                .remedy(connection.names.generation())
                .map(|remedy| command(&remedy)),
            service: standing.consumer.service.to_owned(),
            group: standing.consumer.group,
            topic: standing.consumer.topic,
            partition: standing.partition.number,
            home: standing.consumer.home.name(),
            position: standing.stored.map(|stored| stored.next_offset),
            oldest: standing.range.0,
            next: standing.range.1,
            finding: standing.finding,
        })
        .collect();
    if connection.json {
        print_json(&shown)?;
    } else {
        print_line(&as_table(&shown))?;
    }
    let is_good = shown.iter().all(|shown| shown.command.is_none());
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn as_table(shown: &[Shown]) -> String {
    let rows = shown.iter().map(|shown| {
        let state = match &shown.finding {
            Finding::None => "not started".to_owned(),
            Finding::Good => "ok".to_owned(),
            Finding::Removed { from, to } => format!("lost {from} to {}", to - 1),
            Finding::Replaced { .. } => "replaced".to_owned(),
        };
        vec![
            shown.group.clone(),
            format!("{}[{}]", shown.topic, shown.partition),
            shown.home.clone(),
            state,
            shown
                .position
                .map_or_else(|| "none".to_owned(), |position| position.to_string()),
            format!("{}–{}", shown.oldest, shown.next),
        ]
    });
    let mut text = table(
        &["group", "partition", "stored in", "state", "position", "log"],
        4,
        rows,
    );
    for shown in shown {
        if let Finding::Replaced { why } = &shown.finding {
            text.push_str(&format!("\n{}[{}]: {why}", shown.topic, shown.partition));
        }
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
