//! The ClickHouse writer of a service: connects the four tables to `stream`.
//!
//! Role: [`Rows`] encodes messages of a topic as rows of its table; [`TableAdapter`] gives `stream::table_writer` the table
//! and its fence. `stream` decides, `stores` talks to ClickHouse, and neither depends on the other.
//! Invariants: INV-6 and INV-8 rest on the order claim → drain → read back in [`TableAdapter::take_over`].
//! Failure: an insert with an uncertain outcome is reported as unknown, never guessed.

mod adapter;
mod rows;

use std::sync::Arc;
use std::time::Duration;

use stream::Pace;
use stream::table_writer::TableSink;
use stream::table_writer::handler::{TableRoute, TableWriter, WriterConfig};
use stream::table_writer::lane::BatchLimits;

use crate::context::{Context, Member};
use crate::life::StartError;

pub use adapter::TableAdapter;
pub use rows::Rows;

/// Bytes at which a batch is full, with any number of rows: bounds the memory of a writer.
const BATCH_BYTES: usize = 8 << 20;
/// Rows are visible only after a batch, so a fetch may wait this long.
const FETCH_WAIT: Duration = Duration::from_millis(500);

/// A table that a writer fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Table {
    MarketTicks,
    EnrichedTicks,
    Bars,
    LateTicks,
}

impl Table {
    /// The name without the generation suffix.
    pub fn base_name(self) -> &'static str {
        match self {
            Table::MarketTicks => "market_ticks",
            Table::EnrichedTicks => "enriched_ticks",
            Table::Bars => "bars",
            Table::LateTicks => "late_ticks",
        }
    }
}

impl<S> Context<S> {
    /// Runs one ClickHouse writer in its own group, which writes each topic into its table.
    ///
    /// # Errors
    /// If the service does not use ClickHouse.
    pub fn writer(&mut self, routes: &[(String, Table)]) -> Result<(), StartError> {
        let sink = |(topic, table): &(String, Table)| {
            let sink = TableAdapter::new(&self.clients, *table, &self.names)?;
            Ok((topic.clone(), Arc::new(sink), *table))
        };
        let sinks: Vec<(String, Arc<TableAdapter>, Table)> =
            routes.iter().map(sink).collect::<Result<_, StartError>>()?;
        let config = WriterConfig {
            limits: BatchLimits {
                rows: self.settings.max_batch_size,
                bytes: BATCH_BYTES,
                linger: i64::try_from(self.settings.flush_interval.as_micros()).unwrap_or(i64::MAX),
            },
            feeds: self.names.raw.clone(),
        };
        let member = Member {
            name: "clickhouse-writer".to_owned(),
            group: self.names.writer_group(self.service),
            topics: routes.iter().map(|(topic, _)| topic.clone()).collect(),
            pace: Pace::Within(FETCH_WAIT),
            critical: false,
        };
        self.dead_letter_codes("clickhouse", rows::DEAD_LETTER_CODES);
        let (wire, runtime) = (self.wire.clone(), self.runtime.clone());
        self.worker(member, move || {
            let route = |(topic, sink, table): &(String, Arc<TableAdapter>, Table)| TableRoute {
                topic: topic.clone(),
                sink: Arc::clone(sink) as Arc<dyn TableSink>,
                encoder: Box::new(Rows::new(*table, wire.clone())),
            };
            let routes = sinks.iter().map(route).collect();
            Ok(Box::new(TableWriter::new(config.clone(), routes, runtime.clone())))
        });
        Ok(())
    }
}
