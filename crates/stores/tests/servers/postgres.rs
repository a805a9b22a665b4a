//! Positions, prices, reference data and notifications against a real Postgres.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use domain::{Classified, ErrorClass, LastOrigin, Position, RawPosition};
use localstack::{Server, Temporary};
use security::{Secret, Trust};
use stores::postgres::{Held, Notices, PriceBatch, REFERENCE_CHANGED, migrate, recreate, seed_reference};
use stores::{Applied, LatestPrice, LatestPriceStore, Postgres, ReferenceStore};

use crate::common::{self, contest, latest_price, shuffled};

const TOPIC: &str = "enriched.market.ticks.v1";

fn connected(stack: &Temporary) -> Postgres {
    let dsn = Secret::new(stack.env()["DATA_PROC_POSTGRES_DSN"].as_str());
    Postgres::connect(&dsn, &Trust::default(), 5).unwrap()
}

async fn setup() -> (Temporary, Postgres) {
    let stack = common::started(&[Server::Postgres]);
    let postgres = connected(&stack);
    migrate(&postgres).await.unwrap();
    (stack, postgres)
}

fn position(next_offset: i64) -> Position {
    let lane = |raw_partition| LastOrigin {
        feed: "ingestion.market.raw.v1".into(),
        raw_partition,
        position: RawPosition {
            offset: next_offset * 3,
            index: raw_partition,
        },
    };
    Position {
        next_offset,
        sequencer: vec![lane(0), lane(1)],
    }
}

/// Before any rebuild.
fn at(next_offset: i64) -> Held {
    Held { next_offset, epoch: 0 }
}

async fn stored(store: &LatestPriceStore) -> Option<Position> {
    let loaded = store.load_position(TOPIC, 1).await.unwrap();
    loaded.map(|loaded| loaded.position)
}

fn batch<'a>(expected: Option<i64>, position: &'a Position, prices: &'a [LatestPrice]) -> PriceBatch<'a> {
    PriceBatch {
        topic: TOPIC,
        partition: 1,
        expected: expected.map(at),
        position: Some(position),
        prices,
    }
}

async fn load_prices(store: &LatestPriceStore, partition: i32) -> Vec<LatestPrice> {
    let mut prices = Vec::new();
    store.read_prices(partition, |price| prices.push(price)).await.unwrap();
    prices
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_run_twice_and_concurrently() {
    let stack = common::started(&[Server::Postgres]);
    let postgres = connected(&stack);
    let (one, other) = tokio::join!(migrate(&postgres), migrate(&postgres));
    assert_eq!(one.unwrap() + other.unwrap(), 10);
    assert_eq!(migrate(&postgres).await.unwrap(), 0);
    let rows = postgres
        .query_text("SELECT name, NULL FROM schema_migrations ORDER BY version")
        .await
        .unwrap();
    assert_eq!(
        rows,
        [
            [Some("reference".to_owned()), None],
            [Some("projections".to_owned()), None],
            [Some("latest_prices_by_time".to_owned()), None],
            [Some("latest_prices_by_sequence".to_owned()), None],
            [Some("verify_runs".to_owned()), None],
            [Some("latest_prices_by_vintage".to_owned()), None],
            [Some("projection_rebuilds".to_owned()), None],
            [Some("curve_instruments".to_owned()), None],
            [Some("served_curves".to_owned()), None],
            [Some("curve_shapes".to_owned()), None]
        ]
    );
}

/// The list of applied migrations does not show what was dropped later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_table_is_named_and_recreated_and_its_projection_begins_again() {
    let (_stack, postgres) = setup().await;
    let store = LatestPriceStore::new(postgres.clone(), "");
    let (ten, twenty) = (position(10), position(20));
    let prices = [latest_price("A", 100, 1)];
    store.apply(&batch(None, &ten, &prices)).await.unwrap();
    let tables = ["served_latest_prices", "taxonomy_instruments"];
    assert!(recreate(&postgres).await.unwrap().is_empty());
    postgres.check_tables(&tables).await.unwrap();
    assert_eq!(stored(&store).await, Some(ten));

    postgres
        .exec("DROP TABLE served_latest_prices; DROP TABLE taxonomy_instruments CASCADE")
        .await
        .unwrap();
    let error = postgres.check_tables(&tables).await.unwrap_err();
    assert!(error.is_refusal() && error.code() == "schema_missing", "{error}");
    for words in ["served_latest_prices", "taxonomy_instruments", "`dp migrate`"] {
        assert!(error.to_string().contains(words), "{error}");
    }
    // The same of a statement, in a service that runs.
    let error = store.apply(&batch(Some(10), &twenty, &prices)).await.unwrap_err();
    assert!(
        error.is_refusal() && error.to_string().contains("served_latest_prices"),
        "{error}"
    );

    let (one, other) = tokio::join!(recreate(&postgres), recreate(&postgres));
    let mut recreated = [one.unwrap(), other.unwrap()].concat();
    recreated.sort();
    assert_eq!(
        recreated,
        [
            "served_latest_prices",
            "served_latest_prices_by_partition",
            "served_latest_prices_by_time",
            "taxonomy_instruments"
        ]
    );
    assert_eq!(migrate(&postgres).await.unwrap(), 0);
    postgres.check_tables(&tables).await.unwrap();
    // Prices before the position would be missing: the projection reads them again, also one that runs.
    assert_eq!(stored(&store).await, None);
    assert_eq!(
        store.apply(&batch(Some(10), &twenty, &prices)).await.unwrap(),
        Applied::Conflict
    );
    assert_eq!(store.apply(&batch(None, &twenty, &prices)).await.unwrap(), Applied::Yes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_writer_with_an_old_position_gets_a_conflict_and_writes_nothing() {
    let (_stack, postgres) = setup().await;
    let store = LatestPriceStore::new(postgres, "");
    assert_eq!(stored(&store).await, None);
    let (ten, twenty, thirty) = (position(10), position(20), position(30));
    let first = [latest_price("A", 100, 1)];
    assert_eq!(store.apply(&batch(None, &ten, &first)).await.unwrap(), Applied::Yes);
    assert_eq!(stored(&store).await, Some(ten.clone()));
    // Both have read position 10; only one succeeds.
    let (mine, theirs) = (
        [latest_price("A", 200, 2)],
        [latest_price("A", 300, 3), latest_price("B", 300, 4)],
    );
    let (one, other) = (batch(Some(10), &twenty, &mine), batch(Some(10), &thirty, &theirs));
    let (one, other) = tokio::join!(store.apply(&one), store.apply(&other));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!((one == Applied::Yes) != (other == Applied::Yes), "{one:?} {other:?}");
    let prices = load_prices(&store, 1).await;
    let position = stored(&store).await.unwrap();
    let (stored_offset, later) = (position.next_offset, [latest_price("LATER", 300, 1)]);
    if one == Applied::Yes {
        assert_eq!((prices, position), (mine.to_vec(), twenty));
    } else {
        assert_eq!((prices.len(), position), (2, thirty));
    }
    // A batch of rows only leaves the position unchanged, and is rejected if the stored position differs.
    let rows = PriceBatch {
        position: None,
        ..batch(Some(stored_offset), &ten, &later)
    };
    assert_eq!(store.apply(&rows).await.unwrap(), Applied::Yes);
    assert_eq!(
        store.find_one("default", "LATER").await.unwrap().as_ref(),
        later.first()
    );
    let stays = store.load_position(TOPIC, 1).await.unwrap().map(|loaded| loaded.held());
    assert_eq!(stays, Some(at(stored_offset)));
    for expected in [None, Some(stored_offset + 1)] {
        let refused = PriceBatch {
            expected: expected.map(at),
            ..rows
        };
        assert_eq!(store.apply(&refused).await.unwrap(), Applied::Conflict);
    }
    // A writer that expects no position gets a conflict, too.
    let late = store.apply(&batch(None, &ten, &theirs)).await.unwrap();
    assert_eq!(late, Applied::Conflict);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_price_never_replaces_a_newer_one_in_any_order_of_arrival() {
    let (_stack, postgres) = setup().await;
    let store = LatestPriceStore::new(postgres.clone(), "");
    let mut expected = None;
    for seed in 0..8 {
        let (prices, newest) = contest(seed % 2 == 0);
        for price in shuffled(&prices, seed) {
            let position = position(expected.unwrap_or(0) + 1);
            let one = [price];
            assert_eq!(
                store.apply(&batch(expected, &position, &one)).await.unwrap(),
                Applied::Yes
            );
            expected = Some(position.next_offset);
        }
        assert_eq!(
            load_prices(&store, 1).await,
            std::slice::from_ref(&newest),
            "seed {seed}"
        );
        postgres.exec("DELETE FROM served_latest_prices").await.unwrap();
    }
}

/// Prices of tenant `default`, the newest one last.
const MANY: i64 = 550_000;

async fn many_prices(postgres: &Postgres) {
    let rows = format!(
        "INSERT INTO served_latest_prices SELECT '', 'default', 'I' || i, i, 1, timestamptz 'epoch' + i * interval '1 s', \
         'f', 0, i, 0, 1, 'MISO', 'trade', 'USD', 'MWh', '{{}}', now() FROM generate_series(1, {MANY}) i"
    );
    postgres.exec(&rows).await.unwrap();
    postgres.exec("ANALYZE served_latest_prices").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_of_very_many_prices_are_read_by_an_index_while_a_writer_commits() {
    let (_stack, postgres) = setup().await;
    many_prices(&postgres).await;
    let plan = "EXPLAIN SELECT * FROM served_latest_prices WHERE generation = '' AND tenant_id = 'default' \
                ORDER BY event_time DESC, instrument_id LIMIT 1000";
    let plan: Vec<String> = postgres
        .query_text(plan)
        .await
        .unwrap()
        .into_iter()
        .flatten()
        .flatten()
        .collect();
    let plan = plan.join("\n");
    assert!(
        plan.contains("Index Scan using served_latest_prices_by_time") && !plan.contains("Sort"),
        "{plan}"
    );

    // 20 concurrent readers on the connections for readers.
    let readers = postgres.for_readers(4, Duration::from_secs(2)).unwrap();
    let (prices, ended) = (LatestPriceStore::new(readers, ""), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let (prices, ended) = (prices.clone(), Arc::clone(&ended));
            tokio::spawn(async move {
                let mut took = Vec::new();
                while !ended.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    let newest = prices.newest_of("default", 100).await.unwrap();
                    took.push(asked.elapsed());
                    assert_eq!(newest.len(), 100);
                }
                took
            })
        })
        .collect();
    let writer = LatestPriceStore::new(postgres.clone(), "");
    let mut slowest = Duration::ZERO;
    for number in 1..=20 {
        let (position, price) = (
            position(number),
            [latest_price("NEW", MANY * 1_000_000 + number, number)],
        );
        let expected = (number > 1).then_some(number - 1);
        let asked = Instant::now();
        assert_eq!(
            writer.apply(&batch(expected, &position, &price)).await.unwrap(),
            Applied::Yes
        );
        slowest = slowest.max(asked.elapsed());
    }
    ended.store(true, Ordering::Relaxed);
    let mut took = Vec::new();
    for client in clients {
        took.extend(client.await.unwrap());
    }
    took.sort();
    let (median, most) = (took[took.len() / 2], took[took.len() - 1]);
    println!(
        "{} answers, median {median:?}, slowest {most:?}; slowest commit {slowest:?}",
        took.len()
    );
    // Without the index, a reader that sorts the tenant took a second, and a commit fifteen.
    assert!(
        median < Duration::from_millis(200) && slowest < Duration::from_secs(2),
        "{median:?} {slowest:?}"
    );
    // Every query read its 100 rows and no more.
    let used = format!(
        "SELECT idx_scan >= {0}, idx_tup_read <= 110 * idx_scan FROM pg_stat_user_indexes \
         WHERE indexrelname = 'served_latest_prices_by_time'",
        took.len() / 2
    );
    let yes = || Some("t".to_owned());
    common::eventually("the server reports that it used the index", async || {
        postgres.query_text(&used).await.unwrap() == [[yes(), yes()]]
    })
    .await;

    let mut read = 0;
    writer.read_prices(1, |_| read += 1).await.unwrap();
    assert_eq!(read, MANY + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_of_readers_are_limited() {
    let (_stack, postgres) = setup().await;
    let readers = postgres.for_readers(1, Duration::from_millis(500)).unwrap();
    let error = readers.query_text("SELECT pg_sleep(60)").await.unwrap_err();
    assert_eq!(
        (error.class(), error.code()),
        (ErrorClass::Transient, "cancelled"),
        "{error}"
    );
    assert_eq!(error.summary(), "postgres took too long and was stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prices_are_read_back_digit_for_digit() {
    let (_stack, postgres) = setup().await;
    let store = LatestPriceStore::new(postgres.clone(), "g2");
    let mut prices = vec![
        latest_price("MIN", 0, 0),
        latest_price("MAX", 1_790_812_800_123_456, 1),
        latest_price("TINY", -1, 2),
    ];
    prices[0].price = "-9999999999.99999999".parse().unwrap();
    prices[1].price = "9999999999.99999999".parse().unwrap();
    prices[1].sequence = Some(i64::MAX);
    prices[2].sequence = Some(-1);
    prices[1].volume = Some("0.00000001".parse().unwrap());
    prices[2].price = "0.00000001".parse().unwrap();
    prices[2].quality_flags = domain::QualityFlags::NONE;
    let position = position(1);
    store.apply(&batch(None, &position, &prices)).await.unwrap();
    let mut found = load_prices(&store, 1).await;
    found.sort_by(|a, b| a.origin.cmp(&b.origin));
    assert_eq!(found, prices);
    assert_eq!(store.find_one("default", "MAX").await.unwrap(), Some(prices[1].clone()));
    assert_eq!(store.newest_of("default", 1).await.unwrap(), [prices[1].clone()]);
    assert_eq!(store.newest_of("other", 10).await.unwrap(), []);
    // Generations do not see each other.
    let first = LatestPriceStore::new(postgres, "");
    assert_eq!(
        (
            first.load_position(TOPIC, 1).await.unwrap(),
            load_prices(&first, 1).await
        ),
        (None, vec![])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recreated_topic_is_rejected() {
    let (_stack, postgres) = setup().await;
    let store = LatestPriceStore::new(postgres, "");
    let id = |id: &str| [(TOPIC.to_owned(), id.to_owned())];
    store.check_topics(&id("one")).await.unwrap();
    store.check_topics(&id("one")).await.unwrap();
    let error = store.check_topics(&id("two")).await.unwrap_err();
    assert_eq!((error.class(), error.code()), (ErrorClass::Fatal, "topic_id_changed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reference_data_is_seeded_found_and_announced_when_it_changes() {
    let (stack, postgres) = setup().await;
    let mut notices = Notices::listen(&postgres, REFERENCE_CHANGED, Duration::from_secs(300));
    assert_eq!(notices.next().await.as_deref(), Some(""));
    seed_reference(&postgres, "default").await.unwrap();
    seed_reference(&postgres, "default").await.unwrap();
    let mut tables = Vec::new();
    for _ in 0..3 {
        tables.push(notices.next().await.unwrap());
    }
    tables.sort();
    assert_eq!(tables, ["curve_metadata", "instrument_aliases", "taxonomy_instruments"]);

    let store = ReferenceStore::new(postgres.clone());
    postgres
        .exec("INSERT INTO taxonomy_region_rules VALUES ('default', 'texas', '{HOUSTON,TX}', 20), ('default', 'west', '{NP15}', 10)")
        .await
        .unwrap();
    let all = store.load_all().await.unwrap();
    let named = |id: &str| {
        all.instruments
            .iter()
            .find(|row| row.instrument_id == id)
            .unwrap_or_else(|| panic!("{id}"))
    };
    for id in [
        "MISO.INDIANA.HUB.RT5",
        "PJM.WESTERN%20HUB.RTH",
        "NYISO.HUD%20VL.DA",
        "ERCOT.HB_NORTH.RT15",
        "CAISO.TH_SP15_GEN-APND.RT15",
    ] {
        assert_eq!(
            (named(id).commodity.as_str(), named(id).unit.as_deref()),
            ("electricity", Some("MWh"))
        );
    }
    assert_eq!(named("WTI").curve_id.as_deref(), Some("WTI"));
    assert_eq!(named("NG_HH_BALMO").tick_size, Some("0.001".parse().unwrap()));
    let regions: Vec<&str> = all.region_rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(regions, ["west", "texas"]);
    let gas = all.curves.iter().find(|curve| curve.curve_id == "NG_HENRY_HUB");
    assert_eq!(gas.unwrap().instruments, ["GAS.HENRY_HUB.*.SETTLEMENT"]);
    assert_eq!(store.curves("default").await.unwrap(), all.curves);
    assert!(store.curves("other").await.unwrap().is_empty());
    seasonal_shapes_are_checked_and_read(&postgres, &store).await;

    let keys = [
        ("default", "WTI"),
        ("default", "BRENT_ICE"),
        ("default", "nothing"),
        ("other", "BRENT_ICE"),
    ];
    let mut found: Vec<String> = store
        .lookup(&keys)
        .await
        .unwrap()
        .into_iter()
        .map(|row| row.instrument_id)
        .collect();
    found.sort();
    assert_eq!(found, ["BRENT_ICE", "WTI"]);

    // After a restart of the server the listener reconnects by itself, and reports that anything may have changed.
    stack.kill9(Server::Postgres).unwrap();
    common::start(&stack, Server::Postgres);
    loop {
        let notice = tokio::time::timeout(Duration::from_secs(20), notices.next())
            .await
            .unwrap()
            .unwrap();
        if notice.is_empty() {
            break;
        }
    }
}

/// The constraints name what is refused, and a refused shape leaves the row as it is.
async fn seasonal_shapes_are_checked_and_read(postgres: &Postgres, store: &ReferenceStore) {
    let set = async |columns: &str| {
        let sql = format!("UPDATE curve_metadata SET {columns} WHERE tenant_id = 'default' AND curve_id = 'WTI'");
        postgres.exec(&sql).await
    };
    let read = async || {
        let curves = store.curves("default").await.unwrap();
        let curve = curves.into_iter().find(|curve| curve.curve_id == "WTI").unwrap();
        (curve.seasonal_ratios, curve.seasonal_spreads)
    };
    assert_eq!(read().await, (vec![], vec![]));
    set("seasonal_spreads = '{1.5,0,0,0,0,0,-100000,0,0,0,0,100000}'")
        .await
        .unwrap();
    let spreads = vec![1.5, 0.0, 0.0, 0.0, 0.0, 0.0, -100_000.0, 0.0, 0.0, 0.0, 0.0, 100_000.0];
    assert_eq!(read().await, (vec![], spreads.clone()));
    let ratios = "seasonal_ratios_are_twelve_numbers_from_0_1_to_10";
    let within = "seasonal_spreads_are_twelve_numbers_within_100000";
    let ones = "1,1,1,1,1,1,1,1,1,1,1";
    for (columns, constraint) in [
        (
            format!("seasonal_ratios = '{{{ones},1}}'"),
            "seasonal_shape_is_ratios_or_spreads_not_both",
        ),
        (
            format!("seasonal_spreads = NULL, seasonal_ratios = '{{{ones}}}'"),
            ratios,
        ),
        (
            format!("seasonal_spreads = NULL, seasonal_ratios = '{{{ones},0}}'"),
            ratios,
        ),
        (
            format!("seasonal_spreads = NULL, seasonal_ratios = '{{{ones},NaN}}'"),
            ratios,
        ),
        ("seasonal_spreads = NULL, seasonal_ratios = '{}'".to_owned(), ratios),
        (format!("seasonal_spreads = '{{{ones},1,1}}'"), within),
        (format!("seasonal_spreads = '{{{ones},NULL}}'"), within),
        (format!("seasonal_spreads = '{{{ones},-100001}}'"), within),
        (format!("seasonal_spreads = '{{{ones},Infinity}}'"), within),
    ] {
        let error = set(&columns).await.unwrap_err().to_string();
        assert!(error.contains(constraint), "{columns}: {error}");
    }
    assert_eq!(read().await, (vec![], spreads));
    set(&format!("seasonal_spreads = NULL, seasonal_ratios = '{{{ones},0.1}}'"))
        .await
        .unwrap();
    assert_eq!(read().await.0.len(), 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unavailable_server_is_reported_quickly_and_used_again_when_it_is_back() {
    let (stack, postgres) = setup().await;
    let store = LatestPriceStore::new(postgres.clone(), "");
    store.load_position(TOPIC, 1).await.unwrap();
    stack.kill9(Server::Postgres).unwrap();
    let began = Instant::now();
    let error = store.load_position(TOPIC, 1).await.unwrap_err();
    assert_eq!(
        (error.class(), error.code()),
        (ErrorClass::Transient, "unreachable"),
        "{error}"
    );
    assert!(began.elapsed() < Duration::from_secs(10));
    common::start(&stack, Server::Postgres);
    store.load_position(TOPIC, 1).await.unwrap();
    postgres.ping().await.unwrap();
    assert_eq!(postgres.pool_status().max, 5);
    let error = postgres.exec("SELECT * FROM no_such_table").await.unwrap_err();
    assert_eq!(error.code(), "schema_missing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_waits_for_a_lock_leaves_no_session_behind() {
    let (stack, postgres) = setup().await;
    let store = LatestPriceStore::new(postgres.clone(), "");
    let dsn = Secret::new(stack.env()["DATA_PROC_POSTGRES_DSN"].as_str());
    let holder = Postgres::connect(&dsn, &Trust::default(), 1).unwrap();
    holder.exec("BEGIN; LOCK TABLE served_latest_prices").await.unwrap();
    let (position, prices) = (position(7), [latest_price("A", 1, 6)]);
    let error = store.apply(&batch(None, &position, &prices)).await.unwrap_err();
    assert_eq!(
        (error.class(), error.code()),
        (ErrorClass::Transient, "cancelled"),
        "{error}"
    );
    // The session that ran into the limit is free again, or gone: none waits.
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    assert_eq!(postgres.query_text(waiting).await.unwrap()[0][0].as_deref(), Some("0"));
    holder.exec("ROLLBACK").await.unwrap();
    assert_eq!(
        store.apply(&batch(None, &position, &prices)).await.unwrap(),
        Applied::Yes
    );
}
