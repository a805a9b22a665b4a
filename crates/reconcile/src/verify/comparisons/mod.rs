//! How each table is compared: one file and one row for each, and the only list of them.
//!
//! Role: the row in [`service::writer::TABLES`] says what a table is. The row here says how it is compared; it cannot be there, because the
//! services know nothing of this crate. A new table of ticks lists its columns; one that follows from many ticks brings its comparison.
//! Invariant: every table of the writers has one row (checked below).
//! Failure: a table without a row is an error of the run.

mod bars;
mod curve_snapshots;
mod derived_prices;
mod enriched_ticks;
mod late_ticks;
mod market_ticks;

use std::fmt::Debug;
use std::pin::Pin;

use codec::{CodecError, Wire};
use domain::Origin;
use service::writer::TableSpec;

use super::canonical::{Column, Writer};
use super::report::VerifyReport;
use super::table_checks::TableChecks;

/// In the order of the data flow.
static COMPARISONS: [&Comparison; 6] = [
    &market_ticks::COMPARISON,
    &enriched_ticks::COMPARISON,
    &bars::COMPARISON,
    &late_ticks::COMPARISON,
    &derived_prices::COMPARISON,
    &curve_snapshots::COMPARISON,
];

/// How a table is compared.
pub(super) struct Comparison {
    pub table: &'static TableSpec,
    /// Whether its rows are all ticks, so that the raw log determines their facts.
    pub has_facts: bool,
    pub basis: Basis,
}

/// What its rows follow from.
#[derive(Clone, Copy)]
pub(super) enum Basis {
    /// From one record of its topic each.
    Records(&'static dyn Records),
    /// From many ticks.
    Ticks(Compare),
}

/// Compares a table with the ticks that its rows follow from, and adds what it finds to the report.
pub(super) type Compare = for<'a> fn(&'a TableChecks<'a>, &'static TableSpec, &'a mut VerifyReport) -> Running<'a>;

/// A comparison that runs.
pub(super) type Running<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

/// The text of rows, as far as only their records determine it.
pub(super) trait Records: Debug + Sync {
    /// Its columns, in the order of the text.
    fn columns(&self) -> Vec<Column>;

    /// Appends the values of a record; returns its origin.
    ///
    /// # Errors
    /// The record cannot be read.
    fn write<'r>(&self, wire: &Wire, payload: &'r [u8], to: &mut Writer<'_>) -> Result<Origin<'r>, CodecError>;
}

impl Comparison {
    /// That of a table.
    pub(super) fn of(table: &TableSpec) -> Option<&'static Comparison> {
        COMPARISONS
            .into_iter()
            .find(|comparison| comparison.table.name == table.name)
    }
}

#[cfg(test)]
mod tests {
    use service::writer::TABLES;

    use super::*;

    #[test]
    fn each_table_of_the_writers_has_one_comparison() {
        let compared = COMPARISONS.map(|comparison| comparison.table.name);
        assert_eq!(compared, TABLES.map(|table| table.name));
    }

    #[test]
    fn a_table_that_keeps_versions_is_compared_with_ticks_and_any_other_with_its_records() {
        for comparison in COMPARISONS {
            let is_by_ticks = matches!(comparison.basis, Basis::Ticks(_));
            let table = comparison.table;
            assert_eq!(is_by_ticks, table.versions.is_some(), "{}", table.name);
            assert!(!(is_by_ticks && comparison.has_facts), "{}", table.name);
        }
    }
}
