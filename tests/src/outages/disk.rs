//! A disk that can be filled: a small file system of its own, mounted over a folder and gone with the value.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context as _, bail};

/// A small file system of its own, in memory.
pub struct SmallDisk {
    folder: PathBuf,
    /// A shell that unmounts when this program has ended, however it did.
    _watch: (ChildStdin, Child),
}

/// Lazily: a process that still has a file open there keeps it until it ends.
const UNMOUNT: &str = "cat >/dev/null; umount --lazy \"$1\" && rmdir \"$1\"";

impl SmallDisk {
    /// Mounts it there. Only root may, and not in every container: who may not gets `None` and a line that says so.
    ///
    /// # Errors
    /// Where it fails for another reason.
    pub fn mount(folder: &Path, megabytes: u32) -> anyhow::Result<Option<SmallDisk>> {
        let user = Command::new("id").arg("-u").output().context("run id")?;
        if String::from_utf8_lossy(&user.stdout).trim() != "0" {
            eprintln!("SKIPPED: a full disk needs a small file system, and only root may mount one");
            return Ok(None);
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
                eprintln!(
                    "SKIPPED: a full disk needs a small file system, and root may not mount one here: {}",
                    why.trim()
                );
                return Ok(None);
            }
            bail!("mount a small disk on {}: {}", folder.display(), why.trim());
        }
        Ok(Some(SmallDisk {
            folder: folder.to_owned(),
            _watch: watch,
        }))
    }

    /// Takes all the room that is left; again and again, so that files removed meanwhile give no room.
    ///
    /// # Errors
    /// Where the file that takes it cannot be made.
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

    /// Gives the room back.
    ///
    /// # Errors
    /// Where the file that took it cannot be removed.
    pub fn empty(&self) -> anyhow::Result<()> {
        std::fs::remove_file(self.folder.join("filler")).context("remove the filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.folder).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} could not be unmounted", self.folder.display());
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
    let input = child.stdin.take().context("it has no input")?;
    Ok((input, child))
}
