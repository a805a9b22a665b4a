//! Passwords in addresses must not appear anywhere that shows addresses.

use std::fs;

use e2e::{Pipeline, eventually};
use localstack::{Condition, Server, Service, Stack};
use procfs::process::Process;

use super::{bare_dp, text};

const SECRET: &str = "hunter2-s3cret";

/// Addresses of these ports, with passwords.
fn addresses(kafka: u16, clickhouse: u16, postgres: u16, redis: u16) -> Vec<(&'static str, String)> {
    vec![
        ("DATA_PROC_KAFKA_BOOTSTRAP", format!("127.0.0.1:{kafka}")),
        (
            "DATA_PROC_CLICKHOUSE_URL",
            format!("http://dp:{SECRET}@127.0.0.1:{clickhouse}"),
        ),
        ("DATA_PROC_CLICKHOUSE_PASSWORD", SECRET.to_owned()),
        (
            "DATA_PROC_POSTGRES_DSN",
            format!("postgresql://user:{SECRET}@127.0.0.1:{postgres}/db"),
        ),
        ("DATA_PROC_REDIS_URL", format!("redis://:{SECRET}@127.0.0.1:{redis}/0")),
        (
            "NORMALIZATION_PROJECTION_URL",
            format!("http://dp:{SECRET}@127.0.0.1:1"),
        ),
    ]
}

/// An unreachable schema registry.
fn registry() -> (&'static str, String) {
    (
        "DATA_PROC_SCHEMA_REGISTRY_URL",
        format!("http://dp:{SECRET}@127.0.0.1:1"),
    )
}

fn assert_hidden(what: &str, shown: &str) {
    assert!(!shown.contains(SECRET), "{what}: {shown}");
}

#[test]
fn no_command_shows_a_password_of_an_address() {
    let pipeline = Pipeline::shared();
    let ports = &pipeline.stack().config().ports;
    let registry = registry();
    let there = addresses(ports.kafka, ports.clickhouse_http, ports.postgres, ports.redis);
    let nowhere = addresses(ports.kafka, 1, 1, 1);
    let malformed = vec![
        ("DATA_PROC_CLICKHOUSE_URL", format!("ftp://dp:{SECRET}@x")),
        (
            "DATA_PROC_POSTGRES_DSN",
            format!("postgresql://user:{SECRET}@[x/db?{SECRET}"),
        ),
        ("DATA_PROC_REDIS_URL", format!("redis://:{SECRET}@x:y/z")),
    ];
    for (env, more) in [
        (&there, None),
        (&there, Some(&registry)),
        (&nowhere, None),
        (&malformed, None),
    ] {
        for arguments in [
            &["config", "env"][..],
            &["--json", "config", "env"],
            &["sql", "SELECT 1"],
            &["migrate"],
            &["verify", "--wait", "1"],
            &["tail", "raw", "--limit", "1"],
            &["position", "show"],
            &["groups"],
            &["explain", "price", "--instrument", "X"],
        ] {
            let mut command = bare_dp(&pipeline, arguments);
            // Set explicitly, so that no local stack provides the addresses.
            command.envs(env.iter().chain(more).map(|(name, value)| (*name, value)));
            let output = command.output().unwrap();
            assert_hidden(&format!("dp {}", arguments.join(" ")), &text(&output));
        }
    }
    let api = format!("http://dp:{SECRET}@127.0.0.1:1");
    let output = pipeline
        .dp(&["explain", "price", "--instrument", "X", "--api", &api])
        .output()
        .unwrap();
    assert_hidden("dp explain price --api", &text(&output));
}

#[test]
fn no_service_shows_a_password_of_an_address() {
    let pipeline = Pipeline::shared();
    let ports = &pipeline.stack().config().ports;
    let registry = registry();
    let there = addresses(ports.kafka, ports.clickhouse_http, ports.postgres, ports.redis);
    let nowhere = addresses(ports.kafka, 1, 1, 1);
    for (env, more) in [(&there, None), (&nowhere, None), (&there, Some(&registry))] {
        let mut stack: Stack = pipeline.stack().clone();
        let set = env
            .iter()
            .chain(more)
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        stack.config_mut().service_env.extend(set);
        for service in Service::ALL {
            stack.stop(service).unwrap();
            let began = fs::metadata(stack.log(service)).unwrap().len() as usize;
            let pid = stack.start(service).unwrap();
            let is_over = || {
                stack
                    .status()
                    .unwrap()
                    .iter()
                    .any(|process| process.name == service.into() && process.condition == Condition::Stopped)
            };
            eventually("it answers, or has ended", || {
                Ok(is_over() || pipeline.get(service, "/health").is_ok())
            })
            .unwrap();
            // Wait until the health checks of all servers have run and are reported.
            eventually("it reports an error of a server, or has ended", || {
                Ok(is_over() || pipeline.get(service, "/health")?.1.contains("\"error\""))
            })
            .unwrap();
            let arguments = Process::new(pid).and_then(|process| process.cmdline());
            assert_hidden("ps", &arguments.unwrap_or_default().join(" "));
            for path in [
                "/info",
                "/health",
                "/health/ready",
                "/health/cluster",
                "/stats",
                "/metrics",
                "/health/projections",
                "/prices/latest",
            ] {
                let answer = pipeline
                    .get(service, path)
                    .map_or_else(|error| format!("{error:#}"), |(_, body)| body);
                assert_hidden(&format!("{service:?} {path}"), &answer);
            }
            let status = text(&pipeline.dp(&["status"]).output().unwrap());
            assert_hidden("dp status", &status);
            let log = fs::read(stack.log(service)).unwrap();
            let log = String::from_utf8_lossy(log.get(began..).unwrap_or_default()).into_owned();
            assert!(!log.is_empty());
            assert_hidden(&format!("log of {service:?}"), &log);
            let _ended_already = stack.stop(service).unwrap();
        }
    }
    pipeline.stack().up().unwrap();
    assert!(pipeline.stack().pid(Server::Kafka).is_some());
    pipeline.stack().start_services().unwrap();
}
