//! Reads and moves a position in each kind of store.

use aggregation::core::records::{StateKey, Subject, WriterId};
use aggregation::core::restore::StateLoader;
use anyhow::{Context as _, bail};
use codec::Wire;
use codec::state::SequencerState;
use delivery::log_mark::LogMark;
use domain::Position;
use service::Names;
use service::clients::{Clients, Dependency, Use};
use service::writer::TableSpec;
use stores::clickhouse::Claimant;
use stores::postgres::{LoadedPosition, PriceBatch, ServedBatch};
use stores::{Applied, ClickHouse, FencedTable, LatestPriceStore, Postgres, Projection, ServedStore};
use stream::Brokers;
use stream::kafka::consumer::Commit;
use stream::kafka::groups::GroupReader;
use stream::kafka::publisher::{Publisher, Record};
use stream::kafka::reader::LogReader;
use stream::{Partition, StreamError};

use super::{Consumer, Home};
use crate::connection::Connection;
use crate::threads::reading;

/// A position as it is stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Next offset.
    pub next_offset: i64,
    /// Id of the topic that it belongs to, if it is stored with the position.
    pub topic_id: Option<String>,
    origin: Origin,
}

#[derive(Debug, Clone)]
enum Origin {
    Group(Option<LogMark>),
    Sink,
    Prices(LoadedPosition),
    Served(LoadedPosition),
    State(WriterId, SequencerState),
}

/// Clients of all stores of positions.
pub struct Homes<'c> {
    connection: &'c Connection,
    clickhouse: ClickHouse,
    prices: LatestPriceStore,
    postgres: Postgres,
    wire: Wire,
}

impl<'c> Homes<'c> {
    /// Connects lazily.
    ///
    /// # Errors
    /// A client rejects its settings.
    pub async fn open(connection: &'c Connection) -> anyhow::Result<Homes<'c>> {
        let uses = [Dependency::ClickHouse, Dependency::Postgres].map(Use::required);
        let clients = Clients::connect(&uses, &connection.settings, &connection.names)
            .map_err(|error| anyhow::anyhow!(error))
            .context("connect to the stores")?;
        let postgres = clients.postgres().map_err(|error| anyhow::anyhow!(error))?;
        Ok(Homes {
            connection,
            clickhouse: clients.clickhouse().map_err(|error| anyhow::anyhow!(error))?,
            prices: LatestPriceStore::new(postgres.clone(), connection.names.generation()),
            postgres,
            wire: connection.wire().await?,
        })
    }

    /// The client of ClickHouse, which stores the gaps.
    pub fn clickhouse(&self) -> &ClickHouse {
        &self.clickhouse
    }

    /// The stored position; `None` if there is none yet.
    ///
    /// # Errors
    /// A server does not answer.
    pub async fn read(&self, consumer: &Consumer, partition: &Partition) -> anyhow::Result<Option<Stored>> {
        let sink = |position: Option<Position>| {
            position.map(|position| Stored {
                next_offset: position.next_offset,
                topic_id: None,
                origin: Origin::Sink,
            })
        };
        let (topic, number) = (&*partition.topic, partition.number);
        match consumer.home {
            Home::Group => self.read_group(consumer, partition).await,
            Home::Table(base) => Ok(sink(self.table(base)?.read_back(topic, number).await?)),
            Home::Postgres => {
                let loaded = self.prices.load_position(topic, number).await?;
                Ok(loaded.map(|loaded| Stored {
                    next_offset: loaded.position.next_offset,
                    topic_id: None,
                    origin: Origin::Prices(loaded),
                }))
            }
            Home::Served(projection) => {
                let loaded = self.served(projection).load_position(topic, number).await?;
                Ok(loaded.map(|loaded| Stored {
                    next_offset: loaded.position.next_offset,
                    topic_id: None,
                    origin: Origin::Served(loaded),
                }))
            }
            Home::StateTopic => self.read_state(number).await,
        }
    }

    /// Moves the position to `to`, unless it has changed since it was read.
    ///
    /// # Errors
    /// A server does not answer, or the position has changed.
    pub async fn advance(
        &self,
        consumer: &Consumer,
        partition: &Partition,
        stored: &Stored,
        to: i64,
    ) -> anyhow::Result<()> {
        let (topic, number) = (partition.topic.to_string(), partition.number);
        match (&stored.origin, consumer.home) {
            (Origin::Group(mark), _) => self.advance_group(consumer, partition, mark.as_ref(), to).await,
            (Origin::State(writer, state), _) => self.advance_state(number, *writer, state, to).await,
            (Origin::Sink, Home::Table(base)) => {
                let table = self.table(base)?;
                let claim = table.claim(&topic, number, Claimant::once()).await?;
                table.drain(&topic, number).await?;
                // An earlier writer may have inserted rows since the position was read. They count.
                let mut floor = table.read_back(&topic, number).await?.unwrap_or_default();
                floor.next_offset = floor.next_offset.max(to);
                Ok(table.save_floor(&claim, &floor).await?)
            }
            (Origin::Sink, _) => bail!("{partition} has no table of rows"),
            (Origin::Served(loaded), Home::Served(projection)) => {
                let batch = ServedBatch {
                    topic: &topic,
                    partition: number,
                    expected: Some(loaded.held()),
                    next_offset: to,
                    rows: &[],
                };
                checked(self.served(projection).apply(&batch).await?, partition)
            }
            (Origin::Served(_), _) => bail!("{partition} has no rows that are served"),
            (Origin::Prices(loaded), _) => {
                let moved = Position {
                    next_offset: to,
                    sequencer: loaded.position.sequencer.clone(),
                };
                let batch = PriceBatch {
                    topic: &topic,
                    partition: number,
                    expected: Some(loaded.held()),
                    position: Some(&moved),
                    prices: &[],
                };
                checked(self.prices.apply(&batch).await?, partition)
            }
        }
    }

    fn served(&self, projection: Projection) -> ServedStore {
        ServedStore::new(self.postgres.clone(), projection, self.connection.names.generation())
    }

    fn table(&self, base: &str) -> anyhow::Result<FencedTable> {
        fenced_table(&self.clickhouse, &self.connection.names, base).with_context(|| format!("no writer fills {base}"))
    }

    async fn read_group(&self, consumer: &Consumer, partition: &Partition) -> anyhow::Result<Option<Stored>> {
        let (group, partition) = (consumer.group.clone(), partition.clone());
        let bootstrap = self.bootstrap();
        let found = reading(move || GroupReader::new(&bootstrap, &group)?.committed(&[partition])).await?;
        Ok(found.into_iter().next().and_then(|committed| {
            Some(Stored {
                next_offset: committed.next_offset?,
                topic_id: committed.mark.as_ref().map(|mark| mark.topic_id.clone()),
                origin: Origin::Group(committed.mark),
            })
        }))
    }

    async fn advance_group(
        &self,
        consumer: &Consumer,
        partition: &Partition,
        mark: Option<&LogMark>,
        to: i64,
    ) -> anyhow::Result<()> {
        let (group, bootstrap) = (consumer.group.clone(), self.bootstrap());
        let commit = Commit {
            partition: partition.clone(),
            next_offset: to,
            metadata: mark.map(LogMark::to_metadata).unwrap_or_default(),
        };
        reading(move || GroupReader::new(&bootstrap, &group)?.commit(&commit)).await
    }

    fn state_partition(&self, number: i32) -> Partition {
        Partition {
            topic: self.connection.names.state.as_str().into(),
            number,
        }
    }

    async fn read_state(&self, number: i32) -> anyhow::Result<Option<Stored>> {
        let (saved, bootstrap) = (self.state_partition(number), self.bootstrap());
        let loader = reading(move || {
            let reader = LogReader::new(&bootstrap)?;
            let (oldest, next) = reader.log_range(&saved)?;
            let (mut loader, mut refusal) = (StateLoader::default(), None);
            reader.read(&saved, oldest, next, |message| {
                refusal = loader.record(message.key.unwrap_or_default(), message.payload).err();
                refusal.is_none()
            })?;
            match refusal {
                Some(error) => Err(StreamError::fatal("state_unreadable", format!("{saved}: {error}"))),
                None => Ok(loader),
            }
        })
        .await?;
        let chosen = loader.chosen(&self.wire).context("read the saved state")?;
        Ok(chosen.map(|(writer, state)| Stored {
            next_offset: state.position,
            topic_id: Some(state.topic_id.clone()),
            origin: Origin::State(writer, state),
        }))
    }

    // Uses the key of the writer whose state is in force, so that a restore takes the new position with that writer's windows.
    async fn advance_state(
        &self,
        number: i32,
        writer: WriterId,
        state: &SequencerState,
        to: i64,
    ) -> anyhow::Result<()> {
        let key = StateKey {
            writer,
            subject: Subject::Sequencer,
        };
        let moved = SequencerState {
            position: to,
            ..state.clone()
        };
        let (key, mut value) = (key.to_string(), Vec::new());
        self.wire.encode_sequencer(&moved, &mut value);
        let (topic, bootstrap) = (self.connection.names.state.clone(), self.bootstrap());
        reading(move || {
            let mut publisher = Publisher::new(&bootstrap, "dp-position")?;
            publisher.publish(&Record {
                topic: &topic,
                partition: Some(number),
                key: Some(key.as_bytes()),
                payload: Some(&value),
                ..Record::default()
            })?;
            publisher.finish().map(|_| ())
        })
        .await
    }

    fn bootstrap(&self) -> Brokers {
        self.connection.settings.kafka_bootstrap.clone()
    }
}

fn checked(applied: Applied, partition: &Partition) -> anyhow::Result<()> {
    match applied {
        Applied::Yes => Ok(()),
        Applied::Conflict => bail!("the position of {partition} has changed since it was read: run the command again"),
    }
}

/// The table that a writer fills, by its name without the suffix of a generation.
pub fn fenced_table(clickhouse: &ClickHouse, names: &Names, base: &str) -> Option<FencedTable> {
    let layout = TableSpec::named(base)?.layout;
    Some(FencedTable::new(clickhouse.clone(), layout, &names.table_suffix()))
}
