//! A right that ClickHouse takes away while the service runs: health names it, and the rows are written once it is back.

use stores::FencedTable;
use stores::clickhouse::restore::{self, Filled};
use stores::clickhouse::rows;
use testkit::PATIENCE;
use testkit::secured::documented::{block, clickhouse_users};

use super::*;

const PASSWORD: &str = "app-secret";

/// The documented user with these grants.
fn users(grants: &str) -> Option<String> {
    Some(clickhouse_users("", &[("dataproc", PASSWORD, "default", grants)]))
}

/// ClickHouse reads its users when it starts.
fn restart_with(stack: &mut Temporary, grants: &str) {
    stack.config_mut().clickhouse_users = users(grants);
    stack.kill9(Server::ClickHouse).unwrap();
    stack.start(Server::ClickHouse).unwrap();
    stack.wait_ready(Server::ClickHouse, PATIENCE).unwrap();
}

fn writers_say(service: &ServiceProcess, words: &[&str]) {
    service
        .wait_until("the refusal", "/health", |status, body| {
            let error = body["checks"]["writers"]["error"].as_str().unwrap_or_default();
            status == 200 && words.iter().all(|word| error.contains(word))
        })
        .unwrap();
}

fn writers_pass(service: &ServiceProcess) {
    service
        .wait_until("the writer passes", "/health", |_, body| {
            body["checks"]["writers"]["status"] == "pass"
        })
        .unwrap();
}

#[test]
fn a_right_taken_away_while_running_is_named_in_health_until_it_is_back() {
    let granted = block(include_str!("../../../../docs/security.md"), "clickhouse-grants").unwrap();
    let stack = Temporary::with(|config| config.clickhouse_users = users(&granted)).unwrap();
    let mut bench = bench_on(stack);
    bench.runtime.block_on(bench.clients.migrate_clickhouse()).unwrap();
    let file = bench.stack.config().dir.join("clickhouse-password");
    std::fs::write(&file, PASSWORD).unwrap();
    let mut env = bench.env.clone();
    env.remove("DATA_PROC_CLICKHOUSE_PASSWORD");
    env.insert("DATA_PROC_CLICKHOUSE_USER".into(), "dataproc".into());
    env.insert("DATA_PROC_CLICKHOUSE_PASSWORD_FILE".into(), file.display().to_string());
    let service = ServiceProcess::start(ENRICHMENT, &env).unwrap();
    bench.publish(0..40);
    bench.wait_for_rows(40, &service);
    writers_pass(&service);

    let less = granted.replace(
        "GRANT SELECT, INSERT ON market_data.* TO dataproc;",
        "GRANT SELECT ON market_data.* TO dataproc;\nGRANT INSERT ON market_data.writer_fence TO dataproc;",
    );
    assert_ne!(less, granted);
    restart_with(&mut bench.stack, &less);
    bench.publish(40..80);
    writers_say(
        &service,
        &[
            "insert into enriched_ticks",
            "grant_missing",
            "Code: 497",
            "docs/security.md",
        ],
    );
    restart_with(&mut bench.stack, &granted);
    bench.wait_for_rows(80, &service);
    writers_pass(&service);

    std::fs::write(&file, "wrong").unwrap();
    bench.publish(80..120);
    writers_say(
        &service,
        &["access_denied", "Code: 516", "DATA_PROC_CLICKHOUSE_PASSWORD"],
    );
    std::fs::write(&file, PASSWORD).unwrap();
    bench.wait_for_rows(120, &service);
    writers_pass(&service);
    assert_eq!(service.signal("-TERM").unwrap(), Some(0));
}

#[test]
fn a_table_dropped_while_running_is_named_in_health_and_written_again_from_the_log() {
    let bench = bench();
    let service = ServiceProcess::start(ENRICHMENT, &bench.env).unwrap();
    bench.publish(0..40);
    bench.wait_for_rows(40, &service);
    let clickhouse = bench.clients.clickhouse().unwrap();
    let (database, runtime) = (clickhouse.database(), &bench.runtime);
    runtime
        .block_on(clickhouse.exec(&format!("DROP TABLE {database}.enriched_ticks SYNC")))
        .unwrap();
    bench.postgres("ALTER TABLE taxonomy_instruments RENAME TO hidden");
    bench.publish(40..80);
    writers_say(&service, &["schema_missing", "enriched_ticks", "run `dp migrate`"]);
    service
        .wait_until("the missing table of PostgreSQL", "/health", |status, body| {
            let error = body["checks"]["postgres_tables"]["error"].as_str().unwrap_or_default();
            let words = ["schema_missing", "taxonomy_instruments", "run `dp migrate`"];
            status == 200 && words.iter().all(|word| error.contains(word))
        })
        .unwrap();
    bench.postgres("ALTER TABLE hidden RENAME TO taxonomy_instruments");
    let table = FencedTable::new(clickhouse.clone(), &rows::enriched::LAYOUT, "");
    let filled = Filled {
        table,
        topic: bench.names.enriched.clone(),
        partitions: 4,
    };
    runtime
        .block_on(restore::make_again(&clickhouse, "", &[filled]))
        .unwrap();
    bench.wait_for_rows(80, &service);
    writers_pass(&service);
    assert_eq!(service.signal("-TERM").unwrap(), Some(0));
}
