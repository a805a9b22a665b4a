//! The plan of a fault run: the order of its faults. A pure function of the seed.
//!
//! Invariants: a longer plan of the same seed begins with the shorter one, so an interrupted run can be resumed; every block
//! of [`DECK`] faults, counted from the first, contains every kind for every process (a shuffled deck).

use std::fmt;

use fastrand::Rng;
use localstack::{Name, Server, Service};

/// Faults in a block.
pub const DECK: usize = 40;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `kill -9`, then a restart.
    Kill,
    /// SIGSTOP for longer than the session timeout, then SIGCONT.
    Freeze,
    /// The same, while a second replica takes over. Then the second one is killed.
    FreezeAndTakeOver,
    /// SIGSTOP, and a new process with the same name takes the partitions at once. After SIGCONT the first one loses them for good and ends.
    FreezeAndReplace,
    /// A second replica joins; then one of the two shuts down cleanly.
    JoinAndLeave,
    /// A second replica joins; then one of the two is killed.
    JoinAndKill,
    /// All consumer groups of the service are reset to the earliest offset.
    ResetGroups,
    /// All consumer groups of the service are deleted.
    DeleteGroups,
    /// A producer holds a transaction open in a raw partition. The records after it are read when the log clock is far ahead.
    HoldPartition,
}

impl Kind {
    /// Every kind that applies to services.
    pub const OF_SERVICES: [Kind; 8] = [
        Kind::Kill,
        Kind::Freeze,
        Kind::FreezeAndTakeOver,
        Kind::FreezeAndReplace,
        Kind::JoinAndLeave,
        Kind::JoinAndKill,
        Kind::ResetGroups,
        Kind::DeleteGroups,
    ];

    /// Name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Kill => "kill -9",
            Kind::Freeze => "freeze",
            Kind::FreezeAndTakeOver => "freeze, other takes over",
            Kind::FreezeAndReplace => "freeze, replaced under its name",
            Kind::JoinAndLeave => "replica joins, one leaves",
            Kind::JoinAndKill => "replica joins, one is killed",
            Kind::ResetGroups => "groups to earliest",
            Kind::DeleteGroups => "groups deleted",
            Kind::HoldPartition => "raw partition held back",
        }
    }
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Its number in the plan, from 1.
    pub number: u32,
    /// What happens.
    pub kind: Kind,
    /// The affected process.
    pub target: Name,
    /// Milliseconds between the end of the actor's previous fault and this one.
    pub after_ms: u64,
    /// Milliseconds for which the process is down or frozen, or has two replicas.
    pub hold_ms: u64,
    /// With two replicas: whether the first one leaves.
    pub first_leaves: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.target, self.kind.name())
    }
}

/// The faults `from..=to` of a seed's plan, numbered from 1.
pub fn plan(seed: u64, from: u32, to: u32) -> Vec<Fault> {
    let numbers = from.max(1)..=to;
    let decks = (numbers.start() - 1) / DECK as u32..=to.saturating_sub(1) / DECK as u32;
    decks
        .flat_map(|number| deck(seed, number))
        .filter(|fault| numbers.contains(&fault.number))
        .collect()
}

fn deck(seed: u64, number: u32) -> Vec<Fault> {
    let mut random = Rng::with_seed(seed.wrapping_mul(0x1_0000_0001) ^ (u64::from(number) << 48));
    let mut cards: Vec<(Kind, Name)> = Vec::with_capacity(DECK);
    for service in Service::ALL.map(Name::from) {
        cards.extend(Kind::OF_SERVICES.map(|kind| (kind, service)));
    }
    for server in Server::ALL {
        let second = match server {
            Server::Kafka => Kind::HoldPartition,
            _ => Kind::Kill,
        };
        cards.extend([Kind::Kill, second].map(|kind| (kind, Name::from(server))));
    }
    random.shuffle(&mut cards);
    let first = number * DECK as u32 + 1;
    (first..)
        .zip(cards)
        .map(|(number, (kind, target))| Fault {
            number,
            kind,
            target,
            after_ms: random.u64(..2_500),
            hold_ms: hold_ms(kind, &mut random),
            first_leaves: random.bool(),
        })
        .collect()
}

fn hold_ms(kind: Kind, random: &mut Rng) -> u64 {
    match kind {
        // The session timeout is 10 s.
        Kind::Freeze | Kind::FreezeAndTakeOver => 11_000 + random.u64(..4_000),
        Kind::FreezeAndReplace | Kind::JoinAndLeave | Kind::JoinAndKill => 1_000 + random.u64(..4_000),
        // Longer than the shortest bar, which is one minute.
        Kind::HoldPartition => 70_000 + random.u64(..5_000),
        // Some restart immediately, while operations of the killed process are still in progress.
        _ => random.u64(..3) * random.u64(..2_000),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_block_of_forty_contains_every_kind_for_every_process(seed: u64, deck in 0_u32..50) {
            let first = deck * DECK as u32 + 1;
            let block = plan(seed, first, first + DECK as u32 - 1);
            prop_assert_eq!(block.len(), DECK);
            let found: BTreeSet<(Kind, Name)> = block.iter().map(|fault| (fault.kind, fault.target)).collect();
            for service in Service::ALL {
                for kind in Kind::OF_SERVICES {
                    prop_assert!(found.contains(&(kind, service.into())), "{:?} {}", kind, service.name());
                }
            }
            for server in Server::ALL {
                prop_assert!(found.contains(&(Kind::Kill, server.into())), "{}", server.name());
            }
            prop_assert!(found.contains(&(Kind::HoldPartition, Server::Kafka.into())));
        }

        #[test]
        fn a_resumed_plan_is_the_rest_of_the_whole_plan(seed: u64, done in 0_u32..300, more in 0_u32..300) {
            let whole = plan(seed, 1, done + more);
            let numbers: Vec<u32> = whole.iter().map(|fault| fault.number).collect();
            prop_assert_eq!(numbers, (1..=done + more).collect::<Vec<_>>());
            let mut parts = plan(seed, 1, done);
            parts.extend(plan(seed, done + 1, done + more));
            prop_assert_eq!(parts, whole);
        }

        #[test]
        fn a_frozen_process_loses_its_session(seed: u64) {
            for fault in plan(seed, 1, 120) {
                let held = matches!(fault.kind, Kind::Freeze | Kind::FreezeAndTakeOver | Kind::HoldPartition);
                prop_assert_eq!(held, fault.hold_ms > 10_000);
            }
        }
    }
}
