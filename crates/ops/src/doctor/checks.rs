//! Asks the servers, and has the answers judged: one function for each area.

use std::time::Duration;

use anyhow::Context as _;
use domain::Micros;
use nix::sys::statvfs::statvfs;
use service::Reader;
use service::control::order;
use service::writer::TABLES;
use stores::clickhouse::{pending, restore, unfit_columns};
use stores::postgres::{Absent, VerifyRuns, absent};
use stream::kafka::reader::LogReader;
use stream::kafka::topic_settings::{MIN_IN_SYNC, values};
use stream::status::wall_clock;

use super::check::{Asked, Check};
use super::clocks::{Told, differing};
use super::stores::{LONG_TRANSACTION, RECENT, SLOW_QUERY};
use super::subject::Subject;
use super::{Area, Finding, Severity, fence, kafka, lag as lags, stores as judged};
use crate::dead_letters::{By, Counted, Wanted, each};
use crate::inspect::{clickhouse as in_clickhouse, postgres as in_postgres, redis as in_redis};
use crate::lag::{GroupLag, survey};
use crate::pause::book;
use crate::positions::homes::Homes;
use crate::positions::survey::{self as positions_survey, Finding as Fits};
use crate::threads::reading;
use crate::topics as listed_topics;

/// A clock is read in milliseconds; longer answers tell too little.
const CLOCK_LIMIT: Duration = Duration::from_secs(3);
/// The slowest queries that are listed.
const SLOWEST: u64 = 20;

/// Every check.
///
/// # Errors
/// A setting of aggregation cannot be read.
pub(super) fn all<'a>(asked: &'a Asked<'a>) -> anyhow::Result<Vec<Check<'a>>> {
    let waits = look_again(asked)?;
    let check = |area, needs, run| Check {
        area,
        needs,
        limit: asked.limit,
        run,
    };
    Ok(vec![
        check(Area::Disk, &[], Box::pin(disk(asked))),
        check(Area::Clocks, &[], Box::pin(clocks(asked))),
        check(Area::Tables, &["clickhouse", "postgres"], Box::pin(tables(asked))),
        check(Area::Topics, &["kafka"], Box::pin(topics(asked))),
        check(Area::Replicas, &["kafka"], Box::pin(replicas(asked))),
        check(
            Area::Positions,
            &["kafka", "clickhouse", "postgres"],
            Box::pin(positions(asked)),
        ),
        Check {
            area: Area::Lag,
            needs: &["kafka"],
            limit: asked.limit + waits,
            run: Box::pin(lag(asked, waits)),
        },
        check(Area::Letters, &["kafka"], Box::pin(letters(asked))),
        check(Area::Clickhouse, &["clickhouse"], Box::pin(clickhouse(asked))),
        check(Area::Postgres, &["postgres"], Box::pin(postgres(asked))),
        check(Area::Redis, &["redis"], Box::pin(redis(asked))),
        check(Area::Verification, &["postgres"], Box::pin(verification(asked))),
    ])
}

/// The time within which every working stage commits, with the settings in effect.
fn look_again(asked: &Asked<'_>) -> anyhow::Result<Duration> {
    let mut reader = Reader::new(&asked.connection.env);
    let aggregation = aggregation::config::read(&mut reader);
    reader.finish()?;
    let linger = u64::try_from(aggregation.restate.rules.linger).unwrap_or(0);
    let flush = asked.connection.settings.flush_interval;
    let mut intervals = vec![aggregation.checkpoint_interval, Duration::from_micros(linger)];
    intervals.extend(TABLES.iter().map(|table| flush.unwrap_or(table.freshness)));
    Ok(lags::look_again(intervals))
}

/// The disk of the stack's folder. Those of servers elsewhere are theirs to report.
async fn disk(asked: &Asked<'_>) -> anyhow::Result<Vec<Finding>> {
    if !asked.is_local {
        return Ok(Vec::new());
    }
    let folder = asked.place.folder();
    let found = statvfs(&folder).with_context(|| format!("read the free space of {}", folder.display()))?;
    let disk = in_clickhouse::Disk {
        name: "stack".to_owned(),
        path: folder.display().to_string(),
        free_bytes: found.blocks_available().saturating_mul(found.fragment_size()),
        total_bytes: found.blocks().saturating_mul(found.fragment_size()),
    };
    let what = "the disk of the local stack is nearly full".to_owned();
    Ok(judged::disk(Area::Disk, what, &disk, "du -sh /var/tmp/* /tmp/*")
        .into_iter()
        .collect())
}

/// A server that does not answer is a finding of its own, so it is left out here.
async fn clocks(asked: &Asked<'_>) -> anyhow::Result<Vec<Finding>> {
    let stores = &asked.stores;
    let in_clickhouse = async {
        let rows = stores
            .clickhouse
            .query_json("SELECT toString(toUnixTimestamp64Micro(now64(6))) AS micros")
            .await
            .ok()?;
        crate::rows::number(rows.first()?, "micros").ok()
    };
    let in_postgres = async {
        let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
        let rows = stores.postgres.query_text(sql).await.ok()?;
        rows.first()?.first()?.as_ref()?.parse().ok()
    };
    let in_redis = async { stores.redis.time().await.ok() };
    let told = tokio::join!(
        timed("clickhouse", in_clickhouse),
        timed("postgres", in_postgres),
        timed("redis", in_redis)
    );
    let told: Vec<Told> = [told.0, told.1, told.2].into_iter().flatten().collect();
    anyhow::ensure!(
        !told.is_empty(),
        "no server tells its time: is one running (`dp status`)?"
    );
    Ok(differing(&told))
}

async fn timed(server: &'static str, ask: impl Future<Output = Option<Micros>>) -> Option<Told> {
    let asked = wall_clock();
    // One that is silent must not keep the others from being compared.
    let told = tokio::time::timeout(CLOCK_LIMIT, ask).await.ok()??;
    Some(Told {
        server,
        asked,
        answered: wall_clock(),
        told,
    })
}

async fn tables(asked: &Asked<'_>) -> anyhow::Result<Vec<Finding>> {
    let (clickhouse, suffix) = (&asked.stores.clickhouse, asked.connection.names.table_suffix());
    let (missing, _) = restore::missing(clickhouse, &suffix).await?;
    let files = match missing.iter().any(|name| name == "schema_migrations") {
        true => Vec::new(),
        false => pending(clickhouse, &suffix).await?,
    };
    let taken = fence::taken(asked, &missing).await?;
    let names = &asked.connection.names;
    let without = TABLES.iter().filter(|table| missing.contains(&names.table(table.name)));
    let groups = without.map(|table| names.writer_group(table.service)).collect();
    let in_clickhouse = lacking("ClickHouse", &files, &missing)
        .map(|finding| finding.about(Subject::Tables { names: missing, groups }));
    let Absent { files, objects } = absent(&asked.stores.postgres).await?;
    let mut findings: Vec<Finding> = in_clickhouse
        .into_iter()
        .chain(lacking("PostgreSQL", &files, &objects))
        .chain(taken)
        .collect();
    for table in TABLES {
        let problems = unfit_columns(clickhouse, table.layout, &suffix).await?;
        let group = asked.connection.names.writer_group(table.service);
        let name = asked.connection.names.table(table.name);
        findings.extend(unfit(&name, table.service, group, problems, asked.is_local));
    }
    Ok(findings)
}

/// A table of which a column is not as its writer needs it. A column that is added again is empty in the rows that were there, so the
/// cure is the table's topic.
fn unfit(table: &str, service: &str, group: String, problems: Vec<String>, is_local: bool) -> Option<Finding> {
    if problems.is_empty() {
        return None;
    }
    let what = format!("table {table} lacks what its writer stores");
    let cause = format!(
        "somebody has changed the table by hand. The writer waits, and loses nothing. A column that is added again stays empty in the rows \
         that are there; the next command has the table written again from its topic (about seven days; \
         docs/runbooks/incident-corruption.md for older rows), and {table}_damaged keeps the rows of before"
    );
    let (stop, start) = match is_local {
        true => (format!("dp stop {service} && "), format!(" && dp start {service}")),
        // Its writer waits anyway, and finds the new table by itself.
        false => (String::new(), String::new()),
    };
    let next = format!("{stop}dp sql --write --yes \"RENAME TABLE {table} TO {table}_damaged\" && dp migrate{start}");
    let finding = Finding::new(Severity::Critical, Area::Tables, what, table);
    Some(finding.shown_by(problems).because(cause, next).about(Subject::Tables {
        names: vec![table.to_owned()],
        groups: vec![group],
    }))
}

fn lacking(server: &str, files: &[String], objects: &[String]) -> Option<Finding> {
    if files.is_empty() && objects.is_empty() {
        return None;
    }
    let counted = |number: usize, what: &str| (number > 0).then(|| format!("{number} of its {what}"));
    let parts = [
        counted(objects.len(), "tables and indexes"),
        counted(files.len(), "migrations"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let what = format!("{server} lacks {}", parts.join(" and "));
    let listed = |kind: &str, names: &[String]| (!names.is_empty()).then(|| format!("{kind}: {}", names.join(", ")));
    let evidence = [listed("missing", objects), listed("not applied", files)]
        .into_iter()
        .flatten();
    let finding = Finding::new(Severity::Critical, Area::Tables, what, server);
    Some(
        finding
            .shown_by(evidence)
            .because("they were dropped by hand, or an upgrade is not finished", "dp migrate"),
    )
}

async fn topics(asked: &Asked<'_>) -> anyhow::Result<Vec<Finding>> {
    let connection = asked.connection;
    let listed = listed_topics::list(connection).await?;
    Ok(kafka::topics(
        &listed,
        &connection.names,
        connection.settings.topic_partitions,
    ))
}

async fn replicas(asked: &Asked<'_>) -> anyhow::Result<Vec<Finding>> {
    let connection = asked.connection;
    let bootstrap = connection.settings.kafka_bootstrap.clone();
    let specs = listed_topics::specs(&connection.names, &connection.settings, None);
    let topics: Vec<String> = specs.into_iter().map(|spec| spec.name).collect();
    let named = topics.clone();
    let cluster = reading(move || LogReader::new(&bootstrap)?.replicas(&named)).await?;
    let min_in_sync = values(&connection.settings.kafka_bootstrap, &topics, MIN_IN_SYNC).await?;
    let topics = kafka::by_topic(&topics, &cluster, &min_in_sync);
    // A cluster of one broker outside of a local stack is a finding, since it is one failure away from a stop.
    Ok(kafka::replicas(&topics, cluster.brokers, asked.is_local))
}

/// Looks twice, since lag alone is normal, and that of a paused stage too.
async fn lag(asked: &Asked<'_>, waits: Duration) -> anyhow::Result<Vec<Finding>> {
    let names = &asked.connection.names;
    let book = book(asked.connection).await?;
    let paused = book.all_paused(wall_clock()).into_iter();
    let (findings, groups): (Vec<Finding>, Vec<Option<String>>) = paused
        .map(|(subject, order)| {
            let group = match &subject {
                order::Subject::Stage(stage) => Some(names.group_of(stage)),
                // The stages go on.
                order::Subject::Tenant(_) => None,
            };
            (lags::paused(&subject, order, &names.control), group)
        })
        .unzip();
    let groups: Vec<String> = groups.into_iter().flatten().collect();
    let look = || {
        let connection = asked.connection;
        let (bootstrap, names) = (connection.settings.kafka_bootstrap.clone(), connection.names.clone());
        reading(move || survey(&bootstrap, &names))
    };
    let before = look().await?;
    let before = without(before, &groups);
    let off = lags::switched_off(&before, asked.connection.defines_series());
    let findings: Vec<Finding> = findings.into_iter().chain(off).collect();
    if before.iter().all(|lag| lag.lag == 0) {
        return Ok(findings);
    }
    tokio::time::sleep(waits).await;
    let after = without(look().await?, &groups);
    let stalled = lags::stalled(&before, &after, waits, asked.is_local);
    let behind = lags::falling_behind(&before, &after, waits);
    Ok(findings.into_iter().chain(stalled).chain(behind).collect())
}

fn without(mut lags: Vec<GroupLag>, groups: &[String]) -> Vec<GroupLag> {
    lags.retain(|lag| !groups.contains(&lag.group));
    lags
}

async fn positions(asked: &Asked<'_>) -> anyhow::Result<Vec<Finding>> {
    let connection = asked.connection;
    let homes = Homes::open(connection).await?;
    let standings = positions_survey::survey(connection, &homes, &positions_survey::Wanted::default()).await?;
    let finding = |standing: &positions_survey::Standing| {
        let evidence = match &standing.finding {
            Fits::None | Fits::Good => return None,
            Fits::Removed { from, to } => format!("offsets {from} to {} were removed before they were read", to - 1),
            Fits::Replaced { why } => why.clone(),
        };
        let what = format!("{} cannot go on from its position", standing.consumer.group);
        let finding = Finding::new(
            Severity::Critical,
            Area::Positions,
            what,
            standing.partition.to_string(),
        );
        let cause = match standing.remedy(connection.names.generation()) {
            Some(remedy) => {
                format!("its log was cut or replaced. Read the output of the next command, then run `{remedy}`")
            }
            None => "its log was cut or replaced".to_owned(),
        };
        Some(finding.shown_by([evidence]).because(cause, "dp position show"))
    };
    Ok(standings.iter().filter_map(finding).collect())
}

async fn letters(asked: &Asked<'_>) -> anyhow::Result<Vec<Finding>> {
    let connection = asked.connection;
    let (bootstrap, topic) = (
        connection.settings.kafka_bootstrap.clone(),
        connection.names.dlq.clone(),
    );
    let counted = reading(move || {
        let mut counted = Counted::default();
        each(&bootstrap, &topic, &Wanted::default(), |letter, _| {
            counted.add(&[By::Stage, By::Code], &letter);
            true
        })?;
        Ok(counted.groups())
    })
    .await?;
    let recent = i64::try_from(RECENT.as_micros()).unwrap_or(i64::MAX);
    Ok(kafka::letters(&counted, wall_clock(), recent).into_iter().collect())
}

async fn clickhouse(asked: &Asked<'_>) -> anyhow::Result<Vec<Finding>> {
    let clickhouse = &asked.stores.clickhouse;
    let disks = in_clickhouse::disks(clickhouse).await?;
    let disks = disks.iter().filter_map(|disk| {
        let what = format!("disk {} of ClickHouse is nearly full", disk.name);
        judged::disk(Area::Clickhouse, what, disk, "dp clickhouse parts")
    });
    let mut findings: Vec<Finding> = disks.collect();
    findings.extend(judged::parts(&in_clickhouse::parts(clickhouse).await?));
    let processes = in_clickhouse::processes(clickhouse).await?;
    findings.extend(judged::slow_inserts(&processes));
    findings.extend(judged::running(&processes));
    match in_clickhouse::has_query_log(clickhouse).await {
        // A server that has logged nothing yet has no failed and no slow statement either.
        Ok(_) => {
            let failed = in_clickhouse::failed_inserts(clickhouse, RECENT).await?;
            let slow = in_clickhouse::slow(clickhouse, SLOW_QUERY, RECENT, SLOWEST).await?;
            findings.extend(judged::failed_inserts(&failed));
            findings.extend(judged::slow(&slow));
        }
        Err(error) => findings.push(judged::no_query_log(format!("{error:#}"))),
    }
    Ok(findings)
}

async fn postgres(asked: &Asked<'_>) -> anyhow::Result<Vec<Finding>> {
    let postgres = &asked.stores.postgres;
    let activity = in_postgres::activity(postgres).await?;
    let blocked = in_postgres::blocked(postgres).await?;
    let long = in_postgres::long_running(postgres, LONG_TRANSACTION).await?;
    let found = [
        judged::connections(&activity),
        judged::blocked(&blocked),
        judged::long_transactions(&long),
    ];
    Ok(found.into_iter().flatten().collect())
}

async fn redis(asked: &Asked<'_>) -> anyhow::Result<Vec<Finding>> {
    Ok(judged::memory(&in_redis::memory(&asked.stores.redis).await?))
}

/// The result of the last `dp verify`.
async fn verification(asked: &Asked<'_>) -> anyhow::Result<Vec<Finding>> {
    let runs = VerifyRuns::new(asked.stores.postgres.clone(), asked.connection.names.generation());
    let differences = runs.last().await?.and_then(|last| last.differences).unwrap_or(0);
    let what = "the last verification found differences between the stores and the raw log";
    let finding = Finding::new(Severity::Critical, Area::Verification, what, "verify_runs")
        .shown_by([format!("{differences} difference(s)")])
        .because(
            "rows or prices were lost, doubled or wrong at that time; if they have been repaired since, the next verification says so",
            "dp verify",
        );
    Ok((differences > 0).then_some(finding).into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_table_is_named_with_the_command_that_restores_its_old_rows_too() {
        let of = |problems: &[&str]| {
            let problems = problems.iter().map(|text| (*text).to_owned()).collect();
            unfit(
                "bars_g2",
                "aggregation",
                "aggregation-local-clickhouse".to_owned(),
                problems,
                true,
            )
        };
        assert_eq!(of(&[]), None);
        let found = of(&["column volume of table bars_g2 is missing"]).map(|finding| (finding.severity, finding.next));
        let next = "dp stop aggregation && dp sql --write --yes \"RENAME TABLE bars_g2 TO bars_g2_damaged\" && dp migrate && dp start aggregation";
        assert_eq!(found, Some((Severity::Critical, next.to_owned())));
    }

    #[test]
    fn what_a_store_lacks_is_listed_by_name() {
        assert_eq!(lacking("ClickHouse", &[], &[]), None);
        let found = lacking(
            "ClickHouse",
            &["3 merges".to_owned()],
            &["bars".to_owned(), "late_ticks".to_owned()],
        );
        let found = found.map(|finding| (finding.severity, finding.evidence));
        let evidence = ["missing: bars, late_ticks", "not applied: 3 merges"]
            .map(str::to_owned)
            .to_vec();
        assert_eq!(found, Some((Severity::Critical, evidence)));
    }
}
