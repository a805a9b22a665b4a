//! The report of `dp reconcile` as text.

use ops::hints::localized;
use ops::present::{grouped, table, wrapped};

use super::plan::Left;
use super::report::{Part, Report};
use crate::verify::Wrong;

/// Rows that are written out for each table or store.
const SHOWN: usize = 5;
/// Rows that are left, written out.
const SHOWN_LEFT: usize = 20;
const WIDTH: usize = 80;

/// The report.
pub fn shown(report: &Report) -> String {
    let mut lines = Vec::new();
    if report.found.is_empty() && report.left.is_empty() && report.settled {
        lines.push("every store has what the log requires".to_owned());
    }
    if !report.found.is_empty() {
        lines.push(counts(&report.found));
        lines.extend(report.found.iter().flat_map(rows));
    }
    let verb = if report.repair {
        "written again"
    } else {
        "can be written again"
    };
    for written in &report.written {
        lines.push(format!("{}: {} {verb}", written.place, number(written.rows)));
    }
    if report.repair && report.written.is_empty() {
        lines.push("nothing was written".to_owned());
    }
    lines.extend(left(&report.left));
    for note in &report.notes {
        lines.extend(indented("note: ", note));
    }
    lines.push(verdict(report).to_owned());
    lines.join("\n")
}

fn verdict(report: &Report) -> &'static str {
    match (report.is_ok(), report.repair) {
        (true, _) => "all stores agree with the log",
        _ if !report.settled => {
            "ticks were in flight, so nothing is decided: run it again, with a larger --wait if needed"
        }
        (false, true) => "not everything agrees with the log",
        (false, false) => "nothing was changed; --repair writes again what can be",
    }
}

fn counts(parts: &[Part]) -> String {
    let rows = parts.iter().map(|part| {
        let mut row = vec![part.place.clone()];
        row.extend([part.missing, part.surplus, part.different].map(number));
        let least = if part.at_least { "≥ " } else { "" };
        row.push(format!("{least}{}", number(part.unseen)));
        row
    });
    table(&["store", "missing", "surplus", "different", "only counted"], 1, rows)
}

fn rows(part: &Part) -> Vec<String> {
    let mut lines: Vec<String> = part
        .rows
        .iter()
        .take(SHOWN)
        .flat_map(|row| {
            let kind = match row.wrong {
                Wrong::Missing => "missing",
                Wrong::Surplus => "surplus",
                Wrong::Different => "different",
            };
            let origin = match row.text.contains(&row.origin) {
                true => String::new(),
                false => format!(" (from {})", row.origin),
            };
            indented("  ", &format!("{} {kind}: {}{origin}", part.place, row.text))
        })
        .collect();
    let more = (part.missing + part.surplus + part.different).saturating_sub(part.rows.len().min(SHOWN) as u64);
    if more > 0 {
        lines.push(format!("  … and {} more in {}", number(more), part.place));
    }
    lines
}

/// What is left, with each reason once.
fn left(left: &[Left]) -> Vec<String> {
    let mut lines = Vec::new();
    if left.is_empty() {
        return lines;
    }
    lines.push(format!("{} not repaired:", number(left.len() as u64)));
    let mut reasons: Vec<(&str, Vec<&Left>)> = Vec::new();
    for one in left {
        match reasons.iter_mut().find(|(why, _)| *why == one.why) {
            Some((_, of)) => of.push(one),
            None => reasons.push((&one.why, vec![one])),
        }
    }
    for (why, of) in reasons {
        lines.extend(indented("  ", why));
        for one in of.iter().take(SHOWN_LEFT) {
            lines.extend(indented("    ", &format!("{}: {}", one.place, one.row)));
        }
        if of.len() > SHOWN_LEFT {
            lines.push(format!(
                "    … and {} more; --json names all",
                number((of.len() - SHOWN_LEFT) as u64)
            ));
        }
    }
    lines
}

fn indented(margin: &str, words: &str) -> Vec<String> {
    let rest = " ".repeat(margin.chars().count() + 2);
    let lines = wrapped(&localized(words), WIDTH - rest.len());
    lines
        .into_iter()
        .enumerate()
        .map(|(index, line)| format!("{}{line}", if index == 0 { margin } else { &rest }))
        .collect()
}

fn number(value: u64) -> String {
    grouped(i64::try_from(value).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::report::{Listed, Written};
    use super::*;

    fn report() -> Report {
        Report {
            repair: true,
            settled: true,
            found: vec![Part {
                place: "market_ticks".to_owned(),
                missing: 1_200,
                rows: vec![Listed {
                    wrong: Wrong::Missing,
                    key: vec!["raw/0/1/0".to_owned()],
                    origin: "raw/0/1/0".to_owned(),
                    text: "raw/0/1/0 is missing (price 1)".to_owned(),
                }],
                ..Part::default()
            }],
            written: vec![Written {
                place: "market_ticks".to_owned(),
                rows: 1_199,
            }],
            left: vec![Left {
                place: "market_ticks".to_owned(),
                row: "raw/0/2/0 is missing".to_owned(),
                why: "the topic no longer holds its record".to_owned(),
            }],
            notes: Vec::new(),
        }
    }

    #[test]
    fn the_text_names_what_was_wrong_what_was_written_and_what_is_left() {
        let text = shown(&report());
        for part in [
            "1,200",
            "market_ticks missing: raw/0/1/0 is missing (price 1)",
            "… and 1,199 more in market_ticks",
            "market_ticks: 1,199 written again",
            "1 not repaired:",
            "no longer holds",
            "not everything agrees",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("(from raw/0/1/0)"), "{text}");
    }

    #[test]
    fn a_clean_report_says_so_and_one_without_repair_names_the_option() {
        let clean = Report {
            settled: true,
            ..Report::default()
        };
        let text = shown(&clean);
        assert!(
            text.contains("every store has") && text.contains("all stores agree"),
            "{text}"
        );
        let dry = Report {
            repair: false,
            left: Vec::new(),
            ..report()
        };
        assert!(shown(&dry).contains("can be written again") && shown(&dry).contains("--repair"));
    }

    #[test]
    fn rows_that_are_only_counted_have_a_number_and_a_run_with_ticks_in_flight_has_no_verdict() {
        let many = Report {
            found: vec![Part {
                place: "market_ticks".to_owned(),
                different: 130_892,
                unseen: 274_114,
                at_least: true,
                ..Part::default()
            }],
            settled: false,
            ..Report::default()
        };
        let text = shown(&many);
        assert!(text.contains("only counted") && text.contains("≥ 274,114"), "{text}");
        assert!(text.ends_with("with a larger --wait if needed"), "{text}");
        assert!(
            !shown(&Report::default()).contains("every store has"),
            "nothing is decided"
        );
    }
}
