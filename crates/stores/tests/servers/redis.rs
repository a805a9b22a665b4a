//! The copy for readers against a real Redis.

use std::time::Duration;

use domain::{Classified, ErrorClass};
use localstack::{Server, Temporary};
use security::{Secret, Trust};
use stores::redis::{Key, key};
use stores::{LatestPrice, Redis};

use crate::common::{self, contest, latest_price, shuffled};

fn setup() -> (Temporary, Redis) {
    let stack = common::started(&[Server::Redis]);
    let redis = Redis::new(
        &Secret::new(stack.env()["DATA_PROC_REDIS_URL"].as_str()),
        &Trust::default(),
    )
    .unwrap();
    (stack, redis)
}

#[tokio::test]
async fn an_older_price_never_replaces_a_newer_one_in_any_order_of_arrival() {
    let (_stack, redis) = setup();
    let key = [Key::latest_price("default", "A").to_string()];
    for seed in 0..20 {
        let (prices, newest) = contest(seed % 2 == 0);
        let order = shuffled(&prices, seed);
        // One by one, and several per call.
        for chunk in order.chunks(1 + seed as usize % 4) {
            redis.put_prices(chunk).await.unwrap();
        }
        assert_eq!(
            redis.get_many(&key).await.unwrap(),
            [Some(newest.to_json())],
            "seed {seed}"
        );
        assert_eq!(redis.delete(&key).await.unwrap(), 1);
    }
    assert_eq!(redis.get_many(&key).await.unwrap(), [None]);
}

#[tokio::test]
async fn a_value_that_is_not_ours_is_replaced_and_many_prices_are_sent_in_chunks() {
    let (_stack, redis) = setup();
    let foreign = (Key::latest_price("default", "I7").to_string(), "not json".to_owned());
    // The format of builds whose ranks had no sequence.
    let former = (
        Key::latest_price("default", "I8").to_string(),
        r#"{"rank":"99999999999999999999 raw 0000000001 00000000000000000000 0000000000","price":1}"#.to_owned(),
    );
    redis
        .set_many(&[foreign, former], Duration::from_secs(60))
        .await
        .unwrap();
    let prices: Vec<LatestPrice> = (0..1234).map(|i| latest_price(&format!("I{i}"), 100, i)).collect();
    assert_eq!(redis.put_prices(&prices).await.unwrap(), 1234);
    let keys = redis.scan(&key::latest_prices_of("default")).await.unwrap();
    assert_eq!(keys.len(), 1234);
    let values = redis.get_many(&keys).await.unwrap();
    assert!(
        values.iter().flatten().count() == 1234
            && values
                .iter()
                .flatten()
                .all(|value| value.starts_with("{\"standing\":\""))
    );
}

#[tokio::test]
async fn the_prices_of_each_tenant_are_counted_and_nothing_else() {
    let (_stack, redis) = setup();
    let limit = Duration::from_secs(60);
    let tenants = [
        ("a", 3),
        ("a:b", 1),
        ("a*", 2),
        ("ab", 4),
        ("a?[b]\\", 5),
        ("many", 12_000),
    ];
    for (tenant, prices) in tenants {
        let keys: Vec<(String, String)> = (0..prices)
            .map(|number| {
                let instrument = format!("b:{number}");
                (Key::latest_price(tenant, &instrument).to_string(), "{}".to_owned())
            })
            .collect();
        redis.set_many(&keys, limit).await.unwrap();
    }
    redis.mark_copy("a:b", "mark").await.unwrap();
    let other = redis.clone().of_generation("g2");
    other.put_prices(&[latest_price("A", 1, 0)]).await.unwrap();
    let expected = tenants.map(|(tenant, prices)| (tenant.to_owned(), prices));
    assert_eq!(redis.count_latest_prices().await.unwrap(), expected.into());
    let expected = [("default".to_owned(), 1)];
    assert_eq!(other.count_latest_prices().await.unwrap(), expected.into());
}

#[tokio::test]
async fn parallel_generations_serve_their_own_prices() {
    let (_stack, first) = setup();
    let second = first.clone().of_generation("g2");
    first.put_prices(&[latest_price("A", 200, 0)]).await.unwrap();
    second.put_prices(&[latest_price("A", 100, 0)]).await.unwrap();
    let key = [Key::latest_price("default", "A").to_string()];
    assert_ne!(
        first.get_many(&key).await.unwrap(),
        second.get_many(&key).await.unwrap()
    );
    let pattern = key::latest_prices_of("default");
    assert_eq!(first.scan(&pattern).await.unwrap(), key);
    assert_eq!(second.scan(&pattern).await.unwrap(), key);
    assert_eq!(second.delete(&key).await.unwrap(), 1);
    assert_eq!(first.scan(&pattern).await.unwrap(), key);
}

#[tokio::test]
async fn an_emptied_or_restarted_server_is_detected_and_used_again() {
    let (stack, redis) = setup();
    let first = redis.copy_state("projection").await.unwrap();
    assert_eq!((first.mark.as_deref(), first.evicted_keys), (None, 0));
    redis.mark_copy("projection", "mine").await.unwrap();
    let marked = redis.copy_state("projection").await.unwrap();
    assert_eq!(
        (marked.run_id.as_str(), marked.mark.as_deref()),
        (first.run_id.as_str(), Some("mine"))
    );
    stack.kill9(Server::Redis).unwrap();
    let error = redis.ping().await.unwrap_err();
    assert_eq!(
        (error.class(), error.code()),
        (ErrorClass::Transient, "unreachable"),
        "{error}"
    );
    common::start(&stack, Server::Redis);
    common::eventually("redis is used again", async || redis.ping().await.is_ok()).await;
    let second = redis.copy_state("projection").await.unwrap();
    assert_ne!(first.run_id, second.run_id);
}
