//! What Alertmanager sends to a webhook, and whether it calls for a bundle. Pure.

use std::time::Duration;

use serde::Deserialize;

/// A notification of Alertmanager (webhook version 4).
#[derive(Debug, Deserialize)]
pub struct Call {
    status: String,
    alerts: Vec<Called>,
}

#[derive(Debug, Deserialize)]
struct Called {
    status: String,
    labels: std::collections::BTreeMap<String, String>,
}

/// What follows from a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A bundle is collected, for these alerts.
    Collect(Vec<String>),
    /// Nothing is, for this reason.
    Ignore(String),
}

impl Call {
    /// Reads the body.
    ///
    /// # Errors
    /// It is not that of a notification.
    pub fn read(body: &[u8]) -> Result<Call, String> {
        serde_json::from_slice(body).map_err(|error| format!("not a notification of Alertmanager: {error}"))
    }

    /// Whether it calls for a bundle: a critical alert fires, and the last bundle was begun at least `pause` ago.
    pub fn answer(&self, last: Option<Duration>, pause: Duration) -> Answer {
        if self.status != "firing" {
            return Answer::Ignore("it is resolved".to_owned());
        }
        let is_critical = |called: &&Called| {
            called.status == "firing"
                && called
                    .labels
                    .get("severity")
                    .is_some_and(|severity| severity == "critical")
        };
        let mut names: Vec<String> = self
            .alerts
            .iter()
            .filter(is_critical)
            .filter_map(|called| called.labels.get("alertname").cloned())
            .collect();
        names.sort();
        names.dedup();
        match last {
            _ if names.is_empty() => Answer::Ignore("no critical alert fires".to_owned()),
            Some(last) if last < pause => Answer::Ignore(format!("the last bundle was begun {} s ago", last.as_secs())),
            _ => Answer::Collect(names),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    const PAUSE: Duration = Duration::from_secs(900);

    fn call(status: &str, alerts: &[(&str, &str, &str)]) -> Call {
        let alerts: Vec<_> = alerts
            .iter()
            .map(|(name, severity, status)| {
                json!({
                    "status": status,
                    "labels": { "alertname": name, "severity": severity },
                    "annotations": {}, "startsAt": "2026-10-01T00:00:00Z", "endsAt": "0001-01-01T00:00:00Z",
                    "generatorURL": "", "fingerprint": "f",
                })
            })
            .collect();
        let body = json!({ "version": "4", "groupKey": "k", "truncatedAlerts": 0, "status": status, "receiver": "r", "alerts": alerts });
        Call::read(body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn only_a_critical_alert_that_fires_calls_for_a_bundle() {
        let both = [
            ("RedisDown", "critical", "firing"),
            ("RedisDown", "critical", "firing"),
            ("Late", "info", "firing"),
        ];
        assert_eq!(
            call("firing", &both).answer(None, PAUSE),
            Answer::Collect(vec!["RedisDown".to_owned()])
        );
        for (status, alerts) in [
            ("resolved", &[("RedisDown", "critical", "resolved")][..]),
            (
                "firing",
                &[("RedisDown", "critical", "resolved"), ("Late", "warning", "firing")],
            ),
            ("firing", &[]),
        ] {
            assert!(
                matches!(call(status, alerts).answer(None, PAUSE), Answer::Ignore(_)),
                "{alerts:?}"
            );
        }
    }

    #[test]
    fn bundles_have_a_distance() {
        let call = call("firing", &[("RedisDown", "critical", "firing")]);
        assert!(matches!(
            call.answer(Some(PAUSE - Duration::from_secs(1)), PAUSE),
            Answer::Ignore(_)
        ));
        assert!(matches!(call.answer(Some(PAUSE), PAUSE), Answer::Collect(_)));
    }

    #[test]
    fn another_body_is_refused() {
        for body in ["", "{}", "[]", "{\"status\":\"firing\"}"] {
            let refused = Call::read(body.as_bytes()).unwrap_err();
            assert!(refused.starts_with("not a notification of Alertmanager"), "{refused}");
        }
    }
}
