//! The trace of an id as text, with lines of at most 80 characters unless a name is longer. Pure.

use super::follow::Fate;
use super::recent::RecentMessage;
use super::steps::Step;
use super::trace::{Trace, TracedMessage, TracedTick};
use ops::hints::localized;
use ops::present::{printable, table, wrapped};

const COLUMNS: usize = 80;
/// Where the description of a step begins.
const INDENT: usize = 19;

/// The text.
pub fn trace(trace: &Trace) -> String {
    let mut lines = Vec::new();
    for message in &trace.messages {
        of_message(&mut lines, message);
        lines.push(String::new());
    }
    if trace.messages.is_empty() {
        lines.push(format!(
            "no message has the event id, correlation id or trace id {}",
            printable(&trace.id)
        ));
        lines.push("searched:".to_owned());
        lines.extend(trace.searched.iter().flat_map(|place| block(2, place)));
    }
    lines.extend(trace.notes.iter().flat_map(|note| block(0, &format!("note: {note}"))));
    lines.join("\n").trim_end().to_owned()
}

/// The newest messages as a table.
pub fn recent(messages: &[RecentMessage]) -> String {
    if messages.is_empty() {
        return "the raw topics have no message: publish some with `dp send` or `dp simulate`".to_owned();
    }
    let id = |id: &Option<String>| id.as_deref().map_or_else(|| "-".to_owned(), printable);
    let rows = messages.iter().map(|message| {
        let stage = message.stage.name();
        vec![
            message.appended_at.to_string(),
            message.place.to_string(),
            match &message.dead_letter {
                Some(code) => format!("{stage}: {}", printable(code)),
                None => stage.to_owned(),
            },
            id(&message.tenant_id),
            id(&message.instrument_id),
            id(&message.event_id),
            id(&message.correlation_id),
            message.ticks.to_string(),
        ]
    });
    let headers = [
        "appended at",
        "message",
        "stage",
        "tenant",
        "instrument",
        "event",
        "correlation",
        "ticks",
    ];
    table(&headers, headers.len() - 1, rows)
}

fn of_message(lines: &mut Vec<String>, message: &TracedMessage) {
    lines.push(format!("message {}", message.place));
    let Some(raw) = &message.raw else {
        return of_ticks(lines, message);
    };
    let Some(kept) = &raw.kept else {
        lines.extend(block(
            2,
            &format!("retention has removed it; the oldest offset is {}", raw.oldest),
        ));
        return of_ticks(lines, message);
    };
    lines.push(format!(
        "  appended at {}, {} bytes",
        kept.appended_at, kept.content.size
    ));
    if let Some(decided) = &kept.decided {
        let fate = match &decided.fate {
            Fate::Emitted { rejected_rows: 0, .. } => "emitted".to_owned(),
            Fate::Emitted { rejected_rows, .. } => format!("emitted, except {rejected_rows} rejected row(s)"),
            Fate::Repetition { of_offset: Some(of) } => format!("a repetition of offset {of}: dropped and counted"),
            Fate::Repetition { of_offset: None } => "a repetition: dropped and counted".to_owned(),
            Fate::Refused { code, message } => format!("refused, {code}: {message}"),
        };
        lines.extend(block(2, &format!("normalization: {fate}")));
    }
    of_ticks(lines, message);
}

fn of_ticks(lines: &mut Vec<String>, message: &TracedMessage) {
    message.ticks.iter().for_each(|tick| of_tick(lines, tick));
    for letter in &message.dead_letters {
        lines.push(format!("  dead letter {} at {}", letter.place, letter.written_at));
        lines.extend(block(
            4,
            &format!("stage {}, {}: {}", letter.stage, letter.code, letter.message),
        ));
    }
    lines.extend(
        message
            .notes
            .iter()
            .flat_map(|note| block(2, &format!("note: {}", localized(note)))),
    );
}

fn of_tick(lines: &mut Vec<String>, tick: &TracedTick) {
    let id = |id: &Option<String>| id.clone().unwrap_or_else(|| "unknown".to_owned());
    lines.extend(block(
        2,
        &format!(
            "tick {} of {}, tenant {}",
            tick.price, tick.instrument_id, tick.tenant_id
        ),
    ));
    lines.extend(block(
        2,
        &format!("event {}, correlation {}", id(&tick.event_id), id(&tick.correlation_id)),
    ));
    tick.steps.iter().for_each(|step| of_step(lines, step));
}

fn of_step(lines: &mut Vec<String>, step: &Step) {
    let at = step.at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    let after = step
        .milliseconds
        .map_or_else(String::new, |millis| format!("{millis:+.1} ms"));
    lines.push(format!("  {:<17}{at:<28}{after:>14}", step.step).trim_end().to_owned());
    lines.extend(block(INDENT, &step.what));
}

fn block(indent: usize, words: &str) -> Vec<String> {
    let lines = wrapped(&printable(words), COLUMNS - indent);
    lines
        .into_iter()
        .map(|line| format!("{}{line}", " ".repeat(indent)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::At;
    use super::*;

    #[test]
    fn a_step_shows_its_time_and_what_it_took() {
        let mut lines = Vec::new();
        let step = Step {
            step: "normalized".to_owned(),
            at: Some(At(1_000_000)),
            milliseconds: Some(12.5),
            what: "normalized.market.ticks.v1/2/17".to_owned(),
        };
        of_step(&mut lines, &step);
        assert_eq!(
            lines,
            [
                "  normalized       1970-01-01T00:00:01Z              +12.5 ms",
                "                   normalized.market.ticks.v1/2/17"
            ]
        );
    }

    #[test]
    fn an_unknown_id_names_what_was_searched() {
        let text = trace(&Trace {
            id: "x\u{1b}".to_owned(),
            searched: vec!["table a".to_owned(), "topic b".to_owned()],
            messages: Vec::new(),
            notes: Vec::new(),
        });
        assert_eq!(
            text,
            "no message has the event id, correlation id or trace id x\\u{1b}\nsearched:\n  table a\n  topic b"
        );
    }
}
