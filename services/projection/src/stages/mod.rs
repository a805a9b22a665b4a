//! The stages of projection.

mod active;
pub mod invalidate;
pub mod mark;
mod not_loaded;
pub mod project;
mod store_work;
mod written;

pub use store_work::Stores;
