//! From a raw message to ticks, in two steps: [`Normalizer::parse`] validates the message and computes its event key,
//! [`Parsed::emit`] emits the ticks. Between them the caller checks the event-id window, so a repeated event emits nothing.

use codec::{Wire, framing};
use domain::{EventKey, Micros, QualityFlags, RowRanges, Tick};

use crate::check;
use crate::contradictions::Stated;
use crate::document::{self, Document};
use crate::emit::Rows;
use crate::encoding;
use crate::event::{Event, venue_of};
use crate::identity;
use crate::message::{NOT_UTF8, RawMessage, Replay};
use crate::problems::First;
use crate::quality::{self, Histories, QualitySettings};
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
    /// The document of an archive.
    pub(crate) unpacked: Vec<u8>,
    /// The prices of the rows of one document.
    pub(crate) stated: Stated,
    pub(crate) histories: Histories,
}

/// A valid message.
pub struct Parsed<'s> {
    message: RawMessage<'s>,
    config: &'s NormalizerConfig,
    histories: &'s mut Histories,
    stated: &'s mut Stated,
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
pub(crate) struct Opened<'s> {
    pub document: Box<dyn Document + 's>,
    pub event_id: String,
    pub tenant_id: &'s str,
    pub format: &'s str,
    /// `None` if its rows name their market.
    pub venue: Option<&'s Venue>,
    /// Whether the document is not its whole set.
    pub is_part: bool,
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
            unpacked: Vec::new(),
            stated: Stated::default(),
            histories: Histories::default(),
        }
    }

    /// Drops what quality rules know of a raw partition, because it is no longer read or will be read again.
    pub fn forget(&mut self, feed: &str, partition: i32) {
        self.histories.forget(feed, partition);
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
            unpacked,
            stated,
            histories,
        } = self;
        let config: &'s NormalizerConfig = config;
        // A replay of some rows of a document is a different event from the document. A message that was rejected as a
        // whole emitted nothing, so a producer's retry of it and its replay are the same event; unless it was held, since its event
        // is in the window then.
        let selected = message
            .replay
            .as_ref()
            .map(Replay::selected_rows)
            .transpose()?
            .flatten();
        let is_own_event = |replay: &Replay<'_>| replay.held || selected.is_some();
        let attempt = message.replay.filter(is_own_event).map_or(0, |replay| replay.attempt);
        // JSON in UTF-16 may begin like an Avro frame.
        let is_avro = framing::is_framed(message.payload) && encoding::foreign(message.payload).is_none();
        let (content, event_key) = match message.format.filter(|_| !is_avro) {
            Some(format) => open_document(message, format, (config, unpacked), attempt, hashed)?,
            None => {
                check_size(message, config.max_tick_bytes)?;
                let reading = Reading { message, config };
                let event = if is_avro {
                    shapes::read_avro(&reading, &config.wire, avro, &mut First)?
                } else {
                    shapes::read_json(&reading, raw_text, &mut First)?
                };
                refuse(&event, message, config)?;
                let key = identity::of_tick(&event, attempt, hashed);
                (Content::Tick(event), key)
            }
        };
        Ok(Parsed {
            message: *message,
            config,
            histories,
            stated,
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

    /// The tenant of all its ticks.
    pub fn tenant_id(&self) -> &str {
        match &self.content {
            Content::Tick(event) => event.tenant_id.as_str(),
            Content::Document(opened) => opened.tenant_id,
        }
    }

    /// The rows that a replay asks for; empty if it is about the whole message.
    pub fn selected_rows(&self) -> RowRanges {
        self.selected.clone().unwrap_or_default()
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

    /// Whether it is a document that says, or shows, that it is not a complete set: one page of many, or a report without
    /// its end.
    pub fn is_part(&self) -> bool {
        match &self.content {
            Content::Tick(_) => false,
            Content::Document(opened) => opened.is_part,
        }
    }

    /// Adds the ticks to the history that quality rules compare with, without emitting them.
    pub fn learn(self) {
        _ = self.emit(0, QualityFlags::NONE, &mut |_| {});
    }

    /// Emits the ticks in the order of their index; returns the rejected rows. `now` is the wall clock, recorded in each
    /// tick. `remarks` are flags that the caller has determined, such as a reused event id.
    pub fn emit(self, now: Micros, remarks: QualityFlags, emit: &mut dyn FnMut(&Tick<'_>)) -> RejectedRows {
        let Parsed {
            message,
            config,
            histories,
            stated,
            selected,
            content,
            ..
        } = self;
        let mut earlier = histories.of(message.feed, message.partition);
        match content {
            Content::Tick(event) => {
                let mut tick = event.tick(&message, now);
                let found = quality::findings(&config.quality, event.venue, &tick, event.remarks.union(remarks));
                tick.quality_flags = quality::flags(&config.quality, &tick, found, earlier.as_mut());
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
                rows.emit(selected.as_ref(), earlier, stated, emit)
            }
        }
    }
}

/// Whether a quality rule is configured to reject this tick. It is then rejected as a whole, like one that cannot be read.
fn refuse(event: &Event<'_>, message: &RawMessage<'_>, config: &NormalizerConfig) -> Result<(), Rejection> {
    if config.quality.rejecting.is_empty() {
        return Ok(());
    }
    let found = quality::findings(&config.quality, event.venue, &event.tick(message, 0), event.remarks);
    match quality::refusal(&config.quality, found) {
        Some(rejection) => Err(Rejection {
            correlation_id: Some(event.correlation_id().to_owned()),
            ..rejection
        }),
        None => Ok(()),
    }
}

fn open_document<'s>(
    message: &RawMessage<'s>,
    format: &'s str,
    (config, unpacked): (&'s NormalizerConfig, &'s mut Vec<u8>),
    attempt: u32,
    hashed: &mut Vec<u8>,
) -> Result<(Content<'s>, EventKey), Rejection> {
    check_size(message, config.max_document_bytes)?;
    let tenant_id = message.tenant.map_or(config.default_tenant.as_str(), str::trim);
    if tenant_id == NOT_UTF8 {
        let message =
            "header dp.tenant_id is not UTF-8 (accepted: 1 to 256 bytes of UTF-8 without '|' and control characters)";
        return Err(Rejection::new(RejectCode::InvalidIdentifier, message));
    }
    check::identifier(tenant_id, "header dp.tenant_id")?;
    let (document, market) = document::open(format, message.payload, unpacked, config.max_document_bytes)?;
    let venue = market
        .map(|market| venue_of(&config.venues, market, "the market of the format"))
        .transpose()?;
    let (event_key, hash) = identity::of_document(tenant_id, format, message.payload, attempt, hashed);
    let opened = Opened {
        is_part: document.is_part(),
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_header_that_is_not_utf8_is_refused_for_that_reason() {
        let refused = |tenant: &[u8]| {
            let message = RawMessage {
                feed: "raw",
                partition: 0,
                offset: 0,
                appended_at: 1,
                key: None,
                payload: b"x",
                format: Some("curve.settlements.csv"),
                tenant: Some(crate::header_text(tenant)),
                replay: None,
            };
            let refused = Normalizer::new(NormalizerConfig::default())
                .parse(&message)
                .err()
                .unwrap();
            assert_eq!(refused.code, RejectCode::InvalidIdentifier);
            refused.message
        };
        let message = refused(b"\xff");
        assert!(
            message.contains("dp.tenant_id is not UTF-8") && !message.contains("contains '|'"),
            "{message}"
        );
        assert!(refused(b"a|b").contains("contains '|'"));
    }
}
