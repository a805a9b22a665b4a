//! The ClickHouse writer of a service: connects its tables to `stream`.
//!
//! Role: [`tables`] lists the tables, with what `dp` knows of each; [`Rows`] encodes messages of a topic as rows of its table;
//! [`TableAdapter`] gives `stream::table_writer` the table and its fence. `stream` decides, `stores` talks to ClickHouse, and neither
//! depends on the other.
//! Invariants: INV-6 and INV-8 rest on the order claim → drain → read back in [`TableAdapter::take_over`].
//! Failure: an insert with an uncertain outcome is reported as unknown, never guessed.

mod adapter;
mod rows;
pub mod tables;
mod versioned;

use std::sync::Arc;
use std::time::Duration;

use delivery::table_writer::group::BatchLimits;
use domain::Micros;
use stores::clickhouse::Block;
use stream::Pace;
use stream::table_writer::TableSink;
use stream::table_writer::handler::{STAGE, TableRoute, TableWriter};

use crate::context::{Context, Member};
use crate::life::StartError;

pub use adapter::TableAdapter;
pub use rows::Rows;
pub use tables::{TABLES, TableSpec};
pub use versioned::{Since, Uses, VersionKey, Versioned};

/// Bytes that make an insert due, with any number of rows: bounds the memory of a writer.
const BATCH_BYTES: usize = 8 << 20;
/// Rows wait for an insert anyway, so a fetch may wait this long.
const FETCH_WAIT: Duration = Duration::from_secs(1);

fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}

impl<S> Context<S> {
    /// Runs the service's ClickHouse writer in its own group: it fills every table of the service in [`TABLES`].
    ///
    /// # Errors
    /// If the service does not use ClickHouse.
    pub fn writer(&mut self) -> Result<(), StartError> {
        let sink = |table: &'static TableSpec| {
            let sink = TableAdapter::new(&self.clients, table, &self.names)?;
            Ok(((table.topic)(&self.names).clone(), Arc::new(sink), table))
        };
        let sinks: Vec<(String, Arc<TableAdapter>, &'static TableSpec)> = TableSpec::of(self.service)
            .map(sink)
            .collect::<Result<_, StartError>>()?;
        let (rows, flush_interval) = (self.settings.max_batch_size, self.settings.flush_interval);
        let limits = move |table: &TableSpec| BatchLimits {
            rows,
            bytes: BATCH_BYTES,
            freshness: micros(flush_interval.unwrap_or(table.freshness)),
        };
        let feeds = self.names.raw.clone();
        let member = Member {
            name: "clickhouse-writer".to_owned(),
            group: self.names.writer_group(self.service),
            topics: sinks.iter().map(|(topic, ..)| topic.clone()).collect(),
            pace: Pace::Within(FETCH_WAIT),
            critical: false,
            recorder: self.traces.recorder(STAGE),
        };
        self.dead_letter_codes(STAGE, rows::DEAD_LETTER_CODES);
        let (wire, runtime) = (self.wire.clone(), self.runtime.clone());
        self.worker(member, move || {
            let route = |(topic, sink, table): &(String, Arc<TableAdapter>, &'static TableSpec)| TableRoute {
                topic: topic.clone(),
                sink: Arc::clone(sink) as Arc<dyn TableSink<Block>>,
                encoder: Box::new(Rows::new(table, wire.clone())),
                limits: limits(table),
            };
            let routes = sinks.iter().map(route).collect();
            Ok(Box::new(TableWriter::new(feeds.clone(), routes, runtime.clone())))
        });
        Ok(())
    }
}
