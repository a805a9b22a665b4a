use std::time::Duration;

use domain::{Classified as _, Position};
use security::{Secret, Trust};
use stores::postgres::{Held, Notices, PriceBatch, REFERENCE_CHANGED, VerifyResult, VerifyRun, VerifyRuns, migrate};
use stores::{Applied, LatestPrice, LatestPriceStore, Postgres, ReferenceStore};
use testkit::secured::postgres::{PgBouncer, Postgres as Server};

use super::{Private, assert_refused, documented, private};
use crate::common::{eventually, latest_price};

const TOPIC: &str = "enriched.market.ticks.v1";

/// A server with all tables and the documented user of the services.
async fn setup() -> (Private, Server) {
    let private = private();
    let server = Server::start(&private.authority.server().unwrap()).unwrap();
    let admin = connect(&format!("{}?sslmode=verify-full", server.admin_dsn()), &private.trust);
    migrate(&admin).await.unwrap();
    server.sql(&documented::block("postgres-grants")).unwrap();
    (private, server)
}

fn connect(dsn: &str, trust: &Trust) -> Postgres {
    Postgres::connect(&Secret::new(dsn), trust, 8).unwrap()
}

fn at(next_offset: i64) -> Position {
    Position {
        next_offset,
        sequencer: Vec::new(),
    }
}

async fn apply(
    store: &LatestPriceStore,
    partition: i32,
    expected: Option<i64>,
    price: LatestPrice,
) -> Result<Applied, stores::StoreError> {
    let position = at(expected.unwrap_or(0) + 1);
    store
        .apply(&PriceBatch {
            topic: TOPIC,
            partition,
            expected: expected.map(|next_offset| Held { next_offset, epoch: 0 }),
            position: Some(&position),
            prices: &[price],
        })
        .await
}

/// The operations of the services, as the documented user.
async fn use_everything(postgres: &Postgres) {
    assert_eq!(migrate(postgres).await.unwrap(), 0);
    let store = LatestPriceStore::new(postgres.clone(), "");
    store
        .check_topics(&[(TOPIC.to_owned(), "an-id".to_owned())])
        .await
        .unwrap();
    let (readers, reference) = (
        LatestPriceStore::new(postgres.for_readers(4, Duration::from_secs(2)).unwrap(), ""),
        ReferenceStore::new(postgres.clone()),
    );
    // Concurrent calls, so that a pooler switches connections between two statements.
    let lane = async |partition: i32| {
        for step in 0..20i64 {
            let expected = (step > 0).then_some(step);
            let instrument = format!("I{partition}");
            let applied = apply(&store, partition, expected, latest_price(&instrument, 100 + step, step)).await;
            assert_eq!(applied.unwrap(), Applied::Yes);
            let loaded = store.load_position(TOPIC, partition).await.unwrap();
            assert_eq!(loaded.map(|loaded| loaded.position), Some(at(step + 1)));
            let found = readers.find_one("default", &instrument).await.unwrap().unwrap();
            assert_eq!(found.event_time, 100 + step);
            reference.lookup(&[("default", "A"), ("default", "B")]).await.unwrap();
        }
    };
    tokio::join!(lane(0), lane(1), lane(2), lane(3), lane(4), lane(5));
    assert_eq!(readers.newest_of("default", 10).await.unwrap().len(), 6);
    assert_eq!(store.positions().await.unwrap().len(), 6);
    reference.load_all().await.unwrap();
    let runs = VerifyRuns::new(postgres.clone(), "");
    assert_eq!(runs.last().await.unwrap(), None);
    let run = VerifyRun {
        started_at: 0,
        finished_at: 1,
        result: VerifyResult::Ok,
        differences: 0,
        failed_checks: Vec::new(),
    };
    // A service has no right to record one.
    assert_eq!(runs.record(&run).await.unwrap_err().code(), "grant_missing");
    postgres.ping().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_goes_over_tls_with_the_documented_rights() {
    let (private, server) = setup().await;
    for mode in ["verify-full", "require"] {
        server
            .sql("DELETE FROM projection_positions; DELETE FROM served_latest_prices")
            .unwrap();
        let dsn = format!("{}?sslmode={mode}", server.dsn("dataproc", "app-secret"));
        let postgres = connect(&dsn, &private.trust);
        use_everything(&postgres).await;
        let ssl = postgres
            .query_text("SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            .await;
        assert_eq!(ssl.unwrap(), [[Some("true".to_owned())]]);
        let mut notices = Notices::listen(&postgres, REFERENCE_CHANGED, Duration::from_secs(300));
        assert_eq!(notices.next().await.as_deref(), Some(""));
        server.sql("NOTIFY reference_changed, 'x'").unwrap();
        assert_eq!(notices.next().await.as_deref(), Some("x"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_pooler_is_supported() {
    let (private, server) = setup().await;
    let certificate = private.authority.server().unwrap();
    let pooler = PgBouncer::start(&server, &certificate, &[("dataproc", "app-secret")]).unwrap();
    let dsn = format!("{}?sslmode=verify-full", pooler.dsn("dataproc", "app-secret"));
    let postgres = connect(&dsn, &private.trust);
    use_everything(&postgres).await;
    let readers = postgres.for_readers(1, Duration::from_millis(200)).unwrap();
    let error = readers.query_text("SELECT pg_sleep(60)").await.unwrap_err();
    assert_eq!(error.code(), "cancelled", "{error}");
    // The time limit applied to that transaction only, and the connection is reused.
    for _ in 0..4 {
        postgres.query_text("SELECT pg_sleep(0.3)").await.unwrap();
        readers.query_text("SELECT 1").await.unwrap();
    }
    // LISTEN is accepted and nothing arrives: this is detected, and the reader still gets the first notice.
    let mut notices = Notices::listen(&postgres, REFERENCE_CHANGED, Duration::from_secs(300));
    assert_eq!(notices.next().await.as_deref(), Some(""));
    let clients = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'dataproc'";
    assert!(
        server.sql(clients).unwrap().trim().parse::<u32>().unwrap() <= 2,
        "the pooler has two connections"
    );
    let wrong = format!("{}?sslmode=verify-full", pooler.dsn("dataproc", "wrong-secret"));
    assert_refused(
        connect(&wrong, &private.trust).ping().await,
        "access_denied",
        &["DATA_PROC_POSTGRES_DSN"],
    );
    let plain = connect(&pooler.dsn("dataproc", "app-secret"), &private.trust);
    assert_refused(
        plain.ping().await,
        "tls_mismatch",
        &["sslmode=verify-full", "DATA_PROC_POSTGRES_DSN"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_misconfiguration_is_one_error_that_names_it_and_the_setting() {
    let (private, server) = setup().await;
    let over_tls = |user: &str, password: &str| format!("{}?sslmode=verify-full", server.dsn(user, password));
    let wrong = connect(&over_tls("dataproc", "wrong-secret"), &private.trust);
    assert_refused(
        wrong.ping().await,
        "access_denied",
        &["password authentication failed", "DATA_PROC_POSTGRES_DSN"],
    );
    let stranger = connect(&over_tls("dataproc", "app-secret"), &Trust::default());
    assert_refused(
        stranger.ping().await,
        "certificate_refused",
        &["UnknownIssuer", "DATA_PROC_TLS_CA"],
    );
    let plain = connect(&server.dsn("dataproc", "app-secret"), &private.trust);
    assert_refused(
        plain.ping().await,
        "tls_mismatch",
        &["no encryption", "sslmode=verify-full"],
    );
    let nowhere = over_tls("dataproc", "app-secret").replace("/db?", "/elsewhere?");
    assert_refused(
        connect(&nowhere, &private.trust).ping().await,
        "invalid_address",
        &["elsewhere", "DATA_PROC_POSTGRES_DSN"],
    );
    server
        .sql("REVOKE INSERT ON projection_positions FROM dataproc")
        .unwrap();
    let store = LatestPriceStore::new(connect(&over_tls("dataproc", "app-secret"), &private.trust), "");
    let refused = apply(&store, 0, None, latest_price("A", 1, 1)).await;
    assert_refused(refused, "grant_missing", &["projection_positions", "docs/security.md"]);

    let expired = Server::start(&private.authority.expired_server().unwrap()).unwrap();
    let client = connect(&format!("{}?sslmode=verify-full", expired.admin_dsn()), &private.trust);
    assert_refused(client.ping().await, "certificate_refused", &["expired", "certificate"]);
    let elsewhere = Server::start(&private.authority.server_named(&["db.example"]).unwrap()).unwrap();
    let client = connect(
        &format!("{}?sslmode=verify-full", elsewhere.admin_dsn()),
        &private.trust,
    );
    assert_refused(client.ping().await, "certificate_refused", &["localhost", "db.example"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_tls_is_named() {
    let stack = crate::common::started(&[localstack::Server::Postgres]);
    let dsn = format!("{}?sslmode=verify-full", stack.env()["DATA_PROC_POSTGRES_DSN"]);
    assert_refused(
        connect(&dsn, &Trust::default()).ping().await,
        "tls_mismatch",
        &["sslmode=disable"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_fail_over_to_a_read_only_server_new_connections_are_used() {
    let (private, server) = setup().await;
    let dsn = format!("{}?sslmode=verify-full", server.dsn("dataproc", "app-secret"));
    let postgres = connect(&dsn, &private.trust);
    let store = LatestPriceStore::new(postgres.clone(), "");
    assert_eq!(
        apply(&store, 0, None, latest_price("A", 1, 1)).await.unwrap(),
        Applied::Yes
    );
    // New sessions are read-only, as on a stand-by server; sessions that stay open do not change.
    server
        .sql("ALTER ROLE dataproc SET default_transaction_read_only = on")
        .unwrap();
    server
        .sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'dataproc'")
        .unwrap();
    let mut error = apply(&store, 0, Some(1), latest_price("A", 2, 2)).await.unwrap_err();
    if error.code() == "unreachable" {
        error = apply(&store, 0, Some(1), latest_price("A", 2, 2)).await.unwrap_err();
    }
    assert_eq!(
        (error.code(), error.class()),
        ("read_only", domain::ErrorClass::Transient),
        "{error}"
    );
    server
        .sql("ALTER ROLE dataproc SET default_transaction_read_only = off")
        .unwrap();
    eventually("written again", async || {
        apply(&store, 0, Some(1), latest_price("A", 2, 2))
            .await
            .is_ok_and(|applied| applied == Applied::Yes)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_password_in_a_file_is_used_by_the_next_connection() {
    let (private, server) = setup().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dsn");
    let write = |password: &str| {
        std::fs::write(
            &file,
            format!("{}?sslmode=verify-full\n", server.dsn("dataproc", password)),
        )
        .unwrap();
    };
    write("app-secret");
    let secret = Secret::in_file("DATA_PROC_POSTGRES_DSN_FILE", &file).unwrap();
    let postgres = Postgres::connect(&secret, &private.trust, 2).unwrap();
    postgres.ping().await.unwrap();
    server.sql("ALTER ROLE dataproc PASSWORD 'other-secret'").unwrap();
    server
        .sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'dataproc'")
        .unwrap();
    eventually("refused", async || {
        postgres
            .ping()
            .await
            .is_err_and(|error| error.code() == "access_denied")
    })
    .await;
    write("other-secret");
    postgres.ping().await.unwrap();
}
