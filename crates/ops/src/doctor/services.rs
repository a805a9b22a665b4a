//! Judges the answers of services and servers. Pure.

use std::collections::BTreeMap;

use localstack::FROZEN;
use serde_json::Value;
use service::control::ORDERS_UNREAD;

use super::subject::Subject;
use super::{Area, Finding, Severity};
use crate::health::{Line, State, failing};

/// What is wrong with one service or server. `is_local` says whether this command could start it.
/// `busy` says that this machine has more to do than it can.
pub(super) fn of_line(line: &Line, is_local: bool, busy: Option<&str>) -> Option<Finding> {
    let (severity, what) = match (line.state, &line.not_ready) {
        (State::Up | State::Healthy, None) => return None,
        (State::Up | State::Healthy, Some(_)) => (Severity::Warning, format!("{} is not ready", line.name)),
        (State::Degraded, None) if is_only_paused(line) => return None,
        (State::Degraded, _) => (Severity::Warning, degraded(line)),
        (State::Refused, _) => (Severity::Critical, format!("{} refuses this client", line.name)),
        (State::Down | State::Unhealthy, _) => (Severity::Critical, format!("{} is {}", line.name, line.state.name())),
    };
    let area = if line.is_server() {
        Area::Servers
    } else {
        Area::Services
    };
    // A service that waits for a server gives both the same reason.
    let not_ready = line.not_ready.as_ref().filter(|why| line.reason.as_ref() != Some(why));
    let busy = busy.filter(|_| is_late(line)).map(str::to_owned);
    let evidence = line.reason.iter().chain(not_ready).cloned().chain(busy);
    let (cause, next) = cause(line, is_local);
    let finding = Finding::new(severity, area, what, line.target.clone());
    let finding = finding.shown_by(evidence).because(cause, next);
    Some(finding.about(Subject::Process(line.name.clone())))
}

/// Whether the service is degraded by orders to pause and nothing else: the finding of each order has its cure. The same check fails if
/// the orders cannot be read, which no other finding says.
fn is_only_paused(line: &Line) -> bool {
    let mut failing = line.report.iter().flat_map(failing);
    let is_paused = failing.next().is_some_and(|(name, check)| {
        let error = check.get("error").and_then(Value::as_str).unwrap_or_default();
        name == "paused" && !error.contains(ORDERS_UNREAD)
    });
    is_paused && failing.next().is_none()
}

/// Whether dead letters are what degrades the service, besides orders to pause. Their reasons are in the letters, not in its log.
fn is_by_dead_letters(line: &Line) -> bool {
    let failing = line.report.iter().flat_map(failing).map(|(name, _)| name.as_str());
    failing.filter(|name| *name != "paused").eq(["dead_letters"])
}

/// With the checks that fail: the finding names what it is about, and the evidence says more.
fn degraded(line: &Line) -> String {
    let failing: Vec<&str> = line
        .report
        .iter()
        .flat_map(failing)
        .map(|(name, _)| name.as_str())
        .collect();
    match failing.as_slice() {
        [] => format!("{} is degraded", line.name),
        names => format!("{} is degraded by {}", line.name, names.join(", ")),
    }
}

/// Whether a question had no answer in its time. A connection that is refused is another reason.
fn is_late(line: &Line) -> bool {
    let is_late = |reason: &String| {
        ["in time", "no response within"]
            .iter()
            .any(|words| reason.contains(words))
    };
    line.reason.as_ref().is_some_and(is_late)
}

fn cause(line: &Line, is_local: bool) -> (&'static str, String) {
    let name = &line.name;
    match (line.state, is_local) {
        (State::Down, true) if line.reason.as_deref() == Some(FROZEN) => (
            "something has stopped its process (kill -STOP, a debugger) without ending it",
            format!("dp restart {name}"),
        ),
        (State::Down, true) if is_late(line) => (
            "it runs, and answers too late: the machine is busy, or the process hangs. Look for the load first (`dp top`)",
            format!("dp restart {name}"),
        ),
        (State::Down, true) => (
            "its process does not run, or does not respond",
            format!("dp start {name}"),
        ),
        (State::Refused, _) => (
            "the server runs, and a restart changes nothing: its users, rights or certificates differ from the settings, which the next \
             command shows with their origin",
            "dp config env --set".to_owned(),
        ),
        (State::Down, false) if line.is_server() => (
            "it does not run, its address is wrong, or the network or TLS prevents the connection",
            "dp config env --set".to_owned(),
        ),
        (State::Down, false) => (
            "it does not run, or its address is wrong",
            format!("dp ping --service {}", line.target),
        ),
        (State::Degraded, _) if is_by_dead_letters(line) => (
            "a producer sends what cannot be processed; the next command shows what is wrong with it",
            "dp dlq stats --since 10m".to_owned(),
        ),
        (_, true) => (
            "what the evidence names; other findings may name the same",
            format!("dp logs {name} -n 100"),
        ),
        (_, false) => (
            "what the evidence names; other findings may name the same",
            "dp health --all".to_owned(),
        ),
    }
}

/// Services of different builds: normal only during a rolling upgrade.
pub(super) fn versions(lines: &[Line]) -> Option<Finding> {
    let mut by_version: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in lines {
        let version = line
            .report
            .as_ref()
            .and_then(|report| report.get("version"))
            .and_then(Value::as_str);
        if let Some(version) = version {
            by_version.entry(version).or_default().push(&line.name);
        }
    }
    if by_version.len() < 2 {
        return None;
    }
    let evidence = by_version
        .iter()
        .map(|(version, names)| format!("{version}: {}", names.join(", ")));
    let finding = Finding::new(
        Severity::Warning,
        Area::Services,
        "services have different versions",
        "build of the services",
    );
    Some(finding.shown_by(evidence).because(
        "an upgrade that is not finished, or an old process that was not restarted",
        "dp health --all",
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(name: &str, kind: &'static str, state: State) -> Line {
        Line {
            name: name.to_owned(),
            kind,
            state,
            duration_ms: 1,
            target: "localhost:1".to_owned(),
            reason: None,
            not_ready: None,
            report: None,
        }
    }

    #[test]
    fn what_is_down_or_unhealthy_is_critical_and_what_works_is_no_finding() {
        let severity = |line: Line| of_line(&line, true, None).map(|finding| finding.severity);
        assert_eq!(severity(line("kafka", "server", State::Up)), None);
        assert_eq!(severity(line("enrichment", "service", State::Healthy)), None);
        assert_eq!(severity(line("kafka", "server", State::Down)), Some(Severity::Critical));
        assert_eq!(
            severity(line("enrichment", "service", State::Unhealthy)),
            Some(Severity::Critical)
        );
        assert_eq!(
            severity(line("enrichment", "service", State::Degraded)),
            Some(Severity::Warning)
        );
    }

    #[test]
    fn a_degraded_service_names_the_checks_that_fail() {
        let what = |report: Value| {
            let degraded = Line {
                report: Some(report),
                ..line("projection", "service", State::Degraded)
            };
            of_line(&degraded, true, None).map(|finding| finding.what)
        };
        let report = json!({"checks": {"kafka": {"status": "pass"}, "repetitions": {"status": "fail"}, "redis": {"status": "timeout"}}});
        assert_eq!(
            what(report).as_deref(),
            Some("projection is degraded by redis, repetitions")
        );
        assert_eq!(what(json!({})).as_deref(), Some("projection is degraded"));
    }

    #[test]
    fn a_service_that_is_only_paused_has_the_finding_of_the_order_alone() {
        let found = |checks: Value, not_ready: Option<&str>| {
            let degraded = Line {
                report: Some(json!({ "checks": checks })),
                not_ready: not_ready.map(str::to_owned),
                ..line("enrichment", "service", State::Degraded)
            };
            of_line(&degraded, true, None).map(|finding| finding.what)
        };
        let paused = json!({"status": "fail", "error": "enrichment is paused since noon by ann"});
        assert_eq!(
            found(json!({"paused": paused, "kafka": {"status": "pass"}}), None),
            None
        );
        let unread = json!({"status": "fail", "error": format!("the orders in control {ORDERS_UNREAD}: refused")});
        for (checks, not_ready, what) in [
            (
                json!({"paused": paused, "redis": {"status": "fail"}}),
                None,
                "enrichment is degraded by paused, redis",
            ),
            (
                json!({"paused": paused}),
                Some("waits"),
                "enrichment is degraded by paused",
            ),
            (json!({ "paused": unread }), None, "enrichment is degraded by paused"),
        ] {
            assert_eq!(found(checks, not_ready).as_deref(), Some(what));
        }
    }

    #[test]
    fn dead_letters_are_looked_up_where_they_are() {
        let next = |checks: Value| {
            let degraded = Line {
                report: Some(json!({ "checks": checks })),
                ..line("normalization", "service", State::Degraded)
            };
            of_line(&degraded, true, None).map(|finding| finding.next)
        };
        let letters = json!({"dead_letters": {"status": "fail"}, "paused": {"status": "fail"}});
        assert_eq!(next(letters).as_deref(), Some("dp dlq stats --since 10m"));
        let more = json!({"dead_letters": {"status": "fail"}, "redis": {"status": "fail"}});
        assert_eq!(next(more).as_deref(), Some("dp logs normalization -n 100"));
    }

    #[test]
    fn a_healthy_service_that_takes_no_work_is_named() {
        let waiting = Line {
            not_ready: Some("partition 2 is restored".to_owned()),
            ..line("aggregation", "service", State::Healthy)
        };
        let found = of_line(&waiting, true, None);
        assert_eq!(
            found.map(|finding| (finding.severity, finding.what, finding.evidence)),
            Some((
                Severity::Warning,
                "aggregation is not ready".to_owned(),
                vec!["partition 2 is restored".to_owned()]
            ))
        );
    }

    #[test]
    fn the_next_command_starts_only_what_runs_here() {
        let down = line("redis", "server", State::Down);
        let next = |is_local| of_line(&down, is_local, None).map(|finding| finding.next);
        assert_eq!(next(true).as_deref(), Some("dp start redis"));
        assert_eq!(next(false).as_deref(), Some("dp config env --set"));
    }

    #[test]
    fn a_frozen_process_is_restarted_because_it_runs_already() {
        let frozen = Line {
            reason: Some(FROZEN.to_owned()),
            ..line("enrichment", "service", State::Down)
        };
        let next = of_line(&frozen, true, None).map(|finding| finding.next);
        assert_eq!(next.as_deref(), Some("dp restart enrichment"));
    }

    #[test]
    fn a_refused_password_is_no_matter_of_a_start() {
        let refused = Line {
            reason: Some("postgres rejects the configured user".to_owned()),
            ..line("postgres", "server", State::Refused)
        };
        let found = of_line(&refused, true, None).map(|finding| (finding.severity, finding.what, finding.next));
        let expected = (
            "postgres refuses this client".to_owned(),
            "dp config env --set".to_owned(),
        );
        assert_eq!(found, Some((Severity::Critical, expected.0, expected.1)));
    }

    #[test]
    fn a_server_that_answers_too_late_is_not_started_but_its_load_is_named() {
        let of = |reason: &str| {
            let late = Line {
                reason: Some(reason.to_owned()),
                ..line("kafka", "server", State::Down)
            };
            of_line(&late, true, Some("load 30 on 2 cores")).map(|finding| (finding.next, finding.evidence.len()))
        };
        let late = of("look for the topics: no answer from the broker in time");
        assert_eq!(late, Some(("dp restart kafka".to_owned(), 2)));
        assert_eq!(of("connection refused"), Some(("dp start kafka".to_owned(), 1)));
    }

    #[test]
    fn a_reason_that_is_given_twice_is_shown_once() {
        let why = Some("kafka: no answer".to_owned());
        let waiting = Line {
            reason: why.clone(),
            not_ready: why,
            ..line("aggregation", "service", State::Unhealthy)
        };
        assert_eq!(
            of_line(&waiting, true, None).map(|finding| finding.evidence.len()),
            Some(1)
        );
    }

    #[test]
    fn different_versions_are_listed_with_their_services() {
        let of = |name: &str, version: &str| Line {
            report: Some(json!({ "version": version })),
            ..line(name, "service", State::Healthy)
        };
        assert_eq!(
            versions(&[of("a", "1"), of("b", "1"), line("c", "service", State::Down)]),
            None
        );
        let found = versions(&[of("a", "1"), of("b", "2"), of("c", "1")]);
        assert_eq!(
            found.map(|finding| finding.evidence),
            Some(vec!["1: a, c".to_owned(), "2: b".to_owned()])
        );
    }
}
