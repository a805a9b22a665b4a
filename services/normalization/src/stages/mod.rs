//! The stages of normalization.

pub mod normalize;
