//! The stage of projection.

mod not_loaded;
pub mod project;
mod store_work;

pub use store_work::Stores;
