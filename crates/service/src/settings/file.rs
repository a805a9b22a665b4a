//! The configuration file: TOML, with a key for each variable.
//!
//! Role: `workers` is `DATA_PROC_WORKERS`, and `checkpoint_ms` in table `aggregation` is `AGGREGATION_CHECKPOINT_MS`. Every
//! entry remembers its line and column. The type of a value is checked when a [`super::Reader`] declares its variable.
//! Invariant: messages contain no values, because any of them may be a secret.
//! Failure: a file that cannot be read or is not TOML yields every problem of its syntax, and no entries.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::variable::{Kind, SHARED_PREFIX};

/// The tables of the file: the services that have variables of their own prefix.
pub const TABLES: [&str; 4] = ["normalization", "enrichment", "aggregation", "projection"];

/// The entries of a file; empty if none is configured.
#[derive(Debug, Default)]
pub(super) struct File {
    /// By variable.
    entries: BTreeMap<String, Entry>,
    /// Keys that no variable can have.
    impossible: Vec<Entry>,
}

/// One key with its value.
#[derive(Debug)]
pub(super) struct Entry {
    /// As written, with its table.
    pub(super) key: String,
    /// `path:line:column` of the key.
    pub(super) at: String,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Text(String),
    /// With its decimal digits.
    Integer(String),
    Float(String),
    Flag(bool),
    /// Items with their location.
    Array(Vec<(String, Value)>),
    /// A type that no variable has.
    Other(&'static str),
}

impl File {
    /// Reads the file at this path.
    ///
    /// # Errors
    /// One sentence for each problem.
    pub(super) fn open(variable: &str, path: &str) -> Result<File, Vec<String>> {
        let content = std::fs::read_to_string(path)
            .map_err(|error| vec![format!("{variable}: file {path} cannot be read: {error}")])?;
        let (table, mut errors) = DeTable::parse_recoverable(&content);
        let text = Located {
            path,
            content: &content,
        };
        if !errors.is_empty() {
            let problem = |error: &toml::de::Error| {
                let at = text.at(error.span().map_or(0, |span| span.start));
                // Not its `Display`, which shows the line, and with it a secret.
                format!("{at}: {}", error.message().replace('\n', " "))
            };
            errors.sort_by_key(|error| error.span().map(|span| span.start));
            return Err(errors.iter().map(problem).collect());
        }
        let mut file = File::default();
        file.add(&text, &mut Vec::new(), table.get_ref());
        Ok(file)
    }

    fn add(&mut self, text: &Located<'_>, path: &mut Vec<String>, table: &DeTable<'_>) {
        for (key, value) in table {
            path.push(key.get_ref().to_string());
            match value.get_ref() {
                DeValue::Table(inner) if !inner.is_empty() => self.add(text, path, inner),
                // An empty table of a service sets nothing.
                DeValue::Table(_) if matches!(path.as_slice(), [table] if TABLES.contains(&table.as_str())) => {}
                other => {
                    let entry = Entry {
                        key: path.join("."),
                        at: text.at(key.span().start),
                        value: text.value(other),
                    };
                    match variable(path) {
                        Some(variable) => _ = self.entries.insert(variable, entry),
                        None => self.impossible.push(entry),
                    }
                }
            }
            path.pop();
        }
    }

    /// The entry of a variable.
    pub(super) fn get(&self, variable: &str) -> Option<&Entry> {
        self.entries.get(variable)
    }

    /// Forgets the entry of a variable that the environment replaces.
    pub(super) fn remove(&mut self, variable: &str) {
        self.entries.remove(variable);
    }

    /// Keys that no variable can have: of a wrong form, or in a wrong table.
    pub(super) fn impossible(&self) -> &[Entry] {
        &self.impossible
    }

    /// The other entries, by variable.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(variable, entry)| (variable.as_str(), entry))
    }
}

impl Entry {
    /// The value as the environment would contain it; empty means "not set".
    ///
    /// # Errors
    /// A sentence about a value of another type.
    pub(super) fn text(&self, kind: Kind) -> Result<String, String> {
        let wrong = |at: &str, found: &str| Err(format!("{at}: {} must be {}, got {found}", self.key, kind.in_file()));
        match (kind, &self.value) {
            (Kind::Text | Kind::Secret | Kind::Path | Kind::Duration, Value::Text(text)) => Ok(text.trim().to_owned()),
            (Kind::Integer(..) | Kind::Decimal | Kind::Duration, Value::Integer(digits))
            | (Kind::Decimal, Value::Float(digits)) => Ok(digits.clone()),
            (Kind::Flag, Value::Flag(flag)) => Ok(flag.to_string()),
            (Kind::List, Value::Array(items)) => {
                let mut texts = Vec::new();
                for (at, item) in items {
                    match item {
                        Value::Text(text) if text.contains(',') => {
                            return Err(format!("{at}: an item of {} must not contain a comma", self.key));
                        }
                        Value::Text(text) => texts.push(text.as_str()),
                        other => return wrong(at, &format!("an array with {}", other.type_name())),
                    }
                }
                Ok(texts.join(","))
            }
            (_, Value::Text(text)) if text.trim().is_empty() => Ok(String::new()),
            (_, other) => wrong(&self.at, other.type_name()),
        }
    }

    /// Whether it is an empty string, which means "not set".
    pub(super) fn is_blank(&self) -> bool {
        matches!(&self.value, Value::Text(text) if text.trim().is_empty())
    }

    /// Whether it is an array without an item.
    pub(super) fn is_empty_array(&self) -> bool {
        matches!(&self.value, Value::Array(_)) && self.text(Kind::List).is_ok_and(|text| text.trim().is_empty())
    }

    /// The value of a string, an integer or a list, whatever its variable expects.
    pub(super) fn plain(&self) -> Option<String> {
        match &self.value {
            Value::Text(text) | Value::Integer(text) => Some(text.trim().to_owned()),
            Value::Array(_) => self.text(Kind::List).ok(),
            _ => None,
        }
    }

    /// The service whose table contains it.
    pub(super) fn table(&self) -> Option<&str> {
        let (table, _) = self.key.split_once('.')?;
        TABLES.contains(&table).then_some(table)
    }
}

impl Value {
    fn type_name(&self) -> &'static str {
        match self {
            Value::Text(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a number with decimals",
            Value::Flag(_) => "true or false",
            Value::Array(_) => "an array",
            Value::Other(name) => name,
        }
    }
}

/// The variable of a key; keys are in lower case, and only the services have tables.
fn variable(path: &[String]) -> Option<String> {
    let (prefix, key) = match path {
        [key] => (SHARED_PREFIX.to_owned(), key),
        [table, key] if TABLES.contains(&table.as_str()) => (format!("{}_", table.to_ascii_uppercase()), key),
        _ => return None,
    };
    let is_lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    key.bytes()
        .all(is_lower)
        .then(|| format!("{prefix}{}", key.to_ascii_uppercase()))
}

/// Finds the line and column of an offset.
struct Located<'t> {
    path: &'t str,
    content: &'t str,
}

impl Located<'_> {
    fn at(&self, offset: usize) -> String {
        let before = self.content.get(..offset).unwrap_or(self.content);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
        format!("{}:{line}:{column}", self.path)
    }

    fn value(&self, value: &DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(integer) => match i128::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(number) => Value::Integer(number.to_string()),
                // Larger than any range that a variable has.
                Err(_) => Value::Integer(integer.as_str().to_owned()),
            },
            DeValue::Float(float) => Value::Float(float.as_str().to_owned()),
            DeValue::Boolean(flag) => Value::Flag(*flag),
            DeValue::Array(items) => {
                let item = |item: &toml::Spanned<DeValue<'_>>| (self.at(item.span().start), self.value(item.get_ref()));
                Value::Array(items.iter().map(item).collect())
            }
            DeValue::Datetime(_) => Value::Other("a date or time"),
            DeValue::Table(_) => Value::Other("a table"),
        }
    }
}
