//! `dp logs`: shows and follows the log files of the local stack.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use localstack::Name;
use serde_json::json;

use ops::place::Place;
use ops::present::{print_json_line, print_line};

const FOLLOW_EVERY: Duration = Duration::from_millis(200);

/// Show the last log lines of the processes of the local stack
///
/// Without a name it shows every process that was ever started in this stack. Services write one JSON object per line.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Examples:\n  dp logs\n  dp logs normalization -n 100\n  dp logs aggregation --follow | jq -r .message"
)]
pub struct Args {
    /// kafka, clickhouse, postgres, redis, normalization, enrichment, aggregation, projection, or a replica such as
    /// normalization-2
    #[arg(value_name = "NAME")]
    names: Vec<Name>,
    /// Number of lines of each process
    #[arg(short = 'n', long, default_value_t = 20, value_name = "N")]
    lines: usize,
    /// Keep showing new lines until Ctrl-C
    #[arg(short, long)]
    follow: bool,
}

/// Runs `dp logs`.
pub async fn run(place: &Place, args: &Args, json: bool) -> anyhow::Result<()> {
    let stack = place.open()?;
    let names = match args.names.as_slice() {
        [] => stack.status()?.into_iter().map(|process| process.name).collect(),
        names => names.to_vec(),
    };
    let labelled = names.len() > 1;
    let mut tails: Vec<Tail> = Vec::new();
    for name in names {
        let mut tail = Tail { name, position: 0 };
        let text = tail
            .read(&stack.log(name))
            .with_context(|| format!("{name} has no log in {}", stack.config().dir.display()))?;
        let lines: Vec<&str> = text.lines().collect();
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
            text.lines()
                .try_for_each(|line| print_log(tail.name, line, labelled, json))?;
        }
        tokio::time::sleep(FOLLOW_EVERY).await;
    }
}

/// A log file and the position up to which it has been read.
struct Tail {
    name: Name,
    position: u64,
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
    print_line(&if labelled {
        format!("{name:<15} {line}")
    } else {
        line.to_owned()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use localstack::Service;

    use super::*;

    #[test]
    fn a_tail_returns_complete_lines_once() {
        let path = std::env::temp_dir().join(format!("dp-tail-{}", std::process::id()));
        let mut file = File::create(&path).unwrap();
        let mut tail = Tail {
            name: Service::Normalization.into(),
            position: 0,
        };
        write!(file, "one\ntw").unwrap();
        assert_eq!(tail.read(&path).unwrap(), "one\n");
        writeln!(file, "o").unwrap();
        assert_eq!(tail.read(&path).unwrap(), "two\n");
        assert_eq!(tail.read(&path).unwrap(), "");
        std::fs::remove_file(&path).unwrap();
    }
}
