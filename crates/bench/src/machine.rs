//! The machine on which a benchmark ran.

use std::fs;

use procfs::{CpuInfo, Current as _, LoadAverage, Meminfo};
use serde::Serialize;

/// The hardware and load that a reader needs to interpret the figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// Model name of the CPU.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory in MB.
    pub memory_mb: u64,
    /// Release of the Linux kernel.
    pub kernel: String,
    /// Load average of the minute before the benchmark. Above a few tenths, other programs were running.
    pub load_at_start: f64,
}

impl Machine {
    /// Reads the facts from `/proc`. Unavailable ones are empty or zero.
    pub fn read() -> Machine {
        let model = CpuInfo::current()
            .ok()
            .and_then(|cpus| cpus.model_name(0).map(str::to_owned));
        Machine {
            cpu: model.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mb: Meminfo::current().map_or(0, |memory| memory.mem_total) >> 20,
            // `procfs` has the three numbers only, not the name of the distribution's build.
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            load_at_start: LoadAverage::current().map_or(0.0, |load| f64::from(load.one)),
        }
    }

    /// The machine in one line.
    pub fn shown(&self) -> String {
        format!(
            "{}, {} cores, {} MB, Linux {}, load {} at start",
            self.cpu, self.cores, self.memory_mb, self.kernel, self.load_at_start
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_cores_and_memory() {
        let machine = Machine::read();
        assert!(machine.cores > 0 && machine.memory_mb > 100 && !machine.kernel.is_empty());
    }
}
