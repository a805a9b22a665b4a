//! A worker's questions to the broker do not wait for its running fetch, on a real broker.
//!
//! Each stage asks whether the message behind an origin exists. Over the consumer's connection the answer would come after the
//! fetch, which may wait for seconds, and in that time the stage would handle nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use delivery::StartAt;
use delivery::acks::Ticket;
use domain::Origin;
use parking_lot::Mutex;
use stream::kafka::producer::Output;
use stream::kafka::publisher::{Publisher, Record};
use stream::{
    Brokers, Compression, Handler, Io, Message, Outcome, Pace, Partition, Shutdown, StreamError, WorkerConfig,
    WorkerStatus,
};

use crate::broker;
use testkit::PATIENCE;

const INPUT: &str = "input";
const OUTPUT: &str = "output";
const RAW: &str = "raw";
/// The broker is asked once for each partition of the raw topic.
const QUESTIONS: i32 = 4;
/// How long a fetch of an idle topic waits.
const FETCH_WAIT: Duration = Duration::from_secs(3);

/// Answers of the broker, and how long each took.
type Answers = Arc<Mutex<Vec<(Option<String>, Duration)>>>;

/// Sends an output for its first message. When that is acknowledged, it asks one question in each turn, while a fetch waits.
struct Asking {
    answers: Answers,
    output: Option<Ticket>,
}

impl Handler for Asking {
    fn assigned(&mut self, io: &mut Io<'_>, partitions: &[Partition]) -> Result<(), StreamError> {
        for partition in partitions {
            io.start(partition, StartAt::Beginning);
        }
        Ok(())
    }

    fn message(&mut self, io: &mut Io<'_>, message: &Message<'_>) -> Result<Outcome, StreamError> {
        self.output = Some(io.send(&Output {
            topic: OUTPUT,
            partition: 0,
            key: None,
            payload: message.payload,
            headers: &io.trace_headers(),
        })?);
        Ok(Outcome::Success)
    }

    fn turn(&mut self, io: &mut Io<'_>) -> Result<(), StreamError> {
        let asked = self.answers.lock().len() as i32;
        if self.output.is_none_or(|output| io.acked_through() < output) || asked == QUESTIONS {
            return Ok(());
        }
        let began = Instant::now();
        let flaw = io.origin_flaw(&Origin {
            feed: RAW,
            partition: asked,
            offset: 0,
            index: 0,
        })?;
        self.answers.lock().push((flaw, began.elapsed()));
        Ok(())
    }

    fn revoked(&mut self, _: &mut Io<'_>, _: &[Partition]) -> Result<(), StreamError> {
        Ok(())
    }
}

fn publish(brokers: &Brokers, topic: &str, partitions: i32) {
    let mut publisher = Publisher::new(brokers, "test").unwrap();
    for partition in 0..partitions {
        let record = Record {
            topic,
            partition: Some(partition),
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
        topics: vec![INPUT.to_owned()],
        pace: Pace::Within(FETCH_WAIT),
        compression: Compression::None,
        client_id: "tested".to_owned(),
        instance_id: None,
        recorder: None,
        dlq_topic: "dlq".to_owned(),
        drain_timeout: Duration::from_secs(5),
    }
}

#[test]
fn a_question_about_an_origin_is_answered_while_a_fetch_waits() {
    let broker = broker::with_topics(&[(INPUT, 1), (OUTPUT, 1), (RAW, QUESTIONS), ("dlq", 1)]);
    let brokers = &broker.brokers;
    publish(brokers, RAW, QUESTIONS);
    publish(brokers, INPUT, 1);
    let (shutdown, answers) = (Shutdown::default(), Answers::default());
    let worker = {
        let (config, shutdown, answers) = (config(brokers), shutdown.clone(), Arc::clone(&answers));
        std::thread::spawn(move || {
            stream::worker::run(&config, &WorkerStatus::new("stage-0"), &shutdown, || {
                Ok(Box::new(Asking {
                    answers: Arc::clone(&answers),
                    output: None,
                }))
            })
        })
    };
    let deadline = Instant::now() + PATIENCE;
    while answers.lock().len() < QUESTIONS as usize {
        assert!(Instant::now() < deadline, "answers: {:?}", answers.lock());
        std::thread::sleep(Duration::from_millis(20));
    }
    shutdown.request();
    worker.join().unwrap().unwrap();
    let answers = answers.lock().clone();
    assert!(answers.iter().all(|(flaw, _)| flaw.is_none()), "{answers:?}");
    // Behind a fetch, each one of them would take as long as what is left of it.
    let all: Duration = answers.iter().map(|(_, took)| *took).sum();
    assert!(all < FETCH_WAIT / 2, "{answers:?}");
}
