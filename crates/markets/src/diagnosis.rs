//! All errors and quality flags of a message at once, for `POST /validate`.
//!
//! The data path stops at the first error. The diagnosis continues as long as values can be read independently of each other.
//! It also accepts a tick without an envelope. It uses the code of the data path, so both agree on which messages are valid.

use codec::framing;
use domain::{EventKey, Micros, QualityFlag, QualityFlags};

use crate::encoding;
use crate::identity;
use crate::message::RawMessage;
use crate::normalizer::{Normalizer, check_size};
use crate::problems::All;
use crate::quality;
use crate::rejection::{RejectCode, RejectedRows, Rejection};
use crate::shapes::{self, Reading};

/// The findings about one message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diagnosis {
    /// Why the whole message is rejected. All reasons if the message has one tick.
    pub errors: Vec<Rejection>,
    /// Rows of a document that are rejected while others are accepted.
    pub rejected: RejectedRows,
    /// Flags of its ticks, each once. For a rejected tick, only the flags of values that could be read.
    pub flags: QualityFlags,
    /// Number of ticks that the message would become.
    pub ticks: u32,
    /// The key of a valid message in the event window.
    pub event_key: Option<EventKey>,
    /// Whether it is a tick without an envelope: checked here, but rejected in a topic.
    pub bare: bool,
}

impl Normalizer {
    /// Reads a message without stopping at the first error. Emits nothing.
    pub fn diagnose(&mut self, message: &RawMessage<'_>, now: Micros) -> Diagnosis {
        let foreign = encoding::foreign(message.payload).is_some();
        let is_avro = framing::is_framed(message.payload) && !foreign;
        if message.format.is_some() && !is_avro {
            return self.diagnose_document(message, now);
        }
        let Normalizer {
            config,
            raw_text,
            avro,
            hashed,
            histories,
            ..
        } = self;
        let reading = Reading { message, config };
        let mut problems = All::default();
        let mut bare = false;
        let read = check_size(message, config.max_tick_bytes).and_then(|()| {
            if is_avro {
                return shapes::read_avro(&reading, &config.wire, avro, &mut problems);
            }
            match shapes::read_bare(&reading, &mut problems) {
                Some(read) => {
                    bare = true;
                    read
                }
                None => shapes::read_json(&reading, raw_text, &mut problems),
            }
        });
        let All(mut errors) = problems;
        let (flags, key) = match read {
            Ok(event) => {
                let mut key = identity::of_tick(&event, 0, hashed);
                // Without an event id, only the facts distinguish one event from another.
                key.id ^= if bare { key.facts } else { 0 };
                let tick = event.tick(message, now);
                let found = quality::findings(&config.quality, event.venue, &tick, event.remarks);
                let mut earlier = histories.of(message.feed, message.partition);
                let flags = quality::flags(&config.quality, &tick, found, earlier.as_mut());
                // A finding that rests on an unreadable value is meaningless.
                if let (true, Some(rejection)) = (errors.is_empty(), quality::refusal(&config.quality, found)) {
                    errors.push(rejection);
                }
                (without_unread(flags, &errors), Some(key))
            }
            Err(rejection) => {
                errors.push(rejection);
                (QualityFlags::NONE, None)
            }
        };
        Diagnosis {
            ticks: u32::from(errors.is_empty()),
            event_key: key.filter(|_| errors.is_empty()),
            errors,
            flags,
            bare,
            ..Diagnosis::default()
        }
    }

    fn diagnose_document(&mut self, message: &RawMessage<'_>, now: Micros) -> Diagnosis {
        let mut flags = QualityFlags::NONE;
        let outcome = self.normalize(message, now, &mut |tick| {
            tick.quality_flags.iter().for_each(|flag| flags.insert(flag));
        });
        match outcome {
            Ok(outcome) => Diagnosis {
                flags,
                ticks: outcome.ticks,
                event_key: Some(outcome.event_key),
                rejected: outcome.rejected,
                ..Diagnosis::default()
            },
            Err(rejection) => Diagnosis {
                errors: vec![rejection],
                ..Diagnosis::default()
            },
        }
    }
}

// Flags that depend on an unreadable value are meaningless.
fn without_unread(flags: QualityFlags, errors: &[Rejection]) -> QualityFlags {
    const PRICE: &[QualityFlag] = &[
        QualityFlag::PriceNegative,
        QualityFlag::OutOfRange,
        QualityFlag::PriceSpike,
    ];
    const VOLUME: &[QualityFlag] = &[QualityFlag::MissingVolume, QualityFlag::VolumeSpike];
    const ALL: &[QualityFlag] = &[QualityFlag::Valid];
    let mut known = QualityFlags::NONE;
    let unsupported = |flag: QualityFlag| {
        errors.iter().any(|error| {
            let rests_on_it = match error.code {
                RejectCode::MissingPrice | RejectCode::InvalidPrice => PRICE,
                RejectCode::InvalidNumber => VOLUME,
                RejectCode::MissingTime | RejectCode::InvalidTime => &[QualityFlag::LateArrival][..],
                RejectCode::UnknownMarket => &[QualityFlag::MissingMetadata][..],
                _ => ALL,
            };
            flag == QualityFlag::Valid || rests_on_it.contains(&flag)
        })
    };
    for flag in flags.iter().filter(|flag| !unsupported(*flag)) {
        known.insert(flag);
    }
    known
}
