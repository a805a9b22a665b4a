//! The report of `dp verify` as text.

use ops::hints::localized;
use ops::present::{grouped, table};

use super::passed;
use super::report::{Check, VerifyReport};

/// The report as text: one table, the differences, the notes.
pub fn shown(report: &VerifyReport) -> String {
    let rows = report.checks.iter().map(|check| {
        vec![
            check.name.clone(),
            grouped(check.expected),
            grouped(check.found),
            outcome(check),
        ]
    });
    let mut text = table(&["check", "expected", "found", ""], 1, rows);
    for check in report.checks.iter().filter(|check| !check.ok) {
        text.push_str(&named(check));
    }
    text.push_str(&format!(
        "\nin flight: {}",
        match passed::in_words(&report.on_the_way) {
            none if none.is_empty() => "nothing".to_owned(),
            some => some,
        }
    ));
    for note in &report.notes {
        text.push_str(&format!("\nnote: {}", localized(note)));
    }
    text.push_str(&localized(match report.is_ok() {
        true if report.arrived > 0 => {
            "\nAll stores agree with the raw log, up to its end when the run began: no tick is lost or doubled."
        }
        true => "\nAll stores agree with the raw log: no tick is lost or doubled.",
        false if report.settled => "\nThere are differences. `dp reconcile` shows which of them can be repaired.",
        false => {
            "\nTicks that the log had when the run began were still in flight, so nothing is decided: `dp health` shows what falls behind. \
             Run it again, with a larger --wait if needed."
        }
    }));
    text
}

/// Whether a check agrees, and how much is left out of it.
fn outcome(check: &Check) -> String {
    let ok = if check.ok { "ok" } else { "DIFFERS" };
    match check.not_compared {
        0 => ok.to_owned(),
        count => format!(
            "{ok}, {} not compared",
            grouped(i64::try_from(count).unwrap_or(i64::MAX))
        ),
    }
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
            let least = if differences.at_least { "at least " } else { "" };
            format!("\n{}: {least}{total} difference(s)", check.name)
        }
    };
    for difference in &differences.named {
        text.push_str(&format!("\n  {difference}"));
    }
    let unnamed = differences.total - (differences.named.len() as u64).min(differences.total);
    if unnamed > 0 {
        let unnamed = grouped(i64::try_from(unnamed).unwrap_or(i64::MAX));
        let least = if differences.at_least { "at least " } else { "" };
        text.push_str(&format!("\n  … and {least}{unnamed} more"));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Differences;
    use crate::verify::passed::{Behind, OnTheWay};

    #[test]
    fn a_difference_is_shown_with_its_check_and_a_count() {
        let differences = (0..25).map(|number| format!("row {number}")).collect();
        let report = VerifyReport {
            settled: true,
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
            ..VerifyReport::default()
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

    #[test]
    fn what_is_not_compared_is_beside_the_verdict_and_in_json() {
        let check = Check::new("bars_4h", 7, 7, Differences::default()).without(1_200);
        let report = VerifyReport {
            settled: true,
            checks: vec![check.clone()],
            ..VerifyReport::default()
        };
        let text = shown(&report);
        assert!(text.contains("ok, 1,200 not compared"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        let count = json
            .pointer("/checks/0/not_compared")
            .and_then(serde_json::Value::as_u64);
        assert_eq!(count, Some(1_200));
        let whole = shown(&VerifyReport {
            checks: vec![check.without(0)],
            ..report
        });
        assert!(!whole.contains("not compared"), "{whole}");
    }

    #[test]
    fn a_number_that_is_not_whole_says_so() {
        let mut differences: Differences = (0..25).map(|number| number.to_string()).collect();
        (differences.total, differences.at_least) = (400_000, true);
        let text = named(&Check::new("market_ticks", 1, 1, differences));
        assert!(text.contains("market_ticks: at least 400,000 difference(s)"), "{text}");
        assert!(text.contains("… and at least 399,980 more"), "{text}");
    }

    #[test]
    fn a_run_under_load_agrees_up_to_its_beginning() {
        let report = |settled, arrived| VerifyReport {
            settled,
            arrived,
            ..VerifyReport::default()
        };
        assert!(shown(&report(true, 0)).ends_with("the raw log: no tick is lost or doubled."));
        assert!(shown(&report(true, 9)).contains("up to its end when the run began"));
        assert!(shown(&report(false, 9)).contains("nothing is decided"));
    }
}
