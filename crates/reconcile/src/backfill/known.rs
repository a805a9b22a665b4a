//! Which documents the pipeline has taken before: looks in the raw topics, and in `market_ticks` for what those no longer hold.

use std::collections::BTreeSet;

use anyhow::Context as _;
use ops::connection::Connection;
use ops::migrations::stores;
use ops::progress::Progress;
use ops::threads::reading;
use serde::Deserialize;
use service::writer::tables::MARKET_TICKS;
use stores::clickhouse::literal;
use stream::kafka::reader::LogReader;
use stream::{Brokers, StreamError};
use xxhash_rust::xxh64::xxh64;

use super::plan::{Content, Document, Known};

/// Event ids that are looked up with one query.
const IDS_AT_ONCE: usize = 800;

#[derive(Deserialize)]
struct Stored {
    tenant: String,
    id: String,
    rows: u64,
}

/// Which of these documents the pipeline has taken before.
pub(super) async fn known(connection: &Connection, documents: &[Document]) -> anyhow::Result<Known> {
    let wanted: BTreeSet<Content> = documents
        .iter()
        .filter(|document| document.format.is_some())
        .filter_map(|document| document.content.clone())
        .collect();
    let (bootstrap, feeds) = (
        connection.settings.kafka_bootstrap.clone(),
        connection.names.raw.clone(),
    );
    let tenant = connection.settings.tenant_id.clone();
    let in_log = reading(move || in_log(&bootstrap, &feeds, &tenant, &wanted))
        .await
        .context("look for the documents in the raw topics")?;
    let mut known = Known {
        in_log,
        ..Known::default()
    };
    let clickhouse = stores(connection)?.clickhouse;
    let ids: Vec<&String> = documents
        .iter()
        .filter_map(|document| document.event_id.as_ref())
        .collect();
    for part in ids.chunks(IDS_AT_ONCE) {
        let listed: Vec<String> = part.iter().map(|id| literal(id)).collect();
        let sql = format!(
            "SELECT toString(tenant_id) AS tenant, source_event_id AS id, count() AS rows FROM {} WHERE source_event_id IN ({}) \
             GROUP BY tenant, id SETTINGS output_format_json_quote_64bit_integers = 0",
            connection.names.table(MARKET_TICKS.name),
            listed.join(", ")
        );
        let rows: Vec<Stored> = clickhouse
            .query_rows(&sql)
            .await
            .context("look for the documents in market_ticks")?;
        known
            .stored
            .extend(rows.into_iter().map(|row| ((row.tenant, row.id), row.rows)));
    }
    Ok(known)
}

/// Which of these documents are in the raw topics. Blocks.
fn in_log(
    bootstrap: &Brokers,
    feeds: &[String],
    default_tenant: &str,
    wanted: &BTreeSet<Content>,
) -> Result<BTreeSet<Content>, StreamError> {
    let sizes: BTreeSet<u64> = wanted.iter().map(|content| content.bytes).collect();
    let (reader, mut found) = (LogReader::new(bootstrap)?, BTreeSet::new());
    let mut progress = Progress::new("looking in the log", 0, "messages");
    let mut seen = 0;
    for feed in feeds {
        for partition in reader.partitions(feed)? {
            let (from, to) = reader.log_range(&partition)?;
            let look = |message: &stream::Message<'_>| {
                seen += 1;
                if seen % 1_000 == 0 {
                    progress.set_total(seen);
                    progress.set(seen, "");
                }
                let payload = message.payload.unwrap_or_default();
                if message.header("dp.format").is_some() && sizes.contains(&(payload.len() as u64)) {
                    let tenant = message
                        .header("dp.tenant_id")
                        .and_then(|tenant| std::str::from_utf8(tenant).ok());
                    let content = Content {
                        tenant: tenant.unwrap_or(default_tenant).to_owned(),
                        bytes: payload.len() as u64,
                        hash: xxh64(payload, 0),
                    };
                    if wanted.contains(&content) {
                        found.insert(content);
                    }
                }
                true
            };
            // A record that cannot be fetched is no document that normalization could have read.
            reader.read_passing(&partition, from, to, look, |_, _| true)?;
        }
    }
    progress.finish();
    Ok(found)
}
