//! `dp dlq`: the dead letters, listed, counted and shown whole. Reads only.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::builder::PossibleValuesParser;
use ops::connection::Connection;
use ops::dead_letters::{By, Counted, Group, Letter, Passed, Place, Wanted, each};
use ops::present::{found, moment, print_either, printable, table};
use ops::topic_names::resolve;

use crate::cells::{count, shortened};
use crate::letter::block;
use crate::message::Shown;

/// Characters of a reason in a table; `dp dlq show` and `--json` show all.
const SHOWN_CHARACTERS: usize = 80;

/// List, count and show dead letters: the rejected messages with their reasons
///
/// A dead letter is a rejected record with its original bytes, its origin, a code and a reason. A letter that was sent twice is
/// counted once. All commands read; none removes or sends anything.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 there is no such letter; 1 there are some; 2 Kafka is unavailable, or wrong usage\n\n\
    Examples:\n  dp dlq stats\n  dp dlq list --code broken_json --since 1h\n  dp dlq show 17"
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
}

/// Show one dead letter whole: reason, origin, headers and payload
///
/// PLACE is the offset of the letter in topic dlq, or the place of the rejected message as topic/partition/offset. Exit code 1
/// if it is found.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp dlq show 17\n  dp dlq show ingestion.market.raw.v1/2/1042\n  \
    dp dlq show 17 --json | jq .value"
)]
struct ShowArgs {
    /// Offset in dlq, or topic/partition/offset of the rejected message
    #[arg(value_name = "PLACE")]
    place: String,
}

#[derive(Debug, clap::Args)]
struct Filter {
    /// Only letters with this code
    #[arg(long)]
    code: Option<String>,
    /// Only letters of this stage
    #[arg(long)]
    stage: Option<String>,
    /// Only records of this market
    #[arg(long)]
    market: Option<String>,
    /// Only failures at or after this time, or within this length of time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<jiff::Timestamp>,
    /// Only failures before this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<jiff::Timestamp>,
}

impl Filter {
    /// What to say if there is no such letter.
    fn none(&self) -> &'static str {
        let Filter {
            code,
            stage,
            market,
            since,
            until,
        } = self;
        let is_all = [code, stage, market].iter().all(|name| name.is_none()) && since.is_none() && until.is_none();
        match is_all {
            true => "there are no dead letters: nothing was rejected",
            false => "no dead letter matches; without filters all are counted",
        }
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            code: self.code.clone(),
            stage: self.stage.clone(),
            market: self.market.clone(),
            since: self.since.map(jiff::Timestamp::as_microsecond),
            until: self.until.map(jiff::Timestamp::as_microsecond),
        }
    }
}

/// Runs `dp dlq`.
///
/// # Errors
/// Kafka does not answer, or the letter does not exist.
pub async fn run(connection: &Connection, args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::List(args) => list(connection, args).await,
        Command::Stats(args) => stats(connection, args).await,
        Command::Show(args) => show(connection, args).await,
    }
}

async fn list(connection: &Connection, args: &ListArgs) -> anyhow::Result<ExitCode> {
    let (wanted, limit) = (args.filter.wanted(), args.limit as usize);
    let (letters, matching, passed) = read(connection, move |bootstrap, topic| {
        let (mut letters, mut matching) = (Vec::new(), 0_u64);
        let passed = each(bootstrap, topic, &wanted, |letter, _| {
            matching += 1;
            if letters.len() < limit {
                letters.push(letter);
            }
            true
        })?;
        Ok((letters, matching, passed))
    })
    .await?;
    let shown = serde_json::json!({ "letters": letters, "matching": matching, "passed_over": passed });
    let none = args.filter.none();
    print_either(connection.json, &shown, || list_text(&letters, matching, passed, none))?;
    Ok(found(matching > 0))
}

async fn stats(connection: &Connection, args: &StatsArgs) -> anyhow::Result<ExitCode> {
    let wanted = args.filter.wanted();
    let by: Vec<By> = By::ALL
        .into_iter()
        .filter(|by| args.by.iter().any(|name| name == by.name()))
        .collect();
    let fields = by.clone();
    let (groups, passed) = read(connection, move |bootstrap, topic| {
        let mut counted = Counted::default();
        let passed = each(bootstrap, topic, &wanted, |letter, _| {
            counted.add(&fields, &letter);
            true
        })?;
        Ok((counted.groups(), passed))
    })
    .await?;
    let total: u64 = groups.iter().map(|group| group.letters).sum();
    let shown = serde_json::json!({ "groups": groups, "letters": total, "passed_over": passed });
    let none = args.filter.none();
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
            "{} is no place: use the offset of a letter in {dlq}, or topic/partition/offset of the rejected message; `dp dlq list` \
             shows both",
            args.place
        ),
    };
    let wire = connection.wire().await?;
    let letter = read(connection, move |bootstrap, topic| {
        let mut shown = None;
        each(bootstrap, topic, &Wanted::default(), |letter, message| {
            if Some(letter.place.offset) == offset || Some(&letter.origin) == origin.as_ref() {
                shown = Some(Shown::of(&wire, message));
            }
            shown.is_none()
        })?;
        Ok(shown)
    })
    .await?;
    let Some(letter) = letter else {
        bail!(
            "there is no dead letter at {}: it expired, or was never sent; `dp dlq list` shows those that exist",
            args.place
        );
    };
    print_either(connection.json, &letter, || whole(&letter))?;
    Ok(found(true))
}

/// The letter as a block, then its whole payload.
fn whole(letter: &Shown) -> String {
    let payload = match &letter.value {
        serde_json::Value::String(text) => text.clone(),
        value => serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string()),
    };
    match block(letter, "") {
        Some(block) => format!("{block}\n\n{payload}"),
        None => payload,
    }
}

/// Reads the dead letters on a thread of its own.
async fn read<T: Send + 'static>(
    connection: &Connection,
    work: impl FnOnce(&stream::Brokers, &str) -> Result<T, stream::StreamError> + Send + 'static,
) -> anyhow::Result<T> {
    let (bootstrap, topic) = (
        connection.settings.kafka_bootstrap.clone(),
        connection.names.dlq.clone(),
    );
    let named = topic.clone();
    let reading = tokio::task::spawn_blocking(move || work(&bootstrap, &topic));
    ops::progress::waiting("reading the dead letters", reading)
        .await
        .context("read the dead letters")?
        .with_context(|| {
            format!("read topic {named}: is Kafka running (`dp status`), does the topic exist (`dp kafka topics`)?")
        })
}

fn list_text(letters: &[Letter], matching: u64, passed: Passed, none: &str) -> String {
    if letters.is_empty() {
        return format!("{none}{}", passed_text(passed));
    }
    let rows = letters.iter().map(|letter| {
        let rows = if letter.rows.is_empty() { "" } else { " (some rows)" };
        vec![
            letter.failed_at_text.clone(),
            letter.stage.clone(),
            letter.code.clone(),
            printable(&letter.market),
            format!("{}{rows}", letter.origin),
            shortened(&letter.reason, SHOWN_CHARACTERS),
            letter.place.offset.to_string(),
        ]
    });
    let headers = ["failed at", "stage", "code", "market", "origin", "reason", "dlq offset"];
    let text = table(&headers, 6, rows);
    let unlisted = matching.saturating_sub(letters.len() as u64);
    let more = match unlisted {
        0 => String::new(),
        unlisted => format!("\n{} more; list them with a larger --limit", count(unlisted)),
    };
    format!("{text}{more}{}", passed_text(passed))
}

fn stats_text(by: &[By], groups: &[Group], total: u64, passed: Passed, none: &str) -> String {
    if groups.is_empty() {
        return format!("{none}{}", passed_text(passed));
    }
    let mut headers: Vec<&str> = by.iter().map(|by| by.name()).collect();
    headers.extend(["oldest", "newest", "example", "letters"]);
    let rows = groups.iter().map(|group| {
        let value = |by: &By| {
            group
                .values
                .get(by.name())
                .map(|value| printable(value))
                .unwrap_or_default()
        };
        let mut row: Vec<String> = by.iter().map(value).collect();
        row.extend([
            group.oldest.clone(),
            group.newest.clone(),
            group.example.clone(),
            count(group.letters),
        ]);
        row
    });
    let text = table(&headers, headers.len() - 1, rows);
    format!("{text}\n{} dead letter(s){}", count(total), passed_text(passed))
}

fn passed_text(passed: Passed) -> String {
    let mut text = String::new();
    if passed.repeated > 0 {
        text.push_str(&format!(
            "\n{} repetition(s) of letters are not counted",
            passed.repeated
        ));
    }
    if passed.foreign > 0 {
        text.push_str(&format!(
            "\n{} record(s) of the topic are no dead letters of the pipeline",
            passed.foreign
        ));
    }
    text
}
