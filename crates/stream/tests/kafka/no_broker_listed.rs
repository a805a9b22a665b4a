//! A broker that was frozen for longer than its session may briefly answer metadata requests with an empty list of brokers.
//! The client then forgets the only broker that it has. It must find it again by the bootstrap addresses.
//!
//! The broker here is a few lines of the Kafka protocol (ApiVersions 0, Metadata 1), because a real one shows that list only
//! by chance.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use stream::kafka::consumer::GroupConsumer;
use stream::kafka::probe::Probe;
use stream::kafka::settings;
use stream::{Brokers, Pace};
use testkit::PATIENCE;

const API_VERSIONS: i16 = 18;
const METADATA: i16 = 3;
const UNSUPPORTED_VERSION: i16 = 35;
const TOPIC: &str = "ticks";

/// The state of the broker.
struct Broker {
    address: SocketAddr,
    lists_itself: AtomicBool,
    /// Every connection is closed at once.
    is_down: AtomicBool,
    /// Answers that listed no broker.
    empty_answers: AtomicUsize,
}

impl Broker {
    fn start() -> Arc<Broker> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let broker = Arc::new(Broker {
            address: listener.local_addr().unwrap(),
            lists_itself: AtomicBool::new(true),
            is_down: AtomicBool::new(false),
            empty_answers: AtomicUsize::new(0),
        });
        let serving = Arc::clone(&broker);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let broker = Arc::clone(&serving);
                // A connection ends when the client closes it.
                std::thread::spawn(move || while broker.answer(&connection).is_ok() {});
            }
        });
        broker
    }

    fn answer(&self, mut connection: &TcpStream) -> std::io::Result<()> {
        let mut length = [0; 4];
        connection.read_exact(&mut length)?;
        let mut request = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        connection.read_exact(&mut request)?;
        if self.is_down.load(Ordering::SeqCst) {
            return Err(std::io::Error::other("down"));
        }
        let (key, version) = (short(&request[0..2]), short(&request[2..4]));
        let mut answer = request[4..8].to_vec();
        match (key, version) {
            (API_VERSIONS, 0) => api_versions(&mut answer, 0),
            (API_VERSIONS, _) => api_versions(&mut answer, UNSUPPORTED_VERSION),
            (METADATA, _) => self.metadata(&mut answer),
            _ => return Err(std::io::Error::other("not supported here")),
        }
        connection.write_all(&u32::try_from(answer.len()).unwrap().to_be_bytes())?;
        connection.write_all(&answer)
    }

    fn metadata(&self, answer: &mut Vec<u8>) {
        if self.lists_itself.load(Ordering::SeqCst) {
            answer.extend(1_i32.to_be_bytes());
            answer.extend(1_i32.to_be_bytes());
            string(answer, "127.0.0.1");
            answer.extend(i32::from(self.address.port()).to_be_bytes());
            answer.extend((-1_i16).to_be_bytes()); // no rack
        } else {
            self.empty_answers.fetch_add(1, Ordering::SeqCst);
            answer.extend(0_i32.to_be_bytes());
        }
        answer.extend(1_i32.to_be_bytes()); // the controller
        answer.extend(1_i32.to_be_bytes()); // one topic
        answer.extend(0_i16.to_be_bytes());
        string(answer, TOPIC);
        answer.push(0);
        answer.extend(0_i32.to_be_bytes()); // no partitions
    }
}

fn api_versions(answer: &mut Vec<u8>, error: i16) {
    answer.extend(error.to_be_bytes());
    answer.extend(2_i32.to_be_bytes());
    for (key, highest) in [(API_VERSIONS, 0_i16), (METADATA, 1)] {
        answer.extend(key.to_be_bytes());
        answer.extend(0_i16.to_be_bytes());
        answer.extend(highest.to_be_bytes());
    }
}

fn string(answer: &mut Vec<u8>, value: &str) {
    answer.extend(i16::try_from(value.len()).unwrap().to_be_bytes());
    answer.extend(value.as_bytes());
}

fn short(bytes: &[u8]) -> i16 {
    i16::from_be_bytes(bytes.try_into().unwrap())
}

#[test]
fn a_broker_that_briefly_listed_no_broker_is_found_again() {
    let broker = Broker::start();
    let probe = Probe::new(&Brokers::plaintext(&broker.address.to_string())).unwrap();
    let ask = || probe.describe(&[TOPIC.to_owned()], Duration::from_millis(500));
    let until = |what: &str, is_so: &dyn Fn() -> bool| {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}: {:?}", ask());
        }
    };
    until("the broker is known", &|| ask().is_ok());
    broker.lists_itself.store(false, Ordering::SeqCst);
    until("the client has seen the empty list", &|| {
        let _ = ask();
        broker.empty_answers.load(Ordering::SeqCst) > 0
    });
    // The client processes the answer, and drops the broker.
    until("the broker is forgotten", &|| ask().is_err());
    broker.lists_itself.store(true, Ordering::SeqCst);
    until("the broker is found again", &|| ask().is_ok());
}

/// Here each client has been without a broker before it sees the empty list, and nothing but its own figures tells that it has
/// forgotten the broker: it asks for no metadata by itself.
#[test]
fn a_broker_that_was_down_and_then_listed_no_broker_is_found_again() {
    const CLIENTS: usize = 8;
    let broker = Broker::start();
    let brokers = Brokers::plaintext(&broker.address.to_string());
    let client = |number: usize| {
        let mut config = settings::consumer(&brokers, "forgetful", &format!("client-{number}"), Pace::PROMPT);
        config
            .set("topic.metadata.refresh.interval.ms", "-1")
            .set("statistics.interval.ms", "500");
        GroupConsumer::subscribe(&brokers, &config, &[TOPIC.to_owned()]).unwrap()
    };
    let clients: Vec<GroupConsumer> = (0..CLIENTS).map(client).collect();
    // As a worker does in each of its rounds. This broker has no groups, so polls may report errors.
    let finds = |client: &GroupConsumer| {
        let _ = client.poll(Duration::ZERO);
        client.renew();
        client.answers(Duration::from_millis(100))
    };
    let until = |what: &str, is_so: &dyn Fn(&GroupConsumer) -> bool| {
        let deadline = Instant::now() + PATIENCE;
        for (number, client) in clients.iter().enumerate() {
            while !is_so(client) {
                assert!(Instant::now() < deadline, "{what}: client {number}");
            }
        }
    };
    for outage in 0..5 {
        until(&format!("found before outage {outage}"), &finds);
        broker.is_down.store(true, Ordering::SeqCst);
        until("lost", &|client| !finds(client));
        let empty = broker.empty_answers.load(Ordering::SeqCst);
        broker.lists_itself.store(false, Ordering::SeqCst);
        broker.is_down.store(false, Ordering::SeqCst);
        until("an empty list was seen", &|client| {
            finds(client) || broker.empty_answers.load(Ordering::SeqCst) > empty + CLIENTS
        });
        broker.lists_itself.store(true, Ordering::SeqCst);
    }
    until("found at the end", &finds);
}
