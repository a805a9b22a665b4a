//! Downloads, stored by version and checksum outside of the clone, so that a second clone does not download them again.
//!
//! Invariants: an entry is complete or does not exist (created under a temporary name, then renamed). Two processes that need
//! the same entry create it once (file lock). The folder name of an entry contains its checksum, so different content is a
//! different entry.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use crate::error::StackError;

/// The folder of all entries.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `$DATA_PROC_CACHE`, else `$XDG_CACHE_HOME/254carbon`, else `~/.cache/254carbon`.
    pub(crate) fn default_root() -> PathBuf {
        let variable = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        variable("DATA_PROC_CACHE").unwrap_or_else(|| {
            variable("XDG_CACHE_HOME")
                .or_else(|| variable("HOME").map(|home| home.join(".cache")))
                .unwrap_or_else(std::env::temp_dir)
                .join("254carbon")
        })
    }

    pub(crate) fn at(root: PathBuf) -> Cache {
        Cache { root }
    }

    /// The folder of an entry, created by `make` if it does not exist.
    ///
    /// `make` fills and verifies the given folder; the space of `needed_mb` is checked first.
    pub(crate) fn entry(
        &self,
        name: &str,
        needed_mb: u64,
        make: impl FnOnce(&Path) -> Result<(), StackError>,
    ) -> Result<PathBuf, StackError> {
        let folder = self.root.join(name);
        if folder.is_dir() {
            return Ok(folder);
        }
        fs::create_dir_all(&self.root).map_err(StackError::io("create", &self.root))?;
        let lock_path = self.root.join(format!("{name}.lock"));
        let lock = File::options()
            .create(true)
            .append(true)
            .open(&lock_path)
            .map_err(StackError::io("open", &lock_path))?;
        lock.lock().map_err(StackError::io("lock", &lock_path))?;
        // Another process may have created it while this one waited for the lock.
        if folder.is_dir() {
            return Ok(folder);
        }
        require_space(&self.root, needed_mb, "DATA_PROC_CACHE")?;
        let unfinished = tempfile::Builder::new()
            .prefix(&format!("{name}.part-"))
            .tempdir_in(&self.root)
            .map_err(StackError::io("create a folder in", &self.root))?;
        let content = unfinished.path().join("content");
        fs::create_dir(&content).map_err(StackError::io("create", &content))?;
        make(&content)?;
        fs::rename(&content, &folder).map_err(StackError::io("rename into", &folder))?;
        Ok(folder)
    }
}

/// Fails if the file system of `path` has less free space than this.
pub(crate) fn require_space(path: &Path, needed_mb: u64, option: &'static str) -> Result<(), StackError> {
    // If the file system does not report its free space, it counts as sufficient: a write would fail.
    let Ok(stat) = statvfs(path) else { return Ok(()) };
    let free_mb = (stat.blocks_available() * stat.fragment_size()) >> 20;
    if free_mb >= needed_mb {
        return Ok(());
    }
    Err(StackError::DiskFull {
        path: path.to_owned(),
        detail: format!("{free_mb} MB are free, {needed_mb} MB are needed"),
        option,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn an_entry_is_created_once_by_concurrent_callers() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path().join("cache"));
        let made = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let make = |folder: &Path| {
                        made.fetch_add(1, Ordering::Relaxed);
                        fs::write(folder.join("file"), "content").map_err(StackError::io("write", folder))
                    };
                    let folder = cache.entry("thing-1", 0, make).unwrap();
                    assert_eq!(fs::read_to_string(folder.join("file")).unwrap(), "content");
                });
            }
        });
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_failed_entry_leaves_no_files() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path().to_owned());
        let failing = |folder: &Path| {
            fs::write(folder.join("half"), "x").unwrap();
            Err(StackError::Interrupted)
        };
        assert!(cache.entry("thing-1", 0, failing).is_err());
        let left: Vec<_> = fs::read_dir(root.path())
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert_eq!(left, ["thing-1.lock"]);
    }

    #[test]
    fn too_little_space_is_reported_before_any_file_is_created() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path().to_owned());
        let error = cache
            .entry("thing-1", u64::MAX >> 20, |_| panic!("must not be called"))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("no space left at ") && error.contains("MB are needed"),
            "{error}"
        );
    }
}
