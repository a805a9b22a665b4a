//! Spate as a peer: `peer-spate hop FILE` moves raw messages as normalized ticks to another topic, `peer-spate table FILE` to
//! a table of ClickHouse.
//!
//! Role: the same work as normalization's hop and as the hop with its ClickHouse writer, as far as Spate does it: at least
//! once, without quality rules, repeated events or dead letters. `FILE` is Spate's own configuration.
//! Failure: the program ends with the exit code of Spate's report, or with the error of a wrong configuration.

mod tick;

use std::error::Error;
use std::path::Path;

use spate::clickhouse::ClickHouseEncoder;
use spate::kafka::KafkaSource;
use spate::kafka::sink::KafkaJsonEncoder;
use spate::ops::chain;
use spate::prelude::{ExitReport, KeyHashRouter, Pipeline};

use tick::{Parser, Ticks};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let report = match arguments.as_slice() {
        [what, file] if what == "hop" => hop(Pipeline::from_path(Path::new(file))?)?,
        [what, file] if what == "table" => table(Pipeline::from_path(Path::new(file))?)?,
        _ => return Err("usage: peer-spate hop|table FILE".into()),
    };
    report.log();
    std::process::exit(report.exit_code());
}

fn hop(pipeline: Pipeline) -> Result<ExitReport, Box<dyn Error>> {
    let source = KafkaSource::from_component_config(&pipeline.config().source)?;
    let sink = spate::kafka::sink::from_component_config(pipeline.config().sink_config("default")?)?;
    let encoder = sink.encoder_with::<Ticks, _>(KafkaJsonEncoder::<Ticks>::with_key_fn(tick::key));
    Ok(pipeline
        .sink(sink)?
        .chains(move |ctx| {
            let chunk = ctx.chunk();
            chain::<Ticks, _>(Parser)
                .with_metrics(ctx.pipeline, "main")
                .sink(encoder.clone(), KeyHashRouter, chunk, ctx.queues, ctx.budget)
                .build()
        })
        .run(source)?)
}

fn table(pipeline: Pipeline) -> Result<ExitReport, Box<dyn Error>> {
    let source = KafkaSource::from_component_config(&pipeline.config().source)?;
    let sink = spate::clickhouse::config::from_component_config(pipeline.config().sink_config("default")?)?;
    let encoder = match pipeline.block_on(sink.validate_schema())? {
        Some(schema) => ClickHouseEncoder::<Ticks>::with_schema(schema),
        None => ClickHouseEncoder::<Ticks>::new(),
    };
    Ok(pipeline
        .sink(sink)?
        .chains(move |ctx| {
            let chunk = ctx.chunk();
            chain::<Ticks, _>(Parser)
                .with_metrics(ctx.pipeline, "main")
                .sink(encoder.clone(), KeyHashRouter, chunk, ctx.queues, ctx.budget)
                .build()
        })
        .run(source)?)
}
