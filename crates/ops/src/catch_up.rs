//! Waits until no consumer group has lag.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use localstack::{Condition, Name, Stack};

use crate::connection::Connection;
use crate::lag::{Lag, LagWatch};
use crate::progress::Progress;

const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// A working pipeline makes progress every second; a rebalance takes several seconds.
const STALLED: Duration = Duration::from_secs(120);

/// Returns when no group has lag; shows the lag on stderr.
///
/// # Errors
/// A service has ended, or there was no progress for two minutes. The message names the group and where to look.
pub async fn until_caught_up(connection: &Connection, stack: &Stack) -> anyhow::Result<()> {
    let (connection, stack) = (connection.clone(), stack.clone());
    tokio::task::spawn_blocking(move || watch(&connection, &stack))
        .await
        .context("wait for the groups")?
}

fn watch(connection: &Connection, stack: &Stack) -> anyhow::Result<()> {
    let watch = LagWatch::new(&connection.settings.kafka_bootstrap, &connection.names).context("read lag")?;
    let mut progress = Progress::new("processing", 0, "messages");
    let (mut most, mut least, mut moved_at) = (0, i64::MAX, Instant::now());
    let mut empty_before = false;
    loop {
        check_services(stack)?;
        let lags = match watch.lags() {
            Ok(lags) => lags,
            // Kafka may be busy temporarily; the limit for a stall still applies.
            Err(error) if moved_at.elapsed() < STALLED => {
                tracing::debug!(error = %error, "lag cannot be read");
                std::thread::sleep(POLL_INTERVAL);
                continue;
            }
            Err(error) => return Err(error).context("read lag"),
        };
        let total: i64 = lags.iter().map(Lag::total).sum();
        if total == 0 && empty_before {
            progress.finish();
            return Ok(());
        }
        // Read twice: outputs of the first stage count as lag of the next one only after they were sent.
        empty_before = total == 0;
        if total < least {
            (least, moved_at) = (total, Instant::now());
        }
        if total > most {
            // The total may grow: each group downstream counts the message again.
            (most, least) = (total, total);
        }
        if moved_at.elapsed() > STALLED {
            bail!(stalled(&lags));
        }
        progress.set_total(most.unsigned_abs());
        progress.set((most - total).unsigned_abs(), &slowest(&lags));
        std::thread::sleep(POLL_INTERVAL);
    }
}

fn check_services(stack: &Stack) -> anyhow::Result<()> {
    let processes = stack.status().context("read the processes of the stack")?;
    let ended = processes.iter().find(|process| {
        process.condition == Condition::Stopped && !matches!(process.name, Name::Service(_, replica) if replica > 1)
    });
    match ended {
        Some(process) => bail!(
            "{} has stopped: see the end of its log {}",
            process.name,
            process.log.display()
        ),
        None => Ok(()),
    }
}

fn slowest(lags: &[Lag]) -> String {
    lags.iter()
        .max_by_key(|lag| lag.total())
        .filter(|lag| lag.total() > 0)
        .map_or_else(String::new, |lag| {
            format!("({} left for {})", lag.total(), lag.subscription.group)
        })
}

fn stalled(lags: &[Lag]) -> String {
    let behind: Vec<String> = lags
        .iter()
        .filter(|lag| lag.total() > 0)
        .map(|lag| {
            format!(
                "group {} is {} messages behind in {}",
                lag.subscription.group,
                lag.total(),
                lag.subscription.topic
            )
        })
        .collect();
    let seconds = STALLED.as_secs();
    format!(
        "no progress for {seconds} s: {}; see `dp status`, `dp groups --partitions` and `dp logs`",
        behind.join(", ")
    )
}
