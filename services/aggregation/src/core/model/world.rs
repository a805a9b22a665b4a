//! The simulated broker, and owners that start, freeze, resume and crash.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use codec::Wire;
use codec::state::WindowRecord;
use delivery::Ticket;
use delivery::acks::AckWindow;
use domain::{BarVersion, Micros};
use fastrand::Rng;

use super::checks::{check_bars, check_late, check_state};
use super::fixtures::{LogTick, OwnedBar, RULES, SECOND, log};
use super::oracle::{BarKey, Rows};
use super::second_stage::{LateRecord, Restater, Scene};
use super::table::{Loss, Table};
use crate::core::checkpoint::{Checkpoint, Step};
use crate::core::instrument::{Arrived, Verdict};
use crate::core::log_clock::{Rule, WindowRules};
use crate::core::partition_state::{Applied, PartitionState};
use crate::core::records::{Records, StateKey, Subject, to_lanes};
use crate::core::restore::{NewOwner, StateLoader};
use crate::core::window_state::Shown;

/// Shared, since parsing the schemas takes longer than a simulation.
static WIRE: std::sync::LazyLock<Wire> = std::sync::LazyLock::new(Wire::single_object);

/// A rule taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    None,
    StateBeforeBars,
    SequencerBeforeState,
    SequencerOfNow,
    TombstonesBeforeCopy,
    TombstonesBeforePosition,
    WritersMerged,
    ClockOfNow,
    AppliedOffsetLost,
    /// A rule of the windows.
    Windows(Rule),
    /// The second stage counts rows beyond the requested offset.
    NewestRows,
    /// The stream counts each price for the nominal length of its product.
    NominalLengths,
    /// The second stage counts repetitions and outranked prices as revisions.
    EveryRowCounts,
    /// Of the prices of an interval the second stage counts the last, whatever its version.
    LastOriginCounts,
    /// The second stage does not wait for the table.
    TableNotAwaited,
    /// The second stage commits before its bars are acknowledged.
    LateCommittedEarly,
    /// It treats the remaining rows as complete without comparing the stored bar.
    StoredNotCompared,
    /// It computes a bar from rows of which older ones may have expired.
    ExpiryNotSeen,
    /// It reads the oldest row only before the statement.
    OldestOfBefore,
    /// It accepts an answer without the row of the late tick.
    LastRowNotCompared,
    /// It does not repeat the queries if the row of the late tick is missing.
    AskedOnce,
    /// A repair deletes the table's end, but not the floors above it.
    RepairKeepsTheFloors,
    /// A repair deletes rows in the middle, and restores them later.
    RepairOfTheMiddle,
}

#[derive(Clone)]
enum Output {
    Bar(Box<OwnedBar>),
    Late(LateRecord),
    State(Vec<u8>, Option<Vec<u8>>),
}

struct StateEntry {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    /// A tombstone survives the first compaction that could remove it.
    cleaned: bool,
}

#[derive(Default)]
pub struct Broker {
    state: Vec<StateEntry>,
    pub bars: Vec<OwnedBar>,
    pub late: Vec<LateRecord>,
    /// Position of the second stage's group.
    pub late_committed: usize,
    pub table: Table,
    /// Bars that the second stage has given up.
    pub not_restated: BTreeSet<BarKey>,
    log_start: i64,
}

impl Broker {
    fn append(&mut self, output: Output) {
        match output {
            Output::Bar(bar) => self.bars.push(*bar),
            Output::Late(late) => self.late.push(late),
            Output::State(key, value) => self.state.push(StateEntry {
                key,
                value,
                cleaned: false,
            }),
        }
    }

    /// Compacts the records before a boundary: keeps the last record of each key, and a tombstone once more.
    fn compact(&mut self, boundary: usize) {
        let mut last: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for (index, entry) in self.state.iter().take(boundary).enumerate() {
            last.insert(entry.key.clone(), index);
        }
        let mut index = 0;
        self.state.retain_mut(|entry| {
            let here = index;
            index += 1;
            if here >= boundary {
                return true;
            }
            let is_kept = last[&entry.key] == here && !(entry.value.is_none() && entry.cleaned);
            entry.cleaned = true;
            is_kept
        });
    }
}

/// One owner: its state, and outputs in flight to three topics that deliver independently.
pub struct Owner {
    pub state: PartitionState,
    pub next: usize,
    checkpoint: Option<Checkpoint>,
    pub position_saved: bool,
    acks: AckWindow,
    in_flight: [VecDeque<(Ticket, Output)>; 3],
}

fn output_of(shown: Shown<'_>) -> Output {
    match shown {
        Shown::Bar(bar) => Output::Bar(Box::new(OwnedBar::from(bar))),
        Shown::Closing(closing) => Output::Late(LateRecord {
            enriched_offset: closing.last_offset,
            instrument_id: closing.instrument_id.to_owned(),
            event_time: closing.event_time,
            by_table: 1 << closing.interval.index(),
            closed: 1 << closing.interval.index(),
            is_close: true,
        }),
    }
}

pub struct World {
    random: Rng,
    mutation: Mutation,
    pub log: Vec<LogTick>,
    rows: Rows,
    restaters: Vec<Restater>,
    /// The loss that will happen to the table.
    loss: Option<Loss>,
    broker: Broker,
    wire: Wire,
    wall: Micros,
}

impl Owner {
    fn send(&mut self, output: Output) {
        let topic = match output {
            Output::Bar(_) => 0,
            Output::Late(_) => 1,
            Output::State(..) => 2,
        };
        self.in_flight[topic].push_back((self.acks.issue(), output));
    }

    fn deliver(&mut self, topic: usize, count: usize, broker: &mut Broker) {
        for _ in 0..count.min(self.in_flight[topic].len()) {
            if let Some((ticket, output)) = self.in_flight[topic].pop_front() {
                broker.append(output);
                self.acks.acknowledge(ticket);
            }
        }
    }

    fn read(&mut self, world: &World) {
        let Some(tick) = world.log.get(self.next) else { return };
        self.next += 1;
        let mut outputs = Vec::new();
        let mut read = tick.tick();
        if world.mutation == Mutation::NominalLengths {
            read.interval_end = None;
        }
        let arrived = Arrived {
            tick: &read,
            offset: tick.offset,
            now: world.wall,
        };
        let applied = self.state.apply(&arrived, &mut |shown| outputs.push(output_of(shown)));
        outputs.into_iter().for_each(|output| self.send(output));
        if let Applied::Counted(Verdict { by_table, closed, .. }) = applied
            && by_table != 0
        {
            self.send(Output::Late(LateRecord {
                enriched_offset: tick.offset,
                instrument_id: tick.instrument_id.to_owned(),
                event_time: tick.event_time,
                by_table,
                closed,
                is_close: false,
            }));
        }
    }

    fn close_idle(&mut self, world: &World) {
        let mut outputs = Vec::new();
        self.state
            .close_idle(world.wall, &mut |shown| outputs.push(output_of(shown)));
        outputs.into_iter().for_each(|output| self.send(output));
    }

    /// One step of the checkpoint, as in the handler's turn, or in the wrong order of the mutation.
    fn turn(&mut self, world: &World) {
        if self.checkpoint.is_none() {
            self.begin_checkpoint(world);
        }
        let Some(mut checkpoint) = self.checkpoint.take() else {
            return;
        };
        match checkpoint.next(self.acks.acked_through()) {
            Step::Wait => self.checkpoint = Some(checkpoint),
            Step::Send(records) => {
                self.send_records(&records, world);
                checkpoint.sent(self.acks.last());
                self.checkpoint = Some(checkpoint);
            }
            Step::Finish { tombstones, .. } => {
                self.position_saved = true;
                tombstones
                    .into_iter()
                    .for_each(|key| self.send(Output::State(key, None)));
            }
            Step::Done => {}
        }
    }

    fn begin_checkpoint(&mut self, world: &World) {
        let mut outputs = Vec::new();
        let snapshot = self
            .state
            .snapshot(&world.wire, &mut |shown| outputs.push(output_of(shown)));
        outputs.into_iter().for_each(|output| self.send(output));
        let Some(mut snapshot) = snapshot else { return };
        let own = snapshot
            .sequencer
            .iter()
            .find_map(|(key, _)| StateKey::parse(key))
            .unwrap()
            .writer;
        for key in std::mem::take(&mut snapshot.tombstones) {
            let is_own = StateKey::parse(&key).unwrap().writer == own;
            match world.mutation {
                Mutation::TombstonesBeforeCopy if !is_own => self.send(Output::State(key, None)),
                Mutation::TombstonesBeforePosition if is_own => self.send(Output::State(key, None)),
                _ => snapshot.tombstones.push(key),
            }
        }
        if world.mutation == Mutation::SequencerBeforeState {
            std::mem::swap(&mut snapshot.state, &mut snapshot.sequencer);
        }
        let outputs_through = match world.mutation {
            Mutation::StateBeforeBars => Ticket(0),
            _ => self.acks.last(),
        };
        self.checkpoint = Some(Checkpoint::begin(snapshot, outputs_through));
    }

    fn send_records(&mut self, records: &Records, world: &World) {
        for (key, value) in records.iter() {
            let mut value = value.to_vec();
            if matches!(world.mutation, Mutation::SequencerOfNow | Mutation::ClockOfNow)
                && let Ok(mut record) = world.wire.decode_sequencer(&value)
            {
                if world.mutation == Mutation::ClockOfNow {
                    record.log_clock = self.state.log_clock();
                } else {
                    record.lanes = to_lanes(self.state.sequencer_state());
                }
                value.clear();
                world.wire.encode_sequencer(&record, &mut value);
            }
            self.send(Output::State(key.to_vec(), Some(value)));
        }
    }

    /// Its process ends: for each topic a prefix of the outputs in flight arrives.
    fn crash(mut self, world: &mut World) {
        for topic in 0..3 {
            let waiting = self.in_flight[topic].len();
            let arriving = if world.random.usize(..100) < 40 {
                waiting
            } else {
                world.random.usize(..waiting + 1)
            };
            self.deliver(topic, arriving, &mut world.broker);
        }
    }
}

impl World {
    fn loader(&self) -> StateLoader {
        let mut loader = StateLoader::default();
        for entry in &self.broker.state {
            loader.record(&entry.key, entry.value.as_deref()).unwrap();
        }
        if matches!(self.mutation, Mutation::WritersMerged | Mutation::AppliedOffsetLost)
            && let Some((chosen, _)) = loader.chosen(&self.wire).unwrap()
        {
            let mut mutated = StateLoader::default();
            for entry in &self.broker.state {
                let mut key = StateKey::parse(&entry.key).unwrap();
                if self.mutation == Mutation::WritersMerged
                    && key.subject != Subject::Sequencer
                    && entry.value.is_some()
                {
                    key.writer = chosen;
                }
                let value = entry.value.as_ref().map(|value| self.mutated(value));
                mutated.record(key.to_string().as_bytes(), value.as_deref()).unwrap();
            }
            return mutated;
        }
        loader
    }

    fn mutated(&self, value: &[u8]) -> Vec<u8> {
        let mut mutated = Vec::new();
        if self.mutation == Mutation::AppliedOffsetLost
            && let Ok(window) = self.wire.decode_window(value)
        {
            let version = BarVersion {
                last_offset: 0,
                ..window.bar.version
            };
            let bar = domain::Bar { version, ..window.bar };
            self.wire.encode_window(&WindowRecord { bar, ..window }, &mut mutated);
        } else {
            mutated.extend_from_slice(value);
        }
        mutated
    }

    fn rules(&self) -> WindowRules {
        let without = match self.mutation {
            Mutation::Windows(rule) => Some(rule),
            _ => None,
        };
        WindowRules { without, ..RULES }
    }

    /// A new owner, restored from the state topic.
    pub fn start_owner(&mut self) -> Owner {
        let random = self.random.u64(..);
        let owner = NewOwner {
            random,
            topic_id: "id".to_owned(),
            rules: self.rules(),
            now: self.wall,
        };
        let (state, position) = self.loader().restore(&self.wire, owner).unwrap();
        let position = position.unwrap_or(self.broker.log_start);
        Owner {
            state,
            next: self.log.partition_point(|tick| tick.offset < position),
            checkpoint: None,
            position_saved: false,
            acks: AckWindow::default(),
            in_flight: Default::default(),
        }
    }

    /// Deletes the beginning of the enriched log that no owner and no restore needs.
    fn expire(&mut self, owners: &[Owner]) {
        let saved = self
            .loader()
            .chosen(&self.wire)
            .unwrap()
            .map_or(0, |(_, record)| record.position);
        let needed = owners
            .iter()
            .map(|owner| owner.state.position().unwrap_or(0))
            .min()
            .unwrap_or(0);
        let needed = needed.min(saved).min(self.broker.table.needs());
        self.broker.log_start = self.broker.log_start.max(needed);
    }

    /// The scene of the second stage, and its instances.
    fn scene(&mut self) -> (Scene<'_>, &mut Vec<Restater>) {
        let scene = Scene {
            broker: &mut self.broker,
            rows: &self.rows,
            random: &mut self.random,
            now: self.wall,
            mutation: self.mutation,
        };
        (scene, &mut self.restaters)
    }

    /// One action of the second stage or its table: rows are written or lost, an instance takes a step, starts or is killed.
    fn restate(&mut self) {
        let (mut scene, restaters) = self.scene();
        let one = scene.random.usize(..restaters.len().max(1));
        match scene.random.usize(..16) {
            // Several rows per block: on average as many as are read from the log.
            0..=2 => {
                let count = scene.random.usize(..5);
                scene.broker.table.write(scene.rows, count, scene.now);
            }
            3..=9 => match restaters.get_mut(one) {
                Some(restater) => restater.turn(&mut scene),
                None => restaters.push(Restater::start(&mut scene)),
            },
            10..=12 => {
                let count = scene.random.usize(..10);
                if let Some(restater) = restaters.get_mut(one) {
                    restater.deliver(scene.broker, count);
                }
            }
            13 if restaters.len() < 3 && scene.random.usize(..100) < 50 => restaters.push(Restater::start(&mut scene)),
            13 if !restaters.is_empty() => restaters.remove(one).crash(scene.broker, scene.random),
            14 => self.disturb_the_table(),
            _ => {}
        }
    }

    fn disturb_the_table(&mut self) {
        let broker = &mut self.broker;
        match self.random.usize(..10) {
            0..=2 => broker.table.save_floor(),
            3 | 4 => broker.table.restart_writer(broker.log_start),
            5 | 6 => {
                if let Some(loss) = self.loss.take() {
                    let with = (&mut self.random, self.mutation);
                    let from = (broker.log_start, self.rows.stored_through(&broker.bars));
                    broker.table.lose(loss, &self.rows, from, with);
                }
            }
            7 => broker.table.put_back(),
            _ => {}
        }
    }

    /// A last instance restates the rest, with the whole table.
    fn finish_restating(&mut self) -> Result<(), String> {
        let (mut scene, restaters) = self.scene();
        for restater in restaters.drain(..) {
            restater.crash(scene.broker, scene.random);
        }
        scene.broker.table.put_back();
        scene.broker.table.write(scene.rows, usize::MAX, scene.now);
        let mut last = Restater::start(&mut scene);
        for _ in 0..50_000 {
            if scene.broker.late_committed == scene.broker.late.len() {
                return Ok(());
            }
            scene.now += 20 * SECOND;
            last.turn(&mut scene);
            last.deliver(scene.broker, usize::MAX);
        }
        Err("the second stage does not finish".to_owned())
    }

    fn act(&mut self, owners: &mut Vec<Owner>) {
        self.restate();
        let one = self.random.usize(..owners.len());
        self.wall += self.random.usize(..20) as i64 * SECOND;
        match self.random.usize(..100) {
            0..=39 => (0..=self.random.usize(..4)).for_each(|_| owners[one].read(self)),
            40..=64 => {
                let (topic, count) = (self.random.usize(..3), self.random.usize(..12));
                owners[one].deliver(topic, count, &mut self.broker);
            }
            65..=89 => owners[one].turn(self),
            90..=92 => {
                self.wall += 200 * SECOND;
                owners[one].close_idle(self);
            }
            93..=94 => {
                let boundary = self.random.usize(..self.broker.state.len() + 1);
                self.broker.compact(boundary);
            }
            95 => self.expire(owners),
            // The owner freezes, and a new one starts in parallel.
            96..=97 if owners.len() < 3 => {
                let owner = self.start_owner();
                owners.push(owner);
            }
            _ => {
                owners.remove(one).crash(self);
                if owners.is_empty() || one == owners.len() {
                    let owner = self.start_owner();
                    owners.push(owner);
                }
            }
        }
    }

    fn finish(&mut self, mut owners: Vec<Owner>) -> Owner {
        let mut owner = owners.pop().unwrap();
        while !owners.is_empty() {
            owners.remove(0).crash(self);
        }
        while owner.next < self.log.len() {
            owner.read(self);
        }
        // One checkpoint may be running; the second one is of the end.
        for _ in 0..12 {
            (0..3).for_each(|topic| owner.deliver(topic, usize::MAX, &mut self.broker));
            owner.turn(self);
        }
        (0..3).for_each(|topic| owner.deliver(topic, owner.in_flight[topic].len(), &mut self.broker));
        owner
    }
}

/// One simulation; the error describes the first difference from the oracle.
pub fn run(seed: u64, mutation: Mutation) -> Result<(), String> {
    let mut random = Rng::with_seed(seed);
    let ticks = 60 + random.usize(..120);
    let log = log(&mut random, ticks);
    let undisturbed = World::new(Rng::with_seed(seed), mutation, log.clone()).undisturbed();
    let mut world = World::new(random, mutation, log);
    let mut owners = vec![world.start_owner()];
    for _ in 0..250 + world.random.usize(..300) {
        world.act(&mut owners);
    }
    let owner = world.finish(owners);
    world.finish_restating()?;
    check_bars(&world.broker, &world.rows)?;
    check_late(&world.broker, &undisturbed)?;
    // A mutated restore differs from the owner by itself, so a mutation must show in bars or late ticks.
    world.mutation = Mutation::None;
    check_state(&mut world, &owner)
}

impl World {
    fn new(mut random: Rng, mutation: Mutation, log: Vec<LogTick>) -> World {
        World {
            loss: Loss::any(&mut random, mutation),
            random,
            mutation,
            rows: Rows::of(&log),
            log,
            restaters: Vec::new(),
            broker: Broker::default(),
            wire: WIRE.clone(),
            wall: 1_700_000_000 * SECOND,
        }
    }

    /// The broker after one owner without faults.
    fn undisturbed(mut self) -> Broker {
        let owner = self.start_owner();
        self.finish(vec![owner]);
        self.broker
    }
}
