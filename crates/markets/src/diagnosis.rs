//! Everything that is wrong or remarkable about a message at once, for `POST /validate`.
//!
//! The data path ends at the first error, this continues as far as values can be read apart from each other. It also takes
//! a tick without its envelope. It reads with the code of the data path: what it finds sound is sound.

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

/// What can be said about one message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diagnosis {
    /// Why the whole message is refused: of a message with one tick, every reason.
    pub errors: Vec<Rejection>,
    /// Rows of a document that are refused while others are taken.
    pub rejected: RejectedRows,
    /// Flags of its ticks, each once; of a refused tick those that follow from the values that could be read.
    pub flags: QualityFlags,
    /// Ticks that it would become.
    pub ticks: u32,
    /// What the event window would know a sound message by.
    pub event_key: Option<EventKey>,
    /// It is a tick without an envelope, which is checked here and refused in a topic.
    pub bare: bool,
}

impl Normalizer {
    /// Reads a message without ending at the first error. Nothing is emitted.
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
            last,
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
        let mut event_key = None;
        let flags = match read {
            Ok(event) => {
                let mut key = identity::of_tick(&event, 0, hashed);
                // Without an event id, the facts tell one event from another.
                key.id ^= if bare { key.facts } else { 0 };
                event_key = errors.is_empty().then_some(key);
                let tick = event.tick(message, now);
                let flags = quality::flags(&config.quality, event.venue, &tick, event.remarks, last);
                without_unread(flags, &errors)
            }
            Err(rejection) => {
                errors.push(rejection);
                QualityFlags::NONE
            }
        };
        Diagnosis {
            ticks: u32::from(errors.is_empty()),
            errors,
            flags,
            event_key,
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

// Flags that rest on a value that could not be read say nothing.
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
