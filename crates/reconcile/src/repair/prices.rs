//! The steps for latest prices: PostgreSQL by a rebuild of the projection, Redis by requests to it.
//!
//! Role: nothing is written here that `dp projection rebuild` and `dp cache` do not write, in their way: rows, position and sequencer of
//! a partition are exchanged in one transaction, and copies are written by their owner.
//! Failure: what is served stays complete. An interrupted rebuild continues when the repair runs again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use ops::cache::{Chosen, message, publish};
use ops::connection::Connection;
use ops::migrations::Stores;
use ops::progress::Progress;
use ops::threads::reading;
use projection::core::invalidation::Action;
use projection::rebuild::{Mode, Plan, Rebuild, RebuildError, Report, Scope, Step, Strategy};
use serde::Deserialize;
use service::writer::tables::ENRICHED_TICKS;
use stores::clickhouse::literal;
use stream::kafka::groups::{GroupReader, PartitionLag};
use stream::kafka::reader::LogReader;

use super::report::Reasons;
use crate::verify::{Wrong, WrongRow};

/// Prices whose record is looked for one by one.
const LOOKED_UP: usize = 800;
/// Copies for which a request of their own is published.
const ONE_BY_ONE: usize = 200;
const CARRIED_OUT_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(250);

const NOT_IN_LOG: &str = "the enriched topic no longer holds its tick, so that no rebuild can write it: restore a backup \
    (`dp backup restore`), or wait for the instrument's next tick";
const UNEXPLAINED: &str = "the log no longer begins with its first event, so that nothing proves that the price is wrong: delete it \
    by hand, or `dp projection rebuild latest_price --full`";

/// The rebuild of a projection of this pipeline from this topic: the enriched one for latest prices.
///
/// # Errors
/// The schema registry does not answer.
pub async fn rebuild(connection: &Connection, stores: &Stores, topic: &str) -> anyhow::Result<Rebuild> {
    Ok(Rebuild {
        postgres: stores.postgres.clone(),
        redis: stores.redis.clone(),
        bootstrap: connection.settings.kafka_bootstrap.clone(),
        wire: connection.wire().await?,
        topic: topic.to_owned(),
        feeds: connection.names.raw.clone(),
        generation: connection.names.generation().to_owned(),
    })
}

#[derive(Deserialize)]
struct Appended {
    micros: i64,
}

/// The rebuild from the append time of the event with this id on. Tenants choose the ids of their events themselves, so with `tenant`
/// only an event of that tenant counts; without, the earliest of all tenants.
///
/// # Errors
/// ClickHouse does not answer, or has no such event.
pub async fn since_event(
    connection: &Connection,
    stores: &Stores,
    event: &str,
    tenant: Option<&str>,
) -> anyhow::Result<Strategy> {
    let sql = appended_sql(&connection.names.table("market_ticks"), event, tenant);
    let rows: Vec<Appended> = stores.clickhouse.query_rows(&sql).await.context("find the event")?;
    let Some(found) = rows.first() else {
        let of = tenant.map_or_else(String::new, |tenant| format!(" of tenant {tenant}"));
        bail!("market_ticks has no event{of} with id {event}; its column source_event_id has the ids (`dp sql`)");
    };
    Ok(Strategy::Since(found.micros))
}

fn appended_sql(table: &str, event: &str, tenant: Option<&str>) -> String {
    let tenant = tenant.map_or_else(String::new, |tenant| format!(" AND tenant_id = {}", literal(tenant)));
    format!(
        "SELECT toInt64(toUnixTimestamp64Micro(appended_at)) AS micros FROM {table} WHERE source_event_id = {}{tenant} \
         ORDER BY micros LIMIT 1 SETTINGS output_format_json_quote_64bit_integers = 0",
        literal(event)
    )
}

/// How the prices are rebuilt. If retention has removed the beginning of the log, newer prices than those of the rest are kept: the
/// tick of a right one may be gone.
fn strategy(is_whole: bool) -> Strategy {
    match is_whole {
        true => Strategy::Full,
        false => Strategy::Since(0),
    }
}

/// What the log still has of wrong prices.
#[derive(Debug, Default, PartialEq, Eq)]
struct InLog {
    is_whole: bool,
    reasons: Reasons,
    repairable: u64,
}

/// Decides which prices the log can correct. `places` are the offsets of their ticks in the topic, `oldest` its first offsets.
fn in_log(rows: &[WrongRow], places: &BTreeMap<String, (i32, i64)>, oldest: &BTreeMap<i32, i64>) -> InLog {
    let mut found = InLog {
        is_whole: oldest.values().all(|first| *first == 0),
        ..InLog::default()
    };
    for row in rows {
        let is_gone = |(partition, offset): &(i32, i64)| oldest.get(partition).is_none_or(|first| offset < first);
        let reason = match row.wrong {
            Wrong::Surplus => (!found.is_whole).then_some(UNEXPLAINED),
            _ => places.get(&row.origin).is_some_and(is_gone).then_some(NOT_IN_LOG),
        };
        match reason {
            Some(reason) => _ = found.reasons.insert(row.text.clone(), reason.to_owned()),
            None => found.repairable += 1,
        }
    }
    found
}

#[derive(Deserialize)]
struct Found {
    id: String,
    src_partition: i32,
    src_offset: i64,
}

async fn look_up(connection: &Connection, stores: &Stores, rows: &[WrongRow]) -> anyhow::Result<InLog> {
    let (bootstrap, topic) = (
        connection.settings.kafka_bootstrap.clone(),
        connection.names.enriched.clone(),
    );
    let oldest = reading(move || {
        let reader = LogReader::new(&bootstrap)?;
        let mut oldest = BTreeMap::new();
        for partition in reader.partitions(&topic)? {
            oldest.insert(partition.number, reader.log_range(&partition)?.0);
        }
        Ok(oldest)
    })
    .await?;
    let ids: Vec<String> = rows.iter().take(LOOKED_UP).map(|row| literal(&row.origin)).collect();
    let sql = format!(
        "SELECT tick_id AS id, src_partition, src_offset FROM {} WHERE tick_id IN ({}) \
         SETTINGS output_format_json_quote_64bit_integers = 0",
        connection.names.table(ENRICHED_TICKS.name),
        ids.join(", ")
    );
    let found: Vec<Found> = stores
        .clickhouse
        .query_rows(&sql)
        .await
        .context("look for the ticks of the prices")?;
    let places = found
        .into_iter()
        .map(|row| (row.id, (row.src_partition, row.src_offset)))
        .collect();
    Ok(in_log(rows, &places, &oldest))
}

/// Rebuilds the latest prices in PostgreSQL, and so in Redis; returns how many have changed. Without `writes` it only looks for
/// their ticks.
pub(super) async fn prices(
    connection: &Connection,
    stores: &Stores,
    rows: &[WrongRow],
    writes: bool,
    reasons: &mut Reasons,
    notes: &mut Vec<String>,
) -> anyhow::Result<u64> {
    let found = look_up(connection, stores, rows).await?;
    reasons.extend(found.reasons);
    if !writes || found.repairable == 0 {
        return Ok(found.repairable);
    }
    let mut progress = Progress::new("rebuilding prices", 0, "events");
    let show = move |step: &Step| {
        progress.set_total(step.total);
        progress.set(step.events, &format!("partition {}", step.partition));
    };
    let rebuild = rebuild(connection, stores, &connection.names.enriched).await?;
    let plan = Plan {
        strategy: strategy(found.is_whole),
        scope: Scope::default(),
        mode: Mode::Exchange {
            restart: false,
            keep_backup: false,
        },
    };
    match rebuild.run(&plan, show).await {
        Ok(report) => Ok(changes(&report, notes)),
        Err(error @ (RebuildError::OtherStrategy { .. } | RebuildError::Concurrent | RebuildError::Discarded)) => {
            let why = format!("{error} (`dp projection rebuild latest_price`)");
            reasons.extend(rows.iter().map(|row| (row.text.clone(), why.clone())));
            Ok(0)
        }
        Err(error) => Err(error)
            .context("rebuild the latest prices; what is served is complete, and the command can be run again"),
    }
}

fn changes(report: &Report, notes: &mut Vec<String>) -> u64 {
    if !report.is_reloaded {
        notes.push(
            "projection has not loaded the prices within 30 s: is it running (`dp status`)? It loads them, and fills Redis, when it starts"
                .to_owned(),
        );
    }
    report.changed + report.added + report.removed
}

/// The requests for copies: which copies are written again, and which are dropped first.
fn requests(refresh: &[(String, String)], replace: &[Vec<String>]) -> Vec<(Action, Chosen)> {
    let price = |tenant: &String, instrument: &String| Chosen::Price {
        tenant: tenant.clone(),
        instrument: instrument.clone(),
    };
    let mut requests = Vec::new();
    match refresh.len() > ONE_BY_ONE {
        true => requests.push((Action::Refresh, Chosen::All)),
        false => requests.extend(
            refresh
                .iter()
                .map(|(tenant, instrument)| (Action::Refresh, price(tenant, instrument))),
        ),
    }
    for key in replace.iter().take(ONE_BY_ONE) {
        match key.as_slice() {
            [tenant, instrument] => requests.push((Action::Invalidate, price(tenant, instrument))),
            [key] => requests.push((Action::Invalidate, Chosen::Key(key.clone()))),
            _ => {}
        }
    }
    requests
}

/// Has projection write copies in Redis again, and waits until it has; returns how many. Without `writes` it only counts them.
pub(super) async fn copies(
    connection: &Connection,
    (refresh, replace): (&[(String, String)], &[Vec<String>]),
    writes: bool,
    notes: &mut Vec<String>,
) -> anyhow::Result<u64> {
    let asked = (refresh.len() + replace.len().min(ONE_BY_ONE)) as u64;
    if !writes {
        return Ok(asked);
    }
    for (action, chosen) in requests(refresh, replace) {
        match message(action, chosen, Some("dp reconcile --repair".to_owned())) {
            Ok(request) => _ = publish(connection, request).await?,
            Err(refused) => notes.push(format!("{refused:#}")),
        }
    }
    if replace.len() > ONE_BY_ONE {
        notes.push(format!(
            "{} more copies are wrong: run the command again, or drop all (`dp cache invalidate --all --yes`)",
            replace.len() - ONE_BY_ONE
        ));
    }
    if !carried_out(connection).await? {
        notes.push(
            "projection has not carried out the requests within 30 s: is it running (`dp status`)? They wait for it"
                .to_owned(),
        );
    }
    Ok(asked)
}

/// Whether projection has carried out every request that was published.
async fn carried_out(connection: &Connection) -> anyhow::Result<bool> {
    let bootstrap = connection.settings.kafka_bootstrap.clone();
    let topic = connection.names.invalidation.clone();
    let group = connection.names.invalidation_group("projection");
    reading(move || {
        let partitions = LogReader::new(&bootstrap)?.partitions(&topic)?;
        let reader = GroupReader::new(&bootstrap, &group)?;
        let deadline = Instant::now() + CARRIED_OUT_WITHIN;
        loop {
            let behind: i64 = reader.lag(&partitions)?.iter().map(PartitionLag::lag).sum();
            if behind == 0 || Instant::now() >= deadline {
                return Ok(behind == 0);
            }
            std::thread::sleep(POLL);
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::super::findings::tests::row;
    use super::*;

    #[test]
    fn a_price_is_rebuilt_only_if_the_log_has_its_tick() {
        let rows = [
            row(Wrong::Missing, &["t", "kept"], "raw/0/9/0"),
            row(Wrong::Different, &["t", "gone"], "raw/0/1/0"),
            row(Wrong::Surplus, &["t", "ghost"], "raw/0/7/0"),
        ];
        let places = [("raw/0/9/0".to_owned(), (0, 50)), ("raw/0/1/0".to_owned(), (0, 3))].into();
        let cut = in_log(&rows, &places, &[(0, 10), (1, 0)].into());
        assert_eq!((cut.is_whole, cut.repairable), (false, 1));
        let named: Vec<&str> = cut.reasons.keys().map(String::as_str).collect();
        assert_eq!(named, ["t/ghost Surplus", "t/gone Different"]);

        let whole = in_log(&rows, &places, &[(0, 0), (1, 0)].into());
        assert_eq!((whole.is_whole, whole.repairable), (true, 3));
        assert_eq!(strategy(true), Strategy::Full);
        assert_eq!(strategy(false), Strategy::Since(0));
    }

    #[test]
    fn an_event_is_that_of_the_tenant_whose_prices_are_rebuilt() {
        let of_one = appended_sql("market_ticks_g2", "it's", Some("acme"));
        let condition = r"FROM market_ticks_g2 WHERE source_event_id = 'it\'s' AND tenant_id = 'acme' ORDER BY";
        assert!(of_one.contains(condition), "{of_one}");
        let of_all = appended_sql("market_ticks", "e", None);
        assert!(!of_all.contains("tenant_id"), "{of_all}");
    }

    #[test]
    fn missing_copies_are_written_and_wrong_ones_are_dropped_first() {
        let pair = || ("t".to_owned(), "i".to_owned());
        let price = Chosen::Price {
            tenant: "t".to_owned(),
            instrument: "i".to_owned(),
        };
        let replace = [vec!["t".to_owned(), "i".to_owned()], vec!["key".to_owned()]];
        assert_eq!(
            requests(&[pair()], &replace),
            [
                (Action::Refresh, price.clone()),
                (Action::Invalidate, price),
                (Action::Invalidate, Chosen::Key("key".to_owned())),
            ]
        );
        let many = vec![pair(); ONE_BY_ONE + 1];
        assert_eq!(requests(&many, &[]), [(Action::Refresh, Chosen::All)]);
    }
}
