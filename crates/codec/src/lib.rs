//! Wire formats: Avro records of the pipeline, their framing, the schema registry, and readable JSON.
//!
//! Role: converts bytes to domain values and back. The hot records have a small hand-written codec ([`reader`], [`writer`] and
//! one module a record), tested byte for byte against the reference implementation, which reads older schema versions.
//! Invariant: reading never panics and never invents a value: property tests use arbitrary and truncated bytes.
//! Failure: [`CodecError`] names the field and the byte.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod bar;
pub mod canonical;
pub mod changed;
pub mod compatibility;
pub mod curve;
pub mod derived;
pub mod enriched;
pub mod error;
pub mod framing;
pub mod json;
pub mod late;
pub mod leg;
mod lookups;
pub mod older;
pub mod raw_tick;
pub mod reader;
pub mod registry;
pub mod schemas;
pub mod state;
pub mod tick;
pub mod wire;
pub mod writer;

pub use error::CodecError;
pub use raw_tick::RawTick;
pub use reader::Utf8;
pub use registry::{RegisteredVersion, RegistryClient};
pub use schemas::Record;
pub use wire::{EnrichedView, TickView, Wire};
