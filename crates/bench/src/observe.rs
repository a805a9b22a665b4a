//! Polls every output of the pipeline while services are started, killed and replaced.
//!
//! One thread for each output reads an increasing counter every few milliseconds and records the values. A failed read (for
//! example during a server restart) is omitted, so it shows as a gap.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::rows::number;
use super::stage::Scene;
use super::watch::Ends;
use crate::statistics::Look;
use ops::migrations::stores;

/// Time between two reads of a topic or of Redis.
const SHORT: Duration = Duration::from_millis(10);
/// Time between two reads of ClickHouse.
const LONG: Duration = Duration::from_millis(50);

/// An output that is polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Records in the normalized topic.
    Normalized,
    /// Records in the enriched topic.
    Enriched,
    /// Records in the bars topic.
    Bars,
    /// Latest prices in Redis.
    Prices,
    /// Rows of `market_ticks`.
    Rows,
}

impl Output {
    /// All of them, in the order of the pipeline.
    pub const ALL: [Output; 5] = [
        Output::Normalized,
        Output::Enriched,
        Output::Bars,
        Output::Prices,
        Output::Rows,
    ];

    /// Name in tables and messages.
    pub fn name(self) -> &'static str {
        match self {
            Output::Normalized => "normalized tick",
            Output::Enriched => "enriched tick",
            Output::Bars => "bar",
            Output::Prices => "latest price in Redis",
            Output::Rows => "row in market_ticks",
        }
    }
}

type Looks = Arc<Mutex<Vec<Look>>>;

/// The polling threads of all outputs.
pub struct Observer {
    began: Instant,
    stop: Arc<AtomicBool>,
    seen: Vec<(Output, Looks)>,
    threads: Vec<JoinHandle<()>>,
}

impl Observer {
    /// Starts polling.
    pub fn start(scene: &Scene) -> anyhow::Result<Observer> {
        let mut observer = Observer {
            began: Instant::now(),
            stop: Arc::new(AtomicBool::new(false)),
            seen: Vec::new(),
            threads: Vec::new(),
        };
        let names = &scene.connection.names;
        for (output, topic) in [
            (Output::Normalized, &names.normalized),
            (Output::Enriched, &names.enriched),
            (Output::Bars, &names.bars),
        ] {
            let ends = Ends::new(scene.bootstrap(), topic)?;
            observer.watch(output, SHORT, move || ends.total().ok());
        }
        observer.watch(Output::Prices, SHORT, prices(scene)?);
        observer.watch(Output::Rows, LONG, rows(scene)?);
        Ok(observer)
    }

    /// Seconds since polling started.
    pub fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// The values of an output that were recorded so far.
    pub fn looks(&self, output: Output) -> Vec<Look> {
        let seen = self.seen.iter().find(|(watched, _)| *watched == output);
        seen.map(|(_, looks)| looks.lock().clone()).unwrap_or_default()
    }

    fn watch(&mut self, output: Output, pause: Duration, mut look: impl FnMut() -> Option<u64> + Send + 'static) {
        let (looks, stop, began) = (Looks::default(), Arc::clone(&self.stop), self.began);
        self.seen.push((output, Arc::clone(&looks)));
        self.threads.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if let Some(count) = look() {
                    let at = began.elapsed().as_secs_f64();
                    looks.lock().push(Look { at, count });
                }
                std::thread::sleep(pause);
            }
        }));
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _it_ended_early = thread.join();
        }
    }
}

/// Counts the changes of the prices in Redis.
fn prices(scene: &Scene) -> anyhow::Result<impl FnMut() -> Option<u64> + Send + 'static> {
    let redis = stores(&scene.connection)?.redis;
    let runtime = Handle::try_current().context("find the runtime")?;
    let (mut keys, mut changes, mut last) = (Vec::new(), 0_u64, None);
    Ok(move || {
        runtime.block_on(async {
            if keys.is_empty() {
                keys = redis.scan(&stores::redis::key::every_latest_price()).await.ok()?;
            }
            let values = redis.get_many(&keys).await.ok()?;
            let mut hasher = DefaultHasher::new();
            values.hash(&mut hasher);
            let now = Some(hasher.finish());
            if last.is_some() && now != last {
                changes += 1;
            }
            last = now;
            Some(changes)
        })
    })
}

fn rows(scene: &Scene) -> anyhow::Result<impl FnMut() -> Option<u64> + Send + 'static> {
    let stores = stores(&scene.connection)?;
    let runtime = Handle::try_current().context("find the runtime")?;
    let sql = format!(
        "SELECT count() AS value FROM {}",
        scene.connection.names.table("market_ticks")
    );
    Ok(move || runtime.block_on(number(&stores, &sql)).ok())
}
