//! The second stage on a real broker and a real ClickHouse: foreign records in the topic of late ticks, and expired rows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod enriched_table;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aggregation::core::restate::RestateRules;
use aggregation::metrics::{RestateMeters, RestateTotals};
use aggregation::stages::outbox::{OutputTopics, Shared};
use aggregation::stages::restate::RestateHandler;
use codec::Wire;
use domain::{Decimal, Interval, LateTick, Micros, Origin};
use enriched_table::{MIDNIGHT, Row, SECOND, Setup, TOPIC, history, insert, server};
use localstack::Server;
use parking_lot::Mutex;
use stream::Brokers;
use stream::kafka::admin::{TopicSpec, create_topics};
use stream::kafka::groups::GroupReader;
use stream::kafka::producer::OrderedProducer;
use stream::kafka::reader::LogReader;
use stream::{Compression, Output, Pace, Partition, Shutdown, WorkerConfig, WorkerStatus};

const LATE: &str = "late";
const BARS: &str = "bars";
const DLQ: &str = "dlq";
const GROUP: &str = "restate-test";
const MINUTE: u8 = 0b1;
const ALL: u8 = 0b11111;

/// Offset of the late topic → code.
type Letters = BTreeMap<i64, String>;
/// Instrument, interval, start → versions as offset and closed, with their counts of ticks.
type Bars = BTreeMap<(String, &'static str, Micros), BTreeSet<(i64, bool, i64)>>;

struct Running {
    shutdown: Shutdown,
    status: Arc<WorkerStatus>,
    worker: std::thread::JoinHandle<Result<(), stream::StreamError>>,
}

impl Running {
    fn stop(self) {
        self.shutdown.request();
        self.worker.join().unwrap().unwrap();
    }
}

struct Stage {
    setup: Setup,
    bootstrap: Brokers,
    producer: OrderedProducer,
    totals: Arc<RestateTotals>,
}

impl Stage {
    /// Servers and topics, with `enriched` messages of any content in the enriched partition.
    fn new(enriched: usize) -> Stage {
        let setup = server();
        setup.stack.start(Server::Kafka).unwrap();
        setup.stack.wait_ready(Server::Kafka, Duration::from_secs(180)).unwrap();
        let bootstrap = Brokers::plaintext(&setup.stack.env()["DATA_PROC_KAFKA_BOOTSTRAP"]);
        let specs = [TOPIC, LATE, BARS, DLQ].map(|name| TopicSpec {
            name: name.to_owned(),
            partitions: 1,
            replication: 1,
            config: Vec::new(),
        });
        setup.runtime.block_on(create_topics(&bootstrap, &specs)).unwrap();
        let producer = OrderedProducer::new(&bootstrap, "test", Compression::Lz4);
        let stage = Stage {
            setup,
            bootstrap,
            producer,
            totals: Arc::default(),
        };
        for _ in 0..enriched {
            stage.send(TOPIC, b"x");
        }
        stage
    }

    fn send(&self, topic: &str, payload: &[u8]) {
        let output = Output {
            topic,
            partition: 0,
            key: Some(b"k"),
            payload: Some(payload),
            headers: &[],
        };
        self.producer.send(&output, || true).unwrap();
    }

    fn late(&self, late: &LateTick<'_>) {
        let mut payload = Vec::new();
        Wire::single_object().encode_late(late, &mut payload);
        self.send(LATE, &payload);
    }

    fn end(&self, topic: &str) -> i64 {
        let reader = LogReader::new(&self.bootstrap).unwrap();
        reader.log_range(&partition(topic)).unwrap().1
    }

    /// Runs the stage until it has committed the end of the late topic; returns what it has sent.
    fn run(&self) -> (Bars, Letters) {
        let last = self.producer.last_ticket();
        let deadline = Instant::now() + Duration::from_secs(180);
        while self.producer.acked_through() < last {
            assert!(Instant::now() < deadline, "the broker did not acknowledge the records");
            self.producer.serve(Duration::from_millis(10)).unwrap();
        }
        let running = self.start();
        let (end, group) = (self.end(LATE), GroupReader::new(&self.bootstrap, GROUP).unwrap());
        let committed = || group.lag(&[partition(LATE)]).unwrap()[0].committed;
        let deadline = Instant::now() + Duration::from_secs(30);
        while committed() != Some(end) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        let committed = committed();
        running.stop();
        assert_eq!(
            committed,
            Some(end),
            "the position continued; {:?}, {:?}",
            self.bars(),
            self.letters()
        );
        (self.bars(), self.letters())
    }

    fn start(&self) -> Running {
        let (shutdown, status) = (Shutdown::default(), WorkerStatus::new("restate".to_owned()));
        let worker = std::thread::spawn({
            let (shutdown, status) = (shutdown.clone(), Arc::clone(&status));
            let (config, totals) = (self.config(), Arc::clone(&self.totals));
            let (history, runtime) = (history(&self.setup.clickhouse), self.setup.runtime.handle().clone());
            move || {
                stream::worker::run(&config, &status, &shutdown, || {
                    let topics = OutputTopics {
                        bars: BARS.to_owned(),
                        late: LATE.to_owned(),
                        legs: "legs".to_owned(),
                        partitions: 1,
                        state: "state".to_owned(),
                    };
                    let rules = RestateRules {
                        intervals: ALL,
                        windows: 5_000,
                        linger: 100_000,
                    };
                    Ok(Box::new(RestateHandler::new(
                        rules,
                        history.clone(),
                        runtime.clone(),
                        Shared::new(Wire::single_object(), topics),
                        RestateMeters::new(Arc::clone(&totals)),
                    )))
                })
            }
        });
        Running {
            shutdown,
            status,
            worker,
        }
    }

    fn config(&self) -> WorkerConfig {
        WorkerConfig {
            service: "aggregation".to_owned(),
            generation: String::new(),
            bootstrap: self.bootstrap.clone(),
            group: GROUP.to_owned(),
            topics: vec![LATE.to_owned()],
            client_id: "restate".to_owned(),
            instance_id: None,
            recorder: None,
            dlq_topic: DLQ.to_owned(),
            compression: Compression::Lz4,
            drain_timeout: Duration::from_secs(10),
            pace: Pace::PROMPT,
        }
    }

    fn bars(&self) -> Bars {
        let (mut bars, wire) = (Bars::new(), Wire::single_object());
        self.read(BARS, |message| {
            let bar = wire.decode_bar(message.payload.unwrap()).unwrap();
            let key = (
                bar.instrument_id.to_owned(),
                bar.window.interval.name(),
                bar.window.start,
            );
            let version = (bar.version.last_offset, bar.version.closed, bar.trade_count);
            bars.entry(key).or_default().insert(version);
        });
        bars
    }

    fn letters(&self) -> Letters {
        let mut letters = Letters::new();
        self.read(DLQ, |message| {
            let text = |name| String::from_utf8(message.header(name).unwrap().to_vec()).unwrap();
            assert_eq!(text("__connect.errors.topic"), LATE);
            let offset = text("__connect.errors.offset").parse().unwrap();
            assert_eq!(
                letters.insert(offset, text("dp.error.code")),
                None,
                "one letter per record"
            );
            assert_eq!(message.key, Some(&b"k"[..]));
        });
        letters
    }

    fn read(&self, topic: &str, mut take: impl FnMut(&stream::Message<'_>)) {
        let (reader, partition) = (LogReader::new(&self.bootstrap).unwrap(), partition(topic));
        let (oldest, next) = reader.log_range(&partition).unwrap();
        let mut all = |message: &stream::Message<'_>| {
            take(message);
            true
        };
        reader.read(&partition, oldest, next, &mut all).unwrap();
    }
}

fn partition(topic: &str) -> Partition {
    Partition {
        topic: topic.into(),
        number: 0,
    }
}

/// The closed late tick of the row at this offset.
fn late_of(row: &Row, enriched_offset: i64, missed_intervals: u8) -> LateTick<'_> {
    LateTick {
        origin: Origin {
            feed: row.feed,
            partition: row.raw_partition,
            offset: enriched_offset,
            index: 0,
        },
        tenant_id: row.tenant_id,
        instrument_id: row.instrument_id,
        event_time: row.event_time,
        price: Decimal::ZERO,
        volume: None,
        missed_intervals,
        closed_intervals: missed_intervals,
        is_close: false,
        watermark: row.appended_at,
        enriched_offset,
    }
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(180);
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_the_server_refuses_is_shown_until_an_operator_has_corrected_it() {
    let stage = Stage::new(1);
    let rows = [Row {
        appended_at: MIDNIGHT + 86_400 * SECOND,
        ..Row::trade("A", MIDNIGHT)
    }];
    let (runtime, clickhouse) = (&stage.setup.runtime, &stage.setup.clickhouse);
    runtime.block_on(insert(&stage.setup.table, 0, 0, &rows));
    let rename = |from: &str, to: &str| {
        let database = clickhouse.database();
        let sql = format!("RENAME TABLE {database}.{from} TO {database}.{to}");
        runtime.block_on(clickhouse.exec(&sql)).unwrap();
    };
    rename("enriched_ticks", "hidden");
    stage.late(&late_of(&rows[0], 0, MINUTE));
    let running = stage.start();
    eventually("the missing table is named", || {
        stage.producer.serve(Duration::ZERO).unwrap();
        let refused = running.status.refused();
        let words = ["schema_missing", "enriched_ticks", "run `dp migrate`"];
        refused
            .get(&partition(LATE))
            .is_some_and(|text| words.iter().all(|word| text.contains(word)))
    });
    rename("hidden", "enriched_ticks");
    eventually("it is no longer shown", || running.status.refused().is_empty());
    eventually("the bar is sent", || stage.bars().len() == 1);
    running.stop();
}

#[test]
fn foreign_records_stop_nothing_and_cause_no_wrong_bar() {
    const A: &str = "A'\\ \"é\"";
    const FAR: i64 = 30 * 365 * 86_400;
    let rows: Vec<Row> = [(A, 0), (A, 60), ("B", 0), (A, 1), ("B", 61), (A, 86_399), ("C", FAR)]
        .into_iter()
        .map(|(instrument, second)| Row {
            appended_at: MIDNIGHT + 86_400 * SECOND,
            ..Row::trade(instrument, MIDNIGHT + second * SECOND)
        })
        .collect();
    let stage = Stage::new(rows.len());
    let table = &stage.setup.table;
    stage.setup.runtime.block_on(insert(table, 0, 0, &rows));
    let real = |offset: i64| late_of(&rows[offset as usize], offset, MINUTE);
    let far_off = LateTick {
        event_time: i64::MAX,
        ..real(0)
    };
    let records = [
        (
            LateTick {
                enriched_offset: 1 << 60,
                ..real(0)
            },
            "foreign_origin",
        ),
        (
            LateTick {
                enriched_offset: -1,
                ..real(0)
            },
            "foreign_origin",
        ),
        (
            LateTick {
                enriched_offset: 7,
                ..real(6)
            },
            "foreign_origin",
        ),
        (
            LateTick {
                missed_intervals: 0,
                ..real(0)
            },
            "no_interval",
        ),
        (far_off, "time_out_of_range"),
        (real(0), ""),
        // Existing rows of another instrument, tenant or time: one letter each, however many windows it requests.
        (
            LateTick {
                missed_intervals: ALL,
                closed_intervals: ALL,
                enriched_offset: 2,
                ..real(1)
            },
            "row_missing",
        ),
        (
            LateTick {
                tenant_id: "o\0ther",
                ..real(3)
            },
            "row_missing",
        ),
        (
            LateTick {
                event_time: MIDNIGHT - SECOND,
                ..real(3)
            },
            "row_missing",
        ),
        (real(3), ""),
        (real(4), ""),
        // It would hide the bar of offset 3 and its closing.
        (
            LateTick {
                enriched_offset: 4,
                closed_intervals: 0,
                ..real(3)
            },
            "row_missing",
        ),
        (real(2), ""),
        (real(6), ""),
    ];
    for (late, _) in &records {
        stage.late(late);
    }
    let (bars, letters) = stage.run();

    let expected: Letters = (0..)
        .zip(&records)
        .filter(|(_, (_, code))| !code.is_empty())
        .map(|(offset, (_, code))| (offset, (*code).to_owned()))
        .collect();
    assert_eq!(letters, expected);
    let bar = |instrument: &str, interval: Interval, second: i64, versions: &[(i64, bool, i64)]| {
        let start = MIDNIGHT + second * SECOND;
        let key = (instrument.to_owned(), interval.name(), start);
        (key, versions.iter().copied().collect())
    };
    let mut expected: Bars = [
        bar(A, Interval::OneMinute, 0, &[(3, true, 2)]),
        bar("B", Interval::OneMinute, 0, &[(2, true, 1)]),
        bar("B", Interval::OneMinute, 60, &[(4, true, 1)]),
        // Requested with an offset of B: the bar of A's rows before it, under A's own version.
        bar(A, Interval::OneMinute, 60, &[(1, true, 1)]),
    ]
    .into();
    for interval in [Interval::FiveMinutes, Interval::FifteenMinutes, Interval::OneHour] {
        expected.extend([bar(A, interval, 0, &[(1, true, 2)])]);
    }
    // No row of the log had closed the day, but the wall clock has.
    expected.extend([bar(A, Interval::OneDay, 0, &[(1, true, 2)])]);
    // Neither clock has closed this one, although its record says so.
    expected.extend([bar("C", Interval::OneMinute, FAR, &[(6, false, 1)])]);
    assert_eq!(bars, expected);
}

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct ToLog;

impl std::io::Write for ToLog {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn windows_with_expired_rows_keep_their_bars_and_are_counted_and_logged() {
    tracing_subscriber::fmt().with_ansi(false).with_writer(|| ToLog).init();
    const FAR: i64 = 30 * 365 * 86_400;
    let rows: Vec<Row> = [("D", 0), ("A", 0), ("A", 1), ("B", 3_600), ("C", FAR), ("A", FAR)]
        .into_iter()
        .map(|(instrument, second)| Row::trade(instrument, MIDNIGHT + second * SECOND))
        .collect();
    let stage = Stage::new(rows.len());
    let Setup {
        table,
        clickhouse,
        runtime,
        ..
    } = &stage.setup;
    runtime.block_on(async {
        insert(table, 0, 0, &rows[..2]).await;
        insert(table, 0, 2, &rows[2..]).await;
        let expire = "ALTER TABLE market_data.enriched_ticks DELETE WHERE src_offset < 2 SETTINGS mutations_sync = 2";
        clickhouse.exec(expire).await.unwrap();
    });
    // Its own row has expired; a row of its window has; none has, but this cannot be known; and two that are certainly whole.
    for offset in [0, 2, 3, 4, 5] {
        stage.late(&late_of(&rows[offset], offset as i64, MINUTE));
    }
    let (bars, letters) = stage.run();
    assert_eq!(letters, Letters::new());
    let bar = |offset: usize| {
        let key = (
            rows[offset].instrument_id.to_owned(),
            "1m",
            rows[offset].window(Interval::OneMinute).start,
        );
        (key, BTreeSet::from([(offset as i64, false, 1)]))
    };
    assert_eq!(bars, Bars::from([bar(4), bar(5)]));
    assert_eq!(stage.totals.counts(), [2, 3, 0]);
    let log = String::from_utf8(LOG.lock().clone()).unwrap();
    let logged = log.lines().filter(|line| line.contains("restate_expired"));
    let logged: BTreeSet<char> = logged
        .map(|line| {
            assert!(line.contains("build a new generation from the raw log"), "{line}");
            let (_, rest) = line.split_once("instrument_id=").unwrap();
            rest.chars().next().unwrap()
        })
        .collect();
    assert_eq!(logged, BTreeSet::from(['A', 'B', 'D']), "{log}");
}

/// Every window is of a time whose rows have expired: the table of bars shows which windows have lost some.
#[test]
fn archives_have_their_bars_although_older_rows_have_expired() {
    const DAY: i64 = 86_400;
    let rows: Vec<Row> = [
        ("LOST", -10 * DAY, 0),
        ("OLDEST", 0, DAY),
        ("LOST", -10 * DAY, DAY),
        ("ARCHIVE", -1_000 * DAY, DAY),
        ("KEPT", -2 * DAY, DAY),
        ("KEPT", -2 * DAY + 1, DAY),
        // Its window had not closed before the oldest remaining row, so it cannot be checked.
        ("RECENT", DAY, DAY),
    ]
    .into_iter()
    .map(|(instrument, second, appended)| Row {
        appended_at: MIDNIGHT + appended * SECOND,
        ..Row::trade(instrument, MIDNIGHT + second * SECOND)
    })
    .collect();
    let stage = Stage::new(rows.len());
    let Setup {
        table,
        clickhouse,
        runtime,
        ..
    } = &stage.setup;
    runtime.block_on(async {
        insert(table, 0, 0, &rows[..1]).await;
        insert(table, 0, 1, &rows[1..]).await;
        // The bars that were computed while all rows existed.
        let stored = [(0, "LOST"), (4, "KEPT")].map(|(offset, instrument)| {
            let start = rows[offset].window(Interval::OneMinute).start;
            let (time, appended) = (rows[offset].event_time, rows[offset].appended_at);
            format!(
                "('acme', '{instrument}', '1m', fromUnixTimestamp64Micro({start}), fromUnixTimestamp64Micro({}), 'ICE', \
                 '0.00000001', '0.00000001', '0.00000001', '0.00000001', '0.00000001', '0.0000000000000001', '0.00000001', NULL, 0, 0, 1, \
                 fromUnixTimestamp64Micro({time}), 'feed.a', 0, 0, 0, fromUnixTimestamp64Micro({time}), 'feed.a', 0, 0, 0, 1, '', true, {}, \
                 fromUnixTimestamp64Micro({appended}), 0, {offset}, now64(6))",
                start + 60 * SECOND,
                offset * 2 + 1
            )
        });
        let insert = format!("INSERT INTO market_data.bars VALUES {}", stored.join(", "));
        clickhouse.exec(&insert).await.unwrap();
        let expire = "ALTER TABLE market_data.enriched_ticks DELETE WHERE src_offset < 1 SETTINGS mutations_sync = 2";
        clickhouse.exec(expire).await.unwrap();
    });
    for offset in [2, 3, 5, 6] {
        stage.late(&late_of(&rows[offset], offset as i64, MINUTE));
    }
    let (bars, letters) = stage.run();
    assert_eq!(letters, Letters::new());
    let bar = |offset: usize, ticks: i64| {
        let start = rows[offset].window(Interval::OneMinute).start;
        let key = (rows[offset].instrument_id.to_owned(), "1m", start);
        (key, BTreeSet::from([(offset as i64, true, ticks)]))
    };
    assert_eq!(bars, Bars::from([bar(3, 1), bar(5, 2)]));
    assert_eq!(stage.totals.counts(), [2, 2, 0]);
}
