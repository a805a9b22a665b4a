//! Makes the engine keep its system logs over a restart.
//!
//! Role: `clickhouse local` holds the database `system` in memory, but the rows of its log tables in files. After a restart it knows
//! none of these tables, finds their folders, and refuses to create them: then it logs no statement any more. With the metadata that a
//! ClickHouse server has, the tables are found again, with their rows.
//! Invariant: runs as the engine's user and within its folder, so that a symbolic link there leads nowhere else.
//! Failure: an I/O error, as a sentence for the log; the engine would start without its logs.

use std::fs;
use std::io;
use std::path::Path;

/// The engine replaces the name by that of the file. Any id is right that no other database of this folder has.
const METADATA: &str = "ATTACH DATABASE _ UUID 'c38f9d3b-5c2e-4b6e-9a3e-25401a17e8ad'\nENGINE = Atomic\n";

/// Declares the database `system` in the engine's folder of data, unless it is declared there already.
///
/// # Errors
/// A file cannot be written or removed.
pub fn declare(data: &Path) -> Result<(), String> {
    let metadata = data.join("metadata");
    let file = metadata.join("system.sql");
    if file.exists() {
        return Ok(());
    }
    let failed = |error: io::Error| format!("cannot prepare the system logs in {}: {error}", data.display());
    // Rows of tables that no metadata describes: nothing can read them, and the engine does not start with them.
    match fs::remove_dir_all(data.join("data").join("system")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    fs::create_dir_all(&metadata).map_err(failed)?;
    // A process that is killed here must not leave half of a statement.
    let part = metadata.join("system.part");
    fs::write(&part, METADATA).map_err(failed)?;
    fs::rename(&part, &file).map_err(failed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn logs_that_the_engine_cannot_find_again_are_removed_once_and_later_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("data/system/query_log");
        let market_data = dir.path().join("data/market_data");
        fs::create_dir_all(&logs).unwrap();
        fs::create_dir_all(&market_data).unwrap();

        declare(dir.path()).unwrap();
        assert!(!logs.exists() && market_data.exists());
        let declared = fs::read_to_string(dir.path().join("metadata/system.sql")).unwrap();
        assert!(declared.starts_with("ATTACH DATABASE") && declared.contains("ENGINE = Atomic"));

        fs::create_dir_all(&logs).unwrap();
        declare(dir.path()).unwrap();
        assert!(logs.exists());
    }
}
