//! The keys that Redis holds, by their kind.

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
    fn keys_are_grouped_by_kind_and_tenant() {
        let keys = [
            "ratelimit:10.0.0.1",
            "served:custom:vwap:acme:A",
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
                ("served:custom:vwap", "acme", 1),
                ("served:latest_price", "default", 1),
                ("single", "", 1),
            ]
        );
    }
}
