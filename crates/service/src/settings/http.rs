//! Reads where a process listens for HTTP, and its limits.

use std::net::{IpAddr, Ipv4Addr};

use super::{HttpSettings, Kind, Reader, Rule};

/// Problems are noted in the reader.
pub(super) fn read(r: &mut Reader<'_>, local: bool, default_port: u16) -> HttpSettings {
    // HTTP of a developer's machine is not exposed to the network by accident.
    let host = IpAddr::V4(if local {
        Ipv4Addr::LOCALHOST
    } else {
        Ipv4Addr::UNSPECIFIED
    });
    let any = |_: &IpAddr| true;
    let settings = HttpSettings {
        host: r.value(
            "DATA_PROC_HTTP_HOST",
            host,
            "address that HTTP binds to",
            Rule {
                kind: Kind::Text,
                expected: "an IP address",
                accept: any,
            },
        ),
        port: r.number(
            "DATA_PROC_HEALTH_PORT",
            u64::from(default_port),
            0..=65_535,
            "HTTP port for health, metrics and queries",
        ) as u16,
        metrics_port: metrics_port(r, local),
        rate_limit: r.number(
            "DATA_PROC_RATE_LIMIT_MAX_REQUESTS",
            1_000,
            1..=1_000_000_000,
            "HTTP requests that one client may send per window",
        ),
        rate_limit_window: r.duration("DATA_PROC_RATE_LIMIT_WINDOW", "1m", "length of the rate limit window"),
        max_connections: r.number(
            "DATA_PROC_HTTP_MAX_CONNECTIONS",
            4_096,
            1..=1_000_000,
            "maximum number of open HTTP connections; at most half of the process's file descriptors (ulimit -n)",
        ) as usize,
        write_timeout: r.duration(
            "DATA_PROC_HTTP_WRITE_TIMEOUT",
            "10s",
            "close a connection whose client reads nothing of its response for this long",
        ),
    };
    if settings.port != 0 && settings.metrics_port == Some(settings.port) {
        r.problem(format!(
            "DATA_PROC_METRICS_PORT must differ from DATA_PROC_HEALTH_PORT, got {} for both",
            settings.port
        ));
    }
    settings
}

fn metrics_port(r: &mut Reader<'_>, local: bool) -> Option<u16> {
    const NAME: &str = "DATA_PROC_METRICS_PORT";
    // Four services share one host locally, so the second listener is off there by default.
    let default = if local || r.is_blank(NAME) { "" } else { "9090" };
    let meaning = "second HTTP port with the same routes; empty = off";
    let text = r.text_of(Kind::Integer(1, 65_535), NAME, default, meaning);
    if text.is_empty() {
        return None;
    }
    let port = text.parse::<u16>().ok().filter(|port| *port > 0);
    if port.is_none() {
        r.problem(format!("{NAME} must be a port from 1 to 65535 or empty, got '{text}'"));
    }
    port
}
