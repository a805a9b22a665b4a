//! Kinds of simulated messages, and exact counts of them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Poison;

/// Shape of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// A: envelope and payload.
    Envelope,
    /// B: flat, with the source's JSON as text.
    Flat,
    /// C: Avro.
    Avro,
}

impl Shape {
    /// The public name.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Envelope => "A (envelope)",
            Shape::Flat => "B (flat)",
            Shape::Avro => "C (avro)",
        }
    }

    pub(super) fn version(self) -> &'static str {
        match self {
            Shape::Envelope => "1.0",
            Shape::Flat | Shape::Avro => "1.0.0",
        }
    }
}

/// Kind of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A valid message with one tick, sent for the first time.
    Tick {
        /// Its shape.
        shape: Shape,
        /// Whether its event time is at least ten minutes late.
        late: bool,
    },
    /// A repetition of an earlier valid message: the same bytes, or a producer's retry with the same event and key.
    Duplicate,
    /// A message that must become a dead letter.
    Poison(Poison),
}

/// Number of messages of each kind. `messages = ticks + duplicates + poison()`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All messages.
    pub messages: u64,
    /// Distinct valid messages, including late ones: ticks that must arrive.
    pub ticks: u64,
    /// Ticks whose event time is at least ten minutes late.
    pub late: u64,
    /// Messages that repeat an event.
    pub duplicates: u64,
    /// Messages that must become dead letters, by expected code.
    pub dead_letters: BTreeMap<&'static str, u64>,
    /// Ticks by shape.
    pub shapes: BTreeMap<&'static str, u64>,
    /// Ticks by market.
    pub markets: BTreeMap<&'static str, u64>,
}

impl Counts {
    /// Messages that must become dead letters.
    pub fn poison(&self) -> u64 {
        self.messages - self.ticks - self.duplicates
    }

    /// The sum of the counts of two runs.
    pub fn plus(&self, other: &Counts) -> Counts {
        let add = |one: &BTreeMap<&'static str, u64>, two: &BTreeMap<&'static str, u64>| {
            two.iter().fold(one.clone(), |mut sum, (name, count)| {
                *sum.entry(name).or_default() += count;
                sum
            })
        };
        Counts {
            messages: self.messages + other.messages,
            ticks: self.ticks + other.ticks,
            late: self.late + other.late,
            duplicates: self.duplicates + other.duplicates,
            dead_letters: add(&self.dead_letters, &other.dead_letters),
            shapes: add(&self.shapes, &other.shapes),
            markets: add(&self.markets, &other.markets),
        }
    }

    pub(super) fn add(&mut self, kind: Kind, market: &'static str) {
        self.messages += 1;
        match kind {
            Kind::Duplicate => self.duplicates += 1,
            Kind::Poison(poison) => *self.dead_letters.entry(poison.code()).or_default() += 1,
            Kind::Tick { shape, late } => {
                self.ticks += 1;
                self.late += u64::from(late);
                *self.shapes.entry(shape.name()).or_default() += 1;
                *self.markets.entry(market).or_default() += 1;
            }
        }
    }
}
