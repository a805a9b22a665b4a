//! Raw bytes to ticks: message shapes A, B and C, and ISO documents.
//!
//! Role: the pure core of normalization. `dp verify` runs the same code over the raw log.
//! Invariants: INV-1 (whether a tick exists, its index and its route depend only on the bytes, the append time and the
//! configuration; quality flags are annotations and may differ between runs), INV-5 (every message ends as ticks,
//! rejected rows, or one [`Rejection`]).
//! Failure: a closed set of codes ([`RejectCode`]) with a message that names the location. The code never panics and never
//! guesses: a value that cannot be read is rejected.

mod archive;
mod cadence;
mod caiso;
mod check;
mod clock;
pub mod contract;
mod contradictions;
mod diagnosis;
mod document;
mod emit;
mod encoding;
mod energies;
mod ercot;
mod event;
mod format;
mod gas;
pub mod hourly;
mod identity;
mod isone;
mod json;
mod market_day;
mod message;
mod miso;
mod normalizer;
mod number;
mod nyiso;
mod pjm;
mod problems;
pub mod quality;
pub mod reference;
mod registry;
mod rejection;
mod rowwise;
mod settlements;
mod shapes;
mod spp;
mod table;
mod text;
mod time;
mod venue;

pub use archive::archive_problem;
pub use diagnosis::Diagnosis;
pub use format::{FORMATS, Format, detect_format};
pub use market_day::{MarketDay, date_in, interval_of, products_of};
pub use message::{RawMessage, Replay, header_text};
pub use normalizer::{Normalizer, NormalizerConfig, Outcome, Parsed};
pub use registry::{Peak, PlaceKind, Places, PowerMarket, power_markets};
pub use rejection::{RejectCode, RejectedRow, RejectedRows, Rejection};
pub use settlements::{Settlement, Settlements};
pub use venue::{DescribedBounds, MarketDescription, PriceBounds, Scope, Venue, describe, iso_venues};
