//! Aggregation on a real broker: two workers, one of which fails repeatedly at any point; the bars of the log are exact. Derived prices of a
//! backlog of days are complete, although one of its partitions is read to its end long before the other one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aggregation::config::{Config, DerivedConfig};
use aggregation::core::log_clock::{Times, WindowRules};
use aggregation::metrics::DerivedMeters;
use aggregation::stages::aggregate::Aggregator;
use aggregation::stages::derived::Derive;
use aggregation::stages::outbox::OutputTopics;
use aggregation::view::Views;
use codec::Wire;
use domain::{Classification, Decimal, EnrichedTick, Enrichment, Interval, Micros, Origin, Tick};
use localstack::{Server, Temporary};
use stream::Brokers;
use stream::hop::Hop;
use stream::kafka::admin::{TopicSpec, create_topics};
use stream::kafka::producer::OrderedProducer;
use stream::kafka::reader::LogReader;
use stream::{
    Compression, Handler, Io, Message, Outcome, Output, Pace, Partition, Shutdown, StreamError, WorkerConfig,
    WorkerStatus,
};

const SECOND: Micros = 1_000_000;
/// 2023-11-15T12:00:00Z.
const NOON: Micros = 1_700_049_600 * SECOND;
const PARTITIONS: i32 = 2;
const TICKS: i64 = 4000;
const RAW: &str = "raw";
const ENRICHED: &str = "enriched";
const BARS: &str = "bars";
const LATE: &str = "late";
const STATE: &str = "state";
const LEGS: &str = "legs";
const DERIVED: &str = "derived";
/// Five days, of a hold time of one.
const HOURS: i64 = 120;
/// Ticks of each hour that one partition has besides its leg.
const OTHERS: i64 = 50;

/// Count and volume, which show lost and doubled ticks.
type Sums = BTreeMap<BarKey, (i64, i128)>;
type BarKey = (String, Interval, Micros);

#[test]
fn bars_are_exact_after_failures_at_any_point_with_a_second_worker() {
    let (_stack, bootstrap) = broker();
    let expected = publish(&bootstrap);
    write_foreign_state(&bootstrap);

    let shutdown = Shutdown::default();
    let failures_left = Arc::new(AtomicUsize::new(4));
    let views = Arc::new(Views::default());
    let workers: Vec<_> = (0..2)
        .map(|number| {
            let config = worker_config(&bootstrap, number);
            let (shutdown, failures_left, views) = (shutdown.clone(), Arc::clone(&failures_left), Arc::clone(&views));
            std::thread::spawn(move || {
                let status = WorkerStatus::new(format!("aggregate-{number}"));
                stream::worker::run(&config, &status, &shutdown, || {
                    let fails_after = Some(350);
                    Ok(Box::new(Failing {
                        inner: aggregator(&views, settings("")),
                        fails_after,
                        failures_left: Arc::clone(&failures_left),
                    }))
                })
            })
        })
        .collect();

    let deadline = Instant::now() + Duration::from_secs(120);
    let mut newest = newest_bars(&bootstrap);
    while newest != expected && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(200));
        newest = newest_bars(&bootstrap);
    }
    shutdown.request();
    for worker in workers {
        worker.join().unwrap().unwrap();
    }
    assert_eq!(newest.len(), expected.len());
    for (key, sums) in &expected {
        assert_eq!(newest.get(key), Some(sums), "{key:?}");
    }
    assert_eq!(
        failures_left.load(Ordering::Relaxed),
        0,
        "the worker must fail four times"
    );
    assert_eq!(count(&bootstrap, LATE), 0);
}

#[test]
fn derived_prices_of_a_backlog_of_days_are_complete_however_far_apart_its_partitions_are_read() {
    let (_stack, bootstrap) = broker();
    let expected = publish_days(&bootstrap);
    let (shutdown, series) = (Shutdown::default(), "basis:basis:local=L:reference=R");
    let run = |config: WorkerConfig, mut make: Box<dyn FnMut() -> Box<dyn Handler> + Send>| {
        let shutdown = shutdown.clone();
        std::thread::spawn(move || {
            let status = WorkerStatus::new(config.client_id.clone());
            stream::worker::run(&config, &status, &shutdown, || Ok(make()))
        })
    };
    let views = Arc::new(Views::default());
    let first = run(
        worker_config(&bootstrap, 0),
        Box::new(move || Box::new(aggregator(&views, settings(series))) as Box<dyn Handler>),
    );
    let of_legs = WorkerConfig {
        group: "derived-test".to_owned(),
        topics: vec![LEGS.to_owned()],
        ..worker_config(&bootstrap, 1)
    };
    let second = run(
        of_legs,
        Box::new(move || Box::new(derive(&settings(series).derived)) as Box<dyn Handler>),
    );
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut found = newest_values(&bootstrap);
    while found != expected && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(200));
        found = newest_values(&bootstrap);
    }
    shutdown.request();
    for worker in [first, second] {
        worker.join().unwrap().unwrap();
    }
    assert_eq!(found, expected);
}

fn broker() -> (Temporary, Brokers) {
    let stack = Temporary::new().unwrap();
    stack.start(Server::Kafka).unwrap();
    stack.wait_ready(Server::Kafka, Duration::from_secs(180)).unwrap();
    let bootstrap = Brokers::plaintext(&stack.env()["DATA_PROC_KAFKA_BOOTSTRAP"]);
    make_topics(&bootstrap);
    (stack, bootstrap)
}

/// Fails with a transient error after some messages, at any step of a checkpoint: the worker drops it with all outputs in
/// flight.
struct Failing {
    inner: Aggregator,
    fails_after: Option<u32>,
    failures_left: Arc<AtomicUsize>,
}

impl Handler for Failing {
    fn assigned(&mut self, io: &mut Io<'_>, partitions: &[Partition]) -> Result<(), StreamError> {
        self.inner.assigned(io, partitions)
    }

    fn message(&mut self, io: &mut Io<'_>, message: &Message<'_>) -> Result<Outcome, StreamError> {
        let outcome = self.inner.message(io, message)?;
        self.fails_after = self.fails_after.map(|messages| messages.saturating_sub(1));
        let takes_one = |left: usize| left.checked_sub(1);
        if self.fails_after == Some(0)
            && self
                .failures_left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, takes_one)
                .is_ok()
        {
            return Err(StreamError::transient("test", "injected failure"));
        }
        Ok(outcome)
    }

    fn turn(&mut self, io: &mut Io<'_>) -> Result<(), StreamError> {
        self.inner.turn(io)
    }

    fn revoked(&mut self, io: &mut Io<'_>, partitions: &[Partition]) -> Result<(), StreamError> {
        self.inner.revoked(io, partitions)
    }
}

/// The settings with these derived series.
fn settings(series: &str) -> Config {
    let env = service::Env::from([("AGGREGATION_DERIVED_SERIES".to_owned(), series.to_owned())]);
    Config {
        rules: WindowRules {
            intervals: 0b11111,
            at_once: Times {
                close_after: 30 * SECOND,
                forget_after: 330 * SECOND,
            },
            after_interval: Times {
                close_after: 900 * SECOND,
                forget_after: 3600 * SECOND,
            },
            idle_close: 120 * SECOND,
        },
        checkpoint_interval: Duration::from_millis(20),
        ..aggregation::config::read(&mut service::Reader::new(&env))
    }
}

fn derive(config: &DerivedConfig) -> Hop<Derive> {
    let stage = Derive::new(config, Wire::single_object(), DerivedMeters::default());
    Hop::new(stage, DERIVED.to_owned())
}

fn aggregator(views: &Arc<Views>, settings: Config) -> Aggregator {
    let topics = OutputTopics {
        bars: BARS.to_owned(),
        late: LATE.to_owned(),
        legs: LEGS.to_owned(),
        partitions: 1,
        state: STATE.to_owned(),
    };
    Aggregator::new(settings, Wire::single_object(), topics, ENRICHED, views)
}

fn worker_config(bootstrap: &Brokers, number: usize) -> WorkerConfig {
    WorkerConfig {
        service: "aggregation".to_owned(),
        generation: String::new(),
        bootstrap: bootstrap.clone(),
        group: "aggregation-test".to_owned(),
        topics: vec![ENRICHED.to_owned()],
        client_id: format!("aggregation-{number}"),
        instance_id: None,
        recorder: None,
        dlq_topic: "dlq".to_owned(),
        compression: Compression::Lz4,
        drain_timeout: Duration::from_secs(10),
        pace: Pace::PROMPT,
    }
}

fn make_topics(bootstrap: &Brokers) {
    let compacted = vec![("cleanup.policy".to_owned(), "compact".to_owned())];
    let specs = [
        (RAW, vec![]),
        (ENRICHED, vec![]),
        (BARS, vec![]),
        (LATE, vec![]),
        (STATE, compacted),
        (LEGS, vec![]),
        (DERIVED, vec![]),
        ("dlq", vec![]),
    ]
    .map(|(name, config)| TopicSpec {
        name: name.to_owned(),
        partitions: PARTITIONS,
        replication: 1,
        config,
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(create_topics(bootstrap, &specs)).unwrap();
}

/// Records of another writer in the state topic, which must stop nothing.
fn write_foreign_state(bootstrap: &Brokers) {
    let producer = OrderedProducer::new(bootstrap, "foreign", Compression::Lz4);
    for (key, payload) in [(&b"hello"[..], &b"world"[..]), (b"s|7|00000000000000ff", b"{}")] {
        let output = Output {
            topic: STATE,
            partition: 0,
            key: Some(key),
            payload: Some(payload),
            headers: &[],
        };
        producer.send(&output, || true).unwrap();
    }
    await_acks(&producer);
}

fn await_acks(producer: &OrderedProducer) {
    let last = producer.last_ticket();
    let deadline = Instant::now() + Duration::from_secs(30);
    while producer.acked_through() < last {
        assert!(Instant::now() < deadline, "the broker did not acknowledge the records");
        producer.serve(Duration::from_millis(10)).unwrap();
    }
}

/// Ticks at intervals of three seconds; earlier ones are repeated, as upstream restarts do.
fn publish(bootstrap: &Brokers) -> Sums {
    let (producer, wire, mut sums) = (
        OrderedProducer::new(bootstrap, "test", Compression::Lz4),
        Wire::single_object(),
        Sums::new(),
    );
    // The raw messages of the origins: a tick without one would be foreign.
    for _ in 0..TICKS {
        let output = Output {
            topic: RAW,
            partition: 0,
            key: None,
            payload: None,
            headers: &[],
        };
        producer.send(&output, || true).unwrap();
    }
    let mut send = |number: i64| {
        let (mut payload, instrument_id) = (Vec::new(), format!("I{}", number % 6));
        wire.encode_enriched(&enriched(&instrument_id, number), &mut payload);
        let partition = (number % 6) as i32 % PARTITIONS;
        let output = Output {
            topic: ENRICHED,
            partition,
            key: None,
            payload: Some(&payload),
            headers: &[],
        };
        producer.send(&output, || true).unwrap();
    };
    for number in 0..TICKS {
        send(number);
        // A restart repeats all ticks since an earlier point, in order.
        if number % 50 == 49 {
            (number - 10..=number).for_each(&mut send);
        }
        for interval in Interval::ALL {
            let start = interval.window_of(NOON + number * 3 * SECOND).start;
            let sum = sums.entry((format!("I{}", number % 6), interval, start)).or_default();
            sum.0 += 1;
            sum.1 += i128::from(number);
        }
    }
    await_acks(&producer);
    sums
}

/// Prices of two legs each hour. The partition of the second leg has many more ticks, so it is read later. Returns the value of each hour.
fn publish_days(bootstrap: &Brokers) -> BTreeMap<Micros, Option<Decimal>> {
    let (producer, wire) = (
        OrderedProducer::new(bootstrap, "test", Compression::Lz4),
        Wire::single_object(),
    );
    let send = |topic: &str, partition: i32, payload: Option<&[u8]>| {
        let output = Output {
            topic,
            partition,
            key: None,
            payload,
            headers: &[],
        };
        producer.send(&output, || true).unwrap();
    };
    // The raw messages of the origins.
    (0..HOURS).for_each(|_| send(RAW, 0, None));
    (0..HOURS * (OTHERS + 1)).for_each(|_| send(RAW, 1, None));
    let price = |number: i64| Decimal::from_integer(number).unwrap();
    let tick = |partition: i32, instrument_id: &str, (offset, hour): (i64, i64), number: i64| {
        let mut enriched = enriched(instrument_id, offset);
        enriched.tick.origin.partition = partition;
        enriched.tick.event_time = NOON + hour * 3600 * SECOND;
        enriched.tick.appended_at = enriched.tick.event_time;
        enriched.tick.price = price(number);
        let mut payload = Vec::new();
        wire.encode_enriched(&enriched, &mut payload);
        send(ENRICHED, partition, Some(&payload));
    };
    let mut expected = BTreeMap::new();
    for hour in 0..HOURS {
        tick(0, "L", (hour, hour), hour);
        for other in 0..OTHERS {
            tick(1, "OTHER", (hour * (OTHERS + 1) + other, hour), 1);
        }
        tick(1, "R", (hour * (OTHERS + 1) + OTHERS, hour), 7);
        expected.insert(NOON + hour * 3600 * SECOND, Some(price(hour - 7)));
    }
    await_acks(&producer);
    expected
}

/// The newest value of each time.
fn newest_values(bootstrap: &Brokers) -> BTreeMap<Micros, Option<Decimal>> {
    let (reader, wire) = (LogReader::new(bootstrap).unwrap(), Wire::single_object());
    let mut newest: BTreeMap<Micros, (i64, Option<Decimal>)> = BTreeMap::new();
    for partition in reader.partitions(DERIVED).unwrap() {
        let (oldest, next) = reader.log_range(&partition).unwrap();
        reader
            .read(&partition, oldest, next, |message| {
                let price = wire.decode_derived(message.payload.unwrap()).unwrap();
                let best = newest.entry(price.event_time).or_insert((i64::MIN, None));
                if price.version >= best.0 {
                    *best = (price.version, price.value);
                }
                true
            })
            .unwrap();
    }
    newest.into_iter().map(|(time, (_, value))| (time, value)).collect()
}

fn enriched(instrument_id: &str, number: i64) -> EnrichedTick<'_> {
    let event_time = NOON + number * 3 * SECOND;
    EnrichedTick {
        tick: Tick {
            // Both enriched partitions have ticks of the same raw partition, which is harder than one each.
            origin: Origin {
                feed: RAW,
                partition: 0,
                offset: number,
                index: 0,
            },
            appended_at: event_time,
            instrument_id,
            event_time,
            price: Decimal::from_unscaled(number).unwrap(),
            volume: Some(Decimal::from_unscaled(number).unwrap()),
            normalized_at: event_time,
            ..domain::fixtures::tick()
        },
        enrichment: Enrichment {
            commodity: "electricity",
            region: "midwest",
            product_tier: "standard",
            unit: None,
            contract_size: None,
            tick_size: None,
            curve_id: None,
            curve_definition: None,
            confidence_percent: 90,
            method: Classification::RuleBased,
            low_confidence: false,
            enriched_at: event_time,
        },
    }
}

/// The newest version of every bar; equal versions must have equal content, whichever writer made them.
fn newest_bars(bootstrap: &Brokers) -> Sums {
    let (reader, wire) = (LogReader::new(bootstrap).unwrap(), Wire::single_object());
    let mut newest: BTreeMap<BarKey, (u64, (i64, i128))> = BTreeMap::new();
    let mut contents: BTreeMap<(String, Interval, Micros, u64), Vec<u8>> = BTreeMap::new();
    for partition in reader.partitions(BARS).unwrap() {
        let (oldest, next) = reader.log_range(&partition).unwrap();
        reader
            .read(&partition, oldest, next, |message| {
                let payload = message.payload.unwrap();
                let bar = wire.decode_bar(payload).unwrap();
                let (instrument_id, version) = (bar.instrument_id.to_owned(), bar.version.as_u64());
                let key = (instrument_id.clone(), bar.window.interval, bar.window.start);
                let other = contents.insert((key.0.clone(), key.1, key.2, version), payload.to_vec());
                assert!(
                    other.is_none_or(|other| other == payload),
                    "one version, two contents: {bar:?}"
                );
                let best = newest.entry(key).or_default();
                if version >= best.0 {
                    *best = (version, (bar.trade_count, bar.volume));
                }
                true
            })
            .unwrap();
    }
    newest.into_iter().map(|(key, (_, sums))| (key, sums)).collect()
}

fn count(bootstrap: &Brokers, topic: &str) -> i64 {
    let reader = LogReader::new(bootstrap).unwrap();
    let partitions = reader.partitions(topic).unwrap();
    partitions
        .iter()
        .map(|partition| reader.log_range(partition).unwrap())
        .map(|(oldest, next)| next - oldest)
        .sum()
}
