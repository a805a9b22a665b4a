//! `dp logs`: shows and follows the log files of the local stack, counts their lines, recognizes
//! problems in them, and changes the level of a running service.

mod level;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::builder::PossibleValuesParser;
use localstack::Name;
use ops::logs::counts::{By, Counter, Counts};
use ops::logs::line::{Choice, Level};
use ops::logs::patterns::{Analysis, Analyzer, Problem};
use ops::logs::{Source, each};
use serde_json::json;

use ops::hints::command;
use ops::place::Place;
use ops::present::{found, moment, print_data, print_either, print_json_line, printable, table, wrapped};
use ops::progress::waiting;
use ops::threads::blocking;

use crate::cells::count;

const FOLLOW_EVERY: Duration = Duration::from_millis(200);

/// Width of the text of an analysis.
const COLUMNS: usize = 80;
/// Width of its column of severities.
const INDENT: usize = 10;

/// Show the last log lines of the processes of the local stack, count them, or find problems in them
///
/// Without a name it shows every process that was ever started in this stack. Services write one JSON object per line.
#[derive(Debug, Clone, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  dp logs\n  dp logs normalization -n 100\n  dp logs --level warn --since 10m\n  \
    dp logs aggregation --follow | jq -r .message\n  \
    dp logs stats --since 1h\n  dp logs analyze\n  dp logs level normalization debug --for 10m"
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// kafka, clickhouse, postgres, redis, normalization, enrichment, aggregation, projection, or a replica such as
    /// normalization-2
    #[arg(value_name = "NAME")]
    names: Vec<Name>,
    /// The same as NAME
    #[arg(long = "service", value_name = "NAME")]
    services: Vec<Name>,
    /// Only lines of this level or worse, with their stack traces
    #[arg(long, value_name = "LEVEL", ignore_case = true,
          value_parser = PossibleValuesParser::new(["fatal", "error", "warn", "info", "debug", "trace"]))]
    level: Option<String>,
    /// Only lines at or after this time, or within this length of time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<jiff::Timestamp>,
    /// Number of lines of each process, of those that are chosen
    #[arg(short = 'n', long, default_value_t = 20, value_name = "N")]
    lines: usize,
    /// Keep showing new lines until Ctrl-C
    #[arg(short, long)]
    follow: bool,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Command {
    Stats(StatsArgs),
    Analyze(AnalyzeArgs),
    Level(level::Args),
}

impl Args {
    /// Whether it changes the level of a service.
    pub fn writes(&self) -> bool {
        matches!(&self.command, Some(Command::Level(args)) if args.writes())
    }
}

/// Count log lines by service, level, target and code, with their rate
///
/// A code is that of an error, or the name of an event. Lines that a service has suppressed count too. Rates are over the time from
/// the first line to the last one.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Examples:\n  dp logs stats --since 1h\n  dp logs stats --by minute,level normalization\n  \
    docker compose logs --no-log-prefix | dp logs stats --file -"
)]
struct StatsArgs {
    #[command(flatten)]
    read: ReadArgs,
    /// What to count by, separated by commas
    #[arg(long, value_name = "FIELDS", value_delimiter = ',', default_value = "service,level,target,code",
          value_parser = PossibleValuesParser::new(By::ALL.map(By::name)))]
    by: Vec<String>,
}

/// Find known problems in log lines, each with its likely cause and the next command
///
/// Searches lines of level WARN or worse for refused connections, time-outs, full disks, lack of memory or connections, refused logins
/// and certificates, missing tables, schema mismatches, poison messages, fenced writers, rebalances and more. Errors that match
/// none are listed too.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing was found; 1 something was found; 2 a log cannot be read, or wrong usage\n\n\
    Examples:\n  dp logs analyze\n  dp logs analyze kafka clickhouse --since 30m\n  \
    kubectl logs deploy/normalization-service | dp logs analyze --file - --json | jq '.problems[].name'"
)]
struct AnalyzeArgs {
    #[command(flatten)]
    read: ReadArgs,
}

#[derive(Debug, Clone, clap::Args)]
struct ReadArgs {
    /// Processes of the local stack [default: all]
    #[arg(value_name = "NAME", conflicts_with = "file")]
    names: Vec<Name>,
    /// Only lines at or after this time, or within this length of time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<jiff::Timestamp>,
    /// Read this file instead of the logs of the local stack, or - for standard input; may be repeated
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,
}

/// Runs `dp logs`.
///
/// # Errors
/// There is no local stack, or a log cannot be read.
pub async fn run(place: &Place, args: &Args, json: bool) -> anyhow::Result<ExitCode> {
    match &args.command {
        Some(Command::Stats(args)) => stats(place, args, json).await.map(|()| ExitCode::SUCCESS),
        Some(Command::Analyze(args)) => analyze(place, args, json).await,
        Some(Command::Level(args)) => level::run(place, args, json).await.map(|()| ExitCode::SUCCESS),
        None => show(place, args, json).await.map(|()| ExitCode::SUCCESS),
    }
}

async fn stats(place: &Place, args: &StatsArgs, json: bool) -> anyhow::Result<()> {
    let by: Vec<By> = By::ALL
        .into_iter()
        .filter(|by| args.by.iter().any(|name| name == by.name()))
        .collect();
    let (sources, since, fields) = (args.read.sources(place)?, args.read.since(), by.clone());
    let counting = blocking(move || {
        let mut counter = Counter::by(fields);
        each(&sources, since, |entry| counter.add(entry))?;
        Ok(counter.counts())
    });
    let counts = waiting("reading the logs", counting).await?;
    print_either(json, &counts, || stats_text(&by, &counts))
}

async fn analyze(place: &Place, args: &AnalyzeArgs, json: bool) -> anyhow::Result<ExitCode> {
    let (sources, since) = (args.read.sources(place)?, args.read.since());
    let searching = blocking(move || {
        let mut analyzer = Analyzer::default();
        each(&sources, since, |entry| analyzer.add(entry))?;
        Ok(analyzer.analysis())
    });
    let analysis = waiting("reading the logs", searching).await?;
    print_either(json, &analysis, || analysis_text(&analysis))?;
    Ok(found(!analysis.problems.is_empty()))
}

impl ReadArgs {
    fn since(&self) -> Option<i64> {
        self.since.map(jiff::Timestamp::as_microsecond)
    }

    /// The named files, else the logs of the local stack.
    fn sources(&self, place: &Place) -> anyhow::Result<Vec<Source>> {
        let named = self.file.iter().map(|file| Source {
            process: file.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            file: (file.as_os_str() != "-").then(|| file.clone()),
        });
        if !self.file.is_empty() {
            return Ok(named.collect());
        }
        let stack = place.open()?;
        let names = names(&stack, &self.names)?;
        let of = |name: &Name| Source::rotated(&name.to_string(), &stack.log(*name));
        Ok(names.iter().flat_map(of).collect())
    }
}

/// These processes, or every one that was ever started in the stack.
fn names(stack: &localstack::Stack, named: &[Name]) -> anyhow::Result<Vec<Name>> {
    Ok(match named {
        [] => stack.status()?.into_iter().map(|process| process.name).collect(),
        names => names.to_vec(),
    })
}

fn stats_text(by: &[By], counts: &Counts) -> String {
    if counts.groups.is_empty() {
        return "no log has a line of that time".to_owned();
    }
    let mut headers: Vec<&str> = by.iter().map(|by| by.name()).collect();
    headers.extend(["lines", "per minute"]);
    let rows = counts.groups.iter().map(|group| {
        let value = |by: &By| {
            group
                .values
                .get(by.name())
                .map(|value| printable(value))
                .unwrap_or_default()
        };
        let mut row: Vec<String> = by.iter().map(value).collect();
        row.extend([count(group.lines), format!("{:.1}", group.per_minute)]);
        row
    });
    let uncounted = match counts.uncounted {
        0 => String::new(),
        lines => format!("\n{} lines of further groups are not shown", count(lines)),
    };
    format!(
        "{}\n{} line(s) in {:.0} minute(s){uncounted}",
        table(&headers, by.len(), rows),
        count(counts.lines),
        counts.minutes
    )
}

fn analysis_text(analysis: &Analysis) -> String {
    let mut text: String = analysis.problems.iter().map(problem_text).collect();
    if analysis.uncounted > 0 {
        text.push_str(&format!(
            "{} errors of further kinds are not shown\n",
            count(analysis.uncounted)
        ));
    }
    text.push_str(&match analysis.problems.len() {
        0 => format!("nothing was found in {} line(s)", count(analysis.lines)),
        number => format!("{number} problem(s) in {} line(s)", count(analysis.lines)),
    });
    text
}

fn problem_text(problem: &Problem) -> String {
    let indent = " ".repeat(INDENT);
    let lines = |said: &str| {
        let lines = wrapped(&printable(said), COLUMNS - INDENT - 2);
        format!("{indent}{}\n", lines.join(&format!("\n{indent}  ")))
    };
    let kind = if problem.is_known { "" } else { "unknown error: " };
    let mut text = lines(&format!(
        "{kind}{}: {} line(s) of {}, the newest at {}",
        problem.name,
        count(problem.lines),
        problem.services.join(", "),
        if problem.newest.is_empty() {
            "an unknown time"
        } else {
            &problem.newest
        }
    ));
    text.replace_range(..INDENT, &format!("{:<INDENT$}", problem.severity.name()));
    text.push_str(&lines(&format!("- {}", problem.example)));
    if !problem.cause.is_empty() {
        text.push_str(&lines(&format!("likely cause: {}", problem.cause)));
    }
    text.push_str(&format!("{indent}next: {}\n", printable(&command(&problem.next))));
    text
}

async fn show(place: &Place, args: &Args, json: bool) -> anyhow::Result<()> {
    let stack = place.open()?;
    let named = [args.names.as_slice(), args.services.as_slice()].concat();
    let names = names(&stack, &named)?;
    let labelled = names.len() > 1;
    let least = args.level.as_deref().and_then(Level::from_name);
    let since = args.since.map(jiff::Timestamp::as_microsecond);
    let mut tails: Vec<Tail> = Vec::new();
    for name in names {
        let mut tail = Tail {
            name,
            position: 0,
            choice: Choice::of(&name.to_string(), least, since),
        };
        let text = tail
            .read(&stack.log(name))
            .with_context(|| format!("{name} has no log in {}", stack.config().dir.display()))?;
        let lines: Vec<&str> = text.lines().filter(|line| tail.choice.takes(line)).collect();
        lines
            .iter()
            .skip(lines.len().saturating_sub(args.lines))
            .try_for_each(|line| print_log(name, line, labelled, json))?;
        tails.push(tail);
    }
    if !args.follow {
        return Ok(());
    }
    loop {
        for tail in &mut tails {
            let text = tail.read(&stack.log(tail.name))?;
            let mut lines = text.lines().filter(|line| tail.choice.takes(line));
            lines.try_for_each(|line| print_log(tail.name, line, labelled, json))?;
        }
        tokio::time::sleep(FOLLOW_EVERY).await;
    }
}

/// A log file and the position up to which it has been read.
struct Tail {
    name: Name,
    position: u64,
    choice: Choice,
}

impl Tail {
    /// The complete lines that were added since the last read.
    fn read(&mut self, path: &Path) -> anyhow::Result<String> {
        let mut file = File::open(path)?;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.position))?;
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        bytes.truncate(whole);
        self.position += whole as u64;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn print_log(name: Name, line: &str, labelled: bool, json: bool) -> anyhow::Result<()> {
    if json {
        return print_json_line(&json!({ "name": name, "line": line }));
    }
    print_data(&if labelled {
        format!("{name:<15} {line}")
    } else {
        line.to_owned()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use clap::Parser as _;

    use localstack::Service;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn the_names_of_processes_and_the_commands_are_told_apart() {
        let args = |words: &[&str]| Line::try_parse_from([&["logs"], words].concat()).map(|line| line.args);
        assert!(args(&["kafka", "-n", "5"]).unwrap().command.is_none());
        assert!(args(&["--follow"]).unwrap().command.is_none());
        let chosen = args(&["--level", "WARN", "--service", "kafka", "--since", "5m"]).unwrap();
        assert_eq!((chosen.services.len(), chosen.level.is_some()), (1, true));
        assert!(args(&["--level", "bad"]).is_err());
        let stats = args(&["stats", "kafka", "--since", "1h"]).unwrap().command;
        assert!(matches!(stats, Some(Command::Stats(stats)) if stats.read.names.len() == 1));
        assert!(matches!(args(&["analyze"]).unwrap().command, Some(Command::Analyze(_))));
        assert!(args(&["analyze", "kafka", "--file", "x"]).is_err());
        assert!(args(&["stats", "--by", "color"]).is_err());
    }

    #[test]
    fn an_analysis_fits_80_columns() {
        let problem = |is_known| Problem {
            severity: ops::logs::patterns::Severity::Error,
            name: "time-out".to_owned(),
            is_known,
            lines: 1_234,
            services: vec!["enrichment".to_owned()],
            newest: String::new(),
            example: "a line of many words ".repeat(12),
            cause: "a cause".to_owned(),
            next: "dp doctor".to_owned(),
        };
        let text = analysis_text(&Analysis {
            problems: vec![problem(true), problem(false)],
            lines: 5_000,
            uncounted: 0,
        });
        assert!(
            text.starts_with("error     time-out: 1,234 line(s) of enrichment"),
            "{text}"
        );
        assert!(text.contains("\nerror     unknown error: time-out"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
    }

    #[test]
    fn a_tail_returns_complete_lines_once() {
        let path = std::env::temp_dir().join(format!("dp-tail-{}", std::process::id()));
        let mut file = File::create(&path).unwrap();
        let mut tail = Tail {
            name: Service::Normalization.into(),
            position: 0,
            choice: Choice::of("normalization", None, None),
        };
        write!(file, "one\ntw").unwrap();
        assert_eq!(tail.read(&path).unwrap(), "one\n");
        writeln!(file, "o").unwrap();
        assert_eq!(tail.read(&path).unwrap(), "two\n");
        assert_eq!(tail.read(&path).unwrap(), "");
        std::fs::remove_file(&path).unwrap();
    }
}
