//! Reconciles a live system: reads the raw log again and compares it with every output (INV-1, INV-5, INV-6).
//!
//! Role: [`raw_walk`], [`blocks`], [`canonical`] and the comparisons are pure; [`logs`], [`tables`], [`bars`], `derived`, `curves`, [`served`]
//! and [`dead_letters`] query the servers. Rows are compared by checksums of blocks of offsets. Only the rows of blocks that
//! differ are read, so that large tables need little memory. Each wrong row is reported with both values.
//! `derived` and `curves` share `versions`.
//! `refill` tells rows that are lost from rows that are still being written again.
//! Failure: a server that does not answer and a missing table are errors. A difference is never an error.
//! Absent on purpose: repairs ([`crate::repair`] makes them from what is found here).

pub mod bars;
mod bars_sql;
pub mod blocks;
pub mod canonical;
pub(crate) mod curves;
pub mod dead_letters;
pub(crate) mod derived;
pub mod gaps;
pub mod logs;
pub mod quiet;
pub mod ranges;
pub mod raw_walk;
pub mod record;
pub(crate) mod refill;
pub mod report;
pub mod served;
pub(crate) mod table_checks;
pub mod tables;
pub mod text;
mod versions;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use normalization::config::Config;
use service::clients::{Clients, Dependency, Use};
use service::writer::TABLES;
use service::{Names, Reader};
use stores::ClickHouse;
use stream::status::wall_clock;

pub use report::{Check, Differences, Subject, VerifyReport, Wrong, WrongRow};

use crate::raw::Rules;
use canonical::RawText;
use dead_letters::Letters;
use gaps::Gaps;
use logs::{RawExpectation, RawLog};
use ops::connection::Connection;
use ops::threads::reading;
use quiet::Quiet;
use refill::Refill;
use table_checks::TableChecks;

/// How much of what differs is looked at one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Differing blocks of offsets whose rows are compared, for each check.
    pub blocks: usize,
    /// Wrong bars that are named, for each query.
    pub bars: usize,
}

impl Depth {
    /// What a person reads.
    pub const READ: Depth = Depth {
        blocks: 64,
        bars: report::NAMED,
    };
    /// What a repair needs. The rest is found by its next run.
    pub const REPAIRED: Depth = Depth {
        blocks: 512,
        bars: 20_000,
    };
}

/// How to verify.
#[derive(Debug, Clone, Copy)]
pub struct VerifyOptions {
    /// How long to wait until no message is in flight.
    pub wait: Duration,
    /// How much is looked at one by one.
    pub depth: Depth,
}

impl Default for VerifyOptions {
    fn default() -> VerifyOptions {
        VerifyOptions {
            wait: Duration::from_secs(60),
            depth: Depth::READ,
        }
    }
}

/// Runs every check. If there are differences and a table is being filled again, waits for it and compares again.
///
/// # Errors
/// A server does not answer, or a topic or table is missing.
pub async fn run(connection: &Connection, options: &VerifyOptions) -> anyhow::Result<VerifyReport> {
    let clients = clients(connection)?;
    let clickhouse = clients.clickhouse().map_err(|error| anyhow::anyhow!(error))?;
    let deadline = Instant::now() + options.wait;
    loop {
        let wait = deadline.saturating_duration_since(Instant::now());
        let left = VerifyOptions { wait, ..*options };
        let (mut report, rows) = compare(connection, &clients, &left).await?;
        if report.is_ok() {
            return Ok(report);
        }
        let short = refill::short(connection, &clickhouse).await?;
        if short.is_empty() {
            // A table may have been filled during the comparison.
            let may_be_over = report.quiet && Instant::now() < deadline;
            if may_be_over && refill::has_grown(&rows, &refill::rows(&clickhouse, &connection.names).await?) {
                continue;
            }
            return Ok(report);
        }
        let (ended, short) = refill::wait(connection, &clickhouse, short, deadline).await?;
        if ended == Refill::Done && Instant::now() < deadline {
            continue;
        }
        // What is still being written is missing only for now.
        report.quiet &= ended == Refill::Stalled;
        report.notes.extend(refill::in_words(ended, &short));
        return Ok(report);
    }
}

/// The report, and the rows that each table had before the comparison.
async fn compare(
    connection: &Connection,
    clients: &Clients,
    options: &VerifyOptions,
) -> anyhow::Result<(VerifyReport, BTreeMap<String, u64>)> {
    let names = &connection.names;
    let clickhouse = clients.clickhouse().map_err(|error| anyhow::anyhow!(error))?;
    let mut report = VerifyReport::default();
    // Services that have just started create the tables of their generation; the writers are quiet only when they have them.
    wait_until_quiet(connection, options, &mut report).await?;
    check_tables(&clickhouse, names).await?;
    let rows = refill::rows(&clickhouse, names).await?;

    let gaps = Gaps::load(&clickhouse, names).await.context("read the accepted gaps")?;
    let (raw, expected, found) = read_raw(connection, &gaps).await?;
    equations(&expected, &mut report);
    letters(connection, (&raw, &expected, &found), &gaps, &mut report);

    let checks = TableChecks {
        connection,
        clickhouse: &clickhouse,
        gaps: &gaps,
        depth: options.depth,
    };
    let raw = std::sync::Arc::new(raw);
    for table in TABLES {
        checks.all_of(table, &raw, &expected, &mut report).await?;
    }

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
    Ok((report, rows))
}

/// Explains a missing table here, because every later query would fail on it with a less helpful error.
async fn check_tables(clickhouse: &ClickHouse, names: &Names) -> anyhow::Result<()> {
    let (missing, _) = stores::clickhouse::restore::missing(clickhouse, &names.table_suffix())
        .await
        .context("list the tables of ClickHouse: is it running (`dp status`)?")?;
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "ClickHouse has no {}: it was dropped manually or never created. Create it with `dp migrate`: a running writer \
         waits for it, and then fills it from its topic. `dp start` starts services that have ended",
        missing.join(", ")
    )
}

fn clients(connection: &Connection) -> anyhow::Result<Clients> {
    let uses = [Dependency::ClickHouse, Dependency::Postgres, Dependency::Redis].map(Use::required);
    Clients::connect(&uses, &connection.settings, &connection.names)
        .map_err(|error| anyhow::anyhow!(error))
        .context("connect to the stores")
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
    let waited = reading(move || quiet::wait(&bootstrap, &names, wait)).await;
    let address = &connection.settings.kafka_bootstrap;
    let (quiet, on_the_way) =
        waited.with_context(|| format!("query Kafka at {address}: is it running (`dp status`)?"))?;
    let why = quiet::in_words(&on_the_way);
    match quiet {
        Quiet::Yes => report.quiet = true,
        Quiet::Stalled => {
            report.quiet = true;
            report.notes.push(format!(
                "no offset changes any more, but {why}: a service is down (`dp health`), or a member of the group that no longer \
                 owned the partition has committed an older offset; then nothing is missing, and the next message corrects it"
            ));
        }
        Quiet::No => report.notes.push(format!(
            "the system is not quiet after {} s: {}; messages in flight are reported as missing below",
            wait.as_secs(),
            if why.is_empty() {
                "topics are still growing"
            } else {
                &why
            }
        )),
    }
    report.on_the_way = on_the_way;
    Ok(())
}

// Messages that arrived during the comparison were not read from the raw log, but may already count in bars and prices.
async fn still_quiet(connection: &Connection, raw: &RawLog, report: &mut VerifyReport) -> anyhow::Result<()> {
    let (bootstrap, topics) = (
        connection.settings.kafka_bootstrap.clone(),
        connection.names.raw.clone(),
    );
    let now = reading(move || ranges::ranges(&bootstrap, &topics)).await?;
    let ends = |ranges: &[ranges::Range]| ranges.iter().map(|range| range.end).collect::<Vec<_>>();
    if ends(&now) != ends(&raw.ranges) {
        report.quiet = false;
        report
            .notes
            .push("messages arrived during the comparison: they may have caused the differences".to_owned());
    }
    Ok(())
}

/// The dead letters are read first, because a replay settles what became of the rejected message.
async fn read_raw(connection: &Connection, gaps: &Gaps) -> anyhow::Result<(RawLog, RawExpectation, Letters)> {
    let mut reader = Reader::new(&connection.env);
    let config: Config = normalization::config::read(&mut reader);
    reader.finish()?;
    let normalizer = config.normalizer(&connection.settings.tenant_id, connection.wire().await?);
    let (bootstrap, topics) = (
        connection.settings.kafka_bootstrap.clone(),
        connection.names.raw.clone(),
    );
    let (gaps, group) = (gaps.clone(), connection.names.group("normalization"));
    let (partitions, dlq) = (connection.settings.topic_partitions, connection.names.dlq.clone());
    reading(move || {
        let found = dead_letters::read(&bootstrap, &dlq)?;
        let mut ranges = ranges::ranges(&bootstrap, &topics)?;
        gaps.leave_out(&group, &mut ranges);
        let mut raw = RawLog {
            partitions,
            rules: Rules {
                bootstrap,
                config: normalizer,
                limits: config.window,
            },
            replayed: found.replayed.clone(),
            ranges,
        };
        let texts: Vec<RawText> = TABLES.into_iter().filter_map(RawText::of).collect();
        let expected = raw.expect(&texts)?;
        Ok((raw, expected, found))
    })
    .await
    .context("read the dead letters and the raw log")
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

fn letters(
    connection: &Connection,
    (raw, expected, found): (&RawLog, &RawExpectation, &Letters),
    gaps: &Gaps,
    report: &mut VerifyReport,
) {
    if found.is_cut {
        report.notes.push(
            "retention has removed dead letters: a missing dead letter is not counted as a difference".to_owned(),
        );
    }
    let claimed = |place: &dead_letters::Place| {
        raw.ranges
            .iter()
            .any(|range| *range.lane.topic == *place.0 && range.lane.partition == place.1 && range.counts(place.2))
    };
    let names = &connection.names;
    // The table has no row of a late tick if its writer has passed that tick.
    let passed = gaps.excuse(&[(names.writer_group("enrichment"), &names.enriched, 1)]);
    // An invalidation is no tick: without it nothing is missing in a store.
    let explained = |place: &dead_letters::Place, code: &str| {
        let is_passed = || code == "row_missing" && passed.partitions.contains(&place.1);
        place.0 == names.invalidation || (place.0 == names.late && is_passed())
    };
    report.checks.extend(dead_letters::compare(
        &expected.letters,
        found,
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
}
