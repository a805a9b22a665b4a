//! How each table is compared: one file and one row for each, and the only list of them.
//!
//! Role: the row in [`service::writer::TABLES`] says what a table is, the row here how it is compared, because the services know nothing of
//! this crate. `comparison` has what a row is made of. A table file imports only that and what is below it, never this list.
//! Invariants: every table of the writers has one row, and every column that a writer fills is compared (both checked below).
//! Absent on purpose: what PostgreSQL and Redis serve by name; [`by_name`](super::by_name) compares it with two of these tables.

mod bars;
pub(super) mod comparison;
mod curve_snapshots;
mod derived_prices;
mod enriched_ticks;
mod late_ticks;
mod market_ticks;

use service::writer::TableSpec;

use super::canonical::{RawText, SourceText};
use comparison::Comparison;

/// In the order of the data flow.
pub(super) static COMPARISONS: [&Comparison; 6] = [
    &market_ticks::COMPARISON,
    &enriched_ticks::COMPARISON,
    &bars::COMPARISON,
    &late_ticks::COMPARISON,
    &derived_prices::COMPARISON,
    &curve_snapshots::COMPARISON,
];

/// The texts of all tables whose rows are ticks.
pub(super) fn raw_texts() -> Vec<RawText> {
    COMPARISONS.into_iter().filter_map(Comparison::raw_text).collect()
}

/// The text of this table; `None` if its rows are not one for each record.
pub(crate) fn source_text(table: &TableSpec) -> Option<SourceText> {
    let mut all = COMPARISONS.into_iter();
    all.find(|comparison| comparison.table.name == table.name)?
        .source_text()
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

    /// A row is assigned to a block by the raw and the source partition, so these are compared without being in a text.
    #[test]
    fn every_column_that_a_writer_fills_is_compared() {
        for comparison in COMPARISONS {
            // Of the other tables only the newest versions count.
            let Some(source) = comparison.source_text() else {
                continue;
            };
            let table = comparison.table;
            let mut compared = vec!["src_partition"];
            if let Some(raw) = comparison.raw_text() {
                compared.extend(raw.columns().iter().map(|column| column.name));
                compared.extend(["feed", "raw_partition"]);
            }
            compared.extend(source.columns().iter().map(|column| column.name));
            for (name, _) in table.layout.fields() {
                assert!(compared.contains(&name), "{name} of {}", table.name);
            }
            for name in compared {
                let has = table.layout.fields().any(|(of_table, _)| of_table == name);
                assert!(has, "{} has no {name}", table.name);
            }
        }
    }
}
