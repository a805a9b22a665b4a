//! The programs under test, and the files of the workspace.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, bail};

/// The output of a program, or its error.
pub(crate) fn told(output: &Output) -> anyhow::Result<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}

/// Builds the programs of all packages, because `cargo test` does not. Does nothing if they are up to date, or if `PROGRAMS_ARE_BUILT`:
/// built without the tests, dependencies have fewer features, and most crates would be compiled once more.
///
/// # Errors
/// If the build fails.
pub fn build_programs() -> anyhow::Result<()> {
    if std::env::var_os("PROGRAMS_ARE_BUILT").is_some() {
        return Ok(());
    }
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["build", "--workspace", "--bins", "--quiet"])
        .current_dir(root());
    // Cargo sets these variables for the test's own package. They would make build scripts of dependencies run again.
    let of_the_test = std::env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    });
    of_the_test.for_each(|name| {
        command.env_remove(name);
    });
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    told(&command.output().context("run cargo build")?)
        .context("build the programs")
        .map(drop)
}

/// The folder of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default()
}

/// A file of the real documents, below `DATA_PROC_SAMPLE_DATA` or else `../shared/data` next to the clone.
pub fn sample(path: &str) -> PathBuf {
    let folder = std::env::var_os("DATA_PROC_SAMPLE_DATA").map_or_else(|| root().join("../shared/data"), PathBuf::from);
    folder.join(path)
}

/// Whether the real documents are there. If not, says that this test was skipped.
pub fn has_samples(test: &str) -> bool {
    let folder = sample("");
    if !folder.is_dir() {
        let why = format!("{} is missing; set DATA_PROC_SAMPLE_DATA", folder.display());
        // Past the capture of the test harness, which would hide it since the test passes. Without a terminal there is nobody to tell.
        _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
    }
    folder.is_dir()
}
