//! Real documents and poison: exact prices, and dead letters with every header.

use e2e::{Pipeline, RAW, eventually, has_samples, sample};
use localstack::Service;
use serde_json::Value;
use testkit::kafka::{self, Outgoing, Publisher, Record};

#[test]
fn prices_of_a_real_miso_document_arrive_digit_for_digit() {
    if !has_samples("prices_of_a_real_miso_document_arrive_digit_for_digit") {
        return;
    }
    let pipeline = Pipeline::shared();
    for name in [
        "GetRealTimeFiveMinExPost_Current_20261002T1650_part.json",
        "GetRealTimeFiveMinExPost_Previous_20261001_0000_0010.json",
    ] {
        let path = sample("miso").join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        // Its own tenant separates its ticks from those of other tests.
        let tenant = format!("documents-{}", name.len());
        pipeline
            .dp_ok(&["ingest", &path.to_string_lossy(), "--tenant", &tenant])
            .unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        let rows = document["data"].as_array().unwrap();
        let count = format!("SELECT count() FROM market_ticks WHERE tenant_id = '{tenant}'");
        eventually("the document's ticks arrive", || {
            Ok(pipeline.clickhouse.number(&count)? >= rows.len() as i128)
        })
        .unwrap();
        let arrived = pipeline
            .clickhouse
            .rows(&format!(
                "SELECT formatDateTime(timestamp + INTERVAL 5 MINUTE - INTERVAL 5 HOUR, '%Y-%m-%dT%H:%i:%S'), node, toDecimalString(price, 2), \
                 toDecimalString(loss, 2), toDecimalString(congestion, 2), instrument_id FROM market_ticks \
                 WHERE tenant_id = '{tenant}' ORDER BY raw_index"
            ))
            .unwrap();
        assert_eq!(arrived.len(), rows.len());
        for (row, published) in arrived.iter().zip(rows) {
            let published: Vec<&str> = published
                .as_array()
                .unwrap()
                .iter()
                .map(|cell| cell.as_str().unwrap())
                .collect();
            // INTERVAL, CPNODE, LMP, MLC, MCC
            assert_eq!(row[..5], published[..], "{name}");
            assert_eq!(row[5], format!("MISO.{}.RT5", published[1]));
        }
    }
    pipeline.agree().unwrap();
}

/// Interval prices of the whole folder of real documents, by market: the sums of the rows that `parsers` counts by file.
const PRICES: [(&str, i128); 8] = [
    ("CAISO", 323),
    ("ERCOT", 531),
    ("GAS", 251),
    ("ISONE", 649),
    ("MISO", 366),
    ("NYISO", 1_890),
    ("PJM", 1_538),
    ("SPP", 125),
];

/// The folder as one command, twice. On a stack of its own, since the oracle of the shared one reads only documents of MISO and PJM.
#[test]
fn every_line_of_a_folder_of_real_documents_arrives_and_all_stores_agree() {
    if !has_samples("every_line_of_a_folder_of_real_documents_arrives_and_all_stores_agree") {
        return;
    }
    let pipeline = Pipeline::start().unwrap();
    let ingest = || pipeline.dp_ok(&["ingest", &sample("").to_string_lossy()]).unwrap();
    ingest();
    let prices = "SELECT market, count() FROM enriched_ticks WHERE kind = 'interval' GROUP BY market ORDER BY market";
    let expected: Vec<Vec<String>> = PRICES
        .iter()
        .map(|(market, count)| vec![(*market).to_owned(), count.to_string()])
        .collect();
    eventually("every price of every document arrives", || {
        Ok(pipeline.clickhouse.rows(prices)? == expected)
    })
    .unwrap();
    the_best_vintage_stands(&pipeline);
    hourly_reports_are_compared_with_the_fine_prices(&pipeline);
    let verified = pipeline.verify().unwrap();
    assert_eq!(verified.code, 0, "{:?}", verified.differences());
    the_market_day_and_its_blocks_are_shown(&pipeline);
    // All that a bar says; origins are those of the last repetition.
    let bars = "SELECT * EXCEPT (version, ingested_at, last_appended_at, first_feed, first_partition, first_offset, first_index, last_feed, \
                last_partition, last_offset, last_index) FROM bars_latest ORDER BY tenant_id, instrument_id, interval, window_start";
    let before = pipeline.clickhouse.rows(bars).unwrap();
    assert!(before.len() > 2_000, "{} bars", before.len());
    ingest();
    let verified = pipeline.verify().unwrap();
    assert_eq!(verified.code, 0, "{:?}", verified.differences());
    assert_eq!(pipeline.clickhouse.rows(bars).unwrap(), before);
}

/// The day on which clocks go back, a Sunday: 25 hours, 16 of them by day. The average of the day is that of the prices in the file.
fn the_market_day_and_its_blocks_are_shown(pipeline: &Pipeline) {
    let bars = |interval: &str| -> Vec<Value> {
        let path = format!("/bars/PJM.ALDENE.48592.DA?interval={interval}&from=2025-11-02&to=2025-11-03");
        let (status, text) = pipeline.get(Service::Aggregation, &path).unwrap();
        assert_eq!(status, 200, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        answer["bars"].as_array().unwrap().clone()
    };
    eventually("the market day has its hours", || {
        Ok(bars("1d-local").first().is_some_and(|day| day["hours"] == 25))
    })
    .unwrap();
    let days = bars("1d-local");
    assert_eq!(days.len(), 1, "{days:?}");
    let day = &days[0];
    assert_eq!(
        (
            day["hours"].as_u64(),
            day["hours_of_day"].as_u64(),
            day["twap"].as_f64()
        ),
        (Some(25), Some(25), Some(46.7824)),
        "{day}"
    );
    assert_eq!(
        (day["window_start"].as_str(), day["window_end"].as_str()),
        (Some("2025-11-02T04:00:00.000000Z"), Some("2025-11-03T05:00:00.000000Z"))
    );
    let blocks: Vec<(String, u64)> = bars("blocks")
        .iter()
        .map(|bar| {
            (
                bar["interval"].as_str().unwrap().to_owned(),
                bar["hours"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(blocks, [("2x16H".to_owned(), 16), ("7x8".to_owned(), 9)]);
}

/// PJM publishes one hour three times: the second version first, then the first one, then the third. Then it lists the third again in another
/// document, which changes nothing.
fn the_best_vintage_stands(pipeline: &Pipeline) {
    const HEADER: &str = "datetime_beginning_utc,datetime_beginning_ept,pnode_id,pnode_name,voltage,equipment,type,zone,\
         system_energy_price_rt,total_lmp_rt,congestion_price_rt,marginal_loss_price_rt,row_is_current,version_nbr";
    let path = std::env::temp_dir().join(format!("rt_hrl_lmps-{}.csv", std::process::id()));
    let published = [
        ("43.25", "True", 2, ""),
        ("42.75", "False", 1, ""),
        ("44.5", "True", 3, ""),
        ("44.5", "True", 3, "230 KV"),
    ];
    let found = [
        (1, "43.25", "late"),
        (1, "43.25", "late"),
        (2, "44.5", "vintage"),
        (2, "44.5", "vintage"),
    ];
    let newest = "SELECT max(intDiv(version, 2)) FROM bars_latest WHERE tenant_id = 'vintages' AND interval = '1h'";
    let published = published.into_iter().zip(found).enumerate();
    for (number, ((price, is_current, version, voltage), (revision, stands, cause))) in published {
        let row = format!(
            "10/1/2026 5:00:00 AM,10/1/2026 1:00:00 AM,51288,VINTAGES,{voltage},,HUB,,{price},{price},0,0,{is_current},{version}"
        );
        let before = pipeline.clickhouse.number(newest).unwrap();
        std::fs::write(&path, format!("{HEADER}\n{row}\n")).unwrap();
        pipeline
            .dp_ok(&["ingest", &path.to_string_lossy(), "--tenant", "vintages"])
            .unwrap();
        eventually("the bar has the tick", || {
            let last = pipeline.clickhouse.number(newest)?;
            // An empty table has no newest version, and the first tick may have offset 0.
            Ok(last > before || number == 0)
        })
        .unwrap();
        // Each tick comes after the close of its window, so the revision counts those that replace the price, and the first.
        let bars = "SELECT revision, toString(cause), trade_count, toString(open), toString(close) FROM bars_latest \
                    WHERE tenant_id = 'vintages' AND interval = '1h'";
        let expected = vec![vec![
            revision.to_string(),
            cause.to_owned(),
            "1".to_owned(),
            stands.to_owned(),
            stands.to_owned(),
        ]];
        eventually("the bar has its price", || {
            Ok(pipeline.clickhouse.rows(bars)? == expected)
        })
        .unwrap();
        let served = "SELECT trim_scale(price)::text FROM served_latest_prices WHERE tenant_id = 'vintages'";
        eventually("the price is served", || {
            Ok(pipeline.postgres.rows(served)? == [[stands]])
        })
        .unwrap();
    }
    std::fs::remove_file(&path).unwrap();
}

/// PJM's unverified prices of one hour: the hourly price of one hub is the mean of its prices of five minutes, that of another is 1 USD more.
fn hourly_reports_are_compared_with_the_fine_prices(pipeline: &Pipeline) {
    const HEADER: &str =
        "datetime_beginning_utc,pnode_id,pnode_name,type,total_lmp_rt,congestion_price_rt,marginal_loss_price_rt";
    let hour = jiff::Timestamp::now().as_second() / 3600 * 3600 - 3 * 3600;
    let row = |second: i64, node: &str, price: &str| {
        let stamp = jiff::Timestamp::from_second(second).unwrap();
        format!("{stamp},1,{node},HUB,{price},0,0\n")
    };
    let fine = (0..12_i64).flat_map(|step| {
        let price = (step + 1).to_string();
        ["MEAN", "OTHER"].map(|node| row(hour + step * 300, node, &price))
    });
    let hourly = row(hour, "MEAN", "6.5") + &row(hour, "OTHER", "7.5");
    for (name, rows) in [("rt_fivemin_hrl_lmps", fine.collect()), ("rt_hrl_lmps", hourly)] {
        let path = std::env::temp_dir().join(format!("{name}-of-an-hour-{}.csv", std::process::id()));
        std::fs::write(&path, format!("{HEADER}\n{rows}")).unwrap();
        pipeline.dp_ok(&["ingest", &path.to_string_lossy()]).unwrap();
        std::fs::remove_file(&path).unwrap();
    }
    let stored = "SELECT count() FROM market_ticks WHERE instrument_id IN ('PJM.MEAN.RT5', 'PJM.OTHER.RT5', 'PJM.MEAN.RTH', 'PJM.OTHER.RTH')";
    eventually(
        "the prices are stored",
        || Ok(pipeline.clickhouse.number(stored)? == 26),
    )
    .unwrap();
    // The metrics are computed when aggregation starts, then every ten minutes.
    pipeline.kill_and_restart(Service::Aggregation).unwrap();
    let expected = [
        ("market_check_hours{", "result=\"agreeing\"", " 1"),
        ("market_check_hours{", "result=\"differing\"", " 1"),
        ("market_check_hours{", "result=\"partial\"", " 0"),
        ("market_check_difference{", "pair=\"rt5/rth\"", " 1"),
    ];
    let mut found = String::new();
    eventually("the hours are compared", || {
        found = pipeline.get(Service::Aggregation, "/metrics")?.1;
        let has = |(name, label, value): (&str, &str, &str)| {
            let is_its =
                |line: &&str| line.starts_with(name) && line.contains("market=\"PJM\"") && line.contains(label);
            found.lines().find(is_its).is_some_and(|line| line.ends_with(value))
        };
        Ok(expected.into_iter().all(has))
    })
    .unwrap();
    let (code, output) = {
        let output = pipeline
            .dp(&["check-market", "--market", "PJM", "--since", "6h"])
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    assert!(code == Some(1) && output.contains("PJM.OTHER"), "{code:?} {output}");
}

#[test]
fn the_tick_of_the_readme_has_its_event_as_cause_and_the_unit_of_the_taxonomy() {
    let pipeline = Pipeline::shared();
    let send = [
        "send",
        "--market",
        "miso",
        "--instrument",
        "NG_HH_M1",
        "--price",
        "3.25",
    ];
    pipeline.dp_ok(&send).unwrap();
    let served = "SELECT unit, market FROM served_latest_prices WHERE instrument_id = 'NG_HH_M1'";
    let mut rows = Vec::new();
    eventually("the price is served", || {
        rows = pipeline.postgres.rows(served)?;
        Ok(!rows.is_empty())
    })
    .unwrap();
    assert_eq!(rows, [["MMBtu", "MISO"]]);
    let ticks = "SELECT DISTINCT ifNull(instrument_unit, ''), source_system, causation_id = source_event_id \
                 FROM (SELECT instrument_unit, feed, raw_partition, raw_offset, raw_index FROM enriched_ticks \
                 WHERE instrument_id = 'NG_HH_M1') AS ticks INNER JOIN (SELECT source_system, causation_id, source_event_id, feed, \
                 raw_partition, raw_offset, raw_index FROM market_ticks) AS origins \
                 USING (feed, raw_partition, raw_offset, raw_index)";
    eventually("the tick is in ClickHouse", || {
        rows = pipeline.clickhouse.rows(ticks)?;
        Ok(!rows.is_empty())
    })
    .unwrap();
    assert_eq!(rows, [["MMBtu", "ingestion.miso", "1"]]);
    pipeline.agree().unwrap();
}

#[test]
fn documents_of_an_unknown_format_become_dead_letters_with_their_bytes() {
    let pipeline = Pipeline::shared();
    let path = std::env::temp_dir().join(format!("unknown-document-{}.csv", std::process::id()));
    let bytes = b"hour,price\n1,20.5\n";
    std::fs::write(&path, bytes).unwrap();
    pipeline
        .dp_ok(&["ingest", "--send-unknown", &path.to_string_lossy()])
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    let letter = dead_letter(&pipeline, |letter| letter.payload == bytes);
    assert_eq!(letter.header("dp.error.code").as_deref(), Some("unsupported_format"));
    assert_eq!(letter.header("dp.format").as_deref(), Some("unknown"));
    pipeline.agree().unwrap();
}

#[test]
fn each_poison_message_becomes_a_dead_letter_with_every_header() {
    let pipeline = Pipeline::shared();
    let good = r#"{"envelope":{"event_type":"market.tick","event_id":"ID","timestamp":"2026-10-01T00:00:00Z","tenant_id":"poison","source":"test","version":"1.0","correlation_id":"c-ID"},"payload":{"market":"MISO","instrument_id":"POISON_TEST","raw_data":{"timestamp":"2026-10-01T00:00:00Z","price":1,"volume":2}}}"#;
    let cases = [
        ("broken_json", good.replace("}}}", "}"), ""),
        (
            "schema_violation",
            good.replace("\"version\":\"1.0\",", ""),
            "/envelope/version",
        ),
        ("missing_price", good.replace("\"price\":1,", ""), "price"),
        (
            "invalid_price",
            good.replace("\"price\":1,", "\"price\":\"n/a\","),
            "n/a",
        ),
        ("unknown_market", good.replace("MISO", "ATLANTIS"), "ATLANTIS"),
        ("oversize", good.replace("POISON_TEST", &"X".repeat(1 << 20)), "bytes"),
    ];
    let mut publisher = Publisher::new(&pipeline.bootstrap(), RAW).unwrap();
    for (code, payload, _) in &cases {
        let outgoing = Outgoing {
            partition: Some(1),
            key: Some(format!("key-{code}")),
            payload: payload.replace("ID", code).into_bytes(),
            headers: vec![("producer".to_owned(), "e2e".to_owned())],
        };
        publisher.send(&outgoing).unwrap();
    }
    publisher.finish().unwrap();
    for (code, payload, place) in cases {
        let key = format!("key-{code}").into_bytes();
        let letter = dead_letter(&pipeline, |letter| letter.key.as_deref() == Some(&key));
        let header = |name: &str| {
            letter
                .header(name)
                .unwrap_or_else(|| panic!("{code}: header {name} is missing"))
        };
        assert!(
            letter.payload == payload.replace("ID", code).into_bytes(),
            "{code}: other bytes"
        );
        assert_eq!(header("producer"), "e2e");
        assert_eq!(header("dp.error.code"), code);
        assert_eq!(header("__connect.errors.class.name"), code);
        assert_eq!(header("__connect.errors.topic"), RAW);
        assert_eq!(header("__connect.errors.partition"), "1");
        assert_eq!(header("__connect.errors.stage"), "normalize");
        assert_eq!(header("dp.service"), "normalization");
        assert_eq!(header("dp.attempts"), "1");
        assert_eq!(header("dp.rejected_rows"), "");
        assert!(header("__connect.errors.exception.message").contains(place), "{code}");
        header("dp.correlation_id");
        // The headers name the position of the original message.
        let offset: i64 = header("__connect.errors.offset").parse().unwrap();
        let raw = kafka::read_all(&pipeline.bootstrap(), RAW).unwrap();
        let original = raw
            .iter()
            .find(|record| record.partition == 1 && record.offset == offset)
            .unwrap();
        assert_eq!(original.key.as_deref(), Some(&key[..]));
        let failed_at: i64 = header("dp.failed_at").parse().unwrap();
        assert!(
            failed_at / 1000 >= original.timestamp && failed_at / 1000 < original.timestamp + 120_000,
            "{code}: {failed_at}"
        );
    }
    pipeline.agree().unwrap();
}

fn dead_letter(pipeline: &Pipeline, is_it: impl Fn(&Record) -> bool) -> Record {
    let mut found = None;
    eventually("the dead letter arrives", || {
        found = kafka::read_all(&pipeline.bootstrap(), "dlq")?
            .into_iter()
            .find(|letter| is_it(letter));
        Ok(found.is_some())
    })
    .unwrap();
    found.unwrap()
}
