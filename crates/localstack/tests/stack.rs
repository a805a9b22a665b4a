//! The stack with the real servers, as used by tests and `dp up`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use localstack::{Condition, Name, Server, Service, Stack, StackConfig, StackError, Temporary, holder};
use procfs::process::Process;

const LIMIT: Duration = Duration::from_secs(120);

/// Sends SQL to ClickHouse over HTTP and returns the body.
fn clickhouse(stack: &Stack, sql: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, stack.config().ports.clickhouse_http)).unwrap();
    let length = sql.len();
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{sql}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // Bodies are chunked: keep the lines that are neither headers nor chunk sizes.
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    body.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .nth(1)
        .unwrap_or_default()
        .to_owned()
}

/// Runs a statement that is slow enough for the query log, and waits until it is there; returns how many statements are logged.
fn logged_statements(stack: &Stack) -> u64 {
    let logged = || {
        let created = "SELECT count() FROM system.tables WHERE database = 'system' AND name = 'query_log'";
        let rows = "SELECT count() FROM system.query_log WHERE type = 'QueryFinish'";
        match clickhouse(stack, created).as_str() {
            "1" => clickhouse(stack, rows).parse().unwrap(),
            _ => 0_u64,
        }
    };
    let (before, deadline) = (logged(), Instant::now() + LIMIT);
    assert_eq!(clickhouse(stack, "SELECT sleep(0.2)"), "0");
    loop {
        let now = logged();
        if now > before {
            return now;
        }
        assert!(Instant::now() < deadline, "no statement is logged");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Sends one inline command to Redis and returns the first line.
fn redis(stack: &Stack, command: &str, patience: Duration) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, stack.config().ports.redis)).ok()?;
    stream.set_read_timeout(Some(patience)).unwrap();
    write!(stream, "{command}\r\n").ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    Some(line.trim().to_owned())
}

fn postgres(stack: &Stack, sql: &str) -> String {
    let output = Command::new("psql")
        .args(["-X", "-t", "-A", "-c", sql, &stack.env()["DATA_PROC_POSTGRES_DSN"]])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn topics(stack: &Stack, arguments: &[&str]) -> String {
    let output = Command::new("java")
        .args([
            "-cp",
            &stack.kafka_classpath().unwrap(),
            "org.apache.kafka.tools.TopicCommand",
        ])
        .args(["--bootstrap-server", &stack.env()["DATA_PROC_KAFKA_BOOTSTRAP"]])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn exists(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A program in `dir` with these shell lines, and the logger next to it.
fn script(dir: &Path, name: &str, lines: &str) {
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\n{lines}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    if !dir.join("dp-log").exists() {
        symlink(env!("CARGO_BIN_EXE_dp-log"), dir.join("dp-log")).unwrap();
    }
}

#[test]
fn data_survives_kill_9_of_every_server_and_down_leaves_no_process() {
    let stack = Temporary::new().unwrap();
    let started = stack.up().unwrap();
    assert_eq!(started, Server::ALL.map(Name::from));
    assert!(stack.up().unwrap().is_empty(), "a second up starts nothing");

    clickhouse(&stack, "CREATE DATABASE market_data");
    clickhouse(
        &stack,
        "CREATE TABLE market_data.t (a UInt64) ENGINE = MergeTree ORDER BY a",
    );
    clickhouse(
        &stack,
        "INSERT INTO market_data.t SETTINGS async_insert = 0 VALUES (42)",
    );
    let logged = logged_statements(&stack);
    postgres(&stack, "CREATE TABLE t (a int)");
    postgres(&stack, "INSERT INTO t VALUES (43)");
    topics(&stack, &["--create", "--topic", "t", "--partitions", "3"]);
    assert_eq!(redis(&stack, "SET a 44", LIMIT).as_deref(), Some("+OK"));

    for server in Server::ALL {
        // From outside, the main process only, and without waiting.
        let pid = stack.pid(server).unwrap();
        assert!(
            Command::new("kill")
                .args(["-9", &pid.to_string()])
                .status()
                .unwrap()
                .success()
        );
        assert!(stack.up().unwrap().len() <= 1, "{server:?}");
        assert_ne!(stack.pid(server), Some(pid), "{server:?}");
    }
    for server in Server::ALL {
        let pid = stack.pid(server).unwrap();
        stack.kill9(server).unwrap();
        assert!(!exists(pid), "{server:?}");
        assert_eq!(stack.pid(server), None);
        assert_ne!(stack.start(server).unwrap(), pid);
    }
    for server in Server::ALL {
        stack.wait_ready(server, LIMIT).unwrap();
    }
    assert_eq!(clickhouse(&stack, "SELECT a FROM market_data.t"), "42");
    assert!(
        logged_statements(&stack) > logged,
        "the query log keeps its statements, and goes on"
    );
    assert_eq!(postgres(&stack, "SELECT a FROM t"), "43");
    assert!(topics(&stack, &["--describe", "--topic", "t"]).contains("PartitionCount: 3"));
    assert_eq!(
        redis(&stack, "GET a", LIMIT).as_deref(),
        Some("$-1"),
        "a cache is empty after a crash"
    );

    let found = Stack::open(&stack.config().dir).unwrap();
    let status = found.status().unwrap();
    assert!(
        status.iter().all(|process| process.condition == Condition::Running),
        "{status:?}"
    );
    assert!(
        status
            .iter()
            .all(|process| process.usage.is_some_and(|usage| usage.resident_bytes > 1 << 20))
    );
    let pids: Vec<i32> = status.iter().filter_map(|process| process.pid).collect();
    assert!(found.clean().is_err(), "data of a running stack is not removed");
    assert_eq!(found.down().unwrap(), Server::ALL.map(Name::from));
    assert_eq!(pids.len(), 4);
    assert!(pids.into_iter().all(|pid| !exists(pid)));
    let ports = &stack.config().ports;
    for port in [
        ports.kafka,
        ports.kafka_controller,
        ports.clickhouse_http,
        ports.clickhouse_tcp,
        ports.postgres,
        ports.redis,
    ] {
        assert_eq!(holder(port), None);
    }
    found.clean().unwrap();
    assert!(!stack.config().dir.exists());
}

#[test]
fn a_busy_port_is_named_in_one_line_and_nothing_is_started() {
    let stack = Temporary::new().unwrap();
    let port = stack.config().ports.redis;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let error = stack.up().unwrap_err();
    assert!(matches!(error, StackError::PortBusy { .. }));
    let line = error.to_string();
    assert!(line.starts_with(&format!("port {port} (redis) is taken by ")), "{line}");
    assert!(
        line.contains(&format!("pid {}", std::process::id())) && line.contains("--port-offset"),
        "{line}"
    );
    assert!(!line.contains('\n'));
    assert!(stack.status().unwrap().is_empty());
    drop(listener);
}

#[test]
fn missing_tools_are_named_in_one_line_with_the_packages_to_install() {
    let nothing = tempfile::tempdir().unwrap();
    let stack = Temporary::with(|config| config.path = Some(nothing.path().as_os_str().to_owned())).unwrap();
    let line = stack.up().unwrap_err().to_string();
    for expected in [
        "missing: ",
        "java (apt-get install ",
        "initdb (",
        "redis-server (apt-get install redis-server)",
    ] {
        assert!(line.contains(expected), "{line}");
    }
    assert!(stack.status().unwrap().is_empty());
}

#[test]
fn a_server_that_ends_at_start_stops_those_started_with_it_and_reports_why() {
    let programs = tempfile::tempdir().unwrap();
    script(
        programs.path(),
        "dp-clickhouse",
        "echo 'Code: 76. DB::Exception: Cannot lock file'; exit 1",
    );
    let stack = Temporary::with(|config| config.bin_dir = programs.path().to_owned()).unwrap();
    let line = stack.up().unwrap_err().to_string();
    assert!(
        line.starts_with("clickhouse ended while starting: Code: 76. DB::Exception: Cannot lock file"),
        "{line}"
    );
    assert!(line.contains("clickhouse.log"), "{line}");
    let status = stack.status().unwrap();
    assert_eq!(status.len(), 4);
    assert!(
        status.iter().all(|process| process.condition == Condition::Stopped),
        "{status:?}"
    );
}

#[test]
fn a_frozen_server_responds_again_after_resume() {
    let stack = Temporary::new().unwrap();
    stack.start(Server::Redis).unwrap();
    stack.wait_ready(Server::Redis, LIMIT).unwrap();
    stack.pause(Server::Redis).unwrap();
    eventually("redis is shown as frozen", || {
        stack.status().unwrap()[0].condition == Condition::Frozen
    });
    assert_eq!(redis(&stack, "PING", Duration::from_millis(200)), None);
    stack.resume(Server::Redis).unwrap();
    assert_eq!(redis(&stack, "PING", LIMIT).as_deref(), Some("+PONG"));
    stack.pause(Server::Redis).unwrap();
    let began = Instant::now();
    assert!(stack.stop(Server::Redis).unwrap());
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "a frozen process is resumed to be stopped"
    );
    assert!(!stack.stop(Server::Redis).unwrap());
}

#[test]
fn replicas_of_a_service_get_their_own_ports_and_environments() {
    let programs = tempfile::tempdir().unwrap();
    script(programs.path(), "normalization", "exec sleep 600");
    let stack = Temporary::with(|config| {
        config.bin_dir = programs.path().to_owned();
        config
            .service_env
            .insert("DATA_PROC_WORKERS".to_owned(), "2".to_owned());
    })
    .unwrap();
    let second = Name::replica(Service::Normalization, 2);
    stack.start(Service::Normalization).unwrap();
    stack.start(second).unwrap();
    assert_eq!(
        stack.port(Service::Normalization),
        Some(stack.config().ports.normalization)
    );
    let port = stack.port(second).unwrap();
    assert_ne!(port, stack.config().ports.normalization);
    let process = Process::new(stack.pid(second).unwrap()).unwrap();
    let environment = process.environ().unwrap();
    for (name, expected) in [
        ("DATA_PROC_HEALTH_PORT", port.to_string()),
        (
            "DATA_PROC_KAFKA_BOOTSTRAP",
            format!("127.0.0.1:{}", stack.config().ports.kafka),
        ),
        ("DATA_PROC_WORKERS", "2".to_owned()),
    ] {
        assert_eq!(environment[OsStr::new(name)], *expected, "{name}");
    }
    stack.kill9(second).unwrap();
    stack.start(second).unwrap();
    assert_eq!(stack.port(second), Some(port), "a restart keeps the port");
    let error = stack.start(Service::Projection).unwrap_err().to_string();
    assert!(error.contains("projection is missing: build it with"), "{error}");
    assert_eq!(stack.down().unwrap(), [Name::from(Service::Normalization), second]);
}

#[test]
fn services_of_another_build_come_from_its_folder_and_all_else_from_the_usual_one() {
    let (usual, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    script(usual.path(), "projection", "exec sleep 600");
    script(other.path(), "projection", "exec sleep 700");
    fs::remove_file(other.path().join("dp-log")).unwrap();
    let stack = Temporary::with(|config| {
        config.bin_dir = usual.path().to_owned();
        config.service_dir = Some(other.path().to_owned());
    })
    .unwrap();
    let pid = stack.start(Service::Projection).unwrap();
    eventually("it is the other build", || {
        let words = Process::new(pid).and_then(|process| process.cmdline());
        words.is_ok_and(|words| words == ["sleep", "700"])
    });
}

#[test]
fn the_failure_of_a_replica_is_dismissed_by_a_stop_and_the_generation_is_that_of_the_first_replicas() {
    let programs = tempfile::tempdir().unwrap();
    script(programs.path(), "normalization", "exec sleep 600");
    script(programs.path(), "projection", "exit 3");
    let stack = Temporary::with(|config| {
        config.bin_dir = programs.path().to_owned();
        config
            .service_env
            .insert("DATA_PROC_GENERATION".to_owned(), "g2".to_owned());
    })
    .unwrap();
    let failed = Name::replica(Service::Projection, 2);
    stack.start(failed).unwrap();
    assert_eq!(stack.generation(), "", "a replica is only tried out");
    let why = || stack.status().unwrap()[0].why.clone();
    eventually("projection-2 has ended", || why().is_some());
    assert!(
        why().unwrap().contains("`dp stop projection-2` dismisses"),
        "{:?}",
        why()
    );
    assert!(!stack.stop(failed).unwrap());
    assert_eq!(why(), None);

    stack.start(Service::Normalization).unwrap();
    assert_eq!(stack.generation(), "g2");
    assert_eq!(Stack::open(&stack.config().dir).unwrap().generation(), "g2");
}

#[test]
fn a_running_stack_is_not_moved_to_other_ports() {
    let stack = Temporary::new().unwrap();
    stack.start(Server::Redis).unwrap();
    let mut config = stack.config().clone();
    config.ports = localstack::Ports::with_offset(2500).unwrap();
    let error = Stack::new(config.clone()).unwrap_err().to_string();
    assert!(error.contains("already runs on other ports (redis on "), "{error}");
    stack.stop(Server::Redis).unwrap();
    assert!(Stack::new(config).is_ok());
}

const VICTIM: &str = "LOCALSTACK_TEST_VICTIM";

/// Started by the test below in a separate process; does nothing in an ordinary run.
#[test]
fn victim_that_is_killed_while_its_stack_runs() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let stack = Temporary::new().unwrap();
    let pid = stack.start(Server::Redis).unwrap();
    println!("\nvictim {pid} {}", stack.config().dir.display());
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
fn a_killed_test_leaves_neither_processes_nor_files() {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim_that_is_killed_while_its_stack_runs", "--nocapture"])
        .env(VICTIM, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let line = lines
        .map(Result::unwrap)
        .find(|line| line.starts_with("victim "))
        .unwrap();
    let mut words = line.split(' ').skip(1);
    let pid: i32 = words.next().unwrap().parse().unwrap();
    let dir = Path::new(words.next().unwrap());
    assert!(exists(pid) && dir.exists());
    victim.kill().unwrap();
    victim.wait().unwrap();
    eventually("the server ends with the test", || !exists(pid));
    eventually("the folder is removed", || !dir.exists());
}

#[test]
fn the_process_that_moves_a_stack_between_cores_ends_with_it_or_when_it_is_told() {
    let programs = tempfile::tempdir().unwrap();
    script(programs.path(), "projection", "exec sleep 600");
    symlink(env!("CARGO_BIN_EXE_dp-cores"), programs.path().join("dp-cores")).unwrap();
    let configured = |config: &mut StackConfig| {
        config.bin_dir = programs.path().to_owned();
        config.quiet_core = true;
    };
    let stack = Temporary::with(configured).unwrap();
    let works = || {
        let lock = File::options().append(true).open(stack.config().dir.join("cores.lock"));
        lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
    };
    stack.start(Service::Projection).unwrap();
    eventually("it works beside the stack", works);
    eventually("it says which process it is", || stack.mover_pid().is_some_and(exists));
    stack.use_all_cores().unwrap();
    assert!(!works());
    eventually("the stack has no such process", || stack.mover_pid().is_none());

    let again = Stack::new(StackConfig {
        quiet_core: true,
        ..stack.config().clone()
    })
    .unwrap();
    again.stop(Service::Projection).unwrap();
    again.start(Service::Projection).unwrap();
    eventually("it works beside the next run", works);
    again.kill9(Service::Projection).unwrap();
    eventually("it ends with the stack", || !works());
}
