//! What a variable is: its kind, its value in effect, and where that value comes from.

use std::fmt::{self, Display};

/// The kind of a value: what the configuration file may contain for it, and what the documentation shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// Text that is never printed.
    Secret,
    /// The path of a file.
    Path,
    /// An integer from the first to the second number.
    Integer(u64, u64),
    /// A number with decimals.
    Decimal,
    /// `true` or `false`.
    Flag,
    /// A number with a unit, such as `30s`; without a unit, seconds.
    Duration,
    /// Texts separated by commas; an array in the configuration file.
    List,
}

impl Kind {
    /// Completes "must be …" for a value in the configuration file.
    pub(super) fn in_file(self) -> &'static str {
        match self {
            Kind::Text | Kind::Secret => "a string",
            Kind::Path => "a string (the path of a file)",
            Kind::Integer(..) => "an integer",
            Kind::Decimal => "a number",
            Kind::Flag => "true or false",
            Kind::Duration => "a string such as \"30s\", or an integer of seconds",
            Kind::List => "an array of strings",
        }
    }
}

/// As the documentation shows it.
impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Text => f.write_str("text"),
            Kind::Secret => f.write_str("text, secret"),
            Kind::Path => f.write_str("path of a file"),
            Kind::Integer(low, high) => write!(f, "integer, {low} to {high}"),
            Kind::Decimal => f.write_str("number"),
            Kind::Flag => f.write_str("true or false"),
            Kind::Duration => f.write_str("duration"),
            Kind::List => f.write_str("list"),
        }
    }
}

/// Where the value in effect comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// It is not set.
    Default,
    /// The configuration file, at `path:line:column`.
    File(String),
    /// The environment.
    Environment,
}

impl Source {
    /// `default`, `file`, `environment`.
    pub fn name(&self) -> &'static str {
        match self {
            Source::Default => "default",
            Source::File(_) => "file",
            Source::Environment => "environment",
        }
    }
}

/// One variable of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Full name, for example `DATA_PROC_WORKERS`.
    pub name: String,
    /// What values it has.
    pub kind: Kind,
    /// Value when it is not set; empty means "none".
    pub default: String,
    /// What it sets, in a few words.
    pub meaning: &'static str,
    /// The value in effect; secrets are masked.
    pub value: String,
    /// Where that value comes from.
    pub source: Source,
}

impl Variable {
    /// Whether the environment or the configuration file sets it.
    pub fn is_set(&self) -> bool {
        self.source != Source::Default
    }

    /// The unit of a plain number, which ends the name of its variable.
    pub fn unit(&self) -> &'static str {
        if self.kind == Kind::Duration {
            return "seconds if it names none";
        }
        let units = [
            ("_MS", "milliseconds"),
            ("_S", "seconds"),
            ("_HOURS", "hours"),
            ("_MB", "MiB"),
            ("_BYTES", "bytes"),
        ];
        let unit = units.into_iter().find(|(end, _)| self.name.ends_with(end));
        unit.map_or("", |(_, unit)| unit)
    }

    /// Its key in the configuration file, with its table: `workers`, `aggregation.checkpoint_ms`.
    pub fn key(&self) -> String {
        key(&self.name)
    }
}

/// The key of a variable in the configuration file.
pub(super) fn key(name: &str) -> String {
    match name.strip_prefix(SHARED_PREFIX) {
        Some(shared) => shared.to_ascii_lowercase(),
        None => name.to_ascii_lowercase().replacen('_', ".", 1),
    }
}

/// The prefix of the variables that all services share.
pub(super) const SHARED_PREFIX: &str = "DATA_PROC_";

/// A variable that no program reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// Its name in the environment.
    pub name: String,
    /// The known name with the most similar spelling.
    pub nearest: Option<String>,
}

/// A variable with our prefix that no service reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Other {
    /// Full name.
    pub name: &'static str,
    /// Who reads it.
    pub program: &'static str,
    /// Value when it is not set; empty means "none".
    pub default: &'static str,
    /// What it sets, in a few words.
    pub meaning: &'static str,
    /// Whether the configuration file may set it.
    pub in_file: bool,
}

/// Lists the services that `dp health` asks.
pub const SERVICE_URLS: &str = "DATA_PROC_SERVICE_URLS";

/// Names Alertmanager.
pub const ALERTMANAGER_URL: &str = "DATA_PROC_ALERTMANAGER_URL";

/// Variables with our prefix that only other programs of the project read: `dp`, the local stack and the tests.
pub const OTHER_PROGRAMS: [Other; 4] = [
    Other {
        name: SERVICE_URLS,
        program: "dp",
        default: "",
        meaning: "services that `dp health` asks, as NAME=URL, separated by commas; empty = the local stack, else \
                  localhost:8080 to 8083",
        in_file: true,
    },
    Other {
        name: ALERTMANAGER_URL,
        program: "dp",
        default: "",
        meaning: "address of Alertmanager, for `dp alerts` and `dp top`; empty = that of `make monitor` for the local stack, else none",
        in_file: true,
    },
    Other {
        name: "DATA_PROC_CACHE",
        program: "dp",
        default: "~/.cache/254carbon",
        meaning: "folder of downloaded servers",
        in_file: false,
    },
    Other {
        name: "DATA_PROC_SAMPLE_DATA",
        program: "tests",
        default: "../shared/data",
        meaning: "folder of real documents for tests, next to the clone; tests that need it are skipped if it is missing",
        in_file: false,
    },
];
