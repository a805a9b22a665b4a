//! A partition that moves to a new member of the group, on a real broker: its owner works on it until shortly before the new one
//! gets it, and no message is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use delivery::StartAt;
use parking_lot::Mutex;
use stream::kafka::publisher::{Publisher, Record};
use stream::{
    Brokers, Compression, Handler, Io, Message, Outcome, Pace, Partition, Shutdown, StreamError, WorkerConfig,
    WorkerStatus,
};

use crate::broker;
use testkit::PATIENCE;

const TOPIC: &str = "ticks";
const DLQ: &str = "dlq";
const PARTITIONS: i32 = 4;
/// An owner that stops when the group asks for its partitions processes one or two that come after that.
const WORKED_ON: usize = 4;

/// What happened, in order.
#[derive(Debug, Clone, PartialEq)]
enum Event {
    Assigned(&'static str, usize),
    Processed(&'static str, i32, i64),
}

type Journal = Arc<Mutex<Vec<Event>>>;

/// Confirms each message, and writes the journal.
struct Recording(&'static str, Journal);

impl Handler for Recording {
    fn assigned(&mut self, io: &mut Io<'_>, partitions: &[Partition]) -> Result<(), StreamError> {
        self.1.lock().push(Event::Assigned(self.0, partitions.len()));
        for (partition, committed) in io.committed(partitions)? {
            io.start(&partition, committed.map_or(StartAt::Beginning, StartAt::Offset));
        }
        Ok(())
    }

    fn message(&mut self, io: &mut Io<'_>, message: &Message<'_>) -> Result<Outcome, StreamError> {
        let event = Event::Processed(self.0, message.partition, message.offset);
        self.1.lock().push(event);
        let partition = Partition {
            topic: message.topic.into(),
            number: message.partition,
        };
        io.commit(&partition, message.offset + 1);
        Ok(Outcome::Success)
    }

    fn turn(&mut self, _: &mut Io<'_>) -> Result<(), StreamError> {
        Ok(())
    }

    fn works_until_handover(&self) -> bool {
        true
    }

    fn revoked(&mut self, _: &mut Io<'_>, _: &[Partition]) -> Result<(), StreamError> {
        Ok(())
    }
}

struct Worker {
    shutdown: Shutdown,
    thread: std::thread::JoinHandle<Result<(), StreamError>>,
}

impl Worker {
    fn start(name: &'static str, brokers: &Brokers, journal: &Journal) -> Worker {
        let config = WorkerConfig {
            service: "tested".to_owned(),
            generation: String::new(),
            bootstrap: brokers.clone(),
            group: "g".to_owned(),
            topics: vec![TOPIC.to_owned()],
            pace: Pace::PROMPT,
            compression: Compression::None,
            client_id: name.to_owned(),
            instance_id: None,
            recorder: None,
            dlq_topic: DLQ.to_owned(),
            drain_timeout: Duration::from_secs(5),
        };
        let (shutdown, journal) = (Shutdown::default(), Arc::clone(journal));
        let asked = shutdown.clone();
        let thread = std::thread::spawn(move || {
            stream::worker::run(&config, &WorkerStatus::new(name), &asked, || {
                Ok(Box::new(Recording(name, Arc::clone(&journal))))
            })
        });
        Worker { shutdown, thread }
    }

    fn end(self) {
        self.shutdown.request();
        self.thread.join().unwrap().unwrap();
    }
}

/// Publishes to all partitions until the condition holds for the journal. Returns the places of the messages.
fn publish_until(
    publisher: &mut Publisher,
    journal: &Journal,
    what: &str,
    condition: impl Fn(&[Event]) -> bool,
) -> Vec<(i32, i64)> {
    let deadline = Instant::now() + PATIENCE;
    let mut places = Vec::new();
    while !condition(&journal.lock()) {
        assert!(Instant::now() < deadline, "never: {what}");
        let record = Record {
            topic: TOPIC,
            payload: Some(b"x"),
            ..Record::default()
        };
        let place = publisher.publish(&record).unwrap();
        places.push((place.partition, place.offset));
    }
    places
}

fn processed(events: &[Event]) -> impl Iterator<Item = (&'static str, i32, i64)> {
    events.iter().filter_map(|event| match event {
        Event::Processed(name, partition, offset) => Some((*name, *partition, *offset)),
        Event::Assigned(..) => None,
    })
}

#[test]
fn the_owner_works_until_the_new_one_has_its_partitions_and_no_message_is_left_out() {
    let broker = broker::with_topics(&[(TOPIC, PARTITIONS), (DLQ, 1)]);
    let (brokers, journal) = (&broker.brokers, Journal::default());
    let mut publisher = Publisher::new(brokers, "test").unwrap();

    let first = Worker::start("first", brokers, &journal);
    publish_until(&mut publisher, &journal, "the first one works", |events| {
        processed(events).count() > 50
    });
    let second = Worker::start("second", brokers, &journal);
    publish_until(&mut publisher, &journal, "the second one has joined", |events| {
        events.contains(&Event::Assigned("second", 0))
    });
    let after = publish_until(&mut publisher, &journal, "the second one works", |events| {
        processed(events).filter(|(name, ..)| *name == "second").count() > 50
    });

    let events = journal.lock().clone();
    let of = |owner| processed(&events).filter(move |(name, ..)| *name == owner);
    let moved: BTreeSet<i32> = of("second").map(|(_, partition, _)| partition).collect();
    assert_eq!(moved.len(), 2, "{moved:?}");
    let by_first: BTreeSet<(i32, i64)> = of("first").map(|(_, partition, offset)| (partition, offset)).collect();
    let worked_on = after
        .iter()
        .filter(|place| moved.contains(&place.0) && by_first.contains(place));
    let worked_on = worked_on.count();
    assert!(
        worked_on >= WORKED_ON,
        "the first one processed {worked_on} messages of the moved partitions"
    );

    // The first one goes, and the second one takes the rest.
    first.end();
    publish_until(&mut publisher, &journal, "the second one has all", |events| {
        let of_second = processed(events).filter(|(name, ..)| *name == "second");
        of_second
            .map(|(_, partition, _)| partition)
            .collect::<BTreeSet<_>>()
            .len()
            == PARTITIONS as usize
    });
    second.end();
    let mut offsets: BTreeMap<i32, BTreeSet<i64>> = BTreeMap::new();
    for (_, partition, offset) in processed(&journal.lock()) {
        offsets.entry(partition).or_default().insert(offset);
    }
    for (partition, offsets) in offsets {
        let all: BTreeSet<i64> = (0..offsets.len() as i64).collect();
        assert_eq!(offsets, all, "partition {partition}");
    }
}
