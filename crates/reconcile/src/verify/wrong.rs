//! A row that is wrong, and what is wrong with it.

use serde::Serialize;

/// What is wrong with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrong {
    /// The log requires it, and the store does not have it.
    Missing,
    /// The store has it, and the log does not require it, or not as often.
    Surplus,
    /// Both have it, with other values.
    Different,
}

/// A row that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongRow {
    /// What is wrong.
    pub wrong: Wrong,
    /// Its key in the store: a tick id; tenant, instrument, interval and start of a bar; tenant, series and time of a
    /// derived price; tenant, curve, horizon and time of a snapshot; tenant and instrument of a price.
    pub key: Vec<String>,
    /// The tick that the row comes from, of a bar its last one, of a derived price that of its last leg, of a snapshot the newest quote of its interval. Empty if the store does not name it.
    pub origin: String,
    /// The difference in one sentence.
    pub text: String,
}
