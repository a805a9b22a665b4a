//! The files that examples name, in the folder where they run.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::Context as _;
use e2e::{Pipeline, root};

/// Folders of the workspace that examples name as they are.
const FOLDERS: [&str; 1] = ["examples"];
const SETTLEMENTS: &str = "examples/documents/curve_settlements_20251103.csv";
/// The curve whose settlements are in the file of `dp curve build`.
const CURVE: &str = "PJM.WESTERN_HUB";
const SCHEMAS: [&str; 2] = ["bar.avsc", "tick.avsc"];
/// An envelope with a tick.
const MESSAGE: &str = r#"{"envelope": {"event_type": "tick", "event_id": "message-1", "timestamp": "2026-10-01T00:05:00Z", "tenant_id": "default",
  "source": "s", "version": "1.0"}, "payload": {"market": "MISO", "instrument_id": "MISO.INDIANA.HUB.RT5",
  "raw_data": {"timestamp": "2026-10-01T00:05:00Z", "product": "rt5", "price": "31.55", "volume": "1"}}}"#;
/// Two hubs of MISO, with the same energy.
const REAL_TIME: &str = r#"{"headers": ["INTERVAL", "CPNODE", "LMP", "MLC", "MCC"], "data": [
  ["2026-10-02T00:10:00", "INDIANA.HUB", "30.25", "0.20", "0.05"], ["2026-10-02T00:10:00", "MICHIGAN.HUB", "30.75", "0.50", "0.25"]]}"#;
/// A page of EIA's futures.
const FUTURES: &str = r#"{"response": {"total": "2", "frequency": "daily", "data": [
  {"period": "2024-04-04", "series": "RNGC1", "value": "1.774", "units": "$/MMBTU"},
  {"period": "2024-04-05", "series": "RNGC1", "value": "1.785", "units": "$/MMBTU"}]}, "apiVersion": "2.1.14"}"#;
const SETTINGS: &str = "env = \"local\"\nworkers = 2\n\n[aggregation]\nwatermark_delay_ms = 30_000\n";

/// Writes them to this folder.
pub fn write(here: &Path, pipeline: &Pipeline) -> anyhow::Result<()> {
    for folder in FOLDERS {
        symlink(root().join(folder), here.join(folder))?;
    }
    for schema in SCHEMAS {
        fs::copy(root().join("schemas/avro").join(schema), here.join(schema))?;
    }
    // Those of the stack are a whole configuration.
    let lines: Vec<String> = pipeline
        .stack()
        .env()
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let files = [
        ("curve.settlements.csv", of_one_curve()?),
        ("RNGC1.json", FUTURES.to_owned()),
        ("message.json", MESSAGE.to_owned()),
        ("GetRealTimeFiveMinExPost_Current.json", REAL_TIME.to_owned()),
        ("prices.txt", REAL_TIME.to_owned()),
        ("pipeline.toml", SETTINGS.to_owned()),
        ("prod.env", lines.join("\n")),
        ("secrets.env", "DATA_PROC_TENANT_ID=default\n".to_owned()),
    ];
    for (name, text) in files {
        fs::write(here.join(name), text).with_context(|| format!("write {name}"))?;
    }
    Ok(())
}

/// The settlements of one curve, with their heading.
fn of_one_curve() -> anyhow::Result<String> {
    let text = fs::read_to_string(root().join(SETTLEMENTS))?;
    let wanted = format!(",{CURVE},");
    let lines = text
        .lines()
        .enumerate()
        .filter(|(number, line)| *number == 0 || line.contains(&wanted));
    Ok(lines.map(|(_, line)| format!("{line}\n")).collect())
}
