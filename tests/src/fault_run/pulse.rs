//! Observes the progress of the pipeline from outside, twice a second: the output and the memory of each process.
//!
//! Failure: a value that cannot be queried (a server is down) keeps its last value and its old time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use localstack::{Condition, Name, Server, Service};
use serde::{Deserialize, Serialize};
use testkit::kafka::Ends;

use crate::Pipeline;

const EVERY: Duration = Duration::from_millis(500);
const ASK_LIMIT: Duration = Duration::from_secs(1);
/// Long, because recovery may depend on other processes that fail at the same time.
pub(crate) const RECOVERY_LIMIT: Duration = Duration::from_secs(240);

/// The topics whose end offsets are read.
pub(crate) const TOPICS: [&str; 3] = [
    "normalized.market.ticks.v1",
    "enriched.market.ticks.v1",
    "aggregation.bars.v1",
];

/// An output that grows while the pipeline works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Output {
    Topic(&'static str),
    Table(&'static str),
    /// Sum of the positions in PostgreSQL.
    Positions,
    /// Served keys in Redis.
    Keys,
    /// A hash of all served values in Redis. It changes instead of growing.
    NewestPrice,
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Output::Topic(name) | Output::Table(name) => name,
            Output::Positions => "prices in postgres",
            Output::Keys => "keys in redis",
            Output::NewestPrice => "prices in redis",
        })
    }
}

/// Number of keys, and the first digits of a hash of their values.
const SERVED: &str = "local keys = redis.call('KEYS', 'served:latest_price:*') \
                      local all = {} for i, key in ipairs(keys) do all[i] = redis.call('GET', key) or '' end \
                      return {#keys, tonumber(string.sub(redis.sha1hex(table.concat(all)), 1, 12), 16)}";

impl Output {
    /// The outputs that must advance when the process works again.
    pub(crate) fn of(name: Name) -> &'static [Output] {
        match name {
            Name::Service(Service::Normalization, _) => &[Output::Topic(TOPICS[0]), Output::Table("market_ticks")],
            Name::Service(Service::Enrichment, _) => &[Output::Topic(TOPICS[1]), Output::Table("enriched_ticks")],
            Name::Service(Service::Aggregation, _) => &[Output::Topic(TOPICS[2])],
            Name::Service(Service::Projection, _) => &[Output::Positions],
            Name::Server(Server::Kafka) => &[Output::Topic(TOPICS[0])],
            Name::Server(Server::ClickHouse) => &[Output::Table("market_ticks")],
            Name::Server(Server::Postgres) => &[Output::Positions],
            Name::Server(Server::Redis) => &[Output::Keys],
        }
    }
}

/// Highest values seen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Peaks {
    /// Resident memory in MB of each process with its children. Replicas are merged under the name of their service.
    pub resident_mb: BTreeMap<String, u64>,
}

/// The last observed values and their times.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    seen: Mutex<BTreeMap<Output, (i64, Instant)>>,
    peaks: Mutex<Peaks>,
    end: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pulse {
    /// Observes the pipeline until [`Pulse::end`].
    pub(crate) fn watch(&self, pipeline: &Pipeline) {
        let mut ends = None;
        while !self.end.load(Ordering::Relaxed) {
            let begun = Instant::now();
            self.look(pipeline, &mut ends);
            std::thread::sleep(EVERY.saturating_sub(begun.elapsed()));
        }
    }

    pub(crate) fn end(&self) {
        self.end.store(true, Ordering::Relaxed);
    }

    pub(crate) fn peaks(&self) -> Peaks {
        lock(&self.peaks).clone()
    }

    fn look(&self, pipeline: &Pipeline, ends: &mut Option<Ends>) {
        if ends.is_none() {
            *ends = Ends::new(&pipeline.bootstrap(), &TOPICS).ok();
        }
        for topic in TOPICS {
            let asked = Instant::now();
            let Some(sum) = ends.as_ref().and_then(|ends| ends.sum(topic, ASK_LIMIT).ok()) else {
                // Kafka is down: the next topic would only run into the same timeout.
                break;
            };
            self.note(Output::Topic(topic), Some(sum), asked);
        }
        for table in ["market_ticks", "enriched_ticks"] {
            let asked = Instant::now();
            let rows = pipeline.clickhouse.number(&format!("SELECT count() FROM {table}"));
            self.note(
                Output::Table(table),
                rows.ok().and_then(|rows| rows.try_into().ok()),
                asked,
            );
        }
        let asked = Instant::now();
        let sum = pipeline
            .postgres
            .rows("SELECT coalesce(sum(next_offset), 0)::bigint FROM projection_positions");
        let sum = sum.ok().and_then(|rows| rows.first()?.first()?.parse().ok());
        self.note(Output::Positions, sum, asked);
        let asked = Instant::now();
        let served = pipeline.redis.run(&["EVAL", SERVED, "0"]).unwrap_or_default();
        let number = |index: usize| served.get(index)?.as_ref()?.parse().ok();
        self.note(Output::Keys, number(0), asked);
        self.note(Output::NewestPrice, number(1), asked);
        self.note_memory(pipeline);
    }

    fn note(&self, output: Output, value: Option<i64>, asked: Instant) {
        if let Some(value) = value {
            lock(&self.seen).insert(output, (value, asked));
        }
    }

    fn note_memory(&self, pipeline: &Pipeline) {
        let processes = pipeline.stack().status().unwrap_or_default();
        let mut peaks = lock(&self.peaks);
        for process in processes.iter().filter(|one| one.condition != Condition::Stopped) {
            let megabytes = process.usage.map_or(0, |usage| usage.resident_bytes >> 20);
            let name = match process.name {
                Name::Server(server) => server.name(),
                Name::Service(service, _) => service.name(),
            };
            let peak = peaks.resident_mb.entry(name.to_owned()).or_default();
            *peak = (*peak).max(megabytes);
        }
    }

    /// Waits until each of these outputs has advanced from its value while the process was down, or from its next value if
    /// there is none.
    pub(crate) fn wait_until_it_moves(&self, still: &[(Output, Option<i64>)]) -> anyhow::Result<()> {
        let (back, deadline) = (Instant::now(), Instant::now() + RECOVERY_LIMIT);
        for (output, known) in still {
            let before = match (output, known) {
                // Redis restarts empty, so any key is progress.
                (Output::Keys, _) => 0,
                (_, Some(value)) => *value,
                (_, None) => self.wait(*output, deadline, |_, asked| asked > back)?,
            };
            self.wait(*output, deadline, |value, asked| value > before && asked > back)?;
        }
        Ok(())
    }

    /// The last observed value.
    pub(crate) fn latest(&self, output: Output) -> Option<i64> {
        lock(&self.seen).get(&output).map(|(value, _)| *value)
    }

    /// The values observed after `moment`; `None` for an output that has not been observed since.
    pub(crate) fn values_since(&self, outputs: &[Output], moment: Instant) -> Vec<(Output, Option<i64>)> {
        let seen = lock(&self.seen);
        let value = |output| {
            seen.get(output)
                .filter(|(_, asked)| *asked > moment)
                .map(|(value, _)| *value)
        };
        outputs.iter().map(|output| (*output, value(output))).collect()
    }

    fn wait(&self, output: Output, deadline: Instant, is_it: impl Fn(i64, Instant) -> bool) -> anyhow::Result<i64> {
        loop {
            if let Some((value, asked)) = lock(&self.seen).get(&output).copied()
                && is_it(value, asked)
            {
                return Ok(value);
            }
            if Instant::now() > deadline {
                bail!("{output:?} has not advanced within {} s", RECOVERY_LIMIT.as_secs());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// How often the services logged certain messages.
pub(crate) fn refused(pipeline: &Pipeline) -> anyhow::Result<BTreeMap<String, u64>> {
    const LINES: [(&str, &str); 5] = [
        ("\"write_fenced\"", "inserts refused by the fence"),
        ("insert outcome unknown", "inserts with unknown outcome"),
        ("another owner has moved the position", "projection commits refused"),
        ("commit not answered", "projection commits not answered"),
        ("worker starts again from stored positions", "workers that began again"),
    ];
    let mut counts: BTreeMap<String, u64> = LINES.map(|(_, name)| (name.to_owned(), 0)).into();
    let folder = pipeline.stack().config().dir.join("logs");
    for service in Service::ALL {
        for number in [1, 2] {
            let name = Name::replica(service, number);
            let path = folder.join(format!("{name}.log"));
            let Ok(file) = std::fs::File::open(&path) else { continue };
            for line in std::io::BufRead::split(std::io::BufReader::new(file), b'\n') {
                let line = line.with_context(|| format!("read {}", path.display()))?;
                let line = String::from_utf8_lossy(&line);
                for (text, name) in LINES {
                    if line.contains(text) {
                        *counts.entry(name.to_owned()).or_default() += 1;
                    }
                }
            }
        }
    }
    Ok(counts)
}
