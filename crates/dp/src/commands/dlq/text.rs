//! The texts of `dp dlq list`, `stats` and `show`.

use ops::dead_letters::{By, Group, Letter, Passed};
use ops::present::{printable, table};

use crate::cells::{count, shortened, to_second};
use crate::letter::{block, reasons};
use crate::message::Shown;

/// Characters of a reason in a table; `dp dlq show` and `--json` show all.
const SHOWN_CHARACTERS: usize = 80;

/// The letter as a block, then the reasons of its rows, then its whole payload.
pub(super) fn whole(letter: &Shown) -> String {
    let payload = match &letter.value {
        serde_json::Value::String(text) => text.clone(),
        value => serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string()),
    };
    match block(letter, "") {
        Some(block) => {
            let reasons = reasons(letter)
                .map(|reasons| format!("\n\n{reasons}"))
                .unwrap_or_default();
            format!("{block}{reasons}\n\n{payload}")
        }
        None => payload,
    }
}

pub(super) fn list_text(letters: &[Letter], matching: u64, passed: Passed, none: &str) -> String {
    if letters.is_empty() {
        return format!("{none}{}", passed_text(passed));
    }
    let rows = letters.iter().map(|letter| {
        let rows = if letter.rows.is_empty() { "" } else { " (some rows)" };
        let closed = match (letter.replayed, letter.given_up) {
            (true, _) => " (replayed)",
            (_, true) => " (given up)",
            (false, false) => "",
        };
        vec![
            to_second(&letter.failed_at_text),
            letter.stage.clone(),
            letter.code.clone(),
            printable(&letter.market),
            format!("{}{rows}{closed}", letter.origin),
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

pub(super) fn stats_text(by: &[By], groups: &[Group], total: u64, passed: Passed, none: &str) -> String {
    if groups.is_empty() {
        return format!("{none}{}", passed_text(passed));
    }
    let mut headers: Vec<&str> = by.iter().map(|by| by.name()).collect();
    headers.extend(["oldest – newest", "example", "letters"]);
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
            // In one column, so that codes stay whole in 80 columns.
            format!("{} – {}", to_second(&group.oldest), to_second(&group.newest)),
            group.example.clone(),
            count(group.letters),
        ]);
        row
    });
    let text = table(&headers, headers.len() - 1, rows);
    format!("{text}\n{} dead letter(s){}", count(total), passed_text(passed))
}

pub(super) fn passed_text(passed: Passed) -> String {
    let mut text = String::new();
    if passed.repeated > 0 {
        text.push_str(&format!(
            "\n{} repetition(s) of letters are not counted",
            passed.repeated
        ));
    }
    if passed.replayed > 0 {
        text.push_str(&format!(
            "\n{} more were replayed; `dp dlq list --replayed` shows them",
            passed.replayed
        ));
    }
    if passed.given_up > 0 {
        text.push_str(&format!(
            "\n{} more were given up; `dp dlq list --replayed` shows them",
            passed.given_up
        ));
    }
    if passed.foreign > 0 {
        text.push_str(&format!(
            "\n{} record(s) of the topic are not dead letters of the pipeline",
            passed.foreign
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use ops::dead_letters::{Counted, Place};
    use ops::present::iso;

    use super::*;

    fn letter(failed_at: i64) -> Letter {
        let place = |topic: &str| Place {
            topic: topic.to_owned(),
            partition: 2,
            offset: 1042,
        };
        Letter {
            place: place("dlq"),
            origin: place("raw"),
            failed_at,
            failed_at_text: iso(failed_at),
            service: "normalization".to_owned(),
            stage: "normalize".to_owned(),
            code: "broken_json".to_owned(),
            reason: "it is wrong".to_owned(),
            rows: String::new(),
            market: String::new(),
            tenant: String::new(),
            held: false,
            attempts: 1,
            correlation_id: String::new(),
            bytes: 3,
            replayed: false,
            given_up: false,
        }
    }

    #[test]
    fn groups_have_the_times_of_their_first_and_last_letter_to_the_second() {
        let mut counted = Counted::default();
        for failed_at in [1_500_000, 86_400_000_000] {
            counted.add(&[By::Code], &letter(failed_at));
        }
        let text = stats_text(&[By::Code], &counted.groups(), 2, Passed::default(), "");
        for part in [
            "1970-01-01 00:00:01 – 1970-01-02 00:00:00",
            "dlq/2/1042",
            "2 dead letter(s)",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }
}
