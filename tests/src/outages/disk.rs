//! A disk that can be filled: a small file system, mounted over a folder and unmounted on drop.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context as _, bail};

/// A small file system in memory.
pub struct SmallDisk {
    folder: PathBuf,
    /// A shell that unmounts when this program ends, even if it is killed.
    _watch: (ChildStdin, Child),
}

/// What became of the wish for a small disk.
pub enum Mounted {
    /// It is mounted until this is dropped.
    Here(SmallDisk),
    /// This user or this container may not mount; with the reason and what helps.
    Refused(String),
}

impl Mounted {
    /// The disk, or a message that the test of a full disk is skipped.
    pub fn or_skipped(self) -> Option<SmallDisk> {
        match self {
            Mounted::Here(disk) => Some(disk),
            Mounted::Refused(why) => {
                eprintln!("SKIPPED, the full disk: {why}");
                None
            }
        }
    }
}

/// Lazy, because a process may still have a file open there.
const UNMOUNT: &str = "cat >/dev/null; umount --lazy \"$1\" && rmdir \"$1\"";

impl SmallDisk {
    /// Mounts it on the folder. Only root may mount, and not in every container.
    ///
    /// # Errors
    /// If mounting fails for another reason.
    pub fn mount(folder: &Path, megabytes: u32) -> anyhow::Result<Mounted> {
        let user = Command::new("id").arg("-u").output().context("run id")?;
        if String::from_utf8_lossy(&user.stdout).trim() != "0" {
            return Ok(Mounted::Refused(
                "a small file system must be mounted, which only root may do: run this as root".to_owned(),
            ));
        }
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let size = format!("size={megabytes}m");
        let watch = watch(folder).context("start the shell that unmounts")?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(folder)
            .output()?;
        if !mounted.status.success() {
            let why = String::from_utf8_lossy(&mounted.stderr).into_owned();
            if why.to_lowercase().contains("permi") {
                return Ok(Mounted::Refused(format!(
                    "a small file system must be mounted, which is not permitted here; a container needs CAP_SYS_ADMIN: {}",
                    why.trim()
                )));
            }
            bail!("mount a small disk on {}: {}", folder.display(), why.trim());
        }
        Ok(Mounted::Here(SmallDisk {
            folder: folder.to_owned(),
            _watch: watch,
        }))
    }

    /// Uses up all free space. Call it repeatedly, because removed files free space again.
    ///
    /// # Errors
    /// If the filler file cannot be created.
    pub fn fill(&self) -> anyhow::Result<()> {
        let filler = self.folder.join("filler");
        let mut file = std::fs::File::options()
            .append(true)
            .create(true)
            .open(&filler)
            .context("create the filler")?;
        let zeros = vec![0; 64 << 10];
        for size in [zeros.len(), 4096] {
            while std::io::Write::write_all(&mut file, zeros.get(..size).unwrap_or_default()).is_ok() {}
        }
        Ok(())
    }

    /// Frees the space.
    ///
    /// # Errors
    /// If the filler file cannot be removed.
    pub fn empty(&self) -> anyhow::Result<()> {
        std::fs::remove_file(self.folder.join("filler")).context("remove the filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.folder).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("cannot unmount {}", self.folder.display());
        }
    }
}

fn watch(folder: &Path) -> anyhow::Result<(ChildStdin, Child)> {
    let mut child = Command::new("setsid")
        .args(["sh", "-c", UNMOUNT, "watch"])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let input = child.stdin.take().context("the shell has no standard input")?;
    Ok((input, child))
}
