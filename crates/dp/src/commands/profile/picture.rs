//! The picture of a profile, and the table of its functions.
//!
//! Failure: without samples no picture is written; one that cannot be written is an error.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use ops::present::{print_json, print_line, printable, table};
use profile::flame::{self, Caption, shortened};
use profile::stacks::{Function, Stacks};
use serde::Serialize;

/// Functions in a table.
pub(super) const TOP: usize = 10;
/// Width of a function in a table of 80 columns.
const NAME: usize = 58;
/// Width of a number of bytes in it.
const BYTES: usize = 10;

/// A picture to be written.
pub(super) struct Picture<'a> {
    /// `cpu` or `heap`.
    pub(super) kind: &'a str,
    pub(super) service: &'a str,
    /// Second line of the picture.
    pub(super) subtitle: String,
    pub(super) stacks: &'a Stacks,
    pub(super) shown: fn(u64) -> String,
}

/// Where a picture was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written {
    /// There is nothing to draw.
    Nothing,
    Output,
    File(PathBuf),
}

impl Picture<'_> {
    pub(super) fn write(&self, output: Option<&Path>) -> anyhow::Result<Written> {
        if self.stacks.weight() == 0 {
            return Ok(Written::Nothing);
        }
        let path = output.map_or_else(|| self.usual_path(jiff::Timestamp::now()), Path::to_path_buf);
        let text = match path.extension().is_some_and(|ending| ending == "folded") {
            true => self.stacks.folded(),
            false => self.svg(),
        };
        if path.as_os_str() == "-" {
            std::io::stdout()
                .write_all(text.as_bytes())
                .context("write to stdout")?;
            return Ok(Written::Output);
        }
        let advice = || format!("write {}; choose another file with --output", path.display());
        std::fs::write(&path, text).with_context(advice)?;
        Ok(Written::File(path))
    }

    fn svg(&self) -> String {
        let title = format!("{} {}", self.service, self.kind);
        let caption = Caption {
            title: &title,
            subtitle: &self.subtitle,
        };
        flame::svg(caption, self.stacks, self.shown)
    }

    fn usual_path(&self, now: jiff::Timestamp) -> PathBuf {
        // The name comes from a service.
        let is_plain = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '-';
        let service: String = self.service.chars().filter(is_plain).collect();
        PathBuf::from(format!(
            "{service}-{}-{}.svg",
            self.kind,
            now.strftime("%Y%m%dT%H%M%SZ")
        ))
    }
}

impl Written {
    pub(super) fn path(&self) -> Option<String> {
        match self {
            Written::File(path) => Some(path.display().to_string()),
            Written::Nothing | Written::Output => None,
        }
    }

    /// Prints the result, beside the picture if that has taken the standard output.
    pub(super) fn print(&self, json: bool, value: &impl Serialize, text: &str) -> anyhow::Result<()> {
        let text = match self {
            Written::File(path) => format!("{text}\nflame graph: {}", printable(&path.display().to_string())),
            Written::Nothing => format!("{text}\nno picture was written: there is nothing to draw"),
            Written::Output => {
                eprintln!("{text}");
                return Ok(());
            }
        };
        match json {
            true => print_json(value),
            false => print_line(&text),
        }
    }
}

/// A table of functions, of 80 columns, with their own weight if it is in bytes.
pub(super) fn functions(top: &[Function], bytes: Option<fn(u64) -> String>) -> String {
    let width = if bytes.is_some() { NAME - BYTES - 3 } else { NAME };
    let row = |function: &Function| {
        let name = shortened(&printable(&function.function), width);
        let own = bytes.map(|shown| shown(function.own));
        let percents = [function.own_percent, function.total_percent].map(|percent| format!("{percent:.1}"));
        std::iter::once(name).chain(own).chain(percents).collect()
    };
    let headers: &[&str] = match bytes {
        Some(_) => &["function", "own", "own %", "total %"],
        None => &["function", "own %", "total %"],
    };
    table(headers, 1, top.iter().map(row))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use profile::stacks::Folding;

    use super::*;

    fn picture(stacks: &Stacks) -> Picture<'_> {
        Picture {
            kind: "cpu",
            service: "../a service",
            subtitle: "2 s".to_owned(),
            stacks,
            shown: |weight| format!("{weight} samples"),
        }
    }

    #[test]
    fn a_picture_is_written_by_its_ending_and_never_without_samples() {
        let folder = tempfile::tempdir().unwrap();
        let mut folding = Folding::default();
        folding.add(Some("worker"), ["main"], 3);
        let stacks = folding.done();
        let path = folder.path().join("a.folded");
        let written = picture(&stacks).write(Some(&path)).unwrap();
        assert_eq!(written, Written::File(path.clone()));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "worker;main 3\n");
        let path = folder.path().join("a.svg");
        picture(&stacks).write(Some(&path)).unwrap();
        assert!(
            std::fs::read_to_string(&path)
                .unwrap()
                .contains("main: 100.0 %, 3 samples")
        );
        let nowhere = folder.path().join("none").join("a.svg");
        let refused = picture(&stacks).write(Some(&nowhere)).unwrap_err().to_string();
        assert!(refused.contains("--output"), "{refused}");
        let empty = Stacks::default();
        assert_eq!(picture(&empty).write(Some(&nowhere)).unwrap(), Written::Nothing);
    }

    #[test]
    fn the_usual_name_has_the_service_and_the_time_and_no_folder() {
        let stacks = Stacks::default();
        let path = picture(&stacks).usual_path(jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(path, PathBuf::from("aservice-cpu-19700101T000000Z.svg"));
    }

    #[test]
    fn a_table_of_functions_fits_80_columns() {
        let function = Function {
            function: "<core::pin::Pin<P> as core::future::future::Future>::poll".repeat(3),
            own: u64::MAX >> 20,
            total: u64::MAX >> 20,
            own_percent: 100.0,
            total_percent: 100.0,
        };
        for bytes in [None, Some((|_| "999.99 MiB".to_owned()) as fn(u64) -> String)] {
            let text = functions(std::slice::from_ref(&function), bytes);
            assert!(text.lines().all(|line| line.chars().count() == 80), "{text}");
        }
    }
}
