//! The trace of a merged bar as text, with lines of at most [`WIDTH`](super::text::WIDTH) characters unless a name is longer. Pure but for the
//! options of commands.

use ops::hints::localized;

use super::merged::{MergedHour, MergedTrace};
use super::text::Lines;

/// The text of a merged bar's trace.
pub fn merged(trace: &MergedTrace) -> String {
    let mut out = Lines::default();
    out.line(
        0,
        &format!(
            "Bar {} of {} ({}), tenant {}",
            trace.interval, trace.instrument_id, trace.market, trace.tenant_id
        ),
    );
    out.line(0, &format!("from {} to {}", trace.window_start, trace.window_end));
    out.title(&format!("Numbers: in view {}, and merged from its hours", trace.view));
    out.numbers("view", &trace.numbers);
    out.title(&format!(
        "Bars of an hour that it is merged from: {} of {}",
        trace.hours.len(),
        trace.hours_of_bar
    ));
    trace.hours.iter().for_each(|hour| of_hour(&mut out, hour));
    out.notes(&trace.notes);
    out.text
}

fn of_hour(out: &mut Lines, hour: &MergedHour) {
    let (bar, numbers) = (&hour.bar, &hour.bar.numbers);
    let state = if bar.closed { "closed" } else { "open" };
    out.line(
        2,
        &format!(
            "{}  open {} high {} low {} close {} ({state}, {} ticks, revision {})",
            bar.window_start, numbers.open, numbers.high, numbers.low, numbers.close, numbers.trade_count, bar.revision
        ),
    );
    out.line(4, &localized(&format!("→ `{}`", hour.explain)));
}

#[cfg(test)]
mod tests {
    use super::super::merged::tests::block;
    use super::super::text::WIDTH;
    use super::*;

    #[test]
    fn the_text_shows_the_hours_with_their_commands_and_marks_a_number_that_differs() {
        let text = merged(&block("5", "6"));
        for part in [
            "Bar 5x16 of I (PJM), tenant acme",
            "from 1970-01-01T00:00:00Z to 1970-01-02T00:00:00Z",
            "in view bars_blocks",
            "DIFFERS: 5",
            "merged from: 2 of 4",
            "open 1 high 9 low 1 close 2",
            "(closed, 3 ticks, revision 2)",
            "--start 1970-01-01T01:00:00Z",
            "2 of its 4 hours have no bar",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        let longest = text.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(WIDTH), "{text}");
        assert!(!merged(&block("5", "5")).contains("DIFFERS"));
    }
}
