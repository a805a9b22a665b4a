//! The copies of prices in Redis: how many there are, one of them, and requests to drop or rewrite them.
//!
//! Role: a request is a message on `projection.invalidation.v1`, which projection carries out. Nothing is written to Redis here.
//! Failure: a server that does not answer. A published request is not lost: projection carries it out when it runs.

use anyhow::{Context as _, bail};
use projection::core::invalidation::{Action, Invalidation};
use serde::Serialize;
use stores::Redis;
use stream::kafka::publisher::{Publisher, Record};

use crate::connection::Connection;

/// The copies that a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chosen {
    /// Every latest price of every tenant.
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
    use projection::core::invalidation::{Request, Target};

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
}
