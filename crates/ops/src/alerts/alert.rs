//! What an operator needs to know of an alert. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Severities of the rules, the worst first; others come after them.
const SEVERITIES: [&str; 3] = ["critical", "warning", "info"];

/// Whether somebody is told of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is sent to its receiver.
    Firing,
    /// A silence mutes it: somebody has acknowledged it.
    Silenced,
    /// Another alert mutes it, as its cause.
    Inhibited,
}

impl State {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            State::Firing => "firing",
            State::Silenced => "silenced",
            State::Inhibited => "inhibited",
        }
    }
}

/// An alert.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alert {
    /// Alertmanager's fingerprint of the labels.
    pub id: String,
    /// Name of the rule.
    pub name: String,
    /// `critical`, `warning` or `info`; empty if the rule has none.
    pub severity: String,
    /// Whether somebody is told.
    pub state: State,
    /// Since when.
    pub since: jiff::Timestamp,
    /// What happens, in a sentence.
    pub summary: String,
    /// Address or file of the page that says what to do.
    pub runbook: String,
    /// The labels that identify it.
    pub labels: BTreeMap<String, String>,
    /// The silences that mute it.
    pub silences: Vec<Silence>,
}

/// A silence, as Alertmanager has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all(deserialize = "camelCase"))]
pub struct Silence {
    /// Its id.
    pub id: String,
    /// Who made it.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// When it ends.
    pub ends_at: jiff::Timestamp,
    /// What it mutes.
    pub matchers: Vec<Matcher>,
    #[serde(skip_serializing)]
    status: SilenceStatus,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct SilenceStatus {
    state: String,
}

impl Silence {
    /// Whether it mutes nothing any more.
    pub fn is_expired(&self) -> bool {
        self.status.state == "expired"
    }
}

/// A condition on a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Matcher {
    /// Name of the label.
    pub name: String,
    /// Its value, or a regular expression.
    pub value: String,
    /// Whether the value is a regular expression.
    pub is_regex: bool,
    /// Whether the label must have the value, or must not.
    #[serde(default = "equal")]
    pub is_equal: bool,
}

/// Alertmanagers of old do not write it.
fn equal() -> bool {
    true
}

impl Matcher {
    /// Reads `NAME=VALUE`, `NAME!=VALUE`, `NAME=~EXPRESSION` or `NAME!~EXPRESSION`.
    ///
    /// # Errors
    /// The message shows the forms.
    pub fn parse(text: &str) -> Result<Matcher, String> {
        let forms = "write it as NAME=VALUE, NAME!=VALUE, NAME=~EXPRESSION or NAME!~EXPRESSION";
        let at = text.find(['=', '!']).filter(|at| *at > 0).ok_or(forms)?;
        let (name, rest) = text.split_at(at);
        let operators = [
            ("=~", true, true),
            ("!~", true, false),
            ("!=", false, false),
            ("=", false, true),
        ];
        let found = operators
            .into_iter()
            .find_map(|(operator, is_regex, is_equal)| Some((rest.strip_prefix(operator)?, is_regex, is_equal)));
        let (value, is_regex, is_equal) = found.ok_or(forms)?;
        Ok(Matcher {
            name: name.to_owned(),
            value: value.to_owned(),
            is_regex,
            is_equal,
        })
    }

    /// In the form that [`Matcher::parse`] reads.
    pub fn shown(&self) -> String {
        let operator = match (self.is_regex, self.is_equal) {
            (false, true) => "=",
            (false, false) => "!=",
            (true, true) => "=~",
            (true, false) => "!~",
        };
        format!("{}{operator}{}", self.name, self.value)
    }
}

/// The alert that this names: the beginning of its id, or its name if no other alert has it.
///
/// # Errors
/// None, or several. The message lists the ids.
pub fn named<'a>(alerts: &'a [Alert], wanted: &str) -> Result<&'a Alert, String> {
    let is_it = |alert: &&Alert| alert.name == wanted || !wanted.is_empty() && alert.id.starts_with(wanted);
    let found: Vec<&Alert> = alerts.iter().filter(is_it).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(format!(
            "no alert has the id or the name {wanted}; `dp alerts list` shows them"
        )),
        several => {
            let ids: Vec<&str> = several.iter().map(|alert| alert.id.as_str()).collect();
            Err(format!(
                "{} alerts have the name {wanted}: use one of their ids, {}",
                ids.len(),
                ids.join(", ")
            ))
        }
    }
}

/// The ids of the silences that this names: the beginning of the id of a silence, or of an alert that silences mute.
///
/// # Errors
/// None, or several silences with this beginning.
pub fn silences_named(alerts: &[Alert], silences: &[Silence], wanted: &str) -> Result<Vec<String>, String> {
    let ids = |silences: &[Silence], is_it: &dyn Fn(&Silence) -> bool| -> Vec<String> {
        silences
            .iter()
            .filter(|silence| is_it(silence))
            .map(|silence| silence.id.clone())
            .collect()
    };
    let of_silence = ids(silences, &|silence| {
        !wanted.is_empty() && silence.id.starts_with(wanted)
    });
    match of_silence.len() {
        1 => return Ok(of_silence),
        0 => {}
        _ => {
            return Err(format!(
                "several silences begin with {wanted}: {}",
                of_silence.join(", ")
            ));
        }
    }
    let alert = named(alerts, wanted).map_err(|_| {
        format!(
            "no silence has the id {wanted}, and no single alert has it as its id or name; `dp alerts list` shows both"
        )
    })?;
    match ids(&alert.silences, &|_| true) {
        ids if ids.is_empty() => Err(format!("no silence mutes {}", alert.name)),
        ids => Ok(ids),
    }
}

/// An alert as Alertmanager has it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Received {
    fingerprint: String,
    starts_at: jiff::Timestamp,
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    status: ReceivedStatus,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReceivedStatus {
    #[serde(default)]
    silenced_by: Vec<String>,
    #[serde(default)]
    inhibited_by: Vec<String>,
}

/// The alerts, the worst first, of equal ones the oldest.
pub(super) fn listed(received: Vec<Received>, silences: &[Silence]) -> Vec<Alert> {
    let mut alerts: Vec<Alert> = received.into_iter().map(|alert| read(alert, silences)).collect();
    alerts.sort_by_key(|alert| (rank(&alert.severity), alert.state, alert.since, alert.name.clone()));
    alerts
}

/// The place of a severity among all, the worst first.
fn rank(severity: &str) -> usize {
    let known = SEVERITIES.iter().position(|known| *known == severity);
    known.unwrap_or(SEVERITIES.len())
}

fn read(received: Received, silences: &[Silence]) -> Alert {
    let status = &received.status;
    let state = match (status.silenced_by.is_empty(), status.inhibited_by.is_empty()) {
        (false, _) => State::Silenced,
        (true, false) => State::Inhibited,
        (true, true) => State::Firing,
    };
    let mutes = |silence: &&Silence| status.silenced_by.contains(&silence.id);
    let silences = silences.iter().filter(mutes).cloned().collect();
    let text = |of: &BTreeMap<String, String>, name: &str| of.get(name).cloned().unwrap_or_default();
    Alert {
        name: text(&received.labels, "alertname"),
        severity: text(&received.labels, "severity"),
        state,
        since: received.starts_at,
        summary: text(&received.annotations, "summary"),
        runbook: text(&received.annotations, "runbook_url"),
        silences,
        id: received.fingerprint,
        labels: received.labels,
    }
}

/// Matchers of a silence for the labels of this alert.
pub fn matchers(alert: &Alert) -> Vec<Matcher> {
    let equal = |(name, value): (&String, &String)| Matcher {
        name: name.clone(),
        value: value.clone(),
        is_regex: false,
        is_equal: true,
    };
    alert.labels.iter().map(equal).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn received(name: &str, severity: &str, since: &str, silenced_by: &[&str], inhibited_by: &[&str]) -> Received {
        serde_json::from_value(json!({
            "fingerprint": format!("id-{name}"),
            "startsAt": since,
            "endsAt": "2026-10-01T11:00:00.000Z",
            "labels": { "alertname": name, "severity": severity, "service": "projection" },
            "annotations": { "summary": format!("{name} happens."), "runbook_url": format!("docs/runbooks/{name}.md") },
            "status": { "state": "active", "silencedBy": silenced_by, "inhibitedBy": inhibited_by },
        }))
        .unwrap()
    }

    fn silence(id: &str, state: &str) -> Silence {
        serde_json::from_value(json!({
            "id": id, "createdBy": "ann", "comment": "known", "endsAt": "2026-10-01T12:00:00.000Z",
            "matchers": [], "status": { "state": state },
        }))
        .unwrap()
    }

    #[test]
    fn the_worst_and_oldest_come_first_and_muted_ones_say_by_whom() {
        let alerts = listed(
            vec![
                received("Late", "info", "2026-10-01T09:00:00Z", &[], &[]),
                received("Newer", "critical", "2026-10-01T10:00:00Z", &[], &[]),
                received("Muted", "critical", "2026-10-01T08:00:00Z", &["s1"], &[]),
                received("Older", "critical", "2026-10-01T09:00:00Z", &[], &[]),
                received("Follows", "warning", "2026-10-01T09:00:00Z", &[], &["x"]),
            ],
            &[silence("s1", "active"), silence("s2", "active")],
        );
        let names: Vec<&str> = alerts.iter().map(|alert| alert.name.as_str()).collect();
        assert_eq!(names, ["Older", "Newer", "Muted", "Follows", "Late"]);
        assert_eq!(alerts[2].state, State::Silenced);
        assert_eq!(alerts[2].silences, [silence("s1", "active")]);
        assert_eq!(alerts[3].state, State::Inhibited);
        assert_eq!(alerts[0].summary, "Older happens.");
        assert_eq!(alerts[0].runbook, "docs/runbooks/Older.md");
    }

    #[test]
    fn a_silence_matches_each_label_and_no_expression() {
        let alerts = listed(vec![received("A.*", "critical", "2026-10-01T09:00:00Z", &[], &[])], &[]);
        let matchers = matchers(&alerts[0]);
        assert_eq!(matchers.len(), 3);
        assert_eq!(
            serde_json::to_value(&matchers[0]).unwrap(),
            json!({ "name": "alertname", "value": "A.*", "isRegex": false, "isEqual": true })
        );
    }

    #[test]
    fn a_matcher_is_read_in_four_forms() {
        for (text, value, is_regex, is_equal) in [
            ("a=b=c", "b=c", false, true),
            ("a!=b", "b", false, false),
            ("a=~b|c!", "b|c!", true, true),
            ("a!~.*", ".*", true, false),
            ("a=", "", false, true),
        ] {
            let matcher = Matcher::parse(text).unwrap();
            let found = (matcher.value.as_str(), matcher.is_regex, matcher.is_equal);
            assert_eq!(found, (value, is_regex, is_equal), "{text}");
            assert_eq!((matcher.name.as_str(), matcher.shown().as_str()), ("a", text));
        }
        for text in ["", "a", "=b", "!=b", "a!b"] {
            assert!(Matcher::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_alert_is_named_by_its_id_or_by_a_name_that_no_other_has() {
        let twice = |id: &str| {
            let mut alert = received("Twice", "warning", "2026-10-01T09:00:00Z", &[], &[]);
            alert.fingerprint = id.to_owned();
            alert
        };
        let once = received("Once", "info", "2026-10-01T09:00:00Z", &["s1", "s2"], &[]);
        let silences = [
            silence("s1", "active"),
            silence("s2", "active"),
            silence("other", "active"),
        ];
        let alerts = listed(vec![twice("aa1"), twice("bb2"), once], &silences);
        assert_eq!(named(&alerts, "bb").unwrap().id, "bb2");
        assert_eq!(named(&alerts, "Once").unwrap().name, "Once");
        let several = named(&alerts, "Twice").unwrap_err();
        assert!(several.contains("aa1, bb2"), "{several}");
        assert!(named(&alerts, "x").unwrap_err().contains("dp alerts list"));
        assert!(named(&alerts, "").is_err());

        let of = |wanted: &str| silences_named(&alerts, &silences, wanted);
        assert_eq!(of("oth").unwrap(), ["other"]);
        assert_eq!(of("Once").unwrap(), ["s1", "s2"]);
        assert!(of("s").unwrap_err().contains("s1, s2"));
        assert!(of("aa").unwrap_err().contains("no silence mutes"));
        assert!(of("nothing").is_err());
    }

    #[test]
    fn an_expired_silence_is_known() {
        assert!(silence("s", "expired").is_expired());
        assert!(!silence("s", "pending").is_expired());
    }
}
