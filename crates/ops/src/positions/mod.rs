//! Reads the position of every consumer of the pipeline, compares it with the log, and moves it for an operator.
//!
//! Role: [`consumers`] lists the consumers, [`homes`] reads and moves a position in its store, [`survey`] compares, [`members`] says
//! whether a consumer runs, [`owners`] who reads a partition and whether it has stopped there, [`reset`] sets committed offsets. A gap is
//! stored in ClickHouse (`accepted_gaps`) before the position moves, so `dp verify` sees every offset that is passed.
//! Invariants: INV-3: a position moves without a change of its sequencer state. Origins only grow, so ticks after the gap are
//! accepted and ticks before it are rejected. INV-8: a writer's floor moves under its own claim.
//! Failure: the position of a consumer group that still has members is not moved.

pub mod homes;
pub mod members;
pub mod owners;
pub mod reset;
pub mod survey;

use service::writer::TableSpec;
use service::{Names, Settings};
use stores::Projection;

/// Where a consumer's position is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// The committed offset of the group (stateless stages).
    Group,
    /// The rows of the table and its floor.
    Table(&'static str),
    /// PostgreSQL, next to the prices.
    Postgres,
    /// PostgreSQL, next to the rows of this projection.
    Served(Projection),
    /// The state topic.
    StateTopic,
}

impl Home {
    /// The name that is shown to users.
    pub fn name(self) -> String {
        match self {
            Home::Group => "committed offset".to_owned(),
            Home::Table(base) => format!("table {base}"),
            Home::Postgres | Home::Served(_) => "PostgreSQL".to_owned(),
            Home::StateTopic => "state topic".to_owned(),
        }
    }

    /// The server and its address, for messages to users.
    pub fn server(self, settings: &Settings) -> String {
        match self {
            Home::Group | Home::StateTopic => format!("Kafka at {}", settings.kafka_bootstrap),
            Home::Table(_) => format!("ClickHouse at {}", settings.clickhouse.url),
            Home::Postgres | Home::Served(_) => format!("PostgreSQL at {}", settings.postgres_dsn),
        }
    }
}

/// One stage of a service that reads one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    /// Service.
    pub service: &'static str,
    /// Its consumer group.
    pub group: String,
    /// The topic that it reads.
    pub topic: String,
    /// Where its position is stored.
    pub home: Home,
}

/// Every consumer, in the order of the data flow.
pub fn consumers(names: &Names) -> Vec<Consumer> {
    let consumer = |service: &'static str, group: String, topic: &str, home: Home| Consumer {
        service,
        group,
        topic: topic.to_owned(),
        home,
    };
    let stage = |service: &'static str, topic: &str, home: Home| consumer(service, names.group(service), topic, home);
    let writers = |service: &'static str| {
        let writer = move |table: &'static TableSpec| {
            let topic = (table.topic)(names);
            consumer(service, names.writer_group(service), topic, Home::Table(table.name))
        };
        TableSpec::of(service).map(writer)
    };
    let mut all: Vec<Consumer> = names
        .raw
        .iter()
        .map(|raw| stage("normalization", raw, Home::Group))
        .collect();
    all.extend(writers("normalization"));
    all.push(stage("enrichment", &names.normalized, Home::Group));
    all.extend(writers("enrichment"));
    all.push(stage("aggregation", &names.enriched, Home::StateTopic));
    all.extend(writers("aggregation"));
    all.extend([
        consumer(
            "aggregation",
            names.restate_group("aggregation"),
            &names.late,
            Home::Group,
        ),
        consumer(
            "aggregation",
            names.derived_group("aggregation"),
            &names.legs,
            Home::Group,
        ),
        consumer(
            "aggregation",
            names.curves_group("aggregation"),
            &names.legs,
            Home::Group,
        ),
        stage("projection", &names.enriched, Home::Postgres),
    ]);
    let served = [
        (&names.curves, Projection::CurveSnapshot),
        (&names.derived, Projection::DerivedPrice),
    ];
    let group = names.served_group("projection");
    all.extend(
        served.map(|(topic, projection)| consumer("projection", group.clone(), topic, Home::Served(projection))),
    );
    all
}
