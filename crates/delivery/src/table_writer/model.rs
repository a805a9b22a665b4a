//! A simulator of ClickHouse writers. It runs the production decisions ([`Group`], [`Lane`], [`Sequencer`]) on two partitions
//! with two writers, which are assigned partitions, give them away, crash, or continue as zombies, against a table whose
//! inserts end late, are killed, or are written without an answer. In the end every tick must be in the table once. Each rule
//! can be switched off, and then some seed must fail.

use domain::{Claim, LastOrigin, Micros, Position, RawPosition};

use fastrand::Rng;

use super::group::{BatchLimits, Candidate, Group};
use super::lane::{Lane, Step};
use super::{Claiming, InsertError, SinkError, Takeover};
use crate::{Sequencer, StartAt};

/// A rule that is switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    Fence,
    /// Only the first partition of an insert is checked.
    FenceOfEachPartition,
    Drain,
    DrainBeforeReadBack,
    /// A drain finds only inserts that name the partition first.
    DrainOfEachPartition,
    Sequencer,
    ClaimAfterUnknown,
    /// A zombie claims again what another writer has claimed.
    ClaimOnlyOurs,
    Floor,
    FloorOfItsPosition,
}

const PARTITIONS: usize = 2;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    partition: usize,
    source_offset: i64,
    raw_partition: i32,
    position: RawPosition,
}

/// An insert in flight: the fence is evaluated first, the part appears later.
#[derive(Clone)]
struct Insert {
    /// Unique; its writer waits for the answer to this number.
    number: u64,
    claims: Vec<Claim>,
    rows: Vec<Row>,
    fence_passed: bool,
}

#[derive(Default)]
struct Table {
    rows: Vec<Row>,
    /// Rows that expired: no longer in the table, but they count as written.
    expired: Vec<Row>,
    fence: Vec<Claim>,
    /// Partition, epoch and floor.
    floors: Vec<(usize, u64, Position)>,
    in_flight: Vec<Insert>,
}

impl Table {
    fn newest_claim(&self, partition: usize) -> Option<&Claim> {
        let claims = self.fence.iter().filter(|claim| claim.partition == partition as i32);
        claims.max_by_key(|claim| (claim.epoch, claim.writer))
    }

    fn is_newest(&self, claim: &Claim) -> bool {
        self.newest_claim(claim.partition as usize) == Some(claim)
    }

    fn claim(&mut self, partition: usize, owner: u64, random: &mut Rng) -> Claim {
        let claim = Claim {
            topic: "t".into(),
            partition: partition as i32,
            epoch: self.newest_claim(partition).map_or(1, |claim| claim.epoch + 1),
            writer: uuid::Uuid::from_u64_pair(owner, random.u64(..)),
        };
        self.fence.push(claim.clone());
        claim
    }

    fn read_back(&self, partition: usize, floors: bool) -> Option<Position> {
        let floors = self.floors.iter().filter(|(of, ..)| floors && *of == partition);
        let floor = floors
            .max_by_key(|(_, epoch, floor)| (floor.next_offset, *epoch))
            .map(|(_, _, floor)| floor);
        // Rows before the floor are in its state.
        let from = floor.map_or(0, |floor| floor.next_offset);
        let is_of = |row: &&Row| row.partition == partition && row.source_offset >= from;
        let rows = || self.rows.iter().filter(is_of);
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

/// A partition that a writer was assigned.
struct Assigned {
    /// Who claims: unique for each assignment.
    owner: u64,
    lane: Lane<()>,
    at: i64,
    pending: Vec<Row>,
}

impl Assigned {
    fn new(owner: u64) -> Assigned {
        Assigned {
            owner,
            lane: Lane::new(owner, ()),
            at: -1,
            pending: Vec::new(),
        }
    }
}

struct Writer {
    group: Group,
    lanes: [Option<Assigned>; PARTITIONS],
    /// The insert under way, with the owner of each of its partitions.
    inserting: Option<(Insert, Vec<(usize, u64)>)>,
    outcome: Option<Result<(), InsertError>>,
}

impl Writer {
    fn new() -> Writer {
        Writer {
            group: Group::new(LIMITS),
            lanes: [None, None],
            inserting: None,
            outcome: None,
        }
    }
}

const LIMITS: BatchLimits = BatchLimits {
    rows: 6,
    bytes: 1_000_000,
    freshness: 5,
};

struct World {
    without: Without,
    random: Rng,
    now: Micros,
    logs: [Vec<Row>; PARTITIONS],
    table: Table,
    writers: [Writer; 2],
    /// Numbers owners and inserts.
    ids: u64,
    /// Claims that took a partition from the writer that had claimed it last, without an assignment.
    stolen: u32,
}

impl World {
    fn new(without: Without, seed: u64) -> World {
        let mut random = Rng::with_seed(seed.wrapping_mul(7_919) + 1);
        World {
            without,
            logs: [0, 1].map(|partition| source_log(partition, &mut random)),
            random,
            now: 0,
            table: Table::default(),
            writers: [Writer::new(), Writer::new()],
            ids: 0,
            stolen: 0,
        }
    }

    fn id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    /// The group assigns the partition to the writer; its former owner does not know yet.
    fn assign(&mut self, index: usize, partition: usize) {
        self.writers[index].lanes[partition] = Some(Assigned::new(self.id()));
        self.take_over(index, partition, Claiming::Assigned);
    }

    fn take_over(&mut self, index: usize, partition: usize, claiming: Claiming) {
        let result = self.takeover(index, partition, claiming);
        let now = self.now;
        let Some(assigned) = &mut self.writers[index].lanes[partition] else {
            return;
        };
        (assigned.at, assigned.pending) = (-1, Vec::new());
        match assigned.lane.taken_over(result, now) {
            Step::Start(StartAt::Offset(offset)) => assigned.at = offset,
            Step::Start(StartAt::Beginning) => assigned.at = 0,
            step => assert_eq!(step, Step::None),
        }
    }

    /// Claim, drain, read back; each may fail, after which the claim may exist or not.
    fn takeover(&mut self, index: usize, partition: usize, claiming: Claiming) -> Result<Takeover, SinkError> {
        let away = || SinkError::Transient("away".into());
        if self.random.u64(..100) < 5 {
            return Err(away());
        }
        let owner = self.writers[index].lanes[partition]
            .as_ref()
            .map_or(0, |assigned| assigned.owner);
        let newest = self.table.newest_claim(partition);
        let is_ours = newest.is_some_and(|claim| claim.writer.as_u64_pair().0 == owner);
        if claiming == Claiming::StillOurs && !is_ours {
            if self.without != Without::ClaimOnlyOurs {
                return Err(SinkError::Fenced);
            }
            self.stolen += 1;
        }
        let claim = self.table.claim(partition, owner, &mut self.random);
        if self.random.u64(..100) < 5 {
            return Err(away());
        }
        let early = self.table.read_back(partition, self.without != Without::Floor);
        if self.without != Without::Drain {
            self.drain(partition);
        }
        let position = match self.without {
            Without::DrainBeforeReadBack => early,
            without => self.table.read_back(partition, without != Without::Floor),
        };
        if let Some(floor) = &position {
            self.table.floors.push((partition, claim.epoch, floor.clone()));
        }
        Ok(Takeover { claim, position })
    }

    /// The effect of `KILL QUERY … SYNC`: running inserts of the partition end, with or without success.
    fn drain(&mut self, partition: usize) {
        let named = match self.without {
            Without::DrainOfEachPartition => 1,
            _ => PARTITIONS,
        };
        let is_of = |insert: &Insert| {
            insert
                .claims
                .iter()
                .take(named)
                .any(|claim| claim.partition == partition as i32)
        };
        let (drained, kept) = std::mem::take(&mut self.table.in_flight).into_iter().partition(is_of);
        self.table.in_flight = kept;
        self.end(drained);
    }

    fn end(&mut self, inserts: Vec<Insert>) {
        for insert in inserts {
            if insert.fence_passed && self.random.u64(..100) < 50 {
                self.table.rows.extend(insert.rows);
                self.answer(insert.number, Ok(()));
            } else {
                self.answer(insert.number, Err(InsertError::Unknown("killed".into())));
            }
        }
    }

    fn answer(&mut self, number: u64, result: Result<(), InsertError>) {
        // The response may be lost: then the client has an unknown outcome.
        let lost = self.random.u64(..100) < 20;
        let is_its = |writer: &&mut Writer| {
            writer
                .inserting
                .as_ref()
                .is_some_and(|(insert, _)| insert.number == number)
        };
        if let Some(writer) = self.writers.iter_mut().find(is_its) {
            writer.outcome = Some(match lost {
                true => Err(InsertError::Unknown("lost".into())),
                false => result,
            });
        }
    }

    fn advance_insert(&mut self) {
        if self.table.in_flight.is_empty() {
            return;
        }
        let index = self.random.usize(..self.table.in_flight.len());
        let insert = &self.table.in_flight[index];
        if insert.fence_passed {
            let insert = self.table.in_flight.remove(index);
            self.table.rows.extend(insert.rows);
            self.answer(insert.number, Ok(()));
            return;
        }
        let checked = match self.without {
            Without::Fence => 0,
            Without::FenceOfEachPartition => 1,
            _ => PARTITIONS,
        };
        if insert
            .claims
            .iter()
            .take(checked)
            .all(|claim| self.table.is_newest(claim))
        {
            self.table.in_flight[index].fence_passed = true;
        } else {
            let insert = self.table.in_flight.remove(index);
            self.answer(insert.number, Err(InsertError::Fenced));
        }
    }

    fn read_one(&mut self, index: usize, partition: usize) {
        let (now, without) = (self.now, self.without);
        let writer = &mut self.writers[index];
        let Some(assigned) = &mut writer.lanes[partition] else {
            return;
        };
        let Some(row) = usize::try_from(assigned.at)
            .ok()
            .and_then(|at| self.logs[partition].get(at))
        else {
            return;
        };
        if writer.group.is_full() {
            return;
        }
        let Some((sequencer, _)) = assigned.lane.intake(row.source_offset) else {
            return;
        };
        let new = sequencer.accept("f", row.raw_partition, row.position) || without == Without::Sequencer;
        if new {
            assigned.pending.push(row.clone());
        }
        assigned.lane.took(row.source_offset, new.then_some(1), now);
        if new {
            writer.group.took(1);
        }
        assigned.at += 1;
    }

    fn cut(&mut self, index: usize, drain: bool) {
        let number = self.id();
        // A partition may wait for the acknowledgement of a dead letter.
        let clear = [0, 1].map(|_| drain || self.random.u64(..100) < 80);
        let writer = &mut self.writers[index];
        let lanes = writer.lanes.iter_mut().enumerate();
        let candidates = lanes.filter_map(|(partition, assigned)| {
            Some(Candidate {
                key: partition,
                lane: &mut assigned.as_mut()?.lane,
                is_clear: clear[partition],
            })
        });
        let Some(cut) = writer.group.cut(candidates, self.now, drain) else {
            return;
        };
        let (mut claims, mut rows, mut members) = (Vec::new(), Vec::new(), Vec::new());
        for (partition, claim, encoded) in cut.parts {
            let assigned = writer.lanes[partition].as_mut().unwrap();
            assert_eq!(encoded.count, assigned.pending.len());
            rows.append(&mut assigned.pending);
            members.push((partition, assigned.owner));
            claims.push(claim);
        }
        let insert = Insert {
            number,
            claims,
            rows,
            fence_passed: false,
        };
        writer.inserting = Some((insert.clone(), members));
        self.table.in_flight.push(insert);
    }

    fn serve_outcome(&mut self, index: usize) {
        let (now, without) = (self.now, self.without);
        let writer = &mut self.writers[index];
        let Some(outcome) = writer.outcome.take() else {
            return;
        };
        if without == Without::ClaimAfterUnknown
            && let (Err(InsertError::Unknown(_)), Some((insert, _))) = (&outcome, &mut writer.inserting)
        {
            // Guesses "it failed" and sends the rows again.
            for claim in &mut insert.claims {
                claim.clone_from(self.table.newest_claim(claim.partition as usize).unwrap());
            }
            self.table.in_flight.push(insert.clone());
            return;
        }
        writer.group.ended();
        for (partition, owner) in writer.inserting.take().unwrap().1 {
            let Some(assigned) = writer.lanes[partition]
                .as_mut()
                .filter(|assigned| assigned.owner == owner)
            else {
                continue;
            };
            match assigned.lane.inserted(&outcome, now) {
                Step::Stop => (assigned.at, assigned.pending) = (-1, Vec::new()),
                Step::Confirmed(next) => assert!(next <= assigned.at, "confirmed beyond what was read"),
                step => assert_eq!(step, Step::None),
            }
        }
    }

    fn save_floor(&mut self, index: usize, partition: usize) {
        let now = self.now;
        let Some(assigned) = &mut self.writers[index].lanes[partition] else {
            return;
        };
        let written = self.table.rows.iter().filter(|row| row.partition == partition);
        let floors = &mut self.table.floors;
        if self.without == Without::FloorOfItsPosition {
            // The newer state, with the older position.
            let next_offset = written.map(|row| row.source_offset + 1).max();
            if let (Some(next_offset), Some((sequencer, _))) = (next_offset, assigned.lane.intake(i64::MAX - 1)) {
                let floor = Position {
                    next_offset,
                    sequencer: sequencer.state(),
                };
                floors.push((partition, self.table.fence.len() as u64, floor));
            }
            return;
        }
        // The lane offers a floor rarely; make it due.
        if let Some((claim, floor)) = assigned.lane.floor_due(now + 4_000_000_000) {
            floors.push((partition, claim.epoch, floor));
        }
    }

    fn take_over_if_due(&mut self, index: usize, partition: usize, later: Micros) {
        let now = self.now + later;
        let lane = self.writers[index].lanes[partition]
            .as_mut()
            .map(|assigned| &mut assigned.lane);
        if let Some(claiming) = lane.and_then(|lane| lane.takeover_due(now)) {
            self.take_over(index, partition, claiming);
        }
    }

    fn step(&mut self) {
        self.now += 1 + self.random.u64(..3) as i64;
        let index = self.random.usize(..self.writers.len());
        let partition = self.random.usize(..PARTITIONS);
        match self.random.u64(..100) {
            0..=49 => self.read_one(index, partition),
            50..=61 => self.cut(index, false),
            62..=74 => self.advance_insert(),
            75..=83 => self.serve_outcome(index),
            84..=88 => {
                self.now += 400_000;
                self.take_over_if_due(index, partition, 20_000_000);
            }
            // A rebalance, which the former owner has not noticed: it continues as a zombie.
            89 => self.assign(index, partition),
            // A rebalance that it has noticed. Its rows are read again by the next owner.
            90 => {
                self.writers[index].lanes[partition] = None;
                self.assign(1 - index, partition);
            }
            // A crash.
            91 => {
                self.writers[index] = Writer::new();
                (0..PARTITIONS).for_each(|partition| self.assign(index, partition));
            }
            92..=93 => self.save_floor(index, partition),
            94..=95 => self.expire(partition),
            96 => {
                let all = std::mem::take(&mut self.table.in_flight);
                self.end(all);
            }
            _ => self.read_one(index, partition),
        }
    }

    /// Rows expire oldest first. Retention never removes rows that no floor covers (floors are stored far more often).
    fn expire(&mut self, partition: usize) {
        let floors = self.table.floors.iter().filter(|(of, ..)| *of == partition);
        let covered = floors.map(|(_, _, floor)| floor.next_offset).max().unwrap_or(0);
        let (expired, kept) = std::mem::take(&mut self.table.rows)
            .into_iter()
            .partition(|row| row.partition == partition && row.source_offset < covered);
        self.table.rows = kept;
        self.table.expired.extend::<Vec<Row>>(expired);
    }

    /// Lets one new writer finish the logs, then compares the table with the definition.
    fn verdict(mut self) -> Result<(), String> {
        self.writers = [Writer::new(), Writer::new()];
        (0..PARTITIONS).for_each(|partition| self.assign(0, partition));
        for _ in 0..self.logs[0].len() * 60 {
            self.now += 10_000_000;
            for partition in 0..PARTITIONS {
                self.take_over_if_due(0, partition, 0);
                self.read_one(0, partition);
            }
            self.cut(0, true);
            self.advance_insert();
            self.serve_outcome(0);
        }
        let written = self.table.rows.iter().chain(&self.table.expired);
        let mut written: Vec<_> = written.map(key).collect();
        written.sort();
        let mut expected: Vec<_> = self.logs.iter().flatten().map(key).collect();
        expected.sort();
        expected.dedup();
        if written != expected {
            return Err(format!("{} rows written, {} expected", written.len(), expected.len()));
        }
        match self.stolen {
            0 => Ok(()),
            stolen => Err(format!("{stolen} partitions were taken from their owner")),
        }
    }
}

fn key(row: &Row) -> (usize, i32, RawPosition) {
    (row.partition, row.raw_partition, row.position)
}

/// A log with the repetitions that at-least-once stages and zombies leave: two raw partitions, each first occurrence in order,
/// and runs of earlier ticks repeated.
fn source_log(partition: usize, random: &mut Rng) -> Vec<Row> {
    let mut log = Vec::new();
    let mut reached = [0i64; 2];
    while log.len() < 40 {
        let raw_partition = random.u64(..2) as usize;
        if random.u64(..100) < 25 {
            reached[raw_partition] -= (random.u64(..6) as i64).min(reached[raw_partition]);
        }
        for _ in 0..random.u64(..4) {
            log.push(Row {
                partition,
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
    (0..PARTITIONS).for_each(|partition| world.assign(partition, partition));
    for _ in 0..900 {
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
        Without::FenceOfEachPartition,
        Without::Drain,
        Without::DrainBeforeReadBack,
        Without::DrainOfEachPartition,
        Without::Sequencer,
        Without::ClaimAfterUnknown,
        Without::ClaimOnlyOurs,
        Without::Floor,
        Without::FloorOfItsPosition,
    ] {
        let failed = (0..3000).find(|seed| run(without, *seed).is_err());
        assert!(
            failed.is_some(),
            "the model does not notice that {without:?} is missing"
        );
    }
}
