//! The keys that Redis holds, by their kind, and its memory.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::Serialize;
use stores::Redis;

/// Keys with the same beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyGroup {
    /// The parts of the key that name its kind, such as `served:latest_price`.
    pub kind: String,
    /// The tenant; empty for keys without one.
    pub tenant: String,
    /// Number of keys.
    pub keys: u64,
    /// The first of them in order.
    pub example: String,
}

/// The keys of this generation that match a pattern, grouped by kind and tenant, the largest group first. Scanned in batches: the
/// server can serve other clients in between.
///
/// # Errors
/// Redis does not answer.
pub async fn keys(redis: &Redis, pattern: &str) -> anyhow::Result<Vec<KeyGroup>> {
    let found = redis
        .scan(pattern)
        .await
        .context("read the keys: is Redis running (`dp status`)?")?;
    Ok(grouped(&found))
}

/// Memory of one server, or of one master of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Its address; empty for a single server.
    pub node: String,
    /// Bytes in use.
    pub used_bytes: u64,
    /// The most that were in use since it started.
    pub peak_bytes: u64,
    /// Its limit; 0 means none.
    pub max_bytes: u64,
    /// What it does at the limit: `noeviction` refuses writes, the others remove keys.
    pub policy: String,
    /// Keys that it has removed because of the limit since it started.
    pub evicted_keys: u64,
    /// Clients that are connected.
    pub clients: u64,
}

impl Memory {
    /// Percentage from which the limit is near.
    const NEAR_PERCENT: u64 = 80;

    /// Whether writes are soon refused, or keys soon removed.
    pub fn is_near_limit(&self) -> bool {
        self.max_bytes > 0 && self.used_bytes.saturating_mul(100) >= self.max_bytes.saturating_mul(Memory::NEAR_PERCENT)
    }
}

/// The memory of each master.
///
/// # Errors
/// Redis does not answer, or does not say it.
pub async fn memory(redis: &Redis) -> anyhow::Result<Vec<Memory>> {
    let told = redis
        .info("everything")
        .await
        .context("read the memory: is Redis running (`dp status`)?")?;
    told.iter().map(|(node, text)| memory_of(node, text)).collect()
}

fn memory_of(node: &str, text: &str) -> anyhow::Result<Memory> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim)
            .with_context(|| format!("Redis does not say {name} in INFO"))
    };
    let number = |name: &str| -> anyhow::Result<u64> {
        let text = field(name)?;
        text.parse()
            .with_context(|| format!("Redis says {name}:{text}, which is not a number"))
    };
    Ok(Memory {
        node: node.to_owned(),
        used_bytes: number("used_memory")?,
        peak_bytes: number("used_memory_peak")?,
        max_bytes: number("maxmemory")?,
        policy: field("maxmemory_policy")?.to_owned(),
        evicted_keys: number("evicted_keys")?,
        clients: number("connected_clients")?,
    })
}

fn grouped(keys: &[String]) -> Vec<KeyGroup> {
    let mut groups: BTreeMap<(&str, &str), KeyGroup> = BTreeMap::new();
    for key in keys {
        let (kind, tenant) = kind_of(key);
        let group = groups.entry((kind, tenant)).or_insert_with(|| KeyGroup {
            kind: kind.to_owned(),
            tenant: tenant.to_owned(),
            keys: 0,
            example: key.clone(),
        });
        group.keys += 1;
    }
    let mut groups: Vec<KeyGroup> = groups.into_values().collect();
    groups.sort_by(|one, other| {
        other
            .keys
            .cmp(&one.keys)
            .then_with(|| (&one.kind, &one.tenant).cmp(&(&other.kind, &other.tenant)))
    });
    groups
}

/// Kind and tenant of a key. Colons inside of a part are escaped, so the parts can be split. `served:custom` has its type in front
/// of the tenant.
fn kind_of(key: &str) -> (&str, &str) {
    let end_of = |parts: usize| key.match_indices(':').nth(parts - 1).map(|(at, _)| at);
    let parts = match key {
        _ if key.starts_with("served:custom:") => 3,
        _ if key.starts_with("served:") => 2,
        _ => 1,
    };
    let Some(end) = end_of(parts) else {
        return (key, "");
    };
    let (kind, rest) = key.split_at(end);
    let rest = rest.strip_prefix(':').unwrap_or(rest);
    match rest.split_once(':') {
        Some((tenant, _)) => (kind, tenant),
        None => (kind, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_info_and_is_near_its_limit_from_four_fifths() {
        let info = |used: u64, max: u64| {
            format!(
                "# Clients\r\nconnected_clients:3\r\n# Memory\r\nused_memory:{used}\r\nused_memory_human:1M\r\n\
                 used_memory_peak:900\r\nmaxmemory:{max}\r\nmaxmemory_policy:allkeys-lru\r\n# Stats\r\nevicted_keys:7\r\n"
            )
        };
        let near = |used, max| {
            memory_of("", &info(used, max))
                .map(|memory| memory.is_near_limit())
                .ok()
        };
        assert_eq!(near(800, 1000), Some(true));
        assert_eq!(near(799, 1000), Some(false));
        assert_eq!(near(u64::MAX, 0), Some(false));
        let read = memory_of("a:1", &info(5, 6)).ok();
        let read = read.map(|memory| {
            (
                memory.node,
                memory.peak_bytes,
                memory.policy,
                memory.evicted_keys,
                memory.clients,
            )
        });
        assert_eq!(read, Some(("a:1".to_owned(), 900, "allkeys-lru".to_owned(), 7, 3)));
        let missing = memory_of("", "used_memory:5\r\n").err().map(|error| error.to_string());
        assert!(missing.is_some_and(|text| text.contains("used_memory_peak")));
    }

    #[test]
    fn keys_are_grouped_by_kind_and_tenant() {
        let keys = [
            "ratelimit:10.0.0.1",
            "served:custom:vwap:acme:A",
            "served:custom:derived_price:acme:A",
            "served:latest_price:acme:A",
            "served:latest_price:acme:B%3A1",
            "served:latest_price:default:A",
            "single",
        ]
        .map(str::to_owned);
        let groups = grouped(&keys);
        let shown: Vec<(&str, &str, u64)> = groups
            .iter()
            .map(|group| (group.kind.as_str(), group.tenant.as_str(), group.keys))
            .collect();
        assert_eq!(
            shown,
            [
                ("served:latest_price", "acme", 2),
                ("ratelimit", "", 1),
                ("served:custom:derived_price", "acme", 1),
                ("served:custom:vwap", "acme", 1),
                ("served:latest_price", "default", 1),
                ("single", "", 1),
            ]
        );
    }
}
