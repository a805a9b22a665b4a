//! Exchanges of latest prices against a real Postgres: of a part of them, and tried without an effect.

use domain::Position;
use localstack::{Server, Temporary};
use security::{Secret, Trust};
use stores::postgres::{Changes, Exchange, Held, Keep, PriceBatch, Rebuilds, Scope, Swap, migrate};
use stores::{Applied, LatestPrice, LatestPriceStore, Postgres};

use crate::common::{self, decimal, latest_price};

const TOPIC: &str = "enriched.market.ticks.v1";
/// Prices of tenant `default`.
const OWN: [&str; 2] = ["own.changed", "own.ghost"];

async fn postgres() -> (Temporary, Postgres) {
    let stack = common::started(&[Server::Postgres]);
    let dsn = Secret::new(stack.env()["DATA_PROC_POSTGRES_DSN"].as_str());
    let postgres = Postgres::connect(&dsn, &Trust::default(), 2).unwrap();
    migrate(&postgres).await.unwrap();
    (stack, postgres)
}

/// A price of the tenant that the name says.
fn price(name: &str, event_time: i64, price: &str) -> LatestPrice {
    let tenant = if OWN.contains(&name) { "default" } else { "other" };
    LatestPrice {
        tenant_id: tenant.into(),
        price: decimal(price),
        ..latest_price(name, event_time, event_time)
    }
}

async fn store(store: &LatestPriceStore, partition: i32, next_offset: i64, prices: &[LatestPrice]) {
    let stored = store.load_position(TOPIC, partition).await.unwrap();
    let position = Position {
        next_offset,
        sequencer: Vec::new(),
    };
    let batch = PriceBatch {
        topic: TOPIC,
        partition,
        expected: stored.map(|stored| stored.held()),
        position: Some(&position),
        prices,
    };
    assert_eq!(store.apply(&batch).await.unwrap(), Applied::Yes);
}

/// What is served at offset 10, and what the log makes of it up to offset 12, when another event of `other.moves` and the first one of
/// `other.new` have come.
async fn served_and_copied(postgres: &Postgres, copy: &LatestPriceStore) {
    let served = LatestPriceStore::new(postgres.clone(), "");
    postgres
        .exec("TRUNCATE served_latest_prices, projection_positions")
        .await
        .unwrap();
    store(&served, 2, 5, &[price("other.elsewhere", 1, "1")]).await;
    let prices = [
        price("own.changed", 1, "99"),
        price("own.ghost", 1, "1"),
        price("other.moves", 1, "1"),
        price("other.changed", 1, "99"),
        price("other.ahead", 9, "99"),
        price("other.ghost", 1, "1"),
    ];
    store(&served, 1, 10, &prices).await;
    let copied = [
        price("own.changed", 1, "1"),
        price("other.moves", 2, "2"),
        price("other.changed", 1, "1"),
        price("other.ahead", 1, "1"),
        price("other.new", 2, "2"),
    ];
    store(copy, 1, 12, &copied).await;
}

fn exchange(scope: &Scope) -> Exchange<'_> {
    Exchange {
        topic: TOPIC,
        partition: 1,
        keep: Keep::Nothing,
        scope,
        complete_from: 10,
    }
}

fn scope(tenant: Option<&str>, instrument: Option<&str>) -> Scope {
    Scope {
        tenant: tenant.map(str::to_owned),
        instrument: instrument.map(str::to_owned),
    }
}

/// Name and price of every served row.
async fn served(postgres: &Postgres) -> Vec<String> {
    let sql =
        "SELECT instrument_id || ' ' || trim_scale(price) FROM served_latest_prices WHERE generation = '' ORDER BY 1";
    postgres
        .query_text(sql)
        .await
        .unwrap()
        .into_iter()
        .flatten()
        .flatten()
        .collect()
}

fn counts(changes: &Changes) -> (u64, u64, u64) {
    (changes.changed, changes.added, changes.removed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_prices_of_the_scope_are_rebuilt_and_others_take_only_newer_events() {
    let (_stack, postgres) = postgres().await;
    let rebuilds = Rebuilds::new(postgres.clone(), "");
    // What every exchange leaves of prices that are in no scope below.
    let others = [
        "other.ahead 99",
        "other.changed 99",
        "other.elsewhere 1",
        "other.ghost 1",
    ];
    let moved = ["other.moves 2", "other.new 2"];
    for (scope, own, expected) in [
        (scope(Some("default"), None), vec!["own.changed 1"], (2, 1, 1)),
        (
            scope(None, Some("own.changed")),
            vec!["own.changed 1", "own.ghost 1"],
            (2, 1, 0),
        ),
        (
            scope(Some("default"), Some("own.ghost")),
            vec!["own.changed 99"],
            (1, 1, 1),
        ),
        (
            scope(Some("other"), Some("own.changed")),
            vec!["own.changed 99", "own.ghost 1"],
            (1, 1, 0),
        ),
    ] {
        served_and_copied(&postgres, &rebuilds.copy()).await;
        let Swap::Done(changes) = rebuilds.swap(&exchange(&scope)).await.unwrap() else {
            unreachable!("the copy has reached the position");
        };
        assert_eq!(counts(&changes), expected, "{scope:?}: {:?}", changes.instruments);
        assert_eq!(
            served(&postgres).await,
            [&others[..], &moved, &own].concat(),
            "{scope:?}"
        );
    }
    // The position is that of the copy, and the owner has to load the prices again.
    let position = LatestPriceStore::new(postgres.clone(), "")
        .load_position(TOPIC, 1)
        .await
        .unwrap();
    let held = Held {
        next_offset: 12,
        epoch: 1,
    };
    assert_eq!(position.unwrap().held(), held);

    // Without a scope, only the log counts.
    served_and_copied(&postgres, &rebuilds.copy()).await;
    let Swap::Done(changes) = rebuilds.swap(&exchange(&Scope::default())).await.unwrap() else {
        unreachable!("the copy has reached the position");
    };
    assert_eq!(counts(&changes), (4, 1, 2));
}

/// Every row of every table that a rebuild writes, with the transaction that has written it.
async fn rows(postgres: &Postgres) -> Vec<Vec<Option<String>>> {
    let tables = [
        "served_latest_prices",
        "served_curve_snapshots",
        "served_derived_prices",
        "projection_positions",
        "projection_rebuilds",
        "projection_topics",
    ];
    let of = |table: &str| format!("SELECT '{table} ' || row.xmin::text || row::text FROM {table} AS row");
    let sql = format!("{} ORDER BY 1", tables.map(of).join(" UNION ALL "));
    postgres.query_text(&sql).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_reports_every_change_and_leaves_every_row_as_it_is() {
    let (_stack, postgres) = postgres().await;
    // An interrupted rebuild with a copy, and a backup that was kept.
    let rebuilds = Rebuilds::new(postgres.clone(), "");
    served_and_copied(&postgres, &rebuilds.copy()).await;
    postgres
        .exec(
            "INSERT INTO projection_rebuilds (projection, generation, strategy) VALUES ('latest_price', '', 'full'); \
             INSERT INTO served_latest_prices SELECT (jsonb_populate_record(stored, '{\"generation\": \"~backup\"}')).* \
             FROM served_latest_prices AS stored WHERE generation = '' AND src_partition = 2",
        )
        .await
        .unwrap();
    let served_prices = LatestPriceStore::new(postgres.clone(), "");
    let ids = |id: &str| [(TOPIC.to_owned(), id.to_owned()), ("new".to_owned(), "x".to_owned())];
    served_prices.check_topics(&ids("one")[..1]).await.unwrap();
    let before = rows(&postgres).await;

    served_prices.compare_topics(&ids("one")).await.unwrap();
    let refused = served_prices.compare_topics(&ids("two")).await.unwrap_err();
    assert!(refused.to_string().contains(TOPIC), "{refused}");

    let tried = Rebuilds::dry_run(postgres.clone(), "");
    let copied = [price("own.changed", 1, "1"), price("other.new", 2, "2")];
    for (scope, expected) in [
        (Scope::default(), (1, 1, 5)),
        (scope(Some("default"), None), (1, 1, 1)),
        (scope(None, Some("own.changed")), (1, 1, 0)),
    ] {
        store(&tried.copy(), 1, 12, &copied).await;
        let Swap::Done(changes) = tried.swap(&exchange(&scope)).await.unwrap() else {
            unreachable!("the copy has reached the position");
        };
        assert_eq!(counts(&changes), expected, "{scope:?}: {:?}", changes.instruments);
        assert_eq!(rows(&postgres).await, before, "{scope:?}");
    }
    // One that is interrupted leaves its copy, which the next one removes.
    store(&tried.copy(), 1, 12, &copied).await;
    assert_ne!(rows(&postgres).await, before);
    tried.discard_all().await.unwrap();
    assert_eq!(rows(&postgres).await, before);

    // The interrupted rebuild goes on, with the changes of its own copy.
    let Swap::Done(changes) = rebuilds.swap(&exchange(&Scope::default())).await.unwrap() else {
        unreachable!("the copy has reached the position");
    };
    assert_eq!(counts(&changes), (4, 1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_rebuild_removes_what_a_dry_run_has_left_and_a_position_that_went_back_is_refused() {
    let (_stack, postgres) = postgres().await;
    let rebuilds = Rebuilds::new(postgres.clone(), "");
    served_and_copied(&postgres, &rebuilds.copy()).await;
    let everything = Scope::default();
    let later = Exchange {
        complete_from: 11,
        ..exchange(&everything)
    };
    let before = rows(&postgres).await;
    // The copy may lack events of offset 10, which the service would have to store again.
    assert_eq!(rebuilds.swap(&later).await.unwrap(), Swap::WentBack { served: 10 });
    assert_eq!(rows(&postgres).await, before);

    let left = Rebuilds::dry_run(postgres.clone(), "");
    store(&left.copy(), 1, 12, &[price("other.new", 2, "2")]).await;
    rebuilds.begin("full").await.unwrap();
    let unserved = "SELECT (SELECT count(*) FROM served_latest_prices WHERE generation <> '') \
                    + (SELECT count(*) FROM projection_positions WHERE generation <> '')";
    let left = postgres.query_text(unserved).await.unwrap();
    assert_eq!(left, [[Some("0".to_owned())]]);
    assert_eq!(rebuilds.swap(&exchange(&everything)).await.unwrap(), Swap::NoCopy);
}
