//! The positions that a command of `dp position` is about.

use std::collections::BTreeSet;

use anyhow::bail;
use ops::connection::Connection;
use ops::positions::homes::Homes;
use ops::positions::survey::{self, Standing, Wanted};

/// # Errors
/// A server does not answer, or nothing is as wanted.
pub(super) async fn survey_some(
    connection: &Connection,
    homes: &Homes<'_>,
    wanted: &Wanted,
) -> anyhow::Result<Vec<Standing>> {
    let standings = survey::survey(connection, homes, wanted).await?;
    if standings.is_empty() {
        let known: BTreeSet<String> = ops::positions::consumers(&connection.names)
            .iter()
            .map(|consumer| format!("{} reads {}", consumer.service, consumer.topic))
            .collect();
        let known: Vec<String> = known.into_iter().collect();
        bail!(
            "no consumer of the pipeline matches, or its topic has no such partition ({} by default); known are: {}",
            connection.settings.topic_partitions,
            known.join(", ")
        );
    }
    Ok(standings)
}
