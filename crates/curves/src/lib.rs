//! Forward curves and derived prices: quotes of contracts to monthly prices that reprice them, and legs to spreads.
//!
//! Role: the pure core. Absent on purpose: async, I/O and clocks; times come from the log.
//! Invariants: a curve is a function of its quotes and their contracts; every quote that does not contradict a finer or newer one is the
//! mean, weighted by delivered hours, of the points of its contract.
//! Failure: [`CurveError`]; a quote or a row that cannot be used is reported, and the others still count.

mod contract;
mod curve;
mod delivery;
pub mod derived;
mod elimination;
mod error;
mod expiry;
mod grid;
mod holidays;
mod interpolate;
mod layout;
mod method;
mod quote;
pub mod rolling;
mod settlements;
mod snapshot;

pub use contract::{Block, Commodity, Contract, Month, Period, Season, Tenor};
pub use curve::{Builder, Curve, Point};
pub use delivery::DeliveryCalendar;
pub use error::CurveError;
pub use expiry::{last_trading_day, prompt};
pub use grid::Cell;
pub use layout::{Basis, Layout, Scratch, Terms};
pub use method::{Method, Shape};
pub use quote::{Input, Quote, State};
pub use settlements::{Rejected, Settlement, Settlements};
pub use snapshot::{CurveSnapshot, Horizon, SnapshotInput, SnapshotPoint, SnapshotTerms, Snapshots};
