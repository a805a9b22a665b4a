//! `dp simulate`: publishes the messages of a [`crate::simulation::Generator`] and reports exact counts of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use domain::Micros;
use serde::Serialize;
use stream::Brokers;
use stream::kafka::publisher::{Publisher, Record};

use super::interrupt::unless_interrupted;
use super::present::{grouped, print_json, print_line, table};
use super::progress::Progress;
use crate::connection::Connection;
use crate::simulation::{Counts, Generator, Plan};

/// Messages between two updates of the progress bar.
const SHOW_EVERY: u64 = 1024;

/// Publish simulated ticks of five markets, with late, repeated and invalid messages.
///
/// Use it to load a test system. The ticks are quotes, day-ahead prices, real-time prices and trades, in all three message
/// shapes: A (envelope), B (flat), C (Avro). Some messages repeat an event, some are minutes, hours or days late, and some
/// are poison: broken JSON, wrong schema, no price, unknown market, over-size and more. It prints how many of each kind it
/// published, to compare with what arrives. The same options with the same --seed and --start-time publish the same bytes.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  \
    dp simulate --ticks 200000\n  \
    dp simulate --ticks 1000 --rate 100            # 100 messages a second for ten seconds\n  \
    dp simulate --ticks 5000 --poison-percent 10   # then: dp tail dlq --limit 5")]
pub struct Args {
    /// Number of messages, including poison and repeated ones
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub ticks: u64,
    /// Seed of the random generator
    #[arg(long, value_name = "S", default_value_t = 254)]
    pub seed: u64,
    /// Messages a second [default: as fast as possible]
    #[arg(long, value_name = "R")]
    pub rate: Option<u64>,
    /// Percentage of poison messages, which must become dead letters
    #[arg(long, value_name = "P", default_value_t = 0.5)]
    pub poison_percent: f64,
    /// Percentage of messages that repeat an earlier event
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub duplicate_percent: f64,
    /// Percentage of ticks whose event time is minutes, hours or days late
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub late_percent: f64,
    /// Tenant of the ticks [default: DATA_PROC_TENANT_ID]
    #[arg(long, value_name = "ID")]
    pub tenant: Option<String>,
    /// Current time of the simulation, ISO 8601 with time zone [default: now]
    #[arg(long, value_name = "TIME", value_parser = super::present::time)]
    pub start_time: Option<jiff::Timestamp>,
    /// Raw topic to publish to [default: the first of DATA_PROC_RAW_TOPICS]
    #[arg(long, value_name = "TOPIC")]
    pub topic: Option<String>,
}

impl Default for Args {
    fn default() -> Args {
        Args {
            ticks: 10_000,
            seed: 254,
            rate: None,
            poison_percent: 0.5,
            duplicate_percent: 1.0,
            late_percent: 1.0,
            tenant: None,
            start_time: None,
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

/// Runs `dp simulate`.
pub async fn run(connection: &Connection, args: &Args) -> anyhow::Result<()> {
    let sent = Arc::new(AtomicU64::new(0));
    let publishing = publish_counted(connection, args, sent.clone());
    let report = unless_interrupted(publishing, || {
        format!(
            "{} of {} messages were handed to the Kafka client; the last of them may not have been delivered",
            grouped(sent.load(Ordering::Relaxed) as i64),
            grouped(args.ticks as i64)
        )
    })
    .await?;
    if connection.json {
        return print_json(&report);
    }
    print_line(&shown(&report))
}

/// Publishes a simulation; shows its progress on stderr.
pub async fn publish(connection: &Connection, args: &Args) -> anyhow::Result<Report> {
    publish_counted(connection, args, Arc::default()).await
}

/// As [`publish`]; `sent` counts the messages that were handed to the client.
async fn publish_counted(connection: &Connection, args: &Args, sent: Arc<AtomicU64>) -> anyhow::Result<Report> {
    let plan = Plan {
        messages: args.ticks,
        seed: args.seed,
        start: args.start_time.unwrap_or_else(jiff::Timestamp::now).as_microsecond(),
        rate: args.rate,
        duplicate_percent: args.duplicate_percent,
        late_percent: args.late_percent,
        poison_percent: args.poison_percent,
        tenant_id: args
            .tenant
            .clone()
            .unwrap_or_else(|| connection.settings.tenant_id.clone()),
    };
    let Some(topic) = args.topic.clone().or_else(|| connection.names.raw.first().cloned()) else {
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

fn shown(report: &Report) -> String {
    let counts = &report.counts;
    let row = |name: &str, count: u64| vec![name.to_owned(), grouped(count as i64)];
    let mut rows = vec![
        row("messages", counts.messages),
        row("ticks", counts.ticks),
        row("  of them late", counts.late),
        row("repeated events", counts.duplicates),
        row("poison", counts.poison()),
    ];
    rows.extend(
        counts
            .dead_letters
            .iter()
            .map(|(code, count)| row(&format!("  {code}"), *count)),
    );
    rows.extend(
        counts
            .shapes
            .iter()
            .map(|(shape, count)| row(&format!("ticks in shape {shape}"), *count)),
    );
    rows.extend(
        counts
            .markets
            .iter()
            .map(|(market, count)| row(&format!("ticks of {market}"), *count)),
    );
    let rate = report.acknowledged as f64 / report.seconds.max(0.001);
    let acknowledged = grouped(report.acknowledged as i64);
    format!(
        "{}\n{acknowledged} messages acknowledged on {} in {:.1} s ({} a second); seed {}, start {}",
        table(&["published", "count"], 1, rows),
        report.topic,
        report.seconds,
        grouped(rate as i64),
        report.seed,
        super::present::iso(report.start),
    )
}
