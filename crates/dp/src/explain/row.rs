//! A raw message followed forward, and a price followed back: what is printed of them. Pure.

use serde::Serialize;
use serde_json::{Map, Value};

use super::follow::Fate;
use super::logs::{LetterRow, RawRecord};
use super::served::Quote;
use super::{BarRow, TickRow};

/// A tick of a message, and the bars that count it.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct TickAndBars {
    #[serde(flatten)]
    pub tick: TickRow,
    pub bars: Vec<BarRow>,
}

/// Everything that was made of one raw message.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct RowTrace {
    pub raw: RawRecord,
    /// Where the message is a repetition: the one that was emitted for the event.
    pub original: Option<RawRecord>,
    /// Rows in the tables.
    pub ticks: Vec<TickAndBars>,
    pub dead_letters: Vec<LetterRow>,
    /// The row of the table that was asked for, with every column.
    pub table_rows: Vec<Map<String, Value>>,
    /// Whether tables and dead letters say what the parser says.
    pub agrees: bool,
    pub notes: Vec<String>,
}

/// A served price traced back.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct PriceTrace {
    pub tenant_id: String,
    pub instrument_id: String,
    pub quotes: Vec<Quote>,
    pub disagreements: Vec<String>,
    /// Whether a price is for a time that has not come yet.
    pub ahead_of_the_clock: bool,
    pub tick: Option<TickRow>,
    pub raw: Option<RawRecord>,
}

/// What became of the message, where the tables and the dead letters do not say what the parser says.
pub fn contradictions(raw: &RawRecord, rows: usize, letters: &[LetterRow]) -> Vec<String> {
    let Some(decided) = raw.kept.as_ref().and_then(|kept| kept.decided.as_ref()) else {
        return Vec::new();
    };
    let hint = "the pipeline may not have come to it yet (`dp groups`); `dp verify` names every row that is wrong";
    let mut notes = Vec::new();
    match &decided.fate {
        Fate::Emitted { .. } if rows < decided.ticks.len() => notes.push(format!(
            "{} of its {} ticks have rows: {hint}",
            rows,
            decided.ticks.len()
        )),
        Fate::Repetition { .. } if rows > 0 => notes.push(format!("it is a repetition, and has {rows} rows: {hint}")),
        Fate::Refused { .. } if letters.is_empty() => {
            notes.push(format!(
                "it is refused, and topic dlq holds no dead letter of it: {hint}"
            ));
        }
        _ => {}
    }
    notes
}
