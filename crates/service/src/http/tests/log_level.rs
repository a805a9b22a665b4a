use super::*;

fn put(running: &Running, body: &str) -> (String, String) {
    send(running, "PUT /log-level", JSON, body)
}

#[test]
fn a_level_is_changed_shown_replaced_and_reset() {
    let running = started(1000);
    let base = json!({"service": "tested", "level": "info", "base_level": "info", "until": null});
    assert_eq!(json_of(&get(&running, "/log-level", "").1), base);
    for level in ["debug", "info,stream=trace"] {
        let (head, body) = put(&running, &json!({"level": level, "for_seconds": 600}).to_string());
        assert!(head.starts_with("http/1.1 200"), "{head}\n{body}");
        let changed = json_of(&body);
        assert_eq!(
            (&changed["level"], &changed["base_level"]),
            (&level.into(), &"info".into())
        );
        let until: jiff::Timestamp = changed["until"].as_str().unwrap().parse().unwrap();
        let seconds = until.as_second() - jiff::Timestamp::now().as_second();
        assert!((500..=601).contains(&seconds), "{seconds}");
        assert_eq!(json_of(&get(&running, "/log-level", "").1), changed);
    }
    assert_eq!(json_of(&put(&running, r#"{"reset":true}"#).1), base);
}

#[test]
fn a_wrong_change_is_refused_and_changes_nothing() {
    let running = started(1000);
    for (body, reason) in [
        (r#"{"level":"loud"}"#, "error, warn, info, debug, trace"),
        (r#"{"level":"debug","for_seconds":100000}"#, "from 1 to 86400"),
        ("{", "the body"),
    ] {
        let (head, answer) = put(&running, body);
        assert!(
            head.starts_with("http/1.1 422") && head.contains("application/problem+json"),
            "{body}: {head}"
        );
        let problem = json_of(&answer);
        assert!(
            problem["message"].as_str().unwrap().contains(reason),
            "{body}: {problem}"
        );
    }
    assert!(put(&running, &"x".repeat((1 << 20) + 1)).0.starts_with("http/1.1 413"));
    let (head, _) = send(&running, "POST /log-level", JSON, "{}");
    assert!(head.starts_with("http/1.1 405") && head.contains("put"), "{head}");
    assert_eq!(json_of(&get(&running, "/log-level", "").1)["level"], "info");
}

/// An address of this machine that is not loopback; `None` without a network.
fn own_address() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // Connecting sends nothing; it selects the address of the route. 192.0.2.0/24 is reserved for documentation.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[test]
fn other_machines_and_web_pages_are_refused_although_the_service_listens_everywhere() {
    let running = started_with(&HttpSettings {
        host: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        ..settings(1000)
    });
    let port = running.server.addresses()[0].port();
    let ask = |address: IpAddr, method: &str, host: &str| {
        let body = r#"{"level":"debug"}"#;
        let mut stream = TcpStream::connect((address, port)).unwrap();
        // In one piece: the service may refuse, and close, before it has read all of it.
        let request = format!(
            "{method} /log-level HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        // A server that refuses before it reads the body may reset the connection after its answer.
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    for method in ["GET", "PUT"] {
        let answer = ask(here, method, "evil.example");
        assert!(answer.starts_with("HTTP/1.1 421"), "{method}: {answer}");
        // A machine without a network has only loopback addresses.
        let Some(other) = own_address() else { continue };
        let answer = ask(other, method, "localhost");
        assert!(
            answer.starts_with("HTTP/1.1 403") && answer.contains("other_machine"),
            "{method}: {answer}"
        );
    }
    assert_eq!(json_of(&get(&running, "/log-level", "").1)["level"], "info");
    assert!(ask(here, "PUT", "localhost").starts_with("HTTP/1.1 200"));
}
