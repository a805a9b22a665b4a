//! Long outages under load: each server down for minutes, PostgreSQL and Redis down together, a slow ClickHouse, a full disk.
//!
//! Invariants: outputs that do not need the server continue, memory is bounded, the lag is gone within a minute after the
//! outage, nothing is lost or doubled, and instruments with reference data keep it.
//! Failure: a violated invariant is a finding of its outage; the other outages still run.

mod disk;
mod kind;
mod reference;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use localstack::{Name, Server, Service, Temporary};
use serde::Serialize;
use testkit::kafka;
use testkit::load::{Load, LoadPlan};
use testkit::proxy::Proxy;

use crate::fault_run::check::Judge;
use crate::fault_run::groups_of;
use crate::fault_run::pulse::{Output, Pulse};
use crate::{PATIENCE, Pipeline, RAW, SERVICES, root};
pub use disk::{Mounted, SmallDisk};
pub use kind::Outage;

/// Within this time after the outage, every consumer must have caught up.
pub const LAG_LIMIT: Duration = Duration::from_secs(60);
/// Resident memory that no service may exceed, in MB.
pub const MEMORY_LIMIT_MB: u64 = 300;
/// A lag below this many seconds of load does not count.
const LAG_SECONDS: i64 = 5;
const SLOW: Duration = Duration::from_secs(2);

/// The result of one outage.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct OutageResult {
    pub outage: String,
    pub seconds: f64,
    /// The outputs that had to continue, with the longest time in seconds that each stood still.
    pub stood_still_seconds: BTreeMap<String, f64>,
    /// Seconds from the end of the outage until the server was ready.
    pub ready_seconds: f64,
    /// Seconds from the end of the outage until no consumer lagged.
    pub lag_gone_seconds: f64,
    /// Highest resident memory of each service, in MB.
    pub resident_mb: BTreeMap<String, u64>,
    pub ticks: u64,
    /// Ticks during the outage of instruments with reference data; all of them have it.
    pub with_reference: u64,
    pub lost: u64,
    pub doubled: u64,
    pub findings: Vec<String>,
}

impl fmt::Display for OutageResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<23} {:>4.0} s  lag gone after {:>4.1} s  ticks {}  with reference data {}  lost {}  doubled {}  memory {:?}",
            self.outage,
            self.seconds,
            self.lag_gone_seconds,
            self.ticks,
            self.with_reference,
            self.lost,
            self.doubled,
            self.resident_mb
        )?;
        write!(
            f,
            "\n    longest standstill of outputs that must continue, in s: {:?}",
            self.stood_still_seconds
        )?;
        for finding in &self.findings {
            write!(f, "\n    FOUND {finding}")?;
        }
        Ok(())
    }
}

/// Runs a series of outages.
pub struct Outages<'a> {
    pipeline: &'a Pipeline,
    proxy: &'a Proxy,
    /// The file system of ClickHouse's files, if it is a separate one.
    disk: Option<&'a SmallDisk>,
    rate: u32,
}

impl<'a> Outages<'a> {
    /// `proxy` must be between the services and ClickHouse.
    pub fn new(pipeline: &'a Pipeline, proxy: &'a Proxy, disk: Option<&'a SmallDisk>, rate: u32) -> Outages<'a> {
        Outages {
            pipeline,
            proxy,
            disk,
            rate,
        }
    }

    /// Runs these outages one after the other, `length` each, and calls `report` with each result.
    ///
    /// # Errors
    /// If a server does not come back or cannot be queried.
    pub fn run(
        &self,
        outages: &[Outage],
        length: Duration,
        seed: u64,
        mut report: impl FnMut(&OutageResult),
    ) -> anyhow::Result<Vec<OutageResult>> {
        let plan = LoadPlan {
            topic: RAW.to_owned(),
            seed,
            session: 1,
            rate: self.rate,
            extras: false,
        };
        reference::insert(self.pipeline)?;
        let load = Load::start(&self.pipeline.bootstrap(), plan)?;
        let mut judge = Judge::new(u64::MAX)?;
        let mut all = Vec::new();
        for outage in outages {
            load.resume();
            let result = self.run_one(*outage, length, &load, &mut judge)?;
            report(&result);
            all.push(result);
        }
        Ok(all)
    }

    fn run_one(
        &self,
        outage: Outage,
        length: Duration,
        load: &Load,
        judge: &mut Judge,
    ) -> anyhow::Result<OutageResult> {
        let pulse = Pulse::default();
        let (mut result, during) = std::thread::scope(|scope| {
            scope.spawn(|| pulse.watch(self.pipeline));
            let result = self.under_load(outage, length, &pulse);
            pulse.end();
            result
        })?;
        let ledger = load.pause()?;
        let check = judge.check(self.pipeline, 0, Some(ledger.ticks))?;
        (result.ticks, result.lost, result.doubled) = (check.ticks, check.lost, check.doubled);
        result.findings.extend(check.findings);
        // While Kafka is down, no tick arrives.
        let arrives = outage != Outage::Down(Server::Kafka);
        let classified = reference::classified(self.pipeline, &during, arrives)?;
        result.with_reference = classified.with_row;
        result.findings.extend(classified.findings);
        let services = pulse.peaks().resident_mb;
        result.resident_mb = SERVICES
            .iter()
            .filter_map(|service| Some((service.name().to_owned(), *services.get(service.name())?)))
            .collect();
        for (name, megabytes) in result.resident_mb.iter().filter(|(_, mb)| **mb > MEMORY_LIMIT_MB) {
            let finding = format!("{name} used {megabytes} MB of memory, the limit is {MEMORY_LIMIT_MB} MB");
            result.findings.push(finding);
        }
        Ok(result)
    }

    /// The result so far, and when the outage was, in microseconds of the clock.
    fn under_load(
        &self,
        outage: Outage,
        length: Duration,
        pulse: &Pulse,
    ) -> anyhow::Result<(OutageResult, Range<i64>)> {
        let going = Instant::now();
        let moves = Output::of(Name::from(Service::Normalization));
        pulse.wait_until_it_moves(&pulse.values_since(moves, going))?;
        let was = self.pids();
        self.begin(outage)?;
        let begun = Instant::now();
        let first = jiff::Timestamp::now().as_microsecond();
        let (still, tables_stood) = self.watch(outage, begun, length, pulse)?;
        let seconds = begun.elapsed().as_secs_f64();
        let during = first..jiff::Timestamp::now().as_microsecond();
        let back = Instant::now();
        self.end(outage)?;
        let ready_seconds = back.elapsed().as_secs_f64();
        let lag_gone_seconds = self.await_no_lag(back)?.as_secs_f64();
        let mut findings: Vec<String> = still
            .iter()
            .filter(|(_, longest)| **longest > standstill_limit(length).as_secs_f64())
            .map(|(output, longest)| format!("{output} stood still for {longest:.0} s"))
            .collect();
        if outage == Outage::FullDisk && tables_stood < length.as_secs_f64() / 2.0 {
            findings.push("rows were still written, so the disk was not full".to_owned());
        }
        if lag_gone_seconds > LAG_LIMIT.as_secs_f64() {
            findings.push(format!(
                "the lag was gone only after {lag_gone_seconds:.0} s, the limit is {} s",
                LAG_LIMIT.as_secs()
            ));
        }
        if was != self.pids() {
            findings.push(format!(
                "services ended or restarted: pids {was:?} before, {:?} after",
                self.pids()
            ));
        }
        let result = OutageResult {
            outage: outage.to_string(),
            seconds,
            stood_still_seconds: still,
            ready_seconds,
            lag_gone_seconds,
            resident_mb: BTreeMap::new(),
            ticks: 0,
            with_reference: 0,
            lost: 0,
            doubled: 0,
            findings,
        };
        Ok((result, during))
    }

    fn pids(&self) -> Vec<(Service, Option<i32>)> {
        let stack = self.pipeline.stack();
        SERVICES.map(|service| (service, stack.pid(service))).to_vec()
    }

    fn begin(&self, outage: Outage) -> anyhow::Result<()> {
        match outage {
            Outage::Down(server) => self.pipeline.stack().kill9(server)?,
            Outage::ReferenceDown => {
                for server in Outage::REFERENCE {
                    self.pipeline.stack().kill9(server)?;
                }
            }
            Outage::SlowClickHouse => self.proxy.delay(SLOW),
            Outage::FullDisk => self.disk.context("no small disk was given")?.fill()?,
        }
        Ok(())
    }

    fn end(&self, outage: Outage) -> anyhow::Result<()> {
        let stack = self.pipeline.stack();
        match outage {
            Outage::Down(server) => {
                stack.start(server)?;
                stack.wait_ready(server, PATIENCE)?;
            }
            Outage::ReferenceDown => {
                for server in Outage::REFERENCE {
                    stack.start(server)?;
                }
                for server in Outage::REFERENCE {
                    stack.wait_ready(server, PATIENCE)?;
                }
            }
            Outage::SlowClickHouse => self.proxy.delay(Duration::ZERO),
            Outage::FullDisk => self.disk.context("no small disk was given")?.empty()?,
        }
        Ok(())
    }

    /// Observes the outage for its length; returns the longest standstill of each output that must continue, and that of
    /// the tables.
    fn watch(
        &self,
        outage: Outage,
        begun: Instant,
        length: Duration,
        pulse: &Pulse,
    ) -> anyhow::Result<(BTreeMap<String, f64>, f64)> {
        let table = Output::Table("market_ticks");
        let (mut rows, mut written, mut longest_written) = (pulse.latest(table), Instant::now(), 0.0_f64);
        let mut last: BTreeMap<Output, (i64, Instant)> = BTreeMap::new();
        let mut longest: BTreeMap<String, f64> = BTreeMap::new();
        while begun.elapsed() < length {
            if let (Outage::FullDisk, Some(disk)) = (outage, self.disk) {
                // ClickHouse removes replaced parts some time after a merge, which frees space again.
                disk.fill()?;
            }
            for output in outage.must_continue() {
                let value = pulse.latest(*output).unwrap_or(i64::MIN);
                let (known, since) = last.entry(*output).or_insert((value, Instant::now()));
                if value != *known {
                    (*known, *since) = (value, Instant::now());
                }
                let stood = longest.entry(output.to_string()).or_default();
                *stood = stood.max(since.elapsed().as_secs_f64());
            }
            if pulse.latest(table) != rows {
                (rows, written) = (pulse.latest(table), Instant::now());
            }
            longest_written = longest_written.max(written.elapsed().as_secs_f64());
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok((longest, longest_written))
    }

    fn await_no_lag(&self, since: Instant) -> anyhow::Result<Duration> {
        let limit = i64::from(self.rate) * LAG_SECONDS;
        loop {
            let lag = self.lag();
            if lag.as_ref().is_ok_and(|(lag, ..)| *lag <= limit) {
                return Ok(since.elapsed());
            }
            if since.elapsed() > 5 * LAG_LIMIT {
                bail!("consumers still lag after {} s: {lag:?}", since.elapsed().as_secs());
            }
            std::thread::sleep(Duration::from_millis(250));
        }
    }

    /// The largest lag of a group on a topic, and which. A group without a position lags by the whole log.
    fn lag(&self) -> anyhow::Result<(i64, &'static str, &'static str)> {
        let mut largest = (0, "", "");
        for (group, topics) in SERVICES.into_iter().flat_map(groups_of) {
            for topic in *topics {
                let partitions = kafka::committed(&self.pipeline.bootstrap(), group, topic)?;
                let lag: i64 = partitions
                    .iter()
                    .map(|(_, committed, end)| end - committed.unwrap_or(0))
                    .sum();
                largest = largest.max((lag, group, topic));
            }
        }
        Ok(largest)
    }
}

/// An output may stand still until clients detect the outage. The limit is far below the length of the outage.
fn standstill_limit(length: Duration) -> Duration {
    Duration::from_secs(30).min(length * 2 / 3).max(Duration::from_secs(15))
}

/// Size of the small disk, with enough space for the data before it is filled.
const DISK_MB: u32 = 2_000;

/// Starts everything on its own stack, with the proxy and the small disk, and runs all outages. Calls `report` with each
/// result. Without the right to mount, the full disk is skipped with a message.
///
/// # Errors
/// As [`Outages::run`].
pub fn on_own_stack(
    outages: &[Outage],
    length: Duration,
    seed: u64,
    rate: u32,
    report: impl FnMut(&OutageResult),
) -> anyhow::Result<Vec<OutageResult>> {
    let mut stack = Temporary::new()?;
    let proxy = Proxy::start(&format!("127.0.0.1:{}", stack.config().ports.clickhouse_http))?;
    let url = format!("http://127.0.0.1:{}", proxy.port());
    let service_env = &mut stack.config_mut().service_env;
    service_env.insert("DATA_PROC_CLICKHOUSE_URL".to_owned(), url);
    service_env.extend([crate::prompt_rows()]);
    let mut outages = outages.to_vec();
    let disk = match outages.contains(&Outage::FullDisk) {
        true => SmallDisk::mount(&stack.config().dir.join("clickhouse/data"), DISK_MB)?.or_skipped(),
        false => None,
    };
    if disk.is_none() {
        outages.retain(|outage| *outage != Outage::FullDisk);
    }
    let pipeline = Pipeline::on(stack)?;
    let results = Outages::new(&pipeline, &proxy, disk.as_ref(), rate).run(&outages, length, seed, report);
    let clean = results
        .as_ref()
        .is_ok_and(|results| results.iter().all(|result| result.findings.is_empty()));
    if !clean {
        keep_logs(&pipeline)?;
    }
    // Unmounted before the stack is removed, because it is mounted in its folder. The server keeps it open until it ends.
    drop(disk);
    results
}

fn keep_logs(pipeline: &Pipeline) -> anyhow::Result<()> {
    let kept = root().join("target/test-outages-logs");
    std::fs::create_dir_all(&kept).with_context(|| format!("create {}", kept.display()))?;
    for process in pipeline.stack().status()? {
        let log = kept.join(format!("{}.log", process.name));
        std::fs::copy(&process.log, &log).with_context(|| format!("copy {}", process.log.display()))?;
    }
    eprintln!("logs: {}", kept.display());
    Ok(())
}
