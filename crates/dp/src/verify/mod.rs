//! Reconciles a live system: the raw log, read once more, against everything that was made of it (INV-1, INV-5, INV-6).
//!
//! Role: [`raw_walk`], [`blocks`], [`canonical`] and the comparisons are pure; [`logs`], [`tables`], [`bars`], [`served`],
//! [`dead_letters`] ask the servers. Rows are compared by checksums of blocks of offsets, and only blocks that differ are
//! read, so that any amount of data fits into memory; what differs is named row by row with both values.
//! Failure: a server that does not answer, or a table that is missing, is an error; a difference never is.
//! Absent on purpose: mending anything.

pub mod bars;
mod bars_sql;
pub mod blocks;
pub mod canonical;
pub mod dead_letters;
pub mod gaps;
pub mod logs;
pub mod quiet;
pub mod raw_walk;
pub mod report;
pub mod served;
pub mod table_checks;
pub mod tables;

use std::time::Duration;

use anyhow::{Context as _, bail};
use normalization::config::Config;
use service::clients::{Clients, Dependency, Use};
use service::{Names, Reader};
use stores::ClickHouse;
use stream::StreamError;
use stream::status::wall_clock;

pub use report::{Check, Differences, VerifyReport};

use crate::connection::Connection;
use gaps::Gaps;
use logs::{RawExpectation, RawLog, Records};
use quiet::Quiet;
use table_checks::TableChecks;

/// How to verify.
#[derive(Debug, Clone, Copy)]
pub struct VerifyOptions {
    /// How long to wait until nothing is under way.
    pub wait: Duration,
}

impl Default for VerifyOptions {
    fn default() -> VerifyOptions {
        VerifyOptions {
            wait: Duration::from_secs(60),
        }
    }
}

/// Compares everything with everything.
///
/// # Errors
/// A server does not answer, or a topic or table is missing.
pub async fn run(connection: &Connection, options: &VerifyOptions) -> anyhow::Result<VerifyReport> {
    let names = &connection.names;
    let clients = clients(connection)?;
    let clickhouse = clients.clickhouse().map_err(|error| anyhow::anyhow!(error))?;
    check_tables(&clickhouse, names).await?;
    let mut report = VerifyReport::default();
    wait_until_quiet(connection, options, &mut report).await?;

    let gaps = Gaps::load(&clickhouse, names).await.context("read the accepted gaps")?;
    let (raw, expected) = read_raw(connection, &gaps).await?;
    equations(&expected, &mut report);
    letters(connection, &raw, &expected, &gaps, &mut report).await?;

    let checks = TableChecks {
        connection,
        clickhouse: &clickhouse,
        gaps: &gaps,
    };
    let raw = std::sync::Arc::new(raw);
    let tick_tables = [
        ("market_ticks", Records::Normalized),
        ("enriched_ticks", Records::Enriched),
    ];
    for (base, records) in tick_tables {
        checks.by_raw_log(base, &raw, &expected, &mut report).await?;
        checks.by_source(base, records, &mut report).await?;
    }
    checks.by_source("late_ticks", Records::Late, &mut report).await?;
    checks.bars(&mut report).await?;

    let mut newest = served::newest(&clickhouse, names, &gaps).await?;
    report.notes.extend(served::ahead_of_the_clock(&newest, wall_clock()));
    let postgres = clients.postgres().map_err(|error| anyhow::anyhow!(error))?;
    let in_postgres = served::in_postgres(&postgres, names).await?;
    let excuse = gaps.excuse(&[(names.writer_group("enrichment"), &names.enriched, 1)]);
    served::believe(&mut newest, &in_postgres, &excuse, connection.settings.topic_partitions);
    report.checks.push(served::compare_postgres(&newest, &in_postgres));
    let redis = clients.redis().map_err(|error| anyhow::anyhow!(error))?;
    report
        .checks
        .push(served::check_redis(&redis, &newest, &in_postgres).await?);
    gaps.report(&mut report);
    still_quiet(connection, &raw, &mut report).await?;
    Ok(report)
}

/// Explains a table that is not there: services end without it, and everything after this would only say that.
async fn check_tables(clickhouse: &ClickHouse, names: &Names) -> anyhow::Result<()> {
    let (missing, _) = stores::clickhouse::restore::missing(clickhouse, &names.table_suffix())
        .await
        .context("list the tables of ClickHouse: is it running (`dp status`)?")?;
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "ClickHouse has no {}: dropped by hand, or never made. A service ends when its table is not there. `dp migrate` makes \
         it again, and the writers fill it from their topics once the services run (`dp start`)",
        missing.join(", ")
    )
}

fn clients(connection: &Connection) -> anyhow::Result<Clients> {
    let uses = [Dependency::ClickHouse, Dependency::Postgres, Dependency::Redis].map(Use::required);
    Clients::connect(&uses, &connection.settings, &connection.names)
        .map_err(|error| anyhow::anyhow!(error))
        .context("connect to the stores")
}

/// Runs what blocks on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StreamError> + Send + 'static,
) -> anyhow::Result<T> {
    Ok(tokio::task::spawn_blocking(work)
        .await
        .context("a reader of the log has ended early")??)
}

async fn wait_until_quiet(
    connection: &Connection,
    options: &VerifyOptions,
    report: &mut VerifyReport,
) -> anyhow::Result<()> {
    let (bootstrap, names, wait) = (
        connection.settings.kafka_bootstrap.clone(),
        connection.names.clone(),
        options.wait,
    );
    let waited = blocking(move || quiet::wait(&bootstrap, &names, wait)).await;
    let address = &connection.settings.kafka_bootstrap;
    let (quiet, on_the_way) =
        waited.with_context(|| format!("ask Kafka at {address}: is it running (`dp status`)?"))?;
    let why = quiet::in_words(&on_the_way);
    match quiet {
        Quiet::Yes => report.quiet = true,
        Quiet::Stalled => {
            report.quiet = true;
            report.notes.push(format!(
                "nothing moves any more, but {why}: a service is down, or a member that had lost its partitions set the \
                 committed offset back"
            ));
        }
        Quiet::No => report.notes.push(format!(
            "the system is not quiet after {} s: {}; what is under way shows as missing below",
            wait.as_secs(),
            if why.is_empty() { "topics still grow" } else { &why }
        )),
    }
    report.on_the_way = on_the_way;
    Ok(())
}

// What arrived meanwhile was not compared with the raw log, but it may be in bars and prices.
async fn still_quiet(connection: &Connection, raw: &RawLog, report: &mut VerifyReport) -> anyhow::Result<()> {
    let (bootstrap, topics) = (
        connection.settings.kafka_bootstrap.clone(),
        connection.names.raw.clone(),
    );
    let now = blocking(move || logs::ranges(&bootstrap, &topics)).await?;
    let ends = |ranges: &[logs::Range]| ranges.iter().map(|range| range.end).collect::<Vec<_>>();
    if ends(&now) != ends(&raw.ranges) {
        report.quiet = false;
        report
            .notes
            .push("messages arrived while it was compared: differences may be theirs".to_owned());
    }
    Ok(())
}

async fn read_raw(connection: &Connection, gaps: &Gaps) -> anyhow::Result<(RawLog, RawExpectation)> {
    let mut reader = Reader::new(&connection.env);
    let config: Config = normalization::config::read(&mut reader);
    reader.finish()?;
    let normalizer = config.normalizer(&connection.settings.tenant_id, connection.wire().await?);
    let (bootstrap, topics) = (
        connection.settings.kafka_bootstrap.clone(),
        connection.names.raw.clone(),
    );
    let (gaps, group) = (gaps.clone(), connection.names.group("normalization"));
    let partitions = connection.settings.topic_partitions;
    blocking(move || {
        let mut ranges = logs::ranges(&bootstrap, &topics)?;
        gaps.leave_out(&group, &mut ranges);
        let mut raw = RawLog {
            partitions,
            bootstrap,
            config: normalizer,
            limits: config.window,
            ranges,
        };
        let expected = raw.expect()?;
        Ok((raw, expected))
    })
    .await
    .context("read the raw log")
}

fn equations(expected: &RawExpectation, report: &mut VerifyReport) {
    let counts = &expected.counts;
    report.checks.push(Check::new(
        "raw messages = parsed + dead-lettered",
        counts.messages,
        counts.parsed + counts.dead_lettered,
        Differences::default(),
    ));
    report.checks.push(Check::new(
        "ticks parsed = emitted + duplicates + rejected rows",
        counts.ticks,
        counts.emitted + counts.duplicates + counts.rejected_rows,
        Differences::default(),
    ));
    report.notes.push(format!(
        "{} raw messages: {} parsed, {} dead-lettered; {} ticks: {} emitted, {} duplicates, {} rejected rows",
        counts.messages,
        counts.parsed,
        counts.dead_lettered,
        counts.ticks,
        counts.emitted,
        counts.duplicates,
        counts.rejected_rows
    ));
}

async fn letters(
    connection: &Connection,
    raw: &RawLog,
    expected: &RawExpectation,
    gaps: &Gaps,
    report: &mut VerifyReport,
) -> anyhow::Result<()> {
    let (bootstrap, dlq) = (
        connection.settings.kafka_bootstrap.clone(),
        connection.names.dlq.clone(),
    );
    let found = blocking(move || dead_letters::read(&bootstrap, &dlq))
        .await
        .context("read the dead letters")?;
    if found.is_cut {
        report
            .notes
            .push("retention has removed dead letters: missing ones are not counted as differences".to_owned());
    }
    let claimed = |place: &dead_letters::Place| {
        raw.ranges
            .iter()
            .any(|range| *range.lane.topic == *place.0 && range.lane.partition == place.1 && range.counts(place.2))
    };
    let names = &connection.names;
    // Where the table has no row of a late tick, since its writer has passed it.
    let passed = gaps.excuse(&[(names.writer_group("enrichment"), &names.enriched, 1)]);
    let explained = |place: &dead_letters::Place, code: &str| {
        place.0 == names.late && code == "row_missing" && passed.partitions.contains(&place.1)
    };
    report.checks.extend(dead_letters::compare(
        &expected.letters,
        &found,
        &names.raw,
        claimed,
        explained,
    ));
    if let Some(range) = raw.ranges.iter().find(|range| range.is_cut) {
        report.notes.push(format!(
            "retention has removed raw messages: {}[{}] is compared from offset {}",
            range.lane.topic, range.lane.partition, range.first
        ));
    }
    Ok(())
}
