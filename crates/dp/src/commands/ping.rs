//! `dp ping`: whether a service is alive, for probes in images without a shell.
//!
//! Role: arguments and printing; [`ops::ping`] asks.
//! Failure: exit code 1 for everything that is not a positive answer in time.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use ops::ping::{address, ask, of_stack};
use ops::place::Place;
use ops::present::{print_json, print_line, printable, time_limit};
use serde_json::json;

/// Ask a service whether it is alive: prints OK, or FAIL with the reason
///
/// Asks GET /health/live over HTTP. Exit code 0 for OK, 1 for FAIL. Without a port: the default port of the service if HOST is
/// its name (normalization 8080, enrichment 8081, aggregation 8082, projection 8083), else DATA_PROC_HEALTH_PORT, else 8080.
/// A name alone (`dp ping projection`), or -s with --dir or --port-offset, asks a service of the local stack.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp ping\n  dp ping projection\n  dp ping -s localhost:8082\n  dp ping --ready -s aggregation-service\n  \
    dp ping --port-offset 1000 -s projection"
)]
pub struct Args {
    /// A service of the local stack, such as projection or normalization-2
    #[arg(value_name = "SERVICE", conflicts_with = "service")]
    named: Option<String>,
    /// The service; with --dir or --port-offset its name, such as projection
    #[arg(short, long, value_name = "HOST[:PORT]", default_value = "localhost")]
    service: String,
    /// Ask GET /health/ready instead: whether the service can accept work
    #[arg(long)]
    ready: bool,
    /// How long to wait for the answer
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = time_limit)]
    timeout: Duration,
}

/// Runs `dp ping`.
///
/// # Errors
/// The address cannot be parsed.
pub async fn run(place: &Place, args: &Args, json: bool) -> anyhow::Result<ExitCode> {
    let address = match (&args.named, place.is_named()) {
        (Some(name), _) => of_stack(&place.open()?, name)?,
        (None, true) => of_stack(&place.open()?, &args.service)?,
        (None, false) => address(&args.service).map_err(|problem| anyhow::anyhow!("-s {}: {problem}", args.service))?,
    };
    let path = if args.ready { "/health/ready" } else { "/health/live" };
    let started = Instant::now();
    let asked = tokio::time::timeout(args.timeout, ask(&address, path)).await;
    let result = asked.unwrap_or_else(|_| Err(format!("no answer within {:?}", args.timeout)));
    let (host, port) = &address;
    let target = format!("{host}:{port}");
    if json {
        print_json(&json!({
            "ok": result.is_ok(),
            "target": target,
            "error": result.as_ref().err(),
            "duration_ms": u64::try_from(started.elapsed().as_millis())?,
        }))?;
    } else {
        match &result {
            Ok(()) => print_line("OK")?,
            Err(reason) => print_line(&format!("FAIL {target}: {}", printable(reason)))?,
        }
    }
    Ok(ExitCode::from(u8::from(result.is_err())))
}
