//! What causes each fault of `docs/faults.md`: a process that is killed, a producer that is wrong.

use std::time::Duration;

use localstack::{Name, Server, Service};

use super::feed::{Feed, Message};
use crate::Pipeline;

/// Bad messages per second.
const BAD_RATE: u32 = 50;
/// How long a sign may take. Alerts look back over minutes.
pub(super) const PATIENCE: Duration = Duration::from_secs(180);

/// The cause of one fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// `kill -9` of a process.
    Killed(Name),
    /// A producer that sends these messages, until it is corrected.
    Producer(Message),
}

impl Cause {
    /// The sections of the page, each with its cause.
    pub const ALL: [(&'static str, Cause); 6] = [
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
    ];

    /// Causes it. Answers the producer that is to be corrected before the cure.
    pub(super) fn begin(self, pipeline: &Pipeline, seed: u64) -> anyhow::Result<Option<Feed>> {
        match self {
            Cause::Killed(name) => pipeline.stack().kill9(name).map(|()| None).map_err(Into::into),
            Cause::Producer(message) => {
                let name = format!("wrong-{seed}");
                Feed::start(&pipeline.bootstrap(), message, BAD_RATE, &name).map(Some)
            }
        }
    }
}
