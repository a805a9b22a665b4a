//! The machine on which a benchmark ran.

use std::fs;

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
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Machine {
            cpu: field(&text("/proc/cpuinfo"), "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mb: field(&text("/proc/meminfo"), "MemTotal")
                .and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok())
                .unwrap_or(0)
                / 1024,
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_at_start: text("/proc/loadavg")
                .split_whitespace()
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or(0.0),
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

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_full_name() {
        let text = "processor\t: 0\nmodel name\t: AMD: EPYC\nmodel\t\t: 17\n";
        assert_eq!(field(text, "model name").as_deref(), Some("AMD: EPYC"));
        assert_eq!(field(text, "model").as_deref(), Some("17"));
        assert_eq!(field(text, "cache"), None);
    }

    #[test]
    fn this_machine_has_cores_and_memory() {
        let machine = Machine::read();
        assert!(machine.cores > 0 && machine.memory_mb > 100 && !machine.kernel.is_empty());
    }
}
