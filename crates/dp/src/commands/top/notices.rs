//! The lines below the tables of `dp top`: what is wrong, each with its severity. Pure.

use ops::alerts::State as AlertState;
use ops::health::State as Health;
use ops::top::{Alerts, Figures, Process};
use ratatui::style::Color;

use super::numbers::age;

/// A line below the tables.
pub struct Notice {
    /// Severity, or the state of the process.
    pub kind: String,
    /// What is wrong.
    pub text: String,
    /// Repeats `kind`.
    pub colour: Option<Color>,
}

/// What is wrong with processes and Kafka, then the alerts.
pub fn notices(figures: &Figures) -> Vec<Notice> {
    let of_process = |process: &Process| {
        let reason = process.reason.as_ref()?;
        Some(Notice {
            kind: process.state.name().to_owned(),
            text: format!("{}: {reason}", process.name),
            colour: colour_of(process.state),
        })
    };
    let mut notices: Vec<Notice> = figures.processes.iter().filter_map(of_process).collect();
    let plain = |kind: &str, text: &str| Notice {
        kind: kind.to_owned(),
        text: text.to_owned(),
        colour: None,
    };
    notices.extend(figures.lag_unknown.iter().map(|reason| plain("lag", reason)));
    match &figures.alerts {
        Alerts::NotConfigured => notices.push(plain(
            "-",
            "not configured: DATA_PROC_ALERTMANAGER_URL names Alertmanager",
        )),
        Alerts::Unknown(reason) => notices.push(plain("unknown", reason)),
        Alerts::Found(alerts) if alerts.is_empty() => notices.push(plain("-", "none")),
        Alerts::Found(alerts) => notices.extend(alerts.iter().map(|alert| Notice {
            kind: match alert.state {
                AlertState::Firing => alert.severity.clone(),
                muted => muted.name().to_owned(),
            },
            text: format!(
                "{} {}: {}",
                alert.name,
                age(figures.time.duration_since(alert.since).as_secs().try_into().ok()),
                alert.summary
            ),
            colour: match (alert.state, alert.severity.as_str()) {
                (AlertState::Firing, "critical") => Some(Color::Red),
                (AlertState::Firing, "warning") => Some(Color::Yellow),
                _ => None,
            },
        })),
    }
    notices
}

/// Green, yellow or red.
pub fn colour_of(state: Health) -> Option<Color> {
    Some(match state {
        Health::Up | Health::Healthy => Color::Green,
        Health::Degraded => Color::Yellow,
        Health::Unhealthy | Health::Refused | Health::Down => Color::Red,
    })
}
