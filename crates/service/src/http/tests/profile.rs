use super::description::misfit;
use super::*;

fn post(running: &Running, path: &str) -> (String, String) {
    send(running, &format!("POST {path}"), "", "")
}

/// One profile at a time in this process: a test that runs one keeps the others away.
static ONE: parking_lot::Mutex<()> = parking_lot::Mutex::new(());

#[test]
fn a_profile_may_last_longer_than_other_requests_and_is_the_only_one() {
    let _one = ONE.lock();
    let running = started(1000);
    for (path, shape) in [
        ("/profile/cpu?seconds=1", &crate::http::profile::CPU_PROFILE),
        ("/profile/heap?seconds=1", &crate::http::profile::HEAP_PROFILE),
    ] {
        let (first, second) = std::thread::scope(|scope| {
            let both = [(); 2].map(|()| scope.spawn(|| post(&running, path)));
            let [one, other] = both.map(|thread| thread.join().unwrap());
            match one.0.starts_with("http/1.1 200") {
                true => (one, other),
                false => (other, one),
            }
        });
        assert!(first.0.starts_with("http/1.1 200"), "{path}: {first:?}");
        assert!(second.0.starts_with("http/1.1 409"), "{path}: {second:?}");
        let profile = json_of(&first.1);
        assert_eq!(misfit(shape, &profile, path), None);
        assert_eq!(profile["service"], "tested");
        assert!(
            profile["seconds"].as_f64().is_some_and(|seconds| seconds >= 1.0),
            "{profile}"
        );
    }
    // The test program has another allocator than the services: moments only.
    let heap = json_of(&post(&running, "/profile/heap?seconds=1").1);
    assert!(
        heap["allocated"].is_null() && heap["before"]["at"] != heap["after"]["at"],
        "{heap}"
    );
}

#[test]
fn a_profile_shows_the_function_that_is_busy() {
    let _one = ONE.lock();
    let running = started(1000);
    let profile: ::profile::cpu::CpuProfile = std::thread::scope(|scope| {
        let profile = scope.spawn(|| post(&running, "/profile/cpu?seconds=2&frequency=250").1);
        while !profile.is_finished() {
            get(&running, "/busy", "");
        }
        serde_json::from_str(&profile.join().unwrap()).unwrap()
    });
    // The handler of this route computes on a thread of its own.
    let folded = profile.stacks.folded();
    assert!(folded.contains("service::http::tests::compute"), "{folded}");
    assert!(profile.cpu_seconds > 0.0 && profile.lost == 0, "{profile:?}");
}

#[test]
fn what_is_wrong_with_a_request_is_named_and_nothing_starts() {
    let running = started(1000);
    for (path, status, reason) in [
        ("/profile/cpu", "400", "seconds"),
        ("/profile/cpu?seconds=x", "400", "query"),
        ("/profile/cpu?seconds=1&depth=2", "400", "it has seconds, frequency"),
        ("/profile/cpu?seconds=0", "422", "seconds must be from 1 to 60, got 0"),
        ("/profile/cpu?seconds=61", "422", "from 1 to 60"),
        ("/profile/cpu?seconds=1&frequency=1000", "422", "from 1 to 250"),
        ("/profile/heap", "400", "seconds"),
        ("/profile/heap?seconds=1&frequency=9", "400", "it has seconds"),
    ] {
        let (head, body) = post(&running, path);
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{path}: {head}");
        let problem = json_of(&body);
        assert!(
            problem["message"].as_str().unwrap().contains(reason),
            "{path}: {problem}"
        );
    }
    let (head, _) = get(&running, "/profile/cpu?seconds=1", "");
    assert!(head.starts_with("http/1.1 405"), "{head}");
    let (head, _) = send(
        &running,
        "POST /profile/cpu?seconds=1",
        "origin: https://evil.example\r\n",
        "",
    );
    assert!(head.starts_with("http/1.1 403"), "{head}");
}
