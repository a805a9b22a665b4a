//! The result of a check, and the level that several results amount to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The combined level of all checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Level {
    Healthy,
    Degraded,
    Unhealthy,
}

/// The outcome of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Outcome {
    Pass,
    Fail,
    Timeout,
}

impl Outcome {
    /// `pass`, `fail`, `timeout`.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::Fail => "fail",
            Outcome::Timeout => "timeout",
        }
    }
}

/// The newest result of a check, as `/health` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct CheckRecord {
    pub status: Outcome,
    pub critical: bool,
    pub duration_ms: u64,
    /// The checked address, without secrets.
    pub target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Uncommitted messages of this service's groups, by group, as last reported by the broker.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lag: BTreeMap<String, i64>,
    /// RFC 3339; `null` before the first run.
    pub last_check: Option<String>,
}

/// The level of a set of results.
pub fn level_of<'a>(records: impl IntoIterator<Item = &'a CheckRecord>) -> Level {
    records
        .into_iter()
        .map(|record| match (record.status, record.critical) {
            (Outcome::Pass, _) => Level::Healthy,
            (_, false) => Level::Degraded,
            (_, true) => Level::Unhealthy,
        })
        .max()
        .unwrap_or(Level::Healthy)
}
