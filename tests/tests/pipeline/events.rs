//! Identity of events: tenants, sources and instruments may use the same ids, producers retry, and nothing is lost or
//! doubled.

use e2e::{Pipeline, RAW, eventually};
use serde_json::Value;
use testkit::kafka::{self, Outgoing, Publisher};

const PARTITION: i32 = 2;

/// A message of shape A.
#[derive(Clone, Copy)]
struct Message<'a> {
    tenant: &'a str,
    source: &'a str,
    id: &'a str,
    instrument: &'a str,
    price: &'a str,
    sent: &'a str,
}

impl Message<'_> {
    fn payload(&self) -> String {
        let Message {
            tenant,
            source,
            id,
            instrument,
            price,
            sent,
        } = self;
        format!(
            r#"{{"envelope":{{"event_type":"tick","event_id":"{id}","timestamp":"{sent}","tenant_id":"{tenant}","source":"{source}","version":"1.0","correlation_id":"sent at {sent}"}},"payload":{{"market":"MISO","instrument_id":"{instrument}","raw_data":{{"timestamp":"2026-10-01T10:00:00Z","price":{price},"volume":1}}}}}}"#
        )
    }
}

fn publish(pipeline: &Pipeline, messages: &[Message<'_>]) {
    let mut publisher = Publisher::new(&pipeline.bootstrap(), RAW).unwrap();
    for message in messages {
        let outgoing = Outgoing {
            partition: Some(PARTITION),
            key: Some(message.instrument.to_owned()),
            payload: message.payload().into_bytes(),
            headers: Vec::new(),
        };
        publisher.send(&outgoing).unwrap();
    }
    publisher.finish().unwrap();
}

/// The rows of an instrument in the order of the log: tenant, source, price, and whether the id was reused.
fn rows(pipeline: &Pipeline, table: &str, instruments: &str) -> Vec<String> {
    // Only market_ticks has the source: a tick is found there by its origin.
    let sql = format!(
        "SELECT concatWithSeparator(' ', tenant_id, source_system, instrument_id, toString(price), \
         if(has(quality_flags, 'event_id_reused'), 'reused', '-')) FROM (SELECT tenant_id, instrument_id, price, quality_flags, \
         feed, raw_partition, raw_offset, raw_index FROM {table} WHERE instrument_id LIKE '{instruments}') AS ticks \
         INNER JOIN (SELECT source_system, feed, raw_partition, raw_offset, raw_index FROM market_ticks) AS origins \
         USING (feed, raw_partition, raw_offset, raw_index) ORDER BY raw_offset"
    );
    pipeline.clickhouse.rows(&sql).unwrap().into_iter().flatten().collect()
}

/// Publishes a last message and waits for its row and until the writers have no lag: rows of other partitions may come later.
fn settle(pipeline: &Pipeline, name: &str) {
    let last = Message {
        tenant: "events-last",
        source: "s",
        id: name,
        instrument: name,
        price: "1",
        sent: "2026-10-01T10:00:00Z",
    };
    publish(pipeline, &[last]);
    for table in ["market_ticks", "enriched_ticks"] {
        let sql = format!("SELECT count() FROM {table} WHERE instrument_id = '{name}'");
        eventually(&sql, || Ok(pipeline.clickhouse.number(&sql)? == 1)).unwrap();
    }
    eventually("the writers have no lag", || {
        let groups: Vec<Value> = serde_json::from_str(&pipeline.dp_ok(&["groups", "--json"])?)?;
        let is_writer = |group: &&Value| {
            group["group"]
                .as_str()
                .is_some_and(|name| name.ends_with("-clickhouse"))
        };
        let mut lags = groups.iter().filter(is_writer).map(|group| &group["lag"]);
        Ok(lags.all(|lag| *lag == 0))
    })
    .unwrap();
}

const FIRST: Message<'static> = Message {
    tenant: "alpha",
    source: "s1",
    id: "EVENTS-1",
    instrument: "EVENTS.A",
    price: "7.25",
    sent: "2026-10-01T10:00:01Z",
};

#[test]
fn two_tenants_with_the_same_event_ids_both_keep_all_their_ticks() {
    let pipeline = Pipeline::shared();
    let ids: Vec<String> = (1..=100).map(|number| format!("X-{number}")).collect();
    for tenant in ["alpha", "beta"] {
        let messages: Vec<Message<'_>> = ids
            .iter()
            .map(|id| Message {
                tenant,
                id,
                instrument: "EVENTS.TENANTS",
                ..FIRST
            })
            .collect();
        publish(&pipeline, &messages);
    }
    settle(&pipeline, "EVENTS-TENANTS-LAST");
    for table in ["market_ticks", "enriched_ticks"] {
        let rows = rows(&pipeline, table, "EVENTS.TENANTS");
        let of = |tenant: &str| {
            let row = format!("{tenant} s1 EVENTS.TENANTS 7.25 -");
            rows.iter().filter(|found| **found == row).count()
        };
        assert_eq!(
            (of("alpha"), of("beta"), rows.len()),
            (100, 100, 200),
            "{table}: {rows:?}"
        );
    }
    pipeline.agree().unwrap();
}

#[test]
fn a_reused_id_with_other_facts_is_flagged_and_a_retry_is_dropped() {
    let pipeline = Pipeline::shared();
    let messages = [
        FIRST,
        // A retry: sent later, the same number spelled differently.
        Message {
            price: "7.2500",
            sent: "2026-10-01T10:00:09Z",
            ..FIRST
        },
        Message { source: "s2", ..FIRST },
        Message {
            instrument: "EVENTS.B",
            ..FIRST
        },
        Message { price: "8", ..FIRST },
        // Repetitions of the first message and of the last one.
        FIRST,
        Message { price: "8.0", ..FIRST },
    ];
    publish(&pipeline, &messages);
    settle(&pipeline, "EVENTS-FACTS-LAST");
    let expected = [
        "alpha s1 EVENTS.A 7.25 -",
        "alpha s2 EVENTS.A 7.25 -",
        "alpha s1 EVENTS.B 7.25 reused",
        "alpha s1 EVENTS.A 8 reused",
    ];
    for table in ["market_ticks", "enriched_ticks"] {
        assert_eq!(rows(&pipeline, table, "EVENTS._"), expected, "{table}");
    }
    pipeline.agree().unwrap();
}

/// A tick of shape B with a sequence number.
fn numbered(id: &str, time: &str, sequence: Option<i64>, price: i64) -> Outgoing {
    let sequence = sequence.map_or_else(String::new, |sequence| format!(r#""sequence":{sequence},"#));
    let payload = format!(
        r#"{{"event_id":"{id}","schema_version":"1.0.0","tenant_id":"alpha","producer":"s","occurred_at":1790848800000000,"payload":{{"source_system":"s","market":"MISO","symbol":"EVENTS.ORDER",{sequence}"raw_payload":"{{\"price\":{price},\"timestamp\":\"{time}\"}}","metadata":{{}}}}}}"#
    );
    Outgoing {
        partition: Some(PARTITION),
        key: Some("EVENTS.ORDER".to_owned()),
        payload: payload.into_bytes(),
        headers: Vec::new(),
    }
}

#[test]
fn simultaneous_ticks_are_ordered_by_sequence_and_older_or_future_ticks_replace_nothing() {
    const NOON: &str = "2026-10-01T12:00:00Z";
    let pipeline = Pipeline::shared();
    let mut publisher = Publisher::new(&pipeline.bootstrap(), RAW).unwrap();
    for (id, time, sequence, price) in [
        ("ORDER-1", NOON, Some(3), 30),
        ("ORDER-2", NOON, Some(1), 10),
        ("ORDER-3", NOON, None, 5),
        ("ORDER-4", NOON, Some(2), 20),
        ("ORDER-5", "2026-10-01T11:59:59Z", Some(99), 99),
        ("ORDER-6", "2126-10-01T12:00:00Z", Some(100), 100),
    ] {
        publisher.send(&numbered(id, time, sequence, price)).unwrap();
    }
    publisher.finish().unwrap();
    let bar = "SELECT toString(open), toString(close) FROM bars WHERE instrument_id = 'EVENTS.ORDER' AND interval = '1m' \
               AND window_start = '2026-10-01 12:00:00' AND trade_count = 4";
    eventually(bar, || {
        let rows = pipeline.clickhouse.rows(bar)?;
        Ok(rows.first().is_some_and(|row| *row == ["5", "30"]))
    })
    .unwrap();
    // The rows of market_ticks may be written later than the bar.
    let stored = "SELECT count() FROM market_ticks WHERE instrument_id = 'EVENTS.ORDER'";
    eventually(stored, || Ok(pipeline.clickhouse.number(stored)? == 5)).unwrap();
    let served = "SELECT trim_scale(price)::text FROM served_latest_prices WHERE instrument_id = 'EVENTS.ORDER'";
    eventually(served, || Ok(pipeline.postgres.rows(served)? == [["30"]])).unwrap();
    // `dp verify` compares bars and both copies of the price with the tables, and the dead letters with the log.
    pipeline.agree().unwrap();
}

/// Publishes to the partition with these headers.
fn publish_with(pipeline: &Pipeline, payload: &str, headers: &[(&str, &str)]) {
    let mut publisher = Publisher::new(&pipeline.bootstrap(), RAW).unwrap();
    let headers = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    publisher
        .send(&Outgoing {
            partition: Some(PARTITION),
            key: None,
            payload: payload.as_bytes().to_vec(),
            headers: headers.collect(),
        })
        .unwrap();
    publisher.finish().unwrap();
}

/// The dead letters that contain this text.
fn letters_with(pipeline: &Pipeline, content: &str) -> Vec<kafka::Record> {
    let letters = kafka::read_all(&pipeline.bootstrap(), "dlq").unwrap();
    let holds = |letter: &kafka::Record| String::from_utf8_lossy(&letter.payload).contains(content);
    letters.into_iter().filter(holds).collect()
}

#[test]
fn replay_headers_are_used_only_if_they_match_an_existing_dead_letter() {
    const FORMAT: (&str, &str) = ("dp.format", "miso.rt5.expost.json");
    let pipeline = Pipeline::shared();
    let event = Message {
        id: "EVENTS-FORGED",
        instrument: "EVENTS.FORGED",
        ..FIRST
    };
    let row = |node: &str, price: &str| format!(r#"["2026-10-02T05:00:00","EVENTS.{node}","{price}","0.00","0.00"]"#);
    let rows_of_document = [row("A", "1.00"), row("B", "oops"), row("C", "2.00")].join(",");
    let document = format!(r#"{{"headers":["INTERVAL","CPNODE","LMP","MLC","MCC"],"data":[{rows_of_document}]}}"#);
    publish(&pipeline, &[event]);
    publish_with(&pipeline, &document, &[FORMAT]);
    settle(&pipeline, "EVENTS-REPLAY-1");
    let letter = letters_with(&pipeline, "EVENTS.B").pop().expect("the row is rejected");
    let text = |name: &str| letter.header(name).unwrap();
    assert_eq!(
        (text("dp.rejected_rows"), text("dp.attempts")),
        ("1".to_owned(), "1".to_owned())
    );

    let place = ["topic", "partition", "offset"].map(|part| text(&format!("__connect.errors.{part}")));
    let (letter_at, origin) = (letter.offset.to_string(), place.join("/"));
    let replay = |letter: &'static str| {
        [
            FORMAT,
            ("dp.replay.letter", letter),
            ("dp.replay.rows", "1"),
            ("dp.replay.attempt", "2"),
        ]
    };
    // A missing letter, a different one, an impossible one: the event and the document are dropped as repetitions.
    for letter in ["999999999", "0", "-1", "x"] {
        let headers = [&replay(letter)[..], &[("dp.replay.origin", origin.as_str())]].concat();
        publish_with(&pipeline, &event.payload(), &headers[1..]);
        publish_with(&pipeline, &document, &headers);
    }
    // The matching letter: only the rejected row is read again, and it is rejected again.
    let own = [
        FORMAT,
        ("dp.replay.letter", letter_at.as_str()),
        ("dp.replay.origin", origin.as_str()),
        ("dp.replay.rows", "1"),
        ("dp.replay.attempt", "2"),
    ];
    publish_with(&pipeline, &document, &own);
    settle(&pipeline, "EVENTS-REPLAY-2");
    let attempts: Vec<String> = letters_with(&pipeline, "EVENTS.B")
        .iter()
        .map(|letter| letter.header("dp.attempts").unwrap())
        .collect();
    assert_eq!(attempts, ["1", "2"]);
    assert_eq!(rows(&pipeline, "market_ticks", "EVENTS.FORGED").len(), 1);
    for node in ["A", "C"] {
        let instrument = format!("MISO.EVENTS.{node}.RT5");
        assert_eq!(rows(&pipeline, "market_ticks", &instrument).len(), 1, "{instrument}");
    }
    pipeline.agree().unwrap();
}
