//! Queries every store for the parts of a trace, and assembles it.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail};
use domain::{Interval, Micros, Window};
use normalization::config::Config;
use serde_json::{Map, Value};
use service::Reader;
use service::clients::{Clients, Dependency, Use};
use service::writer::TableSpec;
use stream::status::wall_clock;

use super::bar::{BarTrace, assemble, notes};
use super::follow::Fate;
use super::logs::{self, LetterRow, RawReading, RawRecord, Search};
use super::row::{PriceTrace, RowTrace, TickAndBars, contradictions};
use super::served::{self, Quote};
use super::tables::{Instrument, Tables};
use super::{At, Place, TickRow};
use crate::products::Products;
use crate::raw::Rules;
use ops::connection::Connection;
use ops::rows::{number, text};

/// Largest number of messages that are searched for repetitions of a bar's ticks.
pub(super) const LOOKED_THROUGH: i64 = 300_000;

/// Normalization's settings, and the rules for closing windows.
///
/// # Errors
/// A variable cannot be read.
pub fn own_settings(connection: &Connection) -> anyhow::Result<(Config, Products)> {
    let mut reader = Reader::new(&connection.env);
    let config = normalization::config::read(&mut reader);
    let products = Products::read(&mut reader);
    reader.finish()?;
    Ok((config, products))
}

/// Clients of all servers.
pub struct Session<'a> {
    pub(super) connection: &'a Connection,
    pub(super) clients: Clients,
    pub(super) clickhouse: stores::ClickHouse,
    pub(super) reading: RawReading,
    products: Products,
    pub(super) limit: usize,
}

impl<'a> Session<'a> {
    /// Connects. At most `shown` bytes of a message and `limit` ticks are shown.
    ///
    /// # Errors
    /// A setting cannot be used, or ClickHouse or the schema registry does not answer.
    pub async fn open(connection: &'a Connection, shown: usize, limit: usize) -> anyhow::Result<Session<'a>> {
        let (config, products) = own_settings(connection)?;
        let uses = [Dependency::ClickHouse, Dependency::Postgres, Dependency::Redis].map(Use::required);
        let clients = Clients::connect(&uses, &connection.settings, &connection.names)
            .map_err(|error| anyhow::anyhow!(error))
            .context("connect to the stores")?;
        let clickhouse = clients.clickhouse().map_err(|error| anyhow::anyhow!(error))?;
        // A server that accepts connections and is silent is reported within seconds, before queries with long limits.
        clickhouse.ping().await.with_context(|| {
            let address = &connection.settings.clickhouse.url;
            format!("query ClickHouse at {address}: is it running (`dp status`)?")
        })?;
        Ok(Session {
            clickhouse,
            clients,
            reading: RawReading {
                rules: Rules {
                    bootstrap: connection.settings.kafka_bootstrap.clone(),
                    limits: config.window,
                    config: config.normalizer(&connection.settings.tenant_id, connection.wire().await?),
                },
                dlq: connection.names.dlq.clone(),
                shown,
            },
            connection,
            products,
            limit,
        })
    }

    pub(super) fn tables(&self) -> Tables<'_> {
        Tables {
            clickhouse: &self.clickhouse,
            names: &self.connection.names,
        }
    }

    /// What there is instead, as this query lists it (`tenant_`, `name_`, first time `first_`); `none` if it lists nothing.
    pub(super) async fn instead(&self, sql: &str, tenant: &str, none: &str) -> anyhow::Result<String> {
        let rows = self.clickhouse.query_json(sql).await;
        let mut known = Vec::new();
        for row in rows.context("list what can be explained")? {
            let (of, name) = (text(&row, "tenant_")?, text(&row, "name_")?);
            let of = match of == tenant {
                true => String::new(),
                false => format!(" (--tenant {of})"),
            };
            known.push(format!("{name}{of} since {}", At(number(&row, "first_")?)));
        }
        Ok(match known.is_empty() {
            true => none.to_owned(),
            false => format!("there are {}", known.join(", ")),
        })
    }

    /// Traces the bar whose window contains this time back to its messages.
    ///
    /// # Errors
    /// The bar does not exist, or a server does not answer.
    pub async fn bar(&self, instrument: Instrument<'_>, interval: Interval, time: Micros) -> anyhow::Result<BarTrace> {
        let (tables, window) = (self.tables(), interval.window_of(time));
        let versions = tables.versions(instrument, interval, window).await?;
        let Some(newest) = versions.first().cloned() else {
            return Err(self.no_bar(instrument, window).await?);
        };
        let ticks = tables.ticks_of(instrument, window).await?;
        let clocks = tables.clocks(instrument, window).await?;
        let parts = assemble(&newest, window, ticks, &clocks, &self.products)?;
        let places = parts
            .ticks
            .iter()
            .take(self.limit)
            .map(|tick| tick.tick.raw.clone())
            .collect();
        let mut trace = BarTrace {
            tenant_id: instrument.tenant_id.to_owned(),
            instrument_id: instrument.id.to_owned(),
            interval: interval.name().to_owned(),
            window_start: At(window.start),
            window_end: At(window.end()),
            versions,
            way: parts.way(),
            because: parts.because,
            agrees: parts.numbers.iter().all(|number| number.agrees),
            numbers: parts.numbers,
            raw: self.raw(places, Search::UpTo(LOOKED_THROUGH)).await?,
            ticks: parts.ticks,
            shown: self.limit,
            notes: Vec::new(),
        };
        trace.notes = notes(&trace, newest.revision);
        Ok(trace)
    }

    async fn no_bar(&self, instrument: Instrument<'_>, window: Window) -> anyhow::Result<anyhow::Error> {
        let nearest = self
            .tables()
            .nearest_bars(instrument, window.interval, window.start)
            .await?;
        if nearest.is_empty() {
            return self.unknown(instrument).await;
        }
        let starts: Vec<String> = nearest.iter().map(At::to_string).collect();
        Ok(anyhow::anyhow!(
            "there is no {} bar of {} that starts at {}; the nearest ones start at {}",
            window.interval.name(),
            instrument.id,
            At(window.start),
            starts.join(", ")
        ))
    }

    /// Reads the latest price of an instrument from every store. `api` is the address of projection.
    ///
    /// # Errors
    /// No store has a price, or ClickHouse or Kafka does not answer.
    pub async fn price(&self, instrument: Instrument<'_>, api: &str) -> anyhow::Result<PriceTrace> {
        let (tables, names) = (self.tables(), &self.connection.names);
        let newest = tables.newest_tick(instrument).await?;
        let postgres = self.clients.postgres().map_err(|error| anyhow::anyhow!(error))?;
        let redis = self.clients.redis().map_err(|error| anyhow::anyhow!(error))?;
        let quotes = vec![
            Quote::of("ClickHouse", Ok(newest.as_ref().map(Into::into)), "no tick"),
            Quote::of(
                "Postgres",
                served::postgres(&postgres, names.generation(), instrument).await,
                "no row",
            ),
            Quote::of(
                "Redis",
                served::redis(&redis, instrument).await,
                "no key: keys expire after an hour",
            ),
            Quote::of(
                "HTTP API",
                served::http(&self.connection.settings.trust, api, instrument).await,
                "no price",
            ),
        ];
        let Some(price) = quotes.iter().find_map(|quote| quote.price.clone()) else {
            return match quotes
                .iter()
                .find(|quote| quote.note.as_deref().is_some_and(|note| note.contains("ask ")))
            {
                Some(Quote { note: Some(note), .. }) => bail!("no store returned a price: {note}"),
                _ => Err(self.unknown(instrument).await?),
            };
        };
        let (tick, raw) = match served::place_of(&price.tick_id) {
            None => (None, None),
            Some((place, index)) => {
                let tick = tables.ticks_from(&place, Some(index)).await?.into_iter().next();
                let raw = self.raw(BTreeSet::from([place]), Search::UpTo(LOOKED_THROUGH)).await?;
                (tick, raw.into_iter().next())
            }
        };
        Ok(PriceTrace {
            tenant_id: instrument.tenant_id.to_owned(),
            instrument_id: instrument.id.to_owned(),
            disagreements: served::disagreements(&quotes),
            ahead_of_the_clock: quotes
                .iter()
                .filter_map(|quote| quote.price.as_ref())
                .any(|price| price.event_time > At(wall_clock())),
            quotes,
            tick,
            raw,
        })
    }

    /// Traces a raw message, or one of its ticks, forward to its outputs. With `table`, adds whole rows of that table.
    ///
    /// # Errors
    /// The message has never existed, or a server does not answer.
    pub async fn row(&self, place: &Place, index: Option<i32>, table: Option<&str>) -> anyhow::Result<RowTrace> {
        let spec = |name: &str| TableSpec::named(name).with_context(|| format!("no writer fills table {name}"));
        let table = table.map(spec).transpose()?;
        let ticks = self.tables().ticks_from(place, index).await?;
        let raw = self.one(place).await?;
        let decided = raw.kept.as_ref().and_then(|kept| kept.decided.as_ref());
        let original = match decided.map(|decided| &decided.fate) {
            Some(Fate::Repetition { of_offset: Some(of) }) => {
                let of = Place {
                    offset: *of,
                    ..place.clone()
                };
                Some(self.one(&of).await?)
            }
            _ => None,
        };
        let since = raw.kept.as_ref().map(|kept| kept.appended_at.0);
        let dead_letters = self
            .letters(place, since.or(ticks.first().map(|tick| tick.appended_at.0)))
            .await?;
        let mut notes = match index {
            None => contradictions(&raw, ticks.len(), &dead_letters),
            Some(_) => Vec::new(),
        };
        let agrees = notes.is_empty();
        if let Some(index) = index.filter(|_| ticks.is_empty()) {
            notes.push(format!(
                "no table has a row with index {index} of this message; leave the index out to see all its ticks"
            ));
        }
        if ticks.len() > self.limit {
            notes.push(format!(
                "{} of {} ticks are shown: use --limit to show more",
                self.limit,
                ticks.len()
            ));
        }
        let (ticks, table_rows) = self.with_bars(ticks, table).await?;
        notes.extend(table.and_then(|table| note_on(table, self.limit)));
        Ok(RowTrace {
            raw,
            original,
            ticks,
            dead_letters,
            table_rows,
            agrees,
            notes,
        })
    }

    async fn with_bars(
        &self,
        ticks: Vec<TickRow>,
        table: Option<&TableSpec>,
    ) -> anyhow::Result<(Vec<TickAndBars>, Vec<Map<String, Value>>)> {
        let (tables, mut shown, mut rows) = (self.tables(), Vec::new(), Vec::new());
        for tick in ticks.into_iter().take(self.limit) {
            if let Some(table) = table {
                rows.extend(tables.rows_of(table, &tick, self.limit).await?);
            }
            let bars = tables.bars_of(&tick).await?;
            shown.push(TickAndBars { tick, bars });
        }
        Ok((shown, rows))
    }

    async fn one(&self, place: &Place) -> anyhow::Result<RawRecord> {
        let found = self.raw(BTreeSet::from([place.clone()]), Search::Whole).await?;
        found.into_iter().next().context("Kafka returned no message")
    }

    pub(super) async fn raw(&self, places: BTreeSet<Place>, search: Search) -> anyhow::Result<Vec<RawRecord>> {
        let reading = self.reading.clone();
        let found = tokio::task::spawn_blocking(move || logs::read(&reading, &places, search)).await;
        Ok(found
            .context("the thread that reads the log has ended unexpectedly")??
            .into_values()
            .collect())
    }

    pub(super) async fn letters(&self, place: &Place, since: Option<Micros>) -> anyhow::Result<Vec<LetterRow>> {
        let (bootstrap, dlq) = (self.reading.rules.bootstrap.clone(), self.connection.names.dlq.clone());
        let (of, since) = (BTreeSet::from([place.clone()]), since.unwrap_or(0));
        tokio::task::spawn_blocking(move || logs::letters(&bootstrap, &dlq, &of, since))
            .await
            .context("the thread that reads the log has ended unexpectedly")?
            .context("read the dead letters")
    }

    pub(super) async fn unknown(&self, instrument: Instrument<'_>) -> anyhow::Result<anyhow::Error> {
        let alike = self.tables().alike(instrument).await?;
        let names: Vec<String> = alike
            .iter()
            .map(|(tenant, id)| match tenant == instrument.tenant_id {
                true => id.clone(),
                false => format!("{id} (--tenant {tenant})"),
            })
            .collect();
        let hint = match names.is_empty() {
            true => "no instrument has any ticks yet: publish some with `dp send` or `dp simulate`".to_owned(),
            false => format!("the most similar names are {}", names.join(", ")),
        };
        Ok(anyhow::anyhow!(
            "there is no data for instrument {} of tenant {}: {hint}",
            instrument.id,
            instrument.tenant_id
        ))
    }
}

/// What the rows of a table are that follow from many ticks.
fn note_on(table: &TableSpec, limit: usize) -> Option<String> {
    let uses = table.versions.as_ref()?.uses.as_ref()?;
    Some(format!(
        "the rows are the newest versions of at most {limit} {}",
        uses.note
    ))
}
