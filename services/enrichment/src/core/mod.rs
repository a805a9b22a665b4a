//! The decisions of enrichment, without clock, I/O or metrics.

pub mod taxonomy;
