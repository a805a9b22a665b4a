//! The page `docs/configuration.md`, generated from the declarations of the variables.

use std::fmt::Write as _;

use super::reader::CONFIG_FILE;
use super::shared::REQUIRED_ELSEWHERE;
use super::variable::{Kind, OTHER_PROGRAMS, SHARED_PREFIX, Variable};
use super::{Env, declare};
use crate::clients::{Dependency, Use};
use crate::run::Definition;
use crate::writer::TableSpec;

/// What one service reads.
pub struct Part {
    service: &'static str,
    uses: &'static [Use],
    /// With the defaults of `local`.
    local: Vec<Variable>,
    /// With the defaults of other environments.
    elsewhere: Vec<Variable>,
}

impl Part {
    /// The variables of a service.
    pub fn of<S>(definition: &Definition<S>) -> Part {
        let declared = |env: &Env| declare(env, definition.default_port, definition.settings).variables;
        Part {
            service: definition.name,
            uses: definition.uses,
            local: declared(&Env::new()),
            elsewhere: declared(&Env::from([("DATA_PROC_ENV".to_owned(), "prod".to_owned())])),
        }
    }

    fn default(&self, name: &str) -> Option<(&str, &str)> {
        let of = |variables: &'_ [Variable]| variables.iter().position(|variable| variable.name == name);
        let local = self.local.get(of(&self.local)?)?;
        let elsewhere = self.elsewhere.get(of(&self.elsewhere)?)?;
        Some((&local.default, &elsewhere.default))
    }

    fn uses(&self, store: Dependency) -> bool {
        self.uses.iter().any(|used| used.dependency == store)
    }
}

const TOP: &str = r#"# Configuration

The four services and `dp` read the same settings: environment variables, and optionally one TOML file. They are read once, at
start. If a setting is invalid, the program lists all problems at once and exits with code 2 before it connects to a server.

This page is generated from the declarations in the code: `cargo run -p e2e --example configuration-page > docs/configuration.md`;
a test compares it.

```sh local
dp config env                                   # every variable, its value in effect and where the value comes from → DATA_PROC_WORKERS
dp config env --service aggregation --set       # only what is set for one service → DATA_PROC_KAFKA_BOOTSTRAP
```

```
dp config check --file pipeline.toml            # the checks of a start, without a start: exit code 0 or 2
dp config check --env-file prod.env --env-file secrets.env --service projection
```

## Precedence

1. The environment. A variable that is set, even to nothing, hides the key of the file. An empty value means "not set".
2. The file that `DATA_PROC_CONFIG_FILE` names.
3. The older names `KAFKA_ADDR`, `REDIS_ADDR`, `LOG_LEVEL` and `LOG_FORMAT` of the environment.
4. The default.

`RUST_LOG` overrides the log level of all of them. `dp` uses the addresses of the local stack for servers that neither the
environment nor the file names.

## The file

A key is the name of the variable in lower case without its prefix. Variables that all services share are at the top; those of one
service are in the table with its name. One file serves all programs: a service ignores the tables of the others.

```toml
env = "staging"
kafka_bootstrap = "kafka-1:9093,kafka-2:9093"
raw_topics = ["ingestion.market.raw.v1"]
workers = 2
processing_timeout = "30s"
postgres_dsn_file = "/run/secrets/postgres-dsn"

[normalization]
validation_enabled = true
min_price = -500.5

[aggregation]
watermark_delay_ms = 30_000
```

Values have TOML types:

| type on this page | in the file |
|---|---|
| text, path of a file | string |
| integer | integer |
| number | integer or float; its digits are kept exactly |
| true or false | boolean |
| duration | string such as `"500ms"`, `"30s"`, `"1m"`, `"2h"`, or an integer of seconds |
| list | array of strings (in the environment: separated by commas) |

An empty string means "not set" for every type. Unknown keys are rejected with the nearest known one, values of a wrong type with file, line and
column. Unknown variables of the environment are reported as warnings. Relative paths are relative to the working directory of the
program.

## Secrets

Variables of type "text, secret" are masked wherever they are shown. Each also exists with the suffix `_FILE` (in the file:
`_file`), which names a file with the secret. It is read again for each connection, so a rotated password needs no restart. Only
one of the two forms may be set; a form in the environment hides both forms in the file. See [security.md](security.md).

Outside `local`, the local stack's credentials are rejected, and so are passwords on unencrypted connections to other machines.
"Required" variables have no default there. Every service checks all shared variables, also those that it does not use.
"#;

/// The page for these services.
pub fn document(parts: &[Part]) -> String {
    let mut page = TOP.to_owned();
    let Some(first) = parts.first() else {
        return page;
    };
    let is_shared = |variable: &&Variable| variable.name.starts_with(SHARED_PREFIX);
    heading(&mut page, "All services");
    for variable in first
        .local
        .iter()
        .filter(is_shared)
        .filter(|variable| !is_form(variable, first))
    {
        let users: Vec<&Part> = parts.iter().filter(|part| is_used(&variable.name, part)).collect();
        row(&mut page, variable, parts, &users);
    }
    for part in parts {
        heading(&mut page, part.service);
        let own = part.local.iter().filter(|variable| !is_shared(variable));
        for variable in own.filter(|variable| !is_form(variable, part)) {
            row(&mut page, variable, std::slice::from_ref(part), &[part]);
        }
    }
    page.push_str(
        "\n## Other programs\n\n| variable | read by | in the file | default | meaning |\n|---|---|---|---|---|\n",
    );
    for other in OTHER_PROGRAMS {
        let in_file = if other.in_file { "yes" } else { "no" };
        let default = shown(other.default);
        // Writing to a string cannot fail.
        _ = writeln!(
            page,
            "| `{}` | {} | {in_file} | {default} | {} |",
            other.name, other.program, other.meaning
        );
    }
    page
}

fn heading(page: &mut String, title: &str) {
    _ = write!(
        page,
        "\n## {title}\n\n| variable | type | unit | default | outside `local` | used by | meaning |\n|---|---|---|---|---|---|---|\n"
    );
}

fn row(page: &mut String, variable: &Variable, parts: &[Part], users: &[&Part]) {
    let name = variable.name.as_str();
    let defaults: Vec<(&str, (&str, &str))> = parts
        .iter()
        .filter_map(|part| Some((part.service, part.default(name)?)))
        .collect();
    let (local, elsewhere): (Vec<_>, Vec<_>) = defaults
        .iter()
        .map(|(service, (local, elsewhere))| ((*service, *local), (*service, *elsewhere)))
        .unzip();
    let elsewhere = match REQUIRED_ELSEWHERE.iter().any(|(required, _)| *required == name) {
        true => "required".to_owned(),
        false if local == elsewhere => "same".to_owned(),
        false => default_of(&elsewhere),
    };
    let used_by = match (users.len() == parts.len(), name) {
        (_, CONFIG_FILE) => "all, `dp`".to_owned(),
        (true, _) if parts.len() > 1 => "all".to_owned(),
        _ => users.iter().map(|part| part.service).collect::<Vec<_>>().join(", "),
    };
    _ = writeln!(
        page,
        "| `{name}` | {} | {} | {} | {elsewhere} | {used_by} | {} |",
        variable.kind,
        variable.unit(),
        default_of(&local),
        variable.meaning.replace('|', "\\|"),
    );
}

/// One default, or that of each service.
fn default_of(defaults: &[(&str, &str)]) -> String {
    let (_, first) = defaults.first().copied().unwrap_or_default();
    if defaults.iter().all(|(_, default)| *default == first) {
        return shown(first);
    }
    let each: Vec<String> = defaults
        .iter()
        .map(|(service, default)| format!("{} ({service})", shown(default)))
        .collect();
    each.join(", ")
}

fn shown(default: &str) -> String {
    match default.is_empty() {
        true => "none".to_owned(),
        false => format!("`{default}`"),
    }
}

/// Whether it is the `_FILE` form of a secret.
fn is_form(variable: &Variable, part: &Part) -> bool {
    variable.name.strip_suffix("_FILE").is_some_and(|secret| {
        let is_it = |other: &Variable| other.name == secret && other.kind == Kind::Secret;
        part.local.iter().any(is_it)
    })
}

/// Whether the service does something with the setting, in addition to checking it.
fn is_used(name: &str, part: &Part) -> bool {
    let name = name.strip_prefix(SHARED_PREFIX).unwrap_or(name);
    let store = match name {
        "DB_POOL_SIZE" => Some(Dependency::Postgres),
        // Only writers of tables do, and not every user of ClickHouse is one.
        "MAX_BATCH_SIZE" | "FLUSH_INTERVAL_MS" => return TableSpec::of(part.service).next().is_some(),
        _ => [
            ("CLICKHOUSE_", Dependency::ClickHouse),
            ("POSTGRES_", Dependency::Postgres),
            ("REDIS_", Dependency::Redis),
        ]
        .into_iter()
        .find(|(prefix, _)| name.starts_with(prefix))
        .map(|(_, store)| store),
    };
    store.is_none_or(|store| part.uses(store))
}
