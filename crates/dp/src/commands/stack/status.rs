//! `dp status`: one row for each process, and below the table the reasons why processes are not ready.

use std::process::ExitCode;

use localstack::{Condition, ProcessStatus, Stack};
use serde_json::{Value, json};

use ops::place::Place;
use ops::present::{print_json, print_line, table};
use service::Env;
use service::settings::mask;

/// A process, and the reason if it is not ready.
pub(super) struct State {
    process: ProcessStatus,
    why: Option<String>,
}

/// Runs `dp status`.
pub fn status(place: &Place, json: bool) -> anyhow::Result<ExitCode> {
    let stack = place.open()?;
    let states = states(&stack)?;
    if json {
        print_json(&described(&stack, &states)?)?;
    } else {
        show(&states)?;
    }
    let all_ready = states.iter().all(|state| state.why.is_none());
    Ok(if all_ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

pub(super) fn states(stack: &Stack) -> anyhow::Result<Vec<State>> {
    let state = |process: ProcessStatus| State {
        why: match process.condition {
            Condition::Running => stack.why_not_ready(process.name),
            Condition::Stopped | Condition::Frozen => process.why.clone(),
        },
        process,
    };
    Ok(stack.status()?.into_iter().map(state).collect())
}

/// The states as JSON.
pub(super) fn described(stack: &Stack, states: &[State]) -> anyhow::Result<Value> {
    let processes: Vec<Value> = states
        .iter()
        .map(|state| {
            let mut value = serde_json::to_value(&state.process)?;
            if let Some(object) = value.as_object_mut() {
                let ready = state.process.condition == Condition::Running && state.why.is_none();
                object.insert("ready".to_owned(), ready.into());
                object.insert("why".to_owned(), state.why.clone().into());
            }
            Ok(value)
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(json!({
        "dir": stack.config().dir,
        "environment": shown_env(stack.env()),
        "generation": stack.generation(),
        "processes": processes,
    }))
}

/// Addresses without their passwords, as every other command shows them.
fn shown_env(env: Env) -> Env {
    let shown = |value: String| match value.contains("://") {
        true => mask(&value),
        false => value,
    };
    env.into_iter().map(|(name, value)| (name, shown(value))).collect()
}

/// Prints the table, and the reasons below it.
pub(super) fn show(states: &[State]) -> anyhow::Result<()> {
    let rows = states.iter().map(|State { process, why }| {
        let state = match process.condition {
            Condition::Stopped => "stopped",
            Condition::Frozen => "frozen",
            Condition::Running if why.is_none() => "ready",
            Condition::Running => "not ready",
        };
        vec![
            process.name.to_string(),
            state.to_owned(),
            optional(process.pid),
            process.port.to_string(),
            process.uptime_seconds.map(uptime).unwrap_or_default(),
            process
                .usage
                .map(|usage| format!("{} MB", usage.resident_bytes >> 20))
                .unwrap_or_default(),
            process
                .usage
                .map(|usage| format!("{:.1} s", usage.cpu_seconds))
                .unwrap_or_default(),
        ]
    });
    print_line(&table(
        &["name", "state", "pid", "port", "up for", "memory", "CPU"],
        2,
        rows,
    ))?;
    let reasons = states
        .iter()
        .filter_map(|state| Some((state.process.name, state.why.as_ref()?)));
    reasons
        .into_iter()
        .try_for_each(|(name, why)| print_line(&format!("{name}: {why}")))
}

fn uptime(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

pub(super) fn optional(number: Option<i32>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        let of = |value: &str| shown_env(Env::from([("A".to_owned(), value.to_owned())])).remove("A");
        let dsn = of("postgresql://user:s3cret@127.0.0.1:5432/db").unwrap_or_default();
        assert!(dsn.contains("127.0.0.1:5432/db") && !dsn.contains("s3cret"), "{dsn}");
        assert_eq!(of("127.0.0.1:9092").as_deref(), Some("127.0.0.1:9092"));
    }

    #[test]
    fn up_times_are_short() {
        assert_eq!(
            [uptime(59), uptime(119), uptime(120), uptime(7200)],
            ["59 s", "119 s", "2 min", "2 h"]
        );
    }
}
