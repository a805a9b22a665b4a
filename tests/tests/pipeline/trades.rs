//! Captured trades of venues, from `dp ingest` to their bars. On a stack of its own, since the venues are a setting.
//!
//! The captures are written here in the forms of the venues, so that every value of a bar is computed by hand.

use e2e::{Pipeline, eventually};
use serde_json::Value;

const TENANT: &str = "trades";
/// The minute of the trades of Kraken, 2025-11-10T17:24Z, and that of the trades of BitMEX, 2020-03-01T00:00Z.
const OF_KRAKEN: i64 = 1_762_795_440;
const OF_BITMEX: i64 = 1_583_020_800;
const HOUR: i64 = 3_600;

/// Not in the order of time. Ids 13 and 14 are alike but for the id, 14 is there twice, and 15 and 16 are of one time.
const KRAKEN: &str = r#"{"error":[],"result":{"XBTUSDT":[
["105410.10000","0.50000000",1762795457.5,"b","m","",12],
["105433.60000","0.25000000",1762795441.25,"b","l","",11],
["105383.80000","0.12500000",1762795473.9,"b","m","",13],
["105383.80000","0.12500000",1762795473.9,"b","m","",14],
["105383.80000","0.12500000",1762795473.9,"b","m","",14],
["105390.20000","1.00000000",1762795499.9,"s","m","",16],
["105395.00000","2.00000000",1762795499.9,"s","m","",15],
["105500.00000","0.10000000",1762795500,"b","m","",17]],"last":"1762795500000000000"}}"#;

/// Three rows are alike but for the id.
const BITMEX: &str = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount
bitmex,XBTUSD,1583020803145000,1583020803307160,b-1,sell,8530,2152
bitmex,XBTUSD,1583020803276000,1583020803336743,a-1,sell,8531.5,1
bitmex,XBTUSD,1583020803276000,1583020803336743,a-2,sell,8531.5,1
bitmex,XBTUSD,1583020803276000,1583020803336743,a-3,sell,8531.5,1
bitmex,XBTUSD,1583020803500000,1583020803599000,c-1,buy,8529.5,10
";

/// Three trades of this minute, and before the last of them one of three hours earlier.
fn coinbase(minute: i64) -> String {
    let line = |(id, price, size, second): (u32, &str, &str, i64)| {
        let time = jiff::Timestamp::from_second(second).unwrap();
        format!(
            r#"{second}.079762: {{"type":"match","trade_id":{id},"side":"sell","size":"{size}","price":"{price}","product_id":"BAND-GBP","sequence":{id}1,"time":"{time}"}}"#
        ) + "\n"
    };
    let trades = [
        (8, "14.9", "3", minute + 30),
        (7, "14.5", "1", minute + 10),
        (9, "14.25", "2", minute - 3 * HOUR + 10),
        (10, "14.7", "0.5", minute + 50),
    ];
    trades.map(line).concat()
}

#[test]
fn captured_trades_are_in_their_bars_each_id_once_and_late_rows_late() {
    let settings = [
        (
            "NORMALIZATION_VENUES",
            "KRAKEN:USDT:XBT,COINBASE:GBP:BAND,BITMEX:USD:contract",
        ),
        // The trades of the last minute come before its close, however slow the machine is.
        ("AGGREGATION_WATERMARK_DELAY_MS", "600000"),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let pipeline = Pipeline::with_settings(settings).unwrap();
    let folder = std::env::temp_dir().join(format!("captured-trades-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let minute = jiff::Timestamp::now().as_second() / 60 * 60 - 60;
    let of_coinbase = coinbase(minute);
    for (name, capture) in [
        ("bitmex.csv", BITMEX),
        ("coinbase.txt", of_coinbase.as_str()),
        ("kraken.json", KRAKEN),
    ] {
        std::fs::write(folder.join(name), capture).unwrap();
    }
    let said = pipeline
        .dp_ok(&["--json", "ingest", &folder.to_string_lossy(), "--tenant", TENANT])
        .unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let files: Vec<Value> = serde_json::from_str(&said).unwrap();
    let published: Vec<(Option<&str>, Option<u64>)> = files
        .iter()
        .map(|file| (file["venue"].as_str(), file["messages"].as_u64()))
        .collect();
    let expected = [("BITMEX", 5), ("COINBASE", 4), ("KRAKEN", 8)].map(|(venue, count)| (Some(venue), Some(count)));
    assert_eq!(published, expected, "{said}");
    the_bars_are_those_of_the_trades(&pipeline, minute);
    the_late_trades_are_known_as_late(&pipeline);
    let verified = pipeline.verify().unwrap();
    assert_eq!(verified.code, 0, "{:?}", verified.differences());
}

/// Minute, open, high, low, close, volume, average by volume, trades, how many of them came after the close, and the cause.
fn the_bars_are_those_of_the_trades(pipeline: &Pipeline, minute: i64) {
    let expected = [
        // 2152 + 3 × 1 + 10; (2152 × 8530 + 3 × 8531.5 + 10 × 8529.5) / 2165
        format!("BITMEX.XBTUSD {OF_BITMEX} 8530 8531.5 8529.5 8529.5 2165 8529.99976905 5 5 late"),
        format!(
            "COINBASE.BAND-GBP {} 14.25 14.25 14.25 14.25 2 14.25 1 1 late",
            minute - 3 * HOUR
        ),
        // 1 + 3 + 0.5; (14.5 + 44.7 + 7.35) / 4.5
        format!("COINBASE.BAND-GBP {minute} 14.5 14.9 14.5 14.7 4.5 14.78888889 3 0 live"),
        // 0.25 + 0.5 + 2 × 0.125 + 1 + 2; (26358.4 + 52705.05 + 26345.95 + 105390.2 + 210790) / 4
        format!("KRAKEN.XBTUSDT {OF_KRAKEN} 105433.6 105433.6 105383.8 105390.2 4 105397.4 6 6 late"),
        format!(
            "KRAKEN.XBTUSDT {} 105500 105500 105500 105500 0.1 105500 1 1 late",
            OF_KRAKEN + 60
        ),
    ];
    let sql = format!(
        "SELECT toString(instrument_id), toUnixTimestamp(window_start), toString(open), toString(high), toString(low), toString(close), \
         toString(volume), toString(assumeNotNull(vwap)), trade_count, revision, toString(cause) FROM bars_latest \
         WHERE tenant_id = '{TENANT}' AND interval = '1m' ORDER BY instrument_id, window_start"
    );
    let mut bars = Vec::new();
    let come = eventually("the bars have their trades", || {
        let rows = pipeline.clickhouse.rows(&sql)?;
        bars = rows.iter().map(|row| row.join(" ")).collect();
        Ok(bars == expected)
    });
    assert!(come.is_ok(), "{come:?}: {bars:#?} instead of {expected:#?}");
}

/// All but the three trades of the last minute.
fn the_late_trades_are_known_as_late(pipeline: &Pipeline) {
    let of_ticks = format!(
        "SELECT toString(instrument_id), count(), countIf(has(quality_flags, 'late_arrival')), minIf(sequence, has(quality_flags, 'late_arrival')) \
         FROM market_ticks WHERE tenant_id = '{TENANT}' GROUP BY instrument_id ORDER BY instrument_id"
    );
    let flagged = pipeline.clickhouse.rows(&of_ticks).unwrap();
    let expected = [
        ["BITMEX.XBTUSD", "5", "5", "\\N"],
        ["COINBASE.BAND-GBP", "4", "1", "9"],
        // Eight were published, one of them twice.
        ["KRAKEN.XBTUSDT", "7", "7", "11"],
    ];
    assert_eq!(flagged, expected);
    // Too late for the stream: they are in their bars of an hour and less by way of the table.
    let of_late = format!(
        "SELECT toString(instrument_id), count(), toString(max(price)) FROM late_ticks \
         WHERE tenant_id = '{TENANT}' AND has(intervals, '1m') AND has(intervals, '1h') GROUP BY instrument_id ORDER BY instrument_id"
    );
    let expected = [
        ["BITMEX.XBTUSD", "5", "8531.5"],
        ["COINBASE.BAND-GBP", "1", "14.25"],
        ["KRAKEN.XBTUSDT", "7", "105500"],
    ];
    let mut late = Vec::new();
    let come = eventually("the late trades are stored", || {
        late = pipeline.clickhouse.rows(&of_late)?;
        Ok(late == expected)
    });
    assert!(come.is_ok(), "{come:?}: {late:?}");
}
