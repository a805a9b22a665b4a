//! CPU time and peak memory of processes between two samples, from `/proc`.

use std::collections::BTreeMap;
use std::fs;

use localstack::{Stack, usage};

use super::figures::Figures;

const MB: f64 = 1024.0 * 1024.0;

/// One sample of what each process has used, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usages(BTreeMap<String, Used>);

#[derive(Debug, Clone, Copy, PartialEq)]
struct Used {
    pid: i32,
    cpu_seconds: f64,
    peak_bytes: u64,
}

impl Usages {
    /// Samples every running process of the stack.
    pub fn of(stack: &Stack) -> anyhow::Result<Usages> {
        let pids = stack.status()?.into_iter();
        Ok(Usages::of_pids(
            pids.filter_map(|process| Some((process.name.to_string(), process.pid?))),
        ))
    }

    /// Samples these processes.
    pub fn of_pids(pids: impl IntoIterator<Item = (String, i32)>) -> Usages {
        let used = |(name, pid): (String, i32)| {
            let cpu_seconds = usage(pid)?.cpu_seconds;
            let used = Used {
                pid,
                cpu_seconds,
                peak_bytes: peak_bytes(pid),
            };
            Some((name, used))
        };
        Usages(pids.into_iter().filter_map(used).collect())
    }

    /// Adds the usage since `before` to the figures, divided by `ticks`. A process that was started after `before` counts from
    /// its start.
    pub fn since(&self, before: &Usages, ticks: u64, figures: &mut Figures) {
        for (name, used) in &self.0 {
            let earlier = before.0.get(name).filter(|earlier| earlier.pid == used.pid);
            let seconds = used.cpu_seconds - earlier.map_or(0.0, |earlier| earlier.cpu_seconds);
            let micros = seconds.max(0.0) * 1e6 / ticks.max(1) as f64;
            figures.cpu_us_per_tick.insert(name.clone(), micros);
            figures.peak_rss_mb.insert(name.clone(), used.peak_bytes as f64 / MB);
        }
    }
}

/// Resets the peak memory of the stack's processes. If Linux denies that, peaks count from the process start.
pub fn forget_peaks(stack: &Stack) -> anyhow::Result<()> {
    for pid in stack.status()?.into_iter().filter_map(|process| process.pid) {
        for pid in family(pid) {
            let _counts_from_the_start = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        }
    }
    Ok(())
}

/// Peak resident memory of the process and its children.
pub fn peak_bytes(pid: i32) -> u64 {
    family(pid).into_iter().map(|pid| status_bytes(pid, "VmHWM:")).sum()
}

/// Current resident memory of the process and its children.
pub fn resident_bytes(pid: i32) -> u64 {
    family(pid).into_iter().map(|pid| status_bytes(pid, "VmRSS:")).sum()
}

/// The process and its children. Only PostgreSQL has children, and these have none.
fn family(pid: i32) -> Vec<i32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    std::iter::once(pid).chain(children).collect()
}

fn status_bytes(pid: i32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usages(pid: i32, cpu_seconds: f64) -> Usages {
        let used = Used {
            pid,
            cpu_seconds,
            peak_bytes: 3 << 20,
        };
        Usages(BTreeMap::from([("x".to_owned(), used)]))
    }

    #[test]
    fn a_restarted_process_counts_from_its_start() {
        let mut figures = Figures::default();
        usages(1, 5.0).since(&usages(1, 3.0), 1_000_000, &mut figures);
        assert_eq!((figures.cpu_us_per_tick["x"], figures.peak_rss_mb["x"]), (2.0, 3.0));
        usages(2, 5.0).since(&usages(1, 3.0), 1_000_000, &mut figures);
        assert_eq!(figures.cpu_us_per_tick["x"], 5.0);
    }

    #[test]
    fn this_process_has_used_something() {
        let pid = std::process::id() as i32;
        assert!(peak_bytes(pid) >= resident_bytes(pid).min(1));
        assert!(Usages::of_pids([("self".to_owned(), pid)]).0.contains_key("self"));
    }
}
