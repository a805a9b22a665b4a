//! Redis that accepts only TLS connections and reads its users from a file, and a cluster of three masters.

use std::process::Command;
use std::time::Instant;

use tempfile::TempDir;

use super::{POLL, Running, START_LIMIT, folder, free_port, private, run};
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
        let deadline = Instant::now() + START_LIMIT;
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

fn server() -> Command {
    let mut command = Command::new("setpriv");
    command.args([
        "--pdeathsig",
        "KILL",
        "redis-server",
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
    ]);
    command
}
