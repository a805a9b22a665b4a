//! `dp check-market` on a real ClickHouse.

use std::path::Path;
use std::process::Command;

use aggregation::hourly::statements::{Arrivals, Question};
use localstack::{Server, Temporary};
use ops::connection::Connection;
use ops::migrations::{Stores, migrate, stores};
use serde_json::{Value, json};
use testkit::PATIENCE;

/// Beginning of the hour that is compared.
const HOUR: &str = "2026-09-26 14:00:00";

fn dp(dir: &Path, code: i32, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dp"));
    for name in std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()) {
        if name.starts_with("DATA_PROC_") && name != "DATA_PROC_CACHE" {
            command.env_remove(name);
        }
    }
    command.arg("--dir").arg(dir).arg("check-market");
    if !arguments.contains(&"--since") {
        command.args(["--since", "2026-09-26T00:00Z"]);
    }
    let output = command.args(arguments).output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{stdout}{stderr}");
    // A refusal is on stderr; otherwise only progress is there.
    if code == 2 { stderr } else { stdout }
}

fn reports(dir: &Path, code: i32, arguments: &[&str]) -> Value {
    let text = dp(dir, code, &[arguments, &["--json"]].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{text}"))
}

/// Stores the prices of a node: seconds from the beginning of the hour, length in seconds, price, version. `offset` is that of the
/// raw message.
async fn publish(stores: &Stores, id: &str, offset: i64, prices: &[(i64, i64, &str, &str)]) {
    let (market, product) = (
        id.split('.').next().unwrap(),
        id.rsplit('.').next().unwrap().to_lowercase(),
    );
    let rows: Vec<String> = prices
        .iter()
        .map(|(from, length, price, version)| {
            format!(
                "('default', '{id}', toDateTime64('{HOUR}', 6, 'UTC') + {from}, toDateTime64('{HOUR}', 6, 'UTC') + {from} + {length}, \
                 '{market}', '{product}', 'interval', {price}, nullIf('{version}', ''), 'f', 0, {offset}, 0, now64(6))"
            )
        })
        .collect();
    let sql = format!(
        "INSERT INTO market_data.market_ticks (tenant_id, instrument_id, timestamp, interval_end, market, product, kind, price, version, feed, \
         raw_partition, raw_offset, raw_index, ingested_at) VALUES {}",
        rows.join(", ")
    );
    stores.clickhouse.exec(&sql).await.unwrap();
}

/// Numbers of nodes that agree, differ and are partial, and the largest differences in USD, of each hour of the day: the statement that
/// the metric is computed from.
async fn hours(stores: &Stores, market: &str) -> Vec<(Value, [f64; 2])> {
    let from = "2026-09-26T00:00:00Z"
        .parse::<jiff::Timestamp>()
        .unwrap()
        .as_microsecond();
    let question = Question {
        table: "market_data.market_ticks",
        tenant: "default",
        market,
        fine: "rt5",
        from,
        to: from + 24 * 3_600_000_000,
        stored_since: Some(0),
    };
    let rows = stores.clickhouse.query_json(&question.of_hours()).await.unwrap();
    let hour = |row: &serde_json::Map<String, Value>| {
        assert_eq!(row["start"], 1_790_431_200, "14:00 UTC");
        assert!(row["came"].as_u64().unwrap() > 1_700_000_000);
        let largest = ["highest", "lowest"].map(|name| row[name].as_f64().unwrap() / 3.6e17);
        (json!([row["agreeing"], row["differing"], row["partial"]]), largest)
    };
    rows.iter().map(hour).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hourly_price_must_be_the_mean_of_the_best_fine_prices() {
    let stack = Temporary::new().unwrap();
    for server in [Server::ClickHouse, Server::Postgres] {
        stack.start(server).unwrap();
        stack.wait_ready(server, PATIENCE).unwrap();
    }
    let dir = stack.config().dir.clone();
    let connection = Connection::to_stack(&stack, true).unwrap();
    migrate(&connection, false).await.unwrap();
    let stores = stores(&connection).unwrap();

    assert!(dp(&dir, 0, &[]).contains("nothing to compare"));

    // Twelve prices of 1 to 12, of which one is verified later; an unverified copy that comes last does not count.
    let fine: Vec<(i64, i64, String)> = (0..12).map(|step| (step * 300, 300, (step + 1).to_string())).collect();
    let fine: Vec<(i64, i64, &str, &str)> = fine
        .iter()
        .map(|(from, length, price)| (*from, *length, price.as_str(), "unverified"))
        .collect();
    publish(&stores, "PJM.WESTERN%20HUB.RT5", 1, &fine).await;
    publish(&stores, "PJM.WESTERN%20HUB.RT5", 2, &[(0, 300, "7", "verified.1")]).await;
    publish(&stores, "PJM.WESTERN%20HUB.RT5", 3, &[(0, 300, "100", "unverified")]).await;
    publish(&stores, "PJM.WESTERN%20HUB.RTH", 4, &[(0, 3600, "7.00", "verified.1")]).await;
    // An additional run: 30 for 1,800 seconds, 60 for 84, 20 for the rest is 30 * 0.5 + 60 * 84/3600 + 20 * 1716/3600.
    let runs = [(0, 1800, "30", ""), (1800, 84, "60", ""), (1884, 1716, "20", "")];
    publish(&stores, "NYISO.N.Y.C..RT5", 5, &runs).await;
    publish(&stores, "NYISO.N.Y.C..RTH", 6, &[(0, 3600, "25.93", "")]).await;
    // Without its last interval, and without any fine price.
    publish(&stores, "MISO.MINN.HUB.RT5", 7, &fine[..11]).await;
    publish(&stores, "MISO.MINN.HUB.RTH", 8, &[(0, 3600, "5", "final")]).await;
    publish(&stores, "MISO.TEXAS.HUB.RTH", 9, &[(0, 3600, "5", "final")]).await;

    let agreeing = reports(&dir, 0, &[]);
    let counts: Vec<[&Value; 4]> = (0..3)
        .map(|at| ["market", "compared", "differing", "partial"].map(|field| &agreeing[at][field]))
        .collect();
    assert_eq!(
        json!(counts),
        json!([["MISO", 0, 0, 1], ["PJM", 1, 0, 0], ["NYISO", 1, 0, 0]])
    );

    // The metric is computed from the same rows, and asks for them when they have come.
    assert_eq!(hours(&stores, "MISO").await, [(json!([0, 0, 1]), [0.0, 0.0])]);
    assert_eq!(hours(&stores, "PJM").await, [(json!([1, 0, 0]), [0.0, 0.0])]);
    let nyiso = hours(&stores, "NYISO").await;
    let third = (nyiso[0].1[1] + 0.01 / 3.0).abs();
    assert!(nyiso[0].0 == json!([1, 0, 0]) && third < 1e-6, "{nyiso:?}");
    let arrivals = Arrivals {
        table: "market_data.market_ticks",
        tenant: "default",
        from: 1_790_431_200_000_000,
        stored_since: 0,
    };
    let came = |arrivals: Arrivals<'static>| {
        let (clickhouse, sql) = (&stores.clickhouse, arrivals.statement());
        async move {
            let mut rows = clickhouse.query_json(&sql).await.unwrap();
            rows.sort_by_key(|row| (row["market"].to_string(), row["product"].to_string()));
            json!(rows)
        }
    };
    let row = |market: &str, product: &str, latest: u64| {
        let earliest = 1_790_431_200;
        json!({"market": market, "product": product, "earliest": earliest, "latest": earliest + latest})
    };
    let all = [
        row("MISO", "rt5", 3_000),
        row("MISO", "rth", 0),
        row("NYISO", "rt5", 1_884),
        row("NYISO", "rth", 0),
        row("PJM", "rt5", 3_300),
        row("PJM", "rth", 0),
    ];
    assert_eq!(came(arrivals).await, json!(all));
    let later = Arrivals {
        from: arrivals.from + 3_300_000_000,
        ..arrivals
    };
    let mut last = row("PJM", "rt5", 3_300);
    last["earliest"] = json!(1_790_431_200 + 3_300);
    assert_eq!(came(later).await, json!([last]));
    let never = Arrivals {
        stored_since: 4_000_000_000_000_000,
        ..arrivals
    };
    assert_eq!(came(never).await, json!([]));

    // An hour before `--since` is not asked for; a smaller tolerance finds what rounding explains.
    let strict = reports(&dir, 1, &["--market", "nyiso", "--tolerance", "0.001"]);
    assert_eq!(strict[0]["worst"][0]["mean"], "25.93333333");
    assert_eq!(strict[0]["worst"][0]["difference"], "-0.00333333");
    reports(&dir, 0, &["--since", "2026-09-26T15:00Z", "--tolerance", "0.001"]);
    reports(&dir, 0, &["--tenant", "other", "--tolerance", "0.001"]);

    // A correction of the hourly report alone is found and named.
    publish(&stores, "PJM.WESTERN%20HUB.RTH", 10, &[(0, 3600, "9.5", "verified.2")]).await;
    let text = dp(&dir, 1, &["--market", "PJM"]);
    for part in ["PJM.WESTERN%20HUB", "2026-09-26 14:00:00", "9.5", "2.5"] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert_eq!(hours(&stores, "PJM").await, [(json!([0, 1, 0]), [2.5, 2.5])]);
    let tolerant = reports(&dir, 0, &["--market", "PJM", "--tolerance", "2.5"]);
    assert_eq!(tolerant[0]["compared"], 1);

    stack.stop(Server::ClickHouse).unwrap();
    assert!(dp(&dir, 2, &[]).contains("does not answer"));
}
