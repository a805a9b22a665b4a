//! `dp dlq`: the dead letters, listed, counted, shown whole, replayed and removed.

mod filter;
mod purge;
mod reading;
mod replay;
mod text;

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::bail;
use clap::builder::PossibleValuesParser;
use ops::connection::Connection;
use ops::dead_letters::{By, Counted, Letter, Place, Wanted, each};
use ops::hints::localized;
use ops::present::{found, print_either, printable};
use ops::topic_names::resolve;
use serde_json::Value;

use crate::message::Shown;
use filter::{Filter, unknown};
use reading::read;
use text::{list_text, stats_text, whole};

/// List, count, show, replay and remove dead letters: the rejected messages with their reasons
///
/// A dead letter is a rejected record with its original bytes, its origin, a code and a reason. It is open until it is replayed or
/// given up. A letter that was sent twice is counted once.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes of list and stats: 0 there is no such letter; 1 there are some; of show: 0 it is shown; 1 there is none; 2 \
    Kafka is unavailable, or wrong usage\n\n\
    Examples:\n  dp dlq stats\n  dp dlq list --code broken_json --since 1h\n  dp dlq show 17\n  dp dlq replay 17"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(ListArgs),
    Stats(StatsArgs),
    Show(ShowArgs),
    Replay(replay::Args),
    Purge(purge::Args),
}

impl Args {
    /// Whether the command writes.
    pub fn writes(&self) -> bool {
        match &self.command {
            Command::Replay(args) => !args.dry_run,
            Command::Purge(args) => !args.dry_run,
            Command::List(_) | Command::Stats(_) | Command::Show(_) => false,
        }
    }

    /// Whether the command ends by itself after Ctrl-C, and reports what it has done.
    pub fn ends_itself(&self) -> bool {
        matches!(self.command, Command::Replay(_))
    }
}

/// List dead letters, the oldest first
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp dlq list\n  dp dlq list --market miso --stage normalize --limit 100\n  \
    dp dlq list --since 2026-10-01T00:00Z --json | jq -r '.letters[].origin.offset'"
)]
struct ListArgs {
    #[command(flatten)]
    filter: Filter,
    /// Number of letters to list
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Also list letters that were replayed or given up
    #[arg(long)]
    replayed: bool,
}

/// Count dead letters by code, stage, market or service
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp dlq stats\n  dp dlq stats --by market,code --since 1h\n  \
    dp dlq stats --by code --json | jq '.groups[] | {code, letters}'"
)]
struct StatsArgs {
    #[command(flatten)]
    filter: Filter,
    /// What to count by, separated by commas
    #[arg(long, value_name = "FIELDS", value_delimiter = ',', default_value = "stage,code",
          value_parser = PossibleValuesParser::new(By::ALL.map(By::name)))]
    by: Vec<String>,
    /// Also count letters that were replayed or given up
    #[arg(long)]
    replayed: bool,
}

/// Show one dead letter whole: reason, origin, headers and payload
///
/// PLACE is the offset of the letter in topic dlq, or the place of the rejected message as topic/partition/offset.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 it is shown; 1 there is no such letter; 2 Kafka is unavailable, or wrong usage\n\n\
    Examples:\n  dp dlq show 17\n  dp dlq show ingestion.market.raw.v1/2/1042\n  \
    dp dlq show 17 --json | jq '.code, .place.offset, .value'"
)]
struct ShowArgs {
    /// Offset in dlq, or topic/partition/offset of the rejected message
    #[arg(value_name = "PLACE")]
    place: String,
}

/// A letter with the message that holds it. The fields that `dp dlq list` shows have the same names here.
#[derive(Debug, serde::Serialize)]
struct Whole<'w> {
    #[serde(flatten)]
    letter: &'w Letter,
    /// When the broker took the message.
    timestamp: &'w str,
    key: Option<&'w str>,
    headers: &'w BTreeMap<String, String>,
    format: &'static str,
    value: &'w Value,
}

impl<'w> Whole<'w> {
    fn of(letter: &'w Letter, message: &'w Shown) -> Whole<'w> {
        Whole {
            letter,
            timestamp: &message.timestamp,
            key: message.key.as_deref(),
            headers: &message.headers,
            format: message.format,
            value: &message.value,
        }
    }
}

/// Runs `dp dlq`.
///
/// # Errors
/// Kafka does not answer, or the letter does not exist.
pub async fn run(connection: &Connection, args: &Args, yes: bool) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::List(args) => list(connection, args).await,
        Command::Stats(args) => stats(connection, args).await,
        Command::Show(args) => show(connection, args).await,
        Command::Replay(args) => replay::run(connection, args).await,
        Command::Purge(args) => purge::run(connection, args, yes).await,
    }
}

async fn list(connection: &Connection, args: &ListArgs) -> anyhow::Result<ExitCode> {
    let limit = args.limit as usize;
    let wanted = Wanted {
        closed: args.replayed,
        ..args.filter.wanted()?
    };
    let (letters, matching, passed, unknown) = read(connection, move |bootstrap, topic| {
        let (mut letters, mut matching) = (Vec::new(), 0_u64);
        let passed = each(bootstrap, topic, &wanted, |letter, _| {
            matching += 1;
            if letters.len() < limit {
                letters.push(letter);
            }
            true
        })?;
        let unknown = unknown(bootstrap, topic, &wanted, matching)?;
        Ok((letters, matching, passed, unknown))
    })
    .await?;
    let shown = serde_json::json!({ "letters": letters, "matching": matching, "passed_over": passed });
    let none = unknown.as_deref().unwrap_or(args.filter.none());
    print_either(connection.json, &shown, || list_text(&letters, matching, passed, none))?;
    Ok(found(matching > 0))
}

async fn stats(connection: &Connection, args: &StatsArgs) -> anyhow::Result<ExitCode> {
    let wanted = Wanted {
        closed: args.replayed,
        ..args.filter.wanted()?
    };
    let by: Vec<By> = By::ALL
        .into_iter()
        .filter(|by| args.by.iter().any(|name| name == by.name()))
        .collect();
    let fields = by.clone();
    let (groups, passed, unknown) = read(connection, move |bootstrap, topic| {
        let mut counted = Counted::default();
        let passed = each(bootstrap, topic, &wanted, |letter, _| {
            counted.add(&fields, &letter);
            true
        })?;
        let groups = counted.groups();
        let unknown = unknown(bootstrap, topic, &wanted, groups.len() as u64)?;
        Ok((groups, passed, unknown))
    })
    .await?;
    let total: u64 = groups.iter().map(|group| group.letters).sum();
    let shown = serde_json::json!({ "groups": groups, "letters": total, "passed_over": passed });
    let none = unknown.as_deref().unwrap_or(args.filter.none());
    print_either(connection.json, &shown, || {
        stats_text(&by, &groups, total, passed, none)
    })?;
    Ok(found(total > 0))
}

async fn show(connection: &Connection, args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let dlq = connection.names.dlq.clone();
    let (offset, origin) = match (args.place.parse::<i64>(), Place::parse(&args.place)) {
        (Ok(offset), _) => (Some(offset), None),
        (_, Some(place)) if place.topic == dlq => (Some(place.offset), None),
        (_, Some(place)) => {
            let topic = resolve(&connection.names, &place.topic)?;
            (None, Some(Place { topic, ..place }))
        }
        (Err(_), None) => bail!(
            "{} is not a place: use the offset of a letter in {dlq}, or topic/partition/offset of the rejected message; `dp dlq list` \
             shows both",
            args.place
        ),
    };
    let wire = connection.wire().await?;
    let found_letter = read(connection, move |bootstrap, topic| {
        let mut shown = None;
        let all = Wanted {
            closed: true,
            ..Wanted::default()
        };
        each(bootstrap, topic, &all, |letter, message| {
            if Some(letter.place.offset) == offset || Some(&letter.origin) == origin.as_ref() {
                shown = Some((letter, Shown::of(&wire, message)));
            }
            shown.is_none()
        })?;
        Ok(shown)
    })
    .await?;
    let Some((letter, message)) = found_letter else {
        eprintln!(
            "{}",
            printable(&localized(&format!(
                "there is no dead letter at {}: it expired, or was never sent; `dp dlq list` shows those that exist",
                args.place
            )))
        );
        return Ok(found(true));
    };
    print_either(connection.json, &Whole::of(&letter, &message), || whole(&message))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_letter_has_the_fields_of_a_listed_one_by_the_same_names() {
        let place = |topic: &str, offset| Place {
            topic: topic.to_owned(),
            partition: 0,
            offset,
        };
        let letter = Letter {
            place: place("dlq", 17),
            origin: place("raw", 1042),
            failed_at: 0,
            failed_at_text: "1970-01-01T00:00:00Z".to_owned(),
            service: "normalization".to_owned(),
            stage: "normalize".to_owned(),
            code: "broken_json".to_owned(),
            reason: "it is wrong".to_owned(),
            rows: String::new(),
            market: "MISO".to_owned(),
            tenant: "default".to_owned(),
            held: false,
            attempts: 1,
            correlation_id: String::new(),
            bytes: 3,
            replayed: false,
            given_up: false,
        };
        let message = Shown {
            topic: "dlq".to_owned(),
            partition: 0,
            offset: 17,
            timestamp: "1970-01-01T00:00:01Z".to_owned(),
            key: Some("k".to_owned()),
            headers: BTreeMap::new(),
            format: "text",
            value: "{x".into(),
        };
        let listed = serde_json::to_value(&letter).unwrap();
        let mut shown = serde_json::to_value(Whole::of(&letter, &message)).unwrap();
        let fields = shown.as_object_mut().unwrap();
        for (name, value) in listed.as_object().unwrap() {
            assert_eq!(fields.remove(name).as_ref(), Some(value), "{name}");
        }
        let mut others: Vec<&str> = fields.keys().map(String::as_str).collect();
        others.sort_unstable();
        assert_eq!(others, ["format", "headers", "key", "timestamp", "value"]);
    }
}
