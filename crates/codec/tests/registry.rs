//! The registry client against a small HTTP server: its requests, and the result of each response.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use codec::state::SequencerState;
use codec::{CodecError, Record, RegisteredVersion, RegistryClient, Wire};
use domain::{Classified, ErrorClass};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use security::{Secret, Trust};
use serde_json::Value as Json;
use testkit::certificates::{Authority, Issued};

/// A client's request.
struct Request {
    line: String,
    content_type: String,
    authorization: String,
    body: String,
}

/// A server that answers the n-th request with `answer(n)` = (status, body) until the test ends.
fn serve(answer: impl Fn(usize) -> (u16, String) + Send + 'static) -> (String, Receiver<Request>) {
    serve_asked(move |count, _| answer(count))
}

/// The same, but the response also depends on the request.
fn serve_asked(answer: impl Fn(usize, &Request) -> (u16, String) + Send + 'static) -> (String, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        let mut count = 0;
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            while let Some(request) = read_request(&mut reader) {
                write_answer(reader.get_mut(), &answer(count, &request));
                count += 1;
                // The test may have ended without reading all of them.
                let _ = sender.send(request);
            }
        }
    });
    (base, requests)
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut next_line = || {
        let mut line = String::new();
        reader
            .read_line(&mut line)
            .ok()
            .filter(|read| *read > 0)
            .map(|_| line.trim_end().to_owned())
    };
    let line = next_line()?;
    let (mut length, mut content_type, mut authorization) = (0, String::new(), String::new());
    while let Some(header) = next_line().filter(|header| !header.is_empty()) {
        let (name, value) = header.split_once(": ").unwrap();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "content-type" => content_type = value.to_owned(),
            "authorization" => authorization = value.to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        line,
        content_type,
        authorization,
        body: String::from_utf8(body).unwrap(),
    })
}

fn write_answer(stream: &mut TcpStream, (status, body): &(u16, String)) {
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
}

/// The result of registering the schemas at this address.
async fn connect(url: &str) -> Result<Wire, CodecError> {
    Wire::with_registry(&RegistryClient::new(Secret::new(url), &Trust::default())?).await
}

/// The error of registering at a server that always gives this response, and the server's address.
async fn refusal(status: u16, body: &'static str) -> (CodecError, String) {
    let (base, _requests) = serve(move |_| (status, body.to_owned()));
    (connect(&base).await.unwrap_err(), base)
}

const STATE: SequencerState = SequencerState {
    position: 7,
    topic_id: String::new(),
    log_clock: Some(-1),
    marks_due: None,
    lanes: Vec::new(),
};

#[tokio::test]
async fn every_schema_is_registered_under_its_name_and_frames_carry_the_ids() {
    let (base, requests) = serve(|count| (200, format!(r#"{{"id":{}}}"#, 0x0102_0300 + count)));
    // A base path, with a slash that must not double.
    let wire = connect(&format!("{base}/apis/ccompat/v7/")).await.unwrap();
    for (count, record) in Record::ALL.into_iter().enumerate() {
        let request = requests.recv().unwrap();
        assert_eq!(
            request.line,
            format!("POST /apis/ccompat/v7/subjects/{}/versions HTTP/1.1", record.name())
        );
        assert_eq!(request.content_type, "application/vnd.schemaregistry.v1+json");
        let body: Json = serde_json::from_str(&request.body).unwrap();
        assert_eq!(body["schema"], record.schema_text());
        if record == Record::SequencerState {
            let mut bytes = Vec::new();
            wire.encode_sequencer(&STATE, &mut bytes);
            assert_eq!(bytes.get(..5), Some(&[0, 1, 2, 3, count as u8][..]));
            assert_eq!(wire.decode_sequencer(&bytes), Ok(STATE));
        }
    }
}

#[tokio::test]
async fn a_reader_with_a_registry_reads_both_framings_and_without_one_an_id_is_unknown() {
    let (base, _requests) = serve(|count| (200, format!(r#"{{"id":{}}}"#, count + 1)));
    let wire = connect(&base).await.unwrap();
    let mut bytes = Vec::new();
    Wire::single_object().encode_sequencer(&STATE, &mut bytes);
    assert_eq!(wire.decode_sequencer(&bytes), Ok(STATE));

    let error = Wire::single_object().decode_sequencer(&with_id(&wire, 99)).unwrap_err();
    assert_eq!((error.code(), error.class()), ("unknown_schema", ErrorClass::Poison));
    assert!(
        error.to_string().contains("99") && error.to_string().contains("DATA_PROC_SCHEMA_REGISTRY_URL"),
        "{error}"
    );
}

/// The state with another schema id in its frame.
fn with_id(wire: &Wire, id: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire.encode_sequencer(&STATE, &mut bytes);
    bytes.splice(1..5, id.to_be_bytes());
    bytes
}

/// The result of reading repeatedly, as a worker does, until no look-up is under way.
async fn settled(wire: &Wire, bytes: &[u8]) -> Result<SequencerState, CodecError> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let current = wire.current(Record::SequencerState, bytes);
        match wire.decode_sequencer(&current) {
            Err(error @ CodecError::SchemaPending(_)) => {
                assert_eq!((error.code(), error.class()), ("schema_pending", ErrorClass::Transient));
                assert!(Instant::now() < deadline, "{error}");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            other => return other,
        }
    }
}

/// A registry with one other schema, number 77, that gives new ids to every client that registers.
fn with_schema(schema: Json) -> (String, Receiver<Request>) {
    serve_asked(move |count, request| match request.line.split(' ').nth(1) {
        Some("/schemas/ids/77") => (200, serde_json::json!({ "schema": schema.to_string() }).to_string()),
        Some(path) if path.starts_with("/schemas") => (404, r#"{"error_code":40403}"#.to_owned()),
        _ => (200, format!(r#"{{"id":{}}}"#, count + 1)),
    })
}

#[tokio::test]
async fn an_id_of_another_program_is_looked_up_once() {
    let (base, requests) = with_schema(serde_json::from_str(Record::SequencerState.schema_text()).unwrap());
    let wire = connect(&base).await.unwrap();
    for _ in 0..3 {
        assert_eq!(settled(&wire, &with_id(&wire, 77)).await, Ok(STATE));
    }
    let asked = requests
        .try_iter()
        .filter(|request| request.line.starts_with("GET"))
        .count();
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn a_version_of_the_registry_that_this_build_does_not_write_is_read_with_its_schema() {
    // One field less, and another order.
    let mut schema: Json = serde_json::from_str(Record::SequencerState.schema_text()).unwrap();
    let fields = schema["fields"].as_array_mut().unwrap();
    fields.retain(|field| field["name"] != "log_clock");
    fields.reverse();
    let (base, _requests) = with_schema(schema);
    let wire = connect(&base).await.unwrap();
    let datum = [
        0,  /* no lanes */
        0,  /* no marks */
        0,  /* no topic id */
        14, /* position 7 */
    ];
    let framed = [&[0, 0, 0, 0, 77][..], &datum].concat();
    let expected = SequencerState {
        log_clock: None,
        ..STATE
    };
    assert_eq!(settled(&wire, &framed).await, Ok(expected));
}

#[tokio::test]
async fn an_unregistered_id_and_a_schema_of_another_project_are_poison() {
    let (base, _requests) = with_schema(serde_json::json!({ "type": "record", "name": "other", "fields": [] }));
    let wire = connect(&base).await.unwrap();
    for (id, why) in [
        (99, "has no schema with registry id 99"),
        (77, "is not a record of this pipeline"),
    ] {
        let error = settled(&wire, &with_id(&wire, id)).await.unwrap_err();
        assert_eq!((error.code(), error.class()), ("unknown_schema", ErrorClass::Poison));
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn a_registry_that_fails_a_look_up_is_queried_again() {
    let own = Record::ALL.len();
    let (base, _requests) = serve(move |count| match count.checked_sub(own) {
        None => (200, format!(r#"{{"id":{}}}"#, count + 1)),
        Some(0) => (500, "starting".to_owned()),
        Some(_) => (
            200,
            serde_json::json!({ "schema": Record::SequencerState.schema_text() }).to_string(),
        ),
    });
    let wire = connect(&base).await.unwrap();
    let error = settled(&wire, &with_id(&wire, 77)).await.unwrap_err();
    assert_eq!(
        (error.code(), error.class()),
        ("registry_unavailable", ErrorClass::Transient)
    );
    let deadline = Instant::now() + Duration::from_secs(10);
    while settled(&wire, &with_id(&wire, 77)).await != Ok(STATE) {
        assert!(Instant::now() < deadline, "the registry is not queried again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_incompatible_schema_is_fatal_and_names_the_subject() {
    let (error, base) = refusal(
        409,
        r#"{"error_code":409,"message":"incompatible with an earlier schema"}"#,
    )
    .await;
    assert_eq!((error.code(), error.class()), ("registry_refused", ErrorClass::Fatal));
    let text = error.to_string();
    assert!(text.contains(&format!("{base}/subjects/tick/versions")), "{text}");
    assert!(
        text.contains("409") && text.contains("incompatible with an earlier schema"),
        "{text}"
    );
    assert!(text.contains("must be compatible"), "{text}");
}

#[tokio::test]
async fn a_registry_is_asked_for_a_version_and_for_its_verdict() {
    let asked = |status: u16, body: &'static str| async move {
        let (base, requests) = serve(move |_| (status, body.to_owned()));
        let client = RegistryClient::new(Secret::new(base), &Trust::default()).unwrap();
        let found = client.find("tick", "{}").await;
        let refusal = client.refusal("tick", "{}").await;
        let lines = [requests.recv().unwrap().line, requests.recv().unwrap().line];
        assert_eq!(
            lines,
            [
                "POST /subjects/tick HTTP/1.1",
                "POST /compatibility/subjects/tick/versions/latest?verbose=true HTTP/1.1"
            ]
        );
        (found, refusal)
    };
    let version = r#"{"subject":"tick","id":7,"version":2,"schema":"{}"}"#;
    let (found, refusal) = asked(200, version).await;
    assert_eq!(found, Ok(Some(RegisteredVersion { id: 7, version: 2 })));
    assert!(refusal.unwrap_err().to_string().contains("returned no verdict"));
    for (body, expected) in [
        (r#"{"is_compatible":true}"#, None),
        (r#"{"is_compatible":false}"#, Some("it gives no reason".to_owned())),
        (
            r#"{"is_compatible":false,"messages":["a","b"]}"#,
            Some("a; b".to_owned()),
        ),
    ] {
        assert_eq!(asked(200, body).await.1, Ok(expected), "{body}");
    }
    for code in [40_401, 40_402, 40_403] {
        let body: &'static str = format!(r#"{{"error_code":{code},"message":"not found"}}"#).leak();
        assert_eq!(asked(404, body).await, (Ok(None), Ok(None)));
    }
    // Not a registry, or another problem than a schema that it does not have.
    for (status, body) in [
        (404, "not here"),
        (404, r#"{"error_code":404}"#),
        (422, r#"{"error_code":42201}"#),
    ] {
        let (found, refusal) = asked(status, body).await;
        for error in [found.unwrap_err(), refusal.unwrap_err()] {
            assert_eq!(error.code(), "registry_refused", "{error}");
        }
    }
}

#[tokio::test]
async fn a_path_that_does_not_exist_is_fatal_and_names_the_variable() {
    let (error, base) = refusal(404, "not here").await;
    assert_eq!((error.code(), error.class()), ("registry_refused", ErrorClass::Fatal));
    let text = error.to_string();
    assert!(text.contains(&base) && text.contains("404"), "{text}");
    assert!(text.contains("DATA_PROC_SCHEMA_REGISTRY_URL"), "{text}");
}

#[tokio::test]
async fn a_registry_that_is_down_or_failing_is_transient() {
    let (error, base) = refusal(503, "starting").await;
    assert_eq!(
        (error.code(), error.class()),
        ("registry_unavailable", ErrorClass::Transient)
    );
    assert!(
        error.to_string().contains(&base) && error.to_string().contains("503"),
        "{error}"
    );

    // A port that was free before.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = connect(&format!("http://{free}")).await.unwrap_err();
    assert_eq!(
        (error.code(), error.class()),
        ("registry_unavailable", ErrorClass::Transient)
    );
    let text = error.to_string();
    assert!(
        text.contains(&free.to_string()) && text.contains("unset DATA_PROC_SCHEMA_REGISTRY_URL"),
        "{text}"
    );
}

#[tokio::test]
async fn a_response_that_is_not_a_registry_s_is_fatal_and_shown() {
    for garbage in ["<html>login</html>", "{}", r#"{"id":"one"}"#, r#"{"id":-1}"#, ""] {
        let (error, base) = refusal(200, garbage).await;
        assert_eq!(
            (error.code(), error.class()),
            ("registry_refused", ErrorClass::Fatal),
            "{garbage}"
        );
        assert!(
            error.to_string().contains(&base) && error.to_string().contains(garbage),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_invalid_address_is_an_error() {
    for address in ["", "localhost:8081", "registry"] {
        assert!(connect(address).await.is_err(), "{address}");
    }
}

#[tokio::test]
async fn user_and_password_of_the_address_are_sent_and_never_shown() {
    let (base, requests) = serve(|_| (200, r#"{"id":1}"#.to_owned()));
    let address = base.replace("http://", "http://pipeline:h%40nter2@");
    let client = RegistryClient::new(Secret::new(format!("{address}/base")), &Trust::default()).unwrap();
    client.register("subject", "{}").await.unwrap();
    // "pipeline:h@nter2" in base 64.
    assert_eq!(requests.recv().unwrap().authorization, "Basic cGlwZWxpbmU6aEBudGVyMg==");
    assert!(!format!("{client:?}").contains("nter2"));
    for (status, body) in [(401, "who are you"), (500, "broken")] {
        let (base, _requests) = serve(move |_| (status, body.to_owned()));
        let address = base.replace("http://", "http://pipeline:h%40nter2@");
        let client = RegistryClient::new(Secret::new(address), &Trust::default()).unwrap();
        for error in [
            client.ping().await.unwrap_err().to_string(),
            client.register("subject", "{}").await.unwrap_err().to_string(),
        ] {
            assert!(!error.contains("nter2") && error.contains("pipeline:***@"), "{error}");
            assert!(error.contains("DATA_PROC_SCHEMA_REGISTRY_URL"), "{error}");
        }
    }
}

/// A registry with TLS that gives this response to every request; returns its address.
fn serve_tls(issued: &Issued, body: &'static str) -> String {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap(),
        )
        .unwrap();
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut reader = BufReader::new(StreamOwned::new(connection, stream));
            let mut line = String::new();
            // The head ends with an empty line; a client without trust closes the connection before.
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            let answer = format!(
                "HTTP/1.1 200 X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let mut stream = reader.into_inner();
            _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
        }
    });
    format!("https://localhost:{port}/base")
}

#[tokio::test]
async fn a_private_authority_is_accepted_if_set_and_otherwise_the_error_names_the_setting() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("private").unwrap());
    let url = serve_tls(&authority.server().unwrap(), r#"{"schema":"{}"}"#);
    let trust = Trust::with_authority(authority.write(folder.path(), "ca.pem").unwrap()).unwrap();
    let client = RegistryClient::new(Secret::new(url.clone()), &trust).unwrap();
    assert_eq!(client.schema(1).await.unwrap(), "{}");
    let client = RegistryClient::new(Secret::new(url), &Trust::default()).unwrap();
    let error = client.schema(1).await.unwrap_err().to_string();
    assert!(
        error.contains("DATA_PROC_TLS_CA") && error.contains("certificate"),
        "{error}"
    );
    let expired = serve_tls(&authority.expired_server().unwrap(), "");
    let client = RegistryClient::new(Secret::new(expired), &trust).unwrap();
    let error = client.schema(1).await.unwrap_err().to_string();
    assert!(error.contains("expired"), "{error}");
}
