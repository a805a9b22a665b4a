//! Apache Kafka, one node in KRaft mode (broker and controller in one process).

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::write_config;
use crate::account::{Account, set_mode};
use crate::config::StackConfig;
use crate::error::StackError;
use crate::fetch;
use crate::ports::Ports;
use crate::process;
use crate::tools;

/// Folder of the stack for programs of a server that cannot read the cache.
pub(crate) const LIBRARIES: &str = "lib";

/// Logs warnings and the few lines about start and stop; Kafka's own default fills a disk in a long test.
const LOGGING: [&str; 4] = [
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
];

/// The class path of the broker; Kafka's tools are classes on it, such as `org.apache.kafka.tools.TopicCommand`.
pub(crate) fn classpath(config: &StackConfig) -> Result<String, StackError> {
    Ok(format!("{}/*", fetch::kafka(config)?.display()))
}

pub(super) fn prepare(config: &StackConfig, account: &Account, dir: &Path) -> Result<Command, StackError> {
    let java = config.tools().find(tools::JAVA)?;
    tools::require_java(&java)?;
    account.check_runs(config, &java)?;
    let classpath = match account.is_other() {
        true => format!("{}/*", readable_jars(config)?.display()),
        false => classpath(config)?,
    };
    let (properties, data, tmp) = (dir.join("server.properties"), dir.join("data"), dir.join("tmp"));
    fs::create_dir_all(&tmp).map_err(StackError::io("create", &tmp))?;
    account.own(&tmp)?;
    write_config(&properties, &server_properties(&config.ports, &data))?;
    if !data.join("meta.properties").is_file() {
        let mut format = account.command(config, &java)?;
        format.arg(LOGGING[0]).args([
            "-cp",
            &classpath,
            "kafka.tools.StorageTool",
            "format",
            "--ignore-formatted",
        ]);
        format
            .args(["--cluster-id", &new_cluster_id()?, "--config"])
            .arg(&properties)
            .current_dir(dir);
        process::run_until(&mut format, &config.interrupted)?;
    }
    let mut command = account.launcher(config, &java)?;
    command.args([
        "-Xms256m",
        "-Xmx768m",
        "-XX:MaxGCPauseMillis=20",
        // Counters for `jstat`, which a thread updates twenty times a second.
        "-XX:-UsePerfData",
        "-XX:+ExitOnOutOfMemoryError",
    ]);
    // Native libraries are unpacked there and are left behind by kill -9, so not in the shared /tmp.
    command.arg(format!("-Djava.io.tmpdir={}", tmp.display()));
    command
        .args(LOGGING)
        .args(["-cp", &classpath, "kafka.Kafka"])
        .arg(&properties);
    Ok(command)
}

/// A folder with Kafka's jars that every user can read, since the cache may be in root's home.
///
/// It belongs to the caller, so that the server cannot change its own programs.
fn readable_jars(config: &StackConfig) -> Result<PathBuf, StackError> {
    let cached = fetch::kafka(config)?;
    let parent = config.dir.join(LIBRARIES);
    let folder = parent.join(cached.file_name().unwrap_or_default());
    if folder.is_dir() {
        return Ok(folder);
    }
    fs::create_dir_all(&parent).map_err(StackError::io("create", &parent))?;
    set_mode(&parent, 0o755)?;
    let unfinished = tempfile::Builder::new()
        .prefix("unfinished-")
        .tempdir_in(&parent)
        .map_err(StackError::io("create a folder in", &parent))?;
    for jar in fs::read_dir(&cached).map_err(StackError::io("read", &cached))? {
        let jar = jar.map_err(StackError::io("read", &cached))?;
        link_or_copy(&jar.path(), &unfinished.path().join(jar.file_name()))?;
    }
    set_mode(unfinished.path(), 0o755)?;
    fs::rename(unfinished.path(), &folder).map_err(StackError::io("rename into", &folder))?;
    Ok(folder)
}

/// Hard-links the file if the file system allows it and the file is readable for all users, else copies it.
fn link_or_copy(from: &Path, to: &Path) -> Result<(), StackError> {
    let mode = fs::metadata(from).map_err(StackError::io("read", from))?.mode();
    if mode & 0o004 != 0 && fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to).map_err(StackError::io("write", to))?;
    set_mode(to, 0o644)
}

fn server_properties(ports: &Ports, data: &Path) -> String {
    let (broker, controller, data) = (ports.kafka, ports.kafka_controller, data.display());
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\n\
         listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{broker}\n\
         log.dirs={data}\n\
         # Topics are created by `dp topics create`, with the partition counts that the stages rely on.\n\
         auto.create.topics.enable=false\n\
         # One node: no replication; few partitions make start and stop fast.\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=8\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=4\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         share.coordinator.state.topic.num.partitions=1\n\
         # Tests stop and start members often: no waiting for others to join, short sessions allowed.\n\
         group.initial.rebalance.delay.ms=0\n\
         group.min.session.timeout.ms=1000\n\
         group.consumer.min.session.timeout.ms=1000\n\
         group.consumer.min.heartbeat.interval.ms=200\n\
         # Two cores. Each of the group coordinator's threads wakes a few times a second, and one is enough.\n\
         num.network.threads=1\n\
         num.io.threads=2\n\
         group.coordinator.threads=1\n\
         log.cleaner.dedupe.buffer.size=16777216\n\
         # No empty record in the metadata log, with a flush to the disk, twice a second.\n\
         metadata.max.idle.interval.ms=0\n"
    )
}

/// 22 characters, like Kafka's own ids; the last one encodes two bits only.
fn new_cluster_id() -> Result<String, StackError> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0_u8; 11];
    fs::File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(StackError::io("read", source))?;
    let mut id = hex::encode(bytes);
    id.pop();
    id.push('A');
    Ok(id)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_listener_is_on_the_loopback_address() {
        let text = server_properties(&Ports::with_offset(0).unwrap(), Path::new("/data"));
        let addresses: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("listeners="))
            .flat_map(|line| line.split("://").skip(1))
            .collect();
        assert_eq!(addresses.len(), 3);
        assert!(
            addresses.iter().all(|address| address.starts_with("127.0.0.1:")),
            "{addresses:?}"
        );
    }

    #[test]
    fn cluster_ids_are_22_characters_and_differ() {
        let (one, two) = (new_cluster_id().unwrap(), new_cluster_id().unwrap());
        assert_eq!((one.len(), two.len()), (22, 22));
        assert_ne!(one, two);
    }
}
