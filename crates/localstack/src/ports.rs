//! Ports of a stack: the well-known ones plus an offset, or a block that no other test process uses. Finds the holder of a port.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use crate::error::StackError;
use crate::name::{Name, Server, Service};

/// Below Linux's range for outgoing connections (32768 upwards), so that none of them occupies a port of ours.
const FREE_RANGE_START: u16 = 20_000;
const FREE_RANGE_BLOCKS: u16 = 500;
const BLOCK: u16 = 20;

/// The highest of the well-known ports: Kafka's controller.
const HIGHEST_PORT: u16 = 9093;

/// The ports of one stack. All are on 127.0.0.1.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Ports {
    pub kafka: u16,
    pub kafka_controller: u16,
    pub clickhouse_http: u16,
    pub clickhouse_tcp: u16,
    pub postgres: u16,
    pub redis: u16,
    pub normalization: u16,
    pub enrichment: u16,
    pub aggregation: u16,
    pub projection: u16,
    /// Keeps the block of [`Ports::free`] reserved among processes that use this library.
    #[serde(skip)]
    _lease: Option<Arc<File>>,
}

impl PartialEq for Ports {
    fn eq(&self, other: &Ports) -> bool {
        self.labelled() == other.labelled()
    }
}

impl Ports {
    /// The fixed ports (9092, 8123, 9000, 5432, 6379, 8080 to 8083) plus `offset`. `None` if one exceeds 65535.
    pub fn with_offset(offset: u16) -> Option<Ports> {
        let at = |port: u16| port.checked_add(offset);
        Some(Ports {
            kafka: at(9092)?,
            kafka_controller: at(9093)?,
            clickhouse_http: at(8123)?,
            clickhouse_tcp: at(9000)?,
            postgres: at(5432)?,
            redis: at(6379)?,
            normalization: at(8080)?,
            enrichment: at(8081)?,
            aggregation: at(8082)?,
            projection: at(8083)?,
            _lease: None,
        })
    }

    /// The ports of a new stack: as [`Ports::with_offset`], but outside the system's range for outgoing connections. In that
    /// range, a client that connects to a stopped server can be connected to itself, and then holds the port that the server
    /// needs.
    pub fn for_new_stack(offset: u16) -> Result<Ports, StackError> {
        let ports = Ports::with_offset(offset).ok_or_else(|| {
            let most = u16::MAX - HIGHEST_PORT;
            StackError::Refused(format!(
                "--port-offset {offset}: a port would be above 65535; use at most {most}"
            ))
        })?;
        let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        match ports.in_ephemeral_range(&range) {
            Some((port, proposal)) => Err(StackError::Refused(format!(
                "--port-offset {offset}: port {port} is in the range of outgoing connections ({}), so a client \
                 can occupy it while its server is stopped; use --port-offset {proposal}",
                range.split_whitespace().collect::<Vec<_>>().join(" to "),
            ))),
            None => Ok(ports),
        }
    }

    /// A port of ours within the range (as in `ip_local_port_range`), and an offset that avoids it. Also `None` if no multiple
    /// of 1,000 avoids the range: then there is no better offset to propose.
    fn in_ephemeral_range(&self, range: &str) -> Option<(u16, u16)> {
        let mut bounds = range.split_whitespace().map(str::parse::<u16>);
        let (low, high) = (bounds.next()?.ok()?, bounds.next()?.ok()?);
        let (port, _) = self
            .labelled()
            .into_iter()
            .find(|(port, _)| (low..=high).contains(port))?;
        let proposal = low.checked_sub(HIGHEST_PORT + 1)? / 1_000 * 1_000;
        (proposal > 0).then_some((port, proposal))
    }

    /// A block of free ports, reserved against other callers in any process until the value and its clones are dropped.
    pub fn free() -> Result<Ports, StackError> {
        let dir = std::env::temp_dir().join(format!("254carbon-ports-{}", geteuid()));
        fs::create_dir_all(&dir).map_err(StackError::io("create", &dir))?;
        // Start at different blocks, so that parallel tests rarely try the same one.
        let first = std::process::id() as u16 % FREE_RANGE_BLOCKS;
        for step in 0..FREE_RANGE_BLOCKS {
            let base = FREE_RANGE_START + (first + step) % FREE_RANGE_BLOCKS * BLOCK;
            let path = dir.join(base.to_string());
            let Ok(file) = File::options().create(true).append(true).open(&path) else {
                continue;
            };
            if file.try_lock().is_ok() && (base..base + BLOCK).all(is_free) {
                return Ok(Ports::in_block(base, file));
            }
        }
        Err(StackError::Refused(format!(
            "no block of {BLOCK} free ports from {FREE_RANGE_START} upwards"
        )))
    }

    fn in_block(base: u16, lease: File) -> Ports {
        Ports {
            kafka: base,
            kafka_controller: base + 1,
            clickhouse_http: base + 2,
            clickhouse_tcp: base + 3,
            postgres: base + 4,
            redis: base + 5,
            normalization: base + 6,
            enrichment: base + 7,
            aggregation: base + 8,
            projection: base + 9,
            _lease: Some(Arc::new(lease)),
        }
    }

    /// The client port of this process; `None` for additional replicas, whose ports are chosen when they start.
    pub fn of(&self, name: Name) -> Option<u16> {
        match name {
            Name::Server(Server::Kafka) => Some(self.kafka),
            Name::Server(Server::ClickHouse) => Some(self.clickhouse_http),
            Name::Server(Server::Postgres) => Some(self.postgres),
            Name::Server(Server::Redis) => Some(self.redis),
            Name::Service(Service::Normalization, 1) => Some(self.normalization),
            Name::Service(Service::Enrichment, 1) => Some(self.enrichment),
            Name::Service(Service::Aggregation, 1) => Some(self.aggregation),
            Name::Service(Service::Projection, 1) => Some(self.projection),
            Name::Service(..) => None,
        }
    }

    /// Every port that this process listens on, with a description for error messages.
    pub(crate) fn listened_by(&self, name: Name) -> Vec<(u16, String)> {
        let mut ports: Vec<(u16, String)> = self.of(name).map(|port| (port, name.to_string())).into_iter().collect();
        match name {
            Name::Server(Server::Kafka) => ports.push((self.kafka_controller, "kafka controller".to_owned())),
            Name::Server(Server::ClickHouse) => {
                ports.push((self.clickhouse_tcp, "clickhouse native protocol".to_owned()))
            }
            _ => {}
        }
        ports
    }

    fn labelled(&self) -> Vec<(u16, String)> {
        Name::all().flat_map(|name| self.listened_by(name)).collect()
    }
}

/// Whether 127.0.0.1:`port` is free.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// A free port chosen by the system.
pub(crate) fn any_free() -> Result<u16, StackError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| StackError::Refused(format!("no free port on 127.0.0.1: {error}")))
}

/// Fails with port and holder if one of the ports of this process is taken.
pub(crate) fn check_free(ports: &[(u16, String)]) -> Result<(), StackError> {
    match ports.iter().find(|(port, _)| !is_free(*port)) {
        None => Ok(()),
        Some((port, user)) => Err(StackError::PortBusy {
            port: *port,
            user: user.clone(),
            holder: holder(*port).unwrap_or_else(|| "a process of another user".to_owned()),
        }),
    }
}

/// The process that listens on a TCP port of this machine, as `name (pid n)`; `None` if there is none or it is not visible.
pub fn holder(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if inodes.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes
        .filter(|process| holds_one_of(&process.path(), &inodes))
        .find_map(|process| {
            let pid: u32 = process.file_name().to_str()?.parse().ok()?;
            let comm = fs::read_to_string(process.path().join("comm")).ok()?;
            Some(format!("{} (pid {pid})", comm.trim()))
        })
}

/// Inodes of the sockets in state LISTEN (0A) on this port, from the text of `/proc/net/tcp`.
fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    let suffix = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
            (local.ends_with(&suffix) && *state == "0A").then(|| (*inode).to_owned())
        })
        .collect()
}

fn holds_one_of(process: &Path, inodes: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    descriptors
        .flatten()
        .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
        .any(|target| inodes.iter().any(|inode| target.as_os_str() == inode.as_str()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn an_offset_into_the_range_of_outgoing_connections_is_rejected_with_a_better_one() {
        let conflict = |offset, range| Ports::with_offset(offset).unwrap().in_ephemeral_range(range);
        assert_eq!(conflict(40_000, "32768\t60999\n"), Some((49_092, 23_000)));
        // Only the highest port of this offset is in the range.
        assert_eq!(conflict(32_768 - HIGHEST_PORT, "32768 60999"), Some((32_768, 23_000)));
        for (offset, range) in [
            (0, "32768 60999"),
            (23_000, "32768 60999"),
            (55_600, "32768 60999"),
            // The range covers all ports: no offset is better.
            (1_000, "1024 65535"),
            (40_000, ""),
        ] {
            assert_eq!(conflict(offset, range), None, "{offset} {range}");
        }
        assert_eq!(
            Ports::with_offset(23_000).unwrap().in_ephemeral_range("32768 60999"),
            None
        );
    }

    #[test]
    fn the_offset_moves_every_port() {
        let ports = Ports::with_offset(1000).unwrap();
        assert_eq!(
            (ports.kafka, ports.clickhouse_http, ports.postgres, ports.projection),
            (10_092, 9123, 6432, 9083)
        );
        assert!(Ports::with_offset(60_000).is_none());
    }

    #[test]
    fn two_blocks_of_free_ports_never_overlap() {
        let (one, two) = (Ports::free().unwrap(), Ports::free().unwrap());
        assert!(
            one.labelled()
                .iter()
                .all(|(port, _)| two.labelled().iter().all(|(other, _)| port != other))
        );
    }

    #[test]
    fn the_holder_of_a_port_is_named() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = check_free(&[(port, "kafka".to_owned())]).unwrap_err().to_string();
        assert!(error.contains(&format!("port {port} (kafka) is taken by ")), "{error}");
        assert!(error.contains(&format!("(pid {})", std::process::id())), "{error}");
        drop(listener);
        // A child process that another test is spawning holds a copy of the socket until it executes its program.
        let deadline = Instant::now() + Duration::from_secs(10);
        while check_free(&[(port, "kafka".to_owned())]).is_err() {
            assert!(Instant::now() < deadline, "port {port} is still taken");
            std::thread::yield_now();
        }
    }

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
                     0: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 42 1 0\n\
                     1: 0100007F:1538 0100007F:9999 01 00000000:00000000 00:00000000 00000000   101        0 43 1 0\n\
                     2: 0100007F:1539 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 44 1 0\n";
        assert_eq!(listening_inodes(table, 5432), ["42"]);
    }
}
