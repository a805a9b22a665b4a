//! `dp demo`: runs the whole pipeline once and reports what arrived, how fast, and whether it is correct.
//!
//! Role: starts the stack, publishes ticks and documents, waits until every store has them, measures, and runs `dp verify`,
//! which decides the exit code. A second run continues with the data of the first.
//! Failure: one line; the stack keeps running for inspection.

mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, bail};
use bench::outputs::counts as figures;
use bench::outputs::scrape::{Scrape, Usages};
use curves::Horizon;
use localstack::Stack;
use ops::connection::Connection;
use ops::demo::{derived, market_days, queries, snapshots};
use ops::ingest::Documents;
use ops::interrupt::unless_interrupted;
use ops::migrations::{Stores, migrate, stores};
use ops::place::Place;
use ops::present::{print_json, print_line};
use ops::simulate::Load;
use ops::simulation::Counts;
use ops::{catch_up, ingest, simulate, topics};
use reconcile::stored_curve::{self, Question, StoredCurve};
use reconcile::verify::text::shown;
use reconcile::verify::{self, VerifyOptions};

use crate::curve_text;
use report::{DemoReport, Step};

/// Rate of the latency measurement, low enough that nothing queues.
const CALM_RATE: u64 = 1_000;
const CALM_SECONDS: u64 = 10;
/// The curve that is shown: its settlements are an example document.
const CURVE: &str = "NG_HENRY_HUB";
/// Largest difference of a quote that others imply: that of `dp curve show`.
const TOLERANCE: f64 = 0.005;

/// Run the whole pipeline once and show what arrived, how fast, and at what cost.
///
/// Starts the local stack, publishes --ticks simulated messages at full speed, ingests its own example documents of seven markets
/// and those of --data, then publishes 1,000 messages a second for ten seconds to measure latency, not before the minute of the
/// example settlements ends: then curves have snapshots. When every store has all of
/// them, it prints counts, market days, derived series of each kind (spark spread, heat rate, congestion and others), a forward curve,
/// latencies, CPU time and memory, and runs `dp verify`. Exit code 0 only if every store agrees with the raw log. The stack keeps
/// running, and a second run continues with the same data.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Examples:\n  dp demo\n  dp demo --ticks 1000000\n  dp demo --data DIRECTORY\n  dp demo --port-offset 1000      # in parallel with a stack that already runs"
)]
pub struct Args {
    /// Folder or file of documents to ingest; those without a parser become dead letters
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Number of messages to publish at full speed
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..))]
    ticks: u64,
    /// Seed of the simulation
    #[arg(long, value_name = "S", default_value_t = 254)]
    seed: u64,
}

/// Runs `dp demo`.
pub async fn run(place: &Place, args: &Args, json: bool) -> anyhow::Result<ExitCode> {
    if let Some(data) = args.data.as_ref().filter(|data| !data.exists()) {
        bail!("--data {}: no such file or folder", data.display());
    }
    let (stack, connection) = bring_up(place, json).await?;
    let demo = Demo {
        stores: stores(&connection)?,
        connection,
        stack,
    };
    unless_interrupted(demo.show(place, args, json), stack_runs).await
}

fn stack_runs() -> String {
    "the stack is still running: `dp down` stops it, the next `dp demo` continues with its data".to_owned()
}

impl Demo {
    async fn show(&self, place: &Place, args: &Args, json: bool) -> anyhow::Result<ExitCode> {
        let report = self.measure(args).await?;
        say("checking every store against the raw log (dp verify)");
        let verified = verify::run(&self.connection, &VerifyOptions::default())
            .await
            .context("verify")?;
        if json {
            print_json(&serde_json::json!({ "demo": report, "verify": verified }))?;
        } else {
            print_line(&report.shown())?;
            if report.derived.is_empty() {
                let dp = own_command(place);
                print_line(&format!(
                    "no derived series: aggregation ran before the demo, and has none. `{dp} down`, then `{dp} demo`, defines them"
                ))?;
            }
            if let Some(curve) = &report.curve {
                let more = format!("{} curve show {CURVE}", own_command(place));
                print_line(&curve_text::short(curve, &more))?;
            }
            print_line(&self.what_next(&own_command(place)).await?)?;
            print_line(&shown(&verified))?;
        }
        if verified.is_ok() {
            Ok(ExitCode::SUCCESS)
        } else {
            Ok(ExitCode::from(1))
        }
    }
}

async fn bring_up(place: &Place, json: bool) -> anyhow::Result<(Stack, Connection)> {
    say("starting Kafka, ClickHouse, PostgreSQL and Redis");
    let stack = ops::stack::bring_up_servers(place, json).await?;
    let connection = Connection::to_stack(&stack, json)?;
    say("creating tables, reference data and topics");
    let prepare = async {
        migrate(&connection, true).await?;
        topics::create(&connection, None, false).await
    };
    unless_interrupted(prepare, stack_runs).await?;
    say("starting the four services");
    let stack = ops::stack::bring_up(place, derived::define, json).await?;
    // Only now is it recorded which derived series aggregation has.
    let connection = Connection::to_stack(&stack, json)?;
    Ok((stack, connection))
}

struct Demo {
    connection: Connection,
    stack: Stack,
    stores: Stores,
}

impl Demo {
    async fn measure(&self, args: &Args) -> anyhow::Result<DemoReport> {
        // An earlier run may have been interrupted.
        say("waiting until all messages of earlier runs are processed");
        catch_up::until_caught_up(&self.connection, &self.stack).await?;
        let before = figures::read(&self.connection, &self.stores).await?;
        let (scrape, usages) = (Scrape::of(&self.stack).await?, Usages::of(&self.stack)?);

        say("publishing ticks at full speed");
        let (bulk_began, bulk_clock) = (now(), Instant::now());
        let legs = derived::publish(&self.connection).await?;
        let bulk = self.simulate(args, args.ticks, None).await?;
        let documents = self.ingest(args).await?;
        let quoted_at = now();
        catch_up::until_caught_up(&self.connection, &self.stack).await?;
        let bulk_seconds = bulk_clock.elapsed().as_secs_f64();
        let bulk_messages = bulk.messages + documents + legs;
        let load = Usages::of(&self.stack)?.since(&usages, bulk_messages);
        let bulk_scrape = Scrape::of(&self.stack).await?;

        snapshots::until_due(&self.connection, quoted_at, CALM_SECONDS).await?;
        say(&format!("publishing {CALM_RATE} ticks a second for {CALM_SECONDS} s"));
        let calm_began = now();
        let calm = self.simulate(args, CALM_RATE * CALM_SECONDS, Some(CALM_RATE)).await?;
        catch_up::until_caught_up(&self.connection, &self.stack).await?;
        let calm_scrape = Scrape::of(&self.stack).await?;

        let clickhouse = &self.stores.clickhouse;
        let bulk_steps = figures::latencies(&self.connection, clickhouse, bulk_began, calm_began).await?;
        let calm_steps = figures::latencies(&self.connection, clickhouse, calm_began, now()).await?;
        let steps = merged(
            calm_steps.into_iter().chain(calm_scrape.since(&bulk_scrape)),
            bulk_steps.into_iter().chain(bulk_scrape.since(&scrape)),
        );
        Ok(DemoReport {
            published: bulk.plus(&calm),
            documents,
            legs,
            before,
            after: figures::read(&self.connection, &self.stores).await?,
            bulk_messages,
            bulk_seconds,
            calm_rate: CALM_RATE,
            steps,
            load,
            market_days: market_days::read(&self.connection, clickhouse).await?,
            derived: derived::read(&self.connection, clickhouse).await?,
            curve: self.curve().await,
        })
    }

    /// The curve of the next year. A stack whose reference data were changed may have none, and is no failure of the pipeline.
    async fn curve(&self) -> Option<StoredCurve> {
        let question = Question {
            tenant: &self.connection.settings.tenant_id,
            curve_id: CURVE,
            as_of: None,
            horizon: Horizon::Year,
            tolerance: TOLERANCE,
        };
        let read = stored_curve::read(&self.connection, &self.stores, question).await;
        read.inspect_err(|error| say(&format!("no curve is shown: {error:#}")))
            .ok()
    }

    async fn simulate(&self, args: &Args, ticks: u64, rate: Option<u64>) -> anyhow::Result<Counts> {
        let load = Load {
            ticks,
            rate,
            seed: args.seed,
            ..Load::default()
        };
        Ok(simulate::publish(&self.connection, &load).await?.counts)
    }

    async fn ingest(&self, args: &Args) -> anyhow::Result<u64> {
        let examples = ingest::publish_examples(&self.connection).await?;
        let Some(data) = &args.data else {
            return Ok(examples);
        };
        let documents = Documents {
            files: vec![data.clone()],
            send_unknown: true,
            ..Documents::default()
        };
        let ingested = ingest::publish(&self.connection, &documents).await?;
        Ok(examples + ingested.iter().map(|file| file.messages).sum::<u64>())
    }

    async fn what_next(&self, dp: &str) -> anyhow::Result<String> {
        let queries = queries::examples(&self.connection, &self.stores.clickhouse).await?;
        let ports = &self.stack.config().ports;
        let sql: String = queries.iter().map(|sql| format!("  {dp} sql \"{sql}\"\n")).collect();
        Ok(format!(
            "next steps\n  \
             http://127.0.0.1:{projection}/prices/latest?instrument_id=MISO.INDIANA.HUB.RT5\n  \
             http://127.0.0.1:{normalization}/quality-rules   …/markets   …/health   …/metrics   (also on {enrichment}, {aggregation}, {projection})\n  \
             http://127.0.0.1:{clickhouse}/play                SQL in the browser, database {database}\n  \
             {dp} curve show {CURVE}     {dp} curve list     a forward curve of the settlements\n  \
             {dp} tail normalized --follow --limit 10     {dp} tail dlq --limit 5     {dp} groups     {dp} status\n{sql}",
            projection = ports.projection,
            normalization = ports.normalization,
            enrichment = ports.enrichment,
            aggregation = ports.aggregation,
            clickhouse = ports.clickhouse_http,
            database = self.connection.settings.clickhouse.database,
        ))
    }
}

/// One row for each step that was measured in either phase, in the order of the first.
fn merged(
    calm: impl Iterator<Item = (String, figures::Quantiles)>,
    bulk: impl Iterator<Item = (String, figures::Quantiles)>,
) -> Vec<Step> {
    let mut steps: Vec<Step> = calm
        .map(|(name, calm)| Step {
            name,
            calm: Some(calm),
            bulk: None,
        })
        .collect();
    for (name, quantiles) in bulk {
        match steps.iter_mut().find(|step| step.name == name) {
            Some(step) => step.bulk = Some(quantiles),
            None => steps.push(Step {
                name,
                calm: None,
                bulk: Some(quantiles),
            }),
        }
    }
    steps
}

/// The command that reaches this stack again.
fn own_command(place: &Place) -> String {
    let mut command = "dp".to_owned();
    if place.port_offset != 0 {
        command.push_str(&format!(" --port-offset {}", place.port_offset));
    }
    if let Some(dir) = &place.dir {
        command.push_str(&format!(" --dir '{}'", dir.display()));
    }
    command
}

fn now() -> domain::Micros {
    jiff::Timestamp::now().as_microsecond()
}

fn say(what: &str) {
    eprintln!("» {what}");
}
