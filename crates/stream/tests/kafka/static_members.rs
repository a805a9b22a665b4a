//! Members with a stable name, on a real broker: a restarted one gets its partitions at once, one that ends gives them back at
//! once, and of two with the same name the older one ends.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use domain::{Classified as _, ErrorClass};
use stream::kafka::consumer::{GroupConsumer, GroupEvent};
use stream::kafka::groups::GroupReader;
use stream::kafka::membership::{INSTANCE_ID_TAKEN, join_as};
use stream::kafka::settings;
use stream::{Brokers, Pace, Partition, StreamError};

use crate::broker;
use testkit::PATIENCE;

const TOPIC: &str = "ticks";
const PARTITIONS: i32 = 4;

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
            assert!(began.elapsed() < PATIENCE, "{:?} instead of {count}", self.assigned);
        }
        began.elapsed()
    }
}

/// What the broker says about the members: each owns the partitions that it was assigned.
fn check_owners(brokers: &Brokers, group: &str, members: &[&Member]) {
    let state = GroupReader::new(brokers, group).unwrap().state().unwrap().unwrap();
    assert_eq!(state.members.len(), members.len(), "{state:?}");
    let mut ids = BTreeSet::new();
    for member in members {
        let owner = |number: &i32| {
            let (topic, number) = (TOPIC.into(), *number);
            let owner = state.owner(&Partition { topic, number }).unwrap();
            (owner.id.as_str(), owner.client_id.as_str(), owner.host.as_str())
        };
        let owners: BTreeSet<_> = member.assigned.iter().map(owner).collect();
        let owners: Vec<_> = owners.into_iter().collect();
        assert!(
            matches!(owners.as_slice(), [(_, "test", "127.0.0.1")]),
            "{owners:?} own {:?}",
            member.assigned
        );
        ids.extend(owners.into_iter().map(|(id, ..)| id.to_owned()));
    }
    assert_eq!(ids.len(), members.len(), "{state:?}");
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
    check_owners(brokers, "g", &[&first, &second]);
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
        assert!(began.elapsed() < PATIENCE, "the first one was not fenced");
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
