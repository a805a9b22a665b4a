//! The arithmetic of `dp bench`: figures, statistics, tables. Pure except for [`machine`] and [`usage`], which read `/proc`,
//! and [`requests`], which asks the broker.
//!
//! Role: defines the figures of a measurement and how they are shown. The measurements are in [`crate::commands::bench`].
//! Invariant: the JSON keys of [`figures::Figures`] are a contract with tools that compare runs.

pub mod figures;
pub mod machine;
pub mod report;
pub mod requests;
pub mod statistics;
pub mod usage;
