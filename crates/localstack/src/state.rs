//! `stack.json`: the processes of the stack, so that another process can find, stop and restart them.
//!
//! Invariants: the file is replaced by rename, so a reader sees a complete file. It is changed only under the folder's lock.
//! Processes recorded before the last boot of the machine are ignored (boot id).

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::StackError;
use crate::name::{Name, Server};
use crate::ports::Ports;
use crate::process::Running;
use crate::servers::LIBRARIES;
use crate::service::WINDOWS;

const FILE: &str = "stack.json";
const LOCK: &str = "stack.lock";
/// Held by the process that moves the stack between cores.
pub(crate) const CORES_LOCK: &str = "cores.lock";
const LOGS: &str = "logs";
/// Pids of all processes that may still run, one per line, for programs that do not parse JSON.
const PIDS: &str = "pids";

/// The recorded state of a stack.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) ports: Ports,
    pub(crate) bin_dir: PathBuf,
    pub(crate) cache: PathBuf,
    boot_id: String,
    /// `DATA_PROC_GENERATION` of the services that were started last; empty for the first generation.
    #[serde(default)]
    pub(crate) generation: String,
    /// `AGGREGATION_DERIVED_SERIES` of the aggregation that was started last; empty if it had none.
    #[serde(default)]
    pub(crate) derived_series: String,
    /// `NORMALIZATION_VENUES` of the normalization that was started last; empty if it had none.
    #[serde(default)]
    pub(crate) venues: String,
    /// See [`crate::StackConfig::quiet_core`].
    #[serde(default)]
    pub(crate) quiet_core: bool,
    pub(crate) processes: Vec<Entry>,
}

/// The recorded state of a process. It is kept after a stop, so that a restart uses the same port.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) name: Name,
    pub(crate) port: u16,
    pub(crate) running: Option<Running>,
    /// Length of the log when this run began; earlier lines belong to earlier runs.
    pub(crate) log_offset: u64,
}

/// Why a frozen process does not answer.
pub const FROZEN: &str = "frozen (SIGSTOP)";

/// The condition of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Condition {
    Running,
    Frozen,
    Stopped,
}

/// One line of `dp ps`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProcessStatus {
    /// Name, as used by `dp start`.
    pub name: Name,
    /// Its condition.
    pub condition: Condition,
    /// Process id, if it runs.
    pub pid: Option<i32>,
    /// The port for its clients.
    pub port: u16,
    /// Seconds since it started.
    pub uptime_seconds: Option<u64>,
    /// Memory and CPU time, including its children.
    pub usage: Option<crate::process::Usage>,
    /// Its log file.
    pub log: PathBuf,
    /// Why it does not run, if it should.
    pub why: Option<String>,
}

impl State {
    pub(crate) fn new(ports: Ports, bin_dir: PathBuf, cache: PathBuf) -> State {
        State {
            ports,
            bin_dir,
            cache,
            boot_id: boot_id(),
            generation: String::new(),
            derived_series: String::new(),
            venues: String::new(),
            quiet_core: false,
            processes: Vec::new(),
        }
    }

    /// The state recorded in this folder; `None` if there is none.
    pub(crate) fn load(dir: &Path) -> Result<Option<State>, StackError> {
        let path = dir.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StackError::io("read", &path)(error)),
        };
        let mut state: State = serde_json::from_str(&text).map_err(|error| {
            StackError::Refused(format!(
                "{} cannot be read ({error}): stop its processes and remove the folder",
                path.display()
            ))
        })?;
        if state.boot_id != boot_id() {
            state.boot_id = boot_id();
            state.processes.iter_mut().for_each(|entry| entry.running = None);
        }
        Ok(Some(state))
    }

    pub(crate) fn save(&self, dir: &Path) -> Result<(), StackError> {
        let pids: String = self
            .processes
            .iter()
            .filter_map(|entry| entry.running)
            .map(|running| format!("{}\n", running.pid))
            .collect();
        replace(&dir.join(PIDS), &pids)?;
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| StackError::Refused(format!("state cannot be written: {error}")))?;
        replace(&dir.join(FILE), &text)
    }

    pub(crate) fn entry(&self, name: Name) -> Option<&Entry> {
        self.processes.iter().find(|entry| entry.name == name)
    }

    /// The current run of this process, if it is alive.
    pub(crate) fn alive(&self, name: Name) -> Option<Running> {
        self.entry(name)?.running.filter(|running| running.is_alive())
    }

    /// Records a process, in pipeline order.
    pub(crate) fn record(&mut self, entry: Entry) {
        self.processes.retain(|other| other.name != entry.name);
        self.processes.push(entry);
        self.processes.sort_by_key(|entry| entry.name);
    }
}

/// Holds the folder's lock until it is dropped.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    pub(crate) fn of(dir: &Path) -> Result<Lock, StackError> {
        let path = dir.join(LOCK);
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(StackError::io("open", &path))?;
        file.lock().map_err(StackError::io("lock", &path))?;
        Ok(Lock { _file: file })
    }
}

/// Whether a stack created this folder: only such a folder is ever deleted.
pub(crate) fn is_stack(dir: &Path) -> bool {
    dir.join(FILE).is_file()
}

/// The files that a stack creates in its folder.
fn own_entries() -> Vec<String> {
    let files = [FILE, PIDS, LOCK, CORES_LOCK, LOGS, LIBRARIES, WINDOWS].map(str::to_owned);
    let servers = Server::ALL.map(|server| server.name().to_owned());
    files.into_iter().chain(servers).collect()
}

/// Removes the files of the stack, `stack.json` last, and the folder if it contains no other files.
pub(crate) fn remove_own(dir: &Path) -> Result<(), StackError> {
    let mut entries = own_entries();
    entries.sort_by_key(|name| name == FILE);
    for path in entries.iter().map(|name| dir.join(name)) {
        if path.ends_with(LOGS) {
            remove_logs(&path)?;
            continue;
        }
        let removed = if path.is_dir() && !path.is_symlink() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(StackError::io("remove", &path)(error)),
            _ => {}
        }
    }
    match fs::remove_dir(dir) {
        Err(error) if error.kind() != ErrorKind::DirectoryNotEmpty => Err(StackError::io("remove", dir)(error)),
        _ => Ok(()),
    }
}

/// Removes the log files of the stack, and their folder if it contains no other files.
fn remove_logs(folder: &Path) -> Result<(), StackError> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    let is_log = |name: &str| {
        let stem = name.trim_end_matches(|c: char| c == '.' || c.is_ascii_digit());
        stem.strip_suffix(".log")
            .is_some_and(|process| process.parse::<Name>().is_ok())
    };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(is_log) {
            fs::remove_file(entry.path()).map_err(StackError::io("remove", &entry.path()))?;
        }
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != ErrorKind::DirectoryNotEmpty => Err(StackError::io("remove", folder)(error)),
        _ => Ok(()),
    }
}

/// Rejects a folder with files of other origin, because removing a stack removes its folder.
pub(crate) fn refuse_foreign(dir: &Path) -> Result<(), StackError> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Ok(());
    };
    if is_stack(dir) {
        return Ok(());
    }
    match entries.flatten().find(|entry| entry.file_name() != LOCK) {
        Some(entry) => Err(StackError::Refused(format!(
            "{} contains other files ({}) and no stack: use --dir with an empty or new folder",
            dir.display(),
            entry.file_name().to_string_lossy()
        ))),
        None => Ok(()),
    }
}

pub(crate) fn file(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

pub(crate) fn pids_file(dir: &Path) -> PathBuf {
    dir.join(PIDS)
}

fn replace(path: &Path, text: &str) -> Result<(), StackError> {
    let part = path.with_extension("part");
    fs::write(&part, text).map_err(StackError::io("write", &part))?;
    fs::rename(&part, path).map_err(StackError::io("replace", path))
}

fn boot_id() -> String {
    procfs::sys::kernel::random::boot_id().unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::name::{Server, Service};

    fn state_with(running: Running) -> State {
        let mut state = State::new(
            Ports::with_offset(0).unwrap(),
            PathBuf::from("/bin"),
            PathBuf::from("/cache"),
        );
        for name in [Name::replica(Service::Normalization, 2), Name::from(Server::Kafka)] {
            state.record(Entry {
                name,
                port: 1,
                running: Some(running),
                log_offset: 0,
            });
        }
        state
    }

    #[test]
    fn saved_state_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        assert!(State::load(dir.path()).unwrap().is_none());
        let running = Running { pid: 1, start_ticks: 2 };
        state_with(running).save(dir.path()).unwrap();
        let loaded = State::load(dir.path()).unwrap().unwrap();
        let names: Vec<String> = loaded.processes.iter().map(|entry| entry.name.to_string()).collect();
        assert_eq!(names, ["kafka", "normalization-2"]);
        assert_eq!(loaded.entry(Server::Kafka.into()).unwrap().running, Some(running));
        assert_eq!(fs::read_to_string(pids_file(dir.path())).unwrap(), "1\n1\n");
    }

    #[test]
    fn pids_of_an_earlier_boot_are_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = state_with(Running { pid: 1, start_ticks: 2 });
        state.boot_id = "another".to_owned();
        state.save(dir.path()).unwrap();
        let loaded = State::load(dir.path()).unwrap().unwrap();
        assert!(loaded.processes.iter().all(|entry| entry.running.is_none()));
    }

    #[test]
    fn a_damaged_file_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(
            State::load(dir.path())
                .unwrap_err()
                .to_string()
                .contains("stack.json cannot be read")
        );
    }

    #[test]
    fn foreign_files_in_the_folder_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let stack = dir.path().join("stack");
        fs::create_dir_all(stack.join("kafka/data")).unwrap();
        fs::create_dir_all(stack.join("logs")).unwrap();
        for file in [
            "thesis.txt",
            "logs/kafka.log",
            "logs/kafka.log.1",
            "logs/normalization-2.log",
            "logs/book.log",
        ] {
            fs::write(stack.join(file), "years of work").unwrap();
        }
        state_with(Running { pid: 1, start_ticks: 2 }).save(&stack).unwrap();
        remove_own(&stack).unwrap();
        let left: Vec<_> = fs::read_dir(&stack)
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert_eq!(
            BTreeSet::from_iter(left),
            BTreeSet::from(["logs".into(), "thesis.txt".into()])
        );
        assert!(stack.join("logs/book.log").exists() && !stack.join("logs/kafka.log.1").exists());
        fs::remove_dir_all(stack.join("logs")).unwrap();
        assert!(refuse_foreign(&stack).unwrap_err().to_string().contains("thesis.txt"));
        fs::remove_file(stack.join("thesis.txt")).unwrap();
        refuse_foreign(&stack).unwrap();
        remove_own(&stack).unwrap();
        assert!(!stack.exists());
    }
}
