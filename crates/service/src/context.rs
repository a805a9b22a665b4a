//! What a service is built with: settings, names, clients, and methods to register its parts.
//!
//! Role: [`Context`] collects workers, writers, checks, routes and statistics. None of them runs before HTTP has bound its
//! port, so a port in use is detected before any message is consumed.
//! Invariants: INV-4 (partition counts are compared whenever a worker joins), one OS thread per worker.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use stream::Brokers;
use stream::kafka::describe::describe_topics;
use stream::positions::{self, Reader};
use stream::spans::Recorder;
use stream::{Handler, Pace, Shutdown, StreamError, WorkerConfig, WorkerStatus};
use tokio::runtime::Handle;

use crate::clients::Clients;
use crate::control::Control;
use crate::control::tenants::HeldTenants;
use crate::health::{Check, Health};
use crate::http::{Routes, Stats};
use crate::life::Tasks;
use crate::metrics;
use crate::names::Names;
use crate::settings::Settings;
use crate::traces::Traces;

/// How long a drain may take, well below the shutdown deadline of the process.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// A thread that has not been started yet.
pub(crate) struct Pending {
    pub(crate) name: String,
    pub(crate) body: Box<dyn FnOnce() -> Result<(), String> + Send>,
}

/// What a service is built with. `S` is its own settings.
pub struct Context<S> {
    /// Service name.
    pub service: &'static str,
    /// Shared settings.
    pub settings: Settings,
    /// The service's own settings.
    pub own: Arc<S>,
    /// Topics, groups, tables.
    pub names: Names,
    /// Runtime for I/O: two threads for the whole process.
    pub runtime: Handle,
    /// Starts tasks that run on this runtime until shutdown.
    pub tasks: Tasks,
    /// The shutdown request of the process.
    pub shutdown: Shutdown,
    /// Writes and reads framed records.
    pub wire: codec::Wire,
    /// Clients of the stores that the service uses.
    pub clients: Clients,
    /// Checks and workers.
    pub health: Arc<Health>,
    /// The orders to the workers.
    pub(crate) control: Arc<Control>,
    pub(crate) traces: Traces,
    pub(crate) pending: Vec<Pending>,
    pub(crate) routes: Routes,
    pub(crate) stats: Vec<Stats>,
    pub(crate) groups: Vec<Value>,
}

impl<S> Context<S> {
    /// Runs `DATA_PROC_WORKERS` workers over these topics in the service's group; `make` builds the handler of one worker, and
    /// builds it again after every transient error.
    pub fn workers<F>(&mut self, stage: &str, topics: &[String], pace: Pace, make: F)
    where
        F: Fn() -> Result<Box<dyn Handler>, StreamError> + Send + Sync + 'static,
    {
        let group = self.names.group(self.service);
        let (make, recorder) = (Arc::new(make), self.traces.recorder(stage));
        for number in 0..self.settings.workers {
            let make = Arc::clone(&make);
            self.worker(
                Member {
                    name: format!("{stage}-{number}"),
                    group: group.clone(),
                    topics: topics.to_vec(),
                    pace,
                    critical: true,
                    recorder: recorder.clone(),
                },
                move || make(),
            );
        }
    }

    /// Runs one non-critical worker in a group of its own: without it, the main stage of the service still works.
    pub fn second_stage<F>(&mut self, stage: &str, group: String, topics: &[String], pace: Pace, make: F)
    where
        F: Fn() -> Result<Box<dyn Handler>, StreamError> + Send + 'static,
    {
        let member = Member {
            name: stage.to_owned(),
            group,
            topics: topics.to_vec(),
            pace,
            critical: false,
            recorder: self.traces.recorder(stage),
        };
        self.worker(member, make);
    }

    /// Adds HTTP routes.
    pub fn routes(&mut self, routes: Routes) {
        self.routes = std::mem::take(&mut self.routes).and(routes);
    }

    /// Adds fields to `/stats`.
    pub fn stats(&mut self, fields: impl Fn() -> Map<String, Value> + Send + Sync + 'static) {
        self.stats.push(Arc::new(fields));
    }

    /// Adds a service-specific health check.
    pub fn check(&mut self, check: Check) {
        self.health.watch(&self.tasks, check);
    }

    /// Registers the dead-letter counters of a stage, so that they exist from the start.
    pub fn dead_letter_codes(&self, stage: &str, codes: &[&str]) {
        for code in codes {
            metrics::dead_letter_exists(stage, code);
        }
    }

    /// The tenants whose messages are held, as the orders say.
    pub fn held_tenants(&self) -> Arc<HeldTenants> {
        self.control.tenants()
    }

    pub(crate) fn worker<F>(&mut self, member: Member, make: F)
    where
        F: Fn() -> Result<Box<dyn Handler>, StreamError> + Send + 'static,
    {
        let Member {
            name,
            group,
            topics,
            pace,
            critical,
            recorder,
        } = member;
        let status = WorkerStatus::new(name.clone());
        self.health.add_worker(Arc::clone(&status), critical);
        self.health.join(&name, &group);
        if let Some(stage) = self.names.stage_of(&group) {
            self.control.add(stage, &group, Arc::clone(&status));
        }
        self.groups
            .push(json!({"worker": name, "group": group, "topics": topics}));
        topics.iter().for_each(|topic| metrics::topic_exists(topic));
        let met = [&self.names.legs, &self.names.derived, &self.names.curves];
        let met = topics.iter().filter(|topic| met.contains(topic)).cloned();
        let aligned = self
            .names
            .aligned_topics()
            .map(str::to_owned)
            .into_iter()
            .chain(met)
            .collect();
        let config = WorkerConfig {
            service: self.service.to_owned(),
            generation: self.names.generation().to_owned(),
            bootstrap: self.settings.kafka_bootstrap.clone(),
            client_id: format!("{}-{name}", self.service),
            instance_id: self.settings.instance_id.as_ref().map(|id| format!("{id}-{name}")),
            dlq_topic: self.names.dlq.clone(),
            compression: self.settings.kafka_compression,
            drain_timeout: DRAIN_TIMEOUT,
            group,
            topics,
            pace,
            recorder,
        };
        let aligned = Aligned {
            reader: config.reader(),
            bootstrap: config.bootstrap.clone(),
            topics: aligned,
            partitions: self.settings.topic_partitions,
        };
        let shutdown = self.shutdown.clone();
        let body = move || {
            let make = || aligned.check().and_then(|()| make());
            stream::worker::run(&config, &status, &shutdown, make).map_err(|error| error.to_string())
        };
        self.pending.push(Pending {
            name,
            body: Box::new(body),
        });
    }
}

/// A worker as a member of a group.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) topics: Vec<String>,
    pub(crate) pace: Pace,
    /// Whether the service is unhealthy without it.
    pub(crate) critical: bool,
    /// Records what the stage does with traced messages.
    pub(crate) recorder: Option<Recorder>,
}

/// Topics whose partition counts must agree (INV-4).
struct Aligned {
    reader: Reader,
    bootstrap: Brokers,
    topics: Vec<String>,
    partitions: i32,
}

impl Aligned {
    fn check(&self) -> Result<(), StreamError> {
        let found = describe_topics(&self.bootstrap, &self.topics, Duration::from_secs(10))?;
        let counts: Vec<(String, i32)> = found.into_iter().map(|topic| (topic.name, topic.partitions)).collect();
        misaligned(&counts, self.partitions).map_or(Ok(()), |message| {
            let remedy = positions::in_a_new_generation(&self.reader);
            Err(StreamError::fatal(
                "partition_count_differs",
                format!("{message}. {remedy}"),
            ))
        })
    }
}

/// Lists the topics that do not have `expected` partitions.
fn misaligned(counts: &[(String, i32)], expected: i32) -> Option<String> {
    let wrong: Vec<String> = counts
        .iter()
        .filter(|(_, partitions)| *partitions != expected)
        .map(|(name, partitions)| format!("{name} has {partitions}"))
        .collect();
    (!wrong.is_empty()).then(|| {
        format!(
            "all topics after the raw ones must have DATA_PROC_TOPIC_PARTITIONS = {expected} partitions, but {}; the offsets read \
             so far stay valid, but keys would go to other partitions. If all of these topics have the same number, set \
             DATA_PROC_TOPIC_PARTITIONS to it; a different number than before needs a new generation (DATA_PROC_GENERATION)",
            wrong.join(" and ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_with_another_partition_count_are_named_with_the_remedy() {
        let counts = [("a".to_owned(), 4), ("b".to_owned(), 6)];
        assert_eq!(misaligned(&counts[..1], 4), None);
        let message = misaligned(&counts, 4).unwrap_or_default();
        assert!(message.contains("b has 6") && !message.contains("a has"), "{message}");
        assert!(message.contains("DATA_PROC_GENERATION"), "{message}");
    }
}
