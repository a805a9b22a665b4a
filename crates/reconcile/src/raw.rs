//! The one walk of the raw log: what normalization decides about each message, in order.
//!
//! Role: [`Walk`] is pure; [`Rules::each`] reads messages as normalization reads them, replays included. `verify` and `explain` both
//! follow a raw partition with it.
//! Invariant: parser and event-id window are normalization's own (INV-1), so a walk expects the output of a run without
//! failures. (An oracle that shares no code with parser and window tests them elsewhere.)
//! Failure: a message whose headers are invalid is [`Unreadable`], not an error. A replay whose dead letter cannot be read now
//! ends the walk with an error.

use delivery::event_window::{EventWindow, Seen, WindowLimits};
use domain::{Classified as _, Micros};
use markets::{Normalizer, NormalizerConfig, Parsed, RawMessage};
use normalization::replays::Replays;
use normalization::stages::normalize::raw_message;
use stream::{Brokers, Message, StreamError};

/// How raw messages are read.
#[derive(Clone)]
pub struct Rules {
    /// Brokers.
    pub bootstrap: Brokers,
    /// Normalization's parser.
    pub config: NormalizerConfig,
    /// Normalization's event-id window.
    pub limits: WindowLimits,
}

/// A message as normalization reads it.
pub type Read<'m> = Result<RawMessage<'m>, Unreadable<'m>>;

impl Rules {
    /// A walk that has seen nothing yet.
    pub fn walk(&self) -> Walk {
        Walk::new(Normalizer::new(self.config.clone()), self.limits)
    }

    /// Passes each message that `source` delivers to `each`, with its fields as normalization reads them. Blocks.
    ///
    /// # Errors
    /// Those of `source`; or a message is a replay, and its dead letter cannot be read now.
    pub fn each(
        &self,
        source: impl FnOnce(&mut dyn FnMut(&Message<'_>) -> bool) -> Result<(), StreamError>,
        mut each: impl FnMut(&Message<'_>, Read<'_>),
    ) -> Result<(), StreamError> {
        let (mut replays, mut failed) = (Replays::new(&self.bootstrap), None);
        source(&mut |message| {
            match readable(message, &mut replays) {
                Ok(read) => each(message, read),
                Err(error) => failed = Some(error),
            }
            failed.is_none()
        })?;
        failed.map_or(Ok(()), Err)
    }
}

fn readable<'m>(message: &Message<'m>, replays: &mut Replays) -> Result<Read<'m>, StreamError> {
    match raw_message(message) {
        Ok(raw) => replays.checked(raw).map(Ok),
        Err(rejection) => Ok(Err(Unreadable {
            offset: message.offset,
            appended_at: message.timestamp,
            code: rejection.code(),
            payload: message.payload.unwrap_or_default(),
        })),
    }
}

/// A message with invalid headers.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Unreadable<'a> {
    pub offset: i64,
    pub appended_at: Micros,
    pub code: &'static str,
    pub payload: &'a [u8],
}

impl Unreadable<'_> {
    fn refusal(&self) -> (&'static str, String) {
        (self.code, "its headers are invalid".to_owned())
    }
}

/// What normalization decides about a message.
#[allow(clippy::large_enum_variant, reason = "one value exists at a time, on the stack")]
pub enum Decision<'s> {
    /// A dead letter as a whole.
    Refused {
        /// Code of the reason.
        code: &'static str,
        /// The reason.
        message: String,
    },
    /// Valid: new, or a repetition of an event.
    Valid {
        /// Its ticks.
        parsed: Parsed<'s>,
        /// What the event-id window says.
        seen: Seen,
    },
}

/// The state of normalization on one raw partition.
pub struct Walk {
    normalizer: Normalizer,
    window: EventWindow,
}

impl Walk {
    /// A walk that begins with an empty event-id window.
    pub fn new(normalizer: Normalizer, limits: WindowLimits) -> Walk {
        Walk {
            normalizer,
            window: EventWindow::new(limits),
        }
    }

    /// Code and reason if the message is rejected as a whole by the rules of this process; `None` if it is valid. Its event does not enter
    /// the window, as that of a message that was rejected when it was processed.
    pub fn refusal(&mut self, message: &Read<'_>) -> Option<(&'static str, String)> {
        match message {
            Ok(message) => {
                let rejection = self.normalizer.parse(message).err()?;
                Some((rejection.code.name(), rejection.message))
            }
            Err(unreadable) => Some(unreadable.refusal()),
        }
    }

    /// Decides about the next message of the partition.
    pub fn decide<'s>(&'s mut self, message: &Read<'s>) -> Decision<'s> {
        let message = match message {
            Ok(message) => message,
            Err(unreadable) => {
                let (code, message) = unreadable.refusal();
                return Decision::Refused { code, message };
            }
        };
        match self.normalizer.parse(message) {
            Ok(parsed) => {
                let seen = self
                    .window
                    .observe(message.offset, message.appended_at, parsed.event_key());
                Decision::Valid { parsed, seen }
            }
            Err(rejection) => Decision::Refused {
                code: rejection.code.name(),
                message: rejection.message,
            },
        }
    }
}

/// Offset and append time of a message.
pub fn place_and_time(message: &Read<'_>) -> (i64, Micros) {
    match message {
        Ok(message) => (message.offset, message.appended_at),
        Err(unreadable) => (unreadable.offset, unreadable.appended_at),
    }
}

/// The original bytes of a message.
pub fn payload<'m>(message: &Read<'m>) -> &'m [u8] {
    match message {
        Ok(message) => message.payload,
        Err(unreadable) => unreadable.payload,
    }
}
