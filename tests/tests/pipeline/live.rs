//! `/ws/prices` and `/cache/invalidate` of projection: clients see each new latest price of their own tenant, and a copy that was
//! changed by hand is written again.

use std::net::TcpStream;
use std::time::Instant;

use e2e::{Pipeline, RAW, eventually};
use localstack::Service;
use serde_json::{Value, json};
use testkit::PATIENCE;
use testkit::http;
use testkit::kafka::{Outgoing, Publisher};
use tungstenite::protocol::WebSocket;
use tungstenite::{Message, client};

const INSTRUMENT: &str = "LIVE.A";

fn port(pipeline: &Pipeline) -> u16 {
    pipeline.stack().config().ports.projection
}

/// A client of `/ws/prices` with this query string.
struct Client(WebSocket<TcpStream>);

impl Client {
    fn connect(pipeline: &Pipeline, query: &str) -> Client {
        let address = format!("127.0.0.1:{}", port(pipeline));
        let stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(client(format!("ws://{address}/ws/prices{query}"), stream).unwrap().0)
    }

    fn send(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).unwrap();
    }

    /// The next text of the server.
    fn next(&mut self) -> Value {
        loop {
            if let Message::Text(text) = self.0.read().unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    /// Reads until the price update with this price.
    fn until_price(&mut self, price: f64) -> Value {
        let began = Instant::now();
        loop {
            let message = self.next();
            if message["type"] == "price_update" && message["data"]["price"] == price {
                return message["data"].clone();
            }
            assert!(
                began.elapsed() < PATIENCE,
                "no update with price {price}, the last message is {message}"
            );
        }
    }
}

fn subscribe(tenant: &str, instrument: &str) -> Value {
    json!({"action": "subscribe", "instrument_id": instrument, "tenant_id": tenant})
}

/// One tick; a later second is a newer price.
fn publish(pipeline: &Pipeline, tenant: &str, second: u32, price: u32) {
    let payload = format!(
        r#"{{"envelope":{{"event_type":"tick","event_id":"LIVE-{second}","timestamp":"2026-10-01T10:00:00Z","tenant_id":"{tenant}","source":"live","version":"1.0"}},"payload":{{"market":"MISO","instrument_id":"{INSTRUMENT}","raw_data":{{"timestamp":"2026-10-01T10:00:{second:02}Z","price":{price},"volume":1}}}}}}"#
    );
    let mut publisher = Publisher::new(&pipeline.bootstrap(), RAW).unwrap();
    let outgoing = Outgoing {
        key: Some(INSTRUMENT.to_owned()),
        payload: payload.into_bytes(),
        ..Outgoing::default()
    };
    publisher.send(&outgoing).unwrap();
    publisher.finish().unwrap();
}

#[test]
fn a_client_gets_each_new_price_of_its_instruments_and_of_no_other_tenant() {
    let pipeline = Pipeline::shared();
    publish(&pipeline, "alpha", 1, 10);
    publish(&pipeline, "beta", 1, 77);
    let (mut alpha, mut beta) = (
        Client::connect(&pipeline, ""),
        Client::connect(&pipeline, "?tenant_id=beta"),
    );
    alpha.send(&subscribe("alpha", INSTRUMENT));
    assert_eq!(
        alpha.next(),
        json!({"type": "subscribed", "data": {"tenant_id": "alpha", "instrument_id": INSTRUMENT}})
    );
    let data = alpha.until_price(10.0);
    assert_eq!(
        (&data["tenant_id"], &data["market"], &data["standing"]),
        (&"alpha".into(), &"MISO".into(), &Value::Null)
    );
    publish(&pipeline, "alpha", 2, 11);
    alpha.until_price(11.0);

    // A connection for one tenant cannot watch another, and nonsense does not end it.
    beta.send(&subscribe("alpha", INSTRUMENT));
    let refused = beta.next();
    assert!(
        refused["type"] == "error" && refused["message"].to_string().contains("alpha"),
        "{refused}"
    );
    for nonsense in [
        json!("x"),
        json!({"action": "buy", "instrument_id": "A"}),
        subscribe("beta", ""),
    ] {
        beta.send(&nonsense);
        assert_eq!(beta.next()["type"], "error", "{nonsense}");
    }
    beta.send(&json!({"action": "subscribe", "instrument_id": INSTRUMENT}));
    assert_eq!(beta.next()["data"]["tenant_id"], "beta");
    beta.until_price(77.0);

    // After it has left, nothing is sent; the next message is the answer to the next request.
    alpha.send(&json!({"action": "unsubscribe", "instrument_id": INSTRUMENT, "tenant_id": "alpha"}));
    assert_eq!(alpha.next()["type"], "unsubscribed");
    publish(&pipeline, "alpha", 3, 12);
    publish(&pipeline, "beta", 3, 78);
    beta.until_price(78.0);
    alpha.send(&subscribe("alpha", INSTRUMENT));
    assert_eq!(alpha.next()["type"], "subscribed");
    alpha.until_price(12.0);

    let subscribers = || {
        let (_, metrics) = pipeline.get(Service::Projection, "/metrics").unwrap();
        let line = metrics.lines().find(|line| line.starts_with("websocket_subscribers{"));
        line.and_then(|line| line.rsplit(' ').next().map(str::to_owned))
    };
    assert_eq!(subscribers().as_deref(), Some("2"));
    drop((alpha, beta));
    eventually("both clients are gone", || Ok(subscribers().as_deref() == Some("0"))).unwrap();
    let answer = http::request(port(&pipeline), "GET", "/ws/prices", &[], "").unwrap();
    assert!(
        answer.status == 400 && answer.body.contains("WebSocket"),
        "{}",
        answer.body
    );
}

#[test]
fn an_invalidated_copy_is_written_again_from_postgres() {
    let pipeline = Pipeline::shared();
    publish(&pipeline, "gamma", 9, 5);
    let key = format!("served:latest_price:gamma:{INSTRUMENT}");
    let copy = || -> String {
        let answer = pipeline.redis.run(&["GET", &key]).unwrap();
        answer.into_iter().flatten().next().unwrap_or_default()
    };
    let in_postgres = format!(
        "SELECT trim_scale(price)::text FROM served_latest_prices WHERE tenant_id = 'gamma' AND instrument_id = '{INSTRUMENT}'"
    );
    eventually("both stores have it", || {
        Ok(pipeline.postgres.rows(&in_postgres)? == [["5"]] && copy().contains(r#""price":5,"#))
    })
    .unwrap();
    let stored = copy();
    let tampered = stored.replace(r#""price":5,"#, r#""price":6,"#);
    pipeline.redis.run(&["SET", &key, &tampered]).unwrap();

    let post = |body: &str| {
        let headers = [("Content-Type", "application/json")];
        http::request(port(&pipeline), "POST", "/cache/invalidate", &headers, body).unwrap()
    };
    let body = json!({"instrument_id": INSTRUMENT, "tenant_id": "gamma", "reason": "changed by hand"}).to_string();
    let answer = post(&body);
    let said: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(
        (answer.status, &said["success"], &said["invalidated_keys"]),
        (200, &true.into(), &1.into()),
        "{said}"
    );
    assert!(said["invalidation_time_ms"].is_number(), "{said}");
    assert_eq!(copy(), stored);

    for (body, status) in [
        ("{}", 422),
        ("x", 422),
        (r#"{"instrument_id":"A","tenant_id":" "}"#, 400),
    ] {
        assert_eq!(post(body).status, status, "{body}");
    }
    pipeline.agree().unwrap();
}
