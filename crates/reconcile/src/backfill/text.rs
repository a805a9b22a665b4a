//! The reports of `dp backfill` as text.

use ops::hints::localized;
use ops::present::{grouped, table};

use super::Report;
use super::plan::Outcome;
use super::range::Report as RangeReport;
use crate::repair::text::shown as repaired;

/// Characters of a file's name in the table.
const NAME: usize = 20;
/// Problems that are written out.
const SHOWN: usize = 20;

/// The report about documents.
pub fn documents(report: &Report) -> String {
    let rows = report.documents.iter().map(|done| {
        let outcome = match (done.outcome, report.dry_run) {
            (Outcome::Published, true) => "to send",
            (Outcome::Published, false) => "sent",
            (Outcome::Repeated, _) => "known",
            (Outcome::Skipped, _) => "skipped",
        };
        let name = done.file.file_name().unwrap_or_default().to_string_lossy();
        vec![
            shortened(&name),
            done.day.map_or_else(String::new, |day| day.to_string()),
            outcome.to_owned(),
            number(done.ticks),
            number(done.rejected),
            number(done.repeated),
        ]
    });
    let headers = ["document", "day", "outcome", "ticks", "rejected", "repeated"];
    let mut lines = vec![table(&headers, 3, rows)];
    let problems: Vec<String> = report
        .documents
        .iter()
        .filter_map(|done| {
            Some(format!(
                "  {}: {}",
                done.file.display(),
                localized(done.problem.as_ref()?)
            ))
        })
        .collect();
    lines.extend(problems.iter().take(SHOWN).cloned());
    if problems.len() > SHOWN {
        lines.push(format!("  … and {} more; --json names all", problems.len() - SHOWN));
    }
    lines.push(summary(report));
    lines.join("\n")
}

/// Beginning and end of a name, so that the table fits into 80 columns.
fn shortened(name: &str) -> String {
    let characters: Vec<char> = name.chars().collect();
    if characters.len() <= NAME {
        return name.to_owned();
    }
    let half = NAME / 2;
    let (begin, end) = (
        characters.iter().take(half),
        characters.iter().rev().take(half - 1).rev(),
    );
    begin.chain(&['…']).chain(end).collect()
}

fn summary(report: &Report) -> String {
    let of = |outcome| report.documents.iter().filter(|done| done.outcome == outcome).count();
    let ticks: u64 = report.documents.iter().map(|done| done.ticks).sum();
    let (sent, repeated, skipped) = (of(Outcome::Published), of(Outcome::Repeated), of(Outcome::Skipped));
    let same = report.documents.iter().filter(|done| done.same_as.is_some()).count();
    let verb = if report.dry_run { "would be sent" } else { "sent" };
    let twice = match same {
        0 => String::new(),
        same => format!("{same} with the bytes of another file; "),
    };
    format!(
        "{sent} document(s) {verb} with {} ticks; {} taken before; {twice}{skipped} skipped",
        number(ticks),
        repeated - same
    )
}

/// The report about a range.
pub fn range(report: &RangeReport) -> String {
    let mut lines = Vec::new();
    if let Some(letters) = &report.letters {
        let verb = if report.dry_run { "would be" } else { "were" };
        let count = number(letters.replayed.len() as u64);
        lines.push(format!("dead letters: {count} {verb} replayed"));
        for kept in letters.kept.iter().take(SHOWN) {
            let (letter, why) = (&kept.letter, localized(&kept.why));
            lines.push(format!("  {} ({}) stays: {why}", letter.origin, letter.code));
        }
        if letters.kept.len() > SHOWN {
            lines.push(format!("  … and {} more; --json names all", letters.kept.len() - SHOWN));
        }
        if letters.left > 0 {
            lines.push(format!("  {} are left: run the command again", number(letters.left)));
        }
    }
    lines.extend(report.stores.as_ref().map(repaired));
    lines.join("\n")
}

fn number(value: u64) -> String {
    grouped(i64::try_from(value).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::Done;
    use super::*;

    fn done(file: &str, outcome: Outcome, ticks: u64) -> Done {
        Done {
            file: file.into(),
            format: None,
            day: None,
            outcome,
            ticks,
            rejected: 0,
            repeated: 0,
            stored: 0,
            same_as: None,
            problem: (outcome == Outcome::Skipped).then(|| "fits no known format".to_owned()),
            partition: None,
            offset: None,
        }
    }

    #[test]
    fn every_document_has_a_line_and_a_problem_its_reason() {
        let report = Report {
            dry_run: true,
            documents: vec![
                done("dir/new.csv", Outcome::Published, 1_200),
                done("dir/old.csv", Outcome::Repeated, 0),
                done("dir/odd.txt", Outcome::Skipped, 0),
            ],
        };
        let text = documents(&report);
        for part in [
            "new.csv",
            "to send",
            "known",
            "dir/odd.txt: fits no known format",
            "1 document(s) would be sent with 1,200 ticks; 1 taken before; 1 skipped",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!report.is_ok());
    }

    #[test]
    fn the_table_fits_into_80_columns() {
        let mut long = done(
            "GetRealTimeFiveMinExPost_Previous_20261001_0000_0010.json",
            Outcome::Skipped,
            123_456,
        );
        (long.problem, long.day) = (None, Some(jiff::civil::date(2026, 10, 1)));
        (long.rejected, long.repeated) = (12_345, 123_456);
        let report = Report {
            dry_run: true,
            documents: vec![long],
        };
        let text = documents(&report);
        assert!(text.contains("GetRealTim…0010.json"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn a_range_is_reported_by_its_parts() {
        let report = RangeReport {
            dry_run: false,
            letters: Some(Default::default()),
            stores: Some(crate::repair::report::Report {
                settled: true,
                ..Default::default()
            }),
        };
        let text = range(&report);
        assert!(
            text.contains("0 were replayed") && text.contains("every store has"),
            "{text}"
        );
    }
}
