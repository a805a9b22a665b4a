//! What stands in an example for a value of one run: an id, a time, a place in a log, an address, a folder.
//!
//! Role: each entry is applied to the lines that contain its text as whole words, in this order. Some make a line shorter or put in order
//! again what it has stopped, so that the test ends soon and the next lines have what they need.

use anyhow::Context as _;
use e2e::Pipeline;
use localstack::Service;
use serde_json::Value as Json;

use super::shell::Shell;

/// In the replacement, the place of the value.
const PLACE: &str = "{}";

/// Where a value comes from.
enum Source {
    /// The replacement is everything.
    Nothing,
    /// The only value of a query of ClickHouse.
    Sql(&'static str),
    /// Values in what `dp` prints as JSON, joined by this text.
    Printed(&'static [&'static str], &'static [&'static str], &'static str),
    /// The port of a service.
    Port(Service),
    /// The line itself, while these services are stopped.
    Stopped(&'static str),
}

/// What an example says, and what is run.
struct Value {
    says: &'static str,
    runs: &'static str,
    from: Source,
}

const fn text(says: &'static str, runs: &'static str) -> Value {
    let from = Source::Nothing;
    Value { says, runs, from }
}

const fn sql(says: &'static str, runs: &'static str, query: &'static str) -> Value {
    let from = Source::Sql(query);
    Value { says, runs, from }
}

const fn port(says: &'static str, runs: &'static str, service: Service) -> Value {
    let from = Source::Port(service);
    Value { says, runs, from }
}

const fn stopped(says: &'static str, services: &'static str) -> Value {
    let from = Source::Stopped(services);
    Value {
        says,
        runs: PLACE,
        from,
    }
}

/// Values of open dead letters.
const fn letter(says: &'static str, runs: &'static str, at: &'static [&'static str], between: &'static str) -> Value {
    let from = Source::Printed(&["dlq", "list"], at, between);
    Value { says, runs, from }
}

/// A value of `dp alerts list`.
const fn alert(says: &'static str, runs: &'static str, at: &'static [&'static str]) -> Value {
    let from = Source::Printed(&["alerts", "list"], at, "");
    Value { says, runs, from }
}

const BAR_OF_AN_HOUR: &str = "SELECT formatDateTime(max(window_start), '%Y-%m-%dT%H:%i:%SZ') FROM bars_latest \
                              WHERE instrument_id = 'MISO.INDIANA.HUB.RT5' AND interval = '1h' AND tenant_id = 'default'";
const BAR_OF_A_DAY: &str = "SELECT formatDateTime(max(window_start), '%Y-%m-%dT%H:%i:%SZ') FROM bars_latest \
                            WHERE instrument_id = 'MISO.INDIANA.HUB.RT5' AND interval = '1d' AND tenant_id = 'default'";
const VALUE_OF_SPARK: &str = "SELECT formatDateTime(max(timestamp) + INTERVAL 1 SECOND, '%Y-%m-%dT%H:%i:%SZ') FROM derived_prices_latest \
                              WHERE series = 'spark'";
const NOW: &str = "SELECT formatDateTime(now(), '%Y-%m-%dT%H:%i:%SZ', 'UTC')";
/// A leg of a derived series.
const TICK: &str = "SELECT max(tick_id) FROM market_ticks WHERE instrument_id = 'NG_HH_M1' AND tenant_id = 'default'";
const QUOTE: &str = "SELECT max(origin) FROM curve_snapshots";
const DOCUMENT: &str = "SELECT max(concat(feed, '/', toString(raw_partition), '/', toString(raw_offset))) FROM market_ticks \
                        WHERE instrument_id = 'MISO.INDIANA.HUB.DA' AND raw_index > 0";
const MESSAGE: &str =
    "SELECT concat(toString(raw_partition), ' --offset ', toString(raw_offset)) FROM market_ticks LIMIT 1";
const EVENT: &str = "SELECT source_event_id FROM market_ticks WHERE source_event_id != '' AND tenant_id = 'default' \
                     ORDER BY appended_at DESC LIMIT 1";
const BACKUP: Source = Source::Printed(&["backup", "list"], &["/0/name"], "");

const VALUES: [Value; 46] = [
    // Times and places in the data.
    sql("1h --start 2026-10-01T00:00:00Z", "1h --start {}", BAR_OF_AN_HOUR),
    sql("1d --start 2026-10-01T00:00Z", "1d --start {}", BAR_OF_A_DAY),
    sql("blocks --start 2026-10-01T15:00Z", "blocks --start {}", BAR_OF_AN_HOUR),
    sql("spark --at 2026-10-01T00:05:00Z", "spark --at {}", VALUE_OF_SPARK),
    sql("--at 2026-11-25T18:00:00Z", "--at {}", NOW),
    sql("--as-of 2026-11-25T18:00:00Z", "--as-of {}", NOW),
    sql(
        "curve_snapshots --origin ingestion.market.raw.v1/2/17/0",
        "curve_snapshots --origin {}",
        QUOTE,
    ),
    sql("ingestion.market.raw.v1/2/17/0", PLACE, TICK),
    sql("ingestion.market.raw.v1/2/17 --limit", "{} --limit", DOCUMENT),
    sql("--partition 2 --offset 17", "--partition {}", MESSAGE),
    sql("--partition 2 --offset 1042", "--partition {}", MESSAGE),
    sql("trace 0b54c7de-e2b8-4a9e-9d53-1c1c6a9b1e7f", "trace '{}'", EVENT),
    sql("--from-event 6b1f", "--from-event '{}'", EVENT),
    // Dead letters, alerts and silences.
    letter(
        "replay 17 18",
        "replay {}",
        &["/letters/0/place/offset", "/letters/1/place/offset"],
        " ",
    ),
    letter("replay 17", "replay {}", &["/letters/0/place/offset"], ""),
    letter("show 17", "show {}", &["/letters/0/place/offset"], ""),
    letter(
        "ingestion.market.raw.v1/2/1042",
        PLACE,
        &[
            "/letters/0/origin/topic",
            "/letters/0/origin/partition",
            "/letters/0/origin/offset",
        ],
        "/",
    ),
    alert("ack 3f2a", "ack {}", &["/alerts/0/id"]),
    alert("unsilence 8a51c7e0", "unsilence {}", &["/silences/0/id"]),
    // Addresses of services, folders and files.
    port("-s localhost:8082", "-s localhost:{}", Service::Aggregation),
    port("-s aggregation-service", "-s localhost:{}", Service::Aggregation),
    port(
        "http://aggregation-service:8080",
        "http://localhost:{}",
        Service::Aggregation,
    ),
    port("http://projection:8083", "http://localhost:{}", Service::Projection),
    Value {
        says: "verify 20261127T120000Z",
        runs: "verify {}",
        from: BACKUP,
    },
    Value {
        says: "restore 20261127T120000Z",
        runs: "restore {}",
        from: BACKUP,
    },
    stopped(
        "dp backup restore before-upgrade --folder /mnt/backups --store postgres --store redis --yes",
        "",
    ),
    text("/mnt/backups", "\"$BACKUPS\""),
    text("/tmp/outage.tar.gz", "\"$INCIDENTS/outage.tar.gz\""),
    text(
        "--dir-out /var/lib/incidents",
        "--dir-out \"$INCIDENTS\" --listen 127.0.0.1:0",
    ),
    text("--listen 0.0.0.0:9097", "--listen 127.0.0.1:0"),
    text("~/.local/share/bash-completion/completions/dp", "completions.bash"),
    text("docker compose logs --no-log-prefix", "cat \"$LOG\""),
    text("kubectl logs deploy/normalization-service", "cat \"$LOG\""),
    // Two archives of one second would have one name.
    text(
        "incident collect --json",
        "incident collect --out \"$INCIDENTS/second.tar.gz\" --json",
    ),
    // Less work.
    text("simulate --ticks 200000", "simulate --ticks 2000"),
    text("simulate --ticks 1000 --rate 100", "simulate --ticks 100 --rate 100"),
    text("analyze --for 30s", "analyze --for 2s"),
    text("profile cpu normalization", "profile cpu normalization --for 2s"),
    text("profile cpu aggregation --for 30s", "profile cpu aggregation --for 2s"),
    text("profile cpu projection", "profile cpu projection --for 2s"),
    text(
        "profile heap aggregation --for 30s",
        "profile heap aggregation --for 2s",
    ),
    text("profile heap projection --for 1m", "profile heap projection --for 2s"),
    text("profile heap normalization", "profile heap normalization --for 2s"),
    // What a line stops is started again, and what it needs stopped is stopped.
    stopped(
        "dp kafka reset-offsets --group enrichment-local --to 2h --yes",
        "enrichment",
    ),
    text("dp stop redis", "dp stop redis; dp start redis"),
    text(
        "dp stop --kill aggregation",
        "dp stop --kill aggregation; dp start aggregation",
    ),
];

/// The line that is run for this example.
pub fn filled(pipeline: &Pipeline, shell: &Shell, example: &str) -> anyhow::Result<String> {
    let mut line = example.to_owned();
    for value in &VALUES {
        if let Some((before, after)) = around(&line, value.says) {
            let by = value.of_this_run(pipeline, shell).context(value.says)?;
            line = format!("{before}{}{after}", value.runs.replace(PLACE, &by));
        }
    }
    Ok(line)
}

/// Entries whose text no line has.
pub fn without_line(lines: &[String]) -> Vec<&'static str> {
    let texts = VALUES.iter().map(|value| value.says);
    texts
        .filter(|says| !lines.iter().any(|line| around(line, says).is_some()))
        .collect()
}

/// What is before and after the text in the line, if it ends with a whole word there.
fn around<'l>(line: &'l str, text: &str) -> Option<(&'l str, &'l str)> {
    let (before, after) = line.split_once(text)?;
    (!after.starts_with(|next: char| next.is_ascii_alphanumeric())).then_some((before, after))
}

impl Value {
    fn of_this_run(&self, pipeline: &Pipeline, shell: &Shell) -> anyhow::Result<String> {
        match &self.from {
            Source::Nothing => Ok(String::new()),
            Source::Sql(query) => {
                let rows = pipeline.clickhouse.rows(query)?;
                let value = rows
                    .first()
                    .and_then(|row| row.first())
                    .filter(|value| !value.is_empty());
                value.cloned().with_context(|| format!("no value: {query}"))
            }
            Source::Printed(arguments, places, between) => {
                let printed = shell.json(arguments)?;
                let values: Option<Vec<String>> =
                    places.iter().map(|place| printed.pointer(place).map(plain)).collect();
                let values =
                    values.with_context(|| format!("dp {} has no {places:?}: {printed}", arguments.join(" ")))?;
                Ok(values.join(*between))
            }
            Source::Stopped(services) => Ok(format!("dp stop {services}; {}; dp start {services}", self.says)),
            Source::Port(service) => {
                let port = pipeline.stack().port(*service);
                port.map(|port| port.to_string()).context("the service has no port")
            }
        }
    }
}

/// A JSON value without quotes.
fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
