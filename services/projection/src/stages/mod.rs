//! The stage of projection.

pub mod project;
mod store_work;

pub use store_work::Stores;
