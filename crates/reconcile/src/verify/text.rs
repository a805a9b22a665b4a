//! The report of `dp verify` as text.

use ops::hints::localized;
use ops::present::{grouped, table};

use super::quiet;
use super::report::{Check, VerifyReport};

/// The report as text: one table, the differences, the notes.
pub fn shown(report: &VerifyReport) -> String {
    let rows = report.checks.iter().map(|check| {
        let ok = if check.ok { "ok" } else { "DIFFERS" };
        vec![
            check.name.clone(),
            grouped(check.expected),
            grouped(check.found),
            ok.to_owned(),
        ]
    });
    let mut text = table(&["check", "expected", "found", ""], 1, rows);
    for check in report.checks.iter().filter(|check| !check.ok) {
        text.push_str(&named(check));
    }
    text.push_str(&format!(
        "\nin flight: {}",
        match quiet::in_words(&report.on_the_way) {
            none if none.is_empty() => "nothing".to_owned(),
            some => some,
        }
    ));
    for note in &report.notes {
        text.push_str(&format!("\nnote: {}", localized(note)));
    }
    text.push_str(&localized(match report.is_ok() {
        true => "\nAll stores agree with the raw log: no tick is lost or doubled.",
        false if report.quiet => "\nThere are differences. `dp reconcile` shows which of them can be repaired.",
        false => "\nTicks were still in flight: run it again, with a larger --wait if needed.",
    }));
    text
}

fn named(check: &Check) -> String {
    let differences = &check.differences;
    let mut text = match differences.total {
        0 => format!(
            "\n{}: expected {}, found {}",
            check.name,
            grouped(check.expected),
            grouped(check.found)
        ),
        total => {
            let total = grouped(i64::try_from(total).unwrap_or(i64::MAX));
            format!("\n{}: {total} difference(s)", check.name)
        }
    };
    for difference in &differences.named {
        text.push_str(&format!("\n  {difference}"));
    }
    let unnamed = differences.total - (differences.named.len() as u64).min(differences.total);
    if unnamed > 0 {
        text.push_str(&format!("\n  … and {unnamed} more"));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::quiet::{Behind, OnTheWay};

    #[test]
    fn a_difference_is_shown_with_its_check_and_a_count() {
        let differences = (0..25).map(|number| format!("row {number}")).collect();
        let report = VerifyReport {
            quiet: true,
            on_the_way: vec![OnTheWay {
                group: "restate".to_owned(),
                messages: 12,
                restates: true,
                partitions: vec![Behind {
                    topic: "late".to_owned(),
                    partition: 0,
                    committed: None,
                    end: 12,
                }],
            }],
            checks: vec![Check::new("market_ticks", 1_000_000, 999_975, differences)],
            notes: vec!["something".to_owned()],
        };
        let counts = named(&Check::new("bars", 3, 4, [].into_iter().collect()));
        assert!(
            counts.contains("bars: expected 3, found 4") && !counts.contains("difference"),
            "{counts}"
        );
        let text = shown(&report);
        for part in [
            "1,000,000",
            "DIFFERS",
            "25 difference(s)",
            "  row 19\n  … and 5 more",
            "in flight: restate is 12 late tick(s) behind (late[0] nothing committed, log end 12)",
            "note: something",
            "There are differences.",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
