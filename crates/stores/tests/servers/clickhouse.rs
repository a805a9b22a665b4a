//! The writer's protocol and the row encoders against a real ClickHouse.

use std::time::{Duration, Instant};

use domain::{Claim, Classified, LastOrigin, Position, RawPosition, Tick};
use localstack::{Server, Temporary};
use stores::clickhouse::{Block, Claimant, rows};
use stores::{ClickHouse, FencedTable, InsertError};

use crate::common::{self, clickhouse, eventually, tick};

const TOPIC: &str = "normalized.market.ticks.v1";

struct Setup {
    stack: Temporary,
    clickhouse: ClickHouse,
    table: FencedTable,
}

async fn setup() -> Setup {
    let stack = common::started(&[Server::ClickHouse]);
    let clickhouse = clickhouse(&stack);
    stores::clickhouse::migrate(&clickhouse, "").await.unwrap();
    let table = FencedTable::new(clickhouse.clone(), &rows::tick::LAYOUT, "");
    Setup {
        stack,
        clickhouse,
        table,
    }
}

#[tokio::test]
async fn a_cluster_that_the_server_does_not_have_is_refused_with_its_setting() {
    let stack = common::started(&[Server::ClickHouse]);
    let clickhouse = common::clickhouse_of(&stack, "nowhere");
    let error = stores::clickhouse::migrate(&clickhouse, "").await.unwrap_err();
    assert_eq!(
        (error.class(), error.code()),
        (domain::ErrorClass::Fatal, "cluster_missing"),
        "{error}"
    );
    assert!(error.to_string().contains("DATA_PROC_CLICKHOUSE_CLUSTER"), "{error}");
    assert!(error.to_string().contains("nowhere"), "{error}");
}

/// Rows of ticks with these source offsets; the raw offset is ten times the source offset.
fn batch(offsets: std::ops::Range<i64>) -> Block {
    let mut block = Block::new(&rows::tick::LAYOUT);
    for offset in offsets {
        let mut tick: Tick<'_> = tick();
        tick.origin.offset = offset * 10;
        rows::tick::encode(&tick, 3, offset, &mut block);
    }
    block
}

async fn insert(table: &FencedTable, claim: &Claim, offsets: std::ops::Range<i64>) -> Result<(), InsertError> {
    table.insert(std::slice::from_ref(claim), vec![batch(offsets)]).await
}

async fn number(clickhouse: &ClickHouse, sql: &str) -> i64 {
    let text = clickhouse.query_text(sql, "TabSeparated").await.unwrap();
    text.trim().parse().unwrap_or_else(|_| panic!("{sql}: {text}"))
}

async fn count(clickhouse: &ClickHouse) -> i64 {
    number(clickhouse, "SELECT count() FROM market_ticks").await
}

fn position(next_offset: i64, raw_offset: i64) -> Position {
    let position = RawPosition {
        offset: raw_offset,
        index: 1,
    };
    let sequencer = vec![LastOrigin {
        feed: "ingestion.market.raw.v1".into(),
        raw_partition: 2,
        position,
    }];
    Position { next_offset, sequencer }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_run_twice_and_concurrently_and_for_each_generation() {
    let stack = common::started(&[Server::ClickHouse]);
    let clickhouse = clickhouse(&stack);
    let (one, other) = tokio::join!(
        stores::clickhouse::migrate(&clickhouse, ""),
        stores::clickhouse::migrate(&clickhouse, "")
    );
    assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
    assert_eq!(stores::clickhouse::migrate(&clickhouse, "").await.unwrap(), 0);
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/clickhouse")).unwrap();
    let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let files = names.filter(|name| name.ends_with(".sql")).count();
    // The views of the markets are one more.
    assert_eq!(
        stores::clickhouse::migrate(&clickhouse, "_g2").await.unwrap(),
        files + 1
    );
    for table in [
        "market_ticks",
        "enriched_ticks",
        "bars",
        "late_ticks",
        "bars_latest",
        "bars_5m",
        "bars_1h",
        "bars_1d",
        "bars_4h",
        "bars_1d_local",
        "bars_blocks",
        "market_intervals",
        "completeness",
        "derived_prices",
        "derived_prices_latest",
        "curve_snapshots",
        "curve_snapshots_latest",
        "curve_points",
        "curve_inputs",
    ] {
        for suffix in ["", "_g2"] {
            assert_eq!(
                number(&clickhouse, &format!("SELECT count() FROM {table}{suffix}")).await,
                0
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_insert_of_an_older_claim_is_rejected_and_writes_nothing() {
    let Setup {
        clickhouse,
        table,
        stack: _stack,
    } = setup().await;
    let old = table.claim(TOPIC, 3, Claimant::once()).await.unwrap();
    insert(&table, &old, 0..10).await.unwrap();
    let new = table.claim(TOPIC, 3, Claimant::once()).await.unwrap();
    assert_eq!(new.epoch, old.epoch + 1);
    for size in [1, 50_000] {
        assert_eq!(
            insert(&table, &old, 10..10 + size).await,
            Err(InsertError::Fenced),
            "{size} rows"
        );
    }
    let floor = table.save_floor(&old, &position(99, 99)).await.unwrap_err();
    assert_eq!(floor.code(), "fenced");
    assert_eq!(count(&clickhouse).await, 10);
    insert(&table, &new, 10..20).await.unwrap();
    // Each partition has its own fence.
    let elsewhere = table.claim(TOPIC, 4, Claimant::once()).await.unwrap();
    insert(&table, &elsewhere, 20..30).await.unwrap();
    insert(&table, &new, 30..40).await.unwrap();
    assert_eq!(count(&clickhouse).await, 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_one_part_with_any_profile() {
    let Setup {
        clickhouse,
        table,
        stack: _stack,
    } = setup().await;
    clickhouse
        .exec("SYSTEM STOP MERGES market_data.market_ticks")
        .await
        .unwrap();
    let claim = table.claim(TOPIC, 3, Claimant::once()).await.unwrap();
    insert(&table, &claim, 0..1).await.unwrap();
    insert(&table, &claim, 1..200_001).await.unwrap();
    let parts = "SELECT groupArray(rows) FROM (SELECT rows FROM system.parts WHERE table = 'market_ticks' AND active ORDER BY name)";
    assert_eq!(
        clickhouse.query_text(parts, "TabSeparated").await.unwrap().trim(),
        "[1,200000]"
    );
    let distinct = "SELECT uniqExact(ingested_at) FROM market_ticks";
    assert_eq!(number(&clickhouse, distinct).await, 2);
    let too_many = vec![batch(0..100_001); 10];
    let too_many = table.insert(&[claim], too_many).await.unwrap_err();
    assert!(
        matches!(&too_many, InsertError::Unknown(error) if error.code() == "invalid_data"),
        "{too_many:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_finds_position_and_sequencer_state_and_reads_no_part_from_before_the_floor() {
    let Setup {
        clickhouse,
        table,
        stack: _stack,
    } = setup().await;
    let (claim, start) = table.take_over(TOPIC, 3, Claimant::once()).await.unwrap();
    assert_eq!(start, None);
    insert(&table, &claim, 0..100).await.unwrap();
    insert(&table, &claim, 100..250).await.unwrap();
    let (next, start) = table.take_over(TOPIC, 3, Claimant::once()).await.unwrap();
    assert_eq!(start, Some(position(250, 2490)));
    assert!(next.epoch > claim.epoch);
    assert_eq!(table.read_back(TOPIC, 7).await.unwrap(), None);
    // The takeover has stored 250 as the floor: no part contains rows from 250 on, one part contains rows from 100 on.
    let parts_read = async |from: i64| {
        let sql = format!("EXPLAIN ESTIMATE {}", table.read_back_sql(3, from));
        let estimate = clickhouse.query_json(&sql).await.unwrap();
        estimate
            .first()
            .map_or_else(String::new, |row| row["parts"].as_str().unwrap().to_owned())
    };
    assert_eq!(
        [parts_read(0).await, parts_read(100).await, parts_read(250).await],
        ["2", "1", "0"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_floor_is_used_after_rows_have_expired_and_later_rows_override_it() {
    let Setup {
        clickhouse,
        table,
        stack: _stack,
    } = setup().await;
    let (claim, _) = table.take_over(TOPIC, 3, Claimant::once()).await.unwrap();
    insert(&table, &claim, 0..100).await.unwrap();
    let (claim, _) = table.take_over(TOPIC, 3, Claimant::once()).await.unwrap();
    clickhouse
        .exec("TRUNCATE TABLE market_data.market_ticks")
        .await
        .unwrap();
    assert_eq!(table.read_back(TOPIC, 3).await.unwrap(), Some(position(100, 990)));
    table.save_floor(&claim, &position(120, 1100)).await.unwrap();
    assert_eq!(table.read_back(TOPIC, 3).await.unwrap(), Some(position(120, 1100)));
    insert(&table, &claim, 120..130).await.unwrap();
    assert_eq!(table.read_back(TOPIC, 3).await.unwrap(), Some(position(130, 1290)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_ends_an_insert_that_still_runs() {
    let Setup {
        clickhouse,
        table,
        stack,
    } = setup().await;
    let claim = table.claim(TOPIC, 3, Claimant::once()).await.unwrap();
    // An insert under the old claim that runs for 100 s.
    let query_id = format!("writer:{TOPIC}:3:{}:0", claim.writer);
    let sql = "INSERT INTO market_data.writer_topics (topic) SELECT toString(sleepEachRow(0.1)) FROM numbers(1000) SETTINGS max_block_size = 1";
    let running_insert = common::begin_statement(stack.port(Server::ClickHouse).unwrap(), &query_id, sql);
    let running = format!("SELECT count() FROM system.processes WHERE query_id = '{query_id}'");
    eventually("the insert runs", async || number(&clickhouse, &running).await == 1).await;
    let _ = table.claim(TOPIC, 3, Claimant::once()).await.unwrap();
    let began = Instant::now();
    table.drain(TOPIC, 3).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(number(&clickhouse, &running).await, 0);
    drop(running_insert);
    assert_eq!(number(&clickhouse, "SELECT count() FROM writer_topics").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_finds_an_insert_by_any_of_its_partitions_and_no_other() {
    let Setup {
        clickhouse,
        table,
        stack,
    } = setup().await;
    let port = stack.port(Server::ClickHouse).unwrap();
    let sql = "INSERT INTO market_data.writer_topics (topic) SELECT toString(sleepEachRow(0.1)) FROM numbers(1000) SETTINGS max_block_size = 1";
    let id = uuid::Uuid::new_v4();
    // Alone, as builds before grouped inserts named it; first, in the middle and last of several.
    let of_three = ["3", "3,13", "1,3,31", "1,13,3"].map(|partitions| format!("writer:{TOPIC}:{partitions}:{id}:0"));
    let of_others = [
        format!("writer:{TOPIC}:13,31:{id}:3"),
        format!("writer:{TOPIC}:33:{id}:3"),
        format!("writer:{TOPIC}.other:3:{id}:0"),
        format!("tool:{TOPIC}:3:{id}:0"),
    ];
    let begin = |query_id: &String| common::begin_statement(port, query_id, sql);
    let statements: Vec<_> = of_three.iter().chain(&of_others).map(begin).collect();
    let running = async |ids: &[String]| {
        let ids: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
        let sql = format!(
            "SELECT count() FROM system.processes WHERE query_id IN ({})",
            ids.join(", ")
        );
        number(&clickhouse, &sql).await
    };
    eventually("the inserts run", async || {
        (running(&of_three).await, running(&of_others).await) == (4, 4)
    })
    .await;
    table.drain(TOPIC, 3).await.unwrap();
    assert_eq!((running(&of_three).await, running(&of_others).await), (0, 4));
    table.drain(TOPIC, 31).await.unwrap();
    assert_eq!(running(&of_others).await, 3);
    drop(statements);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_insert_of_several_partitions_is_rejected_if_one_of_them_has_another_owner() {
    let Setup {
        clickhouse,
        table,
        stack: _stack,
    } = setup().await;
    let mut claims = Vec::new();
    for partition in [1, 3, 11] {
        claims.push(table.claim(TOPIC, partition, Claimant::once()).await.unwrap());
    }
    let insert = async |claims: &[Claim], from: i64| {
        let first = batch(from..from + 10);
        let second = batch(from + 10..from + 30);
        table.insert(claims, vec![first, second]).await
    };
    insert(&claims, 0).await.unwrap();
    assert_eq!(count(&clickhouse).await, 30);
    let parts = "SELECT count() FROM system.parts WHERE table = 'market_ticks' AND active";
    assert_eq!(number(&clickhouse, parts).await, 1);
    // Another owner claims the one in the middle: nothing is written.
    let other = table.claim(TOPIC, 3, Claimant::once()).await.unwrap();
    assert_eq!(insert(&claims, 30).await, Err(InsertError::Fenced));
    // A partition that nobody has claimed.
    let nobody = Claim {
        partition: 2,
        ..other.clone()
    };
    let [first, _, last] = claims.try_into().unwrap();
    assert_eq!(insert(&[first.clone(), nobody], 30).await, Err(InsertError::Fenced));
    // A claim of the same writer, but of another partition.
    let mixed = Claim {
        partition: 11,
        ..other.clone()
    };
    assert_eq!(insert(&[first.clone(), mixed], 30).await, Err(InsertError::Fenced));
    assert_eq!(count(&clickhouse).await, 30);
    insert(&[last, first, other], 30).await.unwrap();
    assert_eq!(count(&clickhouse).await, 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_claims_again_only_what_is_still_its_own() {
    let Setup {
        table, stack: _stack, ..
    } = setup().await;
    let unclaimed = table.claim(TOPIC, 3, Claimant::again(7)).await.unwrap_err();
    assert_eq!(unclaimed.code(), "fenced");
    let first = table.claim(TOPIC, 3, Claimant::new(7)).await.unwrap();
    let (second, _) = table.take_over(TOPIC, 3, Claimant::again(7)).await.unwrap();
    assert!(second.epoch > first.epoch && second.writer != first.writer);
    assert_eq!(insert(&table, &first, 0..10).await, Err(InsertError::Fenced));
    insert(&table, &second, 0..10).await.unwrap();
    let other = table.claim(TOPIC, 3, Claimant::new(8)).await.unwrap();
    let refused = table.take_over(TOPIC, 3, Claimant::again(7)).await.unwrap_err();
    assert_eq!(
        (refused.class(), refused.code()),
        (domain::ErrorClass::Transient, "fenced")
    );
    insert(&table, &other, 10..20).await.unwrap();
    table.claim(TOPIC, 3, Claimant::new(7)).await.unwrap();
    assert_eq!(insert(&table, &other, 20..30).await, Err(InsertError::Fenced));
}

/// Old writers that never stop inserting: after a takeover none of their rows may appear, and the position stays valid.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_takeover_no_row_of_an_earlier_owner_appears() {
    let Setup {
        clickhouse,
        table,
        stack: _stack,
    } = setup().await;
    for round in 0..12 {
        let (claim, start) = table.take_over(TOPIC, 3, Claimant::once()).await.unwrap();
        let first = start.map_or(0, |position| position.next_offset);
        let zombies: Vec<_> = (0..3)
            .map(|_| {
                let (table, claim) = (table.clone(), claim.clone());
                tokio::spawn(async move {
                    let mut next = first;
                    let end = Instant::now() + Duration::from_millis(400);
                    // Ends when an insert is rejected, or is ended by the drain.
                    while Instant::now() < end && insert(&table, &claim, next..next + 2_000).await.is_ok() {
                        next += 2_000;
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(20 + round * 13)).await;
        let (_, start) = table.take_over(TOPIC, 3, Claimant::once()).await.unwrap();
        let seen = count(&clickhouse).await;
        for zombie in zombies {
            zombie.await.unwrap();
        }
        assert_eq!(count(&clickhouse).await, seen, "round {round}");
        let end = "SELECT max(src_offset) + 1 FROM market_ticks";
        if let Some(position) = start {
            assert_eq!(number(&clickhouse, end).await, position.next_offset, "round {round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_keeps_what_it_acknowledged_and_batches_stay_whole() {
    let Setup {
        clickhouse,
        table,
        stack,
    } = setup().await;
    for round in 0..2 {
        let (claim, start) = table.take_over(TOPIC, 3, Claimant::once()).await.unwrap();
        let first = start.map_or(0, |position| position.next_offset);
        let writer = {
            let table = table.clone();
            tokio::spawn(async move {
                let mut acknowledged = first;
                while insert(&table, &claim, acknowledged..acknowledged + 1_000).await.is_ok() {
                    acknowledged += 1_000;
                }
                acknowledged
            })
        };
        let some = first + 10_000;
        eventually("some batches are stored", async || count(&clickhouse).await >= some).await;
        stack.kill9(Server::ClickHouse).unwrap();
        let acknowledged = writer.await.unwrap();
        let down = table.read_back(TOPIC, 3).await.unwrap_err();
        assert_eq!(down.code(), "unreachable", "{down}");
        common::start(&stack, Server::ClickHouse);
        let (_, position) = table.take_over(TOPIC, 3, Claimant::once()).await.unwrap();
        let next_offset = position.unwrap().next_offset;
        assert!(
            next_offset == acknowledged || next_offset == acknowledged + 1_000,
            "{next_offset} {acknowledged}"
        );
        let exact = "SELECT count() = uniqExact(src_offset) AND count() = max(src_offset) + 1 FROM market_ticks";
        assert_eq!(number(&clickhouse, exact).await, 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recreated_topic_is_rejected_with_the_remedy() {
    let Setup {
        table, stack: _stack, ..
    } = setup().await;
    let ids = [
        ("raw".to_owned(), "id-1".to_owned()),
        (TOPIC.to_owned(), "id-2".to_owned()),
    ];
    table.check_topics(&ids).await.unwrap();
    table.check_topics(&ids).await.unwrap();
    let error = table
        .check_topics(&[("raw".to_owned(), "id-9".to_owned())])
        .await
        .unwrap_err();
    assert_eq!(
        (error.class(), error.code()),
        (domain::ErrorClass::Fatal, "topic_id_changed")
    );
    assert!(error.to_string().contains("DATA_PROC_GENERATION"), "{error}");
}
