//! The load of the benchmarks: valid JSON messages of shape A, about 420 bytes each, with distinct event ids, at full speed or
//! at a steady rate.
//!
//! The rate is an open loop: every message has a fixed send time and a late one is sent at once, so that a stalled pipeline
//! cannot slow down its own load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use domain::Micros;
use localstack::Stack;
use stream::Brokers;
use stream::kafka::publisher::{Publisher, Record};

use super::stage::check_interrupted;
use ops::progress::Progress;
use ops::simulation::{Generator, Kind, Plan, Shape};

/// Of an ordinary producer of prices.
const LINGER: Duration = Duration::from_millis(20);
const SHOW_EVERY: u64 = 4096;
/// Two of three simulated messages have another shape and are skipped, so more are planned.
const PLANNED_FOR_EACH: u64 = 4;
/// About how many messages are generated for each that is published.
const MADE_FOR_EACH: u64 = 3;

/// A load to publish.
#[derive(Debug, Clone)]
pub struct Load {
    /// Broker addresses.
    pub bootstrap: Brokers,
    /// Raw topic.
    pub topic: String,
    /// Messages.
    pub messages: u64,
    /// Messages a second; `None` is full speed.
    pub rate: Option<u64>,
    /// First event time; later ones continue for days. `None`: event times are those of a live market, now.
    pub since: Option<Micros>,
    /// Seed of the simulation; different seeds keep event ids distinct between loads of one topic.
    pub seed: u64,
}

/// The result of a load.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Published {
    /// Messages, all acknowledged.
    pub messages: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// From the first to the last acknowledgement.
    pub seconds: f64,
    /// The longest delay of a message after its send time.
    pub behind: Duration,
}

impl Published {
    /// Mean size of a message in bytes.
    pub fn mean_bytes(&self) -> f64 {
        self.bytes as f64 / self.messages.max(1) as f64
    }
}

impl Load {
    /// Publishes the load; blocks until all messages are acknowledged.
    ///
    /// # Errors
    /// Kafka rejects a record, or Ctrl-C.
    pub fn publish(&self, stack: &Stack) -> anyhow::Result<Published> {
        let progress = Progress::new("publishing", self.messages, "messages");
        self.publish_until(stack, &AtomicBool::new(false), Some(progress))
    }

    /// Publishes the load on a thread, until it is complete or stopped.
    pub fn in_background(self, stack: &Stack) -> Background {
        let (stop, stack) = (Arc::new(AtomicBool::new(false)), stack.clone());
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || self.publish_until(&stack, &told, None));
        Background {
            stop,
            thread: Some(thread),
        }
    }

    fn publish_until(
        &self,
        stack: &Stack,
        stop: &AtomicBool,
        mut progress: Option<Progress>,
    ) -> anyhow::Result<Published> {
        let mut generator = Generator::new(self.plan()).map_err(anyhow::Error::msg)?;
        // Its requests cost the broker as much as those of any client.
        let mut publisher = match self.rate {
            Some(_) => Publisher::lingering(&self.bootstrap, "dp-bench", LINGER)?,
            None => Publisher::new(&self.bootstrap, "dp-bench")?,
        };
        let mut published = Published::default();
        let began = Instant::now();
        while published.messages < self.messages && !stop.load(Ordering::Relaxed) {
            let message = generator.next_message().context("the simulation ended early")?;
            if !is_wanted(message.kind) {
                continue;
            }
            let record = Record {
                topic: &self.topic,
                key: Some(message.key),
                payload: Some(message.payload),
                ..Record::default()
            };
            if let Some(rate) = self.rate {
                published.behind = published.behind.max(wait_for_its_time(began, published.messages, rate));
            }
            publisher
                .send(&record)
                .with_context(|| format!("publish to {}", self.topic))?;
            published.messages += 1;
            published.bytes += message.payload.len() as u64;
            if published.messages.is_multiple_of(SHOW_EVERY) {
                if let Some(progress) = &mut progress {
                    progress.set(published.messages, "");
                }
                check_interrupted(stack)?;
            }
        }
        publisher
            .finish()
            .with_context(|| format!("publish to {}", self.topic))?;
        if let Some(progress) = progress {
            progress.finish();
        }
        published.seconds = began.elapsed().as_secs_f64();
        Ok(published)
    }

    fn plan(&self) -> Plan {
        Plan {
            messages: self.messages.saturating_mul(PLANNED_FOR_EACH) + SHOW_EVERY,
            seed: self.seed,
            start: self.since.unwrap_or_else(|| jiff::Timestamp::now().as_microsecond()),
            // The generator's clock advances with skipped messages too.
            rate: match self.since {
                Some(_) => Some(MADE_FOR_EACH),
                None => self.rate.map(|rate| rate.saturating_mul(MADE_FOR_EACH)),
            },
            duplicate_percent: 0.0,
            late_percent: 0.0,
            poison_percent: 0.0,
            tenant_id: "default".to_owned(),
        }
    }
}

fn is_wanted(kind: Kind) -> bool {
    let shape = Shape::Envelope;
    matches!(kind, Kind::Tick { shape: of, .. } if of == shape)
}

/// A load that is being published.
pub struct Background {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<Published>>>,
}

impl Background {
    /// Whether it has ended without being stopped.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops the load and returns what was published.
    ///
    /// # Errors
    /// As [`Load::publish`].
    pub fn finish(mut self) -> anyhow::Result<Published> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the load was finished already")?;
        thread
            .join()
            .map_err(|_| anyhow::anyhow!("the thread of the load ended early"))?
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Sleeps until message number `sent` is due; returns how late it is.
fn wait_for_its_time(began: Instant, sent: u64, rate: u64) -> Duration {
    let due = Duration::from_secs_f64(sent as f64 / rate as f64);
    match due.checked_sub(began.elapsed()) {
        Some(ahead) => {
            if ahead > Duration::from_millis(1) {
                std::thread::sleep(ahead);
            }
            Duration::ZERO
        }
        None => began.elapsed().saturating_sub(due),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_simulation_has_enough_messages_without_repetition() {
        let load = Load {
            bootstrap: Brokers::plaintext(""),
            topic: String::new(),
            messages: 20_000,
            rate: None,
            since: None,
            seed: 1,
        };
        let mut generator = Generator::new(load.plan()).unwrap();
        let mut seen = HashSet::new();
        while let Some(message) = generator.next_message() {
            if is_wanted(message.kind) {
                assert!(seen.insert(message.payload.to_vec()));
            }
        }
        assert!(seen.len() as u64 >= load.messages);
        let bytes: usize = seen.iter().map(Vec::len).sum();
        assert!((380..=460).contains(&(bytes / seen.len())), "mean size of a message");
    }

    #[test]
    fn a_message_that_is_due_is_sent_at_once() {
        let began = Instant::now().checked_sub(Duration::from_secs(2)).unwrap();
        assert!(wait_for_its_time(began, 1, 1) >= Duration::from_millis(900));
        assert_eq!(wait_for_its_time(Instant::now(), 10, 1_000), Duration::ZERO);
    }
}
