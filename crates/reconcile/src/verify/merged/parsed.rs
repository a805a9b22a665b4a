//! Numbers that ClickHouse returns as text.
//!
//! Failure: a text that is no such number is an error that says what it should have been.

use std::str::FromStr;

use anyhow::Context as _;

pub(super) fn parsed<N: FromStr>(what: &str, text: &str) -> anyhow::Result<N> {
    let number: Option<N> = text.parse().ok();
    number.with_context(|| format!("ClickHouse returned {text} as {what}, which is not a valid number"))
}
