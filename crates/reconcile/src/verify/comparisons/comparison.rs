//! What a row of the list is made of: a table, and what its rows follow from.

use std::pin::Pin;

use service::writer::TableSpec;

use crate::verify::canonical::{RawText, SourceText};
use crate::verify::versions::{Outcome, Versions};

/// How a table is compared.
pub(in crate::verify) struct Comparison {
    pub table: &'static TableSpec,
    pub basis: Basis,
}

/// What the rows of a table follow from.
pub(in crate::verify) enum Basis {
    /// From one tick of the raw log each. The text is what only its record has.
    Tick(SourceText),
    /// From one record of the table's topic each.
    Record(SourceText),
    /// From many ticks.
    ManyTicks(Compare),
}

/// Compares a table with the ticks that its rows follow from.
pub(in crate::verify) type Compare = for<'a> fn(Versions<'a>) -> Comparing<'a>;
type Comparing<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Outcome>> + 'a>>;

impl Comparison {
    /// The text of its rows as far as the raw log determines it.
    pub fn raw_text(&self) -> Option<RawText> {
        matches!(self.basis, Basis::Tick(_)).then(|| RawText::of(self.table))
    }

    /// The text of its rows as far as only their records determine it.
    pub fn source_text(&self) -> Option<SourceText> {
        match self.basis {
            Basis::Tick(text) | Basis::Record(text) => Some(text),
            Basis::ManyTicks(_) => None,
        }
    }
}
