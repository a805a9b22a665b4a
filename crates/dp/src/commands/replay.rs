//! `dp replay`: one message through all stages, without a server.
//!
//! Failure: a file that cannot be read or that no topic would accept ends with exit code 2; a rejected message or row with 1.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::builder::PossibleValuesParser;
use markets::{RawMessage, detect_format};
use ops::connection::Connection;
use ops::present::{found, print_either, time};
use reconcile::rehearsal::{Outcome, Stages, rehearse, text};
use stream::kafka::settings::MAX_RAW_BYTES;

/// Take one message through all stages and show each form; nothing is published
///
/// A rehearsal: it needs no server and writes nothing. FILE holds the bytes of one message: JSON with an envelope, a framed Avro
/// tick, or a document of a market. The functions of the services show the ticks with their quality flags, or why the message or
/// its rows are rejected; the Avro records; the taxonomy that enrichment guesses from the names, and the look-ups that need
/// PostgreSQL; the windows of aggregation, in UTC and by the market's clock, with the bar of each tick alone; and the price as
/// projection serves it. The settings in effect count, but not those of a schema registry.
///
/// To see what became of a message that was published, use `dp trace`. To publish one, use `dp send --raw @FILE` or `dp ingest`.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Exit codes: 0 everything is accepted; 1 the message or some of its rows are rejected; 2 the file cannot be read or is \
    too large, or wrong usage\n\nExamples:\n  \
    dp replay --message message.json\n  \
    dp replay --message examples/documents/miso_20251102_da_expost_lmp.csv --rows 1\n  \
    dp replay --message prices.txt --as miso.rt5.expost.json --at 2026-10-02T12:00Z\n  \
    dp replay --message - --json < message.json | jq '.shown[].windows[] | [.interval, .start, .end]'"
)]
pub struct Args {
    /// The message; - is stdin
    #[arg(long, value_name = "FILE")]
    message: PathBuf,
    /// Raw topic of the message [default: the first of DATA_PROC_RAW_TOPICS]
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Format of a document, instead of detecting it
    #[arg(long = "as", value_name = "FORMAT", value_parser = PossibleValuesParser::new(markets::FORMATS.iter().map(|format| format.name)))]
    format: Option<String>,
    /// Tenant of a document (header dp.tenant_id) [default: DATA_PROC_TENANT_ID]
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// When the message is appended; it decides what is late or in the future [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<jiff::Timestamp>,
    /// Show the first N ticks and rejected rows of a document
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    rows: u16,
}

/// Runs `dp replay`.
///
/// # Errors
/// The file cannot be read, or a setting cannot be used.
pub fn run(connection: &Connection, args: &Args) -> anyhow::Result<ExitCode> {
    let settings = &connection.settings;
    let topic = connection.names.raw_topic(args.topic.as_deref());
    let topic = topic.map_err(|problem| anyhow::anyhow!("--topic {problem}"))?;
    let stages = Stages::read(&connection.env, &settings.tenant_id, settings.topic_partitions)?;
    let payload = read(&args.message)?;
    let name = args.message.file_name().unwrap_or_default().to_string_lossy();
    let message = RawMessage {
        feed: topic,
        partition: 0,
        offset: 0,
        appended_at: args.at.unwrap_or_else(jiff::Timestamp::now).as_microsecond(),
        key: None,
        payload: &payload,
        format: args.format.as_deref().or_else(|| detect_format(&name, &payload)),
        tenant: args.tenant.as_deref(),
        replay: None,
    };
    let rehearsal = rehearse(&stages, &message, args.rows.into());
    print_either(connection.json, &rehearsal, || text::rehearsal(&rehearsal))?;
    Ok(found(rehearsal.outcome != Outcome::Accepted))
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    if file == Path::new("-") {
        return bounded(std::io::stdin().lock(), "stdin", MAX_RAW_BYTES);
    }
    let shown = file.display().to_string();
    let opened = std::fs::File::open(file)
        .with_context(|| format!("read the message from {shown}: name an existing file, or - for stdin"))?;
    bounded(opened, &shown, MAX_RAW_BYTES)
}

/// Reads the input completely, unless it is larger than a raw topic accepts.
fn bounded(input: impl Read, name: &str, most: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = input.take(most as u64 + 1).read_to_end(&mut bytes);
    read.with_context(|| format!("read the message from {name}"))?;
    if bytes.len() > most {
        bail!(
            "{name} has more than the {most} bytes that a raw topic accepts: split the document into several messages"
        );
    }
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_no_topic_accepts_is_refused_with_the_limit() {
        assert_eq!(bounded(&b"1234"[..], "x.csv", 4).unwrap(), b"1234");
        let refused = bounded(&b"12345"[..], "x.csv", 4).unwrap_err().to_string();
        assert!(
            refused.starts_with("x.csv has more than the 4 bytes") && refused.contains("split"),
            "{refused}"
        );
    }
}
