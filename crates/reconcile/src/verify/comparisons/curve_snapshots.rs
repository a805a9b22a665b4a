//! Versions of snapshots of curves: the newest of each is compared with the ticks of its quotes.

use service::writer::TableSpec;
use service::writer::tables::CURVE_SNAPSHOTS;

use super::{Basis, Comparison, Running};
use crate::verify::curves::Curves;
use crate::verify::report::VerifyReport;
use crate::verify::table_checks::TableChecks;

pub(super) static COMPARISON: Comparison = Comparison {
    table: &CURVE_SNAPSHOTS,
    has_facts: false,
    basis: Basis::Ticks(compare),
};

fn compare<'a>(checks: &'a TableChecks<'a>, spec: &'static TableSpec, report: &'a mut VerifyReport) -> Running<'a> {
    Box::pin(versions(checks, spec, report))
}

/// Compares the versions with the ticks of their quotes, and checks their source offsets.
async fn versions(checks: &TableChecks<'_>, spec: &'static TableSpec, report: &mut VerifyReport) -> anyhow::Result<()> {
    checks.offsets(spec, report).await?;
    let expired = checks.expired().await?;
    let outcome = Curves(checks.versions(spec, &expired)).check().await?;
    report.checks.extend(outcome.checks);
    report.notes.extend(outcome.notes);
    Ok(())
}
