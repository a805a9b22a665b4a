//! Forward curves and derived prices: quotes of contracts to monthly prices that reprice them, and legs to spreads.
//!
//! Role: the pure core. Absent on purpose: async, I/O and clocks; times come from the log.
//! Invariants: a curve is a function of its quotes and their contracts; every quote that does not contradict a finer or newer one is the
//! mean, weighted by delivered hours, of the points of its contract.
//! Failure: [`CurveError`]; a quote or a row that cannot be used is reported, and the others still count.

mod curve;
mod definition;
mod delivery;
pub mod derived;
mod elimination;
mod error;
mod grid;
mod interpolate;
mod interpolation;
mod layout;
mod layouts;
mod method;
mod place;
mod quote;
pub mod rolling;
mod snapshot;
pub mod snapshots;
mod tenors;
mod texts;

pub use curve::{Builder, Curve, Point};
pub use definition::{Definition, LeftOut, PricedContract, Selected};
pub use delivery::DeliveryCalendar;
pub use error::CurveError;
pub use grid::Cell;
pub use interpolation::Interpolation;
pub use layout::{Basis, Layout, Scratch, Terms};
pub use layouts::Layouts;
pub use markets::contract::{
    Block, Commodity, Contract, ContractError, Month, Period, Season, Tenor, last_trading_day, prompt,
};
pub use method::{Method, Shape};
pub use quote::{Input, MOST_PRICE, Quote, State, is_plausible, too_large};
pub use snapshot::{CurveSnapshot, Horizon, SnapshotInput, SnapshotPoint};
pub use tenors::{TenorPrice, Tenors};
