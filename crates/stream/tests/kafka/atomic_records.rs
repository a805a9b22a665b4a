//! Records of one transaction appear together or not at all, and only the newest claimant of an id sends any.

use domain::Classified as _;
use stream::kafka::publisher::Record;
use stream::kafka::publisher::atomic::{AtomicPublisher, FENCED, Group};
use stream::kafka::reader::LogReader;
use stream::{Brokers, Partition, StreamError};

use crate::broker;

const TOPICS: [&str; 2] = ["one", "two"];
const ID: &str = "test-claim";

fn claim(brokers: &Brokers) -> AtomicPublisher {
    AtomicPublisher::claim(brokers, "test", ID).unwrap()
}

/// Sends a record to each topic.
fn both(group: &mut Group<'_>, payload: &str) -> Result<(), StreamError> {
    TOPICS.iter().try_for_each(|topic| {
        let record = Record {
            topic,
            partition: Some(0),
            payload: Some(payload.as_bytes()),
            ..Record::default()
        };
        group.publish(&record).map(|place| assert_eq!(place.partition, 0))
    })
}

/// The committed payloads of a topic.
fn committed(brokers: &Brokers, topic: &str) -> Vec<String> {
    let (reader, mut found) = (LogReader::new(brokers).unwrap(), Vec::new());
    let partition = Partition {
        topic: topic.into(),
        number: 0,
    };
    let (first, end) = reader.log_range(&partition).unwrap();
    reader
        .read(&partition, first, end, |message| {
            found.push(String::from_utf8(message.payload.unwrap().to_vec()).unwrap());
            true
        })
        .unwrap();
    found
}

#[test]
fn a_group_appears_whole_or_not_at_all_and_an_older_claimant_is_fenced() {
    let broker = broker::with_topics(&TOPICS.map(|topic| (topic, 1)));
    let brokers = &broker.brokers;
    let mut first = claim(brokers);
    first.together(|group| both(group, "a")).unwrap();

    // The work fails after it has sent: nothing of it appears, and the publisher goes on.
    let failed = first.together(|group| {
        both(group, "failed")?;
        Err::<(), _>(StreamError::fatal("test", "the work failed"))
    });
    assert_eq!(failed.unwrap_err().code(), "test");
    first.together(|group| both(group, "b")).unwrap();

    // A second claimant comes while the first one has sent and not committed.
    let mut second = None;
    let fenced = first.together(|group| {
        both(group, "late")?;
        second = Some(claim(brokers));
        Ok(())
    });
    assert_eq!(fenced.unwrap_err().code(), FENCED);
    second.unwrap().together(|group| both(group, "c")).unwrap();
    assert_eq!(first.together(|group| both(group, "later")).unwrap_err().code(), FENCED);

    for topic in TOPICS {
        assert_eq!(committed(brokers, topic), ["a", "b", "c"], "{topic}");
    }
}
