//! Backups of the stores, made under load and restored on real servers: nothing is lost or doubled, whichever stores were lost.
//! One stack, one course of events: a test of its own for each step would start the servers each time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use e2e::{PATIENCE, Pipeline, SERVICES};
use localstack::Service;
use serde_json::Value;
use testkit::kafka::{self, Topics};

const BARS: &str = "aggregation.bars.v1";
const NAME: &str = "under-load";

struct Course {
    pipeline: Pipeline,
    folder: PathBuf,
}

impl Course {
    fn backup(&self, arguments: &[&str]) -> Output {
        let folder = self.folder.display().to_string();
        let all: Vec<&str> = ["--json", "backup"].iter().chain(arguments).copied().collect();
        let mut command = self.pipeline.dp(&all);
        command.args(["--folder", &folder]).output().unwrap()
    }

    /// The result of a command that must succeed.
    fn done(&self, arguments: &[&str]) -> Value {
        let output = self.backup(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", words(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn stop(&self, services: &[Service]) {
        services.iter().for_each(|service| {
            self.pipeline.stack().stop(*service).unwrap();
        });
    }

    fn start(&self, services: &[Service]) {
        services.iter().for_each(|service| {
            self.pipeline.stack().start(*service).unwrap();
        });
        services
            .iter()
            .for_each(|service| self.pipeline.stack().wait_ready(*service, PATIENCE).unwrap());
    }

    fn destroy(&self, store: &str) {
        match store {
            "clickhouse" => self
                .pipeline
                .clickhouse
                .run("DROP DATABASE market_data SYNC")
                .map(drop)
                .unwrap(),
            "postgres" => {
                let sql = "DROP SCHEMA public CASCADE; CREATE SCHEMA public";
                self.pipeline.postgres.rows(sql).unwrap();
            }
            _ => self.pipeline.redis.run(&["FLUSHALL"]).map(drop).unwrap(),
        }
    }

    /// Both judges find every tick once, in every store.
    fn agrees(&self, when: &str) -> usize {
        match self.pipeline.agree() {
            Ok(ticks) => ticks,
            Err(error) => panic!("{when}: {error:#}"),
        }
    }
}

fn words(output: &Output) -> String {
    format!(
        "{} {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Some data file of a table.
fn file_of(backup: &Path, table: &str) -> PathBuf {
    let mut files = std::fs::read_dir(backup.join("clickhouse").join(table)).unwrap();
    files.next().unwrap().unwrap().path()
}

#[test]
fn a_backup_made_under_load_brings_back_every_store_and_the_pipeline_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let course = Course {
        pipeline: Pipeline::start().unwrap(),
        folder: folder.path().to_owned(),
    };
    make_under_load(&course);
    is_refused_by_name_if_a_byte_differs(&course);
    all_stores_are_restored(&course);
    each_store_is_restored_alone(&course);
    messages_that_are_gone_need_consent(&course);
}

/// Copies while ticks arrive, then lets more arrive, so that the end of every log is beyond the backup.
fn make_under_load(course: &Course) {
    let pipeline = &course.pipeline;
    let publishing = pipeline.publish(1);
    pipeline.wait_for_more(1_500).unwrap();
    let before = pipeline.enriched().unwrap();
    let manifest = course.done(&["create", "--name", NAME]);
    let rows = |table: &str| {
        let tables = manifest["tables"].as_array().unwrap();
        let found = tables.iter().find(|one| one["name"] == table).unwrap();
        found["rows"].as_i64().unwrap()
    };
    assert!(i128::from(rows("enriched_ticks")) >= before && rows("bars") > 0 && rows("served_latest_prices") > 0);
    let again = course.backup(&["create", "--name", NAME]);
    assert_eq!(again.status.code(), Some(2), "{}", words(&again));
    pipeline.wait_for_more(500).unwrap();
    publishing.finish().unwrap();
    // It waits for the members of a killed service to leave their groups.
    let refused = std::thread::scope(|scope| {
        let restoring = scope.spawn(|| course.backup(&["restore", NAME, "--yes"]));
        course.agrees("before anything was restored");
        restoring.join().unwrap()
    });
    let told = words(&refused);
    assert_eq!(refused.status.code(), Some(2), "{told}");
    for part in ["still run", "stop normalization", "kubectl scale"] {
        assert!(told.contains(part), "{told}");
    }
    assert!(pipeline.enriched().unwrap() > i128::from(rows("enriched_ticks")));
}

fn is_refused_by_name_if_a_byte_differs(course: &Course) {
    assert_eq!(course.done(&["verify", NAME])["ok"], true);
    let backup = course.folder.join(NAME);
    let file = file_of(&backup, "enriched_ticks");
    let (whole, name) = (
        std::fs::read(&file).unwrap(),
        file.file_name().unwrap().to_string_lossy().into_owned(),
    );
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&file, &damaged).unwrap();
    for arguments in [
        &["verify", NAME][..],
        &["restore", NAME],
        &["restore", NAME, "--yes", "--accept-loss"],
    ] {
        let refused = course.backup(arguments);
        let told = words(&refused);
        assert_eq!(refused.status.code(), Some(1), "{told}");
        assert!(
            told.contains(&format!("clickhouse/enriched_ticks/{name}")) && told.contains("SHA-256"),
            "{told}"
        );
    }
    std::fs::write(&file, whole).unwrap();

    let manifest = backup.join("manifest.json");
    std::fs::rename(&manifest, backup.join("kept")).unwrap();
    let listed = course.done(&["list"]);
    assert_eq!(listed[0]["state"], "incomplete");
    assert!(words(&course.backup(&["restore", NAME])).contains("not a complete backup"));
    std::fs::rename(backup.join("kept"), manifest).unwrap();
    assert_eq!(course.done(&["list"])[0]["state"], "whole");
}

fn all_stores_are_restored(course: &Course) {
    let pipeline = &course.pipeline;
    course.stop(&SERVICES);
    ["clickhouse", "postgres", "redis"]
        .iter()
        .for_each(|store| course.destroy(store));
    let plan = course.done(&["restore", NAME]);
    assert_eq!(
        (&plan["dry_run"], &plan["possible"]),
        (&Value::Bool(true), &Value::Bool(true))
    );
    assert!(pipeline.enriched().is_err(), "a dry run changes nothing");
    course.done(&["restore", NAME, "--yes"]);
    course.start(&SERVICES);
    let ticks = course.agrees("after all stores were restored");
    pipeline.publish_once(400, 77).unwrap();
    assert!(course.agrees("after more ticks") > ticks);
}

/// The restore of ClickHouse is killed at several moments before it runs to its end.
fn each_store_is_restored_alone(course: &Course) {
    for (store, services) in [
        (
            "clickhouse",
            &[Service::Normalization, Service::Enrichment, Service::Aggregation][..],
        ),
        ("postgres", &[Service::Enrichment, Service::Projection]),
        ("redis", &[Service::Enrichment, Service::Projection]),
    ] {
        course.stop(services);
        course.destroy(store);
        if store == "clickhouse" {
            [100, 300, 700, 1_100]
                .iter()
                .for_each(|millis| kill_a_restore(course, Duration::from_millis(*millis)));
        }
        course.done(&["restore", NAME, "--store", store, "--yes"]);
        course.start(services);
        course.agrees(&format!("after {store} was restored alone"));
    }
}

fn kill_a_restore(course: &Course, after: Duration) {
    let folder = course.folder.display().to_string();
    let arguments = [
        "backup",
        "restore",
        NAME,
        "--store",
        "clickhouse",
        "--yes",
        "--folder",
        &folder,
    ];
    let mut command = course.pipeline.dp(&arguments);
    let mut restoring = command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while began.elapsed() < after && restoring.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    // It may have ended by itself.
    let _ended = restoring.kill();
    restoring.wait().unwrap();
}

fn messages_that_are_gone_need_consent(course: &Course) {
    let pipeline = &course.pipeline;
    let services = [Service::Normalization, Service::Enrichment, Service::Aggregation];
    course.stop(&services);
    let ends = kafka::ends(&pipeline.bootstrap(), BARS).unwrap();
    let (partition, end) = ends.into_iter().max_by_key(|(_, end)| *end).unwrap();
    let topics = Topics::new(&pipeline.bootstrap()).unwrap();
    topics.delete_records(BARS, partition, end).unwrap();
    let named = format!("{BARS}[{partition}]");
    let found = course.backup(&["verify", NAME]);
    assert_eq!(found.status.code(), Some(1));
    assert!(words(&found).contains(&named), "{}", words(&found));
    let refused = course.backup(&["restore", NAME, "--store", "clickhouse", "--yes"]);
    assert_eq!(refused.status.code(), Some(1), "{}", words(&refused));
    let restored = course.done(&["restore", NAME, "--store", "clickhouse", "--accept-loss", "--yes"]);
    assert_eq!(restored["restored"]["accepted"][0]["topic"], BARS, "{restored}");
    course.start(&services);
    let verified = pipeline.verify().unwrap();
    assert_eq!(verified.code, 0, "{:?} {:?}", verified.failed(), verified.differences());
    let checks = verified.report["checks"].to_string();
    assert!(checks.contains(&format!("skipped {named}")), "{checks}");
}
