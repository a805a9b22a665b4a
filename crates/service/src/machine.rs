//! What the machine of this process uses: processors, memory, disk, network. Read from the system only when somebody asks.
//!
//! Role: `/stats` shows it, and `dp analyze` compares two readings. In a container, processors and memory are those of the
//! machine, the network that of the container.
//! Invariant: what the system does not report is absent, never zero.

use nix::sys::statvfs::statvfs;
use procfs::{Current as _, CurrentSI as _, KernelStats, Meminfo, ticks_per_second};
use serde::{Deserialize, Serialize};

/// One reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Drawn by the kernel at its start: services with the same one are on the same machine.
    pub boot_id: Option<String>,
    /// Processor time since the start of the machine.
    pub cpu: Option<Cpu>,
    /// Memory; what the system would give back at once counts as free.
    pub memory: Option<Used>,
    /// The disk of the working folder.
    pub disk: Option<Used>,
    /// Bytes since the start of the machine, without the loopback.
    pub network: Option<Network>,
}

/// Processor time of all cores.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Cpu {
    pub cores: usize,
    pub busy_seconds: f64,
    pub total_seconds: f64,
}

/// How much of something is in use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Used {
    pub total_bytes: u64,
    pub used_bytes: u64,
    pub percent: f64,
}

/// Transferred bytes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Network {
    pub received_bytes: u64,
    pub sent_bytes: u64,
}

impl Machine {
    /// Asks the system.
    pub fn now() -> Machine {
        Machine {
            boot_id: boot_id(),
            cpu: cpu(),
            memory: memory(),
            disk: disk(),
            network: network(),
        }
    }
}

impl Used {
    /// Of a total, what is left.
    fn of(total_bytes: u64, free_bytes: u64) -> Option<Used> {
        let used_bytes = total_bytes.checked_sub(free_bytes)?;
        let percent = (total_bytes > 0).then(|| used_bytes as f64 * 100.0 / total_bytes as f64)?;
        Some(Used {
            total_bytes,
            used_bytes,
            percent,
        })
    }
}

fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

fn cpu() -> Option<Cpu> {
    let stats = KernelStats::current().ok()?;
    let all = &stats.total;
    let seconds = |ticks: u64| ticks as f64 / ticks_per_second() as f64;
    let idle = all.idle + all.iowait.unwrap_or_default();
    let others = [all.irq, all.softirq, all.steal].into_iter().flatten().sum::<u64>();
    // The time of guests is part of that of users.
    let busy = all.user + all.nice + all.system + others;
    Some(Cpu {
        cores: stats.cpu_time.len(),
        busy_seconds: seconds(busy),
        total_seconds: seconds(busy + idle),
    })
}

fn memory() -> Option<Used> {
    let memory = Meminfo::current().ok()?;
    Used::of(memory.mem_total, memory.mem_available?)
}

fn disk() -> Option<Used> {
    let disk = statvfs(".").ok()?;
    // As `df`: the blocks that only root may use are neither free nor used.
    let (size, free) = (disk.fragment_size(), disk.blocks_free());
    let used = disk.blocks().checked_sub(free)?;
    let available = disk.blocks_available();
    Used::of((used + available) * size, available * size)
}

fn network() -> Option<Network> {
    let devices = procfs::net::dev_status().ok()?;
    let devices = devices.values().filter(|device| device.name != "lo");
    let (received_bytes, sent_bytes) = devices.fold((0, 0), |(received, sent), device| {
        (received + device.recv_bytes, sent + device.sent_bytes)
    });
    Some(Network {
        received_bytes,
        sent_bytes,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn used_is_what_is_not_free_and_nonsense_is_unknown() {
        let used = Used::of(200, 50).unwrap();
        assert_eq!((used.used_bytes, used.percent), (150, 75.0));
        assert_eq!(Used::of(10, 11), None);
        assert_eq!(Used::of(0, 0), None);
    }

    #[test]
    fn a_linux_machine_reports_all_four() {
        let machine = Machine::now();
        let cpu = machine.cpu.unwrap();
        assert!(
            cpu.cores > 0 && cpu.busy_seconds > 0.0 && cpu.total_seconds > cpu.busy_seconds,
            "{cpu:?}"
        );
        for used in [machine.memory.unwrap(), machine.disk.unwrap()] {
            assert!(used.used_bytes > 0 && (0.0..=100.0).contains(&used.percent), "{used:?}");
        }
        assert!(machine.network.is_some());
        let text = serde_json::to_string(&Machine::now()).unwrap();
        assert!(serde_json::from_str::<Machine>(&text).is_ok(), "{text}");
    }
}
