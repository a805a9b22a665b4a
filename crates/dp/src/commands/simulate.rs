//! `dp simulate`: publishes simulated messages and reports exact counts of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ops::connection::Connection;
use ops::interrupt::unless_interrupted;
use ops::present::{grouped, iso, print_json, print_line, table};
use ops::simulate::{Load, Report, publish_counted};

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
    ticks: u64,
    /// Seed of the random generator
    #[arg(long, value_name = "S", default_value_t = 254)]
    seed: u64,
    /// Messages a second [default: as fast as possible]
    #[arg(long, value_name = "R")]
    rate: Option<u64>,
    /// Percentage of poison messages, which must become dead letters
    #[arg(long, value_name = "P", default_value_t = 0.5)]
    poison_percent: f64,
    /// Percentage of messages that repeat an earlier event
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    duplicate_percent: f64,
    /// Percentage of ticks whose event time is minutes, hours or days late
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    late_percent: f64,
    /// Tenant of the ticks [default: DATA_PROC_TENANT_ID]
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Current time of the simulation, ISO 8601 with time zone [default: now]
    #[arg(long, value_name = "TIME", value_parser = ops::present::time)]
    start_time: Option<jiff::Timestamp>,
    /// Raw topic to publish to [default: the first of DATA_PROC_RAW_TOPICS]
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
}

impl Args {
    fn load(&self) -> Load {
        Load {
            ticks: self.ticks,
            seed: self.seed,
            rate: self.rate,
            poison_percent: self.poison_percent,
            duplicate_percent: self.duplicate_percent,
            late_percent: self.late_percent,
            tenant: self.tenant.clone(),
            start: self.start_time,
            topic: self.topic.clone(),
        }
    }
}

/// Runs `dp simulate`.
pub async fn run(connection: &Connection, args: &Args) -> anyhow::Result<()> {
    let load = args.load();
    let sent = Arc::new(AtomicU64::new(0));
    let publishing = publish_counted(connection, &load, sent.clone());
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
        iso(report.start),
    )
}
