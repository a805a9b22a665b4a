//! Runs every check that looks for the cause of a problem, all at the same time, and ranks what they find.
//!
//! Role: the decisions are pure: [`finding`], `services`, `lag`, `kafka`, `stores` and `clocks`; `fence` also asks its own question; `causes` puts consequences under
//! their cause; `checks` asks the servers, with the
//! probes that single commands use as well.
//! Invariant: nothing is changed. A check that could not run is a finding that says why: silence must not look like health.
//! Failure: a check that fails or takes too long is such a finding; the others go on.

mod causes;
mod check;
mod checks;
mod clocks;
mod fence;
pub mod finding;
mod kafka;
mod lag;
mod services;
mod stores;
mod subject;

use std::time::Duration;

use futures_util::future::join_all;
use procfs::{Current as _, LoadAverage};

pub use finding::{Area, Diagnosis, Finding, Outcome, Severity};

use crate::connection::{Connection, uses_stack};
use crate::health::{self, Line, State};
use crate::migrations::stores as clients;
use crate::place::Place;
use crate::targets::Target;
use check::Asked;
use subject::Subject;

/// Runs every check, each for at most `limit`. `usual` are names and local ports of the services; the second value says whether
/// nothing, something or all could be checked.
///
/// # Errors
/// An address cannot be parsed, or no services are named.
pub async fn examine(
    place: &Place,
    connection: &Connection,
    named: &[Target],
    usual: &[(&str, u16)],
    limit: Duration,
) -> anyhow::Result<(Diagnosis, Outcome)> {
    let lines = health::ask_all(place, connection, named, usual).await?;
    let is_local = uses_stack(place, &connection.env);
    let asked = Asked {
        connection,
        stores: clients(connection)?,
        place,
        is_local,
        limit,
    };
    let busy = is_local.then(busy).flatten();
    let mut findings: Vec<Finding> = lines
        .iter()
        .filter_map(|line| services::of_line(line, is_local, busy.as_deref()))
        .collect();
    findings.extend(services::versions(&lines));
    let (mut checked, mut not_checked) = (vec![Area::Servers, Area::Services], Vec::new());
    let (mut areas, mut running) = (Vec::new(), Vec::new());
    for check in checks::all(&asked)? {
        match check.needs.iter().find(|name| is_gone(&lines, name)) {
            Some(name) => {
                findings.push(skipped(check.area, name));
                not_checked.push(check.area);
            }
            None => {
                areas.push((check.area, check.limit));
                running.push(tokio::time::timeout(check.limit, check.run));
            }
        }
    }
    for ((area, limit), outcome) in areas.into_iter().zip(join_all(running).await) {
        let why = match outcome {
            Ok(Ok(found)) => {
                findings.extend(found);
                checked.push(area);
                continue;
            }
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => format!(
                "no answer within {} s (a busy machine needs longer: --timeout)",
                limit.as_secs()
            ),
        };
        findings.push(failed(area, why));
        not_checked.push(area);
    }
    let answers = lines.iter().filter(|line| line.state != State::Down).count();
    let diagnosis = Diagnosis::ranked(causes::grouped(findings, &lines), checked, not_checked);
    let outcome = diagnosis.outcome(answers);
    Ok((diagnosis, outcome))
}

/// That more programs want to run on this machine than it has cores, if they are several times as many.
fn busy() -> Option<String> {
    let load = LoadAverage::current().ok()?.one;
    let cores = std::thread::available_parallelism().ok()?.get();
    (load > 3.0 * cores as f32).then(|| format!("this machine is overloaded: its load is {load:.0} on {cores} cores"))
}

fn is_gone(lines: &[Line], name: &str) -> bool {
    lines
        .iter()
        .any(|line| line.is_server() && line.name == name && line.is_gone())
}

/// A check that needs a server that is gone: a consequence, not a problem of its own.
fn skipped(area: Area, server: &str) -> Finding {
    let what = format!("{} could not be checked", area.name());
    Finding::new(Severity::Note, area, what, server).about(Subject::Without(server.to_owned()))
}

fn failed(area: Area, why: String) -> Finding {
    let what = format!("{} could not be checked", area.name());
    Finding::new(Severity::Warning, area, what, area.name())
        .shown_by([why])
        .because(
            "a right is missing, or a server is slow or changes right now",
            "dp health --all",
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_took_too_long_says_so() {
        let slow = failed(Area::Lag, "no answer within 20 s".to_owned());
        assert_eq!((slow.severity, slow.evidence.len()), (Severity::Warning, 1));
    }
}
