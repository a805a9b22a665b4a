//! The TCP sockets of this machine: which process listens where, and which processes are connected to the servers.
//!
//! Role: what `ss -tnp` shows, by server. [`Sockets::of`] is pure; [`read`] reads `/proc`.
//! Failure: a process of another user keeps its sockets to itself, so the owner of a socket may be unknown. A server on another machine has
//! peers here, and no listener.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use anyhow::Context as _;
use procfs::net::TcpState;
use procfs::process::FDTarget;
use serde::Serialize;

/// A process of this machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[allow(missing_docs)]
pub struct Owner {
    pub process: String,
    pub pid: i32,
}

/// A socket that accepts connections.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[allow(missing_docs)]
pub struct Listener {
    pub port: u16,
    /// `0.0.0.0` and `::` accept from every network.
    pub address: IpAddr,
    /// `None` if it belongs to another user.
    #[serde(flatten)]
    pub owner: Option<Owner>,
}

/// The connections of one process to one address of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Peer {
    pub server: &'static str,
    pub address: SocketAddr,
    /// `None` if it belongs to another user.
    #[serde(flatten)]
    pub owner: Option<Owner>,
    pub connections: usize,
}

/// Listeners and peers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Sockets {
    pub listeners: Vec<Listener>,
    pub peers: Vec<Peer>,
}

/// One socket of the kernel's table.
#[derive(Debug, Clone, Copy)]
struct Socket {
    local: SocketAddr,
    remote: SocketAddr,
    is_listening: bool,
    is_established: bool,
    inode: u64,
}

impl Sockets {
    /// Of these sockets, with the owners of their inodes, and the addresses of the servers.
    fn of(sockets: &[Socket], owners: &HashMap<u64, Owner>, servers: &[(&'static str, SocketAddr)]) -> Sockets {
        let owner = |socket: &Socket| owners.get(&socket.inode).cloned();
        let mut listeners: Vec<Listener> = sockets
            .iter()
            .filter(|socket| socket.is_listening)
            .map(|socket| Listener {
                port: socket.local.port(),
                address: socket.local.ip(),
                owner: owner(socket),
            })
            .collect();
        listeners.sort();
        listeners.dedup();
        let mut counts: BTreeMap<(usize, Option<Owner>), usize> = BTreeMap::new();
        for socket in sockets.iter().filter(|socket| socket.is_established) {
            let server = servers.iter().position(|(_, address)| *address == socket.remote);
            if let Some(server) = server {
                *counts.entry((server, owner(socket))).or_default() += 1;
            }
        }
        let peers = counts.into_iter().filter_map(|((server, owner), connections)| {
            let (server, address) = *servers.get(server)?;
            Some(Peer {
                server,
                address,
                owner,
                connections,
            })
        });
        Sockets {
            listeners,
            peers: peers.collect(),
        }
    }
}

/// The sockets of this machine now; `servers` are the addresses whose peers are asked for. Blocks.
///
/// # Errors
/// `/proc` cannot be read.
pub fn read(servers: &[(&'static str, SocketAddr)]) -> anyhow::Result<Sockets> {
    let mut found = procfs::net::tcp().context("read /proc/net/tcp")?;
    // Without IPv6 there is no such file.
    found.extend(procfs::net::tcp6().unwrap_or_default());
    let sockets: Vec<Socket> = found
        .into_iter()
        .map(|entry| Socket {
            local: canonical(entry.local_address),
            remote: canonical(entry.remote_address),
            is_listening: entry.state == TcpState::Listen,
            is_established: entry.state == TcpState::Established,
            inode: entry.inode,
        })
        .collect();
    Ok(Sockets::of(&sockets, &owners()?, servers))
}

/// An IPv4 address that a socket of IPv6 has, as IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The process of each socket that may be seen.
fn owners() -> anyhow::Result<HashMap<u64, Owner>> {
    let mut owners = HashMap::new();
    let processes = procfs::process::all_processes().context("read /proc")?;
    // A process may end while it is read.
    for process in processes.flatten() {
        let (Ok(stat), Ok(files)) = (process.stat(), process.fd()) else {
            continue;
        };
        for file in files.flatten() {
            if let FDTarget::Socket(inode) = file.target {
                let owner = || Owner {
                    process: stat.comm.clone(),
                    pid: process.pid,
                };
                owners.entry(inode).or_insert_with(owner);
            }
        }
    }
    Ok(owners)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn connections_are_counted_by_process_and_server() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let socket = |local: &str, remote: &str, inode| Socket {
            local: at(local),
            remote: at(remote),
            is_listening: remote.ends_with(":0"),
            is_established: !remote.ends_with(":0"),
            inode,
        };
        let owner = |process: &str, pid| Owner {
            process: process.to_owned(),
            pid,
        };
        let owners = HashMap::from([
            (1, owner("java", 7)),
            (2, owner("projection", 8)),
            (3, owner("projection", 8)),
        ]);
        let sockets = [
            socket("127.0.0.1:9092", "0.0.0.0:0", 1),
            socket("127.0.0.1:50001", "127.0.0.1:9092", 2),
            socket("127.0.0.1:50002", "127.0.0.1:9092", 3),
            socket("127.0.0.1:50003", "127.0.0.1:9092", 4),
            // The server's end, and a connection to something else.
            socket("127.0.0.1:9092", "127.0.0.1:50001", 1),
            socket("127.0.0.1:50004", "127.0.0.1:443", 2),
        ];
        let found = Sockets::of(
            &sockets,
            &owners,
            &[("redis", at("127.0.0.1:6379")), ("kafka", at("127.0.0.1:9092"))],
        );
        let listeners: Vec<_> = found
            .listeners
            .iter()
            .map(|one| (one.port, one.owner.clone()))
            .collect();
        assert_eq!(listeners, [(9092, Some(owner("java", 7)))]);
        let peers: Vec<_> = found
            .peers
            .iter()
            .map(|peer| (peer.server, peer.owner.clone(), peer.connections))
            .collect();
        assert_eq!(peers, [("kafka", None, 1), ("kafka", Some(owner("projection", 8)), 2)]);
    }

    #[test]
    fn this_process_is_found_as_listener_and_as_peer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _connected = TcpStream::connect(address).unwrap();
        let found = read(&[("kafka", address)]).unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let is_ours = |owner: &Option<Owner>| owner.as_ref().is_some_and(|owner| owner.pid == pid);
        assert!(
            found
                .listeners
                .iter()
                .any(|one| one.port == address.port() && is_ours(&one.owner))
        );
        let peers: Vec<_> = found
            .peers
            .iter()
            .map(|peer| (peer.address, peer.connections))
            .collect();
        assert_eq!(peers, [(address, 1)]);
        assert!(found.peers.iter().all(|peer| is_ours(&peer.owner)));
    }
}
