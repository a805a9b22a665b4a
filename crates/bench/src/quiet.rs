//! Waits until ClickHouse has merged what earlier loads have left, so that the next measurement does not count that work.
//!
//! Failure: merges that go on for [`AT_MOST`] do not hold up the run; a note of the measurement says so.

use std::time::{Duration, Instant};

use super::rows::number;
use super::stage::{Scene, check_interrupted, say};

/// Longest wait.
const AT_MOST: Duration = Duration::from_secs(120);
/// Without a merge for this long: the next one of a table may begin a moment after the last one has ended.
const QUIET: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(500);
/// Tables of the server itself are merged as long as it runs.
const MERGES: &str = "SELECT count() AS value FROM system.merges WHERE database != 'system'";

/// Waits; what the measurement has to say of it is added to the notes.
pub async fn until_merged(scene: &Scene, notes: &mut Vec<String>) -> anyhow::Result<()> {
    let limit = AT_MOST.as_secs();
    say(&format!(
        "waiting until ClickHouse has merged the rows of earlier loads, {limit} s at most"
    ));
    let (began, mut merging) = (Instant::now(), Instant::now());
    loop {
        check_interrupted(&scene.stack)?;
        if number(&scene.stores, MERGES).await? > 0 {
            merging = Instant::now();
        }
        match waited(merging.elapsed(), began.elapsed()) {
            Wait::Goes => tokio::time::sleep(LOOK).await,
            Wait::Merged => {
                say(&format!("ClickHouse has been quiet for {} s", QUIET.as_secs()));
                return Ok(());
            }
            Wait::GivenUp => {
                let note = format!(
                    "ClickHouse was still merging rows of earlier loads after {limit} s: its share is too high"
                );
                say(&note);
                notes.push(note);
                return Ok(());
            }
        }
    }
}

/// How a wait stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Goes,
    Merged,
    GivenUp,
}

fn waited(quiet_for: Duration, all: Duration) -> Wait {
    if quiet_for >= QUIET {
        Wait::Merged
    } else if all >= AT_MOST {
        Wait::GivenUp
    } else {
        Wait::Goes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_quiet_stores_or_with_its_time() {
        let second = Duration::from_secs(1);
        assert_eq!(waited(Duration::ZERO, AT_MOST - second), Wait::Goes);
        assert_eq!(waited(QUIET - second, AT_MOST - second), Wait::Goes);
        assert_eq!(waited(QUIET, QUIET), Wait::Merged);
        assert_eq!(waited(QUIET, AT_MOST + second), Wait::Merged, "quiet at last");
        assert_eq!(waited(Duration::ZERO, AT_MOST), Wait::GivenUp);
    }
}
