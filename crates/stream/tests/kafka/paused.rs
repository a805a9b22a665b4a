//! A worker with the order to pause takes no message, finishes reading back, and later goes on where it stopped; a follower sees
//! orders as they come. On a real broker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use delivery::StartAt;
use parking_lot::Mutex;
use stream::kafka::follow::Follower;
use stream::kafka::publisher::{Publisher, Record};
use stream::{
    Brokers, Compression, Handler, Io, Message, Outcome, Pace, Partition, Shutdown, StreamError, WorkerConfig,
    WorkerStatus,
};

use crate::broker;
use testkit::PATIENCE;

const TOPIC: &str = "input";
const ORDERS: &str = "orders";
/// Messages that an earlier owner has finished.
const FINISHED: i64 = 4;
/// Long enough for a message that is not held back.
const STILL: Duration = Duration::from_secs(2);

/// Records the offsets that it gets.
struct Recording {
    seen: Arc<Mutex<Vec<i64>>>,
    partition: Option<Partition>,
}

impl Recording {
    fn next(&self) -> i64 {
        self.seen.lock().last().map_or(0, |offset| offset + 1)
    }
}

impl Handler for Recording {
    fn assigned(&mut self, io: &mut Io<'_>, partitions: &[Partition]) -> Result<(), StreamError> {
        for partition in partitions {
            io.start(partition, StartAt::Offset(self.next()));
            self.partition = Some(partition.clone());
        }
        Ok(())
    }

    fn message(&mut self, _io: &mut Io<'_>, message: &Message<'_>) -> Result<Outcome, StreamError> {
        self.seen.lock().push(message.offset);
        Ok(match message.offset < FINISHED {
            true => Outcome::Observed,
            false => Outcome::Success,
        })
    }

    fn restoring(&self, _: &Partition) -> Option<String> {
        (self.next() < FINISHED).then(|| "reading back".to_owned())
    }

    fn turn(&mut self, io: &mut Io<'_>) -> Result<(), StreamError> {
        if let Some(partition) = &self.partition
            && self.next() >= FINISHED
        {
            io.commit(partition, self.next());
        }
        Ok(())
    }

    fn revoked(&mut self, _io: &mut Io<'_>, _: &[Partition]) -> Result<(), StreamError> {
        self.partition = None;
        Ok(())
    }
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn publish(brokers: &Brokers, topic: &str, count: usize) {
    let mut publisher = Publisher::new(brokers, "test").unwrap();
    for _ in 0..count {
        let record = Record {
            topic,
            partition: Some(0),
            key: Some(b"key"),
            payload: Some(b"x"),
            ..Record::default()
        };
        publisher.send(&record).unwrap();
    }
    publisher.finish().unwrap();
}

fn config(brokers: &Brokers) -> WorkerConfig {
    WorkerConfig {
        service: "tested".to_owned(),
        generation: String::new(),
        bootstrap: brokers.clone(),
        group: "tested".to_owned(),
        topics: vec![TOPIC.to_owned()],
        pace: Pace::PROMPT,
        compression: Compression::None,
        client_id: "tested".to_owned(),
        instance_id: None,
        recorder: None,
        dlq_topic: "dlq".to_owned(),
        drain_timeout: Duration::from_secs(5),
    }
}

#[test]
fn a_paused_worker_takes_nothing_and_then_every_message_once() {
    let broker = broker::with_topics(&[(TOPIC, 1), ("dlq", 1)]);
    let brokers = &broker.brokers;
    publish(brokers, TOPIC, 10);
    let (status, shutdown, seen) = (
        WorkerStatus::new("stage-0"),
        Shutdown::default(),
        Arc::<Mutex<Vec<i64>>>::default(),
    );
    status.order_pause(true);
    let worker = {
        let (config, status, shutdown, seen) = (
            config(brokers),
            Arc::clone(&status),
            shutdown.clone(),
            Arc::clone(&seen),
        );
        std::thread::spawn(move || {
            stream::worker::run(&config, &status, &shutdown, || {
                Ok(Box::new(Recording {
                    seen: Arc::clone(&seen),
                    partition: None,
                }))
            })
        })
    };
    let paused_with = |expected: &[i64]| {
        eventually("it is paused and has finished what it took", || {
            status.paused() == Some(0) && seen.lock().len() == expected.len()
        });
        publish(brokers, TOPIC, 5);
        let still = Instant::now() + STILL;
        while Instant::now() < still {
            assert_eq!(*seen.lock(), expected);
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    // Reading back is no input, and ends exactly where the input begins.
    paused_with(&[0, 1, 2, 3]);

    status.order_pause(false);
    let all: Vec<i64> = (0..15).collect();
    eventually("it goes on where it stopped", || *seen.lock() == all);
    eventually("it says so", || status.paused().is_none());

    // Once more, in the middle of work: nothing is lost, and nothing comes twice.
    publish(brokers, TOPIC, 2_000);
    status.order_pause(true);
    eventually("it is paused in the middle", || status.paused() == Some(0));
    let taken = seen.lock().clone();
    paused_with(&taken);
    status.order_pause(false);
    let all: Vec<i64> = (0..2_020).collect();
    eventually("every message came", || seen.lock().len() >= all.len());
    assert_eq!(*seen.lock(), all);
    shutdown.request();
    worker.join().unwrap().unwrap();
}

/// Takes what the follower gives until it has this many records.
fn read(follower: &mut Follower, count: usize) -> Vec<i64> {
    let (deadline, mut offsets) = (Instant::now() + PATIENCE, Vec::new());
    while offsets.len() < count {
        assert!(Instant::now() < deadline, "{offsets:?}");
        follower
            .poll(Duration::from_millis(100), |record| {
                assert_eq!((record.key, record.payload), (Some(&b"key"[..]), Some(&b"x"[..])));
                offsets.push(record.offset);
            })
            .unwrap();
    }
    offsets
}

#[test]
fn a_follower_reads_everything_and_a_new_record_ends_its_wait() {
    let broker = broker::with_topics(&[(ORDERS, 1)]);
    let brokers = &broker.brokers;
    assert!(Follower::open(brokers, "test", "no-such-topic").unwrap().is_none());
    let mut first = Follower::open(brokers, "test", ORDERS).unwrap().unwrap();
    assert!(first.is_current(), "an empty topic is read");
    publish(brokers, ORDERS, 2);
    assert_eq!(read(&mut first, 2), [0, 1]);

    let mut second = Follower::open(brokers, "test", ORDERS).unwrap().unwrap();
    assert!(!second.is_current());
    assert_eq!(read(&mut second, 2), [0, 1]);
    assert!(second.is_current() && second.next() == 2);
    // Their fetches wait for ten seconds now.
    publish(brokers, ORDERS, 1);
    let began = Instant::now();
    assert_eq!((read(&mut first, 1), read(&mut second, 1)), (vec![2], vec![2]));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
