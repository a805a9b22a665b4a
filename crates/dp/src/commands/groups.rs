//! `dp groups`: the lag of every consumer group of the pipeline.

use anyhow::Context as _;
use ops::connection::Connection;
use ops::lag::survey;
use ops::present::{print_json, print_line};

use crate::lag_table::{by_group, by_partition};

/// Show the lag of every consumer group.
///
/// Use it to see which stage is behind, and which member owns which partition. Only the stages of normalization and
/// enrichment continue from their committed offsets. All other consumers store their positions with their outputs (see
/// `dp position show`), so a reset of their group offsets changes only the lag shown here. It only shows, so its exit code is 0
/// whatever the lag is: `dp kafka groups` and `dp kafka lag --over N` have exit code 1 if they find something.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp groups\n  dp groups --partitions\n  dp groups --json | jq '.[] | {group, lag}'"
)]
pub struct Args {
    /// Show one row for each partition
    #[arg(long)]
    partitions: bool,
}

/// Runs `dp groups`.
pub async fn run(connection: &Connection, args: &Args) -> anyhow::Result<()> {
    let (bootstrap, names) = (connection.settings.kafka_bootstrap.clone(), connection.names.clone());
    let listed = tokio::task::spawn_blocking(move || survey(&bootstrap, &names))
        .await
        .context("read lag")?
        .context("read lag: is Kafka running (`dp status`), and do the topics exist (`dp topics create`)?")?;
    if connection.json {
        return print_json(&listed);
    }
    let text = if args.partitions {
        by_partition(&listed)
    } else {
        by_group(&listed)
    };
    print_line(&text)
}
