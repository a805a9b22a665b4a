//! Reads log lines of services and servers, counts them, and recognizes known problems in them.
//!
//! Role: [`mod@line`], [`counts`] and [`patterns`] are pure; [`each`] reads files line by line.
//! Invariant: memory is bounded whatever the logs contain: lines are cut, and at most so many different kinds are kept; what
//! exceeds that is counted together.
//! Failure: a file that cannot be read is an error with its path. A line that has no known form counts under its process without a
//! level.

pub mod counts;
mod known;
pub mod line;
pub mod patterns;
mod severity;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use domain::Micros;

use line::{Choice, Entry, Lines};

/// A longer line is cut: services cut their fields far below this.
const LONGEST: u64 = 64 << 10;

/// A log and the process that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Name of the process.
    pub process: String,
    /// The file; `None` is standard input.
    pub file: Option<PathBuf>,
}

impl Source {
    /// The log of a process of a local stack with its older files, the oldest first.
    pub fn rotated(process: &str, log: &Path) -> Vec<Source> {
        let older = |number: u8| {
            let mut name = log.as_os_str().to_owned();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        [older(2), older(1), log.to_owned()]
            .into_iter()
            .filter(|file| file.exists())
            .map(|file| Source {
                process: process.to_owned(),
                file: Some(file),
            })
            .collect()
    }
}

/// Passes every entry at or after `since` to `take`. Blocks.
///
/// # Errors
/// A file cannot be read.
pub fn each(sources: &[Source], since: Option<Micros>, mut take: impl FnMut(&Entry)) -> anyhow::Result<()> {
    for source in sources {
        let mut pass = |entry: Entry| {
            // A line without a time belongs to the one before it, or is kept: it may be the only trace of an end.
            if entry.at.is_none_or(|at| since.is_none_or(|since| at >= since)) {
                take(&entry);
            }
        };
        match &source.file {
            Some(path) => {
                let mut read = || {
                    let file = File::open(path)?;
                    read(&mut BufReader::new(file), &source.process, &mut pass)
                };
                read().with_context(|| format!("read {}", path.display()))?;
            }
            None => read(&mut std::io::stdin().lock(), &source.process, &mut pass).context("read standard input")?,
        }
    }
    Ok(())
}

/// The newest lines at or after `since`, as they are, of at most so many bytes in all. Blocks.
///
/// # Errors
/// A file cannot be read.
pub fn newest_lines(sources: &[Source], since: Option<Micros>, most: usize) -> anyhow::Result<String> {
    let (mut kept, mut size) = (VecDeque::new(), 0);
    let mut take = |line: &str| {
        size += line.len() + 1;
        kept.push_back(line.to_owned());
        while size > most
            && let Some(oldest) = kept.pop_front()
        {
            size -= oldest.len() + 1;
        }
    };
    for source in sources {
        let Some(path) = &source.file else { continue };
        let mut choice = Choice::of(&source.process, None, since);
        let mut read = || {
            let mut input = BufReader::new(File::open(path)?);
            each_line(&mut input, |line| {
                if choice.takes(line) {
                    take(line);
                }
            })
        };
        read().with_context(|| format!("read {}", path.display()))?;
    }
    let lines: Vec<String> = kept.into();
    Ok(lines
        .iter()
        .fold(String::with_capacity(size), |text, line| text + line + "\n"))
}

fn read(input: &mut impl BufRead, process: &str, take: &mut impl FnMut(Entry)) -> std::io::Result<()> {
    let mut lines = Lines::of(process);
    each_line(input, |line| lines.next(line).into_iter().for_each(&mut *take))?;
    lines.end().into_iter().for_each(take);
    Ok(())
}

/// Passes every line, cut if it is too long.
fn each_line(input: &mut impl BufRead, mut take: impl FnMut(&str)) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let length = input.by_ref().take(LONGEST).read_until(b'\n', &mut bytes)?;
        if length == 0 {
            return Ok(());
        }
        if !bytes.ends_with(b"\n") && length as u64 == LONGEST {
            skip_line(input)?;
        }
        take(String::from_utf8_lossy(&bytes).trim_end());
    }
}

/// Skips the rest of a line without keeping it.
fn skip_line(input: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let (used, ended) = {
            let buffer = input.fill_buf()?;
            match buffer.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end + 1, true),
                None => (buffer.len(), buffer.is_empty()),
            }
        };
        input.consume(used);
        if ended {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        let read = read(&mut text.as_bytes(), "x", &mut |entry| found.push(entry.message));
        assert!(read.is_ok());
        found
    }

    #[test]
    fn the_newest_lines_are_those_since_a_time_with_what_belongs_to_them() {
        let path = std::env::temp_dir().join(format!("dp-newest-{}.log", std::process::id()));
        let text = "2026-10-01 00:00:00 UTC ERROR old\n\tat old\n2026-10-01 01:00:00 UTC ERROR new\n\tat new\n2026-10-01 01:00:01 UTC WARN last\n";
        assert!(std::fs::write(&path, text).is_ok());
        let sources = Source::rotated("kafka", &path);
        let since: Result<jiff::Timestamp, _> = "2026-10-01T00:30:00Z".parse();
        let since = since.map(jiff::Timestamp::as_microsecond).ok();
        let newest = |since, most| newest_lines(&sources, since, most).unwrap_or_default();
        assert_eq!(newest(None, 1_000), text);
        assert_eq!(
            newest(since, 1_000),
            "2026-10-01 01:00:00 UTC ERROR new\n\tat new\n2026-10-01 01:00:01 UTC WARN last\n"
        );
        assert_eq!(newest(since, 41), "2026-10-01 01:00:01 UTC WARN last\n");
        assert!(std::fs::remove_file(&path).is_ok());
    }

    #[test]
    fn a_long_line_is_cut_and_the_next_one_is_read() {
        let long = format!(
            "2026-10-01 00:00:00 ERROR {}\n2026-10-01 00:00:01 WARN next",
            "x".repeat(200_000)
        );
        let found = messages(&long);
        assert_eq!(found.len(), 2);
        assert!(found.first().is_some_and(|first| first.len() < 70_000));
        assert!(found.last().is_some_and(|last| last.ends_with("next")));
        // A line of exactly the limit.
        let exact = format!("{}\n2026-10-01 00:00:01 WARN next", "y".repeat(LONGEST as usize - 1));
        assert_eq!(messages(&exact).len(), 2);
    }
}
