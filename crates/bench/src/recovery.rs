//! Gaps in the output when services start, are killed or are replaced: `dp bench recovery`.

use std::time::{Duration, Instant};

use anyhow::bail;
use localstack::{Name, Service};

use super::load::{Background, Load};
use super::new_instruments;
use super::observe::{Observer, Output};
use super::stage::{Scene, ScenePlan, Stage, blocking, check_interrupted, say};
use crate::figures::{Figures, Row, Section};
use crate::goals;
use crate::statistics::{longest_gap, until_growth};

const RAW: &str = "bench.recovery.raw";
/// The benchmark fails if an output does not appear within this time.
const PATIENCE: Duration = Duration::from_secs(90);
const READY: Duration = Duration::from_secs(60);
/// Data that the broker or ClickHouse received before a kill becomes visible within this time; no service starts faster.
const AFTERGLOW_SECONDS: f64 = 0.2;
/// Pause between two interventions, so that one does not distort the other.
const SETTLE: Duration = Duration::from_secs(2);
/// Limit of the load, which is stopped earlier.
const LOAD_SECONDS: u64 = 1_800;

/// Options of `dp bench recovery`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Messages a second while services are started, killed and replaced
    #[arg(long, value_name = "R", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(10..=100_000))]
    rate: u64,
    /// Instruments with a price and open windows, in addition to those of the load
    #[arg(long, value_name = "N", default_value_t = 0)]
    instruments: u64,
    /// Messages published at full speed before the first kill, to fill the windows of repeated events
    #[arg(long, value_name = "N", default_value_t = 0)]
    backlog: u64,
}

impl Args {
    /// Small sizes, for a run of all benchmarks.
    pub fn modest() -> Args {
        Args {
            rate: 2_000,
            instruments: 0,
            backlog: 0,
        }
    }
}

/// Start-up, kill -9 of each service, rolling restart of each service.
pub async fn run(stage: &Stage, args: &Args) -> anyhow::Result<Section> {
    let plan = ScenePlan {
        generation: "rec",
        raw: RAW,
        ..ScenePlan::default()
    };
    let scene = stage.scene(&plan).await?;
    let load = Load {
        bootstrap: scene.bootstrap().clone(),
        topic: scene.raw().to_owned(),
        messages: args.rate * LOAD_SECONDS,
        rate: Some(args.rate),
        since: None,
        seed: 254,
    };
    let measured = blocking(|| {
        let load = load.in_background(&scene.stack);
        let observer = Observer::start(&scene)?;
        let watched = Watched {
            scene: &scene,
            observer,
            load,
        };
        let mut rows = watched.start_up()?;
        watched.fill(args)?;
        for service in Service::ALL {
            rows.extend(watched.kill(service)?);
        }
        for service in Service::ALL {
            rows.push(watched.restart(service)?);
            rows.push(watched.roll(service)?);
        }
        watched.load.finish()?;
        Ok(rows)
    });
    scene.stop_services()?;
    let rows = measured?;
    let slowest = rows.iter().filter_map(|row| row.figures.seconds).fold(0.0, f64::max);
    Ok(Section {
        bench: "recovery",
        figures: Figures::lasted(slowest),
        rows,
        notes: vec![
            format!("the load is {} messages a second", args.rate),
            format!(
                "{} more instruments, {} messages before the first kill",
                args.instruments, args.backlog
            ),
            "after kill -9 the only process of the service is started again at once, as the same member of its groups"
                .to_owned(),
            "open bars are sent at most once a second, so a gap of one second is normal".to_owned(),
            "restart: the process is stopped and started again; rolling restart: a second process joins, the first is \
             replaced, the second leaves; measured is the longest time without an output"
                .to_owned(),
        ],
    })
}

struct Watched<'s> {
    scene: &'s Scene,
    observer: Observer,
    load: Background,
}

impl Watched<'_> {
    /// From the start of all services to the first of each output.
    fn start_up(&self) -> anyhow::Result<Vec<Row>> {
        say("starting all services");
        let from = self.observer.now();
        for service in Service::ALL {
            self.scene.stack.start(service)?;
        }
        let mut rows = Vec::new();
        for output in Output::ALL {
            let seconds = self.until_grown(output, from)?;
            let name = format!("start of all services → first {}", output.name());
            rows.push(Row::new(name, Figures::lasted(seconds)));
        }
        for service in Service::ALL {
            self.scene.stack.wait_ready(service, READY)?;
        }
        self.settle()?;
        Ok(rows)
    }

    /// Gives the services the state of a long run.
    fn fill(&self, args: &Args) -> anyhow::Result<()> {
        if args.instruments > 0 {
            say(&format!("{} instruments", args.instruments));
            new_instruments::publish(self.scene, 0..args.instruments)?;
            let served = new_instruments::until_served(self.scene, args.instruments, "new instruments");
            tokio::runtime::Handle::current().block_on(served)?;
        }
        if args.backlog > 0 {
            say(&format!("{} messages", args.backlog));
            let load = Load {
                bootstrap: self.scene.bootstrap().clone(),
                topic: self.scene.raw().to_owned(),
                messages: args.backlog,
                rate: None,
                since: None,
                seed: 255,
            };
            load.publish(&self.scene.stack)?;
            while self.count(Output::Rows) < args.backlog {
                self.settle()?;
            }
        }
        self.settle()
    }

    fn count(&self, output: Output) -> u64 {
        self.observer.looks(output).last().map_or(0, |look| look.count)
    }

    /// The longest time without an output while the only process of a service is stopped and started again.
    fn restart(&self, service: Service) -> anyhow::Result<Row> {
        say(&format!("restart of {}", service.name()));
        let (stack, from) = (&self.scene.stack, self.observer.now());
        stack.stop(service)?;
        stack.start(service)?;
        stack.wait_ready(service, READY)?;
        self.settle()?;
        Ok(self.gap(&format!("restart of {}", service.name()), service, from))
    }

    fn gap(&self, what: &str, service: Service, from: f64) -> Row {
        let gaps = outputs_of(service).iter().take(1).map(|output| {
            let looks = self.observer.looks(*output);
            longest_gap(&looks, from, self.observer.now())
        });
        Row::new(
            format!("{what}: longest gap"),
            Figures::lasted(gaps.fold(0.0, f64::max)),
        )
    }

    /// From kill -9 of a service to its next output.
    fn kill(&self, service: Service) -> anyhow::Result<Vec<Row>> {
        say(&format!("kill -9 of {}", service.name()));
        let from = self.observer.now();
        self.scene.stack.kill9(service)?;
        let after = self.observer.now() + AFTERGLOW_SECONDS;
        self.scene.stack.start(service)?;
        let mut rows = Vec::new();
        for output in outputs_of(service) {
            let seconds = self.until_grown(*output, after)? + (after - from);
            let name = format!("kill -9 of {} → next {}", service.name(), output.name());
            let mut row = Row::new(name, Figures::lasted(seconds));
            // Rows wait some seconds for a large insert, kill or not.
            if *output != Output::Rows {
                goals::killed(&mut row);
            }
            rows.push(row);
        }
        self.scene.stack.wait_ready(service, READY)?;
        self.settle()?;
        Ok(rows)
    }

    /// The longest time without an output while a service is replaced process by process.
    fn roll(&self, service: Service) -> anyhow::Result<Row> {
        say(&format!("rolling restart of {}", service.name()));
        let (first, second) = (Name::from(service), Name::replica(service, 2));
        let from = self.observer.now();
        let stack = &self.scene.stack;
        stack.start(second)?;
        stack.wait_ready(second, READY)?;
        stack.stop(first)?;
        stack.start(first)?;
        stack.wait_ready(first, READY)?;
        stack.stop(second)?;
        self.settle()?;
        let mut row = self.gap(&format!("rolling restart of {}", service.name()), service, from);
        goals::rolled(&mut row);
        Ok(row)
    }

    fn until_grown(&self, output: Output, from: f64) -> anyhow::Result<f64> {
        let began = Instant::now();
        loop {
            self.check()?;
            if let Some(seconds) = until_growth(&self.observer.looks(output), from) {
                return Ok(seconds);
            }
            if began.elapsed() > PATIENCE {
                bail!(
                    "no {} for {} s: see the logs in {} (run again with --keep)",
                    output.name(),
                    PATIENCE.as_secs(),
                    self.scene.stack.config().dir.join("logs").display()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn settle(&self) -> anyhow::Result<()> {
        std::thread::sleep(SETTLE);
        self.check()
    }

    fn check(&self) -> anyhow::Result<()> {
        check_interrupted(&self.scene.stack)?;
        if self.load.has_ended() {
            bail!("the load ended early: is Kafka down? (run again with --keep)");
        }
        Ok(())
    }
}

/// The outputs that show that a service works, first that of its main stage.
fn outputs_of(service: Service) -> &'static [Output] {
    match service {
        Service::Normalization => &[Output::Normalized, Output::Rows],
        Service::Enrichment => &[Output::Enriched],
        Service::Aggregation => &[Output::Bars],
        Service::Projection => &[Output::Prices],
    }
}
