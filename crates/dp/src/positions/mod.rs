//! Where every consumer of the pipeline stands, compared with its log; and how an operator moves it.
//!
//! Role: [`consumers`] names them, [`homes`] reads and moves a position where it lives, [`survey`] compares. A gap is
//! stored in ClickHouse (`accepted_gaps`) before the position moves, so that `dp verify` knows of every offset that is passed.
//! Invariants: INV-3: a position moves, the sequencer state beside it stays: origins only grow, so what comes after the gap is
//! accepted and what came before it is refused. INV-8: a writer's floor moves under a claim of its own.
//! Failure: a consumer that still has members is not touched.

pub mod homes;
pub mod survey;

use service::Names;

/// Where a consumer's position lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// The group's committed offset (stages without a state).
    Group,
    /// The table, and its floor.
    Table(&'static str),
    /// PostgreSQL, beside the prices.
    Postgres,
    /// The state topic.
    StateTopic,
}

impl Home {
    /// For people.
    pub fn name(self) -> String {
        match self {
            Home::Group => "committed offset".to_owned(),
            Home::Table(base) => format!("table {base}"),
            Home::Postgres => "PostgreSQL".to_owned(),
            Home::StateTopic => "state topic".to_owned(),
        }
    }
}

/// One service reading one topic for one purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    /// Service.
    pub service: &'static str,
    /// Its consumer group.
    pub group: String,
    /// What it reads.
    pub topic: String,
    /// Where its position lives.
    pub home: Home,
}

/// Every consumer, in the order in which data flows.
pub fn consumers(names: &Names) -> Vec<Consumer> {
    let consumer = |service: &'static str, group: String, topic: &str, home: Home| Consumer {
        service,
        group,
        topic: topic.to_owned(),
        home,
    };
    let stage = |service: &'static str, topic: &str, home: Home| consumer(service, names.group(service), topic, home);
    let writer = |service: &'static str, topic: &str, table: &'static str| {
        consumer(service, names.writer_group(service), topic, Home::Table(table))
    };
    let mut all: Vec<Consumer> = names
        .raw
        .iter()
        .map(|raw| stage("normalization", raw, Home::Group))
        .collect();
    all.extend([
        writer("normalization", &names.normalized, "market_ticks"),
        stage("enrichment", &names.normalized, Home::Group),
        writer("enrichment", &names.enriched, "enriched_ticks"),
        stage("aggregation", &names.enriched, Home::StateTopic),
        writer("aggregation", &names.bars, "bars"),
        writer("aggregation", &names.late, "late_ticks"),
        consumer(
            "aggregation",
            names.restate_group("aggregation"),
            &names.late,
            Home::Group,
        ),
        stage("projection", &names.enriched, Home::Postgres),
    ]);
    all
}
