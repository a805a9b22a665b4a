//! Simulated messages and their normalized ticks.

use std::sync::Arc;

use anyhow::Context as _;
use codec::Wire;
use domain::Micros;
use markets::RawMessage;
use normalization::config;
use normalization::replays::Replays;
use normalization::stages::normalize::Normalize;
use ops::simulation::{Generator, Kind, Plan, Shape};
use service::{Env, Reader};
use stream::hop::StageOutput;

pub const TENANT: &str = "default";
pub const FEED: &str = "ingestion.market.raw.v1";
/// 2026-03-02T12:00:00Z. Fixed, so that every run has the same bytes.
pub const START: Micros = 1_772_452_800_000_000;
/// Append time between two messages. With it the event-id window holds 30,000 ids.
pub const STEP: Micros = 10_000;
const PARTITIONS: i32 = 4;

/// Valid messages of one shape with unique event ids.
pub fn messages(shape: Shape, count: usize) -> anyhow::Result<Vec<Vec<u8>>> {
    let plan = Plan {
        messages: count as u64 * 8 + 1_000,
        seed: 254,
        start: START,
        rate: None,
        duplicate_percent: 0.0,
        late_percent: 0.0,
        poison_percent: 0.0,
        tenant_id: TENANT.to_owned(),
    };
    let mut generator = Generator::new(plan).map_err(anyhow::Error::msg)?;
    let mut found = Vec::with_capacity(count);
    while found.len() < count {
        let message = generator.next_message().context("the simulation ended early")?;
        if matches!(message.kind, Kind::Tick { shape: of, .. } if of == shape) {
            found.push(message.payload.to_vec());
        }
    }
    Ok(found)
}

/// The stage with default settings.
pub fn normalizer() -> anyhow::Result<Normalize> {
    let env = Env::new();
    let mut reader = Reader::new(&env);
    let own = config::read(&mut reader);
    reader.finish()?;
    let config = own.normalizer(TENANT, Wire::single_object());
    Ok(Normalize::new(
        config,
        own.window,
        PARTITIONS,
        Arc::default(),
        Replays::new(&stream::Brokers::plaintext("")),
    ))
}

/// Message number `number` as the stage reads it.
pub fn raw(payload: &[u8], number: usize) -> RawMessage<'_> {
    RawMessage {
        feed: FEED,
        partition: 0,
        offset: number as i64,
        appended_at: START + number as Micros * STEP,
        key: None,
        payload,
        format: None,
        tenant: None,
        replay: None,
    }
}

/// Framed ticks as in the normalized topic.
pub fn normalized(count: usize) -> anyhow::Result<Vec<Vec<u8>>> {
    let (mut stage, mut out) = (normalizer()?, StageOutput::default());
    let mut ticks = Vec::with_capacity(count);
    for (number, payload) in messages(Shape::Envelope, count)?.iter().enumerate() {
        out.clear();
        stage.record(&raw(payload, number), &mut out, START);
        ticks.extend(out.iter().map(|(_, _, value)| value.to_vec()));
    }
    anyhow::ensure!(ticks.len() == count, "{} of {count} messages became ticks", ticks.len());
    Ok(ticks)
}
