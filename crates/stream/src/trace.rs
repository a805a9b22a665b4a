//! The trace of a message: W3C `traceparent` and `tracestate` in its headers. Pure.
//!
//! Role: both are read and written here, and a stage that works on a message derives its own span from the one before.
//! Invariants: a span id is a function of the span before, the stage and the position of the input. A message that is processed
//! again after a crash therefore has the same span, and its outputs are equal (INV-1).
//! Failure: an invalid header means that there is no trace. It never changes what becomes of the message.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

use xxhash_rust::xxh3::xxh3_64;

use crate::Message;

/// Header with the trace and the span that sent the message.
pub const TRACEPARENT: &str = "traceparent";
/// Header with what tracing systems add to it.
pub const TRACESTATE: &str = "tracestate";
/// Longest `tracestate` that is passed on.
pub const MAX_STATE: usize = 512;

/// Length of a value of version 00.
const LENGTH: usize = 55;
/// Flag: the trace is recorded.
const SAMPLED: u8 = 1;
/// The flags that the standard defines: sampled, and random trace id. The others must be sent as zero.
const KNOWN_FLAGS: u8 = 3;

/// The value of `traceparent`, version 00: trace, span, flags. Shown as it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traceparent {
    trace: NonZeroU128,
    span: NonZeroU64,
    flags: u8,
}

impl Traceparent {
    /// A trace with these ids, which the caller draws at random.
    pub fn new(trace: u128, span: u64, is_sampled: bool) -> Traceparent {
        Traceparent {
            trace: NonZeroU128::new(trace).unwrap_or(NonZeroU128::MIN),
            span: NonZeroU64::new(span).unwrap_or(NonZeroU64::MIN),
            flags: if is_sampled { SAMPLED } else { 0 },
        }
    }

    /// Reads `00-<32 hex digits>-<16>-<2>`; `None` if it is anything else, or an id is zero.
    pub fn parse(value: &[u8]) -> Option<Traceparent> {
        // A header may have megabytes.
        let value = <&[u8; LENGTH]>::try_from(value).ok()?;
        let mut parts = std::str::from_utf8(value).ok()?.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if version != "00" || parts.next().is_some() {
            return None;
        }
        Some(Traceparent {
            trace: NonZeroU128::new(hex(trace, 32)?)?,
            span: NonZeroU64::new(u64::try_from(hex(span, 16)?).ok()?)?,
            flags: u8::try_from(hex(flags, 2)?).ok()? & KNOWN_FLAGS,
        })
    }

    /// Id of the trace.
    pub fn trace(&self) -> TraceId {
        TraceId(self.trace)
    }

    /// Id of the span.
    pub fn span(&self) -> u64 {
        self.span.get()
    }

    /// The flags.
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// Whether its spans are recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The span of the stage that works on the message at this position, which carries this value.
    pub fn child(&self, stage: &str, topic: &str, partition: i32, offset: i64) -> Traceparent {
        let position = format!("{:016x}/{stage}/{topic}/{partition}/{offset}", self.span);
        Traceparent {
            span: NonZeroU64::new(xxh3_64(position.as_bytes())).unwrap_or(NonZeroU64::MIN),
            ..*self
        }
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{:016x}-{:02x}", self.trace(), self.span, self.flags)
    }
}

/// Id of a trace. Shown as 32 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(NonZeroU128);

impl TraceId {
    /// Reads 32 hex digits in lower case; `None` if it is anything else, or zero.
    pub fn parse(text: &str) -> Option<TraceId> {
        NonZeroU128::new(hex(text, 32)?).map(TraceId)
    }

    /// Its bytes, as they are exported.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.get().to_be_bytes()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The number, if it has exactly so many digits; the standard allows those in lower case only.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_it = text.len() == digits && text.bytes().all(is_digit);
    is_it.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// What the headers of a message say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// There is no `traceparent`.
    Nothing,
    /// It cannot be read.
    Invalid,
    /// A trace, and its `tracestate` if that may be passed on.
    Trace(Traceparent, Option<Vec<u8>>),
}

/// The trace of a message; of several headers with one name the last counts.
pub fn find(message: &Message<'_>) -> Found {
    let Some(value) = message.header(TRACEPARENT) else {
        return Found::Nothing;
    };
    match Traceparent::parse(value) {
        Some(parent) => Found::Trace(parent, message.header(TRACESTATE).and_then(passed_on)),
        None => Found::Invalid,
    }
}

/// A state that is too long is left out as a whole: a part of it would be a different state.
fn passed_on(state: &[u8]) -> Option<Vec<u8>> {
    (1..=MAX_STATE).contains(&state.len()).then(|| state.to_vec())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use rdkafka::message::{Header, OwnedHeaders};

    use super::*;

    const VALUE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn parsed(text: &str) -> Option<Traceparent> {
        Traceparent::parse(text.as_bytes())
    }

    #[test]
    fn the_parts_of_a_value_are_read() {
        let parent = parsed(VALUE).unwrap();
        assert_eq!(parent.trace().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(TraceId::parse("0af7651916cd43dd8448eb211c80319c"), Some(parent.trace()));
        assert_eq!(parent.span(), 0xb7ad_6b71_6920_3331);
        assert!(parent.is_sampled());
        assert_eq!(parent.to_string(), VALUE);
        assert!(!parsed(&VALUE.replace("-01", "-02")).unwrap().is_sampled());
        // Flags that the standard does not define are not sent on.
        assert_eq!(parsed(&VALUE.replace("-01", "-ff")).unwrap().flags(), 3);
    }

    #[test]
    fn what_the_standard_forbids_is_no_value() {
        for wrong in [
            String::new(),
            "nonsense".to_owned(),
            VALUE.to_uppercase(),
            VALUE.replace("00-0a", "01-0a"),
            VALUE.replace("00-0a", "ff-0a"),
            VALUE.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            VALUE.replace("b7ad6b7169203331", &"0".repeat(16)),
            VALUE.replace("b7ad", "+7ad"),
            VALUE.replace("-01", "-1"),
            VALUE.replace("-01", ""),
            format!("{VALUE}-00"),
            format!(" {VALUE}"),
            format!("{VALUE}\n"),
        ] {
            assert_eq!(parsed(&wrong), None, "{wrong:?}");
        }
        assert_eq!(Traceparent::parse(b"\xff"), None);
        for wrong in [String::new(), "0af7".to_owned(), "0".repeat(32), "A".repeat(32)] {
            assert_eq!(TraceId::parse(&wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_span_of_a_stage_depends_on_parent_stage_and_position_alone() {
        let parent = parsed(VALUE).unwrap();
        let own = parent.child("normalize", "raw", 2, 17);
        assert_eq!(own, parent.child("normalize", "raw", 2, 17));
        assert_eq!((own.trace(), own.flags()), (parent.trace(), parent.flags()));
        let others = [
            parent,
            own.child("normalize", "raw", 2, 17),
            parent.child("enrich", "raw", 2, 17),
            parent.child("normalize", "raws", 2, 17),
            parent.child("normalize", "raw", 1, 17),
            parent.child("normalize", "raw", 2, 18),
        ];
        assert!(others.iter().all(|other| other.span() != own.span()), "{others:?}");
    }

    /// What [`find`] says of a message with these headers.
    fn found(headers: &[(&str, &[u8])]) -> Found {
        let owned = headers.iter().fold(OwnedHeaders::new(), |owned, (key, value)| {
            owned.insert(Header {
                key,
                value: Some(*value),
            })
        });
        find(&Message {
            topic: "raw",
            partition: 0,
            offset: 0,
            timestamp: 0,
            has_append_time: true,
            key: None,
            payload: None,
            headers: Some(owned.as_borrowed()),
        })
    }

    #[test]
    fn the_state_is_passed_on_unchanged_within_its_bound() {
        let (parent, value) = (parsed(VALUE).unwrap(), VALUE.as_bytes());
        let longest = vec![b'a'; MAX_STATE];
        let too_long = vec![b'a'; MAX_STATE + 1];
        for (state, passed) in [
            (&b"rojo=00f0,congo=t61"[..], Some(b"rojo=00f0,congo=t61".to_vec())),
            (longest.as_slice(), Some(longest.clone())),
            (too_long.as_slice(), None),
            (&b""[..], None),
        ] {
            let headers = [(TRACESTATE, state), (TRACEPARENT, value)];
            assert_eq!(found(&headers), Found::Trace(parent, passed));
        }
        assert_eq!(found(&[(TRACEPARENT, value)]), Found::Trace(parent, None));
        assert_eq!(found(&[(TRACESTATE, &b"a=1"[..]), ("other", value)]), Found::Nothing);
        assert_eq!(found(&[(TRACEPARENT, value), (TRACEPARENT, &b"x"[..])]), Found::Invalid);
    }

    proptest! {
        #[test]
        fn a_written_value_is_read_as_it_was(trace: u128, span: u64, is_sampled: bool) {
            let value = Traceparent::new(trace, span, is_sampled);
            let text = value.to_string();
            prop_assert_eq!(text.len(), VALUE.len());
            prop_assert_eq!(parsed(&text), Some(value));
            prop_assert_eq!(value.is_sampled(), is_sampled);
        }

        /// With one byte changed it is still a value only if the byte is a digit of an id or of the flags.
        #[test]
        fn only_the_written_form_is_read(position in 0usize..55, byte in any::<u8>()) {
            let mut value = VALUE.as_bytes().to_vec();
            let before = std::mem::replace(&mut value[position], byte);
            let is_digit = position > 2 && before != b'-' && b"0123456789abcdef".contains(&byte);
            let read = Traceparent::parse(&value);
            prop_assert_eq!(read.is_some(), is_digit || byte == before);
            if let Some(read) = read {
                let text = read.to_string();
                prop_assert_eq!(&text.as_bytes()[..53], &value[..53]);
            }
        }
    }
}
