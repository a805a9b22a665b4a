//! The checks of a start, without a start: for `dp config`.

use crate::clients::addresses;
use crate::run::Definition;
use crate::settings::{Env, Unknown, Variable, declare};

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
    let problems = match declared.problems.is_empty() {
        true => addresses::problems(definition.uses, &declared.settings),
        // The clients would be checked with defaults in the place of rejected values.
        false => declared.problems,
    };
    Checked {
        service: definition.name,
        variables: declared.variables,
        problems,
        unknown: declared.unknown,
    }
}
