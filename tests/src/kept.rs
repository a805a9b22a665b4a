//! A stack whose data outlives the program, for runs that are interrupted and resumed.
//!
//! Invariant: its processes end with the program, even if it is killed (a shell waits on a pipe from it). The folder is kept
//! until [`Kept::remove`]. The first start copies the programs into the folder, so that a resumed run uses the same ones.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::Context as _;
use localstack::{Ports, Stack, StackConfig};

const PROGRAMS: [&str; 8] = [
    "dp",
    "dp-clickhouse",
    "dp-cores",
    "dp-log",
    "normalization",
    "enrichment",
    "aggregation",
    "projection",
];
const WATCH: &str = "cat >/dev/null; while read -r pid; do kill -9 \"$pid\"; done <\"$1\"";

/// A stack in its own folder, on free ports.
pub struct Kept {
    stack: Stack,
    /// The pipe closes when the program ends.
    _watch: (ChildStdin, Child),
}

impl Kept {
    /// Opens the stack of this folder, or creates it. No process is running afterwards.
    ///
    /// # Errors
    /// If the folder cannot be created, or the programs have not been built.
    pub fn open(folder: &Path) -> anyhow::Result<Kept> {
        let programs = folder.join("bin");
        if let Ok(earlier) = Stack::open(folder) {
            earlier.kill_all()?;
        }
        let mut config = StackConfig::new(folder, Ports::free()?);
        config.detached = false;
        config.bin_dir = programs.clone();
        let stack = Stack::new(config)?;
        if !programs.is_dir() {
            let part = folder.join("bin.part");
            std::fs::create_dir_all(&part).with_context(|| format!("create {}", part.display()))?;
            let own = own_folder()?;
            for program in PROGRAMS {
                let from = own.join(program);
                std::fs::copy(&from, part.join(program)).with_context(|| {
                    format!(
                        "copy {}: build it with `cargo build --release --workspace --bins`",
                        from.display()
                    )
                })?;
            }
            std::fs::rename(&part, &programs).context("keep the programs")?;
        }
        let watch = watch(folder).context("start the shell that ends the stack with this program")?;
        Ok(Kept { stack, _watch: watch })
    }

    /// Ends all processes and removes the folder.
    ///
    /// # Errors
    /// If a process does not end, or the folder cannot be removed.
    pub fn remove(folder: &Path) -> anyhow::Result<()> {
        let stack = Stack::open(folder)?;
        stack.kill_all()?;
        stack.clean()?;
        // The stack does not remove the copied programs.
        std::fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))
    }
}

impl Deref for Kept {
    type Target = Stack;

    fn deref(&self) -> &Stack {
        &self.stack
    }
}

impl DerefMut for Kept {
    fn deref_mut(&mut self) -> &mut Stack {
        &mut self.stack
    }
}

fn own_folder() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("locate this program")?;
    Ok(program.parent().map(Path::to_owned).unwrap_or_default())
}

fn watch(folder: &Path) -> anyhow::Result<(ChildStdin, Child)> {
    let mut child = Command::new("setsid")
        .args(["sh", "-c", WATCH, "watch"])
        .arg(folder.join("pids"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let input = child.stdin.take().context("the shell has no standard input")?;
    Ok((input, child))
}
