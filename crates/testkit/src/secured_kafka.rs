//! A real Kafka broker that requires a password, a token or a client certificate, and checks its ACLs for every request.
//!
//! Role: one broker in KRaft mode for tests of secured connections. Listeners:
//! - [`SecuredKafka::secured`]: SASL_SSL with PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER with unsigned tokens.
//! - [`SecuredKafka::mutual`]: SSL with a required client certificate.
//! - [`SecuredKafka::expired`]: SASL_SSL with an expired certificate.
//! - [`SecuredKafka::scram_only`]: SASL_SSL with one mechanism.
//! - [`SecuredKafka::admin`]: PLAINTEXT; every client is a superuser. For the test itself.
//!
//! Failure: if the broker does not start, the error has the end of its log. If the test is killed, a shell kills the broker
//! and removes its folder.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::PATIENCE;
use crate::certificates::{Authority, Issued};

/// A user of every mechanism.
pub const USER: &str = "pipeline";
/// Its password.
pub const PASSWORD: &str = "h@nter2";

const WATCH: &str = "cat >/dev/null; kill -9 \"$1\"; sleep 1; rm -rf \"$2\"";

/// The broker.
pub struct SecuredKafka {
    folder: PathBuf,
    classpath: String,
    ports: [u16; 6],
    /// Signs the certificates of the broker and of clients.
    pub authority: Authority,
    child: Child,
    watch: Option<(ChildStdin, Child)>,
}

impl SecuredKafka {
    /// Starts a broker from these jars in a new folder in `parent`. [`USER`] and `users` have the SCRAM password [`PASSWORD`].
    /// No user has any rights yet.
    pub fn start(classpath: &str, parent: &Path, users: &[&str]) -> anyhow::Result<SecuredKafka> {
        SecuredKafka::start_with(classpath, parent, users, "")
    }

    /// The same with more lines in `server.properties`.
    pub fn start_with(
        classpath: &str,
        parent: &Path,
        users: &[&str],
        properties: &str,
    ) -> anyhow::Result<SecuredKafka> {
        let folder = parent.join(format!("kafka-{}-{}", std::process::id(), free_ports::<1>()?[0]));
        fs::create_dir_all(folder.join("tmp"))?;
        let ports = free_ports::<6>()?;
        let authority = Authority::new("test authority")?;
        authority.write(&folder, "ca.pem")?;
        write_store(&folder, "server.pem", &authority.server_named(&["localhost"])?)?;
        write_store(&folder, "expired.pem", &authority.expired_server()?)?;
        let config = folder.join("server.properties");
        fs::write(&config, server_properties(&ports, &folder) + properties)?;
        format_storage(classpath, &config, users)?;
        let log = fs::File::create(folder.join("broker.log"))?;
        let child = Command::new("java")
            .args(["-Xms128m", "-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"])
            .arg(format!("-Djava.io.tmpdir={}", folder.join("tmp").display()))
            .args(["-cp", classpath, "kafka.Kafka"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start java")?;
        let watch = watch(child.id(), &folder)?;
        let mut broker = SecuredKafka {
            folder,
            classpath: classpath.to_owned(),
            ports,
            authority,
            child,
            watch: Some(watch),
        };
        broker.wait()?;
        Ok(broker)
    }

    /// Address of the SASL_SSL listener.
    pub fn secured(&self) -> String {
        self.address(1)
    }

    /// Address of the SSL listener that requires a client certificate.
    pub fn mutual(&self) -> String {
        self.address(2)
    }

    /// Address of the SASL_SSL listener with an expired certificate.
    pub fn expired(&self) -> String {
        self.address(3)
    }

    /// Address of the plaintext listener whose clients are superusers.
    pub fn admin(&self) -> String {
        self.address(4)
    }

    /// Address of the SASL_SSL listener that supports only SCRAM-SHA-512.
    pub fn scram_only(&self) -> String {
        self.address(5)
    }

    /// PEM file of the authority.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A folder for files of the test.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Grants rights, written as arguments of `kafka-acls`: `--operation Read --topic x`.
    pub fn grant(&self, user: &str, rights: &[&str]) -> anyhow::Result<()> {
        let principal = format!("User:{user}");
        let mut args = vec!["--add", "--allow-principal", &principal];
        args.extend_from_slice(rights);
        self.tool("org.apache.kafka.tools.AclCommand", &args)
    }

    /// Changes a SCRAM password.
    pub fn set_password(&self, user: &str, mechanism: &str, password: &str) -> anyhow::Result<()> {
        let change = format!("{mechanism}=[password={password}]");
        let args = [
            "--alter",
            "--add-config",
            &change,
            "--entity-type",
            "users",
            "--entity-name",
            user,
        ];
        self.tool("kafka.admin.ConfigCommand", &args)
    }

    /// Runs one of Kafka's tools as a superuser.
    pub fn tool(&self, class: &str, args: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new("java");
        command.args(["-XX:TieredStopAtLevel=1", "-cp", &self.classpath, class]);
        command.args(["--bootstrap-server", &self.admin()]).args(args);
        run(&mut command)
    }

    fn address(&self, listener: usize) -> String {
        format!("localhost:{}", self.ports[listener])
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let log = |folder: &Path| {
            let log = fs::read_to_string(folder.join("broker.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            lines.split_at(lines.len().saturating_sub(30)).1.join("\n")
        };
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the broker ended with {status}:\n{}", log(&self.folder));
            }
            let is_up = |port: &u16| TcpStream::connect(("127.0.0.1", *port)).is_ok();
            if self.ports.iter().all(is_up) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the broker did not start in time:\n{}", log(&self.folder));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for SecuredKafka {
    fn drop(&mut self) {
        _ = self.child.kill().and_then(|()| self.child.wait());
        _ = fs::remove_dir_all(&self.folder);
        if let Some((input, mut watcher)) = self.watch.take() {
            // The shell must end before its input closes: it would kill a pid that is free by now.
            _ = watcher.kill().and_then(|()| watcher.wait());
            drop(input);
        }
    }
}

fn watch(pid: u32, folder: &Path) -> anyhow::Result<(ChildStdin, Child)> {
    let mut child = Command::new("setsid")
        .args(["sh", "-c", WATCH, "watch", &pid.to_string()])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start setsid sh")?;
    let input = child.stdin.take().context("the watching shell has no input")?;
    Ok((input, child))
}

/// Kafka reads the key and the certificate from one file.
fn write_store(folder: &Path, name: &str, issued: &Issued) -> anyhow::Result<()> {
    fs::write(folder.join(name), format!("{}{}", issued.key, issued.certificate))?;
    Ok(())
}

fn format_storage(classpath: &str, config: &Path, users: &[&str]) -> anyhow::Result<()> {
    let mut format = Command::new("java");
    format.args([
        "-XX:TieredStopAtLevel=1",
        "-cp",
        classpath,
        "kafka.tools.StorageTool",
        "format",
    ]);
    format
        .args(["--cluster-id", "c2VjdXJlZC1rYWZrYS10ZQ", "--config"])
        .arg(config);
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
        for user in users.iter().chain([&USER]) {
            format.args(["--add-scram", &format!("{mechanism}=[name={user},password={PASSWORD}]")]);
        }
    }
    run(&mut format)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().context("start java")?;
    if !output.status.success() {
        bail!(
            "{command:?} failed: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

fn server_properties(ports: &[u16; 6], folder: &Path) -> String {
    let [controller, secured, mutual, expired, admin, scram] = ports;
    let folder = folder.display();
    let mut text = format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@localhost:{controller}\n\
         controller.listener.names=CONTROLLER\n\
         inter.broker.listener.name=ADMIN\n\
         listeners=CONTROLLER://localhost:{controller},SECURED://localhost:{secured},MUTUAL://localhost:{mutual},\
         EXPIRED://localhost:{expired},ADMIN://localhost:{admin},SCRAM://localhost:{scram}\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,SECURED:SASL_SSL,MUTUAL:SSL,EXPIRED:SASL_SSL,ADMIN:PLAINTEXT,SCRAM:SASL_SSL\n\
         log.dirs={folder}/data\n\
         auto.create.topics.enable=false\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=2\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=1\n\
         group.initial.rebalance.delay.ms=0\n\
         authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         super.users=User:ANONYMOUS\n\
         ssl.truststore.type=PEM\n\
         ssl.truststore.location={folder}/ca.pem\n\
         listener.name.mutual.ssl.client.auth=required\n\
         listener.name.mutual.ssl.principal.mapping.rules=RULE:^CN=(.*?)$/$1/\n"
    );
    for (listener, file) in [
        ("secured", "server"),
        ("mutual", "server"),
        ("expired", "expired"),
        ("scram", "server"),
    ] {
        text.push_str(&format!(
            "listener.name.{listener}.ssl.keystore.type=PEM\n\
             listener.name.{listener}.ssl.keystore.location={folder}/{file}.pem\n"
        ));
    }
    for listener in ["secured", "expired"] {
        let jaas = format!("listener.name.{listener}");
        text.push_str(&format!(
            "{jaas}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER\n\
             {jaas}.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
             user_{USER}=\"{PASSWORD}\";\n\
             {jaas}.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
             {jaas}.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
             {jaas}.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule \
             required unsecuredLoginStringClaim_sub=\"broker\";\n"
        ));
    }
    text.push_str(
        "listener.name.scram.sasl.enabled.mechanisms=SCRAM-SHA-512\n\
         listener.name.scram.scram-sha-512.sasl.jaas.config=\
         org.apache.kafka.common.security.scram.ScramLoginModule required;\n",
    );
    text
}

fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}
