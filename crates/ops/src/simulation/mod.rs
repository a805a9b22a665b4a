//! A seeded stream of raw messages as producers send them: valid, late, repeated and invalid ones.
//!
//! Role: the pure part of `dp simulate`, of the demo and of tests. No clock, no I/O: the caller sets the current time.
//! Invariants: the same [`Plan`] gives the same bytes in the same order; [`Counts`] is exact, and
//! `messages = ticks + duplicates + poison` (the input side of INV-5).
//! Absent on purpose: any access to the pipeline. This module states the expected outcome of each message; other code
//! compares it with the actual one.

mod avro;
mod counts;
mod instruments;
mod plan;
mod poison;
mod random;
mod statement;
#[cfg(test)]
mod tests;
mod units;

use std::fmt::Write;

use codec::Wire;
use domain::Micros;

pub use counts::{Counts, Kind, Shape};
pub use plan::Plan;
pub use poison::Poison;

use instruments::{Instrument, Series};
use random::Random;
pub use statement::{EVENT_TYPE, source};
use statement::{Statement, TimeForm};
use units::{HOUR, MINUTE};

/// A repetition follows its first occurrence within this many valid messages.
const MEMORY: usize = 256;

/// One message of the simulation, borrowed until the next one is generated.
#[derive(Debug, Clone, Copy)]
pub struct Simulated<'a> {
    /// Kafka key: the instrument id.
    pub key: &'a [u8],
    /// The bytes.
    pub payload: &'a [u8],
    /// Valid, repeated or poison.
    pub kind: Kind,
}

/// Generates the messages of a plan one after the other.
#[derive(Debug)]
pub struct Generator {
    plan: Plan,
    wire: Wire,
    random: Random,
    instruments: Vec<Instrument>,
    counts: Counts,
    /// The last valid messages with the index of their instrument, oldest overwritten first.
    recent: Vec<(usize, Vec<u8>)>,
    next_recent: usize,
    memory: usize,
    texts: Texts,
    payload: Vec<u8>,
}

/// Scratch space, so that no message allocates.
#[derive(Debug, Default)]
struct Texts {
    event_id: String,
    market: String,
    price: String,
    volume: String,
    bid: String,
    ask: String,
    inner: Vec<u8>,
}

impl Generator {
    /// A generator at the start of its plan.
    ///
    /// # Errors
    /// As [`Plan::check`].
    pub fn new(plan: Plan) -> Result<Generator, String> {
        plan.check()?;
        // A slow stream must not repeat an event that the event-id window has already expired.
        let per_minute = plan.rate.map_or(u64::MAX, |rate| rate.saturating_mul(60));
        let memory = usize::try_from(per_minute).unwrap_or(MEMORY).clamp(1, MEMORY);
        Ok(Generator {
            wire: Wire::single_object(),
            random: Random::new(plan.seed),
            instruments: instruments::all(),
            counts: Counts::default(),
            recent: Vec::with_capacity(memory),
            next_recent: 0,
            memory,
            texts: Texts::default(),
            payload: Vec::with_capacity(1024),
            plan,
        })
    }

    /// Counts of the messages so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The next message; `None` at the end of the plan.
    pub fn next_message(&mut self) -> Option<Simulated<'_>> {
        if self.counts.messages >= self.plan.messages {
            return None;
        }
        let millionths = |percent: f64| (percent * 10_000.0) as u32;
        let (instrument, kind) =
            if !self.recent.is_empty() && self.random.chance(millionths(self.plan.duplicate_percent)) {
                (self.repeat(), Kind::Duplicate)
            } else if self.random.chance(millionths(self.plan.poison_percent)) {
                self.make_poison()
            } else {
                let late = self.random.chance(millionths(self.plan.late_percent));
                self.make_tick(late)
            };
        let market = self.instruments.get(instrument).map_or("", |found| found.market);
        self.counts.add(kind, market);
        Some(Simulated {
            key: self
                .instruments
                .get(instrument)
                .map_or(b"", |found| found.id.as_bytes()),
            payload: &self.payload,
            kind,
        })
    }

    fn repeat(&mut self) -> usize {
        let chosen = self.random.below(self.recent.len() as u64) as usize;
        self.payload.clear();
        self.recent.get(chosen).map_or(0, |(instrument, payload)| {
            self.payload.extend_from_slice(payload);
            // Every other repetition is a producer's retry, whose bytes differ.
            if self.counts.duplicates % 2 == 1 {
                statement::make_retry(&mut self.payload);
            }
            *instrument
        })
    }

    fn make_tick(&mut self, wants_late: bool) -> (usize, Kind) {
        let position = self.choose_instrument(wants_late);
        // Shape C has no field for the product, so interval prices are never sent in it.
        let is_traded = self
            .instruments
            .get(position)
            .is_some_and(|instrument| instrument.series == Series::Trades);
        let shape = match self.random.below(10) {
            0..=5 if is_traded => Shape::Avro,
            0..=5 => Shape::Envelope,
            _ => Shape::Flat,
        };
        self.write_message(position, shape, wants_late, None);
        if self.recent.len() < self.memory {
            self.recent.push((position, self.payload.clone()));
        } else if let Some((of, payload)) = self.recent.get_mut(self.next_recent) {
            *of = position;
            payload.clear();
            payload.extend_from_slice(&self.payload);
            self.next_recent = (self.next_recent + 1) % self.memory;
        }
        let late = wants_late;
        (position, Kind::Tick { shape, late })
    }

    fn make_poison(&mut self) -> (usize, Kind) {
        let poison = Poison::in_turn(self.counts.poison());
        let shape = match poison {
            Poison::BrokenAvro => Shape::Avro,
            // The flat shape has a second time field, which would replace the missing one.
            Poison::Oversize | Poison::MissingTime => Shape::Envelope,
            _ if self.random.chance(500_000) => Shape::Flat,
            _ => Shape::Envelope,
        };
        let position = self.choose_instrument(false);
        self.write_message(position, shape, false, Some(poison));
        poison.spoil_bytes(&mut self.payload, &mut self.random);
        (position, Kind::Poison(poison))
    }

    /// Two of five ticks are trades, nearly all others quotes. An interval has one price, which is never late.
    fn choose_instrument(&mut self, wants_late: bool) -> usize {
        let (wants_trade, now) = (self.random.chance(400_000), self.now());
        loop {
            let position = self.random.below(self.instruments.len() as u64) as usize;
            let chosen = self.instruments.get(position);
            let accepted = match chosen.map(|instrument| instrument.series) {
                Some(Series::Trades) => wants_trade,
                Some(Series::RealTime(_) | Series::DayAhead) => {
                    !wants_trade && !wants_late && chosen.is_some_and(|one| one.next_interval(now).is_some())
                }
                Some(Series::Quotes) | None => !wants_trade,
            };
            if accepted {
                return position;
            }
        }
    }

    /// Writes a message for this instrument into `payload`.
    fn write_message(&mut self, position: usize, shape: Shape, wants_late: bool, poison: Option<Poison>) {
        let now = self.now();
        let Generator {
            plan,
            random,
            instruments,
            texts,
            ..
        } = self;
        let Some(instrument) = instruments.get_mut(position) else {
            return;
        };
        let interval = instrument.next_interval(now).filter(|_| !wants_late);
        let event_time = match interval {
            Some(start) => start,
            None => event_time(wants_late, plan.start, now, random),
        };
        if poison.is_none() {
            interval.into_iter().for_each(|start| instrument.set_priced(start));
        }
        texts.fill(plan, self.counts.messages, instrument, random);
        let mut said = Statement {
            event_id: Some(&texts.event_id),
            tenant_id: &plan.tenant_id,
            market: &texts.market,
            instrument_id: Some(&instrument.id),
            node: instrument.node,
            zone: (!instrument.node.is_empty() && random.chance(900_000)).then_some("Z1"),
            product: instrument.product,
            event_time: Some(event_time),
            sent_at: now,
            time_form: random.one_of(&TimeForm::ALL).copied().unwrap_or(TimeForm::Utc),
            price: Some(&texts.price),
            volume: Some(texts.volume.as_str()).filter(|text| !text.is_empty()),
            bid: Some(&texts.bid),
            ask: Some(&texts.ask),
            version: shape.version(),
            sequence: self.counts.messages,
            padding: 0,
        };
        if let Some(poison) = poison {
            poison.spoil(&mut said);
        }
        self.payload.clear();
        match shape {
            Shape::Envelope => statement::write_envelope(&said, &mut self.payload),
            Shape::Flat => statement::write_flat(&said, &mut texts.inner, &mut self.payload),
            Shape::Avro => avro::write(&self.wire, &said, &mut self.payload),
        }
    }

    /// The send time that the next message states, in whole milliseconds.
    fn now(&self) -> Micros {
        let done = i128::from(self.counts.messages);
        let (per_million, start) = match self.plan.rate {
            Some(rate) => (done * 1_000_000 / i128::from(rate.max(1)), self.plan.start),
            None => (
                done * i128::from(2 * MINUTE) / i128::from(self.plan.messages.max(1)),
                self.plan.start - 2 * MINUTE,
            ),
        };
        let now = start.saturating_add(i64::try_from(per_million).unwrap_or(i64::MAX));
        now - now.rem_euclid(1000)
    }
}

fn event_time(late: bool, start: Micros, now: Micros, random: &mut Random) -> Micros {
    match late {
        // At least ten minutes late: beyond the threshold of the flag at any speed of the run.
        true => match random.below(4) {
            0 | 1 => start.min(now) - random.between(10 * 60_000, 55 * 60_000) * 1000,
            2 => start.min(now) - random.between(60, 20 * 60) * MINUTE,
            _ => start.min(now) - random.between(24, 20 * 24) * HOUR,
        },
        // Ticks of one instrument are slightly out of order.
        false => now - random.between(0, 1500) * 1000,
    }
}

impl Texts {
    fn fill(&mut self, plan: &Plan, number: u64, instrument: &mut Instrument, random: &mut Random) {
        let price = instrument.move_price(random);
        let volume = random.between(1, 40_000);
        self.event_id.clear();
        self.market.clear();
        self.market.push_str(instrument.market);
        if random.below(3) == 0 {
            self.market.make_ascii_lowercase();
        }
        self.price.clear();
        self.volume.clear();
        self.bid.clear();
        self.ask.clear();
        // Writing to a String cannot fail.
        let _ = write!(self.event_id, "sim-{:x}-{:x}-{number:x}", plan.seed, plan.start);
        // Prices are JSON numbers or strings, with two to five decimals.
        let _ = match random.below(4) {
            0 => write!(self.price, "\"{}\"", Cents(price)),
            1 => write!(self.price, "{}{:03}", Cents(price), random.below(1000)),
            _ => write!(self.price, "{}", Cents(price)),
        };
        if instrument.series == Series::Trades || !random.chance(50_000) {
            let _ = write!(self.volume, "{}", Cents(volume));
        }
        let _ = write!(self.bid, "{}", Cents(price - 3));
        // The width of quotes follows from the volume: another random number would change all that come after it.
        let _ = write!(self.ask, "{}", Cents(price + 4 + volume % 7));
    }
}

/// Hundredths, written as a number with two decimals.
struct Cents(i64);

impl std::fmt::Display for Cents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(
            f,
            "{sign}{}.{:02}",
            self.0.unsigned_abs() / 100,
            self.0.unsigned_abs() % 100
        )
    }
}
