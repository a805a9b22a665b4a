//! `dp tail`: shows decoded messages of any topic of the pipeline.

use ops::connection::Connection;

use crate::tail::{Selection, show};

/// Show messages of a topic with key, headers and decoded value
///
/// Shows the newest messages, oldest first; with --follow the messages that arrive from now on. Avro and JSON values are
/// decoded. No offsets are committed.
///
/// TOPIC is a topic name or one of: raw, normalized, enriched, bars, curves, derived, late, legs, state, invalidation, control, dlq.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  \
    dp tail normalized --limit 3\n  \
    dp tail normalized --follow --limit 10 --json\n  \
    dp tail dlq --limit 5                # the newest dead letters: code, reason, origin, payload\n  \
    dp tail raw --partition 2 --offset 1042 --limit 1\n  \
    dp tail bars --key MISO.INDIANA.HUB --json | jq .value.close")]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
}

/// Runs `dp tail`.
///
/// # Errors
/// Kafka does not answer, or the topic, partition or offset does not exist.
pub async fn run(connection: &Connection, args: &Args) -> anyhow::Result<()> {
    show(connection, &args.selection).await
}
