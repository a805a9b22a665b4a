//! What causes each fault of `docs/faults.md`: a process that is killed, a producer that is wrong.

use std::time::Duration;

use localstack::{Name, Server, Service};

use super::feed::{Feed, Message};
use super::lock::Lock;
use crate::Pipeline;

/// Bad messages per second.
const BAD_RATE: u32 = 50;
/// The latest prices.
const TABLE: &str = "served_latest_prices";
/// How long a sign may take. Alerts look back over minutes.
pub(super) const PATIENCE: Duration = Duration::from_secs(180);

/// The cause of one fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// `kill -9` of a process.
    Killed(Name),
    /// A producer that sends these messages, until it is corrected.
    Producer(Message),
    /// A session that locks this table of PostgreSQL and forgets it.
    Lock(&'static str),
}

/// What causes the fault as long as it lives.
pub(super) enum Source {
    /// To be corrected before the cure.
    Producer(Feed),
    /// Ended by the cure.
    Lock(#[expect(dead_code, reason = "it works until it is dropped")] Lock),
}

impl Cause {
    /// The sections of the page, each with its cause.
    pub const ALL: [(&'static str, Cause); 9] = [
        (
            "A service is down",
            Cause::Killed(Name::Service(Service::Normalization, 1)),
        ),
        ("Kafka is down", Cause::Killed(Name::Server(Server::Kafka))),
        ("ClickHouse is down", Cause::Killed(Name::Server(Server::ClickHouse))),
        ("PostgreSQL is down", Cause::Killed(Name::Server(Server::Postgres))),
        ("Redis is down", Cause::Killed(Name::Server(Server::Redis))),
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
    ];

    /// Causes it. Answers what keeps it up, if it needs that.
    pub(super) fn begin(self, pipeline: &Pipeline, seed: u64) -> anyhow::Result<Option<Source>> {
        match self {
            Cause::Killed(name) => pipeline.stack().kill9(name).map(|()| None).map_err(Into::into),
            Cause::Producer(message) => {
                let name = format!("wrong-{seed}");
                let feed = Feed::start(&pipeline.bootstrap(), message, BAD_RATE, &name)?;
                Ok(Some(Source::Producer(feed)))
            }
            Cause::Lock(table) => Ok(Some(Source::Lock(Lock::take(pipeline, table)?))),
        }
    }
}
