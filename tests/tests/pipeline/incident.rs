//! `dp incident collect` on the running pipeline: everything but Alertmanager, which does not run here, can be read.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use e2e::Pipeline;
use serde_json::Value;

fn read(folder: &Path, file: &str) -> String {
    fs::read_to_string(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn a_bundle_of_a_running_pipeline_has_every_part_and_no_secret() {
    const SECRET: &str = "a-secret-of-this-test";
    let pipeline = Pipeline::shared();
    pipeline.publish_once(500, 62).unwrap();
    pipeline.agree().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("bundle.tar.gz");
    // The secret stands in the log of a service as well.
    let log = pipeline.stack().log(localstack::Service::Projection);
    let mut log = fs::OpenOptions::new().append(true).open(log).unwrap();
    writeln!(log, "a line with {SECRET}").unwrap();
    let mut collect = pipeline.dp(&["--json", "incident", "collect", "--out", out.to_str().unwrap()]);
    let output = collect.env("SOME_PASSWORD", SECRET).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let unpacked = Command::new("tar")
        .arg("-xzf")
        .arg(&out)
        .arg("-C")
        .arg(folder.path())
        .status()
        .unwrap();
    assert!(unpacked.success());
    let bundle = folder.path().join("bundle");
    let manifest: Value = serde_json::from_str(&read(&bundle, "manifest.json")).unwrap();
    let files = manifest["files"].as_array().unwrap();
    let failed: Vec<&Value> = files.iter().filter(|file| file["error"].is_string()).collect();
    let parts: Vec<&str> = failed.iter().map(|file| file["part"].as_str().unwrap()).collect();
    // Also if another test has restarted ClickHouse, which then has no query log yet.
    assert_eq!(parts, ["alerts"], "{failed:#?}");
    for service in e2e::SERVICES {
        let name = service.name();
        assert!(
            read(&bundle, &format!("metrics/{name}.txt")).contains("messages_processed_total"),
            "{name}"
        );
        let state: Value = serde_json::from_str(&read(&bundle, &format!("state/{name}.json"))).unwrap();
        assert_eq!(state["info"]["service"], name, "{state:#}");
        assert!(state["stats"]["messages_processed"].as_u64() > Some(0), "{state:#}");
        assert!(
            read(&bundle, &format!("logs/{name}.log")).contains("\"level\""),
            "{name}"
        );
    }
    for server in ["kafka", "clickhouse", "postgres", "redis"] {
        assert!(bundle.join(format!("logs/{server}.log")).exists(), "{server}");
    }
    assert!(read(&bundle, "groups.json").contains("projection-local"));
    assert!(read(&bundle, "clickhouse/sizes.json").contains("market_ticks"));
    assert!(read(&bundle, "postgres/sizes.json").contains("served_latest_prices"));
    // Not whether they are healthy: on a busy machine they answer late while everything else is collected.
    let health = read(&bundle, "health.json");
    assert!(
        e2e::SERVICES.iter().all(|service| health.contains(service.name())),
        "{health}"
    );
    for file in files {
        let text = read(&bundle, file["file"].as_str().unwrap());
        assert!(!text.contains(SECRET), "{file}");
    }
    assert!(read(&bundle, "logs/projection.log").contains("***"));
}
