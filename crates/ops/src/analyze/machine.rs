//! What a machine has used between two readings. Pure.

use serde::Serialize;
use service::machine::{Cpu, Machine, Network, Used};

/// One machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MachineUse {
    /// The services that run there; containers on it may have networks and disks of their own, of which one is shown.
    pub services: Vec<String>,
    /// The machine's [`Machine::boot_id`].
    pub boot_id: Option<String>,
    /// Cores.
    pub cores: Option<usize>,
    /// Share of their time in use.
    pub cpu_percent: Option<f64>,
    /// Memory.
    pub memory: Option<Used>,
    /// Disk of the working folder.
    pub disk: Option<Used>,
    /// Received bytes a second.
    pub received_per_second: Option<f64>,
    /// Sent bytes a second.
    pub sent_per_second: Option<f64>,
}

/// Two readings of each service, and the seconds between them. Services on the same machine share an entry.
pub(super) fn uses(readings: &[(String, Option<Machine>, Machine)], seconds: f64) -> Vec<MachineUse> {
    let mut all: Vec<MachineUse> = Vec::new();
    for (service, before, now) in readings {
        let used = used(before.as_ref(), now, seconds);
        match all.iter_mut().find(|other| is_same(other, &used)) {
            Some(other) => other.services.push(service.clone()),
            None => all.push(MachineUse {
                services: vec![service.clone()],
                ..used
            }),
        }
    }
    all
}

fn is_same(one: &MachineUse, other: &MachineUse) -> bool {
    one.boot_id.is_some() && one.boot_id == other.boot_id
}

fn used(before: Option<&Machine>, now: &Machine, seconds: f64) -> MachineUse {
    let network = before.and_then(|before| before.network).zip(now.network);
    let rate = |of: fn(&Network) -> u64| {
        let (before, now) = network.as_ref()?;
        let bytes = of(now).checked_sub(of(before))?;
        (seconds > 0.0).then(|| bytes as f64 / seconds)
    };
    MachineUse {
        services: Vec::new(),
        boot_id: now.boot_id.clone(),
        cores: now.cpu.map(|cpu| cpu.cores),
        cpu_percent: before
            .and_then(|before| before.cpu)
            .zip(now.cpu)
            .and_then(|(before, now)| busy(before, now)),
        memory: now.memory,
        disk: now.disk,
        received_per_second: rate(|network| network.received_bytes),
        sent_per_second: rate(|network| network.sent_bytes),
    }
}

fn busy(before: Cpu, now: Cpu) -> Option<f64> {
    let total = now.total_seconds - before.total_seconds;
    let share = (now.busy_seconds - before.busy_seconds) / total;
    (total > 0.0).then_some(share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(busy_seconds: f64, total_seconds: f64, received_bytes: u64) -> Machine {
        Machine {
            boot_id: Some("a boot".to_owned()),
            cpu: Some(Cpu {
                cores: 2,
                busy_seconds,
                total_seconds,
            }),
            memory: Some(Used {
                total_bytes: 100,
                used_bytes: 25,
                percent: 25.0,
            }),
            disk: None,
            network: Some(Network {
                received_bytes,
                sent_bytes: 7,
            }),
        }
    }

    #[test]
    fn two_readings_give_shares_and_rates_and_one_gives_none() {
        let before = Some(machine(10.0, 100.0, 1_000));
        let found = uses(&[("a".to_owned(), before, machine(15.0, 110.0, 3_000))], 5.0);
        let [used] = found.as_slice() else {
            unreachable!("one machine")
        };
        assert_eq!((used.cores, used.cpu_percent), (Some(2), Some(50.0)));
        assert_eq!(
            (used.received_per_second, used.sent_per_second),
            (Some(400.0), Some(0.0))
        );
        let first = uses(&[("a".to_owned(), None, machine(15.0, 110.0, 3_000))], 5.0);
        assert_eq!((first[0].cpu_percent, first[0].received_per_second), (None, None));
    }

    #[test]
    fn counters_that_began_anew_have_no_rate_and_a_shared_machine_is_one() {
        let reading = |name: &str| (name.to_owned(), Some(machine(1.0, 2.0, 9)), machine(1.5, 3.0, 3));
        let found = uses(&[reading("a"), reading("b")], 5.0);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].services, ["a", "b"]);
        assert_eq!(found[0].received_per_second, None);
        let unknown = Machine {
            boot_id: None,
            ..machine(1.0, 2.0, 9)
        };
        let reading = |name: &str| (name.to_owned(), None, unknown.clone());
        assert_eq!(uses(&[reading("a"), reading("b")], 5.0).len(), 2);
    }
}
