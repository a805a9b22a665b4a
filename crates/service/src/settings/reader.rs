//! Reads typed values from the environment, and collects all problems.
//!
//! Role: one pass over a map that `main` read from the process. An invalid value is replaced by its default *and* noted as a
//! problem: [`Reader::finish`] returns all problems at once, so no service starts with such a default.
//! Reading a variable declares it; `dp config env` prints the declared ones.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use security::Secret;

/// The environment, read once at start-up.
pub type Env = BTreeMap<String, String>;

/// One variable of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Full name, for example `DATA_PROC_WORKERS`.
    pub name: String,
    /// Value when it is not set; empty means "none".
    pub default: String,
    /// What it sets, in a few words.
    pub meaning: &'static str,
    /// The value in effect; secrets are masked.
    pub value: String,
    /// Whether the environment sets it.
    pub is_set: bool,
}

/// A variable that no program reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// Its name in the environment.
    pub name: String,
    /// The known name with the most similar spelling.
    pub nearest: Option<String>,
}

/// Variables with our prefix that only other programs of the project read: the local stack and the tests.
const OTHER_PROGRAMS: [&str; 2] = ["DATA_PROC_CACHE", "DATA_PROC_SAMPLE_DATA"];

/// All problems of the environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} problem(s) in the environment: {}", .problems.len(), .problems.join("; "))]
pub struct SettingsError {
    /// One sentence for each problem: the variable, its value, and what is valid.
    pub problems: Vec<String>,
}

/// Reads values and collects declarations and problems.
#[derive(Debug)]
pub struct Reader<'a> {
    env: &'a Env,
    variables: Vec<Variable>,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    /// A reader over this environment.
    pub fn new(env: &'a Env) -> Reader<'a> {
        Reader {
            env,
            variables: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// A string; surrounding white space is removed, and an empty one counts as not set.
    pub fn text(&mut self, name: &str, default: &str, meaning: &'static str) -> String {
        let set = self.lookup(name);
        let value = set.clone().unwrap_or_else(|| default.to_owned());
        self.declare(name, default, meaning, set.is_some(), value.clone());
        value
    }

    /// A secret, or the file that contains it: also declares `NAME_FILE`.
    pub fn secret(&mut self, name: &str, default: &str, meaning: &'static str) -> Secret {
        let set = self.lookup(name);
        let in_file = self.secret_file(name, set.is_some());
        let is_set = set.is_some() || in_file.is_some();
        let value = in_file.unwrap_or_else(|| Secret::new(set.unwrap_or_else(|| default.to_owned())));
        self.declare(
            name,
            &Secret::new(default).to_string(),
            meaning,
            is_set,
            value.to_string(),
        );
        value
    }

    /// The secret in the file that `NAME_FILE` names.
    fn secret_file(&mut self, name: &str, has_value: bool) -> Option<Secret> {
        let variable = format!("{name}_FILE");
        let path = self.text(
            &variable,
            "",
            "file that contains the secret; read again for each connection",
        );
        if path.is_empty() {
            return None;
        }
        if has_value {
            self.problem(format!("{name} and {variable} are both set: unset one of them"));
            return None;
        }
        match Secret::in_file(&variable, &path) {
            Ok(secret) => Some(secret),
            Err(error) => {
                self.problem(error.to_string());
                None
            }
        }
    }

    /// A file that must be readable; empty means none.
    pub fn file(&mut self, name: &str, meaning: &'static str) -> Option<PathBuf> {
        let path = self.text(name, "", meaning);
        if path.is_empty() {
            return None;
        }
        if let Err(error) = std::fs::read(&path) {
            self.problem(format!("{name}: file {path} cannot be read: {error}"));
        }
        Some(PathBuf::from(path))
    }

    /// A value that [`FromStr`] parses and `accept` allows. `expected` completes "… must be".
    pub fn value<T>(&mut self, name: &str, default: T, meaning: &'static str, rule: Rule<T>) -> T
    where
        T: FromStr + Display,
    {
        let default_text = default.to_string();
        let Some(text) = self.lookup(name) else {
            self.declare(name, &default_text, meaning, false, default_text.clone());
            return default;
        };
        self.declare(name, &default_text, meaning, true, text.clone());
        match text.parse::<T>() {
            Ok(value) if (rule.accept)(&value) => value,
            _ => {
                self.problem(format!("{name} must be {}, got '{text}'", rule.expected));
                default
            }
        }
    }

    /// An integer within bounds.
    pub fn number(
        &mut self,
        name: &str,
        default: u64,
        range: std::ops::RangeInclusive<u64>,
        meaning: &'static str,
    ) -> u64 {
        let default_text = default.to_string();
        let text = self.text(name, &default_text, meaning);
        match text.parse::<u64>() {
            Ok(value) if range.contains(&value) => value,
            _ => {
                let (low, high) = (range.start(), range.end());
                self.problem(format!("{name} must be an integer from {low} to {high}, got '{text}'"));
                default
            }
        }
    }

    /// `true`/`false`, `1`/`0`, `yes`/`no`, `on`/`off`.
    pub fn flag(&mut self, name: &str, default: bool, meaning: &'static str) -> bool {
        let text = self.text(name, if default { "true" } else { "false" }, meaning);
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => true,
            "false" | "0" | "no" | "off" => false,
            _ => {
                self.problem(format!("{name} must be true or false, got '{text}'"));
                default
            }
        }
    }

    /// A duration such as `500ms`, `30s`, `1m`, `2h`; a bare number means seconds.
    pub fn duration(&mut self, name: &str, default: &str, meaning: &'static str) -> Duration {
        let text = self.text(name, default, meaning);
        match parse_duration(&text) {
            Some(duration) if !duration.is_zero() => duration,
            _ => {
                self.problem(format!(
                    "{name} must be a duration such as 500ms, 30s or 1m, got '{text}'"
                ));
                parse_duration(default).unwrap_or(Duration::from_secs(1))
            }
        }
    }

    /// A list separated by commas; empty items are skipped.
    pub fn list(&mut self, name: &str, default: &str, meaning: &'static str) -> Vec<String> {
        let text = self.text(name, default, meaning);
        text.split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// The value of a variable that is declared elsewhere, or of a fallback name.
    pub fn lookup(&self, name: &str) -> Option<String> {
        self.env
            .get(name)
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
    }

    /// Whether the variable is set but empty, which disables an optional feature.
    pub fn is_blank(&self, name: &str) -> bool {
        self.env.get(name).is_some_and(|value| value.trim().is_empty())
    }

    /// Notes a problem.
    pub fn problem(&mut self, problem: String) {
        self.problems.push(problem);
    }

    /// The variables declared so far.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// Whether an already declared variable is set.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.variables
            .iter()
            .any(|variable| variable.name == name && variable.is_set)
    }

    /// Undeclared variables with the prefix of a declared one: probably spelling mistakes.
    pub(super) fn unknown(&self) -> Vec<Unknown> {
        let known: Vec<&str> = self.variables.iter().map(|variable| variable.name.as_str()).collect();
        let is_ours = |name: &str| {
            OTHER_PROGRAMS.iter().all(|other| *other != name)
                && known.iter().any(|known| name.starts_with(prefix(known)))
        };
        self.env
            .keys()
            .filter(|name| is_ours(name) && !known.contains(&name.as_str()))
            .map(|name| Unknown {
                nearest: nearest(name, &known).map(str::to_owned),
                name: name.clone(),
            })
            .collect()
    }

    /// The declared variables, or all problems at once.
    pub fn finish(self) -> Result<Vec<Variable>, SettingsError> {
        if self.problems.is_empty() {
            Ok(self.variables)
        } else {
            Err(SettingsError {
                problems: self.problems,
            })
        }
    }

    /// The declared variables, and the problems.
    pub(super) fn into_parts(self) -> (Vec<Variable>, Vec<String>) {
        (self.variables, self.problems)
    }

    fn declare(&mut self, name: &str, default: &str, meaning: &'static str, is_set: bool, value: String) {
        self.variables.push(Variable {
            name: name.to_owned(),
            default: default.to_owned(),
            meaning,
            value,
            is_set,
        });
    }
}

/// `DATA_PROC_` of `DATA_PROC_WORKERS`, `ENRICHMENT_` of `ENRICHMENT_REFRESH_INTERVAL`.
fn prefix(name: &str) -> &str {
    if name.starts_with("DATA_PROC_") {
        return "DATA_PROC_";
    }
    name.find('_').and_then(|end| name.get(..=end)).unwrap_or(name)
}

/// The known name that was probably meant.
fn nearest<'n>(name: &str, known: &[&'n str]) -> Option<&'n str> {
    let distance = |known: &str| strsim::damerau_levenshtein(name, known);
    known
        .iter()
        .copied()
        .min_by_key(|known| distance(known))
        .filter(|known| distance(known) <= 4)
}

/// A condition on a value, and its description.
pub struct Rule<T> {
    /// Completes "NAME must be …".
    pub expected: &'static str,
    /// The condition.
    pub accept: fn(&T) -> bool,
}

/// Parses `500ms`, `30s`, `1m`, `2h`, `30` (seconds).
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit.trim() {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}
