//! The commands that look into servers, on real ones: each finds what this test has broken, and nothing before.

mod doctor;
mod migrate;
mod retention;
mod trace;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use localstack::{Server, Temporary};
use ops::connection::Connection;
use ops::migrations::{Stores, stores};
use serde_json::Value;
use stream::Pace;
use stream::dead_letter::header;
use stream::kafka::consumer::{GroupConsumer, GroupEvent};
use stream::kafka::publisher::{Publisher, Record};
use stream::kafka::settings;
use testkit::PATIENCE;

/// Exit code, stdout and stderr of `dp` with a stack.
fn dp(dir: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dp"));
    for name in std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()) {
        if name.starts_with("DATA_PROC_") && name != "DATA_PROC_CACHE" {
            command.env_remove(name);
        }
    }
    let output = command.arg("--dir").arg(dir).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap_or(-1),
        text(output.stdout),
        text(output.stderr),
    )
}

/// The JSON of a command that must end with this code.
fn json(dir: &Path, code: i32, arguments: &[&str]) -> Value {
    let mut all = arguments.to_vec();
    all.push("--json");
    let (found, stdout, stderr) = dp(dir, &all);
    assert_eq!(found, code, "{arguments:?}\n{stdout}{stderr}");
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{stdout}"))
}

/// The text of a command that must end with this code.
fn shown(dir: &Path, code: i32, arguments: &[&str]) -> String {
    let (found, stdout, stderr) = dp(dir, arguments);
    assert_eq!(found, code, "{arguments:?}\n{stdout}{stderr}");
    stdout
}

/// Repeats a look until it succeeds.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "not within 60 s: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn servers() -> (Temporary, Connection) {
    let stack = Temporary::new().unwrap();
    let dir = &stack.config().dir;
    let (code, stdout, stderr) = dp(dir, &["up", "--no-services"]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    let connection = Connection::to_stack(&stack, true).unwrap();
    (stack, connection)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_finds_what_is_wrong_and_nothing_before() {
    let (stack, connection) = servers();
    let dir = stack.config().dir.clone();
    kafka(&dir, &connection);
    produced(&dir, &connection);
    for command in ["list", "stats"] {
        assert!(shown(&dir, 0, &["dlq", command]).starts_with("there are no open dead letters"));
        let filtered = shown(&dir, 0, &["dlq", command, "--until", "1h"]);
        assert!(filtered.starts_with("no open dead letter matches"), "{filtered}");
    }
    purges(&dir, &connection);
    dead_letters(&dir, &connection);
    replays(&dir, &connection);
    gives_up(&dir, &connection);
    schemas(&dir);
    let stores = stores(&connection).unwrap();
    clickhouse(&dir, &stores);
    postgres(&dir, &stores);
    terminated(&dir, &stores);
    redis(&dir, &stores).await;
    trace::check(&dir, &connection, &stores).await;
    retention::check(&dir, &stores).await;
    migrate::check(&dir, &stores).await;

    let paths = json(&dir, 0, &["net", "check"]);
    let reached = paths
        .as_array()
        .unwrap()
        .iter()
        .filter(|path| path["hello_ms"].is_number());
    assert_eq!(reached.count(), 4, "{paths}");
    let sockets = json(&dir, 0, &["net", "sockets"]);
    for (path, process) in paths
        .as_array()
        .unwrap()
        .iter()
        .zip(["java", "clickhouse", "postgres", "redis"])
    {
        let port: u64 = path["address"]
            .as_str()
            .unwrap()
            .rsplit(':')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        let listeners = sockets["listeners"].as_array().unwrap().iter();
        let of_port: Vec<_> = listeners.filter(|listener| listener["port"] == port).collect();
        let is_named = |listener: &&Value| listener["process"].as_str().is_some_and(|name| name.contains(process));
        assert!(of_port.iter().any(is_named), "{process} at {port}: {sockets}");
    }
    stack.stop(Server::Redis).unwrap();
    let paths = json(&dir, 1, &["net", "check"]);
    let redis = paths
        .as_array()
        .unwrap()
        .iter()
        .find(|path| path["server"] == "redis")
        .unwrap();
    assert!(redis["problem"].as_str().unwrap().contains("connect: "), "{paths}");
    let (code, _, stderr) = dp(&dir, &["redis", "keys"]);
    assert!(code == 2 && stderr.contains("does not answer"), "{code} {stderr}");
}

fn publish(connection: &Connection, topic: &str, key: &str, payload: &str) {
    let record = Record {
        topic,
        key: Some(key.as_bytes()),
        payload: Some(payload.as_bytes()),
        ..Record::default()
    };
    Publisher::new(&connection.settings.kafka_bootstrap, "test")
        .unwrap()
        .publish(&record)
        .unwrap();
}

fn kafka(dir: &Path, connection: &Connection) {
    let topics = json(dir, 0, &["kafka", "topics"]);
    assert!(topics.as_array().unwrap().iter().any(|topic| topic["name"] == "dlq"));
    assert_eq!(
        json(dir, 0, &["kafka", "topics", "--under-replicated"]),
        serde_json::json!([])
    );
    let complete = shown(dir, 0, &["kafka", "topics", "--under-replicated"]);
    assert!(
        complete.starts_with("all ") && complete.lines().count() == 1,
        "{complete}"
    );
    // No service runs, and there is nothing to read.
    json(dir, 0, &["kafka", "groups"]);
    json(dir, 0, &["kafka", "lag", "--over", "0"]);

    let raw = connection.names.raw[0].as_str();
    publish(connection, raw, "A", "{}");
    let groups = json(dir, 1, &["kafka", "groups", "--group", "normalization-local"]);
    assert_eq!((&groups[0]["lag"], &groups[0]["members"]), (&1.into(), &0.into()));
    json(dir, 1, &["kafka", "lag", "--over", "0"]);
    json(dir, 0, &["kafka", "lag", "--over", "1"]);
    let text = shown(dir, 0, &["kafka", "lag", "--group", "normalization-local"]);
    assert!(text.contains(raw) && !text.contains("enrichment"), "{text}");

    let messages = |command: &[&str]| shown(dir, 0, &[command, &["raw", "-n", "5", "--from-beginning"]].concat());
    let text = messages(&["kafka", "tail"]);
    assert!(text.contains("[A]") && text.contains("json: {}"), "{text}");
    assert_eq!(text, messages(&["tail"]));

    let total = |offsets: &Value, field: &str| -> i64 {
        let partitions = offsets.as_array().unwrap().iter();
        partitions.map(|partition| partition[field].as_i64().unwrap()).sum()
    };
    let offsets = json(dir, 0, &["kafka", "offsets", "raw", "--at", "2020-01-01T00:00Z"]);
    assert_eq!((total(&offsets, "end"), total(&offsets, "at_time")), (1, 0));
    let later = json(dir, 0, &["kafka", "offsets", "raw", "--at", "2100-01-01T00:00Z"]);
    assert_eq!(total(&later, "at_time"), 1);

    let (code, _, stderr) = dp(dir, &["kafka", "groups", "--group", "nobody"]);
    assert!(code == 2 && stderr.contains("normalization-local"), "{code} {stderr}");
    owned(dir, connection);
}

/// Partitions without an owner, and with one that this test is.
fn owned(dir: &Path, connection: &Connection) {
    let group = "normalization-local";
    let owners = || -> Vec<Value> {
        let groups = json(dir, 1, &["kafka", "lag", "--group", group, "--over", "0"]);
        let partitions = groups[0]["partitions"].as_array().unwrap().iter();
        partitions.map(|partition| partition["owner"].clone()).collect()
    };
    assert!(owners().iter().all(Value::is_null));
    let free = shown(dir, 1, &["kafka", "groups", "--group", group]);
    assert!(free.contains("none: 0 1"), "{free}");

    let brokers = &connection.settings.kafka_bootstrap;
    let client = settings::consumer(brokers, group, "test-owner", Pace::PROMPT);
    let member = GroupConsumer::subscribe(brokers, &client, &connection.names.raw).unwrap();
    until("the member has its partitions", || {
        member.poll(Duration::from_millis(5)).unwrap();
        let events = member.take_events();
        let assigned = events.iter().any(|event| matches!(event, GroupEvent::Assigned(_)));
        assigned.then(|| member.acknowledge_assignment().unwrap())
    });
    let owners = owners();
    assert!(!owners.is_empty());
    for owner in &owners {
        let shown = (owner["client_id"].as_str(), owner["host"].as_str());
        assert_eq!(shown, (Some("test-owner"), Some("127.0.0.1")), "{owner}");
    }
    for arguments in [
        &["groups", "--partitions"][..],
        &["kafka", "lag"],
        &["kafka", "groups", "--group", group],
    ] {
        let (_, text, _) = dp(dir, arguments);
        assert!(text.contains("test-owner at 127.0.0.1"), "{arguments:?}\n{text}");
    }
}

/// A load in a topic of its own, which is deleted afterwards unless it existed or is kept.
fn produced(dir: &Path, connection: &Connection) {
    let bench = |more: &[&str]| {
        let mut arguments = vec!["bench", "produce", "--topic", "load-test"];
        arguments.extend(["--records", "300", "--size", "200"]);
        arguments.extend(more);
        json(dir, 0, &arguments)
    };
    let messages = || {
        let (code, stdout, _) = dp(dir, &["kafka", "offsets", "load-test", "--json"]);
        let offsets: Value = serde_json::from_str(&stdout).ok().filter(|_| code == 0)?;
        let partitions = offsets.as_array()?.iter();
        Some(
            partitions
                .filter_map(|partition| partition["messages"].as_i64())
                .sum::<i64>(),
        )
    };
    let figures = bench(&[]);
    assert_eq!(
        (&figures["records"], &figures["created"], &figures["deleted"]),
        (&300.into(), &true.into(), &true.into())
    );
    let latencies = ["p50_ms", "p95_ms", "p99_ms", "max_ms"].map(|name| figures[name].as_f64().unwrap());
    assert!(latencies[0] > 0.0 && latencies.is_sorted(), "{figures}");
    assert!(figures["mb_per_second"].as_f64().unwrap() > 0.0, "{figures}");
    until("the topic is deleted", || messages().is_none().then_some(()));

    let kept = bench(&["--keep", "--rate", "3000"]);
    assert_eq!(kept["deleted"], false);
    // The last record is due 299 intervals after the first.
    assert!(kept["seconds"].as_f64().unwrap() >= 299.0 / 3000.0, "{kept}");
    assert_eq!(messages(), Some(300));
    let newest = shown(dir, 0, &["kafka", "tail", "load-test", "--limit", "2"]);
    assert_eq!(newest.lines().count(), 2, "{newest}");
    let again = bench(&[]);
    assert_eq!((&again["created"], &again["deleted"]), (&false.into(), &false.into()));
    assert_eq!(messages(), Some(600));

    for topic in ["dlq", connection.names.raw[0].as_str(), connection.names.bars.as_str()] {
        let (code, _, stderr) = dp(dir, &["bench", "produce", "--topic", topic]);
        assert!(
            code == 2 && stderr.contains("belongs to the pipeline"),
            "{topic}: {stderr}"
        );
    }
}

fn publish_letter(connection: &Connection, payload: &str, headers: &[(&str, &str)]) {
    let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let record = Record {
        topic: "dlq",
        payload: Some(payload.as_bytes()),
        headers: &headers,
        ..Record::default()
    };
    Publisher::new(&connection.settings.kafka_bootstrap, "test")
        .unwrap()
        .publish(&record)
        .unwrap();
}

/// Sends the dead letter of a message, with the headers of a service.
fn reject(connection: &Connection, origin: i64, code: &str, market: &str, failed_at: i64) {
    let payload = format!(
        r#"{{"payload":{{"market":"{market}"}},"note":"{}"}}"#,
        "x".repeat(3_000)
    );
    let (origin, failed_at) = (origin.to_string(), failed_at.to_string());
    let headers = [
        (header::TOPIC, "ingestion.market.raw.v1"),
        (header::PARTITION, "2"),
        (header::OFFSET, &origin),
        (header::STAGE, "normalize"),
        (header::SERVICE, "normalization"),
        (header::CODE, code),
        (header::MESSAGE, "it is wrong\u{1b}[2J"),
        (header::ATTEMPTS, "1"),
        (header::FAILED_AT, &failed_at),
        (header::REJECTED_ROWS, ""),
    ];
    publish_letter(connection, &payload, &headers);
}

fn dead_letters(dir: &Path, connection: &Connection) {
    let hour = 3_600_000_000;
    let now = jiff::Timestamp::now().as_microsecond();
    reject(connection, 10, "broken_json", "miso", now - 2 * hour);
    reject(connection, 11, "no_price", "pjm", now);
    // Killed after it was sent, and sent again.
    reject(connection, 11, "no_price", "pjm", now);
    publish(connection, "dlq", "", "no letter");

    let listed = json(dir, 1, &["dlq", "list"]);
    let origins: Vec<&Value> = listed["letters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| &letter["origin"]["offset"])
        .collect();
    assert_eq!(origins, [10, 11]);
    assert_eq!(
        listed["passed_over"],
        serde_json::json!({ "repeated": 1, "replayed": 0, "given_up": 0, "foreign": 1 })
    );
    for (filter, matching) in [
        (&["--market", "PJM"][..], 1),
        (&["--code", "broken_json"], 1),
        (&["--code", "broken_json", "--market", "pjm"], 0),
        (&["--since", "1h"], 1),
        (&["--until", "1h"], 1),
        (&["--stage", "enrich"], 0),
    ] {
        let arguments = [&["dlq", "list"], filter].concat();
        let found = json(dir, i32::from(matching > 0), &arguments);
        assert_eq!(found["matching"], matching, "{filter:?}");
    }
    for command in ["list", "stats", "replay"] {
        let text = shown(dir, 0, &["dlq", command, "--code", "price_out_of_bounds"]);
        assert!(
            text.contains("no letter has code price_out_of_bounds; there are: broken_json, no_price"),
            "{text}"
        );
    }
    let text = shown(dir, 1, &["dlq", "list", "--limit", "1"]);
    assert!(
        text.contains("broken_json") && text.contains("1 more") && !text.contains('\u{1b}'),
        "{text}"
    );
    let stats = json(dir, 1, &["dlq", "stats", "--by", "market"]);
    assert_eq!(
        (&stats["letters"], &stats["groups"][0]["letters"]),
        (&2.into(), &1.into())
    );

    let whole = shown(dir, 0, &["dlq", "show", "ingestion.market.raw.v1/2/11"]);
    assert!(
        whole.contains("no_price") && whole.matches('x').count() >= 3_000,
        "{} bytes",
        whole.len()
    );
    let first = listed["letters"][0]["place"]["offset"].to_string();
    let by_offset = json(dir, 0, &["dlq", "show", &first]);
    assert_eq!(by_offset["value"]["payload"]["market"], "miso");
    for name in ["place", "origin", "code", "failed_at", "market"] {
        assert_eq!(by_offset[name], listed["letters"][0][name], "{name}");
    }
    for (missing, expected) in [("99", 1), ("ingestion.market.raw.v1/2/99", 1), ("nonsense", 2)] {
        let (code, _, stderr) = dp(dir, &["dlq", "show", missing]);
        assert!(
            code == expected && stderr.contains("dlq list"),
            "{missing}: {code} {stderr}"
        );
    }
}

fn replays(dir: &Path, connection: &Connection) {
    let raw_ends = || -> i64 {
        let offsets = json(dir, 0, &["kafka", "offsets", "raw"]);
        let ends = offsets.as_array().unwrap().iter();
        ends.map(|partition| partition["end"].as_i64().unwrap()).sum()
    };
    let before = raw_ends();
    let planned = json(dir, 0, &["dlq", "replay", "--dry-run"]);
    assert_eq!(planned["replayed"].as_array().unwrap().len(), 2);
    assert_eq!(raw_ends(), before);

    let sent = json(dir, 1, &["dlq", "replay", "--limit", "1"]);
    assert_eq!(
        (&sent["replayed"][0]["origin"]["offset"], &sent["left"]),
        (&10.into(), &1.into())
    );
    let to = &sent["replayed"][0]["replay"];
    assert_eq!(
        (&to["topic"], &to["partition"]),
        (&"ingestion.market.raw.v1".into(), &2.into())
    );
    let text = shown(dir, 0, &["dlq", "replay", "--market", "pjm"]);
    assert!(
        text.contains("1 letter(s) were replayed") && text.contains("1 repetition"),
        "{text}"
    );
    assert!(shown(dir, 0, &["dlq", "list"]).contains("2 more were replayed"));
    let all = json(dir, 1, &["dlq", "list", "--replayed"]);
    let replayed = all["letters"].as_array().unwrap().iter();
    assert!(
        replayed.clone().count() == 2 && replayed.clone().all(|letter| letter["replayed"] == true),
        "{all}"
    );
    assert!(shown(dir, 0, &["dlq", "replay"]).contains("0 letter(s) were replayed"));

    // A newer letter is open.
    reject(connection, 12, "no_price", "pjm", 1);
    let next = json(dir, 0, &["dlq", "replay", "--dry-run"]);
    assert_eq!(
        (&next["replayed"][0]["origin"]["offset"], &next["passed"]["replayed"]),
        (&12.into(), &2.into())
    );
    let (code, _, stderr) = dp(dir, &["dlq", "replay", "--max-attempts", "1"]);
    assert!(code == 2 && stderr.contains("--max-attempts"), "{stderr}");

    // A replay in the raw topic needs its letter, so nothing can be purged.
    let plan = json(dir, 1, &["dlq", "purge", "--open", "--dry-run"]);
    assert_eq!(
        (&plan[0]["letters"], &plan[0]["stays"][0]["topic"]),
        (&0.into(), &"dlq".into())
    );
    let (code, _, stderr) = dp(dir, &["dlq", "purge", "--until", "never"]);
    assert!(code == 2 && stderr.contains("--until"), "{stderr}");
}

/// Chosen letters are closed, whatever is open or replayed beside them.
fn gives_up(dir: &Path, connection: &Connection) {
    reject(connection, 13, "missing_time", "pjm", 2);
    let chosen = ["dlq", "purge", "--code", "missing_time"];
    let (code, _, stderr) = dp(dir, &chosen);
    assert!(code == 2 && stderr.contains("--open"), "{stderr}");
    let with = |option| [&chosen[..], &["--open", option]].concat();
    let planned = json(dir, 0, &with("--dry-run"));
    assert_eq!(planned["given_up"][0]["origin"]["offset"], 13);
    let (code, _, stderr) = dp(dir, &[&chosen[..], &["--open"]].concat());
    assert!(
        code == 2 && stderr.contains("give up 1 open") && stderr.contains("--yes"),
        "{stderr}"
    );
    assert_eq!(json(dir, 1, &["dlq", "stats"])["letters"], 2);

    let text = shown(dir, 0, &with("--yes"));
    assert!(text.contains("1 open letter(s) were given up"), "{text}");
    let stats = json(dir, 1, &["dlq", "stats"]);
    assert_eq!(
        (&stats["letters"], &stats["passed_over"]["given_up"]),
        (&1.into(), &1.into())
    );
    let all = shown(dir, 1, &["dlq", "list", "--replayed", "--code", "missing_time"]);
    assert!(all.contains("(given up)"), "{all}");
    let replayed = shown(dir, 0, &["dlq", "replay", "--code", "missing_time"]);
    assert!(
        replayed.contains("0 letter(s) were replayed") && replayed.contains("1 more were given up"),
        "{replayed}"
    );
    assert!(shown(dir, 0, &with("--yes")).contains("0 open letter(s) were given up"));
}

/// On a topic of its own state: nothing was replayed.
fn purges(dir: &Path, connection: &Connection) {
    reject(connection, 10, "broken_json", "miso", 1);
    reject(
        connection,
        11,
        "no_price",
        "pjm",
        jiff::Timestamp::now().as_microsecond(),
    );
    json(dir, 1, &["dlq", "purge"]);
    assert_eq!(json(dir, 1, &["dlq", "stats"])["letters"], 2);
    let (code, _, stderr) = dp(dir, &["dlq", "purge", "--open", "--until", "1h"]);
    assert!(code == 2 && stderr.contains("--yes"), "{stderr}");
    let text = shown(dir, 1, &["dlq", "purge", "--open", "--until", "1h", "--yes"]);
    assert!(
        text.contains("1 letter(s) were removed") && text.contains("later than --until"),
        "{text}"
    );
    assert_eq!(json(dir, 1, &["dlq", "stats"])["letters"], 1);
    shown(dir, 0, &["dlq", "purge", "--open", "--yes"]);
    json(dir, 0, &["dlq", "stats", "--replayed"]);
}

fn schemas(dir: &Path) {
    let known = json(dir, 0, &["schema", "list"]);
    let bar = known
        .as_array()
        .unwrap()
        .iter()
        .find(|schema| schema["name"] == "bar")
        .unwrap();
    assert_eq!(bar["topics"], serde_json::json!(["aggregation.bars.v1"]));
    json(dir, 0, &["schema", "validate"]);
    // The raw topic has the empty object of an earlier step.
    let raw = json(
        dir,
        1,
        &["schema", "validate", "--topic", "raw", "--max", "1", "--from-beginning"],
    );
    assert_eq!(raw.as_array().unwrap().len(), 1);
    assert_ne!(raw[0]["problems"], serde_json::json!([]));
    let letters = shown(dir, 1, &["schema", "validate", "--topic", "dlq"]);
    assert!(
        letters.contains("dlq/0/5") && letters.contains("9 message(s) checked, 1 invalid"),
        "{letters}"
    );
    json(dir, 0, &["schema", "validate", "--topic", "bars"]);

    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/avro/bar.avsc");
    json(dir, 0, &["schema", "check-compat", schema.to_str().unwrap()]);
    let mut changed: Value = serde_json::from_str(&std::fs::read_to_string(&schema).unwrap()).unwrap();
    changed["fields"]
        .as_array_mut()
        .unwrap()
        .push(serde_json::json!({ "name": "added", "type": "long" }));
    let path = dir.join("changed.avsc");
    std::fs::write(&path, changed.to_string()).unwrap();
    let compared = json(dir, 1, &["schema", "check-compat", path.to_str().unwrap()]);
    assert!(compared["backward"].is_string(), "{compared}");
    assert_eq!(compared["messages"], Value::Null);
    std::fs::remove_file(path).unwrap();
}

fn clickhouse(dir: &Path, stores: &Stores) {
    let insert = "INSERT INTO market_data.accepted_gaps (service) VALUES ('test')";
    let clickhouse = stores.clickhouse.clone();
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| runtime.block_on(clickhouse.exec(insert))).unwrap();
    let parts = json(dir, 0, &["clickhouse", "parts"]);
    let gaps = parts
        .as_array()
        .unwrap()
        .iter()
        .find(|table| table["table"] == "accepted_gaps")
        .unwrap();
    assert_eq!((&gaps["rows"], &gaps["parts"]), (&1.into(), &1.into()));
    json(dir, 1, &["clickhouse", "parts", "--over", "0"]);

    let disks = json(dir, 1, &["clickhouse", "disk", "--free-under", "100.1"]);
    assert!(disks[0]["total_bytes"].as_u64().unwrap() > 0, "{disks}");
    json(dir, 0, &["clickhouse", "disk", "--free-under", "0"]);

    let running = stores.clickhouse.clone();
    let slow = runtime.spawn(async move {
        let sql = "SELECT sleepEachRow(1) FROM system.numbers LIMIT 12 SETTINGS max_block_size = 1 FORMAT Null";
        running.exec(sql).await
    });
    let query = until("the running query is shown", || {
        let (code, stdout, _) = dp(dir, &["clickhouse", "processes", "--over", "0s", "--json"]);
        let running: Vec<Value> = serde_json::from_str(&stdout).ok()?;
        let is_slow = |query: &Value| {
            query["query"]
                .as_str()
                .is_some_and(|text| text.contains("sleepEachRow"))
        };
        running.into_iter().find(is_slow).filter(|_| code == 1)
    });
    assert!(query["seconds"].as_f64().is_some(), "{query}");
    json(dir, 0, &["clickhouse", "processes", "--over", "1h"]);
    tokio::task::block_in_place(|| runtime.block_on(slow)).unwrap().unwrap();
    logged(dir);
}

/// The slow query is in the query log.
fn logged(dir: &Path) {
    let query = until("the slow query is logged", || {
        let (code, stdout, _) = dp(dir, &["clickhouse", "slow", "--over", "5s", "--json"]);
        let queries: Value = serde_json::from_str(&stdout).ok()?;
        (code == 1).then(|| queries[0].clone())
    });
    assert!(query["query"].as_str().unwrap().contains("sleepEachRow"), "{query}");
    assert!(query["milliseconds"].as_u64().unwrap() >= 5_000, "{query}");
    let none = shown(dir, 0, &["clickhouse", "slow", "--over", "10m"]);
    assert!(none.contains("no query took that long"), "{none}");
}

/// A session is ended by its pid; the pipeline's own only if that is asked for.
fn terminated(dir: &Path, stores: &Stores) {
    let runtime = tokio::runtime::Handle::current();
    let postgres = stores.postgres.clone();
    let sleeps = runtime.spawn(async move { postgres.exec("BEGIN; SELECT pg_sleep(60); COMMIT").await });
    let pid = until("the session runs", || {
        let (_, stdout, _) = dp(dir, &["postgres", "long-running", "--over", "10ms", "--json"]);
        let sessions: Value = serde_json::from_str(&stdout).ok()?;
        let is_it = |session: &&Value| {
            session["query"]
                .as_str()
                .is_some_and(|query| query.contains("pg_sleep(60)"))
        };
        Some(sessions.as_array()?.iter().find(is_it)?["pid"].to_string())
    });
    let spared = json(dir, 1, &["postgres", "terminate", &pid, "--dry-run"]);
    assert_eq!(spared["spared"][0]["pid"].to_string(), pid);
    let (code, _, stderr) = dp(dir, &["postgres", "terminate", &pid, "--own"]);
    assert!(code == 2 && stderr.contains("--yes"), "{code} {stderr}");
    let ended = json(dir, 0, &["postgres", "terminate", &pid, "--own", "--yes"]);
    assert_eq!(
        (ended["ended"].as_bool(), ended["sessions"][0]["pid"].to_string()),
        (Some(true), pid)
    );
    let slept = tokio::task::block_in_place(|| runtime.block_on(sleeps)).unwrap();
    assert!(slept.is_err(), "the session has not ended");
    json(dir, 1, &["postgres", "terminate", "--application", "nobody", "--yes"]);
}

fn postgres(dir: &Path, stores: &Stores) {
    let activity = json(dir, 0, &["postgres", "activity"]);
    assert!(activity["max_connections"].as_u64().unwrap() >= 100, "{activity}");
    json(dir, 0, &["postgres", "locks"]);
    json(dir, 0, &["postgres", "blocking"]);
    json(dir, 0, &["postgres", "long-running", "--over", "1m"]);
    let pool = json(dir, 0, &["postgres", "pool"]);
    assert_eq!(pool["max_connections"], activity["max_connections"]);
    assert!(shown(dir, 0, &["postgres", "pool"]).contains("DATA_PROC_DB_POOL_SIZE is "));

    let runtime = tokio::runtime::Handle::current();
    let holds = |seconds: u8| {
        let postgres = stores.postgres.clone();
        runtime.spawn(async move {
            let sql = format!("BEGIN; LOCK TABLE taxonomy_regions; SELECT pg_sleep({seconds}); COMMIT");
            postgres.exec(&sql).await
        })
    };
    let first = holds(8);
    until("a session holds the lock", || {
        let (code, stdout, _) = dp(dir, &["postgres", "long-running", "--over", "10ms"]);
        (code == 1 && stdout.contains("LOCK TABLE")).then_some(())
    });
    let sessions = [first, holds(0)];
    let locks = until("a session waits for the lock", || {
        let (code, stdout, _) = dp(dir, &["postgres", "locks", "--json"]);
        let locks: Value = serde_json::from_str(&stdout).ok()?;
        (code == 1).then_some(locks)
    });
    assert!(locks[0]["query"].as_str().unwrap().contains("LOCK TABLE"), "{locks}");
    assert_ne!(locks[0]["pid"], locks[0]["blocked_by"]);
    for session in sessions {
        tokio::task::block_in_place(|| runtime.block_on(session))
            .unwrap()
            .unwrap();
    }
    json(dir, 0, &["postgres", "locks"]);
    counted(dir);

    let all = json(dir, 0, &["postgres", "indexes"]);
    assert!(all.as_array().unwrap().iter().any(|index| index["is_unique"] == true));
    let unused = dp(dir, &["postgres", "indexes", "--unused", "--json"]);
    let unused: Value = serde_json::from_str(&unused.1).unwrap();
    assert!(
        unused
            .as_array()
            .unwrap()
            .iter()
            .all(|index| index["is_unique"] == false)
    );
    let sizes = shown(dir, 0, &["postgres", "sizes"]);
    assert!(sizes.contains("taxonomy_instruments"), "{sizes}");
}

/// The sleep of eight seconds is one of the statements with the most time.
fn counted(dir: &Path) {
    let statements = json(dir, 0, &["postgres", "statements", "--limit", "3"]);
    let statements = statements.as_array().unwrap();
    assert_eq!(statements.len(), 3);
    let total = |statement: &Value| statement["total_ms"].as_f64().unwrap();
    assert!(statements.is_sorted_by(|a, b| total(a) >= total(b)), "{statements:?}");
    let is_sleep = |statement: &&Value| statement["query"].as_str().unwrap().contains("pg_sleep(");
    let slept = statements.iter().find(is_sleep).unwrap();
    assert!(total(slept) >= 8_000.0, "{slept}");
    let (calls, mean) = (slept["calls"].as_u64().unwrap(), slept["mean_ms"].as_f64().unwrap());
    assert!((mean * calls as f64 - total(slept)).abs() < 1.0, "{slept}");
    let text = shown(dir, 0, &["postgres", "statements"]);
    assert!(
        text.contains("pg_sleep($1)") && text.contains("share of time"),
        "{text}"
    );
}

async fn redis(dir: &Path, stores: &Stores) {
    assert!(shown(dir, 0, &["redis", "keys"]).contains("no such key"));
    let key = |key: &str| (key.to_owned(), "1".to_owned());
    let values = [
        key("served:latest_price:acme:A"),
        key("served:latest_price:acme:B"),
        key("ratelimit:x"),
    ];
    stores.redis.set_many(&values, Duration::from_secs(600)).await.unwrap();
    let groups = json(dir, 0, &["redis", "keys"]);
    assert_eq!(
        (&groups[0]["kind"], &groups[0]["tenant"], &groups[0]["keys"]),
        (&"served:latest_price".into(), &"acme".into(), &2.into())
    );
    let memory = json(dir, 0, &["redis", "memory"]);
    assert!(memory[0]["used_bytes"].as_u64().unwrap() > 100_000, "{memory}");
    assert!(shown(dir, 0, &["redis", "memory"]).contains("allkeys-lru"), "{memory}");
    let limits = json(dir, 0, &["redis", "keys", "--pattern", "ratelimit:*"]);
    assert_eq!(limits.as_array().unwrap().len(), 1);
}
