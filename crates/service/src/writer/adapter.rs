//! `stream::table_writer::TableSink` over `stores::FencedTable`: only translates types and error classes.

use domain::{Claim, Classified, ErrorClass, Position};
use futures_util::future::BoxFuture;
use stores::clickhouse::{Layout, rows};
use stores::{FencedTable, StoreError};
use stream::table_writer::{EncodedBatch, InsertError, SinkError, TableSink, Takeover};

use super::Table;
use crate::clients::Clients;
use crate::names::Names;

/// One table as a sink. Creates the tables of its generation at its first takeover, if they do not exist.
#[derive(Clone)]
pub struct TableAdapter {
    table: FencedTable,
    clients: Clients,
}

impl TableAdapter {
    /// The table for the generation of these names, through these clients.
    ///
    /// # Errors
    /// If the service does not use ClickHouse.
    pub fn new(clients: &Clients, table: Table, names: &Names) -> Result<TableAdapter, crate::StartError> {
        Ok(TableAdapter {
            table: FencedTable::new(clients.clickhouse()?, layout(table), &names.table_suffix()),
            clients: clients.clone(),
        })
    }
}

fn layout(table: Table) -> &'static Layout {
    match table {
        Table::MarketTicks => &rows::tick::LAYOUT,
        Table::EnrichedTicks => &rows::enriched::LAYOUT,
        Table::Bars => &rows::bar::LAYOUT,
        Table::LateTicks => &rows::late::LAYOUT,
    }
}

impl TableSink for TableAdapter {
    fn table(&self) -> &str {
        self.table.table()
    }

    fn check_topics(&self, ids: Vec<(String, String)>) -> BoxFuture<'static, Result<(), SinkError>> {
        let this = self.clone();
        Box::pin(async move {
            this.clients.migrate_clickhouse().await.map_err(sink_error)?;
            this.table.check_topics(&ids).await.map_err(sink_error)
        })
    }

    fn take_over(&self, topic: String, partition: i32) -> BoxFuture<'static, Result<Takeover, SinkError>> {
        let this = self.clone();
        Box::pin(async move {
            this.clients.migrate_clickhouse().await.map_err(sink_error)?;
            this.table.check().await.map_err(sink_error)?;
            let (claim, position) = this.table.take_over(&topic, partition).await.map_err(sink_error)?;
            Ok(Takeover { claim, position })
        })
    }

    fn insert(&self, claim: Claim, batch: EncodedBatch) -> BoxFuture<'static, Result<(), InsertError>> {
        let table = self.table.clone();
        Box::pin(async move {
            // An unreachable server means nothing about the table: the insert detects it as well.
            match table.check().await {
                Err(error) if error.class() == ErrorClass::Fatal => {
                    return Err(InsertError::Refused(error.to_string()));
                }
                _ => {}
            }
            let inserted = table.insert(&claim, batch.rows, batch.bytes.into()).await;
            inserted.map_err(|error| match error {
                stores::InsertError::Fenced => InsertError::Fenced,
                stores::InsertError::Unknown(error) if error.class() == ErrorClass::Fatal => {
                    InsertError::Refused(error.to_string())
                }
                stores::InsertError::Unknown(error) => InsertError::Unknown(error.to_string()),
            })
        })
    }

    fn save_floor(&self, claim: Claim, floor: Position) -> BoxFuture<'static, Result<(), SinkError>> {
        let table = self.table.clone();
        Box::pin(async move { table.save_floor(&claim, &floor).await.map_err(sink_error) })
    }
}

fn sink_error(error: StoreError) -> SinkError {
    match error.class() {
        ErrorClass::Fatal => SinkError::Fatal {
            code: error.code(),
            message: error.to_string(),
        },
        ErrorClass::Transient | ErrorClass::Poison => SinkError::Transient(error.to_string()),
    }
}
