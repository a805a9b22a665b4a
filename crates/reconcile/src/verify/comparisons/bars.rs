//! Versions of bars: the newest of each window is recomputed from all ticks of the window.

use service::Reader;
use service::writer::TableSpec;
use service::writer::tables::{BARS, ENRICHED_TICKS};

use super::{Basis, Comparison, Running};
use crate::products::Products;
use crate::verify::bars::{Bars, check_versions};
use crate::verify::report::{Check, Subject, VerifyReport};
use crate::verify::table_checks::TableChecks;
use crate::verify::tables::{self, Place};

pub(super) static COMPARISON: Comparison = Comparison {
    table: &BARS,
    has_facts: false,
    basis: Basis::Ticks(compare),
};

fn compare<'a>(checks: &'a TableChecks<'a>, spec: &'static TableSpec, report: &'a mut VerifyReport) -> Running<'a> {
    Box::pin(bars(checks, spec, report))
}

/// Compares bars with their ticks, and checks their source offsets.
async fn bars(checks: &TableChecks<'_>, spec: &'static TableSpec, report: &mut VerifyReport) -> anyhow::Result<()> {
    let names = checks.names();
    let name = names.table(spec.name);
    let ranges = checks.ranges(std::slice::from_ref(checks.source_topic(spec))).await?;
    let table = checks.table(spec, &name, &[], (Place::Source, &ranges)).await?;
    checks.positions(spec, &table, report).await?;
    let enriched = names.table(ENRICHED_TICKS.name);
    let parts = tables::parts(tables::count(checks.clickhouse, &enriched).await?);
    let mut reader = Reader::new(&checks.connection.env);
    let products = Products::read(&mut reader);
    let bars = Bars {
        clickhouse: checks.clickhouse,
        names,
        gaps: checks.gaps,
        cut: checks.cut,
        products: &products,
        intervals: &products.intervals(),
        parts,
        expired: &checks.expired().await?,
        named: checks.depth.bars,
    };
    let (check, notes) = bars
        .check(async || checks.ranges(std::slice::from_ref(&names.enriched)).await)
        .await?;
    report.checks.push(check);
    report.notes.extend(notes);
    let versions = check_versions(checks.clickhouse, names, table.parts).await?;
    let title = format!("{name}: versions with conflicting contents");
    let check = Check::new(title, 0, versions.total, versions);
    report.checks.push(check.about(Subject::Positions(spec.name)));
    Ok(())
}
