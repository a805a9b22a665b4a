//! A Redis that runs out of memory evicts served prices: they come back by themselves, and the operator is told.

use e2e::{Pipeline, eventually};

#[test]
fn latest_prices_that_redis_evicts_are_written_to_it_again() {
    let pipeline = Pipeline::shared();
    pipeline.publish_once(2_000, 61_000).unwrap();
    pipeline.agree().unwrap();
    let redis = &pipeline.redis;
    let told = |section: &str, field: &str| -> String {
        let info = redis.run(&["INFO", section]).unwrap().remove(0).unwrap();
        let value = info
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap().to_owned()
    };
    let evicted = || told("stats", "evicted_keys").parse::<u64>().unwrap();
    let served = || redis.run(&["KEYS", "served:latest_price:*"]).unwrap().len();
    let (served_before, evicted_before) = (served(), evicted());
    let maxmemory = redis.run(&["CONFIG", "GET", "maxmemory"]).unwrap().remove(1).unwrap();
    let policy = redis
        .run(&["CONFIG", "GET", "maxmemory-policy"])
        .unwrap()
        .remove(1)
        .unwrap();
    redis
        .run(&["CONFIG", "SET", "maxmemory-policy", "allkeys-random"])
        .unwrap();
    // Just less than what is used: some keys have to go.
    let used: u64 = told("memory", "used_memory").parse().unwrap();
    redis
        .run(&["CONFIG", "SET", "maxmemory", &(used - 20_000).to_string()])
        .unwrap();
    eventually("redis evicts keys", || {
        redis.run(&["SET", "filler", &"x".repeat(1_000)])?;
        Ok(evicted() > evicted_before)
    })
    .unwrap();
    redis.run(&["CONFIG", "SET", "maxmemory", &maxmemory]).unwrap();
    redis.run(&["CONFIG", "SET", "maxmemory-policy", &policy]).unwrap();
    redis.run(&["DEL", "filler"]).unwrap();
    eventually("every price is served again", || Ok(served() >= served_before)).unwrap();
    pipeline.agree().unwrap();
}
