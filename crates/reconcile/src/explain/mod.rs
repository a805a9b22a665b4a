//! Traces a number back to its raw messages, and a raw message forward to all its outputs.
//!
//! Role: [`numbers`], [`bar`], [`follow`] and [`text`] are pure: they recompute a bar, find out what became of a message, and
//! format a trace; [`steps`] times the path of a tick. [`tables`], [`logs`] and [`served`] query the stores and the log. [`session`]
//! assembles the traces, [`derived`] those of derived prices, [`merged`] those of bars that are merged from hours, [`curve`] those of curve snapshots, [`trace`] those of an event id, a correlation id or a trace id, [`recent`] the newest messages. A raw message is
//! read with normalization's own parser and event-id window (INV-1), so the trace shows what the pipeline decided.
//! Failure: data that a store no longer has (expired messages, merged versions) is reported as gone, never guessed.

pub mod bar;
pub mod content;
pub mod curve;
pub mod curve_text;
pub mod derived;
pub mod derived_text;
pub mod follow;
pub mod logs;
pub mod merged;
pub mod merged_text;
pub mod numbers;
pub mod recent;
pub mod row;
pub mod served;
pub mod session;
pub mod steps;
pub mod tables;
pub mod text;
mod tick_row;
pub mod trace;
pub mod trace_text;

use serde::Serialize;

pub use tick_row::{At, LateRow, Place, TickRow};

/// A version of a bar as stored in the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct BarRow {
    pub interval: String,
    pub window_start: At,
    pub version: u64,
    /// The enriched offset of the last tick applied.
    pub last_enriched_offset: i64,
    pub closed: bool,
    /// Ticks of the window that arrived after its close.
    pub revision: i32,
    /// What the last tick did; `None` if an earlier release wrote the row.
    pub cause: Option<String>,
    pub numbers: numbers::Numbers,
    /// Position in the bars topic.
    pub place: Place,
    pub ingested_at: At,
}
