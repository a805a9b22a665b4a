//! The step for tables of ticks, which have one row for each record.

use anyhow::Context as _;
use ops::connection::Connection;
use ops::progress::Progress;
use ops::threads::reading;
use service::writer::TableSpec;
use stores::ClickHouse;

use super::choice::Candidate;
use super::report::Reasons;
use super::table::Table;
use crate::tick_id::{Period, TickId};
use crate::verify::Depth;
use crate::verify::blocks::BlockKey;
use crate::verify::comparisons;
use crate::verify::cut::Cut;
use crate::verify::gaps::Gaps;
use crate::verify::table_checks::TableChecks;

const OF_THE_WRITER: &str = "a row of another period is missing before it, and both come after the position of the writer: it writes \
    them when its service starts (`dp restart`); or repair without --from and --to";

pub(super) const IN_FLIGHT: &str =
    "it comes after the position of the table's writer, which has messages in flight: it writes the row itself";

/// Which rows of a table of ticks are written.
pub(super) struct Chosen<'a> {
    /// The table without the suffix of a generation.
    pub(super) table: &'static str,
    /// Blocks of offsets of its topic.
    pub(super) blocks: &'a [BlockKey],
    /// Ticks.
    pub(super) period: &'a Period,
    /// How far the topic was compared.
    pub(super) cut: &'a Cut,
    /// Whether rows after the writer's position are left to it.
    pub(super) arrives: bool,
}

/// Writes the chosen rows that a table of ticks lacks; returns how many.
pub(super) async fn ticks(
    connection: &Connection,
    clickhouse: &ClickHouse,
    chosen: Chosen<'_>,
    reasons: &mut Reasons,
) -> anyhow::Result<u64> {
    let name = chosen.table;
    let spec = TableSpec::named(name).with_context(|| format!("no writer fills {name}"))?;
    let text = comparisons::source_text(spec).with_context(|| format!("{name} is not a table of ticks"))?;
    let gaps = Gaps::load(clickhouse, &connection.names).await?;
    let checks = TableChecks {
        connection,
        clickhouse,
        gaps: &gaps,
        cut: chosen.cut,
        depth: Depth::REPAIRED,
    };
    let log = checks.source_log(spec, text).await?;
    let blocks = chosen.blocks.to_vec();
    let places = reading(move || log.places(&blocks)).await?;
    let table = Table::open(connection, clickhouse, spec).await?;
    let total = places.values().map(|places| places.len() as u64).sum();
    let mut progress = Progress::new(&format!("repairing {name}"), total, "records");
    let (mut written, mut seen) = (0, 0);
    for (partition, places) in places {
        let mut candidates = candidates(places, chosen.period);
        if chosen.arrives {
            let position = table.position(partition).await?;
            let own = candidates.extract_if(.., |candidate| candidate.offset >= position);
            reasons.extend(own.map(|candidate| (candidate.tick.to_string(), IN_FLIGHT.to_owned())));
        }
        if !candidates.iter().any(|candidate| candidate.is_wanted) {
            continue;
        }
        let told = |records| {
            seen += records;
            progress.set(seen, "");
        };
        let done = table.write_ticks(partition, &candidates, told).await?;
        written += done.written;
        for choice in done.choices {
            for (tick, other) in choice.elsewhere {
                let why =
                    format!("{name} has the tick from offset {other} of the topic, a repetition: nothing is lost");
                reasons.insert(tick.to_string(), why);
            }
            for tick in choice.of_the_writer {
                reasons.insert(tick.to_string(), OF_THE_WRITER.to_owned());
            }
        }
    }
    progress.finish();
    Ok(written)
}

fn candidates(places: Vec<(i64, String)>, period: &Period) -> Vec<Candidate> {
    let candidate = |(offset, id): (i64, String)| {
        Some(Candidate {
            offset,
            is_wanted: period.contains(&id),
            tick: TickId::parse(&id)?,
        })
    };
    places.into_iter().filter_map(candidate).collect()
}
