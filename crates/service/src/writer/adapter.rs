//! `stream::table_writer::TableSink` over `stores::FencedTable`: only translates types and error classes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use delivery::table_writer::{Claiming, InsertError, Rows, SinkError, Takeover};
use domain::{Claim, Classified, ErrorClass, Position};
use futures_util::future::BoxFuture;
use stores::clickhouse::{Block, Claimant};
use stores::{FencedTable, StoreError};
use stream::table_writer::TableSink;

use super::TableSpec;
use crate::clients::Clients;
use crate::names::Names;

/// One table as a sink. Creates the tables of its generation at its first takeover, if they do not exist.
#[derive(Clone)]
pub struct TableAdapter {
    table: FencedTable,
    clients: Clients,
    /// A refusal before the first takeover ends the process, a later one is waited for.
    was_let_in: Arc<AtomicBool>,
}

impl TableAdapter {
    /// The table for the generation of these names, through these clients.
    ///
    /// # Errors
    /// If the service does not use ClickHouse.
    pub fn new(clients: &Clients, table: &TableSpec, names: &Names) -> Result<TableAdapter, crate::StartError> {
        Ok(TableAdapter {
            table: FencedTable::new(clients.clickhouse()?, table.layout, &names.table_suffix()),
            clients: clients.clone(),
            was_let_in: Arc::default(),
        })
    }

    async fn claim(&self, topic: &str, partition: i32, claimant: Claimant) -> Result<Takeover, StoreError> {
        self.clients.migrate_clickhouse().await?;
        self.table.check().await?;
        let (claim, position) = self.table.take_over(topic, partition, claimant).await?;
        Ok(Takeover { claim, position })
    }

    fn sink_error(&self, error: StoreError) -> SinkError {
        match error.class() {
            ErrorClass::Fatal if error.is_refusal() && self.was_let_in.load(Ordering::Relaxed) => {
                SinkError::Refused(error.with_code())
            }
            ErrorClass::Fatal => SinkError::Fatal {
                code: error.code(),
                message: error.to_string(),
            },
            ErrorClass::Transient if error.code() == "fenced" => SinkError::Fenced,
            ErrorClass::Transient | ErrorClass::Poison => SinkError::Transient(error.to_string()),
        }
    }
}

impl TableSink<Block> for TableAdapter {
    fn table(&self) -> &str {
        self.table.table()
    }

    fn check_topics(&self, ids: Vec<(String, String)>) -> BoxFuture<'static, Result<(), SinkError>> {
        let this = self.clone();
        Box::pin(async move {
            let checked = match this.clients.migrate_clickhouse().await {
                Ok(()) => this.table.check_topics(&ids).await,
                Err(error) => Err(error),
            };
            checked.map_err(|error| this.sink_error(error))
        })
    }

    fn take_over(
        &self,
        topic: String,
        partition: i32,
        owner: u64,
        claiming: Claiming,
    ) -> BoxFuture<'static, Result<Takeover, SinkError>> {
        let this = self.clone();
        let claimant = match claiming {
            Claiming::Assigned => Claimant::new(owner),
            Claiming::StillOurs => Claimant::again(owner),
        };
        Box::pin(async move {
            let taken = this.claim(&topic, partition, claimant).await;
            this.was_let_in.fetch_or(taken.is_ok(), Ordering::Relaxed);
            taken.map_err(|error| this.sink_error(error))
        })
    }

    fn insert(&self, parts: Vec<(Claim, Rows<Block>)>) -> BoxFuture<'static, Result<(), InsertError>> {
        let table = self.table.clone();
        let parts = parts.into_iter().map(|(claim, rows)| (claim, rows.block));
        let (claims, blocks): (Vec<Claim>, Vec<Block>) = parts.unzip();
        Box::pin(async move {
            // An unreachable server means nothing about the table: the insert detects it as well.
            match table.check().await {
                Err(error) if error.class() == ErrorClass::Fatal => {
                    return Err(InsertError::Refused(error.with_code()));
                }
                _ => {}
            }
            let inserted = table.insert(&claims, blocks).await;
            inserted.map_err(|error| match error {
                stores::InsertError::Fenced => InsertError::Fenced,
                stores::InsertError::Unknown(error) if error.class() == ErrorClass::Fatal => {
                    InsertError::Refused(error.with_code())
                }
                stores::InsertError::Unknown(error) => InsertError::Unknown(error.to_string()),
            })
        })
    }

    fn save_floor(&self, claim: Claim, floor: Position) -> BoxFuture<'static, Result<(), SinkError>> {
        let this = self.clone();
        Box::pin(async move {
            let saved = this.table.save_floor(&claim, &floor).await;
            saved.map_err(|error| this.sink_error(error))
        })
    }
}
