//! CPU time and peak memory of processes between two samples, from `/proc`.

use std::collections::BTreeMap;

use anyhow::bail;
use localstack::{Name, Stack, usage};
use procfs::process::{ClearRefs, Process, Status};

use super::figures::Figures;
use super::stage::Scene;

const MB: f64 = 1024.0 * 1024.0;
/// Name of the process that moves the stack between cores.
const MOVER: &str = "dp-cores";

/// One sample of what each process has used, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usages(BTreeMap<String, Used>);

#[derive(Debug, Clone, Copy, PartialEq)]
struct Used {
    pid: i32,
    cpu_seconds: f64,
    peak_bytes: u64,
    wake_ups: u64,
}

impl Usages {
    /// Samples every running process of the stack, and the one that moves them between cores.
    pub fn of(stack: &Stack) -> anyhow::Result<Usages> {
        let processes = stack.status()?.into_iter();
        let pids = processes.filter_map(|process| Some((process.name.to_string(), process.pid?)));
        let mover = stack.mover_pid().map(|pid| (MOVER.to_owned(), pid));
        Ok(Usages::of_pids(pids.chain(mover)))
    }

    /// Samples these processes.
    pub fn of_pids(pids: impl IntoIterator<Item = (String, i32)>) -> Usages {
        let used = |(name, pid): (String, i32)| {
            let cpu_seconds = usage(pid)?.cpu_seconds;
            let used = Used {
                pid,
                cpu_seconds,
                peak_bytes: peak_bytes(pid),
                wake_ups: wake_ups(pid),
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

impl Usages {
    /// Percent of one core since `before`, by process.
    pub fn percent_since(&self, before: &Usages, seconds: f64) -> BTreeMap<String, f64> {
        let percent = |(name, used): (&String, &Used)| {
            let earlier = before.0.get(name).filter(|earlier| earlier.pid == used.pid);
            let cpu = used.cpu_seconds - earlier.map_or(0.0, |earlier| earlier.cpu_seconds);
            (name.clone(), cpu.max(0.0) / seconds.max(f64::MIN_POSITIVE) * 100.0)
        };
        self.0.iter().map(percent).collect()
    }

    /// Wake-ups since `before`, of all processes. Those of threads that have ended meanwhile are missing.
    pub fn wake_ups_since(&self, before: &Usages) -> u64 {
        let more = |(name, used): (&String, &Used)| {
            let earlier = before.0.get(name).filter(|earlier| earlier.pid == used.pid);
            used.wake_ups
                .saturating_sub(earlier.map_or(0, |earlier| earlier.wake_ups))
        };
        self.0.iter().map(more).sum()
    }
}

/// Resets the peak memory of the stack's processes. If Linux denies that, peaks count from the process start.
pub fn forget_peaks(stack: &Stack) -> anyhow::Result<()> {
    for pid in stack.status()?.into_iter().filter_map(|process| process.pid) {
        for pid in family(pid) {
            let _counts_from_the_start = Process::new(pid).and_then(|process| process.clear_refs(ClearRefs::PeakRSS));
        }
    }
    Ok(())
}

/// Peak resident memory of the process and its children.
pub fn peak_bytes(pid: i32) -> u64 {
    let peak_kilobytes = |pid| Process::new(pid).and_then(|process| process.status()).ok()?.vmhwm;
    family(pid).into_iter().filter_map(peak_kilobytes).sum::<u64>() * 1024
}

/// Current resident memory of the process and its children.
pub fn resident_bytes(pid: i32) -> u64 {
    let pages = |pid| Some(Process::new(pid).and_then(|process| process.statm()).ok()?.resident);
    family(pid).into_iter().filter_map(pages).sum::<u64>() * procfs::page_size()
}

/// Memory of every process, in MB.
pub(crate) fn of_all(scene: &Scene, bytes: impl Fn(i32) -> u64) -> anyhow::Result<Figures> {
    let mut figures = Figures::default();
    for process in scene.stack.status()? {
        let Some(pid) = process.pid else {
            // Additional replicas belong to an earlier benchmark.
            if matches!(process.name, Name::Service(_, 1)) {
                bail!("{} has ended: see {}", process.name, process.log.display());
            }
            continue;
        };
        figures
            .peak_rss_mb
            .insert(process.name.to_string(), bytes(pid) as f64 / MB);
    }
    Ok(figures)
}

/// How often a thread of the process or of its children has waited and then run again.
fn wake_ups(pid: i32) -> u64 {
    let of_thread = |status: Status| status.voluntary_ctxt_switches.unwrap_or(0);
    let of_process = |pid| {
        let threads = Process::new(pid)
            .and_then(|process| process.tasks())
            .into_iter()
            .flatten();
        threads
            .filter_map(|thread| Some(of_thread(thread.ok()?.status().ok()?)))
            .sum::<u64>()
    };
    family(pid).into_iter().map(of_process).sum()
}

/// The process and its children. Only PostgreSQL has children, and these have none.
fn family(pid: i32) -> Vec<i32> {
    let children = Process::new(pid).and_then(|process| process.task_main_thread()?.children());
    let children = children.unwrap_or_default().into_iter().map(|child| child as i32);
    std::iter::once(pid).chain(children).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usages(pid: i32, cpu_seconds: f64) -> Usages {
        let used = Used {
            pid,
            cpu_seconds,
            peak_bytes: 3 << 20,
            wake_ups: (cpu_seconds * 100.0) as u64,
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
        assert_eq!(usages(1, 5.0).wake_ups_since(&usages(1, 3.0)), 200);
        assert_eq!(usages(2, 5.0).wake_ups_since(&usages(1, 3.0)), 500);
    }

    #[test]
    fn a_thread_that_waits_ten_times_wakes_up_ten_times() {
        let pid = std::process::id() as i32;
        let sample = || Usages::of_pids([("self".to_owned(), pid)]);
        let before = sample();
        for _ in 0..10 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(sample().wake_ups_since(&before) >= 10);
    }

    #[test]
    fn this_process_has_used_something() {
        let pid = std::process::id() as i32;
        assert!(peak_bytes(pid) >= resident_bytes(pid).min(1));
        assert!(Usages::of_pids([("self".to_owned(), pid)]).0.contains_key("self"));
    }
}
