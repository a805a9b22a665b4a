//! Values of `served:custom` that projection has made of prices: they are dropped with the copies of the prices.
//!
//! The one who rebuilds need not have the settings of projection: a value that begins with a rank is one of these. Those of other programs
//! and the prices of derived series ([`Key::DerivedPrice`]), which may have the name of an instrument, are left alone.

use std::collections::HashSet;

use stores::price::RANK;
use stores::redis::Key;
use stores::{Redis, StoreError};

/// Matches the values of every type, tenant and instrument.
const EVERY: &str = "served:custom:*";

/// The keys of values that are made of the prices of these tenants and instruments.
pub(super) async fn made_of(redis: &Redis, instruments: &[(String, String)]) -> Result<Vec<String>, StoreError> {
    if instruments.is_empty() {
        return Ok(Vec::new());
    }
    let mut keys = redis.scan(EVERY).await?;
    keys.retain(is_of(instruments));
    let values = redis.get_many(&keys).await?;
    let made = keys
        .into_iter()
        .zip(values)
        .filter(|(_, value)| has_rank(value.as_deref()));
    Ok(made.map(|(key, _)| key).collect())
}

fn is_of(instruments: &[(String, String)]) -> impl Fn(&String) -> bool {
    let wanted: HashSet<(&str, &str)> = instruments
        .iter()
        .map(|(tenant, instrument)| (tenant.as_str(), instrument.as_str()))
        .collect();
    move |key| match Key::parse(key) {
        Some(Key::Custom {
            tenant_id,
            instrument_id,
            ..
        }) => wanted.contains(&(&*tenant_id, &*instrument_id)),
        _ => false,
    }
}

fn has_rank(value: Option<&str>) -> bool {
    let rest = value.and_then(|value| value.strip_prefix("{\"")?.strip_prefix(RANK));
    rest.is_some_and(|rest| rest.starts_with("\":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_instruments_with_a_rank_are_made_of_prices() {
        let instruments = [("acme".to_owned(), "A:1".to_owned())];
        let is_of = is_of(&instruments);
        for (key, expected) in [
            ("served:custom:mark:acme:A%3A1", true),
            ("served:custom:mark:acme:A", false),
            ("served:custom:mark:other:A%3A1", false),
            ("served:custom:derived_price:acme:A%3A1", false),
            ("served:latest_price:acme:A%3A1", false),
        ] {
            assert_eq!(is_of(&key.to_owned()), expected, "{key}");
        }
        assert!(has_rank(Some(r#"{"standing":"0 1","price":3}"#)));
        for other in [
            None,
            Some(""),
            Some("1"),
            Some(r#"{"value":3}"#),
            Some(r#"{"standings":1}"#),
        ] {
            assert!(!has_rank(other), "{other:?}");
        }
    }
}
