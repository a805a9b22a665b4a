//! A simulator of the writer's protocol around the production [`Lane`]: several writers, one table, random crashes, zombies,
//! late inserts, unknown outcomes, expired rows. Each rule of the protocol can be switched off, and then the table must be wrong
//! for some seed: a rule that can be removed unnoticed is not tested.

use domain::{Claim, LastOrigin, Micros, Position, RawPosition};

use fastrand::Rng;

use super::lane::{BatchLimits, Lane, Step};
use super::{InsertError, SinkError, Takeover};
use crate::{Sequencer, StartAt};

/// A rule that is switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    Fence,
    Drain,
    DrainBeforeReadBack,
    Sequencer,
    ClaimAfterUnknown,
    Floor,
    FloorOfItsPosition,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    source_offset: i64,
    raw_partition: i32,
    position: RawPosition,
}

/// An insert in flight: the fence is evaluated first, the part appears later.
struct InFlight {
    writer: u64,
    claim: Claim,
    rows: Vec<Row>,
    fence_passed: bool,
}

#[derive(Default)]
struct Table {
    rows: Vec<Row>,
    /// Rows that expired: no longer in the table, but they count as written.
    expired: Vec<Row>,
    fence: Vec<Claim>,
    floors: Vec<(u64, Position)>,
    in_flight: Vec<InFlight>,
}

impl Table {
    fn newest_claim(&self) -> Option<&Claim> {
        self.fence.iter().max_by_key(|claim| (claim.epoch, claim.writer))
    }

    fn claim(&mut self, random: &mut Rng) -> Claim {
        let claim = Claim {
            topic: "t".into(),
            partition: 0,
            epoch: self.newest_claim().map_or(1, |claim| claim.epoch + 1),
            writer: uuid::Uuid::from_u64_pair(random.u64(..u64::from(u32::MAX)), random.u64(..u64::from(u32::MAX))),
        };
        self.fence.push(claim.clone());
        claim
    }

    fn read_back(&self, floors: bool) -> Option<Position> {
        let floor = self
            .floors
            .iter()
            .max_by_key(|(epoch, floor)| (floor.next_offset, *epoch))
            .map(|(_, floor)| floor)
            .filter(|_| floors);
        // Rows before the floor are in its state.
        let from = floor.map_or(0, |floor| floor.next_offset);
        let rows = || self.rows.iter().filter(|row| row.source_offset >= from);
        let table = rows().map(|row| row.source_offset + 1).max();
        let next_offset = table.max(floor.map(|floor| floor.next_offset))?;
        let mut sequencer = Sequencer::default();
        rows().for_each(|row| sequencer.merge(&last_origin(row)));
        floor
            .into_iter()
            .flat_map(|floor| &floor.sequencer)
            .for_each(|origin| sequencer.merge(origin));
        Some(Position {
            next_offset,
            sequencer: sequencer.state(),
        })
    }
}

fn last_origin(row: &Row) -> LastOrigin {
    LastOrigin {
        feed: "f".into(),
        raw_partition: row.raw_partition,
        position: row.position,
    }
}

struct Writer {
    /// Distinguishes its inserts from those of a crashed writer in its slot.
    id: u64,
    lane: Lane,
    at: i64,
    pending: Vec<Row>,
    outcome: Option<Result<(), InsertError>>,
    inserting: bool,
    /// Rows of the insert under way, for the mutation that guesses an unknown outcome.
    sent: Vec<Row>,
}

impl Writer {
    fn new(id: u64) -> Writer {
        Writer {
            id,
            lane: Lane::new(LIMITS, id),
            at: -1,
            pending: Vec::new(),
            outcome: None,
            inserting: false,
            sent: Vec::new(),
        }
    }
}

const LIMITS: BatchLimits = BatchLimits {
    rows: 4,
    bytes: 1_000_000,
    linger: 5,
};

struct World {
    without: Without,
    random: Rng,
    now: Micros,
    log: Vec<Row>,
    table: Table,
    writers: Vec<Writer>,
    ids: u64,
}

impl World {
    fn new(without: Without, seed: u64) -> World {
        let mut random = Rng::with_seed(seed.wrapping_mul(7_919) + 1);
        let log = source_log(&mut random);
        World {
            without,
            random,
            now: 0,
            log,
            table: Table::default(),
            writers: vec![Writer::new(1), Writer::new(2)],
            ids: 2,
        }
    }

    fn take_over(&mut self, index: usize) {
        if self.random.u64(..100) < 10 {
            let step = self.writers[index]
                .lane
                .taken_over(Err(SinkError::Transient("away".into())), self.now);
            assert_eq!(step, Step::None);
            return;
        }
        let claim = self.table.claim(&mut self.random);
        let early = self.table.read_back(self.without != Without::Floor);
        if self.without != Without::Drain {
            self.drain();
        }
        let position = if self.without == Without::DrainBeforeReadBack {
            early
        } else {
            self.table.read_back(self.without != Without::Floor)
        };
        if let Some(floor) = &position {
            self.table.floors.push((claim.epoch, floor.clone()));
        }
        let now = self.now;
        let writer = &mut self.writers[index];
        let step = writer.lane.taken_over(Ok(Takeover { claim, position }), now);
        writer.at = match step {
            Step::Start(StartAt::Offset(offset)) => offset,
            _ => 0,
        };
        (writer.pending, writer.outcome, writer.inserting) = (Vec::new(), None, false);
    }

    /// The effect of `KILL QUERY … SYNC`: running inserts end, with or without success.
    fn drain(&mut self) {
        for insert in std::mem::take(&mut self.table.in_flight) {
            if insert.fence_passed && self.random.u64(..100) < 50 {
                self.table.rows.extend(insert.rows);
                self.answer(insert.writer, Ok(()));
            } else {
                self.answer(insert.writer, Err(InsertError::Unknown("killed".into())));
            }
        }
    }

    fn answer(&mut self, writer: u64, result: Result<(), InsertError>) {
        // The response may be lost: then the client has an unknown outcome.
        let lost = self.random.u64(..100) < 20;
        if let Some(writer) = self.writers.iter_mut().find(|w| w.id == writer && w.inserting) {
            writer.outcome = Some(if lost {
                Err(InsertError::Unknown("lost".into()))
            } else {
                result
            });
        }
    }

    fn advance_insert(&mut self) {
        if self.table.in_flight.is_empty() {
            return;
        }
        let index = self.random.usize(..self.table.in_flight.len());
        if !self.table.in_flight[index].fence_passed {
            let mine = self.table.newest_claim() == Some(&self.table.in_flight[index].claim);
            if mine || self.without == Without::Fence {
                self.table.in_flight[index].fence_passed = true;
            } else {
                let insert = self.table.in_flight.remove(index);
                self.answer(insert.writer, Err(InsertError::Fenced));
            }
        } else {
            let insert = self.table.in_flight.remove(index);
            self.table.rows.extend(insert.rows);
            self.answer(insert.writer, Ok(()));
        }
    }

    fn read_one(&mut self, index: usize) {
        let (now, without) = (self.now, self.without);
        let writer = &mut self.writers[index];
        let Some(row) = usize::try_from(writer.at).ok().and_then(|at| self.log.get(at)) else {
            return;
        };
        if writer.lane.is_full() {
            return;
        }
        let Some((sequencer, _)) = writer.lane.intake(row.source_offset) else {
            return;
        };
        let new = sequencer.accept("f", row.raw_partition, row.position) || without == Without::Sequencer;
        if new {
            writer.pending.push(row.clone());
        }
        writer.lane.took(row.source_offset, new, now);
        writer.at += 1;
    }

    fn cut(&mut self, index: usize, drain: bool) {
        let now = self.now;
        let writer = &mut self.writers[index];
        if let Some((claim, batch)) = writer.lane.cut(now, drain) {
            assert_eq!(batch.rows, writer.pending.len());
            writer.inserting = true;
            writer.sent = std::mem::take(&mut writer.pending);
            let rows = writer.sent.clone();
            self.table.in_flight.push(InFlight {
                writer: writer.id,
                claim,
                rows,
                fence_passed: false,
            });
        }
    }

    fn serve_outcome(&mut self, index: usize) {
        let now = self.now;
        let writer = &mut self.writers[index];
        let Some(outcome) = writer.outcome.take() else {
            return;
        };
        writer.inserting = false;
        if self.without == Without::ClaimAfterUnknown && matches!(outcome, Err(InsertError::Unknown(_))) {
            // Guesses "it failed" and sends the rows again.
            let claim = self.table.newest_claim().cloned();
            if let Some(claim) = claim {
                writer.inserting = true;
                let rows = writer.sent.clone();
                self.table.in_flight.push(InFlight {
                    writer: writer.id,
                    claim,
                    rows,
                    fence_passed: false,
                });
            }
            return;
        }
        match writer.lane.inserted(&outcome, now) {
            Step::Stop => {
                writer.at = -1;
                writer.pending.clear();
            }
            Step::Confirmed(next) => assert!(next <= writer.at, "confirmed beyond what was read"),
            _ => {}
        }
    }

    fn save_floor(&mut self, index: usize) {
        let position = self.table.rows.iter().map(|row| row.source_offset + 1).max();
        if self.without == Without::FloorOfItsPosition {
            // The newer state, with the older position.
            let (writer, epoch) = (&mut self.writers[index], self.table.fence.len() as u64);
            if let (Some(next_offset), Some((sequencer, _))) = (position, writer.lane.intake(i64::MAX - 1)) {
                let floor = Position {
                    next_offset,
                    sequencer: sequencer.state(),
                };
                self.table.floors.push((epoch, floor));
            }
            return;
        }
        // The lane offers a floor rarely; make it due.
        if let Some((claim, floor)) = self.writers[index].lane.floor_due(self.now + 4_000_000_000) {
            self.table.floors.push((claim.epoch, floor));
        }
    }

    fn step(&mut self) {
        self.now += 1 + self.random.u64(..3) as i64;
        let index = self.random.usize(..self.writers.len());
        match self.random.u64(..100) {
            0..=44 => self.read_one(index),
            45..=59 => self.cut(index, false),
            60..=74 => self.advance_insert(),
            75..=84 => self.serve_outcome(index),
            85..=88 => {
                self.now += 400_000;
                if self.writers[index].lane.takeover_due(self.now + 20_000_000) {
                    self.take_over(index);
                }
            }
            // A crash, or a rebalance: the other writers continue as zombies.
            89..=91 => {
                self.ids += 1;
                self.writers[index] = Writer::new(self.ids);
                self.take_over(index);
            }
            92..=93 => self.save_floor(index),
            94..=95 => self.expire(),
            96 => self.drain(),
            _ => self.read_one(index),
        }
    }

    /// Rows expire oldest first. Retention never removes rows that no floor covers (floors are stored far more often).
    fn expire(&mut self) {
        let covered = self
            .table
            .floors
            .iter()
            .map(|(_, floor)| floor.next_offset)
            .max()
            .unwrap_or(0);
        let (expired, kept) = std::mem::take(&mut self.table.rows)
            .into_iter()
            .partition(|row| row.source_offset < covered);
        self.table.rows = kept;
        self.table.expired.extend::<Vec<Row>>(expired);
    }

    /// Lets one new writer finish the log without failures, then compares the table with the definition.
    fn verdict(mut self) -> Result<(), String> {
        self.writers = vec![Writer::new(self.ids + 1)];
        for _ in 0..40 {
            self.now += 20_000_000;
            if self.writers[0].lane.is_writing() {
                break;
            }
            let _ = self.writers[0].lane.takeover_due(self.now);
            self.take_over(0);
        }
        for _ in 0..self.log.len() * 40 {
            self.now += 10_000_000;
            self.read_one(0);
            self.cut(0, true);
            self.advance_insert();
            self.serve_outcome(0);
            if self.writers[0].lane.takeover_due(self.now) {
                self.take_over(0);
            }
        }
        let mut written: Vec<(i32, RawPosition)> = self
            .table
            .rows
            .iter()
            .chain(&self.table.expired)
            .map(|row| (row.raw_partition, row.position))
            .collect();
        written.sort();
        let mut expected: Vec<(i32, RawPosition)> =
            self.log.iter().map(|row| (row.raw_partition, row.position)).collect();
        expected.sort();
        expected.dedup();
        if written == expected {
            Ok(())
        } else {
            Err(format!("{} rows written, {} expected", written.len(), expected.len()))
        }
    }
}

/// A log with the repetitions that at-least-once stages and zombies leave: two raw partitions, each first occurrence in order,
/// and runs of earlier ticks repeated.
fn source_log(random: &mut Rng) -> Vec<Row> {
    let mut log = Vec::new();
    let mut reached = [0i64; 2];
    while log.len() < 60 {
        let raw_partition = random.u64(..2) as usize;
        if random.u64(..100) < 25 {
            reached[raw_partition] -= (random.u64(..6) as i64).min(reached[raw_partition]);
        }
        for _ in 0..random.u64(..4) {
            log.push(Row {
                source_offset: log.len() as i64,
                raw_partition: raw_partition as i32,
                position: RawPosition {
                    offset: reached[raw_partition],
                    index: 0,
                },
            });
            reached[raw_partition] += 1;
        }
    }
    log
}

fn run(without: Without, seed: u64) -> Result<(), String> {
    let mut world = World::new(without, seed);
    (0..world.writers.len()).for_each(|index| world.take_over(index));
    for _ in 0..600 {
        world.step();
    }
    world.verdict()
}

#[test]
fn every_tick_is_in_the_table_once_under_all_failures() {
    for seed in 0..3000 {
        assert_eq!(run(Without::Nothing, seed), Ok(()), "seed {seed}");
    }
}

#[test]
fn each_rule_is_needed() {
    for without in [
        Without::Fence,
        Without::Drain,
        Without::DrainBeforeReadBack,
        Without::Sequencer,
        Without::ClaimAfterUnknown,
        Without::Floor,
        Without::FloorOfItsPosition,
    ] {
        assert!(
            (0..3000).any(|seed| run(without, seed).is_err()),
            "the model does not notice that {without:?} is missing"
        );
    }
}
