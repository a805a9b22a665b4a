use super::*;

/// The status of an answer to this head.
fn status(server: &Server, head: &str) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", server.addresses()[0].port())).unwrap();
    write!(stream, "{head}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
}

#[test]
fn a_web_page_cannot_reach_a_service_on_loopback() {
    let running = started(1000);
    for (head, expected) in [
        ("GET /info HTTP/1.1\r\nhost: localhost:8080", "200"),
        ("GET /info HTTP/1.1\r\nhost: 127.0.0.1", "200"),
        ("GET /info HTTP/1.1\r\nhost: [::1]:8080", "200"),
        ("GET /info HTTP/1.0", "200"),
        ("GET /info HTTP/1.1\r\nhost: evil.example", "421"),
        ("GET /health/live HTTP/1.1\r\nhost: evil.example:8080", "421"),
        ("GET /metrics HTTP/1.1\r\nhost: localhost.evil.example", "421"),
        ("POST /of HTTP/1.1\r\nhost: evil.example", "421"),
        ("GET http://evil.example/info HTTP/1.1\r\nhost: localhost", "421"),
        (
            "GET /info HTTP/1.1\r\nhost: localhost\r\norigin: http://localhost:3000",
            "200",
        ),
        (
            "POST /of HTTP/1.1\r\nhost: localhost\r\norigin: https://evil.example",
            "403",
        ),
        ("GET /info HTTP/1.1\r\nhost: localhost\r\norigin: null", "403"),
    ] {
        let (found, body) = status(&running.server, head);
        assert_eq!(found, expected, "{head}: {body}");
        if expected == "421" {
            let problem = json_of(&body);
            assert_eq!(problem["error"], "foreign_host");
            assert!(
                problem["message"].as_str().unwrap().contains("DATA_PROC_HTTP_HOST"),
                "{problem}"
            );
        }
    }
}

#[test]
fn a_service_on_every_address_answers_to_every_name() {
    let running = started_with(&HttpSettings {
        host: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        ..settings(1000)
    });
    for head in [
        "GET /health/live HTTP/1.1\r\nhost: pipeline.internal:8080",
        "GET /info HTTP/1.1\r\nhost: pipeline.internal\r\norigin: https://dashboard.internal",
    ] {
        assert_eq!(status(&running.server, head).0, "200", "{head}");
    }
}
