//! What is wrong, what to do, and what it costs of the score. Pure.

use serde::Serialize;

use super::machine::MachineUse;
use super::measured::{BUSY_PERCENT, Call, Measured, Stage};
use crate::health::State;
use crate::top::{Figures, Process};

/// The objective for the time from the raw message to the latest price.
const SLOW_STAGE: f64 = 2.0;
/// A call is slow above this, as services warn.
const SLOW_CALL_MS: f64 = 1_000.0;
/// Share of errors among the messages: some, many.
const ERRORS: [f64; 2] = [0.01, 0.10];
/// Used share of a machine's processors and memory, in percent.
const FULL_PERCENT: f64 = 90.0;
/// Used share of a disk, in percent: soon full, nearly full.
const DISK_PERCENT: [f64; 2] = [85.0, 95.0];

/// One problem.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// What it is about.
    pub component: String,
    /// What is wrong.
    pub problem: String,
    /// What to do next, its commands in backticks.
    pub recommendation: String,
    /// How much it takes from the score.
    pub cost: u32,
}

/// All problems.
pub(super) fn of(figures: &Figures, stages: &[Stage], measured: &Measured) -> Vec<Finding> {
    let processes = figures.processes.iter().flat_map(of_process);
    let stages = stages.iter().flat_map(of_stage);
    let calls = measured.calls.iter().filter_map(of_call);
    let machines = measured.machines.iter().flat_map(of_machine);
    processes.chain(stages).chain(calls).chain(machines).collect()
}

fn finding(component: &str, cost: u32, problem: String, recommendation: &str) -> Finding {
    Finding {
        component: component.to_owned(),
        problem,
        recommendation: recommendation.to_owned(),
        cost,
    }
}

fn of_process(process: &Process) -> Vec<Finding> {
    let name = &process.name;
    let mut found = Vec::new();
    let cost = match process.state {
        State::Up | State::Healthy => 0,
        State::Degraded => 10,
        State::Unhealthy | State::Refused | State::Down => 40,
    };
    if cost > 0 {
        let reason = process.reason.as_deref().unwrap_or("no reason is known");
        let problem = format!("is {}: {reason}", process.state.name());
        found.push(finding(name, cost, problem, "`dp doctor`"));
    }
    if let Some(percent) = process.cpu_percent.filter(|percent| *percent >= BUSY_PERCENT) {
        let (problem, next) = match process.kind {
            "service" => (
                format!("uses {percent:.0} % of a core; a stage cannot use more than one"),
                "`dp profile cpu SERVICE`; a replica, if a core is free: `dp start SERVICE-2`",
            ),
            _ => (format!("uses {percent:.0} % of a core"), "`dp capacity`"),
        };
        found.push(finding(name, 10, problem, next));
    }
    let rates = process.errors_per_second.zip(process.messages_per_second);
    if let Some((errors, messages)) = rates.filter(|(errors, _)| *errors > 0.0) {
        let share = errors / messages.max(errors);
        let [some, many] = ERRORS;
        if share > some {
            let problem = format!("has errors in {:.0} % of its messages", share * 100.0);
            found.push(finding(
                name,
                if share > many { 20 } else { 5 },
                problem,
                "`dp dlq stats`; `dp logs analyze`",
            ));
        }
    }
    found
}

fn of_stage(stage: &Stage) -> Vec<Finding> {
    let mut found = Vec::new();
    let name = &stage.group;
    if stage.is_behind {
        let grows = stage.in_per_second.zip(stage.out_per_second);
        let is_growing = grows.is_some_and(|(input, output)| output <= input);
        let (cost, how) = if is_growing {
            (25, "and the queue does not become shorter")
        } else {
            (10, "and the queue becomes shorter")
        };
        let problem = format!("{} messages of {} wait, {how}", stage.queue, stage.topic);
        let next = "`dp capacity`; a replica takes over partitions, if a core is free: `dp start SERVICE-2`";
        found.push(finding(name, cost, problem, next));
    }
    // Writers of tables and bars take up to a few seconds by design.
    let is_prompt = !name.contains("-clickhouse");
    if let Some(p99) = stage.p99_seconds.filter(|p99| is_prompt && *p99 > SLOW_STAGE) {
        let problem = format!("99 % of its results are within {p99:.1} s only, the objective is {SLOW_STAGE:.0} s");
        found.push(finding(
            name,
            10,
            problem,
            "`dp top` shows at which stage the time passes; `dp explain row` of one message",
        ));
    }
    found
}

fn of_call(call: &Call) -> Option<Finding> {
    let newest = &call.newest;
    let is_slow = newest.p95_ms > SLOW_CALL_MS;
    let fails = newest.success_ratio < 0.9;
    if !is_slow && !fails {
        return None;
    }
    let next = match &*newest.dependency {
        "clickhouse" => "`dp clickhouse slow --over 1s`; `dp clickhouse parts`",
        "postgres" => "`dp postgres activity`",
        "redis" => "`dp redis memory`",
        _ => "`dp health --all`",
    };
    let problem = match fails {
        true => format!(
            "{} of {} fails in {:.0} % of the calls",
            newest.operation,
            newest.dependency,
            (1.0 - newest.success_ratio) * 100.0
        ),
        false => format!(
            "{} of {} takes {:.0} ms (95th percentile)",
            newest.operation, newest.dependency, newest.p95_ms
        ),
    };
    Some(finding(&call.service, if fails { 10 } else { 5 }, problem, next))
}

fn of_machine(machine: &MachineUse) -> Vec<Finding> {
    let name = format!("machine of {}", machine.services.join(", "));
    let mut found = Vec::new();
    if let Some(percent) = machine.cpu_percent.filter(|percent| *percent > FULL_PERCENT) {
        let problem = format!("{percent:.0} % of its processors are in use: everything on it waits for them");
        found.push(finding(
            &name,
            10,
            problem,
            "`dp status` shows who uses them; more cores",
        ));
    }
    if let Some(used) = machine.memory.filter(|used| used.percent > FULL_PERCENT) {
        let problem = format!("{:.0} % of its memory is in use", used.percent);
        found.push(finding(&name, 10, problem, "`dp status` shows who uses it"));
    }
    let [soon, nearly] = DISK_PERCENT;
    if let Some(used) = machine.disk.filter(|used| used.percent > soon) {
        let problem = format!("its disk is {:.0} % full", used.percent);
        let cost = if used.percent > nearly { 25 } else { 10 };
        found.push(finding(
            &name,
            cost,
            problem,
            "`dp clickhouse disk`; `dp retention show`",
        ));
    }
    found
}
