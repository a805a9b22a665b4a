//! The kinds of outages, and the outputs that must continue during each.

use std::fmt;

use localstack::Server;

use crate::fault_run::pulse::{Output, TOPICS};

/// One kind of outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// The server is killed, and restarted at the end.
    Down(Server),
    /// Both stores of reference data are killed, and restarted at the end.
    ReferenceDown,
    /// Each request to ClickHouse takes two additional seconds.
    SlowClickHouse,
    /// The disk of ClickHouse is full.
    FullDisk,
}

impl Outage {
    /// Every outage.
    pub const ALL: [Outage; 7] = [
        Outage::Down(Server::Kafka),
        Outage::Down(Server::ClickHouse),
        Outage::Down(Server::Postgres),
        Outage::Down(Server::Redis),
        Outage::ReferenceDown,
        Outage::SlowClickHouse,
        Outage::FullDisk,
    ];

    /// The stores of reference data.
    pub(super) const REFERENCE: [Server; 2] = [Server::Postgres, Server::Redis];

    /// The outputs that must advance during the outage.
    pub(super) fn must_continue(self) -> &'static [Output] {
        const TABLES: [Output; 2] = [Output::Table("market_ticks"), Output::Table("enriched_ticks")];
        const STREAM: [Output; 3] = [
            Output::Topic(TOPICS[0]),
            Output::Topic(TOPICS[1]),
            Output::Topic(TOPICS[2]),
        ];
        const ALL: [Output; 7] = [
            STREAM[0],
            STREAM[1],
            STREAM[2],
            TABLES[0],
            TABLES[1],
            Output::Positions,
            Output::NewestPrice,
        ];
        match self {
            Outage::Down(Server::Kafka) => &[],
            Outage::Down(Server::ClickHouse) | Outage::FullDisk => {
                &[STREAM[0], STREAM[1], STREAM[2], Output::Positions, Output::NewestPrice]
            }
            Outage::Down(Server::Postgres) => &[
                STREAM[0],
                STREAM[1],
                STREAM[2],
                TABLES[0],
                TABLES[1],
                Output::NewestPrice,
            ],
            Outage::Down(Server::Redis) => &[STREAM[0], STREAM[1], STREAM[2], TABLES[0], TABLES[1], Output::Positions],
            Outage::ReferenceDown => &[STREAM[0], STREAM[1], STREAM[2], TABLES[0], TABLES[1]],
            Outage::SlowClickHouse => &ALL,
        }
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outage::Down(server) => f.pad(&format!("{} down", server.name())),
            Outage::ReferenceDown => f.pad("postgres and redis down"),
            Outage::SlowClickHouse => f.pad("clickhouse slow"),
            Outage::FullDisk => f.pad("clickhouse disk full"),
        }
    }
}
