//! Names of the processes of a stack: four servers, four services, and replicas of services.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A server that the services depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Server {
    Kafka,
    ClickHouse,
    Postgres,
    Redis,
}

impl Server {
    /// All servers, in start order.
    pub const ALL: [Server; 4] = [Server::Kafka, Server::ClickHouse, Server::Postgres, Server::Redis];

    /// `kafka`, `clickhouse`, `postgres`, `redis`.
    pub fn name(self) -> &'static str {
        match self {
            Server::Kafka => "kafka",
            Server::ClickHouse => "clickhouse",
            Server::Postgres => "postgres",
            Server::Redis => "redis",
        }
    }
}

/// One of our services; its name is also the name of its binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Service {
    Normalization,
    Enrichment,
    Aggregation,
    Projection,
}

impl Service {
    /// All services, in the order of the pipeline.
    pub const ALL: [Service; 4] = [
        Service::Normalization,
        Service::Enrichment,
        Service::Aggregation,
        Service::Projection,
    ];

    /// `normalization`, `enrichment`, `aggregation`, `projection`.
    pub fn name(self) -> &'static str {
        match self {
            Service::Normalization => "normalization",
            Service::Enrichment => "enrichment",
            Service::Aggregation => "aggregation",
            Service::Projection => "projection",
        }
    }
}

/// The name of one process: `kafka`, `normalization`, or `normalization-2` for a second replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Name {
    /// A server.
    Server(Server),
    /// A service and its replica number, from 1.
    Service(Service, u16),
}

impl Name {
    /// All processes of a stack with one replica per service, in start order.
    pub fn all() -> impl Iterator<Item = Name> {
        Server::ALL
            .into_iter()
            .map(Name::from)
            .chain(Service::ALL.into_iter().map(Name::from))
    }

    /// The replica of a service with this number, from 1.
    pub fn replica(service: Service, number: u16) -> Name {
        Name::Service(service, number.max(1))
    }
}

impl From<Server> for Name {
    fn from(server: Server) -> Name {
        Name::Server(server)
    }
}

impl From<Service> for Name {
    fn from(service: Service) -> Name {
        Name::Service(service, 1)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Server(server) => f.pad(server.name()),
            Name::Service(service, 1) => f.pad(service.name()),
            Name::Service(service, number) => f.pad(&format!("{}-{number}", service.name())),
        }
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.to_string()
    }
}

/// A text that is not a process of a stack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown process {0:?}: use kafka, clickhouse, postgres, redis, normalization, enrichment, aggregation, projection, \
     or a replica such as normalization-2"
)]
pub struct UnknownName(String);

impl FromStr for Name {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Name, UnknownName> {
        let unknown = || UnknownName(text.to_owned());
        if let Some(server) = Server::ALL.into_iter().find(|server| server.name() == text) {
            return Ok(Name::Server(server));
        }
        let (base, number) = match text.split_once('-') {
            // Each process has one spelling: `normalization`, never `normalization-1` or `normalization-02`.
            Some((base, digits)) => match digits.parse::<u16>() {
                Ok(number) if number >= 2 && number.to_string() == digits => (base, number),
                _ => return Err(unknown()),
            },
            None => (text, 1),
        };
        Service::ALL
            .into_iter()
            .find(|service| service.name() == base)
            .map(|service| Name::Service(service, number))
            .ok_or_else(unknown)
    }
}

impl TryFrom<String> for Name {
    type Error = UnknownName;

    fn try_from(text: String) -> Result<Name, UnknownName> {
        text.parse()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_parsed_from_its_text() {
        for name in Name::all().chain([
            Name::replica(Service::Aggregation, 2),
            Name::replica(Service::Projection, 17),
        ]) {
            assert_eq!(name.to_string().parse::<Name>().unwrap(), name);
        }
    }

    #[test]
    fn other_spellings_are_rejected() {
        for text in [
            "",
            "kafka-2",
            "normalization-1",
            "normalization-02",
            "normalization-",
            "normalization-2-2",
            "mysql",
            "Kafka",
        ] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }
}
