//! The arithmetic of `dp bench`: figures, statistics, tables. Pure except for [`machine`] and [`usage`], which read `/proc`.
//!
//! Role: says what a measurement is made of and how it is shown; what is measured is in [`crate::commands::bench`].
//! Invariant: the JSON keys of [`figures::Figures`] are a contract with tools that compare runs.

pub mod figures;
pub mod machine;
pub mod report;
pub mod statistics;
pub mod usage;
