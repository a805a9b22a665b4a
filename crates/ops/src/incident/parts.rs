//! The parts of a bundle: each is one question to one service or server, with the functions that single commands use as well.

use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context as _, bail};
use localstack::ProcessStatus;
use serde::Serialize;
use serde_json::{Value, json};

use super::request::Request;
use crate::alerts::Alertmanager;
use crate::analyze::analysis;
use crate::analyze::collect::{measured, stats};
use crate::connection::{Connection, uses_stack};
use crate::dead_letters::{By, Counted, Wanted, each};
use crate::inspect::{clickhouse, postgres, redis};
use crate::logs::{Source, newest_lines};
use crate::migrations::{Stores, stores};
use crate::targets::{self, Target, Where};
use crate::threads::{blocking, reading};
use crate::top::{Collector, compared};
use crate::{doctor, health, lag, net, positions, topics};

/// Most bytes of the log of one process.
const LOG_BYTES: usize = 8 << 20;
/// Queries that took at least this long are slow.
const SLOW: Duration = Duration::from_secs(1);
/// Most of them.
const SLOWEST: u64 = 100;
/// Time that a check of the doctor has: less than that of a part, so that the others are kept.
const CHECK: Duration = Duration::from_secs(20);
/// Between the two samples of the rates.
const MEASURED: Duration = Duration::from_secs(5);

/// One part.
pub struct Part<'a> {
    /// Its name: the path of its file without the end.
    pub name: String,
    /// The end of its file.
    pub kind: &'static str,
    /// Reads it.
    pub read: Reading<'a>,
}

/// The text of a part.
pub type Reading<'a> = Pin<Box<dyn Future<Output = anyhow::Result<String>> + 'a>>;

/// Every part.
pub fn all<'a>(request: &'a Request<'a>) -> Vec<Part<'a>> {
    let connection = request.connection;
    let mut parts = vec![
        part("health", healths(request)),
        part("doctor", doctor_report(request)),
        part("rates", rates(request)),
        part("analysis", analyzed(request)),
        part("alerts", alerts(request)),
        part("configuration", async { json_of(&request.configuration) }),
        part("versions", versions(request)),
        part("net", async { json_of(&net::check(connection).await?) }),
        part("groups", groups(connection)),
        part("topics", async { json_of(&topics::list(connection).await?) }),
        part("positions", standings(connection)),
        part("dlq", letters(connection)),
        of_stores("clickhouse/processes", connection, |stores| async move {
            clickhouse::processes(&stores.clickhouse).await
        }),
        part("clickhouse/slow", slow(request)),
        of_stores("clickhouse/sizes", connection, |stores| async move {
            clickhouse::parts(&stores.clickhouse).await
        }),
        of_stores("clickhouse/disks", connection, |stores| async move {
            clickhouse::disks(&stores.clickhouse).await
        }),
        of_stores("postgres/activity", connection, |stores| async move {
            postgres::activity(&stores.postgres).await
        }),
        of_stores("postgres/locks", connection, |stores| async move {
            postgres::blocked(&stores.postgres).await
        }),
        of_stores("postgres/sizes", connection, |stores| async move {
            postgres::sizes(&stores.postgres).await
        }),
        of_stores("redis/memory", connection, |stores| async move {
            redis::memory(&stores.redis).await
        }),
        of_stores("redis/keys", connection, |stores| async move {
            redis::keys(&stores.redis, "*").await
        }),
    ];
    parts.extend(of_services(request));
    parts.extend(logs(request));
    parts
}

fn part<'a>(name: &str, read: impl Future<Output = anyhow::Result<String>> + 'a) -> Part<'a> {
    Part {
        name: name.to_owned(),
        kind: "json",
        read: Box::pin(read),
    }
}

fn text_part<'a>(
    name: String,
    kind: &'static str,
    read: impl Future<Output = anyhow::Result<String>> + 'a,
) -> Part<'a> {
    Part {
        name,
        kind,
        read: Box::pin(read),
    }
}

fn json_of(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// A question to a store, over connections of its own: one that hangs holds up no other.
fn of_stores<'a, T: Serialize + 'a, F: Future<Output = anyhow::Result<T>> + 'a>(
    name: &str,
    connection: &'a Connection,
    ask: impl FnOnce(Stores) -> F + 'a,
) -> Part<'a> {
    part(name, async move { json_of(&ask(stores(connection)?).await?) })
}

async fn healths(request: &Request<'_>) -> anyhow::Result<String> {
    json_of(&health::ask_all(request.place, request.connection, &[], request.usual).await?)
}

async fn doctor_report(request: &Request<'_>) -> anyhow::Result<String> {
    let (diagnosis, _) = doctor::examine(request.place, request.connection, &[], request.usual, CHECK).await?;
    json_of(&diagnosis)
}

async fn rates(request: &Request<'_>) -> anyhow::Result<String> {
    let collector = Collector::new(request.place, request.connection, &[], request.usual)?;
    let before = collector.sample().await?;
    tokio::time::sleep(MEASURED).await;
    json_of(&compared(Some(&before), &collector.sample().await?))
}

async fn analyzed(request: &Request<'_>) -> anyhow::Result<String> {
    let collector = Collector::new(request.place, request.connection, &[], request.usual)?;
    let ask = || stats(request.place, request.connection, &[], request.usual);
    let (before, stats_before) = tokio::try_join!(collector.sample(), ask())?;
    tokio::time::sleep(MEASURED).await;
    let (now, stats_now) = tokio::try_join!(collector.sample(), ask())?;
    let figures = compared(Some(&before), &now);
    let seconds = figures.seconds.unwrap_or_default();
    json_of(&analysis(&figures, measured(&stats_before, stats_now, seconds)))
}

async fn alerts(request: &Request<'_>) -> anyhow::Result<String> {
    let alertmanager = Alertmanager::required(request.place, request.connection)?;
    let (alerts, silences) = alertmanager.alerts().await?;
    json_of(&json!({ "alerts": alerts, "silences": silences }))
}

/// Of `dp`, of each service and of each server that tells it.
async fn versions(request: &Request<'_>) -> anyhow::Result<String> {
    let lines = health::ask_all(request.place, request.connection, &[], request.usual).await?;
    let version = |line: &health::Line| {
        let report = line.report.as_ref()?;
        Some((line.name.clone(), report.get("version")?.clone()))
    };
    let mut versions: serde_json::Map<String, Value> = lines.iter().filter_map(version).collect();
    versions.insert("dp".to_owned(), env!("CARGO_PKG_VERSION").into());
    let stores = stores(request.connection)?;
    let in_clickhouse = async {
        let rows = stores.clickhouse.query_json("SELECT version() AS version").await.ok()?;
        rows.first()?.get("version").cloned()
    };
    let in_postgres = async {
        let rows = stores.postgres.query_text("SHOW server_version").await.ok()?;
        rows.first()?.first()?.clone().map(Value::from)
    };
    let (of_clickhouse, of_postgres) = tokio::join!(in_clickhouse, in_postgres);
    for (name, version) in [("clickhouse", of_clickhouse), ("postgres", of_postgres)] {
        versions.insert(name.to_owned(), version.unwrap_or_else(|| "no answer".into()));
    }
    json_of(&versions)
}

async fn groups(connection: &Connection) -> anyhow::Result<String> {
    let (brokers, names) = (connection.settings.kafka_bootstrap.clone(), connection.names.clone());
    json_of(&reading(move || lag::survey(&brokers, &names)).await?)
}

async fn standings(connection: &Connection) -> anyhow::Result<String> {
    let homes = positions::homes::Homes::open(connection).await?;
    let wanted = positions::survey::Wanted::default();
    let standings = positions::survey::survey(connection, &homes, &wanted).await?;
    let shown = standings.iter().map(|standing| {
        json!({
            "group": standing.consumer.group,
            "partition": standing.partition.to_string(),
            "oldest": standing.range.0,
            "next": standing.range.1,
            "remedy": standing.remedy(connection.names.generation()),
        })
    });
    json_of(&shown.collect::<Vec<_>>())
}

async fn letters(connection: &Connection) -> anyhow::Result<String> {
    let (brokers, topic) = (
        connection.settings.kafka_bootstrap.clone(),
        connection.names.dlq.clone(),
    );
    let (groups, passed) = reading(move || {
        let mut counted = Counted::default();
        let passed = each(&brokers, &topic, &Wanted::default(), |letter, _| {
            counted.add(&By::ALL, &letter);
            true
        })?;
        Ok((counted.groups(), passed))
    })
    .await?;
    json_of(&json!({ "groups": groups, "passed_over": passed }))
}

async fn slow(request: &Request<'_>) -> anyhow::Result<String> {
    let stores = stores(request.connection)?;
    let since = jiff::Timestamp::now().duration_since(request.since);
    let since = Duration::try_from(since).unwrap_or_default();
    json_of(&clickhouse::slow(&stores.clickhouse, SLOW, since, SLOWEST).await?)
}

/// `/metrics` of each service, and the state that it tells.
fn of_services<'a>(request: &'a Request<'a>) -> Vec<Part<'a>> {
    let connection = request.connection;
    let found = targets::find(request.place, connection, &[], request.usual);
    match found {
        Ok(targets) => targets
            .into_iter()
            .flat_map(|target| {
                let name = safe(&target.name);
                [
                    text_part(format!("metrics/{name}"), "txt", metrics(connection, target.clone())),
                    part(&format!("state/{name}"), state(connection, target)),
                ]
            })
            .collect(),
        Err(error) => vec![text_part("metrics/services".to_owned(), "txt", async { Err(error) })],
    }
}

async fn metrics(connection: &Connection, target: Target) -> anyhow::Result<String> {
    answer(connection, &target, "/metrics").await
}

/// The configuration and the workers of a service, and its counts.
async fn state(connection: &Connection, target: Target) -> anyhow::Result<String> {
    let (info, stats) = tokio::try_join!(
        answer(connection, &target, "/info"),
        answer(connection, &target, "/stats")
    )?;
    let read = |path: &str, text: &str| {
        let value: Result<Value, serde_json::Error> = serde_json::from_str(text);
        value.with_context(|| format!("{}: the answer of {path} is not JSON", target.name))
    };
    json_of(&json!({ "info": read("/info", &info)?, "stats": read("/stats", &stats)? }))
}

async fn answer(connection: &Connection, target: &Target, path: &str) -> anyhow::Result<String> {
    let url = match &target.at {
        Where::Url(url) => format!("{}{path}", url.trim_end_matches('/')),
        Where::Stopped(reason) => bail!("{}: {reason}", target.name),
    };
    // The URL may contain a password.
    let failed = |error: reqwest::Error| anyhow::anyhow!("{}: {}", target.name, security::causes(&error.without_url()));
    let answer = health::http_client(connection)?.get(url).send().await;
    let answer = answer.and_then(reqwest::Response::error_for_status).map_err(failed)?;
    answer.text().await.map_err(failed)
}

/// The log of each process of the local stack.
fn logs<'a>(request: &'a Request<'a>) -> Vec<Part<'a>> {
    if !uses_stack(request.place, &request.connection.env) {
        let elsewhere = async {
            bail!(
                "only logs of the local stack are read here: add the output of `docker compose logs --since 1h`, or of `kubectl logs \
                 deployment/SERVICE-service --since=1h` for each service"
            )
        };
        return vec![text_part("logs/services".to_owned(), "log", elsewhere)];
    }
    let processes = request.place.open().and_then(|stack| Ok(stack.status()?));
    match processes {
        Ok(processes) => processes
            .into_iter()
            .map(|process| text_part(format!("logs/{}", process.name), "log", log(process, request.since)))
            .collect(),
        Err(error) => vec![text_part("logs/services".to_owned(), "log", async { Err(error) })],
    }
}

async fn log(process: ProcessStatus, since: jiff::Timestamp) -> anyhow::Result<String> {
    let name = process.name.to_string();
    let sources = Source::rotated(&name, &process.log);
    if sources.is_empty() {
        bail!("{name} has no log at {}", process.log.display());
    }
    blocking(move || newest_lines(&sources, Some(since.as_microsecond()), LOG_BYTES))
        .await
        .context("read the log")
}

/// A name that the user has chosen, as a file.
fn safe(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect()
}
