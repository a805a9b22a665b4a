//! Members with a stable name, on a real broker: a restarted one gets its partitions at once, one that ends gives them back at
//! once, and of two with the same name the older one ends.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod broker;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use domain::{Classified as _, ErrorClass};
use stream::kafka::consumer::{GroupConsumer, GroupEvent};
use stream::kafka::membership::{INSTANCE_ID_TAKEN, join_as};
use stream::kafka::settings;
use stream::{Brokers, Pace, StreamError};

const TOPIC: &str = "ticks";
const PARTITIONS: i32 = 4;
const LIMIT: Duration = Duration::from_secs(60);

struct Member {
    consumer: GroupConsumer,
    assigned: BTreeSet<i32>,
    revoked: usize,
}

impl Member {
    fn join(brokers: &Brokers, group: &str, id: Option<&str>) -> Member {
        let mut client = settings::consumer(brokers, group, "test", Pace::PROMPT);
        join_as(&mut client, id);
        Member {
            consumer: GroupConsumer::subscribe(brokers, &client, &[TOPIC.to_owned()]).unwrap(),
            assigned: BTreeSet::new(),
            revoked: 0,
        }
    }

    fn turn(&mut self) -> Result<(), StreamError> {
        self.consumer.poll(Duration::from_millis(5))?;
        for event in self.consumer.take_events() {
            match event {
                GroupEvent::Assigned(partitions) => {
                    self.consumer.acknowledge_assignment()?;
                    self.assigned
                        .extend(partitions.iter().map(|partition| partition.number));
                }
                GroupEvent::Revoked { partitions, .. } => {
                    self.consumer.give_up(&partitions)?;
                    self.revoked += 1;
                    self.assigned
                        .retain(|number| partitions.iter().all(|partition| partition.number != *number));
                }
            }
        }
        Ok(())
    }

    fn until_owner_of(&mut self, count: usize, others: &mut [&mut Member]) -> Duration {
        let began = Instant::now();
        while self.assigned.len() != count {
            self.turn().unwrap();
            others.iter_mut().for_each(|other| other.turn().unwrap());
            assert!(began.elapsed() < LIMIT, "{:?} instead of {count}", self.assigned);
        }
        began.elapsed()
    }
}

#[test]
fn a_stable_name_gets_its_partitions_back_and_gives_them_up() {
    let broker = broker::with_topics(&[(TOPIC, PARTITIONS)]);
    let brokers = &broker.brokers;
    let session = Duration::from_secs(10);

    // Both are static. The first one is the leader of the group.
    let mut first = Member::join(brokers, "g", Some("one"));
    first.until_owner_of(4, &mut []);
    let mut second = Member::join(brokers, "g", Some("two"));
    second.until_owner_of(2, &mut [&mut first]);
    first.until_owner_of(2, &mut []);
    let (owned, revoked) = (first.assigned.clone(), second.revoked);

    // A process with the name of the first joins, while the first still lives.
    let mut replaced = Member::join(brokers, "g", Some("one"));
    let took = replaced.until_owner_of(2, &mut [&mut second]);
    assert!(took < session / 2, "{took:?}");
    assert_eq!(replaced.assigned, owned);
    let began = Instant::now();
    let error = loop {
        if let Err(error) = first.turn() {
            break error;
        }
        replaced.turn().unwrap();
        assert!(began.elapsed() < LIMIT, "the first one was not fenced");
    };
    assert_eq!((error.code(), error.class()), (INSTANCE_ID_TAKEN, ErrorClass::Fatal));
    for part in ["group g", "instance id one", "DATA_PROC_INSTANCE_ID"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    // It must not take the new one out of the group when it ends.
    drop(first);
    for _ in 0..200 {
        replaced.turn().unwrap();
        second.turn().unwrap();
    }
    assert_eq!((replaced.assigned.len(), second.assigned.len()), (2, 2));
    assert_eq!((replaced.revoked, second.revoked), (0, revoked), "nobody was disturbed");

    // One that ends gives its partitions back at once.
    drop(replaced);
    let took = second.until_owner_of(4, &mut []);
    assert!(took < session / 2, "{took:?}");
}
