//! Redis that accepts only TLS connections and reads its users from a file, a cluster of three masters, and a sentinel.

use std::process::Command;
use std::time::Instant;

use tempfile::TempDir;

use super::{PATIENCE, POLL, Running, folder, free_port, private, run};
use crate::certificates::Issued;

/// A server with TLS and users.
pub struct Redis {
    port: u16,
    _running: Running,
    _folder: TempDir,
}

impl Redis {
    /// Starts a server with this certificate; `users` are lines of an ACL file.
    pub fn start(certificate: &Issued, users: &str) -> anyhow::Result<Redis> {
        let folder = folder("254carbon-redis-")?;
        let port = free_port()?;
        let files = certificate.write(folder.path(), "redis")?;
        private(&folder.path().join("users.acl"), users)?;
        let mut command = server();
        command
            .current_dir(folder.path())
            .args(["--port", "0", "--tls-port", &port.to_string()]);
        command.args(["--tls-auth-clients", "no", "--aclfile", "users.acl"]);
        command
            .arg("--tls-cert-file")
            .arg(&files.certificate)
            .arg("--tls-key-file")
            .arg(&files.key);
        let mut running = Running::start(command, folder.path().join("log"), "-KILL")?;
        running.wait_for(port)?;
        Ok(Redis {
            port,
            _running: running,
            _folder: folder,
        })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// A cluster of three masters without TLS.
pub struct Cluster {
    ports: Vec<u16>,
    _running: Vec<Running>,
    _folders: Vec<TempDir>,
}

impl Cluster {
    /// Starts the masters and waits until every slot has a server.
    pub fn start() -> anyhow::Result<Cluster> {
        let (mut ports, mut all, mut folders) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..3 {
            let (folder, port, bus) = (folder("254carbon-redis-")?, free_port()?, free_port()?);
            let mut command = server();
            command
                .current_dir(folder.path())
                .args(["--port", &port.to_string(), "--cluster-enabled", "yes"]);
            command.args(["--cluster-port", &bus.to_string()]);
            let mut running = Running::start(command, folder.path().join("log"), "-KILL")?;
            running.wait_for(port)?;
            ports.push(port);
            all.push(running);
            folders.push(folder);
        }
        let cluster = Cluster {
            ports,
            _running: all,
            _folders: folders,
        };
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]);
        create.args(cluster.ports.iter().map(|port| format!("127.0.0.1:{port}")));
        run(create.args(["--cluster-replicas", "0", "--cluster-yes"]))?;
        let deadline = Instant::now() + PATIENCE;
        for port in &cluster.ports {
            while !cluster.ask(*port, &["CLUSTER", "INFO"])?.contains("cluster_state:ok") {
                anyhow::ensure!(Instant::now() < deadline, "the cluster did not reach state ok in time");
                std::thread::sleep(POLL);
            }
        }
        Ok(cluster)
    }

    /// The ports of the masters.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// Runs a command on one master.
    pub fn ask(&self, port: u16, words: &[&str]) -> anyhow::Result<String> {
        run(Command::new("redis-cli")
            .args(["-h", "127.0.0.1", "-p", &port.to_string()])
            .args(words))
    }
}

/// A master with a replica, and a sentinel that watches them under the name `watched`, with a quorum of one. Without TLS.
pub struct Watched {
    master: u16,
    sentinel: u16,
    replica: Option<Running>,
    _running: [Running; 2],
    _folder: TempDir,
}

impl Watched {
    /// Starts the three. The sentinel may need some seconds until it knows the replica.
    pub fn start() -> anyhow::Result<Watched> {
        let folder = folder("254carbon-sentinel-")?;
        let [master, replica, sentinel] = [free_port()?, free_port()?, free_port()?];
        let start = |mut command: Command, name: &str, port: u16| {
            command.current_dir(folder.path());
            let mut running = Running::start(command, folder.path().join(name), "-KILL")?;
            running.wait_for(port)?;
            anyhow::Ok(running)
        };
        let mut of_master = server();
        of_master.args(["--port", &master.to_string(), "--repl-diskless-sync-delay", "0"]);
        let of_master = start(of_master, "master.log", master)?;
        let mut of_replica = server();
        of_replica.args(["--port", &replica.to_string()]);
        of_replica.args([
            "--dbfilename",
            "replica.rdb",
            "--replicaof",
            "127.0.0.1",
            &master.to_string(),
        ]);
        let of_replica = start(of_replica, "replica.log", replica)?;
        // The sentinel writes what it learns into its file.
        let lines = format!(
            "port {sentinel}\nbind 127.0.0.1\nsentinel monitor watched 127.0.0.1 {master} 1\n\
             sentinel down-after-milliseconds watched 1000\n"
        );
        private(&folder.path().join("sentinel.conf"), &lines)?;
        let mut of_sentinel = program();
        of_sentinel.args(["sentinel.conf", "--sentinel"]);
        let of_sentinel = start(of_sentinel, "sentinel.log", sentinel)?;
        Ok(Watched {
            master,
            sentinel,
            replica: Some(of_replica),
            _running: [of_master, of_sentinel],
            _folder: folder,
        })
    }

    /// The port of the master.
    pub fn master(&self) -> u16 {
        self.master
    }

    /// The port of the sentinel.
    pub fn sentinel(&self) -> u16 {
        self.sentinel
    }

    /// Kills the replica.
    pub fn stop_replica(&mut self) {
        self.replica = None;
    }

    /// Sets the quorum.
    pub fn set_quorum(&self, quorum: u8) -> anyhow::Result<()> {
        let (port, quorum) = (self.sentinel.to_string(), quorum.to_string());
        let words = ["-p", &port, "SENTINEL", "SET", "watched", "quorum", &quorum];
        run(Command::new("redis-cli").args(words)).map(drop)
    }
}

/// The program, which ends with this thread.
fn program() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "redis-server"]);
    command
}

fn server() -> Command {
    let mut command = program();
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command
}
