//! PostgreSQL that accepts only TLS connections, and PgBouncer in front of it with `pool_mode = transaction`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use tempfile::TempDir;

use super::{PATIENCE, POLL, Running, folder, free_port, give_away, private, run, unprivileged};
use crate::certificates::Issued;

/// The superuser's password.
const ADMIN_PASSWORD: &str = "admin-secret";

/// A server with the database `db` and the superuser `admin`.
pub struct Postgres {
    port: u16,
    running: Option<Running>,
    folder: TempDir,
}

impl Postgres {
    /// Starts a server with this certificate.
    pub fn start(certificate: &Issued) -> anyhow::Result<Postgres> {
        let folder = folder("254carbon-postgres-")?;
        let (data, password) = (folder.path().join("data"), folder.path().join("password"));
        private(&password, ADMIN_PASSWORD)?;
        give_away(folder.path())?;
        let mut initdb = unprivileged(&program("initdb")?);
        initdb
            .arg("-D")
            .arg(&data)
            .arg("--pwfile")
            .arg(&password)
            .current_dir(folder.path());
        initdb.args([
            "--username=admin",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]);
        run(&mut initdb)?;
        let files = certificate.write(&data, "server")?;
        private(&files.key, &fs::read_to_string(&files.key)?)?;
        fs::write(data.join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 scram-sha-256\n")?;
        give_away(&data)?;
        let mut server = Postgres {
            port: free_port()?,
            running: None,
            folder,
        };
        server.start_again()?;
        server.admin("CREATE DATABASE db")?;
        Ok(server)
    }

    /// Starts a stopped server.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        let mut command = unprivileged(&program("postgres")?);
        command
            .arg("-D")
            .arg(self.folder.path().join("data"))
            .current_dir(self.folder.path());
        command.args(["-p", &self.port.to_string()]);
        for setting in [
            "unix_socket_directories=",
            "listen_addresses=127.0.0.1",
            "fsync=off",
            "ssl=on",
            "ssl_cert_file=server.pem",
            "ssl_key_file=server.key",
        ] {
            command.args(["-c", setting]);
        }
        let mut running = Running::start(command, self.folder.path().join("log"), "-QUIT")?;
        running.wait_for(self.port)?;
        self.running = Some(running);
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.ask("postgres", "SELECT 1") {
            anyhow::ensure!(Instant::now() < deadline, "PostgreSQL does not answer: {error:#}");
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Stops the server.
    pub fn stop(&mut self) {
        self.running = None;
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs a statement as the superuser in the database `postgres`.
    pub fn admin(&self, sql: &str) -> anyhow::Result<String> {
        self.ask("postgres", sql)
    }

    /// Runs statements as the superuser in `db`.
    pub fn sql(&self, sql: &str) -> anyhow::Result<String> {
        self.ask("db", sql)
    }

    fn ask(&self, database: &str, sql: &str) -> anyhow::Result<String> {
        let to = format!(
            "host=127.0.0.1 port={} user=admin dbname={database} sslmode=require",
            self.port
        );
        let mut psql = Command::new("psql");
        psql.env("PGPASSWORD", ADMIN_PASSWORD);
        run(psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", &to, "-c", sql]))
    }

    /// The DSN of a user, without `sslmode`.
    pub fn dsn(&self, user: &str, password: &str) -> String {
        format!("postgresql://{user}:{password}@localhost:{}/db", self.port)
    }

    /// The superuser's DSN.
    pub fn admin_dsn(&self) -> String {
        self.dsn("admin", ADMIN_PASSWORD)
    }
}

/// PgBouncer with two connections to the server. Clients share them by transaction.
pub struct PgBouncer {
    port: u16,
    _running: Running,
    _folder: TempDir,
}

impl PgBouncer {
    /// Starts PgBouncer for this server. It has this certificate, and clients connect over TLS as one of these users.
    pub fn start(server: &Postgres, certificate: &Issued, users: &[(&str, &str)]) -> anyhow::Result<PgBouncer> {
        let folder = folder("254carbon-pgbouncer-")?;
        let port = free_port()?;
        let files = certificate.write(folder.path(), "pooler")?;
        let all: Vec<String> = users
            .iter()
            .map(|(user, password)| format!("\"{user}\" \"{password}\"\n"))
            .collect();
        private(&folder.path().join("users.txt"), &all.concat())?;
        let config = format!(
            "[databases]\n\
             db = host=127.0.0.1 port={} dbname=db\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             auth_type = scram-sha-256\n\
             auth_file = {}\n\
             pool_mode = transaction\n\
             default_pool_size = 2\n\
             server_login_retry = 1\n\
             client_tls_sslmode = require\n\
             client_tls_cert_file = {}\n\
             client_tls_key_file = {}\n\
             server_tls_sslmode = require\n",
            server.port,
            folder.path().join("users.txt").display(),
            files.certificate.display(),
            files.key.display()
        );
        let file = folder.path().join("pgbouncer.ini");
        private(&file, &config)?;
        give_away(folder.path())?;
        let mut command = unprivileged(&program("pgbouncer")?);
        command.arg(file).current_dir(folder.path());
        // It stores nothing, and inherits how its starter treats the signals that it has no handler for.
        let mut running = Running::start(command, folder.path().join("log"), "-KILL")?;
        running.wait_for(port)?;
        Ok(PgBouncer {
            port,
            _running: running,
            _folder: folder,
        })
    }

    /// The DSN of a user, without `sslmode`.
    pub fn dsn(&self, user: &str, password: &str) -> String {
        format!("postgresql://{user}:{password}@localhost:{}/db", self.port)
    }
}

/// Finds a program in the folders of Debian, including those of PostgreSQL and of daemons.
fn program(name: &str) -> anyhow::Result<PathBuf> {
    let mut folders: Vec<PathBuf> = ["/usr/bin", "/usr/sbin"].map(PathBuf::from).to_vec();
    for version in fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten() {
        folders.push(version.path().join("bin"));
    }
    let found = folders
        .into_iter()
        .map(|folder| folder.join(name))
        .find(|program| program.is_file());
    found.ok_or_else(|| anyhow::anyhow!("{name} is not installed: run scripts/bootstrap.sh"))
}
