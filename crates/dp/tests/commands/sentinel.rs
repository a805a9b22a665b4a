//! `dp redis sentinel` on a real sentinel: what it watches, what is wrong with it, and where no sentinel is.

use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::PATIENCE;
use testkit::secured::redis::Watched;

fn dp(port: u16, arguments: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_dp"))
        .args(["redis", "sentinel", "--address", &format!("127.0.0.1:{port}")])
        .args(arguments)
        .env_clear()
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (status.code().unwrap_or(-1), text(&stdout) + &text(&stderr))
}

/// The only master, as soon as the sentinel tells what is expected and the exit code is this one. It looks at replicas every ten seconds.
fn until(watched: &Watched, code: i32, is_it: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (found, text) = dp(watched.sentinel(), &["--json"]);
        let masters: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        if found == code && is_it(&masters[0]) {
            assert_eq!(masters.as_array().unwrap().len(), 1);
            return masters[0].clone();
        }
        assert!(Instant::now() < deadline, "not within 60 s; exit code {found}, {text}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_sentinel_tells_its_masters_and_what_is_wrong_with_them() {
    let mut watched = Watched::start().unwrap();
    let master = until(&watched, 0, |master| master["replicas"][0]["link"] == "ok");
    assert_eq!(master["name"], "watched");
    assert_eq!(master["address"], format!("127.0.0.1:{}", watched.master()));
    assert_eq!((&master["quorum"], &master["sentinels"]), (&json!(1), &json!(1)));
    assert_eq!(master["flags"], json!(["master"]));
    let (code, text) = dp(watched.sentinel(), &[]);
    assert_eq!(code, 0, "{text}");
    for expected in [
        "replica",
        "watched: 1 sentinel(s), 1 must agree",
        "the services know no sentinel",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }

    watched.set_quorum(2).unwrap();
    let master = until(&watched, 1, |master| master["quorum"] == 2);
    let problem = master["problems"][0].as_str().unwrap();
    assert!(problem.starts_with("there can be no failover"), "{master}");
    watched.set_quorum(1).unwrap();

    watched.stop_replica();
    let master = until(&watched, 1, |master| {
        master["quorum"] == 1 && master["problems"][0].is_string()
    });
    let problem = master["problems"][0].as_str().unwrap();
    assert!(problem.starts_with("the replica at "), "{master}");
}

#[test]
fn where_no_sentinel_is_the_message_says_what_the_services_use() {
    let watched = Watched::start().unwrap();
    let (code, text) = dp(watched.master(), &[]);
    assert!(code == 2 && text.contains("is Redis and no sentinel"), "{code} {text}");

    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (code, text) = dp(closed, &[]);
    assert_eq!(code, 2, "{text}");
    for expected in [
        format!("no sentinel answers at 127.0.0.1:{closed}").as_str(),
        "DATA_PROC_REDIS_URL (redis://",
        "--address",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}
