use std::time::Duration;

use domain::Classified as _;
use security::{Secret, Trust};
use stores::redis::Key;
use stores::{LatestPrice, Redis};
use testkit::secured::redis::{Cluster, Redis as Server};

use super::{assert_refused, documented, private};
use crate::common::{contest, latest_price, shuffled};

fn client(url: &str, trust: &Trust) -> Redis {
    Redis::new(&Secret::new(url), trust).unwrap()
}

/// The operations of the services.
async fn use_everything(redis: &Redis) {
    redis.ping().await.unwrap();
    let (prices, newest) = contest(true);
    for seed in 0..4 {
        redis.put_prices(&shuffled(&prices, seed)).await.unwrap();
    }
    let key = Key::latest_price("default", "A").to_string();
    assert_eq!(
        redis.get_many(std::slice::from_ref(&key)).await.unwrap(),
        [Some(newest.to_json())]
    );
    let many: Vec<LatestPrice> = (0..1_200)
        .map(|number| latest_price(&format!("I{number}"), number, number))
        .collect();
    assert_eq!(redis.put_prices(&many).await.unwrap(), 1_200);
    assert_eq!(
        redis.put_prices(&many[..10]).await.unwrap(),
        10,
        "the same rank replaces itself"
    );
    let old = latest_price("I900", 1, 1);
    assert_eq!(redis.put_prices([&old]).await.unwrap(), 0, "an older one does not");
    let keys: Vec<String> = many
        .iter()
        .map(|price| Key::latest_price("default", &price.instrument_id).to_string())
        .collect();
    let found = redis.get_many(&keys).await.unwrap();
    assert!(
        many.iter()
            .zip(&found)
            .all(|(price, found)| *found == Some(price.to_json())),
        "in the order of the keys"
    );
    let pairs: Vec<(String, String)> = (0..700)
        .map(|number| {
            (
                Key::reference("default", &format!("R{number}")).to_string(),
                number.to_string(),
            )
        })
        .collect();
    redis.set_many(&pairs, Duration::from_secs(60)).await.unwrap();
    assert_eq!(redis.scan("reference:*").await.unwrap().len(), 700);
    let counted = redis.count_latest_prices().await.unwrap();
    assert_eq!(counted.into_iter().collect::<Vec<_>>(), [("default".to_owned(), 1_201)]);
    assert_eq!(redis.delete(&keys).await.unwrap(), 1_200);
    redis.mark_copy("lane", "complete").await.unwrap();
    let state = redis.copy_state("lane").await.unwrap();
    assert_eq!((state.mark.as_deref(), state.evicted_keys), (Some("complete"), 0));
    assert!(!state.run_id.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_goes_over_tls_as_the_documented_user() {
    let private = private();
    let server = Server::start(&private.authority.server().unwrap(), &documented::block("redis-acl")).unwrap();
    let url = |user: &str, password: &str| format!("rediss://{user}:{password}@localhost:{}/0", server.port());
    let redis = client(&url("dataproc", "app-secret"), &private.trust);
    use_everything(&redis).await;
    use_everything(&redis.clone().of_generation("g2")).await;

    let wrong = client(&url("dataproc", "wrong-secret"), &private.trust);
    assert_refused(wrong.ping().await, "access_denied", &["DATA_PROC_REDIS_URL"]);
    let nobody = client(&format!("rediss://localhost:{}/0", server.port()), &private.trust);
    assert_refused(nobody.ping().await, "access_denied", &["DATA_PROC_REDIS_URL"]);
    let stranger = client(&url("dataproc", "app-secret"), &Trust::default());
    assert_refused(
        stranger.ping().await,
        "certificate_refused",
        &["UnknownIssuer", "DATA_PROC_TLS_CA"],
    );
    // A TLS server does not respond to a plaintext client: the likely cause is named.
    let plain = client(
        &url("dataproc", "app-secret").replace("rediss://", "redis://"),
        &private.trust,
    );
    let error = plain.ping().await.unwrap_err();
    assert!(
        error.code() == "unreachable" && error.to_string().contains("use rediss://"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_is_named() {
    let private = private();
    let rights = documented::block("redis-acl");
    for (right, words) in [("+evalsha", "evalsha"), ("~served:*", "key"), ("+info", "info")] {
        assert!(rights.contains(right), "{rights}");
        let server = Server::start(&private.authority.server().unwrap(), &rights.replace(right, "")).unwrap();
        let url = format!("rediss://dataproc:app-secret@localhost:{}/0", server.port());
        let refused = client(&url, &private.trust)
            .put_prices([&latest_price("A", 1, 1)])
            .await;
        assert_refused(
            refused,
            "grant_missing",
            &[words, "DATA_PROC_REDIS_URL", "docs/security.md"],
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_has_expired_and_a_server_without_tls_are_named() {
    let private = private();
    let rights = documented::block("redis-acl");
    let expired = Server::start(&private.authority.expired_server().unwrap(), &rights).unwrap();
    let url = format!("rediss://dataproc:app-secret@localhost:{}/0", expired.port());
    assert_refused(
        client(&url, &private.trust).ping().await,
        "certificate_refused",
        &["expired", "certificate"],
    );
    let cluster = Cluster::start().unwrap();
    let url = format!("rediss://localhost:{}/0", cluster.ports()[0]);
    assert_refused(
        client(&url, &private.trust).ping().await,
        "tls_mismatch",
        &["redis://", "DATA_PROC_REDIS_URL"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_recognised_and_every_key_reaches_its_master() {
    let cluster = Cluster::start().unwrap();
    let url = format!("redis://127.0.0.1:{}", cluster.ports()[1]);
    let redis = client(&url, &Trust::default());
    use_everything(&redis).await;
    let sizes: Vec<String> = cluster
        .ports()
        .iter()
        .map(|port| cluster.ask(*port, &["DBSIZE"]).unwrap())
        .collect();
    assert!(
        sizes.iter().all(|size| size.trim() != "0"),
        "every master holds keys: {sizes:?}"
    );
    let several: Vec<String> = cluster
        .ports()
        .iter()
        .map(|port| format!("redis://127.0.0.1:{port}"))
        .collect();
    let named = client(&several.join(","), &Trust::default());
    assert_eq!(
        named.copy_state("lane").await.unwrap(),
        redis.copy_state("lane").await.unwrap()
    );
    // A slot that moves to another master is followed.
    let key = Key::latest_price("default", "A").to_string();
    let before = redis.get_many(std::slice::from_ref(&key)).await.unwrap();
    let slot = cluster.ask(cluster.ports()[0], &["CLUSTER", "KEYSLOT", &key]).unwrap();
    let id = |port: u16| cluster.ask(port, &["CLUSTER", "MYID"]).unwrap().trim().to_owned();
    let holds = |port: &&u16| {
        cluster
            .ask(**port, &["CLUSTER", "COUNTKEYSINSLOT", slot.trim()])
            .unwrap()
            .trim()
            != "0"
    };
    let from = *cluster.ports().iter().find(holds).unwrap();
    let to = *cluster.ports().iter().find(|port| **port != from).unwrap();
    cluster
        .ask(to, &["CLUSTER", "SETSLOT", slot.trim(), "IMPORTING", &id(from)])
        .unwrap();
    cluster
        .ask(from, &["CLUSTER", "SETSLOT", slot.trim(), "MIGRATING", &id(to)])
        .unwrap();
    assert_eq!(redis.get_many(std::slice::from_ref(&key)).await.unwrap(), before);
    cluster
        .ask(from, &["MIGRATE", "127.0.0.1", &to.to_string(), &key, "0", "2000"])
        .unwrap();
    assert_eq!(
        redis.get_many(std::slice::from_ref(&key)).await.unwrap(),
        before,
        "ASK is followed"
    );
    for port in [to, from] {
        cluster
            .ask(port, &["CLUSTER", "SETSLOT", slot.trim(), "NODE", &id(to)])
            .unwrap();
    }
    let newer = latest_price("A", 10_000, 1);
    assert_eq!(redis.put_prices([&newer]).await.unwrap(), 1, "MOVED is followed");
    assert_eq!(redis.get_many(&[key]).await.unwrap(), [Some(newer.to_json())]);
}
