//! `dp incident` without servers: every part is in the bundle with its reason, no secret is, and a critical alert of a real
//! Alertmanager has one collected.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use serde_json::Value;
use testkit::alertmanager::Alertmanager;
use testkit::http;

/// Each is set somewhere below, and none may be anywhere in a bundle.
const SECRETS: [&str; 4] = ["s3cret-clickhouse", "s3cret-postgres", "s3cret-redis", "s3cret-other"];

/// `dp` with secrets, and addresses at which nothing answers.
fn dp(arguments: &[&str]) -> Command {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let [clickhouse, postgres, redis, other] = SECRETS;
    let mut command = Command::new(env!("CARGO_BIN_EXE_dp"));
    command.args(arguments).env_clear().envs([
        ("DATA_PROC_KAFKA_BOOTSTRAP", closed.to_string()),
        ("DATA_PROC_CLICKHOUSE_URL", format!("http://{closed}")),
        ("DATA_PROC_CLICKHOUSE_PASSWORD", clickhouse.to_owned()),
        (
            "DATA_PROC_POSTGRES_DSN",
            format!("postgresql://u:{postgres}@{closed}/db"),
        ),
        ("DATA_PROC_REDIS_URL", format!("redis://:{redis}@{closed}/0")),
        (
            "DATA_PROC_SERVICE_URLS",
            format!("aggregation=http://u:{other}@{closed}"),
        ),
        ("DATA_PROC_ALERTMANAGER_URL", format!("http://u:{other}@{closed}")),
    ]);
    command
}

/// The files of a bundle, by path below its folder.
fn unpacked(bundle: &Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(bundle).unwrap()));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        let path = entry.path().unwrap().display().to_string();
        (path.split_once('/').unwrap().1.to_owned(), text)
    });
    entries.collect()
}

#[test]
fn every_part_is_in_the_bundle_with_its_reason_and_no_secret_is() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("outage.tar.gz");
    let path = out.to_str().unwrap();
    let output = dp(&["incident", "collect", "--out", path]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("could not be read") && told.contains(path), "{told}");
    let files = unpacked(&out);
    let manifest: Value = serde_json::from_str(&files["manifest.json"]).unwrap();
    let listed = manifest["files"].as_array().unwrap();
    let parts: Vec<&str> = listed.iter().map(|file| file["part"].as_str().unwrap()).collect();
    let expected = [
        "alerts",
        "analysis",
        "clickhouse/disks",
        "clickhouse/processes",
        "clickhouse/sizes",
        "clickhouse/slow",
        "configuration",
        "dlq",
        "doctor",
        "groups",
        "health",
        "logs/services",
        "metrics/aggregation",
        "net",
        "positions",
        "postgres/activity",
        "postgres/locks",
        "postgres/sizes",
        "rates",
        "redis/keys",
        "redis/memory",
        "state/aggregation",
        "topics",
        "versions",
    ];
    assert_eq!(parts, expected);
    assert_eq!(files.len(), parts.len() + 1);
    for file in listed {
        let text = &files[file["file"].as_str().unwrap()];
        assert_eq!(text.len() as u64, file["bytes"].as_u64().unwrap(), "{file}");
        assert!(!text.is_empty(), "{file}");
        if let Some(error) = file["error"].as_str() {
            assert_eq!(text.trim_end(), error);
            assert!(file["file"].as_str().unwrap().ends_with(".error.txt"), "{file}");
        }
    }
    let failed = |part: &str| {
        listed
            .iter()
            .any(|file| file["part"] == part && file["error"].is_string())
    };
    for part in [
        "groups",
        "clickhouse/processes",
        "postgres/activity",
        "redis/memory",
        "logs/services",
        "alerts",
    ] {
        assert!(failed(part), "{part}: {listed:#?}");
    }
    for part in [
        "configuration",
        "health",
        "doctor",
        "rates",
        "analysis",
        "versions",
        "net",
    ] {
        assert!(!failed(part), "{part}: {listed:#?}");
    }
    assert!(files["configuration.json"].contains("DATA_PROC_CLICKHOUSE_PASSWORD"));
    assert!(files["logs/services.error.txt"].contains("kubectl logs"));
    let everything = files.into_values().collect::<String>() + &told;
    for secret in SECRETS {
        assert!(!everything.contains(secret), "{secret}");
    }
    // Nothing is overwritten.
    let again = dp(&["incident", "collect", "--out", path]).output().unwrap();
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&again.stderr).contains("exists already"));
}

/// A listener with its port. It is killed with the value.
struct Listener {
    process: Child,
    port: u16,
}

impl Listener {
    fn start(folder: &Path) -> Listener {
        let arguments = [
            "incident",
            "listen",
            "--listen",
            "127.0.0.1:0",
            "--dir-out",
            folder.to_str().unwrap(),
        ];
        let mut process = dp(&arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        // Reads on: a closed pipe would end it.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| println!("{line}")));
        let port = first.trim_end_matches("/alerts").rsplit(':').next().unwrap().parse();
        Listener {
            process,
            port: port.unwrap_or_else(|_| panic!("{first}")),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

fn bundles(folder: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|end| end == "gz"))
        .collect()
}

#[test]
fn a_folder_that_takes_no_file_is_refused_before_an_alert_fires() {
    for folder in ["/proc", "/nonexistent"] {
        let output = dp(&["incident", "listen", "--listen", "127.0.0.1:0", "--dir-out", folder])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(folder) && told.contains("--dir-out"), "{told}");
    }
}

#[test]
fn a_critical_alert_has_one_bundle_collected() {
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::start(folder.path());
    let live = http::request(listener.port, "GET", "/health/live", &[], "").unwrap();
    assert_eq!(live.status, 200);
    let refused = http::request(listener.port, "POST", "/alerts", &[], "{\"alert\": true}").unwrap();
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert!(
        refused.body.contains("not a notification of Alertmanager"),
        "{}",
        refused.body
    );

    let webhook = format!(
        "    webhook_configs: [{{url: 'http://127.0.0.1:{}/alerts'}}]\n",
        listener.port
    );
    let alertmanager = Alertmanager::start(&webhook).unwrap();
    alertmanager.fire("RedisDown", "critical", "redis").unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while bundles(folder.path()).is_empty() {
        assert!(Instant::now() < deadline, "no bundle within 120 s");
        std::thread::sleep(Duration::from_millis(100));
    }
    let files = unpacked(&bundles(folder.path())[0]);
    let manifest: Value = serde_json::from_str(&files["manifest.json"]).unwrap();
    assert_eq!(manifest["alerts"], serde_json::json!(["RedisDown"]));
    // The next call comes within the pause.
    let body = r#"{"status": "firing", "alerts": [{"status": "firing", "labels": {"alertname": "A", "severity": "critical"}}]}"#;
    let ignored = http::request(listener.port, "POST", "/alerts", &[], body).unwrap();
    assert_eq!(ignored.status, 200);
    assert!(ignored.body.contains("the last bundle was begun"), "{}", ignored.body);
}
