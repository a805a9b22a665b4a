//! What causes each fault of `docs/faults.md`: a process that is killed, frozen or starved, a producer or an operator that is wrong, a
//! server that is slow or full.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use localstack::{Name, Server, Service};
use testkit::kafka;

use super::Ground;
use super::crowd::Crowd;
use super::feed::{Feed, Message};
use super::lock::Lock;
use super::redis_full;
use super::scratch;
use super::slow_inserts::SlowInserts;
use super::throttle::Throttle;
use crate::{PATIENCE as READY, Pipeline};

/// Bad messages per second.
const BAD_RATE: u32 = 50;
/// More than a process without CPU can handle, and less than one with CPU handles easily.
const FLOOD_RATE: u32 = 3_000;
/// Messages that are there to be read again; fewer would be read again before anybody could look.
const HISTORY: u32 = 20_000;
/// The latest prices.
const TABLE: &str = "served_latest_prices";
const NORMALIZED: &str = "normalized.market.ticks.v1";
/// How long a sign may take. Alerts look back over minutes.
const PATIENCE: Duration = Duration::from_secs(180);
/// The same, if the services report it only after a minute, and the alert looks back over two.
const LONG_PATIENCE: Duration = Duration::from_secs(300);

/// The cause of one fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// `kill -9` of a process.
    Killed(Name),
    /// SIGSTOP of a process.
    Frozen(Name),
    /// A process that gets hardly any CPU while more arrives than usual.
    Starved(Name),
    /// A producer that sends these messages, until it is corrected.
    Producer(Message),
    /// A session that locks this table of PostgreSQL and forgets it.
    Lock(&'static str),
    /// Merges of this table of ClickHouse are stopped, so that the server delays each insert into it.
    SlowInserts(&'static str),
    /// A tool that is not ours sets this group of a service back to the earliest offset of a topic.
    SetBack(Service, &'static str, &'static str),
    /// Redis has reached its limit of memory and refuses writes.
    FullRedis,
    /// A table that nobody needs fills the disk of ClickHouse, which is a small one.
    FullDisk,
    /// A program takes most of the connections of PostgreSQL.
    Crowd,
    /// The certificate of the server through which the services reach ClickHouse expires.
    ExpiredCertificate,
}

/// What causes the fault as long as it lives.
pub(super) enum Source {
    /// To be corrected before the cure.
    Producer(Feed),
    /// Ended by the cure.
    Lock(#[expect(dead_code, reason = "it works until it is dropped")] Lock),
    /// Ended by the cure.
    Crowd(#[expect(dead_code, reason = "it works until it is dropped")] Crowd),
    /// Ended by the cure; the flood ends afterwards.
    Starved(Throttle, Feed),
    /// Ended by the cure; the limit that made it quick is removed afterwards.
    SlowInserts(SlowInserts),
}

impl Source {
    /// Corrects what the cure does not: a producer. Called before the cure.
    pub(super) fn correct(self) -> anyhow::Result<Option<Source>> {
        match self {
            Source::Producer(producer) => producer.end().map(|()| None),
            other => Ok(Some(other)),
        }
    }

    /// Removes the rest. Called after the cure.
    pub(super) fn end(self, pipeline: &Pipeline) -> anyhow::Result<()> {
        match self {
            Source::Producer(producer) => producer.end(),
            Source::Lock(_) | Source::Crowd(_) => Ok(()),
            Source::Starved(throttle, flood) => {
                drop(throttle);
                flood.end()
            }
            Source::SlowInserts(slow) => slow.end(pipeline),
        }
    }
}

impl Cause {
    /// The sections of the page, each with its cause.
    pub const ALL: [(&'static str, Cause); 17] = [
        (
            "A service is down",
            Cause::Killed(Name::Service(Service::Normalization, 1)),
        ),
        (
            "A consumer is stalled",
            Cause::Frozen(Name::Service(Service::Enrichment, 1)),
        ),
        (
            "A stage falls behind",
            Cause::Starved(Name::Service(Service::Normalization, 1)),
        ),
        (
            "A group was set back to the earliest offset",
            Cause::SetBack(Service::Enrichment, "enrichment-local", NORMALIZED),
        ),
        ("Kafka is down", Cause::Killed(Name::Server(Server::Kafka))),
        ("ClickHouse is down", Cause::Killed(Name::Server(Server::ClickHouse))),
        ("ClickHouse is slow", Cause::SlowInserts("market_ticks")),
        ("The disk of ClickHouse is nearly full", Cause::FullDisk),
        ("PostgreSQL is down", Cause::Killed(Name::Server(Server::Postgres))),
        ("Redis is down", Cause::Killed(Name::Server(Server::Redis))),
        ("Latest prices are behind, because Redis is full", Cause::FullRedis),
        (
            "A flood of messages that nothing can read",
            Cause::Producer(Message::Garbage),
        ),
        (
            "A producer sends a schema that is not known yet",
            Cause::Producer(Message::NextVersion),
        ),
        ("A producer's clock is wrong", Cause::Producer(Message::FastClock)),
        ("A lock in PostgreSQL holds up the writes", Cause::Lock(TABLE)),
        ("The connections of PostgreSQL are nearly used up", Cause::Crowd),
        ("A certificate has expired", Cause::ExpiredCertificate),
    ];

    /// Whether it needs a stack of its own: other faults are caused without TLS, as a local stack runs.
    pub fn needs_tls(self) -> bool {
        self == Cause::ExpiredCertificate
    }

    /// How long a sign may take.
    pub(super) fn patience(self) -> Duration {
        match self {
            Cause::Frozen(_) | Cause::Starved(_) | Cause::SlowInserts(_) => LONG_PATIENCE,
            _ => PATIENCE,
        }
    }

    /// Causes it. Answers what keeps it up, if it needs that.
    pub(super) fn begin(self, ground: &Ground, seed: u64) -> anyhow::Result<Option<Source>> {
        let pipeline = &ground.pipeline;
        let stack = pipeline.stack();
        let feed = |message, rate| Feed::start(&pipeline.bootstrap(), message, rate, &format!("wrong-{seed}"));
        match self {
            Cause::Killed(name) => stack.kill9(name).map(|()| None).map_err(Into::into),
            Cause::Frozen(name) => stack.pause(name).map(|()| None).map_err(Into::into),
            Cause::Starved(name) => {
                let throttle = Throttle::start(stack, name)?;
                Ok(Some(Source::Starved(throttle, feed(Message::Good, FLOOD_RATE)?)))
            }
            Cause::Producer(message) => Ok(Some(Source::Producer(feed(message, BAD_RATE)?))),
            Cause::Lock(table) => Ok(Some(Source::Lock(Lock::take(pipeline, table)?))),
            Cause::SlowInserts(table) => Ok(Some(Source::SlowInserts(SlowInserts::begin(pipeline, table)?))),
            Cause::SetBack(service, group, topic) => set_back(pipeline, service, group, topic, seed).map(|()| None),
            Cause::FullRedis => redis_full::fill(stack).map(|()| None),
            Cause::FullDisk => scratch::fill(pipeline).map(|()| None),
            Cause::Crowd => Ok(Some(Source::Crowd(Crowd::gather(pipeline)?))),
            Cause::ExpiredCertificate => {
                let certificates = ground.certificates.as_ref();
                certificates
                    .context("this stack runs without TLS")?
                    .expire()
                    .map(|()| None)
            }
        }
    }
}

/// Stops the service, sets its group back, and starts it again.
fn set_back(pipeline: &Pipeline, service: Service, group: &str, topic: &str, seed: u64) -> anyhow::Result<()> {
    // Other faults of this run have other seeds, and the first load has 1.
    pipeline.publish_once(HISTORY, 1_000 + u32::try_from(seed)?)?;
    let stack = pipeline.stack();
    stack.stop(service)?;
    // Kafka refuses while the member is still leaving.
    let deadline = Instant::now() + READY;
    while let Err(error) = kafka::reset_to_earliest(&pipeline.bootstrap(), group, topic) {
        if Instant::now() > deadline {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    stack.start(service)?;
    stack.wait_ready(service, READY)?;
    Ok(())
}
