//! `dp gaps` on a real ClickHouse: documents are read by the parsers of the markets, and their ticks are counted by market day.

use std::path::Path;
use std::process::Command;

use domain::QualityFlag;
use jiff::civil::{Date, date};
use localstack::{Server, Temporary};
use markets::{MarketDay, Normalizer, NormalizerConfig, RawMessage};
use ops::connection::Connection;
use ops::migrations::{Stores, migrate, stores};
use serde_json::{Value, json};
use testkit::PATIENCE;

const ISONE_DA: &str = "isone.da_lmp.csv";
const PJM_HOURLY: &str = "pjm.rt_hrl_lmps.csv";
/// After all documents.
const APPENDED_AT: i64 = 1_790_000_000_000_000;

fn dp(dir: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dp"));
    for name in std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()) {
        if name.starts_with("DATA_PROC_") && name != "DATA_PROC_CACHE" {
            command.env_remove(name);
        }
    }
    let output = command
        .arg("--dir")
        .arg(dir)
        .arg("gaps")
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap_or(-1),
        text(output.stdout),
        text(output.stderr),
    )
}

fn gaps(dir: &Path, code: i32, arguments: &[&str]) -> Value {
    let all = [arguments, &["--json"]].concat();
    let (found, stdout, stderr) = dp(dir, &all);
    assert_eq!(found, code, "{arguments:?}\n{stdout}{stderr}");
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{stdout}"))
}

/// An ISO-NE report of one location with these hours.
fn isone(day: &str, hours: &[String]) -> String {
    let mut text = "\"C\",\"Day-Ahead Energy Market Hourly LMP Report\"\r\n\"C\",\"WW_DALMP_ISO\"\r\n\
        \"H\",\"Date\",\"Hour Ending\",\"Location ID\",\"Location Name\",\"Location Type\",\"Locational Marginal Price\",\
        \"Energy Component\",\"Congestion Component\",\"Marginal Loss Component\"\r\n"
        .to_owned();
    for hour in hours {
        text.push_str(&format!(
            "\"D\",\"{day}\",\"{hour}\",4000,\".H.INTERNAL_HUB\",\"HUB\",31.50,30.00,1.00,0.50\r\n"
        ));
    }
    text + &format!("\"T\",\"{} lines\"\r\n", hours.len())
}

fn hours(left_out: &[usize], repeated: bool) -> Vec<String> {
    let mut hours: Vec<String> = Vec::new();
    for hour in (1..=24).filter(|hour| !left_out.contains(hour)) {
        hours.push(format!("{hour:02}"));
        if repeated && hour == 2 {
            hours.push("02X".to_owned());
        }
    }
    hours
}

/// A page of PJM's API with these hours of 2026-07-04, which says how many rows the whole set has.
fn pjm(hours: std::ops::Range<i64>, total: usize) -> String {
    let day = MarketDay::of("PJM", date(2026, 7, 4)).unwrap();
    let items: Vec<Value> = hours
        .map(|hour| {
            let utc = jiff::Timestamp::from_microsecond(day.start + hour * 3_600_000_000).unwrap();
            json!({
                "datetime_beginning_utc": utc.to_string().trim_end_matches('Z'),
                "datetime_beginning_ept": format!("2026-07-04T{hour:02}:00:00"),
                "pnode_id": 51_288, "pnode_name": "WESTERN HUB", "voltage": null, "equipment": null, "type": "HUB", "zone": null,
                "system_energy_price_rt": 30, "total_lmp_rt": 31.5, "congestion_price_rt": 1, "marginal_loss_price_rt": 0.5,
                "row_is_current": true, "version_nbr": 1
            })
        })
        .collect();
    json!({"items": items, "totalRows": total}).to_string()
}

/// Reads the document as normalization does, and stores what completeness needs of its ticks.
async fn publish(stores: &Stores, format: &str, document: &str) {
    let mut normalizer = Normalizer::new(NormalizerConfig::default());
    let message = RawMessage {
        feed: "ingestion.market.raw.v1",
        partition: 0,
        offset: 0,
        appended_at: APPENDED_AT,
        key: None,
        payload: document.as_bytes(),
        format: Some(format),
        tenant: None,
        replay: None,
    };
    let mut rows = Vec::new();
    let outcome = normalizer
        .normalize(&message, 0, &mut |tick| {
            assert!(!tick.quality_flags.contains(QualityFlag::UnknownNode));
            rows.push(format!(
                "('{}', '{}', fromUnixTimestamp64Micro({}), '{}', '{}', 'interval', {}, {}, now64(6))",
                tick.tenant_id,
                tick.instrument_id,
                tick.event_time,
                tick.market,
                tick.product,
                tick.price,
                tick.market_status
                    .map_or("NULL".to_owned(), |status| format!("'{status}'"))
            ));
        })
        .unwrap();
    assert!(outcome.rejected.is_empty(), "{:?}", outcome.rejected.first);
    let sql = format!(
        "INSERT INTO market_data.market_ticks (tenant_id, instrument_id, timestamp, market, product, kind, price, market_status, ingested_at) VALUES {}",
        rows.join(", ")
    );
    stores.clickhouse.exec(&sql).await.unwrap();
}

fn day_of(reports: &Value, product: &str) -> Value {
    let of_product = |report: &&Value| report["product"] == product;
    reports.as_array().unwrap().iter().find(of_product).unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_missing_interval_of_a_market_day_is_found_and_pages_are_no_complete_set() {
    let stack = Temporary::new().unwrap();
    for server in [Server::ClickHouse, Server::Postgres] {
        stack.start(server).unwrap();
        stack.wait_ready(server, PATIENCE).unwrap();
    }
    let dir = stack.config().dir.clone();
    let connection = Connection::to_stack(&stack, true).unwrap();
    migrate(&connection, false).await.unwrap();
    let stores = stores(&connection).unwrap();

    // Nothing is known, so nothing is missed, unless a market is named.
    gaps(&dir, 0, &["--day", "2025-11-02"]);
    let named = gaps(
        &dir,
        1,
        &["--day", "2025-11-02", "--market", "isone", "--product", "da"],
    );
    assert_eq!((&named[0]["due"], &named[0]["present"]), (&json!(25), &json!(0)));

    // The fall day has 25 hours; without the second pass of the repeated one it has a gap.
    let fall = isone("11/02/2025", &hours(&[], false));
    publish(&stores, ISONE_DA, &fall).await;
    let found = gaps(
        &dir,
        1,
        &["--day", "2025-11-02", "--market", "ISONE", "--product", "da"],
    );
    assert_eq!((&found[0]["due"], &found[0]["present"]), (&json!(25), &json!(24)));
    assert_eq!(
        found[0]["missing"],
        json!([{"from": "2025-11-02T06:00:00Z", "to": "2025-11-02T07:00:00Z"}])
    );
    publish(&stores, ISONE_DA, &isone("11/02/2025", &hours(&[], true))).await;
    gaps(
        &dir,
        0,
        &["--day", "2025-11-02", "--market", "ISONE", "--product", "da"],
    );
    // Published again, it still has 25.
    publish(&stores, ISONE_DA, &fall).await;
    let again = gaps(&dir, 0, &["--day", "2025-11-02", "--product", "da"]);
    assert_eq!((&again[0]["present"], &again[0]["prices"]), (&json!(25), &json!(25)));

    // The spring day has 23, and the table names what is missing in 80 columns.
    publish(&stores, ISONE_DA, &isone("03/08/2026", &hours(&[2, 5], false))).await;
    let arguments = ["--day", "2026-03-08", "--market", "ISONE", "--product", "da"];
    assert_eq!(gaps(&dir, 1, &arguments)[0]["due"], 23);
    let (_, text, _) = dp(&dir, &arguments);
    assert!(text.contains("2026-03-08T08:00:00Z to 2026-03-08T09:00:00Z"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");

    // One page of many has every hour of its node, and proves nothing about the set.
    publish(&stores, PJM_HOURLY, &pjm(0..24, 4_000)).await;
    let arguments = ["--day", "2026-07-04", "--market", "PJM", "--product", "rth"];
    let page = day_of(&gaps(&dir, 1, &arguments), "rth");
    assert_eq!((&page["present"], &page["part_only"]), (&json!(24), &json!(24)));
    publish(&stores, PJM_HOURLY, &pjm(0..24, 24)).await;
    gaps(&dir, 0, &arguments);

    // A day after one with prices is expected.
    let next = gaps(&dir, 1, &["--day", "2026-07-05"]);
    assert_eq!((&next[0]["market"], &next[0]["present"]), (&json!("PJM"), &json!(0)));
    let (code, _, error) = dp(&dir, &["--market", "PJM", "--product", "rt15"]);
    assert!(
        code == 2 && error.contains("no document of PJM has product rt15"),
        "{code} {error}"
    );

    the_views_have_the_days_of_the_registry(&stores).await;
    stack.stop(Server::ClickHouse).unwrap();
    let (code, _, error) = dp(&dir, &["--day", "2026-07-04"]);
    assert!(code == 2 && error.contains("does not answer"), "{code} {error}");
}

/// Each day of many years in each market: ClickHouse and the registry agree on its length and date.
async fn the_views_have_the_days_of_the_registry(stores: &Stores) {
    stores
        .clickhouse
        .exec("TRUNCATE TABLE market_data.market_ticks")
        .await
        .unwrap();
    let first: Date = date(1999, 12, 30);
    let markets = ["MISO", "CAISO", "ERCOT", "PJM", "NYISO", "ISONE", "SPP"];
    let days = 11_000;
    for market in markets {
        let mut times = Vec::new();
        for number in 0..days {
            let day = first.checked_add(jiff::Span::new().days(number)).unwrap();
            let of_day = MarketDay::of(market, day).unwrap();
            times.extend([of_day.start, of_day.end - 300_000_000].map(|time| (time / 1_000_000).to_string()));
        }
        for part in times.chunks(5_000) {
            // The ingestion time, or the rows would have expired.
            let sql = format!(
                "INSERT INTO market_data.market_ticks (tenant_id, instrument_id, timestamp, market, product, kind, price, ingested_at) \
                 SELECT 't', 'I', toDateTime64(arrayJoin([{}]), 6, 'UTC'), '{market}', 'rt5', 'interval', 1, now64(6)",
                part.join(", ")
            );
            stores.clickhouse.exec(&sql).await.unwrap();
        }
    }
    let sql = "SELECT market, toString(day) AS day, toString(expected) AS expected, toString(present) AS present FROM completeness ORDER BY market, day";
    let seen = stores.clickhouse.query_json(sql).await.unwrap();
    assert_eq!(seen.len(), markets.len() * usize::try_from(days).unwrap());
    for row in seen {
        let (market, day) = (row["market"].as_str().unwrap(), row["day"].as_str().unwrap());
        let of_day = MarketDay::of(market, day.parse().unwrap()).unwrap();
        let expected = of_day.intervals("rt5").count().to_string();
        assert_eq!(
            (row["expected"].as_str(), row["present"].as_str()),
            (Some(expected.as_str()), Some("2")),
            "{market} {day}"
        );
    }
}
