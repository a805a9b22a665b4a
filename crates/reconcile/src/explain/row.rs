//! The traces of a raw message and of a price, as they are printed. Pure.

use serde::Serialize;
use serde_json::{Map, Value};
use service::control::order::HELD_CODE;

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

/// A raw message and all its outputs.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct RowTrace {
    pub raw: RawRecord,
    /// If the message is a repetition: the message that was emitted for the event.
    pub original: Option<RawRecord>,
    /// Its ticks in the tables.
    pub ticks: Vec<TickAndBars>,
    pub dead_letters: Vec<LetterRow>,
    /// Rows of the table in `--table`, with every column.
    pub table_rows: Vec<Map<String, Value>>,
    /// Whether tables and dead letters agree with the parser.
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
    /// Whether the event time of a price is in the future.
    pub ahead_of_the_clock: bool,
    pub tick: Option<TickRow>,
    pub raw: Option<RawRecord>,
}

impl PriceTrace {
    /// How many stores could not be read.
    pub fn unread(&self) -> usize {
        self.quotes.iter().filter(|quote| quote.is_unread).count()
    }

    /// Whether every store was read, and those that have a price agree.
    pub fn agrees(&self) -> bool {
        self.disagreements.is_empty() && self.unread() == 0
    }
}

/// Notes on tables and dead letters that do not agree with the parser.
pub fn contradictions(raw: &RawRecord, rows: usize, letters: &[LetterRow]) -> Vec<String> {
    let Some(decided) = raw.kept.as_ref().and_then(|kept| kept.decided.as_ref()) else {
        return Vec::new();
    };
    let hint = "the pipeline may not have processed it yet (see `dp groups`); `dp verify` lists every wrong row";
    let mut notes = Vec::new();
    match &decided.fate {
        // The walk knows the message, not the orders.
        Fate::Emitted { .. } if letters.iter().any(|letter| letter.code == HELD_CODE) => {
            notes.push(
                "its tenant was paused, so it is a dead letter; its ticks are those of its replay (`dp dlq replay`)"
                    .to_owned(),
            );
        }
        Fate::Emitted { .. } if rows < decided.ticks.len() => notes.push(format!(
            "only {} of its {} ticks have rows: {hint}",
            rows,
            decided.ticks.len()
        )),
        Fate::Repetition { .. } if rows > 0 => notes.push(format!("it is a repetition, but has {rows} rows: {hint}")),
        Fate::Refused { .. } if letters.is_empty() => {
            notes.push(format!(
                "it is rejected, but topic dlq has no dead letter of it: {hint}"
            ));
        }
        // Its rows were written by other settings than those of its letter.
        Fate::Refused { .. } if rows > 0 => notes.push(format!(
            "it is a dead letter, but has {rows} rows: another generation has accepted it, or it was read again after a setting was changed"
        )),
        _ => {}
    }
    notes
}
