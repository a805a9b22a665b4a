//! Ctrl-C, and messages during long waits.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use e2e::{Pipeline, eventually};
use localstack::{Server, Service, Stack};

use super::bare_dp;
use testkit::PATIENCE;

/// How long a command may continue after Ctrl-C: one second, and a margin for slow machines.
const ENDS_WITHIN: Duration = Duration::from_millis(1_500);
/// A command prints a message after waiting for two seconds.
const SAID_WITHIN: Duration = Duration::from_secs(4);

/// A running command and its lines on stderr.
struct Running {
    child: Child,
    lines: Receiver<String>,
    told: String,
}

impl Running {
    fn start(mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Running {
            child,
            lines,
            told: String::new(),
        }
    }

    /// Waits until stderr contains these words.
    fn says(&mut self, words: &str, within: Duration) {
        let deadline = Instant::now() + within;
        while !self.told.contains(words) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.told.push_str(&(line + "\n")),
                Err(_) => panic!("'{words}' is not printed within {within:?}: {}", self.told),
            }
        }
    }

    /// Sends Ctrl-C; returns the complete stderr.
    fn interrupt(mut self) -> String {
        let began = Instant::now();
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        let took = began.elapsed();
        self.told.extend(self.lines.iter().map(|line| line + "\n"));
        assert_eq!(status.code(), Some(130), "{}", self.told);
        assert!(took < ENDS_WITHIN, "{took:?}: {}", self.told);
        assert!(self.told.contains("interrupted; "), "{}", self.told);
        self.told
    }
}

#[test]
fn an_interrupted_load_reports_its_progress() {
    let pipeline = Pipeline::shared();
    // Other tests publish at the same time, so a tenant of its own shows that this load has begun.
    let load = [
        "simulate",
        "--ticks",
        "100000",
        "--rate",
        "200",
        "--tenant",
        "interrupted",
    ];
    let load = Running::start(pipeline.dp(&load));
    let arrived = "SELECT count() FROM enriched_ticks WHERE tenant_id = 'interrupted'";
    eventually("ticks arrive", || Ok(pipeline.clickhouse.number(arrived)? > 0)).unwrap();
    let told = load.interrupt();
    assert!(told.contains("of 100,000 messages were handed"), "{told}");
    pipeline.agree().unwrap();
}

#[test]
fn a_wait_for_kafka_is_reported_and_can_be_interrupted() {
    let pipeline = Pipeline::shared();
    let stack = pipeline.stack();
    stack.stop(Service::Normalization).unwrap();
    stack.pause(Server::Kafka).unwrap();
    let bootstrap = pipeline.bootstrap();
    let mut commands: Vec<Running> = [
        &["send", "--raw", "{}"][..],
        &["simulate", "--ticks", "10"],
        &["verify"],
        &["ingest", "/etc/hostname"],
        &["start", "normalization"],
    ]
    .into_iter()
    .map(|arguments| Running::start(pipeline.dp(arguments)))
    .collect();
    for command in &mut commands {
        command.says("waiting up to ", SAID_WITHIN);
    }
    let said: Vec<String> = commands.into_iter().map(Running::interrupt).collect();
    stack.resume(Server::Kafka).unwrap();
    let (start, others) = said.split_last().unwrap();
    assert!(start.contains("normalization"), "{start}");
    assert!(start.contains("started and left running: normalization"), "{start}");
    assert!(!start.contains("stopped again"), "{start}");
    for told in others {
        assert!(told.contains(&bootstrap), "{told}");
    }
    assert!(stack.stop(Service::Normalization).unwrap());
    stack.start_services().unwrap();
}

#[test]
fn an_interrupted_up_leaves_nothing_behind() {
    let pipeline = Pipeline::shared();
    let parent = tempfile::Builder::new().tempdir_in("/var/tmp").unwrap();
    let dir = parent.path().join("stack");
    let named = ["--dir", dir.to_str().unwrap(), "--port-offset", "12000"];
    let up = Running::start(bare_dp(&pipeline, &[&named[..], &["up", "--no-services"]].concat()));
    let deadline = Instant::now() + PATIENCE;
    let stack = loop {
        let opened = Stack::open(&dir)
            .ok()
            .filter(|stack| stack.pid(Server::ClickHouse).is_some());
        if let Some(stack) = opened {
            break stack;
        }
        assert!(Instant::now() < deadline, "ClickHouse is not started");
        std::thread::sleep(Duration::from_millis(5));
    };
    let told = up.interrupt();
    assert!(told.contains("was stopped again"), "{told}");
    for server in Server::ALL {
        assert_eq!(stack.pid(server), None, "{server:?}");
    }
    stack.clean().unwrap();
}
