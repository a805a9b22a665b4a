//! A rehearsal: what every stage would make of one message, without a server and without publishing it. Pure.
//!
//! Role: [`rehearse`] runs normalization's parser on the bytes; [`forms`] gives each tick to the functions of enrichment,
//! aggregation and projection; [`text`] formats the result.
//! Invariant: the code of the services decides, under their settings, so the forms are those of a pipeline that has seen no other
//! message and has no reference data. The message takes the place 0/0 of its topic.
//! Failure: a message or row that is rejected is a finding with its code, never an error. A setting that cannot be read is an error.

pub mod forms;
mod stages;
pub mod text;

use std::collections::BTreeMap;

use domain::{QualityFlag, QualityFlags};
use markets::{Normalizer, RawMessage, RejectedRows, Rejection};
use serde::Serialize;

use crate::explain::At;
use forms::TickForms;

pub use stages::Stages;

/// Longest list of rejected rows, in characters.
const ROWS_TEXT: usize = 1_000;

/// What enrichment would ask its store for, and a rehearsal does not: table, and what its rows add.
pub const LOOKUPS: [Lookup; 5] = [
    Lookup {
        table: "taxonomy_instruments",
        adds: "the instrument's own commodity, region, tier, unit, contract size, tick size and curve, instead of the guess",
    },
    Lookup {
        table: "instrument_aliases",
        adds: "the same, for an instrument that its producer calls by another name",
    },
    Lookup {
        table: "taxonomy_commodity_rules",
        adds: "the tenant's own keywords of commodities",
    },
    Lookup {
        table: "taxonomy_region_rules",
        adds: "the tenant's own keywords of regions",
    },
    Lookup {
        table: "curve_metadata",
        adds: "the curve of an instrument that fits one of its patterns",
    },
];

/// What no single message can show.
const NOTES: [&str; 3] = [
    "the topic's partition and offset are not known before a message is published: they are shown as 0",
    "repetitions, price and volume changes and new instruments depend on earlier messages and are not checked",
    "each bar is that of its tick alone; a latest price replaces only an older one",
];

/// A look-up that needs the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Lookup {
    pub table: &'static str,
    pub adds: &'static str,
}

/// What happens to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Outcome {
    Accepted,
    /// Some rows of a document are rejected.
    PartlyRejected,
    /// It becomes a dead letter as a whole.
    Rejected,
}

/// What every stage makes of a message.
#[derive(Debug, Serialize)]
pub struct Rehearsal {
    /// The raw topic.
    pub topic: String,
    /// Size of the message.
    pub bytes: usize,
    /// Format of a document; `None` for a message with one tick.
    pub format: Option<String>,
    /// When it is taken to be appended.
    pub appended_at: At,
    /// What happens to it.
    pub outcome: Outcome,
    /// Number of its ticks.
    pub ticks: u64,
    /// Number of rejected rows, or of the errors of a rejected message.
    pub rejected: u64,
    /// Indexes of the rejected rows: `0-17,20`; ends with `...` if there are more.
    pub rejected_rows: String,
    /// The first errors.
    pub errors: Vec<RehearsedError>,
    /// Number of ticks by quality flag.
    pub quality_flags: BTreeMap<&'static str, u64>,
    /// The first ticks, in every form.
    pub shown: Vec<TickForms>,
    /// What enrichment could not look up; empty without a tick.
    pub missing: Vec<Lookup>,
    /// What the rehearsal does not show.
    pub notes: Vec<String>,
}

/// Why a message or a row is rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RehearsedError {
    /// The row of a document.
    pub row: Option<i32>,
    /// The code of its dead letter.
    pub code: &'static str,
    /// What is wrong, and the field.
    pub message: String,
}

impl RehearsedError {
    fn of(row: Option<i32>, rejection: Rejection) -> RehearsedError {
        RehearsedError {
            row,
            code: rejection.code.name(),
            message: rejection.message,
        }
    }
}

impl Rehearsal {
    fn of(message: &RawMessage<'_>) -> Rehearsal {
        Rehearsal {
            topic: message.feed.to_owned(),
            bytes: message.payload.len(),
            format: message.format.map(str::to_owned),
            appended_at: At(message.appended_at),
            outcome: Outcome::Accepted,
            ticks: 0,
            rejected: 0,
            rejected_rows: String::new(),
            errors: Vec::new(),
            quality_flags: BTreeMap::new(),
            shown: Vec::new(),
            missing: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn refuse_whole(&mut self, errors: Vec<RehearsedError>) {
        self.outcome = Outcome::Rejected;
        self.rejected = errors.len() as u64;
        self.errors = errors;
        if self.format.is_none() {
            let note = "the message was read as one tick; if it is a document, name its format with --as";
            self.notes.push(note.to_owned());
        }
    }

    fn refuse_rows(&mut self, rows: RejectedRows, most: usize) {
        if rows.is_empty() {
            return;
        }
        self.outcome = match self.ticks {
            0 => Outcome::Rejected,
            _ => Outcome::PartlyRejected,
        };
        self.rejected = rows.count();
        self.rejected_rows = rows.rows.text(ROWS_TEXT);
        let first = rows.first.into_iter().take(most);
        self.errors = first
            .map(|row| RehearsedError::of(Some(row.index), row.rejection))
            .collect();
    }
}

/// Takes the message through all stages. At most `rows` of its ticks and of its rejected rows are shown.
pub fn rehearse(stages: &Stages, message: &RawMessage<'_>, rows: usize) -> Rehearsal {
    let (mut rehearsal, now) = (Rehearsal::of(message), message.appended_at);
    let mut normalizer = Normalizer::new(stages.normalizer.clone());
    let parsed = match normalizer.parse(message) {
        Ok(parsed) => parsed,
        Err(first) => {
            rehearsal.refuse_whole(all_errors(stages, message, first));
            return rehearsal;
        }
    };
    if parsed.is_part() {
        let note = "the document is not a complete set: one page of many, or without its end";
        rehearsal.notes.push(note.to_owned());
    }
    let Rehearsal {
        ticks,
        quality_flags,
        shown,
        ..
    } = &mut rehearsal;
    let rejected = parsed.emit(now, QualityFlags::NONE, &mut |tick| {
        *ticks += 1;
        for flag in tick.quality_flags.iter().map(QualityFlag::name) {
            *quality_flags.entry(flag).or_default() += 1;
        }
        if shown.len() < rows {
            shown.push(forms::of(stages, tick));
        }
    });
    rehearsal.refuse_rows(rejected, rows);
    if rehearsal.ticks > 0 {
        rehearsal.missing = LOOKUPS.to_vec();
        rehearsal.notes.extend(NOTES.map(str::to_owned));
    }
    rehearsal
}

/// The reason of the rejection, and whatever else is wrong with the message.
fn all_errors(stages: &Stages, message: &RawMessage<'_>, first: Rejection) -> Vec<RehearsedError> {
    let diagnosis = Normalizer::new(stages.normalizer.clone()).diagnose(message, message.appended_at);
    let mut errors = vec![RehearsedError::of(None, first)];
    for error in diagnosis.errors {
        let error = RehearsedError::of(None, error);
        if !errors.contains(&error) {
            errors.push(error);
        }
    }
    errors
}

#[cfg(test)]
mod tests;
