//! Debian's Prometheus, Alertmanager and exporters for one stack, with the shipped rules and a receiver of notifications.
//!
//! Waiting times of alerts and groups are cut to seconds; everything else is as shipped.
//! Failure: a program that does not start is named with the package that it comes from. All end with this value.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use localstack::{Name, Server};
use parking_lot::Mutex;
use serde_json::Value;

use crate::{Pipeline, eventually, http, root};

/// A notification: the receiver that it was sent to, and its body.
pub type Notification = (String, Value);

/// Prometheus, Alertmanager and the exporters of one stack. They end with this value.
pub struct Watch {
    prometheus: u16,
    clickhouse: String,
    received: Arc<Mutex<Vec<Notification>>>,
    programs: Vec<Child>,
    /// The services, Prometheus, Alertmanager and the exporters.
    targets: usize,
    _folder: tempfile::TempDir,
}

impl Watch {
    /// Starts everything and waits until Prometheus and Alertmanager are ready.
    ///
    /// # Errors
    /// If a program is missing or does not start.
    pub fn start(pipeline: &Pipeline) -> anyhow::Result<Watch> {
        let folder = tempfile::tempdir()?;
        let received = Arc::default();
        let receiver = receive(Arc::clone(&received))?;
        let [prometheus, alertmanager, node, redis, postgres] = free_ports()?;
        let mut watch = Watch {
            prometheus,
            clickhouse: format!("http://127.0.0.1:{}", port(pipeline, Server::ClickHouse)?),
            received,
            programs: Vec::new(),
            targets: 4 + 5,
            _folder: folder,
        };
        let out = watch._folder.path().to_owned();
        configure(
            pipeline,
            &out,
            [alertmanager, receiver],
            &[
                ("prometheus", prometheus),
                ("alertmanager", alertmanager),
                ("node", node),
                ("redis", redis),
                ("postgres", postgres),
            ],
        )?;
        watch.run_exporters(pipeline, &out, [node, redis, postgres])?;
        let file = |name: &str| out.join(name).display().to_string();
        watch.run(
            &out,
            "prometheus-alertmanager",
            &[
                format!("--config.file={}", file("alertmanager.yml")),
                format!("--storage.path={}", file("alertmanager")),
                "--cluster.listen-address=".to_owned(),
                listen(alertmanager),
            ],
            &[],
        )?;
        watch.run(
            &out,
            "prometheus",
            &[
                format!("--config.file={}", file("prometheus.yml")),
                format!("--storage.tsdb.path={}", file("tsdb")),
                listen(prometheus),
            ],
            &[],
        )?;
        for port in [alertmanager, prometheus] {
            eventually("Prometheus and Alertmanager are ready", || {
                Ok(http::get(port, "/-/ready")?.0 == 200)
            })?;
        }
        Ok(watch)
    }

    fn run_exporters(
        &mut self,
        pipeline: &Pipeline,
        out: &Path,
        [node, redis, postgres]: [u16; 3],
    ) -> anyhow::Result<()> {
        let dsn = format!(
            "postgresql://user:password@127.0.0.1:{}/db?sslmode=disable",
            port(pipeline, Server::Postgres)?
        );
        self.run(out, "prometheus-node-exporter", &[listen(node)], &[])?;
        let of_redis = format!("--redis.addr=redis://127.0.0.1:{}", port(pipeline, Server::Redis)?);
        self.run(out, "prometheus-redis-exporter", &[listen(redis), of_redis], &[])?;
        self.run(
            out,
            "prometheus-postgres-exporter",
            &[listen(postgres)],
            &[("DATA_SOURCE_NAME", &dsn)],
        )
    }

    fn run(&mut self, folder: &Path, program: &str, arguments: &[String], env: &[(&str, &str)]) -> anyhow::Result<()> {
        let log = std::fs::File::create(folder.join(format!("{program}.log")))?;
        let child = Command::new(program)
            .args(arguments)
            .envs(env.iter().copied())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.programs
            .push(child.with_context(|| format!("start {program}: apt-get install {program}"))?);
        Ok(())
    }

    /// Jobs with a target that is not up, each with the error of its scrape.
    pub fn targets_down(&self) -> anyhow::Result<Vec<String>> {
        let (_, body) = http::get(self.prometheus, "/api/v1/targets?state=active")?;
        let answer: Value = serde_json::from_str(&body)?;
        let targets = answer["data"]["activeTargets"].as_array().context("no targets")?;
        anyhow::ensure!(
            targets.len() == self.targets,
            "{} of {} targets",
            targets.len(),
            self.targets
        );
        let is_down = |target: &&Value| target["health"] != "up";
        Ok(targets
            .iter()
            .filter(is_down)
            .map(|target| format!("{} {}", target["scrapePool"], target["lastError"]))
            .collect())
    }

    /// Runs all expressions and statements; returns the places that have no data.
    pub fn without_data(&self) -> anyhow::Result<Vec<String>> {
        let printed = self.live(&[])?;
        let places = printed.lines().filter_map(|line| line.strip_prefix("no data: "));
        Ok(places.map(str::to_owned).collect())
    }

    /// The rows of a panel, named `board: panel`.
    pub fn panel(&self, name: &str) -> anyhow::Result<Vec<Value>> {
        self.panel_of(name, &[])
    }

    /// The rows of a panel with these variables, each `name=value`.
    pub fn panel_of(&self, name: &str, variables: &[String]) -> anyhow::Result<Vec<Value>> {
        let mut arguments = vec!["--panel", name];
        arguments.extend(variables.iter().flat_map(|variable| ["--set", variable]));
        Ok(serde_json::from_str(&self.live(&arguments)?)?)
    }

    /// Succeeds if the expression has at least one series.
    ///
    /// # Errors
    /// If it has none, or Prometheus does not answer.
    pub fn has(&self, expression: &str) -> anyhow::Result<()> {
        anyhow::ensure!(self.has_series(expression)?, "no series of `{expression}`");
        Ok(())
    }

    /// Whether the expression has at least one series.
    ///
    /// # Errors
    /// If Prometheus does not answer, or refuses the expression.
    pub fn has_series(&self, expression: &str) -> anyhow::Result<bool> {
        let url = format!("http://127.0.0.1:{}", self.prometheus);
        let output = Command::new("promtool")
            .args(["query", "instant", "-o", "json", &url, expression])
            .output()
            .context("start promtool: apt-get install prometheus")?;
        let series: Value = serde_json::from_str(&succeeded(&output)?)?;
        Ok(!series.as_array().is_none_or(Vec::is_empty))
    }

    fn live(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new("python3")
            .arg(root().join("monitoring/live.py"))
            .args(["--prometheus", &format!("http://127.0.0.1:{}", self.prometheus)])
            .args(["--clickhouse", &self.clickhouse])
            .args(arguments)
            .output()?;
        succeeded(&output)
    }

    /// Whether a notification of this alert has reached the receiver, with a status and these labels.
    pub fn is_notified(&self, receiver: &str, status: &str, labels: &[(&str, &str)]) -> bool {
        let received = self.received.lock();
        let alerts = received
            .iter()
            .filter(|(name, _)| name == receiver)
            .flat_map(|(_, body)| body["alerts"].as_array().into_iter().flatten());
        let is_it = |alert: &Value| {
            alert["status"] == status && labels.iter().all(|(name, value)| alert["labels"][name] == *value)
        };
        alerts.into_iter().any(is_it)
    }

    /// All notifications, for the message of a test that fails.
    pub fn notified(&self) -> String {
        let lines = self
            .received
            .lock()
            .iter()
            .map(|(name, body)| format!("{name}: {body}"))
            .collect::<Vec<_>>();
        lines.join("\n")
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for program in &mut self.programs {
            _ = program.kill();
            _ = program.wait();
        }
    }
}

fn port(pipeline: &Pipeline, server: Server) -> anyhow::Result<u16> {
    let port = pipeline.stack().port(Name::Server(server));
    port.context("a server has no port")
}

fn listen(port: u16) -> String {
    format!("--web.listen-address=127.0.0.1:{port}")
}

/// Writes the configuration of Prometheus and Alertmanager, with waiting times of seconds.
fn configure(
    pipeline: &Pipeline,
    out: &Path,
    [alertmanager, receiver]: [u16; 2],
    targets: &[(&str, u16)],
) -> anyhow::Result<()> {
    let mut command = Command::new("python3");
    command
        .arg(root().join("monitoring/local_config.py"))
        .arg("--out")
        .arg(out)
        .args(["--alertmanager", &alertmanager.to_string()])
        .args(["--receiver", &format!("http://127.0.0.1:{receiver}")]);
    for (job, port) in targets {
        command.args(["--target", &format!("{job}={port}")]);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let processes = pipeline.dp_ok(&["--json", "ps"])?;
    child
        .stdin
        .take()
        .context("no standard input")?
        .write_all(processes.as_bytes())?;
    succeeded(&child.wait_with_output()?)?;
    let rules = root().join("monitoring/alert_rules.yml");
    let own = out.join("alert_rules.yml");
    std::fs::write(&own, in_seconds(&std::fs::read_to_string(&rules)?, &["for: "]))?;
    let replaced = |file: &str, change: &dyn Fn(String) -> String| -> anyhow::Result<()> {
        let text = std::fs::read_to_string(out.join(file))?;
        Ok(std::fs::write(out.join(file), change(text))?)
    };
    replaced("prometheus.yml", &|text| {
        text.replace(&rules.display().to_string(), &own.display().to_string())
            .replace(
                "scrape_interval: 5s, evaluation_interval: 5s",
                "scrape_interval: 2s, evaluation_interval: 2s",
            )
    })?;
    replaced("alertmanager.yml", &|text| {
        in_seconds(&text, &["group_wait: ", "group_interval: "])
    })
}

/// The text with each value of these keys replaced by five seconds.
fn in_seconds(text: &str, keys: &[&str]) -> String {
    let line = |line: &str| match keys.iter().find(|key| line.trim_start().starts_with(**key)) {
        Some(key) => format!("{}{key}5s\n", &line[..line.len() - line.trim_start().len()]),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn succeeded(output: &Output) -> anyhow::Result<String> {
    if !output.status.success() {
        bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout.clone())?)
}

/// Ports that are free now.
fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let bound: Vec<TcpListener> = (0..N)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()?;
    let ports: Vec<u16> = bound
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect::<anyhow::Result<_>>()?;
    ports
        .try_into()
        .map_err(|_| anyhow::anyhow!("not every port was bound"))
}

/// Accepts notifications for as long as the test program runs; returns the port.
fn receive(received: Arc<Mutex<Vec<Notification>>>) -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            match notification(&stream) {
                Ok(notification) => received.lock().push(notification),
                Err(error) => println!("a notification cannot be read: {error:#}"),
            }
        }
    });
    Ok(port)
}

/// Reads one request, `POST /RECEIVER`, and answers it.
fn notification(mut stream: &TcpStream) -> anyhow::Result<Notification> {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let receiver = request
        .split(' ')
        .nth(1)
        .context("no path")?
        .trim_start_matches('/')
        .to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let (name, value) = match header.trim().split_once(':') {
            Some(parts) => parts,
            None => break,
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
    Ok((receiver, serde_json::from_slice(&body)?))
}
