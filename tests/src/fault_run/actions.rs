//! The actions of each fault: stop, hold, restart, and wait until the process writes output again.
//!
//! Invariant: after an action, its server or exactly one replica of its service is running.
//! Failure: a process that does not recover within [`RECOVERY_LIMIT`] ends the run with an error that names it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use localstack::{INSTANCE_ID, Name, Service, Stack, StackError};
use testkit::hostile::{Record, Transaction};
use testkit::kafka;

use super::pulse::{Output, Pulse, RECOVERY_LIMIT};
use crate::Pipeline;
use crate::fault_plan::{Fault, Kind};

/// A member learns with its next heartbeat that another process has its id, joins again, and ends when it learns it once more.
const FENCING_TAKES_EFFECT: Duration = Duration::from_secs(15);

/// Performs faults, one at a time.
pub(super) struct Actor<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) pulse: &'a Pulse,
}

impl Actor<'_> {
    /// Performs the fault; returns the time until its process was working again.
    pub(super) fn perform(&self, fault: &Fault) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let outputs = Output::of(fault.target);
        let still = match (fault.kind, fault.target) {
            (Kind::Kill, name) => self.kill(name, fault)?,
            (Kind::Freeze, name) => self.freeze(name, fault)?,
            (Kind::FreezeAndTakeOver, Name::Service(service, _)) => self.freeze_and_take_over(service, fault)?,
            (Kind::FreezeAndReplace, Name::Service(service, _)) => self.freeze_and_replace(service, fault)?,
            (Kind::JoinAndLeave | Kind::JoinAndKill, Name::Service(service, _)) => self.join(service, fault)?,
            (Kind::ResetGroups | Kind::DeleteGroups, Name::Service(service, _)) => self.groups(service, fault)?,
            (Kind::HoldPartition, _) => self.hold_partition(fault)?,
            (kind, Name::Server(server)) => bail!("fault kind '{}' does not apply to {}", kind.name(), server.name()),
        };
        debug_assert_eq!(still.len(), outputs.len());
        self.pulse
            .wait_until_it_moves(&still)
            .with_context(|| format!("after {fault}"))?;
        Ok(begun.elapsed())
    }

    fn stack(&self) -> &Stack {
        self.pipeline.stack()
    }

    fn start(&self, name: Name) -> anyhow::Result<()> {
        self.stack().start(name)?;
        self.stack().wait_ready(name, RECOVERY_LIMIT)?;
        Ok(())
    }

    fn kill(&self, name: Name, fault: &Fault) -> anyhow::Result<Vec<(Output, Option<i64>)>> {
        self.stack().kill9(name)?;
        let down = Instant::now();
        hold(fault);
        let still = self.pulse.values_since(Output::of(name), down);
        self.start(name)?;
        Ok(still)
    }

    fn freeze(&self, name: Name, fault: &Fault) -> anyhow::Result<Vec<(Output, Option<i64>)>> {
        self.stack().pause(name)?;
        let down = Instant::now();
        hold(fault);
        let still = self.pulse.values_since(Output::of(name), down);
        self.stack().resume(name)?;
        Ok(still)
    }

    fn freeze_and_take_over(&self, service: Service, fault: &Fault) -> anyhow::Result<Vec<(Output, Option<i64>)>> {
        let (first, second) = (Name::from(service), Name::replica(service, 2));
        self.stack().pause(first)?;
        let down = Instant::now();
        self.stack().start(second)?;
        hold(fault);
        let still = self.pulse.values_since(Output::of(first), down);
        // The second replica has the partitions or is about to get them. The first one still considers itself the owner.
        self.stack().resume(first)?;
        self.pulse.wait_until_it_moves(&still)?;
        self.stack().kill9(second)?;
        let down = Instant::now();
        Ok(self.pulse.values_since(Output::of(first), down))
    }

    fn freeze_and_replace(&self, service: Service, fault: &Fault) -> anyhow::Result<Vec<(Output, Option<i64>)>> {
        let (first, second) = (Name::from(service), Name::replica(service, 2));
        let mut stack = self.stack().clone();
        let id = stack.config().instance_id(first);
        let env = &mut stack.config_mut().service_env;
        env.insert(INSTANCE_ID.to_owned(), id);
        stack.pause(first)?;
        let down = Instant::now();
        stack.start(second)?;
        hold(fault);
        let still = self.pulse.values_since(Output::of(first), down);
        self.pulse.wait_until_it_moves(&still)?;
        // It still considers itself the owner. When the group tells it otherwise, it joins again once, then it must end. If the broker
        // was restarted meanwhile, the second has been told so once already, and may be the one that ends.
        stack.resume(first)?;
        let deadline = Instant::now() + RECOVERY_LIMIT;
        while stack.pid(first).is_some() && stack.pid(second).is_some() {
            if Instant::now() > deadline {
                bail!("neither {first} nor {second} ended, although they have one instance id");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        // A process has several groups: it may have been told twice in one of them, and the other process in another.
        match stack.kill9(second) {
            Ok(()) | Err(StackError::NotRunning(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let down = Instant::now();
        let still = self.pulse.values_since(Output::of(first), down);
        // Without the second, nobody fences the first again. What it was told before takes effect within this time.
        let deadline = Instant::now() + FENCING_TAKES_EFFECT;
        while stack.pid(first).is_some() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        if stack.pid(first).is_none() {
            self.start(first)?;
        }
        Ok(still)
    }

    fn join(&self, service: Service, fault: &Fault) -> anyhow::Result<Vec<(Output, Option<i64>)>> {
        let (first, second) = (Name::from(service), Name::replica(service, 2));
        self.start(second)?;
        hold(fault);
        let leaves = if fault.first_leaves { first } else { second };
        if fault.kind == Kind::JoinAndKill {
            self.stack().kill9(leaves)?;
        } else {
            self.stop(leaves)?;
        }
        let gone = Instant::now();
        if fault.first_leaves {
            self.pulse
                .wait_until_it_moves(&self.pulse.values_since(Output::of(first), gone))?;
            self.start(first)?;
            self.stop(second)?;
        }
        Ok(self.pulse.values_since(Output::of(first), Instant::now()))
    }

    fn stop(&self, name: Name) -> anyhow::Result<()> {
        if self.stack().stop(name)? {
            return Ok(());
        }
        bail!("{name} had already exited, see {}", self.stack().log(name).display())
    }

    /// The transaction is aborted at the end, so its record is never read.
    fn hold_partition(&self, fault: &Fault) -> anyhow::Result<Vec<(Output, Option<i64>)>> {
        let bootstrap = self.pipeline.bootstrap();
        let partitions = kafka::partitions(&bootstrap, crate::RAW)?;
        let chosen = fault.number as usize % partitions.len().max(1);
        let record = Record {
            partition: *partitions.get(chosen).context("the raw topic has no partition")?,
            payload: Some(b"aborted".to_vec()),
            ..Record::default()
        };
        let limit = Duration::from_millis(fault.hold_ms) + RECOVERY_LIMIT;
        let mut open = Transaction::begin(&bootstrap, &format!("held-{}", fault.number), limit)?;
        open.send(crate::RAW, &record)?;
        hold(fault);
        let still = self.pulse.values_since(Output::of(fault.target), Instant::now());
        open.abort()?;
        Ok(still)
    }

    fn groups(&self, service: Service, fault: &Fault) -> anyhow::Result<Vec<(Output, Option<i64>)>> {
        let name = Name::from(service);
        self.stop(name)?;
        let down = Instant::now();
        let bootstrap = self.pipeline.bootstrap();
        // Retried while Kafka is down, or while members are still leaving the group.
        for (group, topics) in groups_of(service) {
            let deadline = Instant::now() + RECOVERY_LIMIT;
            while let Err(error) = change_group(&bootstrap, group, topics, fault.kind) {
                if Instant::now() > deadline {
                    return Err(error.context(format!("{fault}: {group}")));
                }
                std::thread::sleep(Duration::from_millis(300));
            }
        }
        hold(fault);
        let still = self.pulse.values_since(Output::of(name), down);
        self.start(name)?;
        Ok(still)
    }
}

fn change_group(bootstrap: &str, group: &str, topics: &[&str], kind: Kind) -> anyhow::Result<()> {
    if kind == Kind::DeleteGroups {
        return kafka::delete_groups(bootstrap, &[group]);
    }
    topics
        .iter()
        .try_for_each(|topic| kafka::reset_to_earliest(bootstrap, group, topic))
}

fn hold(fault: &Fault) {
    std::thread::sleep(Duration::from_millis(fault.hold_ms));
}

/// The consumer groups of a service and the topics that each reads.
pub fn groups_of(service: Service) -> &'static [(&'static str, &'static [&'static str])] {
    const NORMALIZED: &str = "normalized.market.ticks.v1";
    const ENRICHED: &str = "enriched.market.ticks.v1";
    match service {
        Service::Normalization => &[
            ("normalization-local", &[crate::RAW]),
            ("normalization-local-clickhouse", &[NORMALIZED]),
        ],
        Service::Enrichment => &[
            ("enrichment-local", &[NORMALIZED]),
            ("enrichment-local-clickhouse", &[ENRICHED]),
        ],
        Service::Aggregation => &[
            ("aggregation-local", &[ENRICHED]),
            (
                "aggregation-local-clickhouse",
                &[
                    "aggregation.bars.v1",
                    "aggregation.late.v1",
                    "aggregation.derived.v1",
                    "aggregation.curves.v1",
                ],
            ),
            ("aggregation-local-restate", &["aggregation.late.v1"]),
            ("aggregation-local-derived", &["aggregation.legs.v1"]),
            ("aggregation-local-curves", &["aggregation.legs.v1"]),
        ],
        Service::Projection => &[
            ("projection-local", &[ENRICHED]),
            (
                "projection-local-served",
                &["aggregation.curves.v1", "aggregation.derived.v1"],
            ),
        ],
    }
}
