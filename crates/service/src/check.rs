//! The checks of a start, without a start: for `dp config`.

use crate::clients::{Use, addresses};
use crate::run::Definition;
use crate::settings::{Env, Settings, Unknown, Variable, config_file, declare, in_order, located};

/// What a service would read, and why it would not start.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Name of the service.
    pub service: &'static str,
    /// Every declared variable, with its value in effect.
    pub variables: Vec<Variable>,
    /// One sentence for each problem.
    pub problems: Vec<String>,
    /// Unknown variables with one of our prefixes: a start only warns about them.
    pub unknown: Vec<Unknown>,
}

/// Checks the settings of a service in this environment. Connects to no server. Must be called inside a runtime.
pub fn check<S>(definition: &Definition<S>, env: &Env) -> Checked {
    let declared = declare(env, definition.default_port, definition.settings);
    let mut problems = declared.problems;
    for problem in address_problems(definition.uses, &declared.settings, &declared.variables) {
        let about = problem.split(':').next().unwrap_or_default();
        // An address may be rejected for two reasons; the first is the more precise one.
        if !problems.iter().any(|known| known.starts_with(about)) {
            problems.push(problem);
        }
    }
    let problems = in_order(problems, config_file(&declared.variables));
    Checked {
        service: definition.name,
        variables: declared.variables,
        problems,
        unknown: declared.unknown,
    }
}

/// Addresses and certificates with which no client can be created. Must be called inside a runtime.
pub(crate) fn address_problems(uses: &[Use], settings: &Settings, variables: &[Variable]) -> Vec<String> {
    let problems = addresses::problems(uses, settings);
    problems
        .into_iter()
        .map(|problem| located(problem, variables))
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::clients::Dependency;

    const USES: [Use; 4] = [
        Use::required(Dependency::Kafka),
        Use::required(Dependency::ClickHouse),
        Use::required(Dependency::Postgres),
        Use::optional(Dependency::Redis),
    ];

    #[tokio::test]
    async fn addresses_are_checked_together_with_the_settings() {
        let definition = Definition {
            name: "projection",
            about: "",
            routes: &[],
            default_port: 8083,
            uses: &USES,
            metrics: &[],
            deciding: &[],
            settings: |_| (),
            build: |_| Ok(()),
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipeline.toml");
        let content = "workers = 0\nclickhouse_url = \"localhost\"\npostgres_dsn = \"postgresql://u:s3cret@h:port/db\"";
        std::fs::write(&path, content).unwrap();
        let path = path.to_str().unwrap();
        let env = Env::from([
            (crate::settings::CONFIG_FILE.to_owned(), path.to_owned()),
            ("DATA_PROC_REDIS_URL".to_owned(), "nonsense:s3cret".to_owned()),
        ]);
        let problems = check(&definition, &env).problems;
        assert_eq!(problems.len(), 4, "{problems:#?}");
        for (problem, begins) in
            problems
                .iter()
                .zip(["REDIS_URL: ", "WORKERS must", "CLICKHOUSE_URL must", "POSTGRES_DSN: "])
        {
            assert!(problem.starts_with(&format!("DATA_PROC_{begins}")), "{problem}");
        }
        assert!(problems[3].ends_with(&format!("({path}:3:1)")), "{}", problems[3]);
        assert!(!problems.concat().contains("s3cret"), "{problems:#?}");
        assert_eq!(check(&definition, &Env::new()).problems, Vec::<String>::new());
    }
}
