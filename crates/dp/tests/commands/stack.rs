//! `dp` with a local stack whose services are scripts: nothing is started that needs a server.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use localstack::{Name, Service, Stack, Temporary};
use tempfile::TempDir;

/// A stack whose projection sleeps, and the folder of its programs.
fn sleeping() -> (Temporary, TempDir) {
    let programs = tempfile::tempdir().unwrap();
    for (name, line) in [("projection", "exec sleep 600"), ("dp-log", "exec cat >> \"$1\"")] {
        let program = programs.path().join(name);
        std::fs::write(&program, format!("#!/bin/sh\n{line}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let stack = Temporary::with(|config| config.bin_dir = programs.path().to_owned()).unwrap();
    (stack, programs)
}

fn dp(dir: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dp"));
    for name in std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()) {
        if name.starts_with("DATA_PROC_") {
            command.env_remove(name);
        }
    }
    command.arg("--dir").arg(dir).args(arguments);
    command.envs(env.iter().copied()).output().unwrap()
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .concat()
}

#[test]
fn a_restart_with_an_invalid_configuration_stops_nothing() {
    let (stack, _programs) = sleeping();
    let pid = stack.start(Service::Projection).unwrap();
    let dir = &stack.config().dir;
    let invalid = [("DATA_PROC_WORKERS", "0")];
    for command in ["restart", "start"] {
        let output = dp(dir, &[command, "projection", "--no-wait"], &invalid);
        let told = text(&output);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("DATA_PROC_WORKERS must be an integer"), "{told}");
        assert!(
            told.contains(&format!("`dp --dir {} config check`", dir.display())),
            "{told}"
        );
        assert_eq!(stack.pid(Service::Projection), Some(pid));
    }
    let output = dp(dir, &["restart", "projection", "--no-wait"], &[]);
    assert!(output.status.success(), "{}", text(&output));
    assert_ne!(stack.pid(Service::Projection), Some(pid));
}

#[test]
fn a_plain_shell_works_with_the_generation_of_the_stack() {
    let (stack, _programs) = sleeping();
    let dir = &stack.config().dir;
    let generation = |env: &[(&str, &str)]| {
        let output = dp(dir, &["--json", "config", "env", "--service", "projection"], env);
        let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let variables = shown.as_array().unwrap().iter();
        let mut named = variables.filter(|variable| variable["name"] == "DATA_PROC_GENERATION");
        named.next().unwrap()["value"].as_str().unwrap().to_owned()
    };
    assert_eq!(generation(&[]), "");
    for (env, expected) in [
        (&[("DATA_PROC_GENERATION", "g2")][..], "g2"),
        // It stays with the stack.
        (&[], "g2"),
        // The first generation again.
        (&[("DATA_PROC_GENERATION", "")], ""),
    ] {
        let output = dp(dir, &["restart", "projection", "--no-wait"], env);
        assert!(output.status.success(), "{}", text(&output));
        assert_eq!(generation(&[]), expected);
        let pid = stack.pid(Service::Projection).unwrap();
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
        let set = format!("DATA_PROC_GENERATION={expected}\0");
        assert!(String::from_utf8_lossy(&environment).contains(&set), "{expected}");
    }
    assert_eq!(generation(&[("DATA_PROC_GENERATION", "g7")]), "g7");
}

#[test]
fn ping_asks_the_service_of_the_named_stack() {
    let (stack, _programs) = sleeping();
    let port = stack.config().ports.projection;
    let told = text(&dp(&stack.config().dir, &["ping", "-s", "projection"], &[]));
    assert!(told.starts_with(&format!("FAIL 127.0.0.1:{port}: ")), "{told}");
}

#[test]
fn the_failure_of_a_replica_is_shown_until_it_is_dismissed() {
    let (stack, programs) = sleeping();
    std::fs::write(programs.path().join("projection"), "#!/bin/sh\nexit 3\n").unwrap();
    let second = Name::replica(Service::Projection, 2);
    stack.start(second).unwrap();
    let dir = &stack.config().dir;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while stack.pid(second).is_some() && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let told = text(&dp(dir, &["status"], &[]));
    let remedy = format!("`dp --dir {} stop projection-2` dismisses", dir.display());
    assert!(told.contains(&remedy), "{told}");
    let told = text(&dp(dir, &["stop", "projection-2"], &[]));
    assert!(told.contains("projection-2 did not run"), "{told}");
    let output = dp(dir, &["status"], &[]);
    assert!(!text(&output).contains("ended"), "{}", text(&output));
    assert_eq!(Stack::open(dir).unwrap().status().unwrap().len(), 1);
}
