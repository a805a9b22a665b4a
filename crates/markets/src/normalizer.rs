//! From a raw message to ticks, in two steps: [`Normalizer::parse`] validates the message and computes its event key,
//! [`Parsed::emit`] emits the ticks. Between them the caller checks the event-id window, so a repeated event emits nothing.

use codec::{Wire, framing};
use domain::{EventKey, Kind, Micros, Origin, QualityFlags, RowRanges, Tick};

use crate::check;
use crate::document::Document;
use crate::encoding;
use crate::event::{Event, venue_of};
use crate::identity;
use crate::message::RawMessage;
use crate::miso;
use crate::problems::First;
use crate::quality::{self, LastTicks, QualitySettings};
use crate::rejection::{RejectCode, RejectedRows, Rejection};
use crate::shapes::{self, Reading};
use crate::venue::{Venue, iso_venues};

/// The configuration that affects how messages are read.
#[derive(Debug, Clone)]
pub struct NormalizerConfig {
    /// Reads shape C.
    pub wire: Wire,
    /// Tenant of documents without a tenant header.
    pub default_tenant: String,
    /// Markets that ticks may name.
    pub venues: Vec<Venue>,
    /// Thresholds of the quality rules.
    pub quality: QualitySettings,
    /// Maximum size of a message with one tick.
    pub max_tick_bytes: usize,
    /// Maximum size of a document.
    pub max_document_bytes: usize,
}

impl Default for NormalizerConfig {
    fn default() -> NormalizerConfig {
        NormalizerConfig {
            wire: Wire::single_object(),
            default_tenant: "default".to_owned(),
            venues: iso_venues(),
            quality: QualitySettings::default(),
            max_tick_bytes: 1 << 20,
            max_document_bytes: 50 << 20,
        }
    }
}

/// Reads raw messages. It reuses its buffers, so create one per thread and use it for all messages.
#[derive(Debug)]
pub struct Normalizer {
    pub(crate) config: NormalizerConfig,
    pub(crate) raw_text: String,
    pub(crate) avro: Vec<u8>,
    pub(crate) hashed: Vec<u8>,
    pub(crate) last: LastTicks,
}

/// A valid message.
pub struct Parsed<'s> {
    message: RawMessage<'s>,
    config: &'s NormalizerConfig,
    last: &'s mut LastTicks,
    event_key: EventKey,
    selected: Option<RowRanges>,
    content: Content<'s>,
}

// Nearly every message is of the large variant, so boxing it would cost an allocation per message.
#[allow(clippy::large_enum_variant)]
enum Content<'s> {
    Tick(Event<'s>),
    Document(Box<Opened<'s>>),
}

/// A document and the values that all its ticks share.
struct Opened<'s> {
    document: Document<'s>,
    event_id: String,
    tenant_id: &'s str,
    format: &'s str,
    venue: &'s Venue,
}

/// The result of [`Normalizer::normalize`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// [`Parsed::event_key`].
    pub event_key: EventKey,
    /// Ticks emitted.
    pub ticks: u32,
    /// Rows rejected. Each row is either here or counted in `ticks`.
    pub rejected: RejectedRows,
}

impl Normalizer {
    /// A normalizer that has read no message.
    pub fn new(config: NormalizerConfig) -> Normalizer {
        Normalizer {
            config,
            raw_text: String::new(),
            avro: Vec::new(),
            hashed: Vec::new(),
            last: LastTicks::new(),
        }
    }

    /// Its configuration.
    pub fn config(&self) -> &NormalizerConfig {
        &self.config
    }

    /// Reads the message as far as needed to accept or reject it as a whole.
    ///
    /// # Errors
    /// The [`Rejection`] that sends the whole message to the dead letters.
    pub fn parse<'s>(&'s mut self, message: &RawMessage<'s>) -> Result<Parsed<'s>, Rejection> {
        let Normalizer {
            config,
            raw_text,
            avro,
            hashed,
            last,
        } = self;
        let config: &'s NormalizerConfig = config;
        // A replay of some rows of a document is a different event from the document. A message that was rejected as a
        // whole emitted nothing, so a producer's retry of it and its replay are the same event.
        let (attempt, selected) = match &message.replay {
            Some(replay) => match replay.selected_rows()? {
                Some(rows) => (replay.attempt, Some(rows)),
                None => (0, None),
            },
            None => (0, None),
        };
        // JSON in UTF-16 may begin like an Avro frame.
        let is_avro = framing::is_framed(message.payload) && encoding::foreign(message.payload).is_none();
        let (content, event_key) = match message.format.filter(|_| !is_avro) {
            Some(format) => open_document(message, format, config, attempt, hashed)?,
            None => {
                check_size(message, config.max_tick_bytes)?;
                let reading = Reading { message, config };
                let event = if is_avro {
                    shapes::read_avro(&reading, &config.wire, avro, &mut First)?
                } else {
                    shapes::read_json(&reading, raw_text, &mut First)?
                };
                let key = identity::of_tick(&event, attempt, hashed);
                (Content::Tick(event), key)
            }
        };
        Ok(Parsed {
            message: *message,
            config,
            last,
            event_key,
            selected,
            content,
        })
    }

    /// [`Normalizer::parse`] and [`Parsed::emit`] in one call, for callers that do not use the event-id window.
    ///
    /// # Errors
    /// As [`Normalizer::parse`].
    pub fn normalize(
        &mut self,
        message: &RawMessage<'_>,
        now: Micros,
        emit: &mut dyn FnMut(&Tick<'_>),
    ) -> Result<Outcome, Rejection> {
        let parsed = self.parse(message)?;
        let event_key = parsed.event_key();
        let mut ticks = 0;
        let rejected = parsed.emit(now, QualityFlags::NONE, &mut |tick| {
            ticks += 1;
            emit(tick);
        });
        Ok(Outcome {
            event_key,
            ticks,
            rejected,
        })
    }
}

impl Parsed<'_> {
    /// The key of the message in the event window.
    pub fn event_key(&self) -> EventKey {
        self.event_key
    }

    /// The producer's correlation id, else the event id.
    pub fn correlation_id(&self) -> &str {
        match &self.content {
            Content::Tick(event) => event.correlation_id(),
            Content::Document(opened) => &opened.event_id,
        }
    }

    /// Number of ticks that it contains, including rows that will be rejected.
    pub fn rows(&self) -> usize {
        match (&self.selected, &self.content) {
            (_, Content::Tick(_)) => 1,
            (None, Content::Document(opened)) => opened.document.rows(),
            (Some(rows), Content::Document(opened)) => {
                let all = i32::try_from(opened.document.rows()).unwrap_or(i32::MAX);
                rows.below(all) as usize
            }
        }
    }

    /// Emits the ticks in the order of their index; returns the rejected rows. `now` is the wall clock, recorded in each
    /// tick. `remarks` are flags that the caller has determined, such as a reused event id.
    pub fn emit(self, now: Micros, remarks: QualityFlags, emit: &mut dyn FnMut(&Tick<'_>)) -> RejectedRows {
        let Parsed {
            message,
            config,
            last,
            selected,
            content,
            ..
        } = self;
        match content {
            Content::Tick(event) => {
                let mut tick = event.tick(&message, now);
                tick.quality_flags =
                    quality::flags(&config.quality, event.venue, &tick, event.remarks.union(remarks), last);
                emit(&tick);
                RejectedRows::default()
            }
            Content::Document(opened) => {
                let rows = Rows {
                    message,
                    config,
                    opened: &opened,
                    now,
                };
                rows.emit(selected.as_ref(), last, emit)
            }
        }
    }
}

fn open_document<'s>(
    message: &RawMessage<'s>,
    format: &'s str,
    config: &'s NormalizerConfig,
    attempt: u32,
    hashed: &mut Vec<u8>,
) -> Result<(Content<'s>, EventKey), Rejection> {
    check_size(message, config.max_document_bytes)?;
    let tenant_id = message.tenant.map_or(config.default_tenant.as_str(), str::trim);
    check::identifier(tenant_id, "header dp.tenant_id")?;
    let document = Document::read(format, message.payload)?;
    let venue = venue_of(&config.venues, document.market(), "the market of the format")?;
    let (event_key, hash) = identity::of_document(tenant_id, format, message.payload, attempt, hashed);
    let opened = Opened {
        document,
        event_id: format!("{hash:032x}"),
        tenant_id,
        format,
        venue,
    };
    Ok((Content::Document(Box::new(opened)), event_key))
}

pub(crate) fn check_size(message: &RawMessage<'_>, limit: usize) -> Result<(), Rejection> {
    let size = message.payload.len();
    if size > limit {
        return Err(Rejection::new(
            RejectCode::Oversize,
            format!("the message has {size} bytes, the limit is {limit}"),
        ));
    }
    if size == 0 {
        return Err(Rejection::new(RejectCode::BrokenJson, "the message is empty"));
    }
    Ok(())
}

/// The product of the only document format that has a parser.
const PRODUCT: &str = "rt5";

/// Emits the rows of one document.
struct Rows<'s, 'd> {
    message: RawMessage<'s>,
    config: &'s NormalizerConfig,
    opened: &'d Opened<'s>,
    now: Micros,
}

impl Rows<'_, '_> {
    fn emit(
        &self,
        selected: Option<&RowRanges>,
        last: &mut LastTicks,
        emit: &mut dyn FnMut(&Tick<'_>),
    ) -> RejectedRows {
        let Document::MisoRt5(document) = &self.opened.document;
        let mut rejected = RejectedRows::default();
        let mut energies = miso::Energies::default();
        let mut instrument_id = String::new();
        let is_selected = |number| selected.is_none_or(|rows| rows.contains(number));
        let mut next = 0;
        // A replay also reads every row, because the flags of a row depend on the first row of its interval.
        let read = document.for_each_row(|index, row| {
            let Ok(number) = i32::try_from(index) else { return };
            next = number.saturating_add(1);
            let emitted = row.and_then(|row| {
                let max_future = self.config.quality.max_future;
                check::event_time(
                    row.event_time(),
                    self.message.appended_at,
                    (self.opened.venue, PRODUCT),
                    max_future,
                    "INTERVAL",
                )?;
                miso::instrument_id(row.node.as_str(), &mut instrument_id);
                check::identifier(&instrument_id, "CPNODE as an instrument id")?;
                let remarks = energies.remarks(&row, self.config.quality.component_tolerance);
                if is_selected(number) {
                    let mut tick = self.tick(&row, &instrument_id, number);
                    tick.quality_flags = quality::flags(&self.config.quality, self.opened.venue, &tick, remarks, last);
                    emit(&tick);
                }
                Ok(())
            });
            if let (Err(rejection), true) = (emitted, is_selected(number)) {
                rejected.push(number, rejection);
            }
        });
        // Checked when the document was opened. Should it happen, unread rows count as rejected (INV-5).
        if let Err(rejection) = read {
            let all = i32::try_from(document.rows()).unwrap_or(i32::MAX);
            (next..all)
                .filter(|number| is_selected(*number))
                .for_each(|number| rejected.push(number, rejection.clone()));
        }
        rejected
    }

    fn tick<'t>(&'t self, row: &'t miso::Row<'_>, instrument_id: &'t str, index: i32) -> Tick<'t> {
        Tick {
            origin: Origin {
                feed: self.message.feed,
                partition: self.message.partition,
                offset: self.message.offset,
                index,
            },
            appended_at: self.message.appended_at,
            source_event_id: &self.opened.event_id,
            correlation_id: &self.opened.event_id,
            causation_id: Some(&self.opened.event_id),
            tenant_id: self.opened.tenant_id,
            instrument_id,
            symbol: None,
            market: &self.opened.venue.name,
            kind: Kind::Interval,
            event_time: row.event_time(),
            interval_end: Some(row.interval_end),
            price: row.price,
            volume: None,
            bid: None,
            ask: None,
            energy: Some(row.energy),
            congestion: Some(row.congestion),
            loss: Some(row.loss),
            ghg: None,
            currency: &self.opened.venue.currency,
            unit: &self.opened.venue.unit,
            node: Some(row.node.as_str()),
            zone: None,
            hub: None,
            market_status: None,
            product: PRODUCT,
            version: None,
            source_system: self.opened.format,
            sequence: None,
            quality_flags: QualityFlags::NONE,
            normalized_at: self.now,
        }
    }
}
