//! What the services would say about a configuration: problems that prevent a start, and warnings.

use serde::Serialize;
use service::Checked;
use service::settings::Unknown;

use ops::present::{print_json, print_line, printable};

/// The problems of all checked services, each once.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    services: Vec<&'static str>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Problem {
    /// Who would refuse to start.
    services: Vec<&'static str>,
    problem: String,
}

impl Verdict {
    pub(super) fn of(parts: &[Checked]) -> Verdict {
        let mut verdict = Verdict {
            services: parts.iter().map(|part| part.service).collect(),
            problems: Vec::new(),
            warnings: Vec::new(),
        };
        for part in parts {
            for problem in &part.problems {
                match verdict.problems.iter_mut().find(|known| known.problem == *problem) {
                    Some(known) => known.services.push(part.service),
                    None => verdict.problems.push(Problem {
                        services: vec![part.service],
                        problem: problem.clone(),
                    }),
                }
            }
            verdict.warnings.extend(part.unknown.iter().map(misspelt));
        }
        verdict.warnings.sort();
        verdict.warnings.dedup();
        verdict
    }

    /// Adds the problems of a program that is not a service.
    pub(super) fn add(&mut self, program: &'static str, problems: Vec<String>) {
        let found = problems.into_iter().map(|problem| Problem {
            services: vec![program],
            problem,
        });
        self.problems.extend(found);
    }

    /// Whether every service would start.
    pub(super) fn is_valid(&self) -> bool {
        self.problems.is_empty()
    }

    /// The result of `dp config check`.
    pub(super) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            return print_json(self);
        }
        self.report();
        match self.problems.len() {
            0 => print_line(&format!("valid: {}", self.services.join(", "))),
            number => print_line(&format!(
                "invalid: {number} problem{}",
                if number == 1 { "" } else { "s" }
            )),
        }
    }

    /// Prints problems and warnings to stderr.
    pub(super) fn report(&self) {
        for Problem { services, problem } in &self.problems {
            let problem = printable(problem);
            match services.len() == self.services.len() {
                true => eprintln!("refused: {problem}"),
                false => eprintln!("refused by {}: {problem}", services.join(", ")),
            }
        }
        self.warnings
            .iter()
            .for_each(|warning| eprintln!("warning: {}", printable(warning)));
    }
}

fn misspelt(unknown: &Unknown) -> String {
    match &unknown.nearest {
        Some(nearest) => format!("unknown variable {}; did you mean {nearest}?", unknown.name),
        None => format!("unknown variable {}", unknown.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_of_several_services_is_listed_once() {
        let part = |service, problems: &[&str]| Checked {
            service,
            variables: Vec::new(),
            problems: problems.iter().map(|problem| (*problem).to_owned()).collect(),
            unknown: vec![Unknown {
                name: "DATA_PROC_WORKER".to_owned(),
                nearest: Some("DATA_PROC_WORKERS".to_owned()),
            }],
        };
        let verdict = Verdict::of(&[part("enrichment", &["shared"]), part("projection", &["shared", "own"])]);
        let problems: Vec<(usize, &str)> = verdict
            .problems
            .iter()
            .map(|problem| (problem.services.len(), problem.problem.as_str()))
            .collect();
        assert_eq!(problems, [(2, "shared"), (1, "own")]);
        assert_eq!(
            verdict.warnings,
            ["unknown variable DATA_PROC_WORKER; did you mean DATA_PROC_WORKERS?"]
        );
        assert!(!verdict.is_valid());
    }
}
