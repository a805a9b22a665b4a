//! SIGTERM while a server is down: every service shuts down cleanly within 30 s, and nothing is lost.

use std::time::{Duration, Instant};

use e2e::{PATIENCE, Pipeline, SERVICES};
use localstack::Server;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// The services' own deadline is 30 s. After it they exit with code 1.
const STOP_LIMIT: Duration = Duration::from_secs(31);

/// Sends SIGTERM to all services and waits for each; returns name, exit status and seconds.
fn stop_all(pipeline: &Pipeline) -> Vec<(&'static str, WaitStatus, f64)> {
    let pids = SERVICES.map(|service| {
        let pid = Pid::from_raw(pipeline.stack().pid(service).expect("the service runs"));
        kill(pid, Signal::SIGTERM).unwrap();
        (service.name(), pid)
    });
    let asked = Instant::now();
    let mut ended = Vec::new();
    for (name, pid) in pids {
        loop {
            match waitpid(pid, Some(WaitPidFlag::WNOHANG)).unwrap() {
                WaitStatus::StillAlive if asked.elapsed() < STOP_LIMIT => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                status => {
                    ended.push((name, status, asked.elapsed().as_secs_f64()));
                    break;
                }
            }
        }
    }
    ended
}

fn stops_cleanly_without(server: Server, seed: u64) {
    let pipeline = Pipeline::shared();
    let load = pipeline.load(seed).unwrap();
    pipeline.wait_for_more(500).unwrap();
    pipeline.stack().kill9(server).unwrap();
    // Now every service has data in flight for this server.
    load.go_on_for(3_000);
    let ended = stop_all(&pipeline);
    println!("without {}: {ended:?}", server.name());
    pipeline.stack().start(server).unwrap();
    pipeline.stack().wait_ready(server, PATIENCE).unwrap();
    for (name, status, seconds) in &ended {
        assert!(
            matches!(status, WaitStatus::Exited(_, 0)),
            "{name} without {}: {status:?} after {seconds:.1} s; its log ends with\n{}",
            server.name(),
            pipeline.last_lines(name)
        );
    }
    load.pause().unwrap();
    pipeline.stack().start_services().unwrap();
    pipeline.agree().unwrap();
}

#[test]
fn services_stop_cleanly_while_clickhouse_is_down() {
    stops_cleanly_without(Server::ClickHouse, 71);
}

#[test]
fn services_stop_cleanly_while_postgres_is_down() {
    stops_cleanly_without(Server::Postgres, 72);
}

#[test]
fn services_stop_cleanly_while_redis_is_down() {
    stops_cleanly_without(Server::Redis, 73);
}

#[test]
fn services_stop_cleanly_while_kafka_is_down() {
    stops_cleanly_without(Server::Kafka, 74);
}
