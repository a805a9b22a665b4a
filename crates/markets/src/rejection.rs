//! Why bytes did not become a tick: a closed set of codes, and a message that names the place.

use std::fmt::{self, Display};

use domain::{Classified, ErrorClass, RowRanges};

macro_rules! reject_codes {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)+) => {
        /// What is wrong with a message or a row. The names are public: metrics, dead letters, dashboards.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum RejectCode { $($(#[$doc])* $variant,)+ }

        impl RejectCode {
            /// Every code.
            pub const ALL: &[RejectCode] = &[$(RejectCode::$variant,)+];

            /// The public name.
            pub fn name(self) -> &'static str {
                match self { $(RejectCode::$variant => $name,)+ }
            }
        }
    };
}

reject_codes! {
    /// Not JSON at all.
    BrokenJson => "broken_json",
    /// JSON, but not of an accepted shape.
    SchemaViolation => "schema_violation",
    /// No price field.
    MissingPrice => "missing_price",
    /// A price that is no exact decimal in range.
    InvalidPrice => "invalid_price",
    /// Another number that is no exact decimal in range.
    InvalidNumber => "invalid_number",
    /// A market that nobody configured.
    UnknownMarket => "unknown_market",
    /// No instrument.
    MissingInstrument => "missing_instrument",
    /// No event time.
    MissingTime => "missing_time",
    /// An event time that cannot be read, or that does not exist.
    InvalidTime => "invalid_time",
    /// A local time that occurs twice, and nothing says which.
    AmbiguousTime => "ambiguous_time",
    /// A record of a raw topic that carries the producer's time: nothing says when it was appended.
    NoAppendTime => "no_append_time",
    /// Before 1990.
    TimeOutOfRange => "time_out_of_range",
    /// Further ahead of the time when the message was appended than a price of its kind can be.
    FutureTime => "future_time",
    /// A tenant, instrument or event id that keys cannot carry.
    InvalidIdentifier => "invalid_identifier",
    /// A volume below zero.
    NegativeVolume => "negative_volume",
    /// More bytes than a message of its kind may have.
    Oversize => "oversize",
    /// A document format without a parser, or an unknown one.
    UnsupportedFormat => "unsupported_format",
    /// Avro framing or datum that cannot be read.
    InvalidAvro => "invalid_avro",
    /// Price times volume beyond 10^14.
    TurnoverOutOfRange => "turnover_out_of_range",
}

/// Why a whole message, or one row of it, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.name())]
pub struct Rejection {
    /// From the closed set.
    pub code: RejectCode,
    /// For people: what is wrong and where (JSON pointer, row, column).
    pub message: String,
    /// Of the message, where it could be read.
    pub correlation_id: Option<String>,
}

impl Rejection {
    pub(crate) fn new(code: RejectCode, message: impl Into<String>) -> Rejection {
        Rejection {
            code,
            message: message.into(),
            correlation_id: None,
        }
    }

    pub(crate) fn missing(place: impl Display) -> Rejection {
        Rejection::new(RejectCode::SchemaViolation, format!("{place} is missing"))
    }
}

/// Where a value stands: the JSON pointer of the object around it, and the field. Joined only when something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(pub &'static str, pub &'static str);

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.0, self.1)
    }
}

/// The beginning of a value for a message: at most 60 characters, none of which can harm a terminal or a log.
pub(crate) fn excerpt(value: &str) -> String {
    const LONGEST: usize = 60;
    let mut shown = String::new();
    for character in value.chars().take(LONGEST) {
        match character {
            '"' | '\'' | '\\' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    if value.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

impl Classified for Rejection {
    fn class(&self) -> ErrorClass {
        ErrorClass::Poison
    }

    fn code(&self) -> &'static str {
        self.code.name()
    }
}

/// A row of a document that is refused while others are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRow {
    /// The index that its tick would have had.
    pub index: i32,
    /// Why.
    pub rejection: Rejection,
}

/// The rows of a document that are refused: which, with which codes, and why the first of them. Of bounded size, whatever
/// the document holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RejectedRows {
    /// Which.
    pub rows: RowRanges,
    /// The first of them with their reasons.
    pub first: Vec<RejectedRow>,
    /// Each code once, in the order in which they occur first.
    pub codes: Vec<RejectCode>,
    count: u64,
}

impl RejectedRows {
    /// Rows whose reasons are kept.
    pub const REASONS: usize = 100;

    /// Number of rows.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether every row was taken.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn push(&mut self, index: i32, rejection: Rejection) {
        self.count += 1;
        self.rows.push(index);
        if !self.codes.contains(&rejection.code) {
            self.codes.push(rejection.code);
        }
        if self.first.len() < RejectedRows::REASONS {
            self.first.push(RejectedRow { index, rejection });
        }
    }
}
