//! `GET /ws/prices`: a WebSocket that sends the latest price of an instrument whenever it changes.
//!
//! Role: one task reads the watched prices of all connections from Redis, so any replica can answer for all partitions, and the load
//! follows the number of subscriptions. Each connection sends what changed ([`board`]).
//! Invariants (INV-10): a message that names a tenant must not contradict the tenant of the request. Frames, subscriptions
//! of a connection and waiting times are bounded; nobody watching costs nothing.
//! Failure: while Redis does not answer, clients keep their connections and get `stale` once, and updates when it is back. A
//! client that sends nonsense gets `error`; one that answers no ping is disconnected.

pub mod board;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::{HttpRequest, HttpResponse, rt, web};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, Session};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;
use service::Breaker;
use service::http::{InstrumentId, Problem, Tenant};
use stores::Redis;
use stores::redis::key::Key;
use stream::Shutdown;
use tokio::sync::{Notify, watch};

use super::Api;
use crate::metrics;
use board::{Board, Watched};

/// Time between two reads of the watched prices.
const READ_EVERY: Duration = Duration::from_millis(100);
/// Subscriptions of one connection.
const MOST_SUBSCRIPTIONS: usize = 1_000;
const LARGEST_FRAME: usize = 4 << 10;
const PING_EVERY: Duration = Duration::from_secs(20);
/// A client that has not answered for this long is disconnected.
const SILENT_FOR: Duration = Duration::from_secs(60);

/// What the watcher has seen; each change wakes the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Seen {
    reads: u64,
    is_stale: bool,
}

/// The prices that clients watch.
pub struct LivePrices {
    board: Mutex<Board>,
    seen: watch::Sender<Seen>,
    subscribed: Notify,
    redis: Redis,
    breaker: Arc<Breaker>,
}

impl LivePrices {
    /// Prices from this Redis.
    pub fn new(redis: Redis, breaker: Arc<Breaker>) -> LivePrices {
        LivePrices {
            board: Mutex::default(),
            seen: watch::Sender::new(Seen::default()),
            subscribed: Notify::new(),
            redis,
            breaker,
        }
    }

    /// Reads the watched prices until shutdown.
    pub async fn follow(self: Arc<LivePrices>, shutdown: Shutdown) {
        while !shutdown.is_requested() {
            let watched = self.board.lock().watched();
            if watched.is_empty() {
                self.subscribed.notified().await;
                continue;
            }
            self.read(&watched).await;
            tokio::time::sleep(READ_EVERY).await;
        }
    }

    async fn read(&self, watched: &[Watched]) {
        let keys = watched
            .iter()
            .map(|price| Key::latest_price(&price.tenant_id, &price.instrument_id).to_string());
        let keys: Vec<String> = keys.collect();
        let values = self.breaker.call(self.redis.get_many(&keys)).await;
        let is_stale = values.is_err();
        if let (Err(error), false) = (&values, self.seen.borrow().is_stale) {
            tracing::warn!(error = %error, "the prices that clients watch cannot be read from redis; retrying");
        }
        let mut has_changed = false;
        for (price, value) in watched.iter().zip(values.unwrap_or_default()) {
            has_changed |= self.board.lock().read(price, value.as_deref());
        }
        self.seen.send_if_modified(|seen| {
            let is_new = has_changed || seen.is_stale != is_stale;
            *seen = Seen {
                reads: seen.reads + u64::from(is_new),
                is_stale,
            };
            is_new
        });
    }
}

/// What a client sends.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Subscribe,
    Unsubscribe,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    action: Action,
    instrument_id: InstrumentId,
    tenant_id: Option<String>,
}

/// Answers `GET /ws/prices`.
///
/// # Errors
/// 400 if the client does not ask for a WebSocket.
pub async fn connect(
    tenant: Tenant,
    request: HttpRequest,
    body: web::Payload,
    api: web::Data<Api>,
) -> Result<HttpResponse, Problem> {
    let (response, session, messages) = actix_ws::handle(&request, body).map_err(|error| {
        Problem::bad_request(format!(
            "this route needs a WebSocket client (such as websocat or wscat): {error}"
        ))
    })?;
    let messages = messages.max_frame_size(LARGEST_FRAME).aggregate_continuations();
    let client = Client {
        tenant,
        live: Arc::clone(&api.live),
        sent: BTreeMap::new(),
    };
    rt::spawn(client.serve(session, messages.max_continuation_size(LARGEST_FRAME)));
    Ok(response)
}

/// One connection.
struct Client {
    tenant: Tenant,
    live: Arc<LivePrices>,
    /// The subscriptions with the last version sent.
    sent: BTreeMap<Watched, u64>,
}

impl Client {
    /// Until either side closes the connection.
    async fn serve(mut self, mut session: Session, mut messages: AggregatedMessageStream) {
        metrics::subscribers(1.0);
        let (mut seen, mut was_stale) = (self.live.seen.subscribe(), false);
        let (mut ping, mut heard) = (rt::time::interval(PING_EVERY), Instant::now());
        loop {
            let served = tokio::select! {
                message = messages.recv() => {
                    heard = Instant::now();
                    match message {
                        Some(Ok(AggregatedMessage::Text(text))) => session.text(self.answer(&text)).await,
                        Some(Ok(AggregatedMessage::Ping(bytes))) => session.pong(&bytes).await,
                        Some(Ok(AggregatedMessage::Pong(_))) => Ok(()),
                        Some(Ok(AggregatedMessage::Binary(_))) => session.text(error("send text frames with JSON")).await,
                        Some(Ok(AggregatedMessage::Close(_)) | Err(_)) | None => break,
                    }
                }
                changed = seen.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let is_stale = seen.borrow_and_update().is_stale;
                    let begins = is_stale && !std::mem::replace(&mut was_stale, is_stale);
                    if begins { session.text(stale()).await } else { Ok(()) }
                }
                _ = ping.tick() => {
                    if heard.elapsed() > SILENT_FOR {
                        break;
                    }
                    session.ping(b"").await
                }
            };
            if served.is_err() || self.send_changes(&mut session).await.is_err() {
                break;
            }
        }
        // An error means that the client is gone.
        _ = session.close(None).await;
        metrics::subscribers(-1.0);
    }

    async fn send_changes(&mut self, session: &mut Session) -> Result<(), actix_ws::Closed> {
        for (price, version) in &mut self.sent {
            let newer = self.live.board.lock().newer(price, *version);
            if let Some((newest, text)) = newer {
                *version = newest;
                let data = stores::LatestPrice::public_json(&text);
                session
                    .text(format!(r#"{{"type":"price_update","data":{data}}}"#))
                    .await?;
            }
        }
        Ok(())
    }

    /// Carries out a message of the client; returns the answer.
    fn answer(&mut self, text: &str) -> String {
        let request: Request = match serde_json::from_str(text) {
            Ok(request) => request,
            Err(problem) => {
                return error(&format!(
                    r#"{problem}; send {{"action":"subscribe","instrument_id":"…","tenant_id":"…"}}, or unsubscribe"#
                ));
            }
        };
        let tenant = match self
            .tenant
            .clone()
            .also_named("the message", request.tenant_id.as_deref())
        {
            Ok(tenant) => tenant,
            Err(problem) => return error(&problem.to_string()),
        };
        let price = Watched {
            tenant_id: tenant.id().to_owned(),
            instrument_id: request.instrument_id.into_inner(),
        };
        let done = match request.action {
            Action::Subscribe if self.sent.len() >= MOST_SUBSCRIPTIONS && !self.sent.contains_key(&price) => {
                return error(&format!(
                    "a connection has at most {MOST_SUBSCRIPTIONS} subscriptions: open another one"
                ));
            }
            Action::Subscribe => {
                // A repeated subscription sends the price again.
                if self.sent.insert(price.clone(), 0).is_none() {
                    self.live.board.lock().watch(&price);
                    self.live.subscribed.notify_one();
                }
                "subscribed"
            }
            Action::Unsubscribe => {
                if self.sent.remove(&price).is_some() {
                    self.live.board.lock().unwatch(&price);
                }
                "unsubscribed"
            }
        };
        json!({"type": done, "data": {"tenant_id": price.tenant_id, "instrument_id": price.instrument_id}}).to_string()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut board = self.live.board.lock();
        self.sent.keys().for_each(|price| board.unwatch(price));
    }
}

fn error(message: &str) -> String {
    json!({"type": "error", "message": message}).to_string()
}

fn stale() -> String {
    json!({"type": "stale", "message": "redis does not answer; updates go on when it is back"}).to_string()
}
