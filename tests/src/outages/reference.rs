//! Reference data of the load during an outage.
//!
//! Role: half of the load's instruments get a row before the outages. While the stores of the rows are down, ticks of these instruments must
//! keep it, and all others must be classified by rules: a guess for an instrument with a row is a false miss.
//! Failure: each violation is a finding of the outage.

use std::ops::Range;

use anyhow::{Context as _, ensure};
use localstack::Service;
use serde_json::Value;

use crate::{Pipeline, eventually};

/// Twelve instruments of each of four markets (`MISO.FAULT.HUB00`), which more than half of the ticks are of.
const ROWS: u64 = 48;
const INSERT: &str = "INSERT INTO taxonomy_commodities (commodity) VALUES ('electricity') ON CONFLICT DO NOTHING; \
    INSERT INTO taxonomy_regions (region) VALUES ('midwest') ON CONFLICT DO NOTHING; \
    INSERT INTO taxonomy_instruments (tenant_id, instrument_id, commodity, region) \
    SELECT 'default', market || '.FAULT.HUB' || lpad(number::text, 2, '0'), 'electricity', 'midwest' \
    FROM unnest(ARRAY['MISO', 'CAISO', 'PJM', 'ERCOT']) AS market, generate_series(0, 11) AS number";

/// Inserts the rows, and waits until enrichment uses them.
pub(super) fn insert(pipeline: &Pipeline) -> anyhow::Result<()> {
    let mut before = None;
    eventually("enrichment has loaded its reference data", || {
        before = entries(pipeline)?;
        Ok(before.is_some())
    })?;
    let before = before.context("enrichment does not say how many rows it has")?;
    pipeline.postgres.rows(INSERT)?;
    eventually("enrichment has the rows of the load's instruments", || {
        Ok(entries(pipeline)?.is_some_and(|now| now >= before + ROWS))
    })
}

/// Rows in the memory of enrichment; `None` before it has loaded them.
fn entries(pipeline: &Pipeline) -> anyhow::Result<Option<u64>> {
    let (status, body) = pipeline.get(Service::Enrichment, "/cache/status")?;
    ensure!(status == 200, "GET /cache/status answered {status}: {body}");
    let state: Value = serde_json::from_str(&body).context("read GET /cache/status")?;
    let is_loaded = state.pointer("/loaded").and_then(Value::as_bool) == Some(true);
    Ok(state.pointer("/entries").and_then(Value::as_u64).filter(|_| is_loaded))
}

/// What the ticks of an outage say. Its times are those of the clock, in microseconds.
#[derive(Debug, Default)]
pub(super) struct Classified {
    /// Ticks of instruments with a row that arrived during the outage.
    pub(super) with_row: u64,
    pub(super) findings: Vec<String>,
}

/// Compares all ticks since the beginning of an outage with the rows. All of them must be in the table.
pub(super) fn classified(pipeline: &Pipeline, outage: &Range<i64>, must_arrive: bool) -> anyhow::Result<Classified> {
    let Range { start, end } = outage;
    let sql = format!(
        "SELECT countIf(has_row AND at < {end}), countIf(has_row AND method != 'database'), countIf(NOT has_row AND method = 'database') \
         FROM (SELECT match(instrument_id, '^[A-Z]+[.]FAULT[.]HUB[0-9]+$') AS has_row, toString(classification_method) AS method, \
         toUnixTimestamp64Micro(appended_at) AS at FROM enriched_ticks WHERE tenant_id = 'default' AND position(instrument_id, '.FAULT.') > 0 \
         AND toUnixTimestamp64Micro(appended_at) >= {start})"
    );
    let rows = pipeline.clickhouse.rows(&sql)?;
    let counts = rows.first().context("no counts of the classified ticks")?;
    let counts = counts.iter().map(|count| count.parse::<u64>());
    let counts: Vec<u64> = counts.collect::<Result<Vec<u64>, _>>().context("read the counts")?;
    let [with_row, missed, invented] = counts.as_slice() else {
        anyhow::bail!("three counts are expected, there are {}", counts.len());
    };
    let mut findings = Vec::new();
    if *missed > 0 {
        findings.push(format!(
            "{missed} ticks of instruments with reference data were classified without it"
        ));
    }
    if *invented > 0 {
        findings.push(format!(
            "{invented} ticks of instruments without reference data have some"
        ));
    }
    if must_arrive && *with_row == 0 {
        findings.push("no tick of an instrument with reference data arrived during the outage".to_owned());
    }
    Ok(Classified {
        with_row: *with_row,
        findings,
    })
}
