//! Orders to pause a stage or a tenant, as the records of `pipeline.control.v1` hold them. Pure.
//!
//! Role: the key of a record is the stage, or `tenant:` and the id of a tenant; its value is JSON:
//! `{"paused":true,"since":…,"by":…,"reason":…,"until":…}`. A value with `"paused":false`, or no value, resumes it. `since` and `until` are
//! ISO 8601.
//! Invariants: the newest record of a key wins. What is no order changes nothing, so an earlier order stays in force. An order
//! with `until` ends by itself.
//! Whether a message of a paused tenant is held follows from its append time, not from when it is read ([`Order::holds`]). So a message
//! that is read twice has the same outcome, also by a process that starts after the end of the pause. Two things are needed for that:
//! an order begins [`LEAD`] after it was given, when every service has read it, and it lists what earlier orders of its tenant have held,
//! since the topic is compacted.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::time::Duration;

use domain::Micros;
use domain::instrument::check_identifier;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::names::STAGES;

/// Longer values are no orders.
const LONGEST: usize = 16 << 10;
/// Begins the key of a tenant's order.
const TENANT_KEY: &str = "tenant:";
/// How long after it was given the order for a tenant begins or ends. Services read an order within a second, so the clocks of `dp` and
/// of the brokers may differ by the rest.
pub const LEAD: Duration = Duration::from_secs(10);
/// A raw topic keeps messages for a week; of an older pause nothing can be read again.
const REMEMBERED: Duration = Duration::from_secs(8 * 24 * 3_600);
/// Number of earlier pauses that an order lists.
const MOST_HELD: usize = 32;
/// The code of the dead letters that hold a tenant's messages.
pub const HELD_CODE: &str = "tenant_paused";

/// What an order is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A stage.
    Stage(&'static str),
    /// A tenant, at normalization.
    Tenant(String),
}

impl Subject {
    /// The key of its records. As in the keys of Redis, `:` and `%` of an id are percent-encoded.
    pub fn key(&self) -> String {
        match self {
            Subject::Stage(stage) => (*stage).to_owned(),
            Subject::Tenant(id) => format!("{TENANT_KEY}{}", id.replace('%', "%25").replace(':', "%3A")),
        }
    }

    /// The stage that follows the order: normalization holds the messages of a tenant.
    pub fn stage(&self) -> &'static str {
        match self {
            Subject::Stage(stage) => stage,
            Subject::Tenant(_) => "normalization",
        }
    }

    /// As an argument of `dp pause` and `dp resume`.
    pub fn argument(&self) -> String {
        match self {
            Subject::Stage(stage) => (*stage).to_owned(),
            Subject::Tenant(id) => tenant_argument(id),
        }
    }
}

impl Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Stage(stage) => f.write_str(stage),
            Subject::Tenant(id) => write!(f, "tenant {id}"),
        }
    }
}

/// `--tenant ID`, as a shell reads it.
pub fn tenant_argument(id: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match id.bytes().all(is_plain) && !id.starts_with('-') {
        true => format!("--tenant {id}"),
        false => format!("--tenant='{}'", id.replace('\'', "'\\''")),
    }
}

/// A time in which a tenant was paused, `[from, to)` by the append times of its messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Span {
    pub from: Timestamp,
    pub to: Timestamp,
}

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
    /// When earlier orders have held the messages of this tenant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<Span>,
}

impl Order {
    /// Whether the stage or the tenant is paused at this time.
    pub fn is_in_force(&self, now: Micros) -> bool {
        self.paused && self.until.is_none_or(|until| now < until.as_microsecond())
    }

    /// When the order for a tenant begins.
    pub fn begins(&self) -> Timestamp {
        self.since.checked_add(LEAD).unwrap_or(Timestamp::MAX)
    }

    /// Whether a message of the tenant that was appended at this time is held.
    pub fn holds(&self, appended_at: Micros) -> bool {
        let is_in = |span: &Span| (span.from.as_microsecond()..span.to.as_microsecond()).contains(&appended_at);
        (self.is_in_force(appended_at) && appended_at >= self.begins().as_microsecond()) || self.held.iter().any(is_in)
    }

    /// A message that was appended at this time or later is not held.
    fn holds_before(&self) -> Micros {
        let now = match (self.paused, self.until) {
            (true, until) => until.map_or(Micros::MAX, Timestamp::as_microsecond),
            (false, _) => Micros::MIN,
        };
        let spans = self.held.iter().map(|span| span.to.as_microsecond());
        spans.fold(now, Micros::max)
    }

    /// This order for a tenant, after an earlier one.
    #[must_use]
    pub fn after(mut self, earlier: Option<&Order>) -> Order {
        let begins = self.begins();
        self.until = self
            .until
            .map(|until| until.checked_add(LEAD).unwrap_or(Timestamp::MAX));
        let Some(earlier) = earlier else {
            return self;
        };
        self.held.clone_from(&earlier.held);
        let (from, to) = (earlier.begins(), earlier.until.unwrap_or(begins).min(begins));
        if earlier.paused && from < to {
            self.held.push(Span { from, to });
        }
        let oldest = self.since.checked_sub(REMEMBERED).unwrap_or(Timestamp::MIN);
        self.held.retain(|span| span.to > oldest);
        let surplus = self.held.len().saturating_sub(MOST_HELD);
        self.held.drain(..surplus);
        self
    }

    /// For operators: what is paused by whom, since when and why, and how it ends.
    pub fn explain(&self, subject: &Subject) -> String {
        let Order {
            since,
            by,
            reason,
            until,
            ..
        } = self;
        let reason = reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let until = until.map(|until| format!(" until {until:.0}")).unwrap_or_default();
        let ends = subject.argument();
        let effect = match subject {
            Subject::Stage(_) => {
                format!("it takes no input, and its topics keep what arrives; `dp resume {ends}` ends that")
            }
            Subject::Tenant(_) => format!(
                "its messages become dead letters; `dp resume {ends}` ends that, then `dp dlq replay --code {HELD_CODE} {ends}` sends them again"
            ),
        };
        format!("{subject} is paused since {since:.0} by {by}{reason}{until}: {effect}")
    }
}

/// A record: what it is for, and the newest order; `None` if there is none any more.
type Change = (Subject, Option<Order>);

/// Reads a record.
///
/// # Errors
/// It is no order: the reason, for operators.
pub fn parse(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Change, String> {
    let subject = subject(key.ok_or("it has no key; the key is the stage, or tenant:ID")?)?;
    let Some(value) = value else {
        return Ok((subject, None));
    };
    if value.len() > LONGEST {
        return Err(format!(
            "its value has {} bytes; an order has at most {LONGEST}",
            value.len()
        ));
    }
    let order = serde_json::from_slice(value).map_err(|error| format!("its value is not an order: {error}"))?;
    Ok((subject, Some(order)))
}

fn subject(key: &[u8]) -> Result<Subject, String> {
    if let Some(stage) = STAGES.into_iter().find(|stage| stage.as_bytes() == key) {
        return Ok(Subject::Stage(stage));
    }
    let shown: String = String::from_utf8_lossy(key).chars().take(64).collect();
    let Some(encoded) = key.strip_prefix(TENANT_KEY.as_bytes()) else {
        return Err(format!(
            "there is no stage {shown:?}; the stages are {}, and the key of a tenant is tenant:ID",
            STAGES.join(", ")
        ));
    };
    let encoded = std::str::from_utf8(encoded).map_err(|_| format!("the tenant of key {shown:?} is not UTF-8"))?;
    let subject = Subject::Tenant(encoded.replace("%3A", ":").replace("%25", "%"));
    if subject.key().as_bytes() != key {
        return Err(format!(
            "the tenant of key {shown:?} is not encoded: '%' is written as %25, and ':' as %3A"
        ));
    }
    match &subject {
        Subject::Tenant(id) => check_identifier(id).map_err(|error| format!("the tenant of key {shown:?} {error}"))?,
        Subject::Stage(_) => {}
    }
    Ok(subject)
}

/// The newest order of each stage and of each tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    stages: BTreeMap<&'static str, Order>,
    tenants: BTreeMap<String, Order>,
}

impl Book {
    /// Takes in a record, in the order of the log.
    ///
    /// # Errors
    /// It is no order, and changes nothing.
    pub fn take(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(), String> {
        match parse(key, value)? {
            (Subject::Stage(stage), Some(order)) => drop(self.stages.insert(stage, order)),
            (Subject::Stage(stage), None) => drop(self.stages.remove(stage)),
            (Subject::Tenant(id), Some(order)) => drop(self.tenants.insert(id, order)),
            (Subject::Tenant(id), None) => drop(self.tenants.remove(&id)),
        }
        Ok(())
    }

    /// The order by which a stage is paused at this time.
    pub fn paused(&self, stage: &str, now: Micros) -> Option<&Order> {
        self.stages.get(stage).filter(|order| order.is_in_force(now))
    }

    /// What is paused at this time: stages in the order of the pipeline, then tenants.
    pub fn all_paused(&self, now: Micros) -> Vec<(Subject, &Order)> {
        let stage = |stage| Some((Subject::Stage(stage), self.paused(stage, now)?));
        let tenants = self.tenants.iter().filter(|(_, order)| order.is_in_force(now));
        STAGES
            .into_iter()
            .filter_map(stage)
            .chain(tenants.map(|(id, order)| (Subject::Tenant(id.clone()), order)))
            .collect()
    }

    /// The newest order for a tenant.
    pub fn tenant(&self, id: &str) -> Option<&Order> {
        self.tenants.get(id)
    }

    /// The newest orders for tenants.
    pub fn tenants(&self) -> &BTreeMap<String, Order> {
        &self.tenants
    }

    /// No message that was appended at this time or later is held.
    pub(super) fn holds_before(&self) -> Micros {
        let ends = self.tenants.values().map(Order::holds_before);
        ends.fold(Micros::MIN, Micros::max)
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

    const ACME: &str = "tenant:acme";

    fn stage() -> Subject {
        Subject::Stage("enrichment")
    }

    fn tenant(id: &str) -> Subject {
        Subject::Tenant(id.to_owned())
    }

    fn order(text: &str) -> Order {
        serde_json::from_str(text).unwrap()
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
            let all: Vec<String> = book
                .all_paused(now)
                .iter()
                .map(|(subject, _)| subject.to_string())
                .collect();
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
            (Some("tenant:"), PAUSED, "is empty"),
            (Some("tenant:a|b"), PAUSED, "contains '|'"),
            (Some("tenant:a:b"), PAUSED, "is not encoded"),
            (Some("tenant:50%"), PAUSED, "is not encoded"),
            (Some("tenant:a%3ab"), PAUSED, "is not encoded"),
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
        assert!(parse(Some(b"tenant:\xff"), None).unwrap_err().contains("not UTF-8"));
    }

    #[test]
    fn an_order_is_written_as_it_is_read_and_explains_itself() {
        let order: Order = serde_json::from_str(LIMITED).unwrap();
        let written = serde_json::to_vec(&order).unwrap();
        assert_eq!(
            parse(Some(b"enrichment"), Some(&written)),
            Ok((stage(), Some(order.clone())))
        );
        let said = order.explain(&stage());
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
        assert!(order.explain(&stage()).contains("by ann (restore)"));
        let said = order.explain(&tenant("a b"));
        for part in [
            "tenant a b is paused since 2026-10-01T00:00:00Z by ann (restore)",
            "`dp resume --tenant='a b'`",
            "`dp dlq replay --code tenant_paused --tenant='a b'`",
        ] {
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn the_key_of_a_tenant_is_read_as_it_is_written() {
        for (id, key) in [
            ("acme", "tenant:acme"),
            ("a:b", "tenant:a%3Ab"),
            ("50%", "tenant:50%25"),
            ("%3A", "tenant:%253A"),
            ("enrichment", "tenant:enrichment"),
            ("tenant:x", "tenant:tenant%3Ax"),
            ("\u{fc} b", "tenant:\u{fc} b"),
        ] {
            assert_eq!(tenant(id).key(), key);
            assert_eq!(parse(Some(key.as_bytes()), None), Ok((tenant(id), None)), "{id}");
        }
        assert_eq!(tenant_argument("it's"), r"--tenant='it'\''s'");
    }

    #[test]
    fn stages_and_tenants_are_paused_side_by_side() {
        let now = micros("2026-10-01T00:06:00Z");
        let mut book = book(&[
            ("tenant:enrichment", Some(PAUSED)),
            (ACME, Some(PAUSED)),
            ("projection", Some(PAUSED)),
        ]);
        let all =
            |book: &Book| -> Vec<Subject> { book.all_paused(now).into_iter().map(|(subject, _)| subject).collect() };
        let projection = Subject::Stage("projection");
        assert_eq!(all(&book), [projection.clone(), tenant("acme"), tenant("enrichment")]);
        assert!(book.paused("enrichment", now).is_none());
        book.take(Some(ACME.as_bytes()), Some(RESUMED.as_bytes())).unwrap();
        book.take(Some(b"tenant:enrichment"), None).unwrap();
        assert_eq!(all(&book), [projection]);
        assert!(book.tenant("enrichment").is_none());
    }

    /// Whether messages of tenant acme that were appended at these seconds are held.
    fn held_at(book: &Book, seconds: &[i64]) -> Vec<bool> {
        let tenants = super::super::tenants::HeldTenants::default();
        tenants.follow(book);
        let start = micros("2026-10-01T00:00:00Z");
        let holds = |second: &i64| tenants.holds("acme", start + second * 1_000_000);
        assert!(
            seconds
                .iter()
                .all(|second| !tenants.holds("beta", start + second * 1_000_000))
        );
        seconds.iter().map(holds).collect()
    }

    #[test]
    fn the_append_time_decides_whether_a_message_is_held_whenever_it_is_read() {
        let times = [9, 10, 309, 310, 599, 609, 610, 619, 620];
        let until = |from: i64, to: i64| times.map(|at| (from..to).contains(&at)).to_vec();
        let (first, limited) = (order(PAUSED), order(LIMITED).after(None));
        let resumed = order(RESUMED).after(Some(&first));
        let again = Order {
            since: "2026-10-01T00:10:00Z".parse().unwrap(),
            ..first.clone()
        };
        let mut union = until(10, 310);
        union
            .iter_mut()
            .zip(until(610, i64::MAX))
            .for_each(|(held, again)| *held |= again);
        for (order, expected) in [
            (first.clone(), until(10, i64::MAX)),
            (limited.clone(), until(10, 610)),
            // What was held stays held, in the one record that the compacted topic keeps.
            (resumed.clone(), until(10, 310)),
            (order(RESUMED).after(Some(&limited)), until(10, 310)),
            (order(RESUMED).after(None), until(0, 0)),
            (again.clone().after(Some(&resumed)), union),
            // A pause that is ordered again goes on.
            (again.after(Some(&first)), until(10, i64::MAX)),
        ] {
            let written = serde_json::to_string(&order).unwrap();
            assert_eq!(held_at(&book(&[(ACME, Some(&written))]), &times), expected, "{written}");
        }
    }

    #[test]
    fn an_order_lists_only_so_many_earlier_pauses_and_none_that_nobody_can_read_again() {
        let mut last = order(PAUSED);
        for day in 0..40_u64 {
            let since = last.since.checked_add(Duration::from_secs(1_800 + day)).unwrap();
            last = Order {
                paused: !last.paused,
                since,
                ..last.clone()
            }
            .after(Some(&last));
        }
        assert_eq!(last.held.len(), 20);
        for _ in 0..40 {
            let since = last.since.checked_add(Duration::from_secs(60)).unwrap();
            last = Order {
                paused: !last.paused,
                since,
                ..last.clone()
            }
            .after(Some(&last));
        }
        assert_eq!(last.held.len(), MOST_HELD);
        assert!(serde_json::to_vec(&last).unwrap().len() < LONGEST);
        let later = Order {
            since: last.since.checked_add(REMEMBERED + LEAD).unwrap(),
            ..order(RESUMED)
        };
        last.paused = false;
        assert_eq!(later.after(Some(&last)).held, []);
    }
}
