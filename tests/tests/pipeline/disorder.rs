//! Prices from the far future, out of order, and republished: each bar contains the right ticks, and no partition is blocked.

use e2e::{Pipeline, RAW, eventually, has_samples, sample};
use localstack::Service;
use serde_json::{Value, json};
use testkit::kafka::{self, Outgoing, Publisher};
use testkit::times::iso;

const TENANT: &str = "disorder";
const PARTITION: i32 = 0;
const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;

/// A message of shape A with one price.
fn price(id: &str, instrument: &str, product: &str, time: i64, price: &str) -> Outgoing {
    let payload = json!({
        "envelope": {"event_type": "tick", "event_id": id, "timestamp": iso(time), "tenant_id": TENANT, "source": "s", "version": "1.0"},
        "payload": {"market": "MISO", "instrument_id": instrument,
            "raw_data": {"timestamp": iso(time), "product": product, "price": price, "volume": 1}},
    });
    Outgoing {
        partition: Some(PARTITION),
        key: Some(instrument.to_owned()),
        payload: payload.to_string().into_bytes(),
        headers: Vec::new(),
    }
}

fn publish(pipeline: &Pipeline, messages: impl IntoIterator<Item = Outgoing>) {
    let mut publisher = Publisher::new(&pipeline.bootstrap(), RAW).unwrap();
    for message in messages {
        publisher.send(&message).unwrap();
    }
    publisher.finish().unwrap();
}

fn now(pipeline: &Pipeline) -> i64 {
    let now = pipeline.clickhouse.number("SELECT toUnixTimestamp64Micro(now64(6))");
    i64::try_from(now.unwrap()).unwrap()
}

/// Waits until the query returns these rows.
fn answers(pipeline: &Pipeline, sql: &str, wanted: &[Vec<String>]) {
    let mut last = Vec::new();
    let same = eventually(sql, || {
        last = pipeline.clickhouse.rows(sql)?;
        Ok(last == wanted)
    });
    assert!(same.is_ok(), "{sql}: {last:?} instead of {wanted:?}");
}

#[test]
fn a_trade_almost_a_week_ahead_is_rejected_and_blocks_nothing() {
    let pipeline = Pipeline::shared();
    let (instrument, now) = ("DISORDER.FROZEN", now(&pipeline));
    let mut messages = vec![price("AHEAD", instrument, "trade", now + 69 * 24 * HOUR / 10, "9999")];
    for (number, cents) in (1..=3).zip(["10.25", "10.5", "10.75"]) {
        messages.push(price(
            &format!("NORMAL-{number}"),
            instrument,
            "trade",
            now + number,
            cents,
        ));
    }
    publish(&pipeline, messages);
    for interval in ["1m", "5m", "15m", "1h", "1d"] {
        let bars = format!(
            "SELECT sum(trade_count), toString(max(high)), toString(argMax(close, window_start)) FROM bars FINAL \
             WHERE tenant_id = '{TENANT}' AND instrument_id = '{instrument}' AND interval = '{interval}'"
        );
        answers(&pipeline, &bars, &[["3", "10.75", "10.75"].map(str::to_owned).to_vec()]);
    }
    let served = format!(
        "SELECT trim_scale(price)::text FROM served_latest_prices WHERE tenant_id = '{TENANT}' AND instrument_id = '{instrument}'"
    );
    eventually(&served, || Ok(pipeline.postgres.rows(&served)? == [["10.75"]])).unwrap();
    let letters = kafka::read_all(&pipeline.bootstrap(), "dlq").unwrap();
    let refused = letters.iter().filter(|letter| {
        String::from_utf8_lossy(&letter.payload).contains("\"AHEAD\"")
            && letter.header("dp.error.code").as_deref() == Some("future_time")
    });
    assert_eq!(refused.count(), 1);
    pipeline.agree().unwrap();
}

#[test]
fn day_ahead_hours_in_any_order_give_their_bars() {
    let pipeline = Pipeline::shared();
    let midnight = (now(&pipeline) / (24 * HOUR) + 1) * 24 * HOUR;
    // Shuffled, and backwards.
    for (instrument, step) in [("DISORDER.SHUFFLED", 7), ("DISORDER.BACKWARDS", 23)] {
        let hours = (1..=24).map(|number| number * step % 24);
        publish(
            &pipeline,
            hours.map(|hour| {
                let id = format!("{instrument}-{hour}");
                price(&id, instrument, "da", midnight + hour * HOUR, &format!("{}", 20 + hour))
            }),
        );
        let bars = |interval: &str| {
            format!(
                "SELECT toString(dateDiff('hour', toDateTime({}), window_start)), toString(trade_count), toString(open), toString(close) FROM bars FINAL \
                 WHERE tenant_id = '{TENANT}' AND instrument_id = '{instrument}' AND interval = '{interval}' ORDER BY window_start",
                midnight / SECOND
            )
        };
        let hour = |hour: i64| {
            let price = (20 + hour).to_string();
            vec![hour.to_string(), "1".to_owned(), price.clone(), price]
        };
        let hours: Vec<Vec<String>> = (0..24).map(hour).collect();
        answers(&pipeline, &bars("1h"), &hours);
        answers(
            &pipeline,
            &bars("1d"),
            &[["0", "24", "20", "43"].map(str::to_owned).to_vec()],
        );
        let late = format!("SELECT count() FROM late_ticks WHERE instrument_id = '{instrument}'");
        assert_eq!(pipeline.clickhouse.number(&late).unwrap(), 0, "{instrument}");
    }
    pipeline.agree().unwrap();
}

#[test]
fn a_document_published_again_changes_no_bar_and_a_correction_replaces_its_price() {
    if !has_samples("a_document_published_again_changes_no_bar_and_a_correction_replaces_its_price") {
        return;
    }
    let pipeline = Pipeline::shared();
    let path = sample("miso").join("GetRealTimeFiveMinExPost_Current_20261002T1650_part.json");
    let first = std::fs::read_to_string(&path).unwrap();
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let mut corrected = read(&first);
    let row = &mut corrected["data"][0];
    (row[2], row[3], row[4]) = (json!("1234.50"), json!("0.00"), json!("0.00"));
    let document = |payload: String| Outgoing {
        partition: Some(PARTITION),
        key: None,
        payload: payload.into_bytes(),
        headers: [("dp.format", "miso.rt5.expost.json"), ("dp.tenant_id", TENANT)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
    };
    let prices = |document: &Value| -> Vec<Vec<String>> {
        let rows = document["data"].as_array().unwrap().iter();
        let mut prices: Vec<Vec<String>> = rows
            .map(|row| {
                let instrument = format!("MISO.{}.RT5", row[1].as_str().unwrap());
                vec![instrument, row[2].as_str().unwrap().to_owned(), "1".to_owned()]
            })
            .collect();
        prices.sort();
        prices
    };
    let bars = |interval: &str| {
        format!(
            "SELECT instrument_id, toDecimalString(close, 2), toString(trade_count) FROM bars FINAL \
             WHERE tenant_id = '{TENANT}' AND instrument_id LIKE 'MISO.%.RT5' AND interval = '{interval}' ORDER BY instrument_id"
        )
    };
    // The document, the same with a newline that makes it another event, then the correction.
    for (payload, wanted) in [
        (first.clone(), read(&first)),
        (format!("{first}\n"), read(&first)),
        (corrected.to_string(), corrected.clone()),
    ] {
        publish(&pipeline, [document(payload)]);
        pipeline.agree().unwrap();
        for interval in ["5m", "15m", "1h", "1d"] {
            answers(&pipeline, &bars(interval), &prices(&wanted));
        }
    }
    let rows =
        format!("SELECT count() FROM market_ticks WHERE tenant_id = '{TENANT}' AND instrument_id LIKE 'MISO.%.RT5'");
    let published = prices(&corrected).len() as i128 * 3;
    assert_eq!(pipeline.clickhouse.number(&rows).unwrap(), published);
}

/// A bar with a corrected price is computed from the table, so it is not in memory.
#[test]
fn a_bar_that_is_only_in_the_table_is_shown_with_its_figures() {
    let pipeline = Pipeline::shared();
    let instrument = "DISORDER.CORRECTED";
    let interval = now(&pipeline) / (300 * SECOND) * 300 * SECOND;
    publish(
        &pipeline,
        [("FIRST", "31.5"), ("SECOND", "32.25")].map(|(id, cents)| price(id, instrument, "rt5", interval, cents)),
    );
    let target = format!("/bars/{instrument}?tenant_id={TENANT}&interval=5m");
    let mut last = String::new();
    let shown = eventually("the bar of the correction is shown", || {
        last = pipeline.get(Service::Aggregation, &target)?.1;
        let bar = &serde_json::from_str::<Value>(&last)?["bars"][0];
        Ok(bar["close"] == 32.25 && bar["trade_count"] == 1 && bar["source"] == "bars_latest")
    });
    assert!(shown.is_ok(), "{shown:?}: {last}");
}
