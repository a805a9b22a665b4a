//! The stages of projection.

mod active;
pub mod invalidate;
pub mod mark;
mod not_loaded;
pub mod project;
pub mod serve;
mod served_active;
pub(crate) mod served_record;
mod served_work;
mod store_work;
mod written;

pub use served_work::ServedStores;
pub use store_work::Stores;
