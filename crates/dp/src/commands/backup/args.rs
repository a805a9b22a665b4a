//! What the commands of `dp backup` share: the folder, the stores, and the text of findings.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use ops::backup::Store;
use ops::backup::examine::Finding;
use ops::connection::{process_env, uses_stack};
use ops::place::Place;

#[derive(Debug, clap::Args)]
pub(super) struct Folder {
    /// Folder of the backups [default: next to the local stack, its name with `-backups`]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl Folder {
    /// The folder; without the option that of the local stack in use.
    ///
    /// # Errors
    /// There is neither.
    pub(super) fn path(&self, at: &Place) -> anyhow::Result<PathBuf> {
        if let Some(folder) = &self.folder {
            return Ok(folder.clone());
        }
        anyhow::ensure!(
            uses_stack(at, &process_env()),
            "name the folder of the backups with --folder: there is no local stack"
        );
        let stack = at.folder();
        let name = stack.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(stack.with_file_name(format!("{}-backups", name.unwrap_or_default())))
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct StoreArgs {
    /// Only this store; may be repeated [default: all]
    #[arg(long, value_name = "STORE", value_parser = PossibleValuesParser::new(Store::ALL.map(Store::name)))]
    store: Vec<String>,
}

impl StoreArgs {
    /// The named stores; none if none is named.
    pub(super) fn stores(&self) -> Vec<Store> {
        Store::ALL
            .into_iter()
            .filter(|store| self.store.iter().any(|name| name == store.name()))
            .collect()
    }
}

/// One line for each problem.
pub(super) fn findings_text(findings: &[Finding]) -> String {
    let lines = findings
        .iter()
        .map(|finding| format!("{}: {}", finding.what, finding.why));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn backups_lie_next_to_their_stack_or_in_the_named_folder() {
        let at = |folder: Option<&str>, dir: &str| {
            let place = Place {
                port_offset: 0,
                dir: Some(dir.into()),
            };
            let folder = Folder {
                folder: folder.map(PathBuf::from),
            };
            folder.path(&place).unwrap()
        };
        assert_eq!(at(None, "/var/tmp/mine"), PathBuf::from("/var/tmp/mine-backups"));
        assert_eq!(at(Some("/mnt/b"), "/var/tmp/mine"), PathBuf::from("/mnt/b"));
    }
}
