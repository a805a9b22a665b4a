//! Reconciles a live system: reads the raw log again and compares it with every output (INV-1, INV-5, INV-6).
//!
//! Role: [`raw_walk`], [`blocks`], [`canonical`] and the comparisons are pure; [`logs`], [`tables`], [`bars`], `derived`, `curves`, [`served`],
//! [`by_name`] and [`dead_letters`] query the servers. Rows are compared by checksums of blocks of offsets. Only the rows of blocks that
//! differ are read, so that large tables need little memory. Each wrong row is reported with both values.
//! `comparisons` lists how each table is compared. [`bars`], `derived` and `curves` share `versions`.
//! [`merged`] compares the views of four hours, market days and blocks with the bars of an hour.
//! `valid_now` tells letters that wait for their replay from those of messages that have rows.
//! `venues` tells differences that follow from a setting of this shell.
//! `refill` tells rows that are lost from rows that are still being written again.
//! Ticks may arrive meanwhile: a run compares up to a [`cut`] that it takes at its beginning, when [`passed`] has seen every stage pass it.
//! Failure: a server that does not answer and a missing table are errors. A difference is never an error.
//! Absent on purpose: repairs ([`crate::repair`] makes them from what is found here).

pub mod bars;
mod bars_sql;
pub mod blocks;
pub mod by_name;
pub mod canonical;
pub(crate) mod comparisons;
pub(crate) mod curves;
pub mod cut;
pub mod dead_letters;
mod depth;
pub(crate) mod derived;
pub mod gaps;
mod lane;
pub mod logs;
pub mod merged;
mod outside;
pub mod passed;
mod range;
pub mod ranges;
pub mod raw_walk;
pub mod record;
pub(crate) mod refill;
pub mod report;
pub mod served;
pub(crate) mod table_checks;
pub mod tables;
pub mod text;
mod valid_now;
mod venues;
mod versions;
mod wrong;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use normalization::config::Config;
use service::clients::{Clients, Dependency, Use};
use service::{Names, Reader};
use stores::{ClickHouse, redis};
use stream::status::wall_clock;

pub use depth::Depth;
pub use report::{Check, Differences, Subject, VerifyReport, Wrong, WrongRow};

use crate::raw::Rules;
use comparisons::COMPARISONS;
use cut::Cut;
use dead_letters::Letters;
use gaps::Gaps;
use logs::{RawExpectation, RawLog};
use ops::connection::Connection;
use ops::progress::waiting;
use ops::threads::reading;
use passed::Passed;
use refill::Refill;
use table_checks::TableChecks;

/// How to verify.
#[derive(Debug, Clone, Copy)]
pub struct VerifyOptions {
    /// How long to wait until everything that follows from the cut is in the stores.
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
    let (deadline, mut loaded_runs) = (Instant::now() + options.wait, 0);
    loop {
        let wait = deadline.saturating_duration_since(Instant::now());
        let left = VerifyOptions { wait, ..*options };
        let (mut report, rows) = compare(connection, &clients, &left).await?;
        if report.is_ok() {
            return Ok(report);
        }
        loaded_runs += u32::from(report.arrived > 0);
        let short = refill::short(connection, &clickhouse).await?;
        if short.is_empty() {
            // A table may have been filled during the comparison. Under load tables grow anyway, so one more comparison has to do.
            let may_be_over = report.settled && loaded_runs < 2 && Instant::now() < deadline;
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
        report.settled &= ended == Refill::Stalled;
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
    // Services that have just started create the tables of their generation; the writers have passed the cut only when they have them.
    wait_for_the_cut(connection, options, &mut report).await?;
    let cut = report.cut.clone();
    check_tables(&clickhouse, names).await?;
    let rows = refill::rows(&clickhouse, names).await?;

    let gaps = Gaps::load(&clickhouse, names).await.context("read the accepted gaps")?;
    let (raw, expected, found) = read_raw(connection, &clickhouse, &gaps, &cut).await?;
    equations(&expected, &mut report);
    letters(connection, (&raw, &expected, &found), &gaps, &mut report);

    let checks = TableChecks {
        connection,
        clickhouse: &clickhouse,
        gaps: &gaps,
        cut: &cut,
        depth: options.depth,
    };
    let raw = std::sync::Arc::new(raw);
    for comparison in COMPARISONS {
        let compares = format!("comparing {}", comparison.table.name);
        waiting(&compares, checks.all_of(comparison, &raw, &expected, &mut report)).await?;
    }
    let merges = "comparing bars of four hours, market days and blocks";
    waiting(merges, merged::check(&clickhouse, names, &mut report)).await?;

    prices(connection, clients, &gaps, &mut report).await?;
    gaps.report(&mut report);
    report.arrived = ranges::arrived(connection, &cut).await?.messages();
    if report.arrived > 0 {
        report.notes.push(format!(
            "{} raw message(s) arrived during the run: they, and what follows from them, are not compared",
            report.arrived
        ));
    }
    if report.checks.iter().any(|check| !check.ok) {
        let unknown = venues::unknown(&clickhouse, names, &raw.rules.config.venues).await?;
        report.notes.extend(unknown);
    }
    Ok((report, rows))
}

/// The latest prices of both stores that serve them, then what they serve by name.
async fn prices(
    connection: &Connection,
    clients: &Clients,
    gaps: &Gaps,
    report: &mut VerifyReport,
) -> anyhow::Result<()> {
    let names = &connection.names;
    let clickhouse = clients.clickhouse().map_err(|error| anyhow::anyhow!(error))?;
    let reads = "comparing the latest prices";
    let mut newest = waiting(reads, served::newest(&clickhouse, names, (gaps, &report.cut))).await?;
    report.notes.extend(served::ahead_of_the_clock(&newest, wall_clock()));
    let postgres = clients.postgres().map_err(|error| anyhow::anyhow!(error))?;
    let in_postgres = waiting(reads, served::in_postgres(&postgres, names)).await?;
    let redis = clients.redis().map_err(|error| anyhow::anyhow!(error))?;
    let in_redis = waiting(reads, served::in_redis(&redis, &redis::key::every_latest_price())).await?;
    let arrived = ranges::arrived(connection, &report.cut).await?;
    let excuse = gaps.excuse(&[(names.writer_group("enrichment"), &names.enriched, 1)]);
    let partitions = connection.settings.topic_partitions;
    served::believe(&mut newest, &in_postgres, &arrived, &excuse, partitions);
    let of_postgres = served::compare_postgres(&newest, &in_postgres, &arrived);
    let of_redis = served::compare_redis(&newest, &in_postgres, &in_redis, &arrived);
    for ((check, changed), store) in [(of_postgres, "PostgreSQL"), (of_redis, "Redis")] {
        report.checks.push(check);
        let what = format!("latest price(s) in {store}");
        report.notes.extend(versions::moved(&what, changed));
    }
    let reads = "comparing the newest curve snapshots and derived prices";
    waiting(reads, by_name::check(connection, clients, gaps, report)).await
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

async fn wait_for_the_cut(
    connection: &Connection,
    options: &VerifyOptions,
    report: &mut VerifyReport,
) -> anyhow::Result<()> {
    let (bootstrap, names, wait) = (
        connection.settings.kafka_bootstrap.clone(),
        connection.names.clone(),
        options.wait,
    );
    let waits = format!(
        "waiting up to {} s until every stage has passed what is in the log now",
        wait.as_secs()
    );
    let waited = waiting(&waits, reading(move || passed::wait(&bootstrap, &names, wait))).await;
    let address = &connection.settings.kafka_bootstrap;
    let (cut, passed, on_the_way) =
        waited.with_context(|| format!("query Kafka at {address}: is it running (`dp status`)?"))?;
    let why = passed::in_words(&on_the_way);
    report.settled = passed != Passed::No;
    match passed {
        Passed::Yes => {}
        Passed::Stalled => report.notes.push(format!(
            "no offset changes any more, but {why}: a service is down (`dp health`), or a member of the group that no longer \
             owned the partition has committed an older offset; then nothing is missing, and the next message corrects it"
        )),
        Passed::No => report.notes.push(format!(
            "not all that was in the log when the run began has reached the stores within the {} s that were left to wait{}{why}; what is still on its way is listed as missing",
            wait.as_secs(),
            if why.is_empty() { "" } else { ": " },
        )),
    }
    (report.cut, report.on_the_way) = (cut, on_the_way);
    Ok(())
}

/// The dead letters are read first, because a replay settles what became of the rejected message.
async fn read_raw(
    connection: &Connection,
    clickhouse: &ClickHouse,
    gaps: &Gaps,
    cut: &Cut,
) -> anyhow::Result<(RawLog, RawExpectation, Letters)> {
    let mut reader = Reader::new(&connection.env);
    let config: Config = normalization::config::read(&mut reader);
    reader.finish()?;
    let normalizer = config.normalizer(&connection.settings.tenant_id, connection.wire().await?);
    let (bootstrap, topics) = (
        connection.settings.kafka_bootstrap.clone(),
        connection.names.raw.clone(),
    );
    let (gaps, cut, group) = (gaps.clone(), cut.clone(), connection.names.group("normalization"));
    let (partitions, dlq) = (connection.settings.topic_partitions, connection.names.dlq.clone());
    let (mut raw, mut expected, found) = reading(move || {
        let found = dead_letters::read(&bootstrap, &dlq)?;
        let mut ranges = ranges::ranges(&bootstrap, &topics)?;
        cut.shorten(&mut ranges);
        gaps.leave_out(&group, &mut ranges);
        let mut raw = RawLog {
            partitions,
            rules: Rules {
                bootstrap,
                config: normalizer,
                limits: config.window,
            },
            replayed: found.replayed.clone(),
            held: found.held.clone(),
            open: found.open(),
            ranges,
        };
        let expected = raw.expect(&comparisons::raw_texts())?;
        Ok((raw, expected, found))
    })
    .await
    .context("read the dead letters and the raw log")?;
    let stored = valid_now::stored(clickhouse, &connection.names, &raw, &expected).await?;
    if !stored.is_empty() {
        // A new generation accepts what an earlier one had rejected, and reads the letters of both.
        raw.open.retain(|place, _| !stored.contains(place));
        (raw, expected) = reading(move || raw.expect(&comparisons::raw_texts()).map(|expected| (raw, expected)))
            .await
            .context("read the raw log")?;
    }
    Ok((raw, expected, found))
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
    report.notes.extend(valid_now::in_words(expected));
    if let Some(range) = raw.ranges.iter().find(|range| range.is_cut) {
        report.notes.push(format!(
            "retention has removed raw messages: {}[{}] is compared from offset {}",
            range.lane.topic, range.lane.partition, range.first
        ));
    }
}
