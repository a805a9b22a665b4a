//! The stages of enrichment.

pub mod enrich;
