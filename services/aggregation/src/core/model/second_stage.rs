//! The second stage, killed between any two of its steps: it reads the late topic from the committed position, runs one query
//! on the table per step, and commits when its bars are acknowledged.
//!
//! The production code ([`crate::core::restate`], [`crate::core::found`]) decides which windows are requested, when, and what
//! an answer means; only the server's answers are modelled.

use std::collections::VecDeque;

use delivery::Ticket;
use delivery::acks::AckWindow;
use domain::{AskedWindow, Decimal, LateTick, Micros, Origin};
use fastrand::Rng;
use stores::Oldest;
use stream::{KeptMessage, Partition};

use super::fixtures::{OwnedBar, RULES};
use super::oracle::Rows;
use super::world::{Broker, Mutation};
use crate::core::restate::{Answer, RestateRules};
use crate::core::restate_outcome::{Fate, Kept, ask_again, fate, kept};

/// A record of the late topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LateRecord {
    pub enriched_offset: i64,
    pub instrument_id: String,
    pub event_time: Micros,
    pub by_table: u8,
    pub closed: u8,
    pub is_close: bool,
}

impl LateRecord {
    fn tick(&self) -> LateTick<'_> {
        LateTick {
            origin: Origin {
                feed: "f",
                partition: 0,
                offset: 0,
                index: 0,
            },
            tenant_id: "t",
            instrument_id: &self.instrument_id,
            event_time: self.event_time,
            price: Decimal::ZERO,
            volume: None,
            missed_intervals: self.by_table,
            closed_intervals: self.closed,
            is_close: self.is_close,
            watermark: 0,
            enriched_offset: self.enriched_offset,
        }
    }
}

/// The progress of a statement; the table may change between two steps.
enum Step {
    Begun,
    Reached,
    OldestFound(Option<Oldest>),
    Read(Option<Oldest>, Vec<Option<OwnedBar>>),
}

struct Statement {
    asked: Vec<AskedWindow>,
    is_second: bool,
    step: Step,
}

/// One instance of the second stage; several may run at once.
pub struct Restater {
    core: crate::core::restate::Restater,
    /// Its next offset in the late topic.
    next: usize,
    acks: AckWindow,
    in_flight: VecDeque<(Ticket, OwnedBar)>,
    statement: Option<Statement>,
}

/// The surroundings of a restater.
pub struct Scene<'a> {
    pub broker: &'a mut Broker,
    pub rows: &'a Rows,
    pub random: &'a mut Rng,
    pub now: Micros,
    pub mutation: Mutation,
}

impl Restater {
    pub fn start(scene: &mut Scene<'_>) -> Restater {
        let rules = RestateRules {
            intervals: RULES.intervals,
            windows: 1 + scene.random.usize(..12),
            linger: scene.random.usize(..60) as i64 * 1_000_000,
        };
        Restater {
            core: crate::core::restate::Restater::new(rules),
            next: scene.broker.late_committed,
            acks: AckWindow::default(),
            in_flight: VecDeque::new(),
            statement: None,
        }
    }

    /// Reads some late ticks until it is full, and takes the next step of a statement.
    pub fn turn(&mut self, scene: &mut Scene<'_>) {
        for _ in 0..scene.random.usize(..8) {
            if self.core.is_full() {
                break;
            }
            let Some(record) = scene.broker.late.get(self.next) else {
                break;
            };
            self.core.take(message(self.next), &record.tick(), scene.now);
            self.next += 1;
        }
        if scene.mutation == Mutation::LateCommittedEarly {
            scene.broker.late_committed = self.next;
        }
        match self.statement.take() {
            Some(_) if scene.random.usize(..100) < 4 => {
                let answer = [Answer::Failed, Answer::TooMuch][scene.random.usize(..2)];
                self.core.answered(answer, scene.now);
            }
            Some(statement) => self.step(statement, scene),
            None => {
                let asked = self.core.next_statement(scene.now, self.acks.last());
                self.statement = asked.map(|asked| Statement {
                    asked: asked.to_vec(),
                    is_second: false,
                    step: Step::Begun,
                });
            }
        }
        self.commit(scene.broker);
    }

    fn step(&mut self, statement: Statement, scene: &mut Scene<'_>) {
        let Statement {
            asked,
            mut is_second,
            step,
        } = statement;
        let (table, mutation) = (&scene.broker.table, scene.mutation);
        let step = match step {
            Step::Begun => {
                let upto = asked.iter().map(|asked| asked.version.last_offset).max().unwrap_or(0);
                if !table.has_reached(upto) && mutation != Mutation::TableNotAwaited {
                    return self.core.answered(Answer::Behind, scene.now);
                }
                Step::Reached
            }
            Step::Reached => Step::OldestFound(table.oldest(scene.rows)),
            Step::OldestFound(oldest) => Step::Read(oldest, table.restate(scene.rows, &asked, mutation)),
            Step::Read(before, bars) => {
                let oldest = match mutation {
                    Mutation::OldestOfBefore => before,
                    _ => table.oldest(scene.rows),
                };
                let of_windows = asked.iter().zip(&bars);
                let fates = of_windows.map(|(asked, bar)| fate_of(mutation, asked, bar, oldest.as_ref(), None));
                let is_last = is_second || mutation == Mutation::AskedOnce;
                if !ask_again(fates, oldest.as_ref(), is_last) {
                    return self.send(scene, asked, bars, oldest.as_ref());
                }
                is_second = true;
                Step::Begun
            }
        };
        self.statement = Some(Statement { asked, is_second, step });
    }

    fn send(
        &mut self,
        scene: &mut Scene<'_>,
        asked: Vec<AskedWindow>,
        bars: Vec<Option<OwnedBar>>,
        oldest: Option<&Oldest>,
    ) {
        for (asked, bar) in asked.into_iter().zip(bars) {
            let kept = kept_of(scene, &asked, &bar, oldest);
            let fate = fate_of(scene.mutation, &asked, &bar, oldest, kept);
            let key = (
                asked.instrument_id.as_ref().to_owned(),
                asked.window.interval,
                asked.window.start,
            );
            // The bar of the rows before a missing row is right, too.
            if let (Fate::Bar | Fate::Missing, Some(mut bar)) = (fate, bar) {
                if scene.mutation == Mutation::LastRowNotCompared {
                    bar.version.last_offset = asked.version.last_offset;
                }
                self.in_flight.push_back((self.acks.issue(), bar));
            }
            if !matches!(fate, Fate::Bar | Fate::Superseded) {
                scene.broker.not_restated.insert(key);
            }
        }
        self.core.answered(Answer::Sent(self.acks.last()), scene.now);
    }

    /// Some of its bars arrive; it commits up to the last batch whose bars have all arrived.
    pub fn deliver(&mut self, broker: &mut Broker, count: usize) {
        for _ in 0..count {
            let Some((ticket, bar)) = self.in_flight.pop_front() else {
                break;
            };
            broker.bars.push(bar);
            self.acks.acknowledge(ticket);
        }
        self.commit(broker);
    }

    fn commit(&mut self, broker: &mut Broker) {
        if let Some(position) = self.core.durable(self.acks.acked_through()) {
            broker.late_committed = usize::try_from(position).unwrap();
        }
    }

    /// Its process ends while some of its bars arrive.
    pub fn crash(mut self, broker: &mut Broker, random: &mut Rng) {
        let arriving = random.usize(..self.in_flight.len() + 1);
        broker.bars.extend(self.in_flight.drain(..arriving).map(|(_, bar)| bar));
    }
}

/// A record of the late topic as the restater keeps it; the model dead-letters none.
fn message(offset: usize) -> KeptMessage {
    KeptMessage {
        source: Partition {
            topic: "late".into(),
            number: 0,
        },
        offset: offset as i64,
        timestamp: 0,
        has_append_time: true,
        key: None,
        payload: None,
    }
}

/// The check of a window with expired rows against the table of bars.
fn kept_of(scene: &Scene<'_>, asked: &AskedWindow, bar: &Option<OwnedBar>, oldest: Option<&Oldest>) -> Option<Kept> {
    let last_offset = bar.as_ref().map(|bar| bar.version.last_offset);
    let longest = RULES.at_once.close_after.max(RULES.after_interval.close_after);
    let is_before = oldest.is_some_and(|oldest| asked.window.end() + longest <= oldest.appended_at);
    if !is_before || fate(asked, last_offset, oldest, Some(Kept::Whole)) != Fate::Bar {
        return None;
    }
    let of_window = |bar: &&OwnedBar| *bar.instrument_id == *asked.instrument_id && bar.window == asked.window;
    let stored = scene.broker.bars.iter().filter(of_window).max_by_key(|bar| bar.version);
    let again = stored.and_then(|stored| {
        let as_stored = AskedWindow {
            version: stored.version,
            ..asked.clone()
        };
        let mut bar = scene
            .broker
            .table
            .restate(scene.rows, &[as_stored], scene.mutation)
            .pop()??;
        bar.version.closed = stored.version.closed;
        let keeps_the_cause = scene.broker.table.ends_without_effect(scene.rows, asked);
        if stored.version.last_offset < asked.version.last_offset && !keeps_the_cause {
            bar.cause = stored.cause;
        }
        Some(bar)
    });
    match scene.mutation {
        Mutation::StoredNotCompared => Some(Kept::Whole),
        _ => kept(asked.version, stored.map(|bar| (bar.version, bar)), again.as_ref()),
    }
}

/// The fate of a window, by the rule or by the mutation.
fn fate_of(
    mutation: Mutation,
    asked: &AskedWindow,
    bar: &Option<OwnedBar>,
    oldest: Option<&Oldest>,
    kept: Option<Kept>,
) -> Fate {
    let last_offset = bar.as_ref().map(|bar| bar.version.last_offset);
    match (fate(asked, last_offset, oldest, kept), mutation) {
        (Fate::Expired, Mutation::ExpiryNotSeen) | (Fate::Missing, Mutation::LastRowNotCompared) => Fate::Bar,
        (fate, _) => fate,
    }
}
