use domain::{Claim, Classified as _, ErrorClass};
use localstack::{Server, Temporary};
use security::{Secret, Trust};
use stores::clickhouse::{Block, Claimant, rows};
use stores::{ClickHouse, ClickHouseConfig, FencedTable, InsertError, StoreError};
use testkit::secured::documented::clickhouse_users;
use testkit::secured::front::TlsFront;

use super::{assert_refused, documented, private};
use crate::common::tick;

const TOPIC: &str = "normalized.market.ticks.v1";

/// The documented user, a read-only one, and users with profiles that break the writer's promise.
fn users() -> String {
    let profiles = "<waitless><wait_for_async_insert>0</wait_for_async_insert></waitless>\
                    <fixed><async_insert>1</async_insert><constraints><async_insert><readonly/></async_insert>\
                    </constraints></fixed>";
    clickhouse_users(
        profiles,
        &[
            (
                "dataproc",
                "app-secret",
                "default",
                &documented::block("clickhouse-grants"),
            ),
            (
                "reader",
                "app-secret",
                "default",
                "GRANT SELECT ON market_data.* TO reader;",
            ),
            ("waitless", "app-secret", "waitless", ""),
            ("fixed", "app-secret", "fixed", ""),
        ],
    )
}

fn engine() -> Temporary {
    let stack = Temporary::with(|config| config.clickhouse_users = Some(users())).unwrap();
    crate::common::start(&stack, Server::ClickHouse);
    stack
}

fn client(url: &str, user: &str, password: &str, trust: &Trust) -> ClickHouse {
    ClickHouse::new(ClickHouseConfig {
        url: url.to_owned(),
        database: "market_data".into(),
        user: user.into(),
        password: Secret::new(password),
        cluster: String::new(),
        trust: trust.clone(),
    })
    .unwrap()
}

fn plain_url(stack: &Temporary) -> String {
    stack.env()["DATA_PROC_CLICKHOUSE_URL"].clone()
}

fn address(stack: &Temporary) -> String {
    plain_url(stack).trim_start_matches("http://").to_owned()
}

async fn admin(stack: &Temporary) -> ClickHouse {
    let admin = client(&plain_url(stack), "default", "", &Trust::default());
    stores::clickhouse::migrate(&admin, "").await.unwrap();
    admin
}

fn ticks(clickhouse: &ClickHouse) -> FencedTable {
    FencedTable::new(clickhouse.clone(), &rows::tick::LAYOUT, "")
}

fn batch(offsets: std::ops::Range<i64>) -> Block {
    let mut block = Block::new(&rows::tick::LAYOUT);
    for offset in offsets {
        let mut tick = tick();
        tick.origin.offset = offset * 10;
        rows::tick::encode(&tick, 3, offset, &mut block);
    }
    block
}

async fn write(table: &FencedTable, claim: &Claim, offsets: std::ops::Range<i64>) -> Result<(), InsertError> {
    table.insert(std::slice::from_ref(claim), vec![batch(offsets)]).await
}

async fn count(clickhouse: &ClickHouse) -> String {
    clickhouse
        .query_text("SELECT count() FROM market_ticks", "TabSeparated")
        .await
        .unwrap()
        .trim()
        .to_owned()
}

/// The first steps of a writer.
async fn begin(clickhouse: &ClickHouse) -> Result<FencedTable, StoreError> {
    let table = ticks(clickhouse);
    table.check().await?;
    Ok(table)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_goes_over_tls_with_the_documented_grants() {
    let (private, stack) = (private(), engine());
    let reader = client(&plain_url(&stack), "reader", "app-secret", &Trust::default());
    let refused = stores::clickhouse::migrate(&reader, "").await;
    assert_refused(refused, "grant_missing", &["CREATE"]);
    admin(&stack).await;
    let front = TlsFront::start(&private.authority.server().unwrap(), &[&address(&stack)]).unwrap();
    let url = format!("https://localhost:{}", front.port());
    let clickhouse = client(&url, "dataproc", "app-secret", &private.trust);
    assert_eq!(stores::clickhouse::migrate(&clickhouse, "").await.unwrap(), 0);
    let table = begin(&clickhouse).await.unwrap();
    table
        .check_topics(&[(TOPIC.to_owned(), "an-id".to_owned())])
        .await
        .unwrap();
    let (claim, position) = table.take_over(TOPIC, 3, Claimant::once()).await.unwrap();
    assert_eq!(position, None);
    write(&table, &claim, 0..500).await.unwrap();
    let (_, position) = table.take_over(TOPIC, 3, Claimant::once()).await.unwrap();
    assert_eq!(position.unwrap().next_offset, 500);
    assert_eq!(count(&clickhouse).await, "500");

    let wrong = client(&url, "dataproc", "wrong-secret", &private.trust);
    assert_refused(wrong.ping().await, "access_denied", &["DATA_PROC_CLICKHOUSE_PASSWORD"]);
    let stranger = client(&url, "dataproc", "app-secret", &Trust::default());
    assert_refused(
        stranger.ping().await,
        "certificate_refused",
        &["UnknownIssuer", "DATA_PROC_TLS_CA"],
    );
    let reader = client(&url, "reader", "app-secret", &private.trust);
    let refused = ticks(&reader).take_over(TOPIC, 3, Claimant::once()).await;
    assert_refused(
        refused,
        "grant_missing",
        &["INSERT", "writer_fence", "docs/security.md"],
    );
    let no_tls = client(
        &plain_url(&stack).replace("http://", "https://"),
        "dataproc",
        "app-secret",
        &private.trust,
    );
    assert_refused(
        no_tls.ping().await,
        "tls_mismatch",
        &["http://", "DATA_PROC_CLICKHOUSE_URL"],
    );
    let plain = client(
        &url.replace("https://", "http://"),
        "dataproc",
        "app-secret",
        &private.trust,
    );
    let error = plain.ping().await.unwrap_err();
    let named = error.to_string();
    assert!(
        named.contains("https://") && named.contains("DATA_PROC_CLICKHOUSE_URL"),
        "{named}"
    );
    let expired = TlsFront::start(&private.authority.expired_server().unwrap(), &[&address(&stack)]).unwrap();
    let expired = client(
        &format!("https://localhost:{}", expired.port()),
        "dataproc",
        "app-secret",
        &private.trust,
    );
    assert_refused(expired.ping().await, "certificate_refused", &["expired"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_break_the_promise_are_rejected_by_name() {
    let stack = engine();
    let admin = admin(&stack).await;
    let url = plain_url(&stack);
    begin(&admin).await.unwrap();
    let waitless = client(&url, "waitless", "app-secret", &Trust::default());
    assert_refused(
        begin(&waitless).await.map(drop),
        "write_refused",
        &["wait_for_async_insert = 0", "profile"],
    );
    let fixed = client(&url, "fixed", "app-secret", &Trust::default());
    assert_refused(begin(&fixed).await.map(drop), "write_refused", &["async_insert"]);
    admin
        .exec("ALTER TABLE market_data.market_ticks MODIFY SETTING async_insert = 1")
        .await
        .unwrap();
    let words = ["market_ticks", "async_insert = 1", "RESET SETTING async_insert"];
    assert_refused(begin(&admin).await.map(drop), "write_refused", &words);
    admin
        .exec("ALTER TABLE market_data.market_ticks RESET SETTING async_insert")
        .await
        .unwrap();
    begin(&admin).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manually_narrowed_column_is_rejected_and_an_added_or_widened_one_is_not() {
    let stack = engine();
    let admin = admin(&stack).await;
    let alter = async |change: &str| {
        admin
            .exec(&format!("ALTER TABLE market_data.market_ticks {change}"))
            .await
            .unwrap();
    };
    for (change, back, words) in [
        (
            "MODIFY COLUMN price Decimal(9, 2)",
            "MODIFY COLUMN price Decimal(18, 8)",
            "price",
        ),
        (
            "MODIFY COLUMN src_offset Int32",
            "MODIFY COLUMN src_offset Int64",
            "src_offset",
        ),
        (
            "DROP COLUMN volume",
            "ADD COLUMN volume Nullable(Decimal(18, 8))",
            "volume",
        ),
        ("RENAME COLUMN bid TO best_bid", "RENAME COLUMN best_bid TO bid", "bid"),
    ] {
        alter(change).await;
        assert_refused(
            begin(&admin).await.map(drop),
            "write_refused",
            &["market_ticks", words, "ALTER TABLE"],
        );
        alter(back).await;
        begin(&admin).await.unwrap_or_else(|error| panic!("{back}: {error}"));
    }
    alter("ADD COLUMN note String DEFAULT ''").await;
    alter("MODIFY COLUMN volume Nullable(Decimal(38, 8))").await;
    let table = begin(&admin).await.unwrap();
    let (claim, _) = table.take_over(TOPIC, 3, Claimant::once()).await.unwrap();
    write(&table, &claim, 0..10).await.unwrap();
    assert_eq!(count(&admin).await, "10");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_tables_behind_several_servers_are_rejected() {
    let (private, stacks) = (private(), [engine(), engine()]);
    for stack in &stacks {
        admin(stack).await;
    }
    let targets: Vec<String> = stacks.iter().map(address).collect();
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    let front = TlsFront::start(&private.authority.server().unwrap(), &targets).unwrap();
    let clickhouse = client(
        &format!("https://localhost:{}", front.port()),
        "default",
        "",
        &private.trust,
    );
    assert_refused(
        begin(&clickhouse).await.map(drop),
        "write_refused",
        &["2 servers", "MergeTree", "DATA_PROC_CLICKHOUSE_URL"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_throws_is_named_and_no_row_is_duplicated() {
    let stack = engine();
    let admin = admin(&stack).await;
    admin
        .exec("CREATE TABLE market_data.copies (raw_offset Int64) ENGINE = MergeTree ORDER BY raw_offset")
        .await
        .unwrap();
    let view = "CREATE MATERIALIZED VIEW market_data.by_hand TO market_data.copies AS \
                SELECT raw_offset + throwIf(raw_offset > 1000) AS raw_offset FROM market_data.market_ticks";
    admin.exec(view).await.unwrap();
    let table = begin(&admin).await.unwrap();
    let (claim, _) = table.take_over(TOPIC, 3, Claimant::once()).await.unwrap();
    write(&table, &claim, 0..50).await.unwrap();
    let Err(InsertError::Unknown(error)) = write(&table, &claim, 50..200).await else {
        panic!("the view throws");
    };
    assert_eq!(
        (error.class(), error.code()),
        (ErrorClass::Fatal, "write_refused"),
        "{error}"
    );
    assert!(error.to_string().contains("market_data.by_hand"), "{error}");
    // Whether the rows are stored is read back, not guessed: the writer continues after the last stored row.
    let (claim, position) = table.take_over(TOPIC, 3, Claimant::once()).await.unwrap();
    admin.exec("DROP VIEW market_data.by_hand SYNC").await.unwrap();
    let next = position.unwrap().next_offset;
    write(&table, &claim, next..300).await.unwrap();
    assert_eq!(count(&admin).await, "300");
    let distinct = admin
        .query_text("SELECT uniqExact(src_offset) FROM market_ticks", "TabSeparated")
        .await
        .unwrap();
    assert_eq!(distinct.trim(), "300");
}
