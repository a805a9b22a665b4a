//! All methods against `oracle.py`: a quadratic program and PCHIP in scipy, with hours of its own. `scripts/scipy.sh` installs the
//! versions of `requirements.txt` beside the programs; without them the test fails.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{contract, quote};
use curves::{Block, Builder, Commodity, Contract, DeliveryCalendar, Method, Month, Shape};
use jiff::civil::{Date, date};
use serde_json::{Value, json};

const EXACT: f64 = 1e-6;

/// Python with scipy, as `scripts/scipy.sh` installs it.
fn python() -> PathBuf {
    let python = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../scipy/bin/python");
    assert!(python.exists(), "{} is missing: run scripts/scipy.sh", python.display());
    python
}

fn oracle(cases: &[Value]) -> Vec<BTreeMap<String, Vec<f64>>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle.py");
    let mut python = Command::new(python())
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text = serde_json::to_vec(cases).unwrap();
    python.stdin.take().unwrap().write_all(&text).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Prices of a few sets of quotes, each independent and without a month that no quote covers.
fn sets() -> Vec<Vec<(&'static str, f64)>> {
    vec![
        vec![("CAL-27", 48.25)],
        vec![
            ("2027-01", 75.5),
            ("2027-02", 71.0),
            ("Q1-27", 66.4),
            ("CAL-27", 48.25),
            ("CAL-28", 50.0),
        ],
        vec![
            ("Q1-27", 62.0),
            ("Q2-27", 31.0),
            ("Q3-27", 55.0),
            ("Q4-27", 44.5),
            ("CAL-28", -3.0),
            ("2028-07", 90.0),
        ],
        vec![
            ("2027-03", -12.5),
            ("CAL-27", 30.0),
            ("SUM-27", 80.0),
            ("Q4-28", 20.0),
            ("CAL-28", 35.0),
            ("Q1-29", 41.0),
        ],
        vec![
            ("Q1-27", 5.0),
            ("Q2-27", 5.0),
            ("CAL-27", 5.0),
            ("Q1-28", 5.0),
            ("CAL-28", 5.0),
        ],
    ]
}

#[test]
fn every_method_gives_the_prices_of_scipy() {
    let as_of = date(2026, 12, 18);
    let cases: Vec<Value> = sets().iter().map(|set| case(as_of, set)).collect();
    let answers = oracle(&cases);
    let mut compared = 0;
    for (set, answers) in sets().iter().zip(&answers) {
        for method in Method::ALL {
            let expected = &answers[method.name()];
            let found = prices(as_of, set, method);
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert!(
                    (found - expected).abs() < EXACT,
                    "{} {set:?}: {found} {expected}",
                    method.name()
                );
                compared += 1;
            }
        }
    }
    println!("{compared} prices compared");
    assert!(compared > 300);
}

fn resolved(as_of: Date, tenor: &str) -> Contract {
    contract(tenor, Block::Flat, as_of, Commodity::Power)
}

fn case(as_of: Date, set: &[(&str, f64)]) -> Value {
    let first = Month::of(as_of).plus(1);
    let end = set
        .iter()
        .map(|(tenor, _)| resolved(as_of, tenor).period.end_month())
        .max()
        .unwrap();
    let quotes = set.iter().map(|(tenor, price)| {
        let period = resolved(as_of, tenor).period;
        json!([
            period.first_month().since(first),
            period.end_month().since(first),
            price
        ])
    });
    json!({
        "as_of": as_of.to_string(),
        "first": first.to_string(),
        "count": end.since(first),
        "zone": "America/New_York",
        "quotes": quotes.collect::<Vec<_>>(),
    })
}

fn prices(as_of: Date, set: &[(&str, f64)], method: Method) -> Vec<f64> {
    let quotes: Vec<_> = set
        .iter()
        .map(|(tenor, price)| quote(resolved(as_of, tenor), *price, 1))
        .collect();
    let calendar = DeliveryCalendar::of("PJM").unwrap();
    let mut builder = Builder::new(calendar, method, Shape::None, 0.005);
    let curve = builder.build(as_of, Month::of(as_of), &quotes).unwrap();
    assert!(!curve.has_contradictions());
    curve.points.iter().map(|point| point.price).collect()
}
