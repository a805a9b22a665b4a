//! `docs/faults.md` as data: each fault with its signs and its cure, as the page states them.
//!
//! Failure: a section that lacks a sign or a cure is an error that names the section.

use std::fmt;

use anyhow::{Context as _, bail, ensure};

/// A kind of sign. Every fault has one of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Metric,
    Alert,
    Health,
    Log,
    Doctor,
}

impl Kind {
    /// Every kind, in the order of the page.
    pub const ALL: [Kind; 5] = [Kind::Metric, Kind::Alert, Kind::Health, Kind::Log, Kind::Doctor];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Metric => "metric",
            Kind::Alert => "alert",
            Kind::Health => "health",
            Kind::Log => "log",
            Kind::Doctor => "doctor",
        })
    }
}

/// One sign of a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    /// Its kind.
    pub kind: Kind,
    /// The expression, the selector of an alert, or the command.
    pub what: String,
    /// Texts that one line of the command's output contains.
    pub shows: Vec<String>,
}

/// A fault, as the page describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The heading.
    pub title: String,
    /// One sign of each kind.
    pub signs: Vec<Sign>,
    /// The commands that cure it.
    pub cure: Vec<String>,
}

/// Reads the sections of the page.
///
/// # Errors
/// If a section is not complete.
pub fn read(page: &str) -> anyhow::Result<Vec<Described>> {
    let sections = page.split("\n## ").skip(1);
    sections
        .map(|section| {
            let (title, body) = section.split_once('\n').context("a heading without a section")?;
            described(title, body).with_context(|| format!("section `{title}` of docs/faults.md"))
        })
        .collect()
}

fn described(title: &str, body: &str) -> anyhow::Result<Described> {
    let mut signs = Vec::new();
    for kind in Kind::ALL {
        let row = format!("| {kind} | ");
        let cell = body.lines().find_map(|line| line.strip_prefix(&row));
        let mut spans = spans(cell.with_context(|| format!("no row `{kind}`"))?).into_iter();
        let what = spans.next().with_context(|| format!("nothing in the row `{kind}`"))?;
        signs.push(Sign {
            kind,
            what,
            shows: spans.collect(),
        });
    }
    let cure = body
        .split_once("```sh cure\n")
        .and_then(|(_, rest)| rest.split_once("```"));
    let cure: Vec<String> = cure
        .context("no block `sh cure`")?
        .0
        .lines()
        .map(|line| line.split("  # ").next().unwrap_or(line).trim_end().to_owned())
        .collect();
    ensure!(!cure.is_empty(), "an empty cure");
    for sign in &signs {
        let is_command = matches!(sign.kind, Kind::Health | Kind::Log | Kind::Doctor);
        if is_command == sign.shows.is_empty() {
            bail!(
                "the row `{}` needs a command and what it shows, or only an expression",
                sign.kind
            );
        }
    }
    Ok(Described {
        title: title.to_owned(),
        signs,
        cure,
    })
}

/// The texts between backticks. In a table a `|` is written `\|`.
fn spans(cell: &str) -> Vec<String> {
    let parts = cell.split('`').skip(1).step_by(2);
    parts.map(|text| text.replace("\\|", "|")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTION: &str = "# Faults\n\n## Redis is down\n\nText.\n\n| sign | where |\n|---|---|\n\
        | metric | `redis_up == 0` |\n| alert | `RedisDown` |\n| health | `dp health` shows `redis`, `down` |\n\
        | log | `dp logs projection \\| tail` shows `redis` |\n| doctor | `dp doctor` shows `Redis` |\n\n\
        ```sh cure\ndp restart redis  # the local one\n```\n";

    #[test]
    fn a_section_has_signs_and_commands() {
        let read = read(SECTION).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].cure, ["dp restart redis"]);
        assert_eq!(read[0].signs[2].shows, ["redis", "down"]);
        assert_eq!(read[0].signs[3].what, "dp logs projection | tail");
    }

    #[test]
    fn a_section_without_a_sign_or_a_cure_is_named() {
        for missing in ["| alert | `RedisDown` |\n", "```sh cure\n", " shows `Redis`"] {
            let error = read(&SECTION.replace(missing, "")).unwrap_err();
            assert!(format!("{error:#}").contains("Redis is down"), "{error:#}");
        }
    }
}
