//! `dp curve build` as a program: tables, JSON and exit codes.

use std::process::Command;

use serde_json::Value;

const GOOD: &str = "as_of,curve_id,contract,block,price,volume
2026-11-25,PJM.WESTERN_HUB,BALMO,flat,38.10,
2026-11-25,PJM.WESTERN_HUB,M1,peak,55.25,100
2026-11-25,PJM.WESTERN_HUB,M1,off_peak,41.00,
2026-11-25,PJM.WESTERN_HUB,Q1-27,flat,61.40,
2026-11-24,PJM.WESTERN_HUB,Q1-27,flat,60.00,
2026-11-25,PJM.WESTERN_HUB,CAL-27,flat,48.00,
2026-11-25,PJM.WESTERN_HUB,CAL-27,peak,57.50,
2026-11-25,PJM.WESTERN_HUB,CAL-28,flat,47.00,
";

fn dp(text: &str, arguments: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("curve.settlements.csv");
    std::fs::write(&file, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_dp"))
        .args(["curve", "build"])
        .arg(file)
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_curve_is_printed_with_its_chart_within_80_columns() {
    for method in ["flat", "linear", "monotone", "smooth"] {
        let (code, out, err) = dp(GOOD, &["--method", method, "--horizon", "all"]);
        assert_eq!((code, &*err), (0, ""), "{out}");
        assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
        assert!(!out.contains('\u{1b}'));
        for expected in [
            "PJM.WESTERN_HUB on 2026-11-25",
            "BALMO",
            "2028-12",
            "superseded",
            "CAL-27",
            "┤",
        ] {
            assert!(out.contains(expected), "{expected}: {out}");
        }
    }
}

#[test]
fn json_has_points_in_the_zone_of_the_market_and_every_input() {
    let (code, out, _) = dp(GOOD, &["--horizon", "1m", "--json"]);
    let built: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, built["contradictory"].as_bool()), (0, Some(false)));
    let points = built["points"].as_array().unwrap();
    assert_eq!(points.len(), 6);
    let december = points
        .iter()
        .find(|point| point["contract"] == "2026-12" && point["block"] == "peak")
        .unwrap();
    assert_eq!(
        (december["price"].as_f64(), december["volume"].as_f64()),
        (Some(55.25), Some(100.0))
    );
    assert_eq!(december["delivery_start"], "2026-12-01T00:00:00-05:00");
    assert_eq!(december["sources"], serde_json::json!(["line 3"]));
    assert_eq!(built["inputs"].as_array().unwrap().len(), 8);
    let (_, out, _) = dp(GOOD, &["--spreads", "0,0,0,0,0,0,9.5,0,0,0,0,-3", "--json"]);
    let built: Value = serde_json::from_str(&out).unwrap();
    let price = |month: &str| {
        let points = built["points"].as_array().unwrap();
        points
            .iter()
            .find(|point| point["contract"] == month && point["block"] == "flat")
            .unwrap()["price"]
            .as_f64()
            .unwrap()
    };
    assert!((price("2028-07") - price("2028-06") - 9.5).abs() < 1e-7);
}

#[test]
fn contradictions_and_rejected_rows_are_listed_and_end_with_exit_code_1() {
    let wrong = format!("{GOOD}2026-11-25,PJM.WESTERN_HUB,2026-12,flat,90,\n2026-11-25,PJM.WESTERN_HUB,X,flat,1,\n");
    let (code, out, _) = dp(&wrong, &[]);
    assert_eq!(code, 1);
    assert!(
        out.contains("contradictory") && out.contains("2026-12 flat contradicts 2026-12 peak"),
        "{out}"
    );
    assert!(out.contains("line 11: \"X\" is no contract"), "{out}");
    assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
    assert_eq!(dp(&wrong, &["--tolerance", "1000", "--as-of", "2026-11-24"]).0, 1);
}

#[test]
fn what_cannot_be_read_ends_with_exit_code_2_and_says_what_to_do() {
    let several = format!("{GOOD}2026-11-25,ICE.NBP,2027-01,flat,90,\n");
    for (text, arguments, expected) in [
        ("as_of,price\n", &[][..], "has no column: \"curve_id\""),
        ("", &[], "no line with text"),
        (&several, &[], "name one with --curve: ICE.NBP, PJM.WESTERN_HUB"),
        (&several, &["--curve", "ICE.NBP"], "--market names another one"),
        (GOOD, &["--as-of", "2026-11-01"], "use a later --as-of"),
        (GOOD, &["--ratios", "1,2"], "--ratios has 2 values"),
        (GOOD, &["--ratios", "0,1,1,1,1,1,1,1,1,1,1,1"], "shape of month 1"),
        (GOOD, &["--method", "cubic"], "flat, linear, monotone or smooth"),
        (GOOD, &["--horizon", "2y"], "1m, 3m, 6m, 1y or all"),
    ] {
        let (code, _, err) = dp(text, arguments);
        assert_eq!(code, 2, "{err}");
        assert!(err.contains(expected), "{expected}: {err}");
    }
    let missing = Command::new(env!("CARGO_BIN_EXE_dp"))
        .args(["curve", "build", "/nowhere.csv"])
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(2));
}
