//! Puts what follows from a server or service that gives no answer, or from missing tables, under the finding that names it. Pure.
//!
//! Invariant: no finding is lost: it stands on its own, or is a line of its cause.
//! A consequence is known by its place in the pipeline: the report of a service names the servers it misses, a writer's group needs
//! ClickHouse, and a stage gets nothing from a service before it that is down. What shows only errors about a missing table follows from
//! that table.

use serde_json::Value;

use crate::health::{self, Line};

use super::subject::Subject;
use super::{Area, Finding};

/// The services in the order in which data flows.
const FLOW: [&str; 4] = ["normalization", "enrichment", "aggregation", "projection"];

/// What servers and services say of a table that is not there.
const ABSENT: [&str; 3] = ["schema_missing", "does not exist", "UNKNOWN_TABLE"];

/// The findings without those that follow from another one, which are its `consequences`.
pub(super) fn grouped(findings: Vec<Finding>, lines: &[Line]) -> Vec<Finding> {
    let gone = |name: &str| lines.iter().any(|line| line.name == name && line.is_gone());
    let is_cause = |finding: &Finding| match &finding.subject {
        Subject::Process(name) => gone(name),
        Subject::Tables { .. } | Subject::Fenced(_) => true,
        _ => false,
    };
    let (mut causes, rest): (Vec<Finding>, Vec<Finding>) = findings.into_iter().partition(is_cause);
    let mut own = Vec::new();
    for finding in rest {
        let name = cause(&finding, lines);
        let named = |cause: &&mut Finding| match (&cause.subject, &finding.subject) {
            (Subject::Process(gone), _) => name == Some(gone.as_str()),
            (Subject::Tables { groups, .. }, Subject::Group { id, .. }) => groups.contains(id),
            (Subject::Tables { names, .. }, _) => shows_only_absence(&finding, names, lines),
            // A claim does not explain why nobody reads.
            (Subject::Fenced(group), Subject::Group { id, is_read }) => *is_read && group == id,
            _ => false,
        };
        match causes.iter_mut().find(named) {
            Some(cause) => cause.consequences.push(finding.what),
            None => own.push(finding),
        }
    }
    causes.extend(own);
    causes
}

/// The name of what is gone and explains the finding.
fn cause<'l>(finding: &'l Finding, lines: &'l [Line]) -> Option<&'l str> {
    match &finding.subject {
        Subject::Itself | Subject::Tables { .. } | Subject::Fenced(_) => None,
        Subject::Without(server) => Some(server),
        Subject::Process(name) => missed_by(name, lines),
        Subject::Group { id, is_read } => {
            let service = id.split('-').next().unwrap_or(id);
            let writes = finding.area == Area::Lag && id.ends_with("-clickhouse");
            store_of(writes, lines)
                .or_else(|| missed_by(service, lines))
                .or_else(|| before(service, *is_read, lines))
        }
    }
}

/// Whether all that the finding shows is that one of these tables is missing.
fn shows_only_absence(finding: &Finding, tables: &[String], lines: &[Line]) -> bool {
    let shown: Vec<&str> = match &finding.subject {
        Subject::Process(name) => lines
            .iter()
            .filter(|line| line.name == *name)
            .flat_map(errors)
            .collect(),
        _ => finding.evidence.iter().map(String::as_str).collect(),
    };
    !shown.is_empty() && shown.into_iter().all(|error| misses_one(error, tables))
}

/// The errors of the checks that fail; if none does, why the service takes no work.
fn errors(line: &Line) -> Vec<&str> {
    let failing = line.report.iter().flat_map(health::failing);
    let errors: Vec<&str> = failing
        .map(|(_, check)| check.get("error").and_then(Value::as_str).unwrap_or_default())
        .collect();
    match errors.is_empty() {
        true => line.not_ready.as_deref().into_iter().collect(),
        false => errors,
    }
}

fn misses_one(error: &str, tables: &[String]) -> bool {
    let is_table = |word: &str| tables.iter().any(|table| table == word);
    ABSENT.iter().any(|absent| error.contains(absent))
        && error
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .any(is_table)
}

/// ClickHouse, if the group writes to it and it is gone.
fn store_of(writes: bool, lines: &[Line]) -> Option<&str> {
    let is_it = |line: &&Line| writes && line.is_server() && line.name == "clickhouse" && line.is_gone();
    lines.iter().find(is_it).map(|line| line.name.as_str())
}

/// The server that is gone and that a process of this service reports as failing.
fn missed_by<'l>(service: &str, lines: &'l [Line]) -> Option<&'l str> {
    let reports = lines
        .iter()
        .filter(|line| line.name == service || base(line) == service);
    let failing: Vec<&str> = reports
        .flat_map(|line| line.report.iter().flat_map(health::checks))
        .filter(|(_, check)| check.get("status").and_then(Value::as_str) != Some("pass"))
        .map(|(name, _)| name.as_str())
        .collect();
    let servers = lines.iter().filter(|line| line.is_server() && line.is_gone());
    servers
        .map(|line| line.name.as_str())
        .find(|server| failing.contains(server))
}

/// The service itself or, for a group that somebody reads, one before it, of which no process gives an answer.
fn before<'l>(service: &str, is_read: bool, lines: &'l [Line]) -> Option<&'l str> {
    let position = FLOW.iter().position(|name| *name == service)?;
    let first = if is_read { 0 } else { position };
    let names = FLOW.get(first..=position)?;
    let gone = |name: &&&str| {
        let mut its = lines
            .iter()
            .filter(|line| !line.is_server() && base(line) == **name)
            .peekable();
        its.peek().is_some() && its.all(Line::is_gone)
    };
    let name = names.iter().find(gone)?;
    let first = lines.iter().find(|line| !line.is_server() && base(line) == *name);
    first.map(|line| line.name.as_str())
}

/// The service of a replica: `normalization` of `normalization-2`.
fn base(line: &Line) -> &str {
    line.name.split('-').next().unwrap_or(&line.name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::doctor::Severity;
    use crate::health::State;

    fn line(name: &str, kind: &'static str, state: State) -> Line {
        Line {
            name: name.to_owned(),
            kind,
            state,
            duration_ms: 1,
            target: String::new(),
            reason: None,
            not_ready: None,
            report: None,
        }
    }

    fn misses(name: &str, server: &str) -> Line {
        Line {
            report: Some(json!({"checks": {server: {"status": "timeout"}, "state": {"status": "pass"}}})),
            ..line(name, "service", State::Unhealthy)
        }
    }

    fn of(what: &str, area: Area, subject: Subject) -> Finding {
        Finding::new(Severity::Critical, area, what, "").about(subject)
    }

    fn process(name: &str) -> Finding {
        of(name, Area::Services, Subject::Process(name.to_owned()))
    }

    fn group(id: &str, is_read: bool) -> Finding {
        let id = id.to_owned();
        of(&id.clone(), Area::Lag, Subject::Group { id, is_read })
    }

    fn tables(names: &[&str], groups: &[&str]) -> Subject {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Subject::Tables {
            names: owned(names),
            groups: owned(groups),
        }
    }

    /// Each finding that stands on its own, with what follows from it.
    fn standing(findings: Vec<Finding>, lines: &[Line]) -> Vec<(String, Vec<String>)> {
        let grouped = grouped(findings, lines).into_iter();
        grouped.map(|finding| (finding.what, finding.consequences)).collect()
    }

    fn expected(of: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
        of.iter()
            .map(|(what, follow)| ((*what).to_owned(), follow.iter().map(|one| (*one).to_owned()).collect()))
            .collect()
    }

    #[test]
    fn what_misses_a_server_that_is_down_is_a_line_of_it() {
        let lines = [
            misses("normalization", "clickhouse"),
            misses("aggregation", "state"),
            line("clickhouse", "server", State::Down),
            line("redis", "server", State::Up),
        ];
        let found = vec![
            process("normalization"),
            process("aggregation"),
            process("clickhouse"),
            group("enrichment-local-clickhouse", true),
            group("normalization-local", true),
            group("aggregation-local", true),
            of("tables", Area::Tables, Subject::Without("clickhouse".to_owned())),
            of("disk", Area::Disk, Subject::Itself),
        ];
        let follow: &[&str] = &[
            "normalization",
            "enrichment-local-clickhouse",
            "normalization-local",
            "tables",
        ];
        assert_eq!(
            standing(found, &lines),
            expected(&[
                ("clickhouse", follow),
                ("aggregation", &[]),
                ("aggregation-local", &[]),
                ("disk", &[])
            ])
        );
    }

    #[test]
    fn stages_after_a_service_that_is_down_wait_for_it_and_those_before_it_do_not() {
        let lines = [
            line("enrichment", "service", State::Down),
            line("aggregation", "service", State::Healthy),
            line("normalization", "service", State::Healthy),
        ];
        let found = vec![
            process("enrichment"),
            group("enrichment-local", false),
            group("aggregation-local-restate", true),
            group("projection-local", false),
            group("normalization-local", true),
        ];
        let follow: &[&str] = &["enrichment-local", "aggregation-local-restate"];
        assert_eq!(
            standing(found, &lines),
            expected(&[
                ("enrichment", follow),
                ("projection-local", &[]),
                ("normalization-local", &[])
            ])
        );
    }

    #[test]
    fn a_writer_waits_for_its_table() {
        let id = "bars-local-clickhouse";
        let found = vec![
            group(id, true),
            group("others-local-clickhouse", true),
            of("bars", Area::Tables, tables(&["bars"], &[id])),
        ];
        let follow: &[&str] = &[id];
        assert_eq!(
            standing(found, &[]),
            expected(&[("bars", follow), ("others-local-clickhouse", &[])])
        );
    }

    #[test]
    fn a_repair_explains_why_a_writer_waits_and_not_why_nobody_reads() {
        let fenced = |id: &str| of("taken", Area::Tables, Subject::Fenced(id.to_owned()));
        let id = "bars-local-clickhouse";
        let follow: &[&str] = &[id];
        let waits = standing(vec![group(id, true), fenced(id)], &[]);
        assert_eq!(waits, expected(&[("taken", follow)]));
        let unread = standing(vec![group(id, false), fenced(id)], &[]);
        assert_eq!(unread, expected(&[("taken", &[]), (id, &[])]));
    }

    #[test]
    fn a_missing_table_is_one_finding_with_all_that_follows_from_it() {
        let missing = "schema_missing: ClickHouse: table market_data.bars does not exist; run `dp migrate`";
        let failing = |name: &str, checks: Value| Line {
            report: Some(json!({ "checks": checks })),
            ..line(name, "service", State::Unhealthy)
        };
        let lines = [
            failing(
                "aggregation",
                json!({"clickhouse": {"status": "fail", "error": missing}, "kafka": {"status": "pass"}}),
            ),
            // It has another trouble besides.
            failing(
                "aggregation-2",
                json!({"clickhouse": {"status": "fail", "error": missing}, "redis": {"status": "fail", "error": "timeout"}}),
            ),
            Line {
                not_ready: Some(missing.to_owned()),
                ..line("aggregation-3", "service", State::Healthy)
            },
        ];
        let shown = |what: &str, evidence: &[&str]| {
            let evidence = evidence.iter().map(|text| (*text).to_owned());
            of(what, Area::Clickhouse, Subject::Itself).shown_by(evidence)
        };
        let unknown = "9, the last at noon: Code: 60. Table market_data.bars does not exist. (UNKNOWN_TABLE)";
        let id = "aggregation-local-clickhouse";
        let found = vec![
            process("aggregation"),
            process("aggregation-2"),
            process("aggregation-3"),
            group(id, true),
            shown("inserts", &[unknown]),
            shown(
                "other inserts",
                &[unknown, "1, the last at noon: Code: 241. Memory limit"],
            ),
            shown("a view", &["Table market_data.bars_latest does not exist"]),
            shown("slow", &["12 s, user a: SELECT * FROM bars"]),
            shown("nothing", &[]),
            of("tables", Area::Tables, tables(&["bars"], &[id])),
        ];
        let follow: &[&str] = &["aggregation", "aggregation-3", id, "inserts"];
        assert_eq!(
            standing(found, &lines),
            expected(&[
                ("tables", follow),
                ("aggregation-2", &[]),
                ("other inserts", &[]),
                ("a view", &[]),
                ("slow", &[]),
                ("nothing", &[]),
            ])
        );
    }

    #[test]
    fn a_replica_that_runs_explains_nothing_by_the_one_that_does_not() {
        let lines = [
            line("enrichment", "service", State::Down),
            line("enrichment-2", "service", State::Healthy),
        ];
        let found = vec![process("enrichment"), group("enrichment-local", true)];
        assert_eq!(
            standing(found, &lines),
            expected(&[("enrichment", &[]), ("enrichment-local", &[])])
        );
    }
}
