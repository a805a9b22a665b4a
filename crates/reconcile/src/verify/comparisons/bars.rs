//! Versions of bars: the newest of each window is recomputed from all ticks of the window.

use service::Reader;
use service::writer::tables::{BARS, ENRICHED_TICKS};

use super::comparison::{Basis, Comparison};
use crate::products::Products;
use crate::verify::bars::{Bars, check_versions};
use crate::verify::report::{Check, Subject};
use crate::verify::tables::{count, parts};
use crate::verify::versions::{Outcome, Versions};

pub(super) static COMPARISON: Comparison = Comparison {
    table: &BARS,
    basis: Basis::ManyTicks(|versions| Box::pin(compare(versions))),
};

async fn compare(of: Versions<'_>) -> anyhow::Result<Outcome> {
    let (clickhouse, names, name) = (of.clickhouse, of.names(), of.name());
    let mut reader = Reader::new(&of.connection.env);
    let products = Products::read(&mut reader);
    let bars = Bars {
        clickhouse,
        names,
        gaps: of.gaps,
        cut: of.cut,
        products: &products,
        intervals: &products.intervals(),
        parts: parts(count(clickhouse, &names.table(ENRICHED_TICKS.name)).await?),
        expired: of.expired,
        named: of.named,
    };
    let (newest, notes) = bars.check(async || of.ranges(&names.enriched).await).await?;
    let versions = check_versions(clickhouse, names, parts(count(clickhouse, &name).await?)).await?;
    let title = format!("{name}: versions with conflicting contents");
    let contents = Check::new(title, 0, versions.total, versions).about(Subject::Positions(BARS.name));
    Ok(Outcome {
        checks: vec![newest, contents],
        notes,
    })
}
