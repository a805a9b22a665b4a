//! Requests to drop or rewrite copies in Redis: the messages of `projection.invalidation.v1`, and what is done about them.
//!
//! Invariant: a position is committed only after every request before it was carried out, or is an acknowledged dead letter. A
//! request may be carried out more than once, which is harmless. Requests for the same copy wait once, so a repeated request costs
//! no memory.

use std::borrow::Cow;
use std::collections::BTreeMap;

use delivery::Ticket;
use serde::{Deserialize, Serialize};
use serde_json::json;
use stores::redis::Key;
use stores::{Projection, ServedKey};

use super::rules::{Rule, served_notice};

/// The message is not JSON of an invalidation.
pub const BROKEN_JSON: &str = "broken_json";
/// It names no copy that can be rewritten.
pub const INVALID_VALUE: &str = "invalid_value";

/// What is done with a copy. The later one includes the earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Write it again from Postgres, unless it is newer.
    Refresh,
    /// Drop it first, so that a copy that was changed by hand is replaced.
    Invalidate,
}

/// A message of the topic. It names a price by tenant and instrument, a copy by its key, or all prices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Invalidation {
    pub action: Action,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instrument_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// All latest prices, curve snapshots and derived prices of all tenants.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Target {
    /// Every latest price, curve snapshot and derived price.
    All,
    /// The latest price of an instrument.
    Price { tenant_id: String, instrument_id: String },
    /// The newest snapshot of a curve to a horizon, or the newest price of a derived series.
    Served(Projection, ServedKey),
    /// Another value of `served:custom`: it is dropped. One of a configured type is written again; those of other programs are only in Redis.
    Custom {
        tenant_id: String,
        instrument_id: String,
        key: String,
    },
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Request {
    pub action: Action,
    pub target: Target,
    pub reason: Option<String>,
}

/// Why a message is no request: the code of its dead letter, and the reason.
pub type Flaw = (&'static str, String);

impl Invalidation {
    /// The key of its message: `tenant|instrument`; `None` if it is about all prices.
    pub fn message_key(&self) -> Option<String> {
        match self.target().ok()? {
            Target::All => None,
            Target::Served(_, key) => Some(format!("{}|{}", key.tenant_id, key.name)),
            Target::Price {
                tenant_id,
                instrument_id,
            }
            | Target::Custom {
                tenant_id,
                instrument_id,
                ..
            } => Some(format!("{tenant_id}|{instrument_id}")),
        }
    }

    /// What it is about.
    ///
    /// # Errors
    /// It names nothing, more than one thing, or a key of another kind.
    pub fn target(&self) -> Result<Target, Flaw> {
        let refused = |reason: &str| Err((INVALID_VALUE, reason.to_owned()));
        match (&self.tenant_id, &self.instrument_id, &self.key, self.all) {
            (None, None, None, true) => Ok(Target::All),
            (Some(tenant), Some(instrument), None, false) => {
                if tenant.trim().is_empty() || instrument.trim().is_empty() {
                    return refused("tenant_id or instrument_id is empty");
                }
                Ok(Target::Price {
                    tenant_id: tenant.clone(),
                    instrument_id: instrument.clone(),
                })
            }
            (None, None, Some(key), false) => self.target_of(key),
            _ => refused("name one of: tenant_id with instrument_id, key, or \"all\": true"),
        }
    }

    fn target_of(&self, key: &str) -> Result<Target, Flaw> {
        let owned = |tenant: Cow<'_, str>, instrument: Cow<'_, str>| (tenant.into_owned(), instrument.into_owned());
        match (Key::parse(key), self.action) {
            (
                Some(Key::LatestPrice {
                    tenant_id,
                    instrument_id,
                }),
                _,
            ) => {
                let (tenant_id, instrument_id) = owned(tenant_id, instrument_id);
                Ok(Target::Price {
                    tenant_id,
                    instrument_id,
                })
            }
            (
                Some(Key::CurveSnapshot {
                    tenant_id,
                    curve_id,
                    horizon,
                }),
                _,
            ) => Ok(served(Projection::CurveSnapshot, [tenant_id, curve_id, horizon])),
            (Some(Key::DerivedPrice { tenant_id, series }), _) => {
                Ok(served(Projection::DerivedPrice, [tenant_id, series, Cow::Borrowed("")]))
            }
            (
                Some(Key::Custom {
                    tenant_id,
                    instrument_id,
                    ..
                }),
                Action::Invalidate,
            ) => {
                let (tenant_id, instrument_id) = owned(tenant_id, instrument_id);
                Ok(Target::Custom {
                    tenant_id,
                    instrument_id,
                    key: key.to_owned(),
                })
            }
            (Some(Key::Custom { .. }), Action::Refresh) => {
                let reason = "a value of served:custom, apart from derived_price, cannot be refreshed: invalidate the key; one of PROJECTION_CUSTOM is then written again, any other by its program";
                Err((INVALID_VALUE, reason.to_owned()))
            }
            _ => {
                let reason = "key is neither served:latest_price:TENANT:INSTRUMENT nor served:curve_snapshot:TENANT:CURVE:HORIZON nor \
                              served:custom:TYPE:TENANT:INSTRUMENT";
                Err((INVALID_VALUE, reason.to_owned()))
            }
        }
    }
}

/// What a projection serves under tenant, name and horizon.
fn served(projection: Projection, names: [Cow<'_, str>; 3]) -> Target {
    let [tenant_id, name, horizon] = names.map(Cow::into_owned);
    let key = ServedKey {
        tenant_id,
        name,
        horizon,
    };
    Target::Served(projection, key)
}

impl Request {
    /// The request of a message.
    ///
    /// # Errors
    /// The message is a dead letter.
    pub fn parse(payload: &[u8]) -> Result<Request, Flaw> {
        let message: Invalidation =
            serde_json::from_slice(payload).map_err(|error| (BROKEN_JSON, format!("read an invalidation: {error}")))?;
        Ok(Request {
            action: message.action,
            target: message.target()?,
            reason: message.reason,
        })
    }

    /// The notice about it. Without tenant and instrument it is about all prices.
    pub fn notice(&self) -> String {
        let (tenant_id, instrument_id) = match &self.target {
            Target::Served(projection, key) => {
                let asked = self.reason.as_deref().unwrap_or(Rule::Manual.name());
                return served_notice(*projection, key, Some(asked));
            }
            Target::All => (None, None),
            Target::Price {
                tenant_id,
                instrument_id,
            }
            | Target::Custom {
                tenant_id,
                instrument_id,
                ..
            } => (Some(tenant_id), Some(instrument_id)),
        };
        let rule = Rule::Manual.name();
        json!({
            "tenant_id": tenant_id, "instrument_id": instrument_id,
            "rule": rule, "reason": self.reason.as_deref().unwrap_or(rule),
        })
        .to_string()
    }
}

/// The requests of one partition.
#[derive(Debug, Default)]
pub struct Requests {
    /// The newest request for each copy, with the strongest action.
    waiting: BTreeMap<Target, (Action, Option<String>)>,
    /// Being carried out, and the position after them.
    under_way: Option<(Vec<Request>, i64)>,
    /// After the last message that was read.
    next_offset: i64,
    /// Everything before it is done.
    done: i64,
    /// The last dead letter.
    letter: Ticket,
}

impl Requests {
    /// Requests of a log that is read from this offset.
    pub fn from(offset: i64) -> Requests {
        Requests {
            next_offset: offset,
            done: offset,
            ..Requests::default()
        }
    }

    /// Adds a request.
    pub fn take(&mut self, offset: i64, request: Request) {
        self.next_offset = offset + 1;
        self.wait(request);
    }

    /// The message at this offset became a dead letter.
    pub fn refuse(&mut self, offset: i64, letter: Ticket) {
        self.next_offset = offset + 1;
        self.letter = letter;
    }

    /// The requests to carry out now, if none are under way.
    pub fn begin(&mut self) -> Option<Vec<Request>> {
        if self.under_way.is_some() {
            return None;
        }
        if self.waiting.is_empty() {
            self.done = self.next_offset;
            return None;
        }
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        let requests: Vec<Request> = waiting
            .map(|(target, (action, reason))| Request { action, target, reason })
            .collect();
        self.under_way = Some((requests.clone(), self.next_offset));
        Some(requests)
    }

    /// The requests that were under way are done, or must be carried out again.
    pub fn finished(&mut self, is_done: bool) {
        match self.under_way.take() {
            Some((_, through)) if is_done => self.done = through,
            Some((requests, _)) => requests.into_iter().for_each(|request| self.wait(request)),
            None => {}
        }
    }

    /// The position that can be committed.
    pub fn durable(&self, acked_through: Ticket) -> Option<i64> {
        (self.letter <= acked_through).then_some(self.done)
    }

    fn wait(&mut self, request: Request) {
        let waiting = self.waiting.entry(request.target).or_insert((request.action, None));
        waiting.0 = waiting.0.max(request.action);
        waiting.1 = request.reason.or(waiting.1.take());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn price(instrument: &str) -> Target {
        Target::Price {
            tenant_id: "acme".into(),
            instrument_id: instrument.into(),
        }
    }

    #[test]
    fn a_message_names_one_price_one_key_or_all() {
        let parse = |text: &str| Request::parse(text.as_bytes()).map(|request| (request.action, request.target));
        assert_eq!(
            parse(r#"{"action":"refresh","tenant_id":"acme","instrument_id":"A","reason":"x"}"#),
            Ok((Action::Refresh, price("A")))
        );
        assert_eq!(
            parse(r#"{"action":"invalidate","key":"served:latest_price:acme:A"}"#),
            Ok((Action::Invalidate, price("A")))
        );
        let custom = Target::Custom {
            tenant_id: "acme".into(),
            instrument_id: "A:1".into(),
            key: "served:custom:vwap:acme:A%3A1".into(),
        };
        assert_eq!(
            parse(r#"{"action":"invalidate","key":"served:custom:vwap:acme:A%3A1"}"#),
            Ok((Action::Invalidate, custom))
        );
        for (projection, horizon, key) in [
            (
                Projection::CurveSnapshot,
                "1m",
                "served:curve_snapshot:acme:PJM%3AWEST:1m",
            ),
            (
                Projection::DerivedPrice,
                "",
                "served:custom:derived_price:acme:PJM%3AWEST",
            ),
        ] {
            let named = ServedKey {
                tenant_id: "acme".into(),
                name: "PJM:WEST".into(),
                horizon: horizon.into(),
            };
            for action in [Action::Refresh, Action::Invalidate] {
                let text = json!({"action": action, "key": key}).to_string();
                assert_eq!(parse(&text), Ok((action, Target::Served(projection, named.clone()))));
            }
        }
        assert_eq!(
            parse(r#"{"action":"refresh","all":true}"#),
            Ok((Action::Refresh, Target::All))
        );
        for (text, code) in [
            ("", BROKEN_JSON),
            ("[]", BROKEN_JSON),
            (r#"{"action":"delete","all":true}"#, BROKEN_JSON),
            (r#"{"action":"refresh","all":true,"extra":1}"#, BROKEN_JSON),
            // All prices are never meant by leaving something out.
            (r#"{"action":"refresh"}"#, INVALID_VALUE),
            (r#"{"action":"refresh","tenant_id":"acme"}"#, INVALID_VALUE),
            (
                r#"{"action":"refresh","tenant_id":"acme","instrument_id":" "}"#,
                INVALID_VALUE,
            ),
            (
                r#"{"action":"refresh","tenant_id":"acme","instrument_id":"A","all":true}"#,
                INVALID_VALUE,
            ),
            (r#"{"action":"invalidate","key":"ratelimit:1"}"#, INVALID_VALUE),
            (
                r#"{"action":"refresh","key":"served:custom:vwap:acme:A"}"#,
                INVALID_VALUE,
            ),
        ] {
            assert_eq!(parse(text).map_err(|(code, _)| code), Err(code), "{text}");
        }
    }

    #[test]
    fn the_message_of_an_operator_is_read_back_and_keyed_like_a_tick() {
        let message = Invalidation {
            action: Action::Invalidate,
            tenant_id: Some("acme".into()),
            instrument_id: Some("A".into()),
            key: None,
            all: false,
            reason: Some("by hand".into()),
        };
        assert_eq!(message.message_key().as_deref(), Some("acme|A"));
        let request = Request::parse(&serde_json::to_vec(&message).unwrap()).unwrap();
        assert_eq!(
            request,
            Request {
                action: Action::Invalidate,
                target: price("A"),
                reason: Some("by hand".into())
            }
        );
        let notice: serde_json::Value = serde_json::from_str(&request.notice()).unwrap();
        assert_eq!(
            notice,
            json!({"tenant_id": "acme", "instrument_id": "A", "rule": "manual", "reason": "by hand"})
        );
    }

    /// Whatever fails, and in whatever batches: no committed position is after a request that was not carried out, and at the
    /// end all are.
    #[test]
    fn a_position_is_durable_only_after_every_request_before_it() {
        const COPIES: [&str; 3] = ["A", "B", "C"];
        let mut repeated = 0;
        for seed in 0..300 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut requests = Requests::from(0);
            let (mut end, mut at_work): (i64, Option<Vec<Request>>) = (0, None);
            let (mut open, mut acked, mut letter): (Vec<(i64, Action, usize)>, Ticket, Ticket) = Default::default();
            let mut taken_at = 0;
            for step in 0..300 {
                let is_end = step >= 150;
                match random.u8(..4) {
                    0 if !is_end => {
                        let (action, copy) = (
                            *random.choice(&[Action::Refresh, Action::Invalidate]).unwrap(),
                            random.usize(..3),
                        );
                        let offset = end;
                        requests.take(
                            offset,
                            Request {
                                action,
                                target: price(COPIES[copy]),
                                reason: None,
                            },
                        );
                        end += 1;
                        open.push((offset, action, copy));
                    }
                    1 if !is_end => {
                        letter = Ticket(letter.0 + 1);
                        requests.refuse(end, letter);
                        end += 1;
                    }
                    2 => {
                        if let Some(begun) = requests.begin() {
                            assert!(at_work.is_none(), "two batches at once");
                            (at_work, taken_at) = (Some(begun), end);
                        }
                        acked = letter;
                    }
                    _ => {
                        let Some(batch) = at_work.take() else { continue };
                        let is_done = is_end || random.bool();
                        repeated += usize::from(!is_done);
                        requests.finished(is_done);
                        let covers = |(offset, action, copy): &(i64, Action, usize)| {
                            let is_it =
                                |request: &Request| request.target == price(COPIES[*copy]) && request.action >= *action;
                            is_done && *offset < taken_at && batch.iter().any(is_it)
                        };
                        open.retain(|asked| !covers(asked));
                    }
                }
                if let Some(position) = requests.durable(acked) {
                    assert!(
                        open.iter().all(|(offset, ..)| *offset >= position),
                        "seed {seed}: {open:?} at {position}"
                    );
                    assert!(position <= end);
                }
            }
            assert_eq!((open, requests.durable(letter)), (vec![], Some(end)), "seed {seed}");
        }
        assert!(repeated > 100, "{repeated}");
    }
}
