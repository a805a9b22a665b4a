#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::json;

use super::*;
use crate::metrics::Counts;

const NOON: Micros = 1_790_942_400_000_000;

fn stage() -> Normalize {
    let limits = WindowLimits {
        micros: 300_000_000,
        max_ids: 1_000,
    };
    stage_of(limits, Arc::default())
}

fn stage_of(limits: WindowLimits, forgotten: Arc<AtomicU64>) -> Normalize {
    Normalize::new(
        NormalizerConfig::default(),
        limits,
        4,
        forgotten,
        Replays::new(&stream::Brokers::plaintext("")),
    )
}

fn raw(payload: &[u8], offset: i64) -> RawMessage<'_> {
    RawMessage {
        feed: "ingestion.market.raw.v1",
        partition: 0,
        offset,
        appended_at: NOON + offset,
        key: None,
        payload,
        format: None,
        tenant: None,
        replay: None,
    }
}

fn tick(event_id: &str, instrument: &str) -> Vec<u8> {
    json!({
        "envelope": {"event_type": "t", "event_id": event_id, "timestamp": "2026-10-01T00:00:00Z", "tenant_id": "acme", "source": "s", "version": "1.0"},
        "payload": {"market": "MISO", "instrument_id": instrument, "raw_data": {"timestamp": NOON, "price": 31.55, "volume": 1}}
    })
    .to_string()
    .into_bytes()
}

fn document() -> Vec<u8> {
    let row = |node: &str, price: &str| json!(["2026-10-02T05:00:00", node, price, "0.00", "0.00"]);
    json!({"headers": ["INTERVAL", "CPNODE", "LMP", "MLC", "MCC"], "data": [row("A", "1.00"), row("B", "oops"), row("C", "2.00"), row("", "1")]})
        .to_string()
        .into_bytes()
}

fn outputs(out: &StageOutput<'_>) -> Vec<(i32, String, String)> {
    let wire = Wire::single_object();
    out.iter()
        .map(|(partition, key, payload)| {
            let tick = wire.decode_tick(payload).unwrap();
            (
                partition,
                String::from_utf8(key.to_vec()).unwrap(),
                format!("{} {}", tick.origin, tick.price),
            )
        })
        .collect()
}

#[test]
fn a_tick_is_written_to_the_partition_of_its_key_with_its_origin() {
    let (mut stage, mut out) = (stage(), StageOutput::default());
    assert_eq!(
        stage.record(&raw(&tick("e", "NG_HH"), 7), &mut out, NOON),
        Verdict::Done
    );
    let partition = partition_of(b"acme|NG_HH", 4);
    assert_eq!(
        outputs(&out),
        [(
            partition,
            "acme|NG_HH".to_owned(),
            "ingestion.market.raw.v1/0/7/0 31.55".to_owned()
        )]
    );
    assert_eq!(
        stage.counts(),
        Counts {
            parsed: 1,
            emitted: 1,
            ..Counts::default()
        }
    );
}

#[test]
fn a_repeated_event_is_counted_and_not_emitted() {
    let (mut stage, mut out) = (stage(), StageOutput::default());
    stage.record(&raw(&tick("e", "A"), 0), &mut out, NOON);
    out.clear();
    assert_eq!(
        stage.record(&raw(&tick("e", "A"), 1), &mut out, NOON),
        Verdict::Duplicate
    );
    assert!(out.is_empty());
    assert_eq!(
        stage.counts(),
        Counts {
            parsed: 2,
            emitted: 1,
            duplicates: 1,
            ..Counts::default()
        }
    );

    let elsewhere = RawMessage {
        partition: 1,
        ..raw(b"", 0)
    };
    let payload = tick("e", "A");
    stage.record(
        &RawMessage {
            payload: &payload,
            ..elsewhere
        },
        &mut out,
        NOON,
    );
    assert_eq!(out.len(), 1, "another raw partition has its own window");
}

#[test]
fn an_id_used_by_two_tenants_is_two_events_and_an_id_used_for_two_prices_is_flagged() {
    let (mut stage, mut out) = (stage(), StageOutput::default());
    let message = |tenant: &str, price: &str, correlation_id: &str| {
        let payload = String::from_utf8(tick("e", "A")).unwrap();
        payload.replace("acme", tenant).replace("31.55", price).replace(
            "\"envelope\":{",
            &format!("\"envelope\":{{\"correlation_id\":\"{correlation_id}\","),
        )
    };
    let messages = [
        message("acme", "31.55", "c1"),
        message("zeta", "31.55", "c1"),
        message("acme", "31.550", "c2"),
        message("acme", "30", "c1"),
        message("acme", "31.55", "c3"),
    ];
    for (offset, payload) in (0..).zip(&messages) {
        stage.record(&raw(payload.as_bytes(), offset), &mut out, NOON);
    }
    let wire = Wire::single_object();
    let emitted: Vec<(i64, bool)> = out
        .iter()
        .map(|(_, _, payload)| {
            let tick = wire.decode_tick(payload).unwrap();
            let is_flagged = tick.quality_flags.contains(domain::QualityFlag::EventIdReused);
            (tick.origin.offset, is_flagged)
        })
        .collect();
    assert_eq!(emitted, [(0, false), (1, false), (3, true)]);
    assert_eq!((stage.counts().emitted, stage.counts().duplicates), (3, 2));
}

#[test]
fn events_that_a_flood_pushes_out_are_counted_once_even_if_they_are_read_back() {
    let limits = WindowLimits {
        micros: 300_000_000,
        max_ids: 10,
    };
    let (forgotten, mut out) = (Arc::new(AtomicU64::new(0)), StageOutput::default());
    let mut first = stage_of(limits, Arc::clone(&forgotten));
    let messages: Vec<Vec<u8>> = (0..14).map(|number| tick(&format!("e-{number}"), "A")).collect();
    for (offset, payload) in (0..).zip(&messages) {
        first.record(&raw(payload, offset), &mut out, NOON);
    }
    first.turn().unwrap();
    first.turn().unwrap();
    assert_eq!(forgotten.load(std::sync::atomic::Ordering::Relaxed), 4);

    let mut next = stage_of(limits, Arc::clone(&forgotten));
    for (offset, payload) in (0..).zip(&messages) {
        next.remember(&raw(payload, offset));
    }
    out.clear();
    next.record(&raw(&messages[3], 14), &mut out, NOON);
    next.turn().unwrap();
    assert_eq!(out.len(), 1, "the event was forgotten, so it passes as new");
    assert_eq!(forgotten.load(std::sync::atomic::Ordering::Relaxed), 5);
}

#[test]
fn a_message_that_was_read_back_counts_as_an_earlier_one() {
    let (mut stage, mut out) = (stage(), StageOutput::default());
    stage.remember(&raw(&tick("e", "A"), 0));
    stage.remember(&raw(b"not json", 1));
    stage.record(&raw(&tick("e", "A"), 2), &mut out, NOON);
    assert!(out.is_empty());
    assert_eq!(
        stage.counts(),
        Counts {
            parsed: 1,
            duplicates: 1,
            ..Counts::default()
        }
    );
}

#[test]
fn a_dead_letter_is_not_remembered_in_the_event_window() {
    let (mut stage, mut out) = (stage(), StageOutput::default());
    let broken = String::from_utf8(tick("e", "A")).unwrap().replace("31.55", "\"abc\"");
    let Verdict::DeadLetter(rejected) = stage.record(&raw(broken.as_bytes(), 0), &mut out, NOON) else {
        panic!("not rejected")
    };
    assert_eq!(
        (rejected.code, rejected.correlation_id.as_str(), rejected.attempts),
        ("invalid_price", "e", 1)
    );
    assert!(rejected.rows.is_empty() && out.is_empty());
    stage.record(&raw(&tick("e", "A"), 1), &mut out, NOON);
    assert_eq!(out.len(), 1);
    assert_eq!(
        stage.counts(),
        Counts {
            parsed: 1,
            dead_lettered: 1,
            emitted: 1,
            ..Counts::default()
        }
    );
}

#[test]
fn the_rejected_rows_of_a_document_become_one_dead_letter_and_the_others_ticks() {
    let (mut stage, mut out) = (stage(), StageOutput::default());
    let payload = document();
    let message = RawMessage {
        format: Some("miso.rt5.expost.json"),
        ..raw(&payload, 3)
    };
    let Verdict::DeadLetter(rejected) = stage.record(&message, &mut out, NOON) else {
        panic!("nothing rejected")
    };
    assert_eq!(
        (rejected.code, rejected.rows.text(100).as_str()),
        ("invalid_price", "1,3")
    );
    assert!(
        rejected
            .message
            .starts_with("2 of 4 rows rejected: row 1: invalid_price: LMP is \"oops\""),
        "{}",
        rejected.message
    );
    let origins: Vec<String> = outputs(&out)
        .into_iter()
        .map(|(_, key, text)| format!("{key} {text}"))
        .collect();
    assert_eq!(
        origins,
        [
            "default|MISO.A.RT5 ingestion.market.raw.v1/0/3/0 1",
            "default|MISO.C.RT5 ingestion.market.raw.v1/0/3/2 2"
        ]
    );
    assert_eq!(
        stage.counts(),
        Counts {
            parsed: 1,
            emitted: 2,
            rejected: 2,
            ..Counts::default()
        }
    );

    out.clear();
    stage.record(&RawMessage { offset: 4, ..message }, &mut out, NOON);
    assert_eq!(
        stage.counts(),
        Counts {
            parsed: 2,
            emitted: 2,
            rejected: 2,
            duplicates: 4,
            ..Counts::default()
        }
    );

    let replay = Some(Replay {
        letter: 0,
        origin: "ingestion.market.raw.v1/0/3",
        rows: "1,3",
        attempt: 2,
        held: false,
    });
    let Verdict::DeadLetter(again) = stage.record(
        &RawMessage {
            offset: 5,
            replay,
            ..message
        },
        &mut out,
        NOON,
    ) else {
        panic!("nothing rejected")
    };
    assert_eq!((again.rows.text(100).as_str(), again.attempts), ("1,3", 2));
    assert!(
        out.is_empty(),
        "a replay emits none of the rows that were accepted before"
    );
}

#[test]
fn a_dead_letter_has_the_line_code_and_reason_of_each_rejected_row() {
    let (mut stage, mut out) = (stage(), StageOutput::default());
    let header = "Time Stamp,Name,PTID,LBMP ($/MWHr),Marginal Cost Losses ($/MWHr),Marginal Cost Congestion ($/MWHr)";
    let rows: Vec<String> = (0..12)
        .map(|row| {
            let (time, price) = match row {
                1 | 4 | 9 => ("10/01/2026 00:05:00", "oops"),
                2 | 5 | 6 => ("10/01/2026 25:05:00", "30.00"),
                7 => ("10/01/2026 00:05:00", ""),
                _ => ("10/01/2026 00:05:00", "30.00"),
            };
            format!("\"{time}\",\"ZONE {row}\",{},{price},1.00,0.00", 61_752 + row)
        })
        .collect();
    let payload = format!("{header}\n{}\n", rows.join("\n"));
    let message = RawMessage {
        format: Some("nyiso.realtime_zone.csv"),
        ..raw(payload.as_bytes(), 3)
    };
    let Verdict::DeadLetter(rejected) = stage.record(&message, &mut out, NOON) else {
        panic!("nothing rejected")
    };
    assert_eq!((rejected.rows.text(100).as_str(), out.len()), ("1-2,4-7,9", 5));
    let reasons: Vec<(i32, &str)> = rejected
        .reasons
        .iter()
        .map(|row| (row.row, row.code.as_str()))
        .collect();
    let (price, time, missing) = ("invalid_price", "invalid_time", "missing_price");
    assert_eq!(
        reasons,
        [
            (1, price),
            (2, time),
            (4, price),
            (5, time),
            (6, time),
            (7, missing),
            (9, price)
        ]
    );
    for row in &rejected.reasons {
        // The header is line 1.
        let line = format!("line {}: ", row.row + 2);
        assert!(row.reason.starts_with(&line), "{row:?}");
    }
    assert!(rejected.reasons[0].reason.contains("oops"), "{:?}", rejected.reasons[0]);
}

/// The flags of the ticks of the last message.
fn flags(out: &StageOutput<'_>) -> Vec<String> {
    let wire = Wire::single_object();
    let of_tick = |payload: &[u8]| {
        let flags = wire.decode_tick(payload).unwrap().quality_flags;
        flags.iter().map(|flag| flag.name()).collect::<Vec<_>>().join(" ")
    };
    out.iter().map(|(_, _, payload)| of_tick(payload)).collect()
}

fn priced(number: i64, price: f64) -> Vec<u8> {
    json!({
        "envelope": {"event_type": "t", "event_id": number.to_string(), "timestamp": "2026-10-01T00:00:00Z", "tenant_id": "acme", "source": "s", "version": "1.0"},
        "payload": {"market": "MISO", "instrument_id": "I", "raw_data": {"timestamp": NOON + number, "price": price, "volume": 1, "node": "N", "zone": "Z"}}
    })
    .to_string()
    .into_bytes()
}

#[test]
fn the_history_of_quality_rules_is_rebuilt_from_what_is_read_back() {
    let document = json!({"headers": ["INTERVAL", "CPNODE", "LMP", "MLC", "MCC"], "data": [["2026-10-02T05:00:00", "A", "1.00", "0.00", "0.00"]]});
    let documents = [document.to_string(), format!("{document} ")];
    let of_document = |number: usize| RawMessage {
        format: Some("miso.rt5.expost.json"),
        ..raw(documents[number].as_bytes(), 10 + number as i64)
    };
    let (mut running, mut restarted, mut out) = (stage(), stage(), StageOutput::default());
    for number in 0..4 {
        let payload = priced(number, 100.0);
        running.record(&raw(&payload, number), &mut out, NOON);
        restarted.remember(&raw(&payload, number));
    }
    running.record(&of_document(0), &mut out, NOON);
    restarted.remember(&of_document(0));
    for (mut tried, knows) in [(running, true), (restarted, true), (stage(), false)] {
        let known = |flag| if knows { flag } else { "valid" };
        out.clear();
        tried.record(&raw(&priced(20, 500.0), 20), &mut out, NOON);
        assert_eq!(flags(&out), [known("price_spike")]);
        out.clear();
        tried.record(&of_document(1), &mut out, NOON);
        let late = if knows {
            "late_arrival duplicate"
        } else {
            "late_arrival"
        };
        assert_eq!(flags(&out), [late], "the same row in another document");
    }
}

/// With the events in files, nothing would have to be read back, but for the prices.
#[test]
fn a_process_that_has_its_events_in_files_reads_the_last_prices_back_and_learns_no_repetition() {
    let folder = tempfile::tempdir().unwrap();
    let partition = Partition {
        topic: "ingestion.market.raw.v1".into(),
        number: 0,
    };
    let time_at = |offset: i64| Some(NOON + offset);
    let begun = |memory: i64, committed: i64| {
        let mut stage = stage().keeping_windows_in(Some(folder.path().to_owned()));
        let range = ReadBack {
            memory,
            learns: 0,
            committed,
        };
        let from = stage.recall(&partition, range, &time_at);
        (stage, from)
    };
    // The price of 500 occurs once, and its message comes six times.
    let prices = [100.0, 101.0, 500.0, 500.0, 500.0, 500.0, 500.0, 500.0, 100.0];
    let message = |offset: i64| priced(offset.min(2).max(offset - 5), prices[offset as usize]);
    let committed = prices.len() as i64;
    let (mut running, from) = begun(0, 0);
    assert_eq!(from, 0);
    let mut out = StageOutput::default();
    for offset in 0..committed {
        running.record(&raw(&message(offset), offset), &mut out, NOON);
    }
    assert_eq!(outputs(&out).len(), 4);
    running.forget(&partition);

    // The window of one process begins after the first message with the price of 500, but learning begins before it.
    let restart = |memory: i64| {
        let (mut restarted, from) = begun(memory, committed);
        assert_eq!(from, 0, "within the messages that are learned");
        for offset in from..committed {
            restarted.remember(&raw(&message(offset), offset));
        }
        restarted
    };
    let mut short = restart(5);
    out.clear();
    short.record(&raw(&priced(20, 500.0), 20), &mut out, NOON);
    assert_eq!(flags(&out), ["price_spike"], "of prices before the window");
    short.forget(&partition);
    let mut restarted = restart(0);
    // 100 and 101 are in the middle: had the repetitions been learned, it would be 500.
    out.clear();
    restarted.record(&raw(&priced(20, 500.0), 20), &mut out, NOON);
    assert_eq!(flags(&out), ["price_spike"]);
    out.clear();
    let verdict = restarted.record(&raw(&priced(20, 500.0), 21), &mut out, NOON);
    assert_eq!(verdict, Verdict::Duplicate);
    // Prices of a partition that another process reads are dropped.
    restarted.forget(&partition);
    restarted.record(&raw(&priced(30, 900.0), 30), &mut out, NOON);
    assert_eq!(flags(&out), ["valid"]);
}

/// A stage that holds the messages of acme that were appended from [`FROM`] to [`TO`], as the one order says that the topic keeps.
fn holding() -> Normalize {
    let order = r#"{"paused":false,"since":"2026-10-02T12:02:00Z","by":"ann",
        "held":[{"from":"2026-10-02T12:00:00.000010Z","to":"2026-10-02T12:00:00.000020Z"}]}"#;
    let mut book = service::control::order::Book::default();
    book.take(Some(b"tenant:acme"), Some(order.as_bytes())).unwrap();
    let tenants = HeldTenants::default();
    tenants.follow(&book);
    stage().holding(Arc::new(tenants))
}

const FROM: i64 = 10;
const TO: i64 = 20;

fn of_letter(attempt: u32, held: bool) -> Option<Replay<'static>> {
    Some(Replay {
        letter: 0,
        origin: "ingestion.market.raw.v1/0/10",
        rows: "",
        attempt,
        held,
    })
}

fn held_rows(verdict: Verdict) -> (String, u32) {
    let Verdict::DeadLetter(rejected) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!((rejected.code, rejected.tenant.as_str()), ("tenant_paused", "acme"));
    assert!(
        rejected.message.contains("dp resume --tenant acme"),
        "{}",
        rejected.message
    );
    (rejected.rows.text(100), rejected.attempts)
}

#[test]
fn messages_of_a_paused_tenant_are_held_and_those_of_others_flow() {
    let (mut stage, mut out) = (holding(), StageOutput::default());
    assert_eq!(service::control::order::HELD_CODE, RejectCode::TenantPaused.name());
    let of = |offset: i64, tenant: &str| {
        String::from_utf8(tick(&offset.to_string(), "A"))
            .unwrap()
            .replace("acme", tenant)
    };
    for (offset, tenant, is_held) in [
        (FROM - 1, "acme", false),
        (FROM, "acme", true),
        (FROM + 1, "beta", false),
        (TO - 1, "acme", true),
        (TO, "acme", false),
    ] {
        let payload = of(offset, tenant);
        let verdict = stage.record(&raw(payload.as_bytes(), offset), &mut out, NOON);
        assert_eq!(verdict != Verdict::Done, is_held, "{offset}");
        if is_held {
            assert_eq!(held_rows(verdict), (String::new(), 1));
        }
    }
    assert_eq!(outputs(&out).len(), 3);
    // What is malformed has its own code.
    let Verdict::DeadLetter(rejected) = stage.record(&raw(b"{", FROM + 2), &mut out, NOON) else {
        panic!("accepted");
    };
    assert_eq!(rejected.code, "broken_json");
    let expected = Counts {
        parsed: 3,
        emitted: 3,
        dead_lettered: 3,
        ..Counts::default()
    };
    assert_eq!(stage.counts(), expected);
}

/// However late the replay comes, and whatever was read back before.
#[test]
fn a_held_message_and_its_retries_are_one_tick_after_the_replay() {
    let event = tick("e", "A");
    let replay = |offset: i64, attempt: u32| RawMessage {
        replay: of_letter(attempt, true),
        ..raw(&event, offset)
    };
    for is_restarted in [false, true] {
        let (mut stage, mut out) = (holding(), StageOutput::default());
        if is_restarted {
            stage.remember(&raw(&event, FROM));
        } else {
            held_rows(stage.record(&raw(&event, FROM), &mut out, NOON));
        }
        let retry = stage.record(&raw(&event, FROM + 1), &mut out, NOON);
        assert_eq!(retry, Verdict::Duplicate, "there is no second letter");
        // The replay of a tenant that is still paused is held again.
        assert_eq!(
            held_rows(stage.record(&replay(TO - 1, 2), &mut out, NOON)),
            (String::new(), 2)
        );
        assert_eq!(stage.record(&raw(&event, TO), &mut out, NOON), Verdict::Duplicate);
        assert!(out.is_empty());
        assert_eq!(stage.record(&replay(TO + 1, 3), &mut out, NOON), Verdict::Done);
        assert_eq!(stage.record(&replay(TO + 2, 3), &mut out, NOON), Verdict::Duplicate);
        assert_eq!(outputs(&out).len(), 1);
    }
    // One whose event was emitted before the pause is a repetition, and gets no letter.
    let (mut stage, mut out) = (holding(), StageOutput::default());
    assert_eq!(stage.record(&raw(&event, FROM - 1), &mut out, NOON), Verdict::Done);
    assert_eq!(stage.record(&raw(&event, FROM), &mut out, NOON), Verdict::Duplicate);
}

/// A process is killed after it has sent ticks and letters, before it commits; the next one knows the end of the pause as well.
#[test]
fn a_process_that_reads_messages_again_holds_the_same_ones() {
    let order = r#"{"paused":true,"since":"2026-10-02T11:59:50.000010Z","by":"ann"}"#;
    let mut book = service::control::order::Book::default();
    book.take(Some(b"tenant:acme"), Some(order.as_bytes())).unwrap();
    let tenants = HeldTenants::default();
    tenants.follow(&book);
    let run = |mut stage: Normalize| -> Vec<bool> {
        let mut out = StageOutput::default();
        let mut is_held = |offset: i64| {
            let payload = tick(&offset.to_string(), "A");
            matches!(
                stage.record(&raw(&payload, offset), &mut out, NOON),
                Verdict::DeadLetter(_)
            )
        };
        (FROM - 2..TO).map(&mut is_held).collect()
    };
    assert_eq!(run(stage().holding(Arc::new(tenants))), run(holding()));
}

#[test]
fn documents_are_held_whole_and_a_replay_of_rows_keeps_its_rows() {
    let (mut stage, mut out) = (holding(), StageOutput::default());
    let payload = document();
    let at = |offset: i64| RawMessage {
        format: Some("miso.rt5.expost.json"),
        tenant: Some("acme"),
        ..raw(&payload, offset)
    };
    assert_eq!(held_rows(stage.record(&at(FROM), &mut out, NOON)), (String::new(), 1));
    let rows = RawMessage {
        replay: of_letter(4, false).map(|replay| Replay { rows: "1,3", ..replay }),
        ..at(FROM + 1)
    };
    assert_eq!(held_rows(stage.record(&rows, &mut out, NOON)), ("1,3".to_owned(), 4));
    assert!(out.is_empty());
    let whole = RawMessage {
        replay: of_letter(2, true),
        ..at(TO)
    };
    let Verdict::DeadLetter(rejected) = stage.record(&whole, &mut out, NOON) else {
        panic!("two rows cannot be read");
    };
    assert_eq!((rejected.rows.text(100).as_str(), outputs(&out).len()), ("1,3", 2));
}
