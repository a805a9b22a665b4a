//! A Redis that runs out of memory evicts served prices: they are restored automatically, and a log line warns the operator.

use std::process::Command;

use e2e::{Pipeline, eventually};
use localstack::Server;

/// Sets an option of Redis as the admin user, because other users lack the right.
fn configure(pipeline: &Pipeline, option: &str, value: &str) {
    let stack = pipeline.stack();
    let password = std::fs::read_to_string(stack.config().dir.join("redis/admin-password")).unwrap();
    let port = stack.port(Server::Redis).unwrap().to_string();
    let output = Command::new("redis-cli")
        .args(["-p", &port, "--user", "admin", "config", "set", option, value])
        .env("REDISCLI_AUTH", password)
        .output()
        .unwrap();
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(answer.trim(), "OK", "{option} {value}");
}

#[test]
fn latest_prices_that_redis_evicts_are_restored() {
    let pipeline = Pipeline::shared();
    pipeline.publish_once(2_000, 61_000).unwrap();
    pipeline.agree().unwrap();
    let redis = &pipeline.redis;
    let info = |section: &str, field: &str| -> String {
        let text = redis.run(&["INFO", section]).unwrap().remove(0).unwrap();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap().to_owned()
    };
    let evicted = || info("stats", "evicted_keys").parse::<u64>().unwrap();
    let served = || redis.run(&["KEYS", "served:latest_price:*"]).unwrap().len();
    let (served_before, evicted_before) = (served(), evicted());
    let maxmemory = redis.run(&["CONFIG", "GET", "maxmemory"]).unwrap().remove(1).unwrap();
    let policy = redis
        .run(&["CONFIG", "GET", "maxmemory-policy"])
        .unwrap()
        .remove(1)
        .unwrap();
    configure(&pipeline, "maxmemory-policy", "allkeys-random");
    // Slightly below the used memory, so that some keys are evicted.
    let used: u64 = info("memory", "used_memory").parse().unwrap();
    configure(&pipeline, "maxmemory", &(used - 20_000).to_string());
    eventually("redis evicts keys", || {
        redis.run(&["SET", "filler", &"x".repeat(1_000)])?;
        Ok(evicted() > evicted_before)
    })
    .unwrap();
    configure(&pipeline, "maxmemory", &maxmemory);
    configure(&pipeline, "maxmemory-policy", &policy);
    redis.run(&["DEL", "filler"]).unwrap();
    eventually("every price is served again", || Ok(served() >= served_before)).unwrap();
    pipeline.agree().unwrap();
}
