//! Loads of the end-to-end tests: simulated ticks once or in the background, and the oracle's own ticks.
//!
//! Failure: a message that is not acknowledged is an error of the load, reported when it ends.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context as _, bail};
use testkit::load::{Load, LoadPlan};

use crate::programs::told;
use crate::{Pipeline, RAW};

/// Rate of a load in messages per second. One part of a load has two seconds of messages.
const RATE: u32 = 1_000;
const PART: u32 = 2_000;

impl Pipeline {
    /// Publishes simulated ticks. Each seed gives different events.
    ///
    /// # Errors
    /// If a message was not acknowledged.
    pub fn publish_once(&self, ticks: u32, seed: u32) -> anyhow::Result<()> {
        told(&self.simulate(ticks, seed).output().context("run dp simulate")?)
            .context("dp simulate")
            .map(drop)
    }

    /// Publishes simulated ticks in the background until [`Publishing::finish`].
    pub fn publish(&self, seed: u32) -> Publishing {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let commands: Vec<Command> = (0..1_000)
            .map(|part| self.simulate(PART, seed * 1_000 + part))
            .collect();
        let thread = std::thread::spawn(move || {
            for mut command in commands {
                told(&command.output().context("run dp simulate")?).context("dp simulate")?;
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
            }
            Ok(())
        });
        Publishing {
            stop,
            thread: Some(thread),
        }
    }

    /// Publishes the oracle's own ticks until the load is paused or dropped. It continues through outages of Kafka.
    ///
    /// # Errors
    /// If the client cannot be created.
    pub fn load(&self, seed: u64) -> anyhow::Result<Load> {
        let plan = LoadPlan {
            topic: RAW.to_owned(),
            seed,
            session: 1,
            rate: RATE,
            extras: false,
        };
        Load::start(&self.bootstrap(), plan)
    }

    fn simulate(&self, ticks: u32, seed: u32) -> Command {
        let (ticks, rate, seed) = (ticks.to_string(), RATE.to_string(), seed.to_string());
        self.dp(&[
            "simulate",
            "--ticks",
            &ticks,
            "--rate",
            &rate,
            "--seed",
            &seed,
            "--late-percent",
            "4",
            "--duplicate-percent",
            "3",
        ])
    }
}

/// A load that is being published. It ends with the test.
pub struct Publishing {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Publishing {
    /// Ends the load.
    ///
    /// # Errors
    /// If a message was not acknowledged.
    pub fn finish(mut self) -> anyhow::Result<()> {
        self.end()
    }

    fn end(&mut self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        ended
            .unwrap_or(Ok(Ok(())))
            .unwrap_or_else(|_| bail!("the load ended with a panic"))
    }
}

impl Drop for Publishing {
    fn drop(&mut self) {
        // The test has already failed, so an error of its load is irrelevant.
        let _ended = self.end();
    }
}
