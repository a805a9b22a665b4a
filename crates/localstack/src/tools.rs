//! System programs that the stack calls: their paths, and how to install missing ones.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::StackError;
use crate::process;

/// A program, and the command that installs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tool {
    pub(crate) program: &'static str,
    pub(crate) remedy: &'static str,
}

pub(crate) const JAVA: Tool = Tool {
    program: "java",
    remedy: "apt-get install openjdk-17-jre-headless",
};
pub(crate) const MAVEN: Tool = Tool {
    program: "mvn",
    remedy: "apt-get install maven",
};
pub(crate) const NPM: Tool = Tool {
    program: "npm",
    remedy: "apt-get install npm",
};
pub(crate) const INITDB: Tool = Tool {
    program: "initdb",
    remedy: "apt-get install postgresql",
};
pub(crate) const POSTGRES: Tool = Tool {
    program: "postgres",
    remedy: "apt-get install postgresql",
};
pub(crate) const PG_ISREADY: Tool = Tool {
    program: "pg_isready",
    remedy: "apt-get install postgresql",
};
pub(crate) const REDIS: Tool = Tool {
    program: "redis-server",
    remedy: "apt-get install redis-server",
};
pub(crate) const SETSID: Tool = Tool {
    program: "setsid",
    remedy: "apt-get install util-linux",
};
pub(crate) const SETPRIV: Tool = Tool {
    program: "setpriv",
    remedy: "apt-get install util-linux",
};

/// Folders in which programs are searched.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    folders: Vec<PathBuf>,
}

impl Tools {
    /// Searches these folders (in the form of `PATH`), then Debian's folders of PostgreSQL programs, newest version first.
    pub(crate) fn new(path: &OsString, debian: bool) -> Tools {
        let mut folders: Vec<PathBuf> = std::env::split_paths(path).collect();
        if debian {
            folders.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
            folders.extend(postgres_folders(Path::new("/usr/lib/postgresql")));
        }
        Tools { folders }
    }

    /// The full path of a program.
    pub(crate) fn find(&self, tool: Tool) -> Result<PathBuf, StackError> {
        self.lookup(tool)
            .ok_or_else(|| StackError::MissingTools(vec![describe(tool)]))
    }

    /// Fails with one error that lists every missing program.
    pub(crate) fn require(&self, tools: &[Tool]) -> Result<(), StackError> {
        let missing: Vec<String> = tools
            .iter()
            .filter(|tool| self.lookup(**tool).is_none())
            .map(|tool| describe(*tool))
            .collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(StackError::MissingTools(missing))
        }
    }

    fn lookup(&self, tool: Tool) -> Option<PathBuf> {
        self.folders
            .iter()
            .map(|folder| folder.join(tool.program))
            .find(|path| is_program(path))
    }
}

/// Fails if Java is older than 17.
pub(crate) fn require_java(java: &Path) -> Result<(), StackError> {
    let output = process::run_to_end(Command::new(java).arg("-version"))?;
    match java_major(&output) {
        Some(major) if major >= 17 => Ok(()),
        major => Err(StackError::WrongVersion {
            tool: "java",
            found: major.map_or_else(|| "unknown".to_owned(), |major| major.to_string()),
            needed: "17 or newer",
            remedy: "apt-get install openjdk-17-jre-headless, and put it first in PATH",
        }),
    }
}

/// `17` of `openjdk version "17.0.15"`, `8` of `java version "1.8.0_402"`.
fn java_major(output: &str) -> Option<u32> {
    let version = output.split('"').nth(1)?;
    let mut parts = version.split(['.', '-', '_', '+']);
    let major: u32 = parts.next()?.parse().ok()?;
    if major == 1 {
        parts.next()?.parse().ok()
    } else {
        Some(major)
    }
}

fn describe(tool: Tool) -> String {
    format!("{} ({})", tool.program, tool.remedy)
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn postgres_folders(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root) else {
        return Vec::new();
    };
    let mut versions: Vec<u32> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    versions
        .into_iter()
        .map(|version| root.join(version.to_string()).join("bin"))
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn all_missing_programs_are_named_with_their_remedies_in_one_line() {
        let empty = tempfile::tempdir().unwrap();
        let tools = Tools::new(&empty.path().as_os_str().to_owned(), false);
        let error = tools.require(&[JAVA, REDIS]).unwrap_err().to_string();
        assert_eq!(
            error,
            "missing: java (apt-get install openjdk-17-jre-headless), redis-server (apt-get install redis-server)"
        );
    }

    #[test]
    fn the_newest_postgres_comes_first() {
        let root = tempfile::tempdir().unwrap();
        for version in ["9", "15", "17", "notes"] {
            fs::create_dir(root.path().join(version)).unwrap();
        }
        let folders = postgres_folders(root.path());
        assert_eq!(
            folders,
            ["17/bin", "15/bin", "9/bin"].map(|folder| root.path().join(folder))
        );
    }

    #[test]
    fn old_and_new_forms_of_java_versions_are_parsed() {
        for (text, major) in [
            ("openjdk version \"17.0.15\" 2025-04-15", Some(17)),
            ("java version \"1.8.0_402\"", Some(8)),
            ("openjdk version \"25-ea\"", Some(25)),
            ("sh: java: not found", None),
        ] {
            assert_eq!(java_major(text), major, "{text}");
        }
    }
}
