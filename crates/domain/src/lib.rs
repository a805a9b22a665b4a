//! Value types and pure rules of the pipeline: what a tick, a bar and a position *are*.
//!
//! Role: the common vocabulary of all other crates. Absent on purpose: async, I/O, clocks, serialization.
//! Invariants: INV-1 (everything is a function of its arguments), the order of origins on which INV-3 depends, exact
//! decimal arithmetic.
//! Failure: arithmetic and parsing return errors. Nothing panics, and nothing saturates silently.

pub mod asked;
pub mod bar;
pub mod claim;
pub mod curve;
pub mod decimal;
pub mod decimal_text;
pub mod derived;
pub mod error;
pub mod event;
#[cfg(feature = "fixtures")]
pub mod fixtures;
pub mod instrument;
pub mod origin;
pub mod position;
pub mod product;
pub mod quality;
pub mod retry;
pub mod routing;
pub mod row_ranges;
pub mod tick;
pub mod vintage;
pub mod window;

pub use asked::AskedWindow;
pub use bar::{Bar, BarCause, BarVersion, TimeWeighted};
pub use claim::Claim;
pub use curve::{CurveInput, CurvePoint, CurveSnapshot};
pub use decimal::{Decimal, DecimalError, Turnover};
pub use decimal_text::DecimalText;
pub use derived::{DerivedCause, DerivedLeg, DerivedPrice, LegPlace, LegPrice, LegPurpose};
pub use error::{Classified, ErrorClass};
pub use event::EventKey;
pub use origin::{Origin, RawPosition};
pub use position::{LastOrigin, Position, is_known_topic_id};
pub use product::Product;
pub use quality::{QualityFlag, QualityFlags};
pub use retry::{RetryPolicy, Waits};
pub use row_ranges::{RowRanges, RowRangesError};
pub use tick::{
    Classification, EnrichedTick, EnrichedTickOf, Enrichment, EnrichmentOf, Kind, LateTick, LatestRank, PriceRank,
    Tick, TickOf,
};
pub use vintage::Vintage;
pub use window::{Interval, Window};

/// Microseconds since 1970-01-01T00:00:00Z: the only representation of time inside the pipeline.
pub type Micros = i64;
