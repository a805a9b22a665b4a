//! The whole pipeline on servers that require a login, with one user per program.
//!
//! Kafka and the stores are the secured servers of crate `testkit`. Each program has exactly the rights that
//! `docs/security.md` lists.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod stores;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use e2e::{PATIENCE, SERVICES, build_programs, eventually, root};
use localstack::{Condition, Name, Service, Temporary};
use stores::Stores;
use testkit::secured_kafka::{PASSWORD, SecuredKafka};

const PROGRAMS: [&str; 6] = [
    "normalization",
    "enrichment",
    "aggregation",
    "projection",
    "operator",
    "producer",
];

/// The pipeline with its secured broker.
struct Secured {
    stack: Temporary,
    kafka: SecuredKafka,
    stores: Stores,
}

impl Secured {
    /// The servers, without services.
    fn start() -> Secured {
        build_programs().unwrap();
        let stack = stores::stack();
        let classpath = stack.kafka_classpath().unwrap();
        let kafka = SecuredKafka::start(&classpath, Path::new("/var/tmp"), &PROGRAMS).unwrap();
        grant_what_is_documented(&kafka);
        let stores = Stores::start(&stack);
        Secured { stack, kafka, stores }
    }

    /// The Kafka settings of a program.
    fn login(&self, user: &str, password: &str) -> BTreeMap<String, String> {
        let ca = self.kafka.ca().display().to_string();
        let pairs = [
            ("KAFKA_BOOTSTRAP", self.kafka.secured()),
            ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL".to_owned()),
            ("KAFKA_SASL_MECHANISM", "SCRAM-SHA-512".to_owned()),
            ("KAFKA_SASL_USERNAME", user.to_owned()),
            ("KAFKA_SASL_PASSWORD", password.to_owned()),
            ("KAFKA_SSL_CA", ca),
        ];
        let named = pairs.map(|(name, value)| (format!("DATA_PROC_{name}"), value));
        named.into_iter().collect()
    }

    fn start_service(&mut self, service: Service, password: &str) {
        let mut login = self.login(&Name::from(service).to_string(), password);
        login.extend(self.stores.login(false));
        self.stack.config_mut().service_env.extend(login);
        self.stack.start(service).unwrap();
    }

    fn dp(&self, user: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.stack.config().bin_dir.join("dp"));
        let foreign = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        for name in foreign.filter(|name| name.starts_with("DATA_PROC_")) {
            command.env_remove(name);
        }
        command.envs(self.stack.env()).envs(self.login(user, PASSWORD));
        command.envs(self.stores.login(true));
        command.args(arguments).output().unwrap()
    }

    fn dp_ok(&self, user: &str, arguments: &[&str]) -> String {
        let output = self.dp(user, arguments);
        let text = said(&output);
        assert!(output.status.success(), "{user}: dp {arguments:?}: {text}");
        text
    }

    fn log(&self, service: Service) -> String {
        std::fs::read_to_string(self.stack.log(service)).unwrap_or_default()
    }
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// Grants the rights in the table of `docs/security.md`. The services prove that they are sufficient.
fn grant_what_is_documented(kafka: &SecuredKafka) {
    let page = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
    let (_, table) = page.split_once("<!-- rights:").expect("the table of rights");
    let mut granted = 0;
    let of_table = |line: &&str| line.starts_with('|');
    let rows = table.lines().skip_while(|line| !of_table(line)).take_while(of_table);
    for line in rows.filter(|line| line.starts_with("| ")).skip(1) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [program, resource, names, operations] = cells.as_slice() else {
            panic!("a row of the table of rights has four cells: {line}");
        };
        let programs: Vec<&str> = match *program {
            "every service" => PROGRAMS[..4].to_vec(),
            one => vec![one],
        };
        assert!(programs.iter().all(|program| PROGRAMS.contains(program)), "{line}");
        let mut rights = Vec::new();
        for operation in operations.split(", ") {
            rights.extend(["--operation", operation]);
        }
        let resource = format!("--{resource}");
        match resource.as_str() {
            "--cluster" => rights.push(&resource),
            _ => names
                .split(", ")
                .for_each(|name| rights.extend([resource.as_str(), name])),
        }
        for program in programs {
            kafka.grant(program, &rights).unwrap();
            granted += 1;
        }
    }
    assert!(granted > 20, "{granted} rows");
}

#[test]
fn the_pipeline_runs_with_the_documented_rights_and_a_wrong_password_is_one_fatal_line() {
    let mut secured = Secured::start();
    secured.dp_ok("operator", &["migrate", "--seed"]);
    secured.stores.grant();
    secured.dp_ok("operator", &["topics", "create"]);
    secured.start_service(Service::Normalization, "wrong");
    eventually("normalization ends", || {
        let status = secured.stack.status()?;
        let of = |process: &&localstack::ProcessStatus| process.name == Service::Normalization.into();
        Ok(status
            .iter()
            .find(of)
            .is_none_or(|process| process.condition != Condition::Running))
    })
    .unwrap();
    let log = secured.log(Service::Normalization);
    let fatal: Vec<&str> = log.lines().filter(|line| line.contains("FATAL")).collect();
    assert_eq!(fatal.len(), 1, "{log}");
    assert!(fatal[0].contains("DATA_PROC_KAFKA_SASL_PASSWORD"), "{log}");
    assert!(fatal[0].contains("the broker refuses user 'normalization'"), "{log}");

    for service in SERVICES {
        secured.start_service(service, PASSWORD);
    }
    for service in SERVICES {
        if let Err(error) = secured.stack.wait_ready(service, PATIENCE) {
            panic!("{service:?}: {error}\n{}", secured.log(service));
        }
    }
    secured.dp_ok(
        "producer",
        &["simulate", "--ticks", "5000", "--rate", "1000", "--seed", "7"],
    );
    let verified = secured.dp("operator", &["verify", "--wait", "120"]);
    assert!(verified.status.success(), "{}", said(&verified));
    for service in SERVICES {
        let log = secured.log(service);
        let refused: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("authorization failed"))
            .collect();
        assert!(refused.is_empty(), "{service:?}: {refused:#?}");
        for password in [PASSWORD, stores::PASSWORD] {
            assert!(!log.contains(password), "{service:?} logs its password");
        }
    }
    // A user with rights to publish only cannot read.
    let refused = secured.dp("producer", &["tail", "dlq", "--from-beginning"]);
    assert!(!refused.status.success());
    assert!(said(&refused).contains("lacks a right"), "{}", said(&refused));
}
