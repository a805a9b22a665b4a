//! Reads typed values from the environment and the configuration file, and collects all problems.
//!
//! Role: one pass over a map that `main` read from the process, and over the file that `DATA_PROC_CONFIG_FILE` names. The
//! environment wins: a variable that it contains, even an empty one, hides the file's key. An invalid value is replaced by its
//! default *and* noted as a problem: [`Reader::finish`] returns all problems at once, so no service starts with such a default.
//! Reading a variable declares it; `dp config env` prints the declared ones.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use security::Secret;

use super::checked::{config_file, in_order};
use super::file::{Entry, File, TABLES};
use super::nearest;
use super::variable::{Kind, OTHER_PROGRAMS, SHARED_PREFIX, Source, Unknown, Variable};

/// The environment, read once at start-up.
pub type Env = BTreeMap<String, String>;

/// The variable that names the configuration file.
pub const CONFIG_FILE: &str = "DATA_PROC_CONFIG_FILE";

/// All problems of the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} problem(s) in the configuration: {}", .problems.len(), .problems.join("; "))]
pub struct SettingsError {
    /// One sentence for each problem: the variable, its value, and what is valid.
    pub problems: Vec<String>,
}

/// Reads values and collects declarations and problems.
#[derive(Debug)]
pub struct Reader<'a> {
    env: &'a Env,
    file: File,
    /// Problems of a file that cannot be read or parsed; then they are the only ones.
    broken_file: Vec<String>,
    variables: Vec<Variable>,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    /// A reader over this environment and the configuration file that it names.
    pub fn new(env: &'a Env) -> Reader<'a> {
        let mut reader = Reader {
            env,
            file: File::default(),
            broken_file: Vec::new(),
            variables: Vec::new(),
            problems: Vec::new(),
        };
        let meaning = "TOML file with settings; the environment overrides them";
        let path = reader.text_of(Kind::Path, CONFIG_FILE, "", meaning);
        if !path.is_empty() {
            match File::open(CONFIG_FILE, &path) {
                Ok(file) => reader.file = file,
                Err(problems) => reader.broken_file = problems,
            }
        }
        reader
    }

    /// A string; surrounding white space is removed, and an empty one counts as not set.
    pub fn text(&mut self, name: &str, default: &str, meaning: &'static str) -> String {
        self.text_of(Kind::Text, name, default, meaning)
    }

    /// The text of a value of this kind, which the caller parses.
    pub fn text_of(&mut self, kind: Kind, name: &str, default: &str, meaning: &'static str) -> String {
        let (set, source) = self.find(kind, name);
        let value = set.unwrap_or_else(|| default.to_owned());
        self.declare(name, kind, default, meaning, source, value.clone());
        value
    }

    /// A secret, or the file that contains it: also declares `NAME_FILE`.
    pub fn secret(&mut self, name: &str, default: &str, meaning: &'static str) -> Secret {
        let variable = format!("{name}_FILE");
        // Either form in the environment hides both forms in the configuration file.
        if self.lookup(name).or_else(|| self.lookup(&variable)).is_some() {
            self.file.remove(name);
            self.file.remove(&variable);
        }
        let (set, mut source) = self.find(Kind::Secret, name);
        let in_file = self.secret_file(name, &variable, set.is_some());
        if let (Some(_), Some(path)) = (&in_file, self.variables.last()) {
            source = path.source.clone();
        }
        let value = in_file.unwrap_or_else(|| Secret::new(set.unwrap_or_else(|| default.to_owned())));
        let default = Secret::new(default).to_string();
        self.declare(name, Kind::Secret, &default, meaning, source, value.to_string());
        value
    }

    /// The secret in the file that `NAME_FILE` names.
    fn secret_file(&mut self, name: &str, variable: &str, has_value: bool) -> Option<Secret> {
        let meaning = "file that contains the secret; read again for each connection";
        let path = self.text_of(Kind::Path, variable, "", meaning);
        if path.is_empty() {
            return None;
        }
        if has_value {
            self.problem(format!("{name} and {variable} are both set: unset one of them"));
            return None;
        }
        match Secret::in_file(variable, &path) {
            Ok(secret) => Some(secret),
            Err(error) => {
                self.problem(error.to_string());
                None
            }
        }
    }

    /// A file that must be readable; empty means none.
    pub fn file(&mut self, name: &str, meaning: &'static str) -> Option<PathBuf> {
        let path = self.text_of(Kind::Path, name, "", meaning);
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
        let (set, source) = self.find(rule.kind, name);
        let text = set.clone().unwrap_or_else(|| default_text.clone());
        self.declare(name, rule.kind, &default_text, meaning, source, text);
        let Some(text) = set else { return default };
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
        let kind = Kind::Integer(*range.start(), *range.end());
        let text = self.text_of(kind, name, &default_text, meaning);
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
        let text = self.text_of(Kind::Flag, name, if default { "true" } else { "false" }, meaning);
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
        let text = self.text_of(Kind::Duration, name, default, meaning);
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
        let text = self.text_of(Kind::List, name, default, meaning);
        text.split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// The value of this kind, and where it comes from.
    fn find(&mut self, kind: Kind, name: &str) -> (Option<String>, Source) {
        if self.env.contains_key(name) {
            return match self.lookup(name) {
                Some(value) => (Some(value), Source::Environment),
                None => (None, Source::Default),
            };
        }
        let Some(entry) = self.file.get(name) else {
            return (None, Source::Default);
        };
        match entry.text(kind) {
            Ok(text) if text.is_empty() => (None, Source::Default),
            Ok(text) => (Some(text), Source::File(entry.at.clone())),
            Err(problem) => {
                self.problems.push(problem);
                (None, Source::Default)
            }
        }
    }

    /// The value of a variable in the environment alone, such as an older name.
    pub fn lookup(&self, name: &str) -> Option<String> {
        self.env
            .get(name)
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
    }

    /// Whether the variable is set but empty, which disables an optional feature.
    pub fn is_blank(&self, name: &str) -> bool {
        match self.env.get(name) {
            Some(value) => value.trim().is_empty(),
            None => self.file.get(name).is_some_and(|entry| entry.is_blank()),
        }
    }

    /// Where the configuration file sets the variable to an empty array, if that is in effect.
    pub(super) fn empty_array(&self, name: &str) -> Option<String> {
        let entry = self.file.get(name).filter(|_| !self.env.contains_key(name))?;
        entry.is_empty_array().then(|| entry.at.clone())
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
            .any(|variable| variable.name == name && variable.is_set())
    }

    /// Notes every key of the configuration file that is neither declared nor in the table of another service.
    pub(super) fn refuse_unknown_keys(&mut self) {
        let known: Vec<&str> = self.variables.iter().map(|variable| variable.name.as_str()).collect();
        let other = |name: &str| OTHER_PROGRAMS.iter().find(|other| other.name == name);
        let is_read = |table: &str| {
            let prefix = format!("{}_", table.to_ascii_uppercase());
            known.iter().any(|name| name.starts_with(&prefix))
        };
        let unknown = |entry: &Entry| match nearest::key(&entry.key, &known) {
            _ if TABLES.contains(&entry.key.as_str()) => format!("{}: {1} must be a table: [{1}]", entry.at, entry.key),
            Some(nearest) => format!("{}: unknown key {}; did you mean {nearest}?", entry.at, entry.key),
            None => format!("{}: unknown key {}", entry.at, entry.key),
        };
        let is_ours = |entry: &Entry| entry.table().is_none_or(is_read);
        let impossible = self.file.impossible().iter().filter(|entry| is_ours(entry));
        let mut problems: Vec<String> = impossible.map(unknown).collect();
        for (name, entry) in self.file.entries().filter(|(_, entry)| is_ours(entry)) {
            match other(name) {
                _ if name == CONFIG_FILE => problems.push(environment_only(name, entry)),
                Some(other) if !other.in_file => problems.push(environment_only(name, entry)),
                Some(_) => {}
                None if known.contains(&name) => {}
                None => problems.push(unknown(entry)),
            }
        }
        self.problems.append(&mut problems);
    }

    /// Undeclared variables with the prefix of a declared one: probably spelling mistakes.
    pub(super) fn unknown(&self) -> Vec<Unknown> {
        let known: Vec<&str> = self.variables.iter().map(|variable| variable.name.as_str()).collect();
        let is_ours = |name: &str| {
            OTHER_PROGRAMS.iter().all(|other| other.name != name)
                && known.iter().any(|known| name.starts_with(prefix(known)))
        };
        self.env
            .keys()
            .filter(|name| is_ours(name) && !known.contains(&name.as_str()))
            .map(|name| Unknown {
                nearest: nearest::name(name, &known).map(str::to_owned),
                name: name.clone(),
            })
            .collect()
    }

    /// The declared variables, or all problems at once.
    pub fn finish(self) -> Result<Vec<Variable>, SettingsError> {
        let (variables, problems) = self.into_parts();
        if problems.is_empty() {
            Ok(variables)
        } else {
            Err(SettingsError { problems })
        }
    }

    /// The declared variables, and the problems.
    pub(super) fn into_parts(self) -> (Vec<Variable>, Vec<String>) {
        if !self.broken_file.is_empty() {
            // Other problems may only be due to settings that the file could not provide.
            return (self.variables, self.broken_file);
        }
        let located = |problem: String| located(problem, &self.variables);
        let problems = self.problems.into_iter().map(located).collect();
        let problems = in_order(problems, config_file(&self.variables));
        (self.variables, problems)
    }

    fn declare(&mut self, name: &str, kind: Kind, default: &str, meaning: &'static str, source: Source, value: String) {
        self.variables.push(Variable {
            name: name.to_owned(),
            kind,
            default: default.to_owned(),
            meaning,
            value,
            source,
        });
    }
}

fn environment_only(name: &str, entry: &Entry) -> String {
    let Entry { at, key, .. } = entry;
    format!("{at}: {key} is read from the environment only: set {name} there")
}

/// The problem, with the location of the variable that it is about if the configuration file sets that.
pub(crate) fn located(problem: String, variables: &[Variable]) -> String {
    let about = problem.split([' ', ':']).next().unwrap_or_default();
    match variables.iter().find(|variable| variable.name == about) {
        Some(Variable {
            source: Source::File(at),
            ..
        }) => format!("{problem} ({at})"),
        _ => problem,
    }
}

/// `DATA_PROC_` of `DATA_PROC_WORKERS`, `ENRICHMENT_` of `ENRICHMENT_REFRESH_INTERVAL`.
fn prefix(name: &str) -> &str {
    if name.starts_with(SHARED_PREFIX) {
        return SHARED_PREFIX;
    }
    name.find('_').and_then(|end| name.get(..=end)).unwrap_or(name)
}

/// A condition on a value, and its description.
pub struct Rule<T> {
    /// The kind of the value.
    pub kind: Kind,
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
