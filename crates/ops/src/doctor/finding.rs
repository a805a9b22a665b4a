//! What a check has found, and the order in which an operator reads it. Pure.

use serde::Serialize;

use super::subject::Subject;

/// How bad a finding is, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Data is not processed, is wrong, or may be lost.
    Critical,
    /// A part works badly, or soon may not work.
    Warning,
    /// Worth knowing; nothing has to be done now.
    Note,
}

impl Severity {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// The area of a check. In this order causes come before their consequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Area {
    Disk,
    Servers,
    Clocks,
    Tables,
    Topics,
    Replicas,
    Services,
    Positions,
    Lag,
    Letters,
    Clickhouse,
    Postgres,
    Redis,
    Verification,
}

impl Area {
    /// Its name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Area::Disk => "disk",
            Area::Servers => "servers",
            Area::Clocks => "clocks",
            Area::Tables => "tables",
            Area::Topics => "topics",
            Area::Replicas => "replicas",
            Area::Services => "services",
            Area::Positions => "positions",
            Area::Lag => "lag",
            Area::Letters => "letters",
            Area::Clickhouse => "clickhouse",
            Area::Postgres => "postgres",
            Area::Redis => "redis",
            Area::Verification => "verification",
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The check that found it.
    pub area: Area,
    /// What happened.
    pub what: String,
    /// Where: an address, a topic, a table, a group. Without secrets.
    #[serde(rename = "where")]
    pub place: String,
    /// Numbers and texts that show it.
    pub evidence: Vec<String>,
    /// The likely cause.
    pub cause: String,
    /// The command to type next.
    pub next: String,
    /// What was found besides, and is explained by this.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub consequences: Vec<String>,
    #[serde(skip)]
    pub(super) subject: Subject,
}

impl Finding {
    /// A finding without evidence, cause and next step.
    pub fn new(severity: Severity, area: Area, what: impl Into<String>, place: impl Into<String>) -> Finding {
        Finding {
            severity,
            area,
            what: what.into(),
            place: place.into(),
            evidence: Vec::new(),
            cause: String::new(),
            next: String::new(),
            consequences: Vec::new(),
            subject: Subject::Itself,
        }
    }

    /// About this, so that its cause can be found elsewhere.
    #[must_use]
    pub(super) fn about(mut self, subject: Subject) -> Finding {
        self.subject = subject;
        self
    }

    /// With this evidence.
    #[must_use]
    pub fn shown_by(mut self, evidence: impl IntoIterator<Item = String>) -> Finding {
        self.evidence = evidence.into_iter().collect();
        self
    }

    /// With this likely cause and the command to type next.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>, next: impl Into<String>) -> Finding {
        self.cause = cause.into();
        self.next = next.into();
        self
    }
}

/// What was found in all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// The worst first; of equal ones the causes first.
    pub findings: Vec<Finding>,
    /// Areas that were checked.
    pub checked: Vec<Area>,
    /// Areas that could not be. Each has a finding that says why.
    pub not_checked: Vec<Area>,
}

/// The result of a diagnosis, as its exit code says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No critical finding and no warning.
    Fine,
    /// At least one of them.
    Found,
    /// No service and no server gave an answer.
    NothingChecked,
}

impl Diagnosis {
    /// Ranks findings, whatever order the checks have ended in.
    pub fn ranked(mut findings: Vec<Finding>, mut checked: Vec<Area>, mut not_checked: Vec<Area>) -> Diagnosis {
        // Stable: a check lists its own findings in the order that it means.
        findings.sort_by_key(|finding| (finding.severity, finding.area));
        checked.sort();
        not_checked.sort();
        Diagnosis {
            findings,
            checked,
            not_checked,
        }
    }

    /// Number of findings of this severity.
    pub fn count(&self, severity: Severity) -> usize {
        let is = |finding: &&Finding| finding.severity == severity;
        self.findings.iter().filter(is).count()
    }

    /// The result. `answers` is the number of services and servers that gave an answer.
    pub fn outcome(&self, answers: usize) -> Outcome {
        let is_bad = self.findings.iter().any(|finding| finding.severity < Severity::Note);
        match (answers, is_bad) {
            (0, _) => Outcome::NothingChecked,
            (_, true) => Outcome::Found,
            (_, false) => Outcome::Fine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity, area: Area, what: &str) -> Finding {
        Finding::new(severity, area, what, "")
    }

    #[test]
    fn the_worst_comes_first_and_a_cause_before_its_consequences() {
        let found = vec![
            finding(Severity::Note, Area::Servers, "note"),
            finding(Severity::Warning, Area::Lag, "b"),
            finding(Severity::Critical, Area::Services, "service"),
            finding(Severity::Warning, Area::Lag, "a"),
            finding(Severity::Critical, Area::Servers, "server"),
        ];
        let diagnosis = Diagnosis::ranked(found, vec![Area::Lag, Area::Disk], Vec::new());
        let order: Vec<&str> = diagnosis.findings.iter().map(|finding| finding.what.as_str()).collect();
        assert_eq!(order, ["server", "service", "b", "a", "note"]);
        assert_eq!(diagnosis.checked, [Area::Disk, Area::Lag]);
        assert_eq!(diagnosis.count(Severity::Warning), 2);
    }

    #[test]
    fn a_note_is_fine_and_silence_is_not() {
        let of = |severity: Option<Severity>, answers| {
            let found = severity.map(|severity| finding(severity, Area::Lag, ""));
            Diagnosis::ranked(found.into_iter().collect(), Vec::new(), Vec::new()).outcome(answers)
        };
        assert_eq!(of(None, 8), Outcome::Fine);
        assert_eq!(of(Some(Severity::Note), 8), Outcome::Fine);
        assert_eq!(of(Some(Severity::Warning), 1), Outcome::Found);
        assert_eq!(of(Some(Severity::Critical), 0), Outcome::NothingChecked);
    }
}
