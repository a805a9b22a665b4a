//! Pauses stages and tenants, and lets them go on: orders in `pipeline.control.v1`, and what the running services do about them.
//!
//! Role: an order is a record of a compacted topic, so it outlives restarts and applies to every replica. [`instances`] says which
//! services have followed it.
//! Failure: a server that does not answer. A published order is not lost: a service that does not run follows it when it starts.

mod given;
mod instance;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use domain::{Classified as _, Micros};
use futures_util::future::join_all;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use service::control::order::{Book, Order, Subject};
use stream::Partition;
use stream::kafka::publisher::{Publisher, Record};
use stream::kafka::reader::{LogReader, UNKNOWN_TOPIC};
use stream::status::wall_clock;

use crate::connection::Connection;
use crate::health::http_client;
use crate::progress::Progress;
use crate::targets::{Target, Where};
use crate::threads::{blocking, reading};

pub use given::Given;
pub use instance::{Instance, State};

use given::Answer;

/// How often the services are asked whether they have followed an order.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// A stage or a tenant that is paused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Paused {
    #[serde(flatten)]
    pub subject: Subject,
    pub since: Timestamp,
    pub by: String,
    pub reason: Option<String>,
    /// When the pause ends by itself.
    pub until: Option<Timestamp>,
}

/// What a pause is ordered with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Wish {
    pub paused: bool,
    pub by: String,
    pub reason: Option<String>,
    pub length: Option<Duration>,
}

impl Wish {
    /// The order, given now.
    ///
    /// # Errors
    /// The end of the pause is no time.
    pub fn order(&self, now: Micros) -> anyhow::Result<Order> {
        let since = Timestamp::from_microsecond(now).context("the time of this machine is not valid")?;
        let until = self.length.map(|length| since.checked_add(length)).transpose();
        Ok(Order {
            paused: self.paused,
            since,
            by: self.by.clone(),
            reason: self.reason.clone(),
            until: until.context("the pause would end at no valid time")?,
            held: Vec::new(),
        })
    }
}

/// The newest order of each stage and of each tenant. Without the topic of orders there are none.
///
/// # Errors
/// Kafka does not answer, or refuses.
pub async fn book(connection: &Connection) -> anyhow::Result<Book> {
    let (bootstrap, topic) = (
        connection.settings.kafka_bootstrap.clone(),
        connection.names.control.clone(),
    );
    reading(move || {
        let reader = LogReader::new(&bootstrap)?;
        match reader.partitions(&topic) {
            Ok(_) => {}
            Err(error) if error.code() == UNKNOWN_TOPIC => return Ok(Book::default()),
            Err(error) => return Err(error),
        }
        let partition = Partition {
            topic: topic.as_str().into(),
            number: 0,
        };
        let (from, to) = reader.log_range(&partition)?;
        let mut book = Book::default();
        reader.read(&partition, from, to, |record| {
            if let Err(reason) = book.take(record.key, record.payload) {
                tracing::warn!(
                    topic,
                    offset = record.offset,
                    reason,
                    "a record is not an order, and is ignored"
                );
            }
            true
        })?;
        Ok(book)
    })
    .await
    .context("read the orders")
}

/// What is paused now: stages in the order of the pipeline, then tenants.
///
/// # Errors
/// Those of [`book`].
pub async fn paused(connection: &Connection) -> anyhow::Result<Vec<Paused>> {
    let book = book(connection).await?;
    let paused = book.all_paused(wall_clock()).into_iter();
    Ok(paused
        .map(|(subject, order)| Paused {
            subject,
            since: order.since,
            by: order.by.clone(),
            reason: order.reason.clone(),
            until: order.until,
        })
        .collect())
}

/// The tenants whose messages are held if they are appended now.
///
/// # Errors
/// Those of [`book`].
pub async fn held_tenants(connection: &Connection) -> anyhow::Result<BTreeSet<String>> {
    let (book, now) = (book(connection).await?, wall_clock());
    let is_held = |order: &Order| order.is_in_force(now) || order.holds(now);
    let held = book.tenants().iter().filter(|(_, order)| is_held(order));
    Ok(held.map(|(id, _)| id.clone()).collect())
}

/// Publishes one order for each of these.
///
/// # Errors
/// Kafka does not answer, or refuses them.
pub async fn give(connection: &Connection, subjects: &[Subject], wish: &Wish) -> anyhow::Result<Vec<Given>> {
    // An order for a tenant lists what earlier ones have held.
    let book = match subjects.iter().any(|subject| matches!(subject, Subject::Tenant(_))) {
        true => book(connection).await?,
        false => Book::default(),
    };
    let order = wish.order(wall_clock())?;
    let (bootstrap, topic) = (
        connection.settings.kafka_bootstrap.clone(),
        connection.names.control.clone(),
    );
    let subjects = subjects.to_vec();
    blocking(move || {
        let mut publisher = Publisher::new(&bootstrap, "dp-pause")?;
        let mut publish = |subject: Subject| -> anyhow::Result<Given> {
            let order = match &subject {
                Subject::Stage(_) => order.clone(),
                Subject::Tenant(id) => order.clone().after(book.tenant(id)),
            };
            let payload = serde_json::to_vec(&order).context("write the order")?;
            let key = subject.key();
            let record = Record {
                topic: &topic,
                partition: Some(0),
                key: Some(key.as_bytes()),
                payload: Some(&payload),
                ..Record::default()
            };
            let place = publisher.publish(&record).with_context(|| {
                format!("publish the order for {subject} to {topic} at {bootstrap}: does the topic exist (`dp topics create`)?")
            })?;
            Ok(Given {
                subject,
                offset: place.offset,
                order,
            })
        };
        subjects.into_iter().map(&mut publish).collect()
    })
    .await
}

/// Waits until every running service has followed these orders, at most for `limit`. Returns what each says at the end.
///
/// # Errors
/// A certificate authority cannot be read.
pub async fn instances(
    connection: &Connection,
    targets: &[Target],
    given: &[Given],
    limit: Duration,
) -> anyhow::Result<Vec<Instance>> {
    let client = http_client(connection)?;
    let deadline = Instant::now() + limit;
    let mut progress: Option<Progress> = None;
    loop {
        let answers = join_all(targets.iter().map(|target| stats(&client, target))).await;
        let now = wall_clock();
        let found: Vec<Instance> = given
            .iter()
            .flat_map(|given| instance::of(given, &answers, now))
            .collect();
        let done = found.iter().filter(|instance| instance.state == State::Done).count();
        let waits = found.iter().any(|instance| instance.state == State::Waiting);
        if !waits || Instant::now() >= deadline {
            progress.into_iter().for_each(Progress::finish);
            return Ok(found);
        }
        let shown = progress.get_or_insert_with(|| Progress::new("waiting", found.len() as u64, "stages of services"));
        let waiting = found.iter().find(|instance| instance.state == State::Waiting);
        let detail = waiting.map(|instance| format!("{}: {}", instance.service, instance.detail));
        shown.set(done as u64, &detail.unwrap_or_default());
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn stats(client: &reqwest::Client, target: &Target) -> Answer {
    let asked = match &target.at {
        Where::Url(url) => ask(client, url).await,
        Where::Stopped(reason) => Err(reason.clone()),
    };
    (target.name.clone(), asked)
}

async fn ask(client: &reqwest::Client, url: &str) -> Result<Value, String> {
    let url = format!("{}/stats", url.trim_end_matches('/'));
    // The URL may contain a password.
    let failed = |error: reqwest::Error| security::causes(&error.without_url());
    let response = client.get(url).send().await.map_err(failed)?;
    response.json().await.map_err(failed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_for_a_time_has_its_end_and_services_understand_it() {
        let wish = Wish {
            paused: true,
            by: "ann".to_owned(),
            reason: Some("restore".to_owned()),
            length: Some(Duration::from_secs(600)),
        };
        let now = 1_790_000_000_000_000;
        let payload = serde_json::to_vec(&wish.order(now).unwrap()).unwrap();
        let mut book = Book::default();
        book.take(Some(b"enrichment"), Some(&payload)).unwrap();
        for (after, is_paused) in [(0, true), (599, true), (600, false)] {
            let paused = book.paused("enrichment", now + after * 1_000_000);
            assert_eq!(paused.is_some(), is_paused, "{after}");
        }
        let resumed = Wish {
            paused: false,
            length: None,
            ..wish
        };
        let payload = serde_json::to_vec(&resumed.order(now).unwrap()).unwrap();
        book.take(Some(b"enrichment"), Some(&payload)).unwrap();
        assert_eq!(book.all_paused(now), []);
    }
}
