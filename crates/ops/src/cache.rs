//! The copies of prices in Redis: how many there are, one of them, and requests to drop or rewrite them.
//!
//! Role: a request is a message on `projection.invalidation.v1`, which projection carries out. Nothing is written to Redis here.
//! Failure: a server that does not answer. A published request is not lost: projection carries it out when it runs.

use anyhow::{Context as _, anyhow, bail};
use projection::core::invalidation::{Action, Invalidation, Target};
use serde::Serialize;
use stores::redis::Key;
use stores::{LatestPriceStore, Postgres, Projection, Redis, ServedStore, StoreError};
use stream::kafka::publisher::{Publisher, Record};

use crate::connection::Connection;
use crate::migrations::stores;

/// The copies that a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chosen {
    /// Every latest price, curve snapshot and derived price of every tenant.
    All,
    /// The latest price of an instrument of this tenant.
    Price {
        /// Tenant.
        tenant: String,
        /// Instrument.
        instrument: String,
    },
    /// The copy with this key.
    Key(String),
}

/// A published request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Sent {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub request: Invalidation,
}

/// The copies of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Copies {
    pub tenant_id: String,
    pub latest_prices: u64,
}

/// A copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// The text in Redis; `None` if there is none.
    pub value: Option<String>,
}

/// The message of a request.
///
/// # Errors
/// The service would refuse it.
pub fn message(action: Action, chosen: Chosen, reason: Option<String>) -> anyhow::Result<Invalidation> {
    let mut message = Invalidation {
        action,
        tenant_id: None,
        instrument_id: None,
        key: None,
        all: false,
        reason,
    };
    match chosen {
        Chosen::All => message.all = true,
        Chosen::Price { tenant, instrument } => {
            message.tenant_id = Some(tenant);
            message.instrument_id = Some(instrument);
        }
        Chosen::Key(key) => message.key = Some(key),
    }
    if let Err((_, reason)) = message.target() {
        bail!("nothing was published: {reason}; `dp redis keys` lists the keys");
    }
    Ok(message)
}

/// Publishes a request, keyed like the ticks of its instrument.
///
/// # Errors
/// Kafka does not answer, or refuses it.
pub async fn publish(connection: &Connection, request: Invalidation) -> anyhow::Result<Sent> {
    let topic = connection.names.invalidation.clone();
    let bootstrap = connection.settings.kafka_bootstrap.clone();
    let send = move || {
        let payload = serde_json::to_vec(&request).context("write the request")?;
        let key = request.message_key();
        let record = Record {
            topic: &topic,
            key: key.as_deref().map(str::as_bytes),
            payload: Some(&payload),
            ..Record::default()
        };
        let place = Publisher::new(&bootstrap, "dp-cache")?
            .publish(&record)
            .with_context(|| {
                format!("publish to {topic} at {bootstrap}: does the topic exist (`dp topics create`)?")
            })?;
        Ok(Sent {
            partition: place.partition,
            offset: place.offset,
            topic,
            request,
        })
    };
    tokio::task::spawn_blocking(send).await.context("publish the request")?
}

/// What a request would not find, and what to check; `None` if it is about all copies, or would find something. A refresh needs the price,
/// curve or series in PostgreSQL; an invalidation also drops a copy of which PostgreSQL has nothing.
///
/// # Errors
/// A server does not answer.
pub async fn nothing_found(connection: &Connection, request: &Invalidation) -> anyhow::Result<Option<String>> {
    let target = request.target().map_err(|(_, reason)| anyhow!(reason))?;
    let Some((key, missing)) = sought(&target) else {
        return Ok(None);
    };
    let stores = stores(connection)?;
    let is_stored = is_stored(stores.postgres, connection.names.generation(), &target)
        .await
        .context("look in PostgreSQL for what the request is about")?;
    if is_stored || (request.action == Action::Invalidate && get(&stores.redis, &key).await?.value.is_some()) {
        return Ok(None);
    }
    Ok(Some(missing))
}

/// The key of the one copy that a request is about, and what to say if there is nothing.
fn sought(target: &Target) -> Option<(String, String)> {
    let (key, what, check) = match target {
        Target::All => return None,
        Target::Price {
            tenant_id,
            instrument_id,
        } => (
            Key::latest_price(tenant_id, instrument_id).to_string(),
            format!("latest price of instrument {instrument_id} of tenant {tenant_id}"),
            "the instrument and the tenant (`dp cache status` lists the tenants)",
        ),
        Target::Served(projection, key) => (
            Key::served(*projection, key).to_string(),
            match projection {
                Projection::CurveSnapshot => format!(
                    "snapshot of curve {} to horizon {} of tenant {}",
                    key.name, key.horizon, key.tenant_id
                ),
                Projection::DerivedPrice => format!("price of series {} of tenant {}", key.name, key.tenant_id),
            },
            "the key (`dp redis keys` shows one of each kind)",
        ),
        Target::Custom { key, .. } => (
            key.clone(),
            format!("value {key} in Redis"),
            "the key (`dp redis keys` shows one of each kind); one of PROJECTION_CUSTOM is written if its instrument has a price",
        ),
    };
    Some((key, format!("nothing was found: there is no {what}; check {check}")))
}

/// Whether PostgreSQL has what the copy is made from. Another value of `served:custom` may be another program's, so only Redis tells.
async fn is_stored(postgres: Postgres, generation: &str, target: &Target) -> Result<bool, StoreError> {
    match target {
        Target::All => Ok(true),
        Target::Custom { .. } => Ok(false),
        Target::Price {
            tenant_id,
            instrument_id,
        } => {
            let prices = LatestPriceStore::new(postgres, generation);
            Ok(prices.find_one(tenant_id, instrument_id).await?.is_some())
        }
        Target::Served(projection, key) => {
            let served = ServedStore::new(postgres, *projection, generation);
            let named = (Some(key.name.as_str()), Some(key.horizon.as_str()));
            Ok(!served.newest_of(&key.tenant_id, named, 1).await?.is_empty())
        }
    }
}

/// The number of copies of each tenant.
///
/// # Errors
/// Redis does not answer.
pub async fn status(redis: &Redis) -> anyhow::Result<Vec<Copies>> {
    let counts = redis
        .count_latest_prices()
        .await
        .context("count the prices: is Redis running (`dp status`)?")?;
    let copies = counts.into_iter().map(|(tenant_id, latest_prices)| Copies {
        tenant_id,
        latest_prices,
    });
    Ok(copies.collect())
}

/// The copy with this key.
///
/// # Errors
/// Redis does not answer.
pub async fn get(redis: &Redis, key: &str) -> anyhow::Result<Entry> {
    let key = key.to_owned();
    let found = redis
        .get_many(std::slice::from_ref(&key))
        .await
        .context("read the key: is Redis running (`dp status`)?")?;
    Ok(Entry {
        key,
        value: found.into_iter().flatten().next(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use projection::core::invalidation::Request;

    #[test]
    fn the_service_understands_what_is_published_and_nothing_else_is() {
        let price = Chosen::Price {
            tenant: "acme".into(),
            instrument: "A".into(),
        };
        let target = Target::Price {
            tenant_id: "acme".into(),
            instrument_id: "A".into(),
        };
        for (action, chosen, expected, key) in [
            (Action::Refresh, Chosen::All, Target::All, None),
            (Action::Invalidate, price, target.clone(), Some("acme|A")),
            (
                Action::Refresh,
                Chosen::Key("served:latest_price:acme:A".into()),
                target,
                Some("acme|A"),
            ),
        ] {
            let message = message(action, chosen, Some("by hand".into())).unwrap();
            assert_eq!(message.message_key().as_deref(), key);
            let read = Request::parse(&serde_json::to_vec(&message).unwrap()).unwrap();
            assert_eq!((read.action, read.target), (action, expected));
            assert_eq!(read.reason.as_deref(), Some("by hand"));
        }
        let refused = message(Action::Invalidate, Chosen::Key("ratelimit:1".into()), None).unwrap_err();
        assert!(refused.to_string().contains("served:latest_price"), "{refused}");
        let custom = Chosen::Key("served:custom:vwap:acme:A".into());
        assert!(message(Action::Invalidate, custom.clone(), None).is_ok());
        assert!(message(Action::Refresh, custom, None).is_err());
    }

    #[test]
    fn a_request_about_one_copy_names_what_is_missing_and_what_to_check() {
        let of = |chosen| sought(&message(Action::Invalidate, chosen, None).unwrap().target().unwrap());
        assert_eq!(of(Chosen::All), None);
        let price = Chosen::Price {
            tenant: "acme".into(),
            instrument: "A:1".into(),
        };
        let snapshot = "served:curve_snapshot:acme:PJM:1y";
        let price_of_series = "served:custom:derived_price:acme:spark";
        let custom = "served:custom:vwap:acme:A";
        for (chosen, key, names) in [
            (
                price,
                "served:latest_price:acme:A%3A1",
                ["instrument A:1", "tenant acme", "dp cache status"],
            ),
            (
                Chosen::Key(snapshot.into()),
                snapshot,
                ["curve PJM to horizon 1y", "tenant acme", "dp redis keys"],
            ),
            (
                Chosen::Key(price_of_series.into()),
                price_of_series,
                ["series spark", "tenant acme", "dp redis keys"],
            ),
            (
                Chosen::Key(custom.into()),
                custom,
                [custom, "PROJECTION_CUSTOM", "dp redis keys"],
            ),
        ] {
            let (found, text) = of(chosen).unwrap();
            assert_eq!(found, key);
            for name in names {
                assert!(text.contains(name), "{name}: {text}");
            }
        }
    }
}
