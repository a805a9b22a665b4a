//! The stage of enrichment.

pub mod enrich;
