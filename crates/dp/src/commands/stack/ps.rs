//! `dp ps`: the processes that run now, for scripts.

use localstack::{Condition, ProcessStatus, Stack};
use serde_json::json;

use super::status::optional;
use ops::place::Place;
use ops::present::{print_json, print_line, table};

/// Runs `dp ps`.
pub fn ps(place: &Place, json: bool) -> anyhow::Result<()> {
    let running = running(&place.open()?)?;
    if json {
        return print_json(
            &running
                .iter()
                .map(|process| json!({ "name": process.name, "pid": process.pid, "port": process.port }))
                .collect::<Vec<_>>(),
        );
    }
    let rows = running.iter().map(|process| {
        vec![
            process.name.to_string(),
            optional(process.pid),
            process.port.to_string(),
        ]
    });
    print_line(&table(&["name", "pid", "port"], 1, rows))
}

/// The processes of the stack that are alive, frozen ones included.
pub(super) fn running(stack: &Stack) -> anyhow::Result<Vec<ProcessStatus>> {
    Ok(stack
        .status()?
        .into_iter()
        .filter(|process| process.condition != Condition::Stopped)
        .collect())
}
