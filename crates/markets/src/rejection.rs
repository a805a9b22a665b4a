//! Why bytes did not become a tick: a closed set of codes, and a message that names the location.

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
    /// Not valid JSON.
    BrokenJson => "broken_json",
    /// JSON, but not of an accepted shape.
    SchemaViolation => "schema_violation",
    /// No price field.
    MissingPrice => "missing_price",
    /// A price that is not an exact decimal in range.
    InvalidPrice => "invalid_price",
    /// Another number that is not an exact decimal in range.
    InvalidNumber => "invalid_number",
    /// A market that is not configured.
    UnknownMarket => "unknown_market",
    /// No instrument.
    MissingInstrument => "missing_instrument",
    /// No event time.
    MissingTime => "missing_time",
    /// An event time that is unreadable or does not exist.
    InvalidTime => "invalid_time",
    /// A local time that occurs twice, without an indication which one is meant.
    AmbiguousTime => "ambiguous_time",
    /// A record of a raw topic with the producer's timestamp, so its append time is unknown.
    NoAppendTime => "no_append_time",
    /// An event time before 1990, or a local time beyond the years that a time may have.
    TimeOutOfRange => "time_out_of_range",
    /// An event time further ahead of the append time than the product allows.
    FutureTime => "future_time",
    /// A tenant, instrument or event id that is not allowed in keys.
    InvalidIdentifier => "invalid_identifier",
    /// A volume below zero.
    NegativeVolume => "negative_volume",
    /// A message above the size limit of its kind.
    Oversize => "oversize",
    /// An unknown document format, or one without a parser.
    UnsupportedFormat => "unsupported_format",
    /// A document in which the market says that it has no data.
    NoData => "no_data",
    /// An unreadable Avro frame or datum.
    InvalidAvro => "invalid_avro",
    /// A quality rule that is configured to reject.
    QualityRule => "quality_rule",
    /// Price times volume beyond 10^14.
    TurnoverOutOfRange => "turnover_out_of_range",
    /// A valid message that was appended while an operator had paused its tenant. No parser returns it.
    TenantPaused => "tenant_paused",
}

/// Why a whole message, or one row of it, is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.name())]
pub struct Rejection {
    /// The code, from the closed set.
    pub code: RejectCode,
    /// For users: what is wrong and where (JSON pointer, row, column).
    pub message: String,
    /// Correlation id of the message, if it could be read.
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

/// The location of a value: the JSON pointer of the enclosing object, and the field. They are joined only for an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(pub &'static str, pub &'static str);

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.0, self.1)
    }
}

/// The beginning of a value for a message: at most 60 characters, escaped so that they are safe for terminals and logs.
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

/// A row that is rejected while other rows of its document are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRow {
    /// The index that its tick would have had.
    pub index: i32,
    /// The reason.
    pub rejection: Rejection,
}

/// The rejected rows of a document: their indexes, their codes, and the reasons of the first ones. Its size is bounded for
/// any document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RejectedRows {
    /// The indexes of the rows.
    pub rows: RowRanges,
    /// The first rows with their reasons.
    pub first: Vec<RejectedRow>,
    /// Each code once with the number of its rows, in the order of first occurrence.
    pub codes: Vec<(RejectCode, u64)>,
    count: u64,
}

impl RejectedRows {
    /// Number of rows whose reasons are kept.
    pub const REASONS: usize = 100;

    /// Number of rejected rows.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether every row was accepted.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn push(&mut self, index: i32, rejection: Rejection) {
        self.count += 1;
        self.rows.push(index);
        match self.codes.iter_mut().find(|(code, _)| *code == rejection.code) {
            Some((_, rows)) => *rows += 1,
            None => self.codes.push((rejection.code, 1)),
        }
        if self.first.len() < RejectedRows::REASONS {
            self.first.push(RejectedRow { index, rejection });
        }
    }
}
