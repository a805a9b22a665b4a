//! Publishes the messages of a [`Generator`] and reports exact counts of them.
//!
//! Role: the load of `dp simulate`, of the demo and of manual tests.
//! Failure: a broker that does not answer is an error; the messages before it may have been delivered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use domain::Micros;
use serde::Serialize;
use stream::Brokers;
use stream::kafka::publisher::{Publisher, Record};

use crate::connection::Connection;
use crate::progress::Progress;
use crate::simulation::{Counts, Generator, Plan};

/// Messages between two updates of the progress bar.
const SHOW_EVERY: u64 = 1024;

/// What to publish.
#[derive(Debug, Clone)]
pub struct Load {
    /// Number of messages, including poison and repeated ones.
    pub ticks: u64,
    /// Seed of the random generator.
    pub seed: u64,
    /// Messages a second; `None` means as fast as possible.
    pub rate: Option<u64>,
    /// Percentage of poison messages.
    pub poison_percent: f64,
    /// Percentage of messages that repeat an earlier event.
    pub duplicate_percent: f64,
    /// Percentage of late ticks.
    pub late_percent: f64,
    /// Tenant, unless it is that of the settings.
    pub tenant: Option<String>,
    /// Current time of the simulation; `None` means now.
    pub start: Option<jiff::Timestamp>,
    /// Raw topic, unless it is the first one.
    pub topic: Option<String>,
}

impl Default for Load {
    fn default() -> Load {
        Load {
            ticks: 10_000,
            seed: 254,
            rate: None,
            poison_percent: 0.5,
            duplicate_percent: 1.0,
            late_percent: 1.0,
            tenant: None,
            start: None,
            topic: None,
        }
    }
}

/// The published messages.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Raw topic.
    pub topic: String,
    /// Seed of the run.
    pub seed: u64,
    /// Current time of the simulation, microseconds since 1970. With the seed it reproduces the same bytes.
    pub start: Micros,
    /// Messages of each kind.
    pub counts: Counts,
    /// Messages that the broker acknowledged: all of them.
    pub acknowledged: u64,
    /// Seconds from the first message to the last acknowledgement.
    pub seconds: f64,
}

/// Publishes a simulation; shows its progress on stderr.
///
/// # Errors
/// As [`publish_counted`].
pub async fn publish(connection: &Connection, load: &Load) -> anyhow::Result<Report> {
    publish_counted(connection, load, Arc::default()).await
}

/// As [`publish`]; `sent` counts the messages that were handed to the client.
///
/// # Errors
/// Kafka does not answer, or a parameter is outside of its range.
pub async fn publish_counted(connection: &Connection, load: &Load, sent: Arc<AtomicU64>) -> anyhow::Result<Report> {
    let plan = Plan {
        messages: load.ticks,
        seed: load.seed,
        start: load.start.unwrap_or_else(jiff::Timestamp::now).as_microsecond(),
        rate: load.rate,
        duplicate_percent: load.duplicate_percent,
        late_percent: load.late_percent,
        poison_percent: load.poison_percent,
        tenant_id: load
            .tenant
            .clone()
            .unwrap_or_else(|| connection.settings.tenant_id.clone()),
    };
    let Some(topic) = load.topic.clone().or_else(|| connection.names.raw.first().cloned()) else {
        bail!("no raw topic is configured: set DATA_PROC_RAW_TOPICS, or name one with --topic");
    };
    let bootstrap = connection.settings.kafka_bootstrap.clone();
    tokio::task::spawn_blocking(move || publish_plan(&bootstrap, topic, plan, &sent))
        .await
        .context("simulate")?
}

fn publish_plan(bootstrap: &Brokers, topic: String, plan: Plan, counted: &AtomicU64) -> anyhow::Result<Report> {
    let (seed, start, rate, messages) = (plan.seed, plan.start, plan.rate, plan.messages);
    let mut generator = Generator::new(plan).map_err(anyhow::Error::msg)?;
    let mut publisher = Publisher::new(bootstrap, "dp-simulate")?;
    let mut progress = Progress::new("publishing", messages, "messages");
    let began = Instant::now();
    let mut sent: u64 = 0;
    while let Some(message) = generator.next_message() {
        let record = Record {
            topic: &topic,
            key: Some(message.key),
            payload: Some(message.payload),
            ..Record::default()
        };
        publisher
            .send(&record)
            .with_context(|| format!("publish to {topic} at {bootstrap}"))?;
        sent += 1;
        counted.store(sent, Ordering::Relaxed);
        if let Some(rate) = rate {
            keep_pace(began, sent, rate);
        }
        if rate.is_some() || sent.is_multiple_of(SHOW_EVERY) {
            progress.set(sent, "");
        }
    }
    let acknowledged = publisher
        .finish()
        .with_context(|| format!("publish to {topic} at {bootstrap}"))?;
    progress.finish();
    Ok(Report {
        topic,
        seed,
        start,
        counts: generator.counts().clone(),
        acknowledged,
        seconds: began.elapsed().as_secs_f64(),
    })
}

fn keep_pace(began: Instant, sent: u64, rate: u64) {
    let due = Duration::from_secs_f64(sent as f64 / rate as f64);
    if let Some(ahead) = due
        .checked_sub(began.elapsed())
        .filter(|ahead| *ahead > Duration::from_millis(1))
    {
        std::thread::sleep(ahead);
    }
}
