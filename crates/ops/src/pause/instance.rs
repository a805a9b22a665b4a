//! Whether a running service has followed an order, by its `/stats`. Pure.

use domain::Micros;
use serde::Serialize;
use serde_json::Value;
use service::control::order::Subject;
use service::names::service_of;

use super::given::{Answer, Given};

/// How far a service has followed an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has.
    Done,
    /// It has not yet.
    Waiting,
    /// It gives no answer.
    Down,
    /// It cannot: it is of an older build, or cannot read the orders.
    Cannot,
}

impl State {
    /// Its name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            State::Done => "done",
            State::Waiting => "waiting",
            State::Down => "down",
            State::Cannot => "cannot",
        }
    }
}

/// A stage of one running service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Instance {
    pub service: String,
    pub stage: &'static str,
    pub state: State,
    /// What it says, for operators.
    pub detail: String,
}

/// What the services of this stage say about an order. If none of them is asked, that is said instead.
pub(super) fn of(given: &Given, answers: &[Answer], now: Micros) -> Vec<Instance> {
    let stage = given.subject.stage();
    let service = service_of(stage);
    let is_its = |(name, answer): &&Answer| match answer {
        Ok(body) => body.get("service").and_then(Value::as_str) == Some(service),
        // What gives no answer is known by its name: `enrichment`, `enrichment-2`.
        Err(_) => service_of(name) == service,
    };
    let instance = |name: &str, (state, detail): (State, String)| Instance {
        service: name.to_owned(),
        stage,
        state,
        detail,
    };
    let found: Vec<Instance> = answers
        .iter()
        .filter(is_its)
        .map(|(name, answer)| instance(name, judged(given, answer, now)))
        .collect();
    match found.is_empty() {
        true => vec![instance(
            service,
            (State::Down, "no such service is known here".to_owned()),
        )],
        false => found,
    }
}

fn judged(given: &Given, answer: &Result<Value, String>, now: Micros) -> (State, String) {
    let body = match answer {
        Ok(body) => body,
        Err(reason) => return (State::Down, format!("gives no answer: {reason}")),
    };
    let Some(orders) = body.get("orders") else {
        return (
            State::Cannot,
            "is of a build that cannot be paused; upgrade it".to_owned(),
        );
    };
    if orders.get("read_to").and_then(Value::as_i64).unwrap_or(0) <= given.offset {
        return match orders.get("error").and_then(Value::as_str) {
            Some(error) => (State::Cannot, error.to_owned()),
            None => (State::Waiting, "has not read the order yet".to_owned()),
        };
    }
    match &given.subject {
        Subject::Stage(stage) => of_workers(given, stage, orders),
        Subject::Tenant(id) => of_tenant(given, id, orders, now),
    }
}

fn of_tenant(given: &Given, id: &str, orders: &Value, now: Micros) -> (State, String) {
    if orders.get("tenants").is_none() {
        return (
            State::Cannot,
            "is of a build that cannot pause a tenant; upgrade it".to_owned(),
        );
    }
    let (begins, is_pause) = (given.order.begins(), given.order.paused);
    if now < begins.as_microsecond() {
        return (State::Waiting, format!("follows the order at {begins:.0}"));
    }
    let does = match is_pause {
        true => "makes dead letters of the messages",
        false => "processes the messages",
    };
    (State::Done, format!("{does} of tenant {id} that come from now on"))
}

fn of_workers(given: &Given, stage: &str, orders: &Value) -> (State, String) {
    let workers = orders.get("workers").and_then(Value::as_array);
    let of_stage = workers
        .into_iter()
        .flatten()
        .filter(|worker| worker.get("stage").and_then(Value::as_str) == Some(stage));
    let (mut runs, mut takes_input, mut in_flight) = (false, false, 0);
    for worker in of_stage {
        runs = true;
        takes_input |= worker.get("takes_input").and_then(Value::as_bool).unwrap_or(true);
        in_flight += worker.get("in_flight").and_then(Value::as_u64).unwrap_or(0);
    }
    if !runs {
        return (
            State::Done,
            "does not run this stage, which its settings leave out".to_owned(),
        );
    }
    match (given.order.paused, takes_input, in_flight) {
        (true, true, _) => (State::Waiting, "still takes input".to_owned()),
        (true, false, 0) => (State::Done, "takes no input; all it took is finished".to_owned()),
        (true, false, left) => (State::Waiting, format!("finishes {left} messages that it took before")),
        (false, true, _) => (State::Done, "takes input".to_owned()),
        (false, false, _) => (State::Waiting, "does not take input yet".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use serde_json::json;

    use super::*;

    fn given(paused: bool) -> Given {
        let order = format!(r#"{{"paused":{paused},"since":"2026-10-01T00:00:00Z","by":"ann"}}"#);
        Given {
            subject: Subject::Stage("enrichment"),
            offset: 7,
            order: serde_json::from_str(&order).unwrap(),
        }
    }

    fn answer(read_to: i64, workers: &Value) -> Answer {
        let body = json!({"service": "enrichment", "orders": {"read_to": read_to, "error": null, "workers": workers}});
        ("enrichment-2".to_owned(), Ok(body))
    }

    fn worker(takes_input: bool, in_flight: Option<u64>) -> Value {
        json!({"stage": "enrichment", "takes_input": takes_input, "in_flight": in_flight})
    }

    fn state(paused: bool, answer: Answer) -> State {
        let found = of(&given(paused), &[answer], 0);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].state
    }

    #[test]
    fn an_order_is_followed_when_every_worker_of_the_stage_has_and_nothing_is_in_flight() {
        let (stopped, busy, running) = (worker(false, Some(0)), worker(false, Some(3)), worker(true, None));
        // Another stage of the same service goes on.
        let writer = json!({"stage": "enrichment-clickhouse", "takes_input": true, "in_flight": null});
        for (paused, read_to, workers, expected) in [
            (true, 8, json!([stopped, writer]), State::Done),
            (true, 7, json!([stopped]), State::Waiting),
            (true, 8, json!([stopped, busy]), State::Waiting),
            (true, 8, json!([stopped, running]), State::Waiting),
            (false, 8, json!([running, writer]), State::Done),
            (false, 8, json!([stopped]), State::Waiting),
            // The settings of the service leave this stage out.
            (false, 8, json!([writer]), State::Done),
            (false, 7, json!([running]), State::Waiting),
        ] {
            assert_eq!(
                state(paused, answer(read_to, &workers)),
                expected,
                "{paused} {read_to} {workers}"
            );
        }
    }

    #[test]
    fn a_service_that_cannot_follow_says_why() {
        let old = ("enrichment".to_owned(), Ok(json!({"service": "enrichment"})));
        assert_eq!(state(true, old), State::Cannot);
        let down = ("enrichment-3".to_owned(), Err("refused".to_owned()));
        assert_eq!(state(true, down), State::Down);
        let body = json!({"service": "enrichment", "orders": {"read_to": 0, "error": "grant Read", "workers": []}});
        let found = of(&given(true), &[("enrichment".to_owned(), Ok(body))], 0);
        assert_eq!(
            (found[0].state, found[0].detail.as_str()),
            (State::Cannot, "grant Read")
        );
        let other = ("projection".to_owned(), Ok(json!({"service": "projection"})));
        assert_eq!(state(true, other), State::Down);
    }

    #[test]
    fn an_order_for_a_tenant_is_followed_once_it_is_read_and_has_begun() {
        for (orders, seconds, expected) in [
            (json!({"read_to": 8, "tenants": []}), 10, State::Done),
            (json!({"read_to": 8, "tenants": []}), 9, State::Waiting),
            (json!({"read_to": 7, "tenants": []}), 10, State::Waiting),
            (json!({"read_to": 8}), 10, State::Cannot),
        ] {
            let given = Given {
                subject: Subject::Tenant("acme".to_owned()),
                ..given(true)
            };
            let now = given.order.since.as_microsecond() + seconds * 1_000_000;
            let body = json!({"service": "normalization", "orders": orders});
            let found = of(&given, &[("normalization".to_owned(), Ok(body))], now);
            assert_eq!((found.len(), found[0].state), (1, expected), "{found:?}");
        }
    }
}
