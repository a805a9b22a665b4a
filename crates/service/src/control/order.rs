//! Orders to pause a stage, as the records of `pipeline.control.v1` hold them. Pure.
//!
//! Role: the key of a record is the stage, its value is JSON: `{"paused":true,"since":…,"by":…,"reason":…,"until":…}`. A value with
//! `"paused":false`, or no value, resumes the stage. `since` and `until` are ISO 8601.
//! Invariants: the newest record of a stage wins. What is no order changes nothing, so an earlier order stays in force. An order
//! with `until` ends by itself.

use std::collections::BTreeMap;

use domain::Micros;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::names::STAGES;

/// Longer values are no orders.
const LONGEST: usize = 16 << 10;

/// The value of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Order {
    pub paused: bool,
    /// When it was given.
    pub since: Timestamp,
    /// Who gave it.
    pub by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When a pause ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Order {
    /// Whether the stage is paused at this time.
    pub fn is_in_force(&self, now: Micros) -> bool {
        self.paused && self.until.is_none_or(|until| now < until.as_microsecond())
    }

    /// For operators: what is paused by whom, since when and why, and how it ends.
    pub fn explain(&self, stage: &str) -> String {
        let Order {
            since,
            by,
            reason,
            until,
            ..
        } = self;
        let reason = reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let until = until.map(|until| format!(" until {until:.0}")).unwrap_or_default();
        format!(
            "{stage} is paused since {since:.0} by {by}{reason}{until}: it takes no input, and its topics keep what arrives; \
             `dp resume {stage}` ends that"
        )
    }
}

/// A record: the stage, and its newest order; `None` if there is none any more.
type Change = (&'static str, Option<Order>);

/// Reads a record.
///
/// # Errors
/// It is no order: the reason, for operators.
pub fn parse(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Change, String> {
    let key = key.ok_or("it has no key; the key is the stage")?;
    let stage = STAGES.into_iter().find(|stage| stage.as_bytes() == key);
    let stage = stage.ok_or_else(|| {
        let shown: String = String::from_utf8_lossy(key).chars().take(64).collect();
        format!("there is no stage {shown:?}; the stages are {}", STAGES.join(", "))
    })?;
    let Some(value) = value else {
        return Ok((stage, None));
    };
    if value.len() > LONGEST {
        return Err(format!(
            "its value has {} bytes; an order has at most {LONGEST}",
            value.len()
        ));
    }
    let order = serde_json::from_slice(value).map_err(|error| format!("its value is not an order: {error}"))?;
    Ok((stage, Some(order)))
}

/// The newest order of each stage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book(BTreeMap<&'static str, Order>);

impl Book {
    /// Takes in a record, in the order of the log.
    ///
    /// # Errors
    /// It is no order, and changes nothing.
    pub fn take(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(), String> {
        match parse(key, value)? {
            (stage, Some(order)) => drop(self.0.insert(stage, order)),
            (stage, None) => drop(self.0.remove(stage)),
        }
        Ok(())
    }

    /// The order by which a stage is paused at this time.
    pub fn paused(&self, stage: &str, now: Micros) -> Option<&Order> {
        self.0.get(stage).filter(|order| order.is_in_force(now))
    }

    /// The stages that are paused at this time, in the order of the pipeline.
    pub fn all_paused(&self, now: Micros) -> Vec<(&'static str, &Order)> {
        let paused = |stage| Some((stage, self.paused(stage, now)?));
        STAGES.into_iter().filter_map(paused).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const PAUSED: &str = r#"{"paused":true,"since":"2026-10-01T00:00:00Z","by":"ann","reason":"restore"}"#;
    const LIMITED: &str = r#"{"paused":true,"since":"2026-10-01T00:00:00Z","by":"ann","until":"2026-10-01T00:10:00Z"}"#;
    const RESUMED: &str = r#"{"paused":false,"since":"2026-10-01T00:05:00Z","by":"bob"}"#;

    fn micros(text: &str) -> Micros {
        text.parse::<Timestamp>().unwrap().as_microsecond()
    }

    fn book(records: &[(&str, Option<&str>)]) -> Book {
        let mut book = Book::default();
        for (stage, value) in records {
            book.take(Some(stage.as_bytes()), value.map(str::as_bytes)).unwrap();
        }
        book
    }

    #[test]
    fn the_newest_order_of_a_stage_wins() {
        let now = micros("2026-10-01T00:06:00Z");
        for (later, is_paused) in [
            (None, false),
            (Some(RESUMED), false),
            (Some(LIMITED), true),
            (Some(PAUSED), true),
        ] {
            let book = book(&[
                ("projection", Some(PAUSED)),
                ("enrichment", Some(PAUSED)),
                ("enrichment", later),
            ]);
            assert_eq!(book.paused("enrichment", now).is_some(), is_paused, "{later:?}");
            assert!(book.paused("projection", now).is_some() && book.paused("aggregation", now).is_none());
            let all: Vec<&str> = book.all_paused(now).into_iter().map(|(stage, _)| stage).collect();
            let expected: &[&str] = if is_paused {
                &["enrichment", "projection"]
            } else {
                &["projection"]
            };
            assert_eq!(all, expected);
        }
        assert!(
            book(&[("enrichment", Some(RESUMED)), ("enrichment", Some(PAUSED))])
                .paused("enrichment", now)
                .is_some()
        );
    }

    #[test]
    fn a_pause_for_a_time_ends_by_itself() {
        let book = book(&[("enrichment", Some(LIMITED))]);
        for (now, is_paused) in [
            ("2026-10-01T00:00:00Z", true),
            ("2026-10-01T00:09:59.999999Z", true),
            ("2026-10-01T00:10:00Z", false),
        ] {
            assert_eq!(book.paused("enrichment", micros(now)).is_some(), is_paused, "{now}");
        }
    }

    #[test]
    fn what_is_no_order_says_why_and_changes_nothing() {
        let long = format!(
            r#"{{"paused":false,"since":"2026-10-01T00:00:00Z","by":"{}"}}"#,
            "x".repeat(LONGEST)
        );
        for (key, value, reason) in [
            (None, PAUSED, "has no key"),
            (Some("enrich"), PAUSED, "the stages are normalization, "),
            (Some("enrichment"), "", "not an order"),
            (Some("enrichment"), "stop", "not an order"),
            (Some("enrichment"), r#"{"paused":false}"#, "since"),
            (
                Some("enrichment"),
                r#"{"paused":false,"since":"today","by":"ann"}"#,
                "not an order",
            ),
            (
                Some("enrichment"),
                r#"{"paused":false,"since":"2026-10-01T00:00:00Z","by":"ann","ends":"x"}"#,
                "ends",
            ),
            (Some("enrichment"), &long, "at most"),
        ] {
            let mut book = book(&[("enrichment", Some(PAUSED))]);
            let refused = book.take(key.map(str::as_bytes), Some(value.as_bytes())).unwrap_err();
            assert!(refused.contains(reason), "{key:?} {value}: {refused}");
            assert!(
                book.paused("enrichment", micros("2026-10-01T00:01:00Z")).is_some(),
                "{value}"
            );
        }
        assert!(parse(Some(b"\xff"), None).is_err());
    }

    #[test]
    fn an_order_is_written_as_it_is_read_and_explains_itself() {
        let order: Order = serde_json::from_str(LIMITED).unwrap();
        let written = serde_json::to_vec(&order).unwrap();
        assert_eq!(
            parse(Some(b"enrichment"), Some(&written)),
            Ok(("enrichment", Some(order.clone())))
        );
        let said = order.explain("enrichment");
        for part in [
            "enrichment",
            "2026-10-01T00:00:00Z",
            "ann",
            "until 2026-10-01T00:10:00Z",
            "dp resume enrichment",
        ] {
            assert!(said.contains(part), "{said}");
        }
        let order: Order = serde_json::from_str(PAUSED).unwrap();
        assert!(order.explain("enrichment").contains("by ann (restore)"));
    }
}
