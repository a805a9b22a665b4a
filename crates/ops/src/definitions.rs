//! The four services as a command knows them: names, default ports and settings.
//!
//! Role: checks a configuration as the services do when they start, without starting them.

use anyhow::bail;
use localstack::{Name, Stack};
use service::{Checked, Env, check};

use crate::connection::service_env;

/// Names and default ports of the services.
pub const DEFAULT_PORTS: [(&str, u16); 4] = [
    (normalization::DEFINITION.name, normalization::DEFINITION.default_port),
    (enrichment::DEFINITION.name, enrichment::DEFINITION.default_port),
    (aggregation::DEFINITION.name, aggregation::DEFINITION.default_port),
    (projection::DEFINITION.name, projection::DEFINITION.default_port),
];

/// What the services, or this one, read in the environment.
pub fn checked(env: &Env, service: Option<&str>) -> Vec<Checked> {
    let mut all = vec![
        check(&normalization::DEFINITION, env),
        check(&enrichment::DEFINITION, env),
        check(&aggregation::DEFINITION, env),
        check(&projection::DEFINITION, env),
    ];
    all.retain(|checked| service.is_none_or(|service| checked.service == service));
    all
}

/// Why this service would refuse to start.
fn problems(env: &Env, service: &str) -> Vec<String> {
    let parts = checked(env, Some(service));
    parts.into_iter().flat_map(|part| part.problems).collect()
}

/// Refuses what the services of these names would refuse when they start. Must be called inside a runtime.
///
/// # Errors
/// A service would refuse the configuration, or it cannot be read.
pub fn check_configuration(stack: &mut Stack, names: &[Name]) -> anyhow::Result<()> {
    let mut env = service_env(stack)?;
    for name in names {
        let Name::Service(service, _) = name else { continue };
        if let Some(port) = stack.port(*name) {
            env.insert("DATA_PROC_HEALTH_PORT".to_owned(), port.to_string());
        }
        let problems = problems(&env, service.name());
        if !problems.is_empty() {
            bail!(
                "{name} would refuse this configuration, so nothing was stopped or started: {}; correct it, then check it with \
                 `dp config check`",
                problems.join("; ")
            );
        }
    }
    Ok(())
}
