//! `dp doctor` on real servers: silent while all is well, and each thing that this test breaks is named.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::*;

/// Services that are healthy and have this version; the arguments that name them.
fn stand_ins(versions: &[(&str, &'static str)]) -> Vec<String> {
    let mut arguments = Vec::new();
    for (name, version) in versions {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        arguments.push(format!("--service={name}=http://{}", listener.local_addr().unwrap()));
        let body = format!(r#"{{"status":"healthy","version":"{version}","checks":{{}}}}"#);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _length = stream.read(&mut [0; 1024]);
                let _closed_early = write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}");
            }
        });
    }
    arguments
}

/// The diagnosis and its exit code.
fn doctor(dir: &Path, services: &[String]) -> (i32, Value) {
    let mut arguments = vec!["doctor", "--json", "--timeout=3m"];
    arguments.extend(services.iter().map(String::as_str));
    let (code, stdout, stderr) = dp(dir, &arguments);
    let diagnosis = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}\n{stdout}{stderr}"));
    (code, diagnosis)
}

/// Severity and text of each finding, without notes.
fn found(diagnosis: &Value) -> Vec<(&str, &str)> {
    let findings = diagnosis["findings"].as_array().unwrap().iter();
    findings
        .map(|finding| (finding["severity"].as_str().unwrap(), finding["what"].as_str().unwrap()))
        .filter(|(severity, _)| *severity != "note")
        .collect()
}

/// The finding with this text.
fn finding<'a>(diagnosis: &'a Value, what: &str) -> &'a Value {
    let findings = diagnosis["findings"].as_array().unwrap();
    let named = findings.iter().find(|finding| finding["what"] == what);
    named.unwrap_or_else(|| panic!("{what}: {diagnosis:#}"))
}

fn exec(stores: &Stores, in_clickhouse: &str, in_postgres: &str) {
    let (clickhouse, postgres) = (stores.clickhouse.clone(), stores.postgres.clone());
    tokio::task::block_in_place(|| {
        tokio::runtime::Handle::current().block_on(async {
            clickhouse.exec(in_clickhouse).await.unwrap();
            postgres.exec(in_postgres).await.unwrap();
        });
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_what_is_broken_and_nothing_before() {
    let (stack, connection) = servers();
    let dir = stack.config().dir.clone();
    let all = [
        ("normalization", "1"),
        ("enrichment", "1"),
        ("aggregation", "1"),
        ("projection", "1"),
    ];
    let services = stand_ins(&all);

    let (code, well) = doctor(&dir, &services);
    assert_eq!((code, found(&well)), (0, Vec::new()), "{well:#}");
    assert_eq!(well["not_checked"], serde_json::json!([]));
    assert_eq!(well["checked"].as_array().unwrap().len(), 14);

    take_a_partition(&dir, &connection, &services);
    break_data(&dir, &connection, &services);
    break_tables(&dir, &connection, &services);

    stack.stop(Server::Redis).unwrap();
    let (code, text, _) = dp(&dir, &["doctor", "--timeout=3m"]);
    let next = format!("next: dp --dir {} start redis\n", dir.display());
    assert!(
        code == 1 && text.contains("redis is down") && text.contains(&next),
        "{code} {text}"
    );
    // Without stand-ins the services of the stack are asked, and they do not run.
    assert!(text.contains("critical  normalization is down"), "{text}");
    let columns = |line: &&str| line.chars().count() > 80 && !line.contains("next: ");
    let long: Vec<&str> = text
        .lines()
        .filter(columns)
        .filter(|line| line.trim().contains(' '))
        .collect();
    assert_eq!(long, Vec::<&str>::new());
    let (_, without) = doctor(&dir, &services);
    assert_eq!(without["not_checked"], serde_json::json!(["redis"]));
    let consequences = finding(&without, "redis is down")["consequences"].to_string();
    assert!(consequences.contains("redis could not be checked"), "{consequences}");
}

/// A repair has claimed a partition from its writer, which has stored a floor under its own claim before. It is named until the writer
/// has claimed the partition again.
fn take_a_partition(dir: &Path, connection: &Connection, services: &[String]) {
    let (stores, topic) = (stores(connection).unwrap(), &connection.names.normalized);
    let claim = |epoch: u32, seconds: u32| {
        let sql = format!(
            "INSERT INTO market_data.writer_fence (topic, partition, epoch, writer, claimed_at) SELECT '{topic}', 2, {epoch}, \
             toUUID('00000000-0000-0000-0000-00000000000{epoch}'), now64(6, 'UTC') - INTERVAL {seconds} SECOND"
        );
        exec(&stores, &sql, "SELECT 1");
    };
    let floor = |epoch: u32| {
        let sql = format!(
            "INSERT INTO market_data.writer_floor (topic, partition, epoch, writer, next_offset) SELECT '{topic}', 2, {epoch}, \
             toUUID('00000000-0000-0000-0000-00000000000{epoch}'), 0"
        );
        exec(&stores, &sql, "SELECT 1");
    };
    let notes = || -> Vec<String> {
        let (code, diagnosis) = doctor(dir, services);
        assert_eq!((code, found(&diagnosis)), (0, Vec::new()), "{diagnosis:#}");
        let findings = diagnosis["findings"].as_array().unwrap().iter();
        let of_tables = findings.filter(|finding| finding["area"] == "tables");
        of_tables.map(|finding| finding["what"].to_string()).collect()
    };
    claim(1, 300);
    floor(1);
    assert_eq!(notes(), Vec::<String>::new(), "the writer's own claim");
    claim(2, 4);
    let told = notes();
    assert!(
        told.len() == 1 && told[0].contains("a repair took the fence of the writer of market_ticks"),
        "{told:?}"
    );
    claim(3, 4);
    floor(3);
    assert_eq!(notes(), Vec::<String>::new(), "the writer has it again");
}

/// Messages that nobody reads, a dead letter, and a service of another build.
fn break_data(dir: &Path, connection: &Connection, services: &[String]) {
    publish(connection, &connection.names.raw[0], "A", "{}");
    let now = jiff::Timestamp::now().as_microsecond();
    reject(connection, 11, "no_price", "pjm", now - 60_000_000);
    reject(connection, 12, "no_price", "pjm", now);
    let mut services = services.to_vec();
    services.extend(stand_ins(&[("projection-2", "0.9")]));

    let (code, diagnosis) = doctor(dir, &services);
    assert_eq!(code, 1);
    let expected = [
        ("critical", "nobody reads for group normalization-local"),
        ("warning", "services have different versions"),
        ("warning", "2 message(s) or rows are dead letters"),
    ];
    assert_eq!(found(&diagnosis), expected, "{diagnosis:#}");
    let lag = finding(&diagnosis, expected[0].1);
    assert_eq!(
        (&lag["where"], &lag["next"]),
        (
            &connection.names.raw[0].as_str().into(),
            &format!("dp --dir {} restart normalization", dir.display()).into()
        )
    );
    assert!(
        lag["evidence"][0].as_str().unwrap().starts_with("1 messages behind"),
        "{lag}"
    );
    let versions = finding(&diagnosis, expected[1].1);
    assert!(
        versions["evidence"].to_string().contains("0.9: projection-2"),
        "{versions}"
    );
    let letters = finding(&diagnosis, expected[2].1);
    assert!(
        letters["evidence"].to_string().contains("2 of no_price, normalize"),
        "{letters}"
    );
}

/// Tables that were dropped by hand; the command that the finding names creates them again.
fn break_tables(dir: &Path, connection: &Connection, services: &[String]) {
    exec(
        &stores(connection).unwrap(),
        "DROP TABLE market_data.accepted_gaps SYNC",
        "DROP INDEX served_latest_prices_by_time",
    );
    let (_, diagnosis) = doctor(dir, services);
    let tables: Vec<&Value> = diagnosis["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["area"] == "tables")
        .collect();
    let evidence: Vec<&str> = tables
        .iter()
        .map(|finding| finding["evidence"][0].as_str().unwrap())
        .collect();
    assert_eq!(
        evidence,
        ["missing: accepted_gaps", "missing: served_latest_prices_by_time"],
        "{diagnosis:#}"
    );
    let own = format!("dp --dir {} ", dir.display());
    let next = tables[0]["next"].as_str().unwrap().strip_prefix(&own).unwrap();
    let next: Vec<&str> = next.split(' ').collect();
    assert!(!shown(dir, 0, &next).is_empty());
    let (_, cured) = doctor(dir, services);
    let areas = cured["findings"].as_array().unwrap().iter();
    assert!(
        areas.map(|finding| &finding["area"]).all(|area| area != "tables"),
        "{cured:#}"
    );
}
