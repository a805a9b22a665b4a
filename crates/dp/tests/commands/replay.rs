//! `dp replay` as a program: text, JSON and exit codes, without any server.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// Exit code, stdout and stderr. The settings are the defaults, whatever the environment of the test has.
fn dp(message: &str, input: &[u8], arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dp"));
    for name in std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()) {
        let is_setting = ["DATA_PROC_", "NORMALIZATION_", "ENRICHMENT_", "AGGREGATION_"];
        if is_setting.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    let mut child = command
        .args(["replay", "--message", message])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read its input closes the pipe.
    _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn trade(price: Value) -> Vec<u8> {
    json!({
        "envelope": {
            "event_type": "market.tick", "event_id": "e-1", "timestamp": "2026-10-02T11:59:59Z", "tenant_id": "acme",
            "source": "feed-7", "version": "1.0"
        },
        "payload": {
            "market": "miso", "instrument_id": "NG_HH_M1",
            "raw_data": {"timestamp": "2026-10-02T11:59:58Z", "price": price, "volume": 2, "node": "N1", "zone": "Z1"}
        }
    })
    .to_string()
    .into_bytes()
}

const NOON: [&str; 2] = ["--at", "2026-10-02T12:00Z"];

#[test]
fn a_good_message_from_stdin_ends_with_code_0() {
    let (code, out, err) = dp("-", &trade(json!(31.55)), &NOON);
    assert_eq!((code, &*err), (0, ""), "{out}");
    for expected in [
        "accepted: 1 tick(s)",
        "turnover 63.1",
        "served:latest_price:acme:NG_HH_M1",
    ] {
        assert!(out.contains(expected), "{expected}: {out}");
    }
    assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
}

#[test]
fn a_wrong_price_ends_with_code_1_and_names_code_and_field() {
    let (code, out, _) = dp("-", &trade(json!("x")), &[NOON[0], NOON[1], "--json"]);
    let rehearsal: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &rehearsal["outcome"]), (1, &json!("rejected")));
    assert_eq!(rehearsal["errors"][0]["code"], "invalid_price");
    let message = rehearsal["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains("/payload/raw_data/price"), "{message}");
}

#[test]
fn a_document_is_recognised_by_its_content_and_its_first_rows_are_shown() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/documents/miso_20251102_da_expost_lmp.csv");
    let at = ["--at", "2025-11-01T18:00Z", "--rows", "1", "--json"];
    let (code, out, err) = dp(file.to_str().unwrap(), b"", &at);
    let rehearsal: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &*err, &rehearsal["outcome"]), (0, "", &json!("accepted")));
    assert_eq!(rehearsal["format"], "miso.da.expost.csv");
    let shown = rehearsal["shown"].as_array().unwrap();
    // Each node has the 24 hours of MISO's clock.
    let ticks = rehearsal["ticks"].as_u64().unwrap();
    assert!(shown.len() == 1 && ticks >= 24 && ticks.is_multiple_of(24), "{ticks}");
    // Hour ending 1 (EST) at INDIANA.HUB.
    assert_eq!(shown[0]["normalized"]["event_time"], "2025-11-02T05:00:00.000000Z");
    assert_eq!(shown[0]["normalized"]["price"], json!(19.91));
    let intervals: Vec<&Value> = shown[0]["windows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|window| &window["interval"])
        .collect();
    assert_eq!(intervals, ["1h", "1d"]);
    assert_eq!(shown[0]["price"]["json"]["price"], json!(19.91));
}

#[test]
fn a_missing_file_and_a_topic_that_is_not_raw_end_with_code_2() {
    let (code, out, err) = dp("no-such-file.json", b"", &[]);
    assert_eq!((code, &*out), (2, ""));
    assert!(err.contains("no-such-file.json") && err.contains("stdin"), "{err}");
    let (code, _, err) = dp("-", b"{}", &["--topic", "aggregation.bars.v1"]);
    assert_eq!(code, 2);
    assert!(err.contains("is not a raw topic"), "{err}");
}
