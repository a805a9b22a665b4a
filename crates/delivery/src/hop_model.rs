//! A simulator of stateless stages. It runs the production pieces ([`AckWindow`], [`Frontier`], [`EventWindow`], [`Sequencer`])
//! with crashing owners, zombies, delivery errors, delayed and reordered commits, and group resets. A zombie is the same whether
//! the group moved its partition or another process took its instance id. A window may be kept in a file that one live owner
//! holds, and whose last entries a crash loses. Tenants share event ids, and producers reuse one id for several facts. Downstream, a sequencer must accept exactly the first occurrence of every
//! event, with the flag of a reused id where it belongs. Each rule can be switched off, and then some seed must fail.

use domain::{EventKey, Micros, RawPosition};

use fastrand::Rng;

use crate::acks::AckWindow;
use crate::event_window::{EventWindow, Seen, WindowLimits};
use crate::frontier::Frontier;
use crate::{Sequencer, Ticket};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// Commits what was handled, acknowledged or not.
    Frontier,
    /// Later outputs land although an earlier one failed.
    Gapless,
    /// After a delivery error, continues instead of reading again from the committed offset.
    RestartAfterError,
    Sequencer,
    /// The event-id window starts empty at the committed offset.
    ReadBack,
    /// All of the kept window is used, also what follows the committed offset.
    KeptUntilCommitted,
    /// The kept window is used although messages between its end and the start of the window are missing.
    KeptWithoutGap,
    /// A repeated event is not remembered as an earlier message.
    DuplicatesIncluded,
    /// An event is identified by its id alone, without its tenant.
    TenantOfAnEvent,
    /// An event is identified by its id, whatever its facts.
    FactsOfAnEvent,
}

/// An output: its position, and whether it carries the flag of a reused id.
type Output = (RawPosition, bool);

#[derive(Clone, Copy)]
struct Raw {
    tenant: u64,
    id: u64,
    facts: u64,
    appended_at: Micros,
    rows: i32,
}

const LIMITS: WindowLimits = WindowLimits {
    micros: 60,
    max_ids: 12,
};

struct Owner {
    at: usize,
    emit_from: usize,
    window: EventWindow,
    acks: AckWindow,
    frontier: Frontier,
    /// Sent, but not landed yet: (ticket, output).
    in_flight: Vec<(Ticket, Output)>,
    alive: bool,
    keeps: bool,
}

struct World {
    without: Without,
    random: Rng,
    raw: Vec<Raw>,
    owners: Vec<Owner>,
    downstream: Vec<Output>,
    committed: usize,
    /// The messages of the kept window: its entries are a function of the log.
    kept: std::ops::Range<usize>,
    /// Commits in flight: they may arrive late and in any order.
    commits: Vec<usize>,
}

impl World {
    fn new(without: Without, seed: u64) -> World {
        let mut random = Rng::with_seed(seed.wrapping_mul(6_007) + 3);
        let mut time = 0;
        let raw = (0..50)
            .map(|_| {
                time += random.u64(..12) as i64;
                Raw {
                    tenant: random.u64(..2),
                    id: random.u64(..5),
                    facts: random.u64(..2),
                    appended_at: time,
                    rows: 1 + random.u64(..3) as i32,
                }
            })
            .collect();
        World {
            without,
            random,
            raw,
            owners: Vec::new(),
            downstream: Vec::new(),
            committed: 0,
            kept: 0..0,
            commits: Vec::new(),
        }
    }

    fn join(&mut self) {
        let from = self.committed;
        let back = match self.without {
            Without::ReadBack => from,
            _ => self.memory_start(from),
        };
        let mut window = EventWindow::new(LIMITS);
        let keeps = !self.owners.iter().any(|owner| owner.alive && owner.keeps);
        let mut at = back;
        if keeps {
            let reaches = self.kept.start <= back && (back < self.kept.end || self.without == Without::KeptWithoutGap);
            if reaches && !self.kept.is_empty() {
                let end = match self.without {
                    Without::KeptUntilCommitted => self.kept.end,
                    _ => self.kept.end.min(from),
                };
                for index in back.min(end)..end {
                    let raw = self.raw[index];
                    window.observe(index as i64, raw.appended_at, raw.key(self.without));
                }
                at = match self.without {
                    Without::KeptUntilCommitted | Without::KeptWithoutGap => from,
                    _ => end,
                };
            } else {
                self.kept = back..back;
            }
        }
        self.owners.push(Owner {
            at,
            keeps,
            emit_from: from,
            window,
            acks: AckWindow::default(),
            frontier: Frontier::default(),
            in_flight: Vec::new(),
            alive: true,
        });
    }

    /// The rule of `read_back::memory_start`: by append time of the last finished message, and by count.
    fn memory_start(&self, from: usize) -> usize {
        let Some(last) = from.checked_sub(1) else {
            return 0;
        };
        let oldest = self.raw[last].appended_at - LIMITS.micros;
        let by_time = self
            .raw
            .iter()
            .position(|raw| raw.appended_at >= oldest)
            .unwrap_or(from);
        by_time.max(from.saturating_sub(LIMITS.max_ids as usize)).min(from)
    }

    fn read(&mut self, index: usize) {
        let owner = &mut self.owners[index];
        let Some(raw) = self.raw.get(owner.at) else {
            return;
        };
        let offset = owner.at as i64;
        let seen = if self.without == Without::DuplicatesIncluded {
            only_first_occurrences_count(&self.raw, owner.at)
        } else {
            owner.window.observe(offset, raw.appended_at, raw.key(self.without))
        };
        if owner.at >= owner.emit_from {
            if seen != Seen::Repeated {
                for index in 0..raw.rows {
                    let output = (RawPosition { offset, index }, seen == Seen::IdReused);
                    owner.in_flight.push((owner.acks.issue(), output));
                }
            }
            owner.frontier.handled(offset + 1, owner.acks.last());
            if self.without == Without::Frontier {
                self.commits.push(owner.at + 1);
            }
        }
        owner.at += 1;
        if owner.keeps {
            self.kept.end = self.kept.end.max(owner.at);
        }
    }

    /// The owner ends. What it had not written to its file is lost.
    fn end(&mut self, index: usize) {
        let owner = &mut self.owners[index];
        owner.alive = false;
        if owner.keeps {
            self.kept.end -= self.random.usize(..6).min(self.kept.len());
        }
    }

    /// The oldest output lands; its acknowledgement may be lost, which is a delivery error too.
    fn land(&mut self, index: usize) {
        let fails = self.random.u64(..100) < 6;
        let ack_lost = self.random.u64(..100) < 4;
        let owner = &mut self.owners[index];
        if owner.in_flight.is_empty() {
            return;
        }
        let (ticket, output) = owner.in_flight.remove(0);
        if !fails {
            self.downstream.push(output);
        }
        match (fails || ack_lost, self.without) {
            (false, _) => owner.acks.acknowledge(ticket),
            // The gap remains, and later outputs land.
            (true, Without::Gapless) if fails => {
                let rest = owner.in_flight.len().min(2);
                self.downstream
                    .extend(owner.in_flight.drain(..rest).map(|(_, output)| output));
                self.restart(index);
            }
            (true, Without::RestartAfterError) => owner.acks.acknowledge(ticket),
            (true, _) => self.restart(index),
        }
    }

    fn restart(&mut self, index: usize) {
        self.end(index);
        self.join();
    }

    fn commit(&mut self, index: usize) {
        let owner = &mut self.owners[index];
        if let Some(next) = owner.frontier.advance(owner.acks.acked_through()) {
            self.commits.push(next as usize);
        }
        if !self.commits.is_empty() && self.random.u64(..100) < 60 {
            let which = self.random.usize(..self.commits.len());
            self.committed = self.commits.swap_remove(which);
        }
    }

    fn step(&mut self) {
        let live: Vec<usize> = (0..self.owners.len()).filter(|i| self.owners[*i].alive).collect();
        let Some(index) = live.get(self.random.usize(..live.len().max(1))).copied() else {
            return self.join();
        };
        match self.random.u64(..100) {
            0..=39 => self.read(index),
            40..=79 => self.land(index),
            80..=92 => self.commit(index),
            // A crash: outputs in flight may still land, in order.
            93 => {
                self.end(index);
                let rest = self.random.usize(..self.owners[index].in_flight.len() + 1);
                self.downstream
                    .extend(self.owners[index].in_flight.drain(..rest).map(|(_, output)| output));
            }
            // The partition moves; the old owner continues as a zombie.
            94..=95 if live.len() < 3 => self.join(),
            // A reset to earliest, or a deleted group.
            96 if self.random.u64(..100) < 20 => self.committed = 0,
            _ => {}
        }
    }

    fn verdict(mut self) -> Result<(), String> {
        let live = (0..self.owners.len()).filter(|index| self.owners[*index].alive);
        live.collect::<Vec<_>>().into_iter().for_each(|index| self.end(index));
        self.join();
        let last = self.owners.len() - 1;
        while self.owners[last].at < self.raw.len() {
            self.read(last);
        }
        let rest: Vec<Output> = self.owners[last]
            .in_flight
            .drain(..)
            .map(|(_, output)| output)
            .collect();
        self.downstream.extend(rest);
        let mut sequencer = Sequencer::default();
        let accepted: Vec<Output> = self
            .downstream
            .iter()
            .filter(|(place, _)| sequencer.accept("f", 0, *place) || self.without == Without::Sequencer)
            .copied()
            .collect();
        if accepted == self.expected() {
            Ok(())
        } else {
            Err(format!("{} accepted", accepted.len()))
        }
    }

    /// The expected result, computed without the production pieces.
    fn expected(&self) -> Vec<Output> {
        let seen_before = |at: usize| {
            let raw = self.raw[at];
            let earlier: Vec<u64> = self.raw[..at]
                .iter()
                .enumerate()
                .filter(|(before, earlier)| {
                    (earlier.tenant, earlier.id) == (raw.tenant, raw.id)
                        && at - before < LIMITS.max_ids as usize
                        && earlier.appended_at >= raw.appended_at - LIMITS.micros
                })
                .map(|(_, earlier)| earlier.facts)
                .collect();
            (earlier.contains(&raw.facts), !earlier.is_empty())
        };
        let mut expected = Vec::new();
        for (at, raw) in self.raw.iter().enumerate() {
            let (is_repeated, is_reused) = seen_before(at);
            let rows = if is_repeated { 0 } else { raw.rows };
            let offset = at as i64;
            expected.extend((0..rows).map(|index| (RawPosition { offset, index }, is_reused)));
        }
        expected
    }
}

impl Raw {
    fn key(&self, without: Without) -> EventKey {
        let (mut tenant, mut facts) = (self.tenant, self.facts);
        match without {
            Without::TenantOfAnEvent => tenant = 0,
            Without::FactsOfAnEvent => facts = 0,
            _ => {}
        }
        EventKey {
            id: (tenant << 32) | self.id,
            facts,
        }
    }
}

/// The faulty rule: a repeated event does not prolong the memory of its id.
fn only_first_occurrences_count(raw: &[Raw], at: usize) -> Seen {
    let mut first: Vec<usize> = Vec::new();
    for now in 0..=at {
        let event = raw[now].key(Without::Nothing);
        let is_live = |before: usize| {
            now - before < LIMITS.max_ids as usize && raw[before].appended_at >= raw[now].appended_at - LIMITS.micros
        };
        let live = first.iter().filter(|before| is_live(**before));
        let known: Vec<EventKey> = live.map(|before| raw[*before].key(Without::Nothing)).collect();
        let seen = if known.contains(&event) {
            Seen::Repeated
        } else if known.iter().any(|earlier| earlier.id == event.id) {
            Seen::IdReused
        } else {
            Seen::New
        };
        if now == at {
            return seen;
        }
        if seen != Seen::Repeated {
            first.push(now);
        }
    }
    Seen::New
}

fn run(without: Without, seed: u64) -> Result<(), String> {
    let mut world = World::new(without, seed);
    for _ in 0..400 {
        world.step();
    }
    world.verdict()
}

#[test]
fn every_event_passes_once_and_in_order_under_all_failures() {
    for seed in 0..5000 {
        assert_eq!(run(Without::Nothing, seed), Ok(()), "seed {seed}");
    }
}

#[test]
fn each_rule_is_needed() {
    for without in [
        Without::Frontier,
        Without::Gapless,
        Without::RestartAfterError,
        Without::Sequencer,
        Without::ReadBack,
        Without::KeptUntilCommitted,
        Without::KeptWithoutGap,
        Without::DuplicatesIncluded,
        Without::TenantOfAnEvent,
        Without::FactsOfAnEvent,
    ] {
        assert!(
            (0..5000).any(|seed| run(without, seed).is_err()),
            "the model does not notice that {without:?} is missing"
        );
    }
}
