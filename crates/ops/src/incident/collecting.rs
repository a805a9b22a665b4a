//! The bundles of `dp incident`: their names, what every bundle of a run shares, and how many of them stay in a folder.
//!
//! Invariant: other files of that folder are not touched.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};
use service::Env;
use service::settings::{Kind, with_file};

use super::mask::Masker;
use super::{Bundle, Request, collect};
use crate::connection::Connection;
use crate::definitions::{DEFAULT_PORTS, checked};
use crate::place::Place;

/// Bundles begin with this.
const PREFIX: &str = "incident-";
const SUFFIX: &str = ".tar.gz";

/// The name of a bundle of this moment.
pub fn name(now: jiff::Timestamp) -> String {
    format!("{PREFIX}{}{SUFFIX}", now.strftime("%Y%m%dT%H%M%SZ"))
}

/// What every bundle of this run shares.
pub struct Collecting<'a> {
    place: &'a Place,
    connection: &'a Connection,
    configuration: Value,
    masker: Masker,
}

impl<'a> Collecting<'a> {
    /// The configuration and its secrets are read now. Must be called inside a runtime.
    pub fn of(place: &'a Place, connection: &'a Connection) -> Collecting<'a> {
        Collecting {
            place,
            connection,
            configuration: configuration(&connection.env),
            masker: masker(&connection.env),
        }
    }

    /// Collects a bundle: logs and slow queries since a time, on account of these alerts.
    ///
    /// # Errors
    /// The file exists already, or cannot be written.
    pub async fn bundle(&self, since: jiff::Timestamp, alerts: &[String], out: PathBuf) -> anyhow::Result<Bundle> {
        let request = Request {
            place: self.place,
            connection: self.connection,
            usual: &DEFAULT_PORTS,
            configuration: self.configuration.clone(),
            masker: &self.masker,
            since,
            alerts,
        };
        collect(&request, &out).await
    }
}

/// Every variable of every service with its value in effect; secrets are masked.
fn configuration(env: &Env) -> Value {
    let services = checked(env, None).into_iter().map(|part| {
        let variables: Vec<Value> = part
            .variables
            .iter()
            .map(|variable| json!({ "name": variable.name, "value": variable.value, "source": variable.source.name() }))
            .collect();
        let shown = json!({ "variables": variables, "problems": part.problems });
        (part.service.to_owned(), shown)
    });
    Value::Object(services.collect())
}

/// Knows every secret of this environment and its configuration file.
fn masker(env: &Env) -> Masker {
    let parts = checked(env, None);
    let is_secret = |name: &str| {
        let mut variables = parts.iter().flat_map(|part| &part.variables);
        variables.any(|variable| variable.name == name && variable.kind == Kind::Secret)
    };
    Masker::of(&with_file(env), is_secret)
}

/// Whether a bundle can be written to this folder.
///
/// # Errors
/// It does not exist, or this user may not write to it.
pub fn probe(dir: &Path) -> anyhow::Result<()> {
    // An empty file: a full disk is no reason not to listen, since old bundles make room.
    let probe = dir.join(format!(".{PREFIX}probe-{}", std::process::id()));
    fs::File::create(&probe)
        .and_then(|_| fs::remove_file(&probe))
        .with_context(|| format!("write to {}", dir.display()))
}

/// Removes the oldest bundles.
pub(super) fn remove_old(dir: &Path, keep: usize) -> anyhow::Result<()> {
    let is_bundle = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(PREFIX) && name.ends_with(SUFFIX)
    };
    let entries = fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?;
    let mut bundles: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_bundle).collect();
    // Their names sort by time.
    bundles.sort();
    for old in bundles.iter().take(bundles.len().saturating_sub(keep)) {
        fs::remove_file(old).with_context(|| format!("remove {}", old.display()))?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_bundles_are_kept_and_other_files_too() {
        let dir = std::env::temp_dir().join(format!("dp-bundles-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        for name in [
            "incident-20261001T000000Z.tar.gz",
            "incident-20261003T000000Z.tar.gz",
            "incident-20261002T000000Z.tar.gz",
            "notes.txt",
        ] {
            fs::write(dir.join(name), "").unwrap();
        }
        remove_old(&dir, 2).unwrap();
        let mut left: Vec<String> = fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        left.sort();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(
            left,
            [
                "incident-20261002T000000Z.tar.gz",
                "incident-20261003T000000Z.tar.gz",
                "notes.txt"
            ]
        );
    }

    #[test]
    fn a_folder_that_takes_no_file_is_found_and_the_probe_leaves_nothing() {
        let dir = std::env::temp_dir().join(format!("dp-probe-{}", std::process::id()));
        let missing = probe(&dir).unwrap_err().to_string();
        assert!(missing.contains(&dir.display().to_string()), "{missing}");
        fs::create_dir_all(&dir).unwrap();
        let writable = probe(&dir);
        let left = fs::read_dir(&dir).unwrap().count();
        fs::remove_dir_all(&dir).unwrap();
        assert!(writable.is_ok(), "{writable:?}");
        assert_eq!(left, 0);
        // Nobody creates files there, not even root.
        assert!(probe(Path::new("/proc")).is_err());
    }

    #[test]
    fn names_sort_by_time() {
        let name = |time: &str| time.parse().map(name).unwrap_or_default();
        let (early, late) = (name("2026-10-01T05:06:07Z"), name("2026-10-01T15:06:07Z"));
        assert_eq!(early, "incident-20261001T050607Z.tar.gz");
        assert!(early < late);
    }

    #[tokio::test]
    async fn the_configuration_has_every_service_and_no_secret() {
        let env = Env::from([
            (
                "DATA_PROC_CLICKHOUSE_PASSWORD".to_owned(),
                "s3cret-clickhouse".to_owned(),
            ),
            (
                "DATA_PROC_REDIS_URL".to_owned(),
                "redis://:s3cret-redis@r:1/0".to_owned(),
            ),
        ]);
        let shown = configuration(&env).to_string();
        assert!(!shown.contains("s3cret"), "{shown}");
        for (service, _) in DEFAULT_PORTS {
            assert!(shown.contains(service), "{shown}");
        }
        assert_eq!(masker(&env).masked("s3cret-clickhouse, s3cret-redis"), "***, ***");
    }
}
