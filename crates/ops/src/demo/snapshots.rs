//! When the curves of the demo have snapshots.
//!
//! A snapshot is made when a tick comes after the end of the interval of its quotes (`AGGREGATION_CURVES_INTERVAL_S`), whatever the wall
//! clock says. So the last ticks of the demo have to come after that end.
//! Failure: a setting that aggregation refuses.

use std::time::Duration;

use domain::Micros;
use service::Reader;

use crate::connection::Connection;
use crate::progress::Progress;

/// Ticks that come so long after the end reach every partition.
const BEYOND: Micros = 3_000_000;
const SECOND: Micros = 1_000_000;

/// Waits until a load that begins now, and takes `load_seconds`, lasts longer than the interval of quotes that are in the raw log since
/// `quoted_at`.
///
/// # Errors
/// The settings of aggregation are not valid.
pub async fn until_due(connection: &Connection, quoted_at: Micros, load_seconds: u64) -> anyhow::Result<()> {
    let mut reader = Reader::new(&connection.env);
    let interval = aggregation::config::read(&mut reader).curves.interval;
    reader.finish()?;
    let load = i64::try_from(load_seconds)?.saturating_mul(SECOND);
    let now = jiff::Timestamp::now().as_microsecond();
    let seconds = wait_seconds(interval, quoted_at, now.saturating_add(load));
    let mut progress = Progress::new("waiting for curves", seconds, "s");
    for passed in 0..seconds {
        progress.set(passed, "until the interval of their quotes is over");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    progress.finish();
    Ok(())
}

/// How many seconds later a load has to end that would end at `ends_at`.
fn wait_seconds(interval: Micros, quoted_at: Micros, ends_at: Micros) -> u64 {
    let interval = interval.max(1);
    let due = (quoted_at.div_euclid(interval) + 1).saturating_mul(interval);
    let missing = due.saturating_add(BEYOND).saturating_sub(ends_at);
    u64::try_from(missing.max(0))
        .unwrap_or(0)
        .div_ceil(SECOND.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ticks_come_after_the_interval_of_the_quotes() {
        let minute = 60 * SECOND;
        let start = 1_000 * minute;
        // The load lasts until 27 s; the minute ends at 60.
        assert_eq!(wait_seconds(minute, start, start + 27 * SECOND), 36);
        assert_eq!(wait_seconds(minute, start + 59 * SECOND, start + 62_900_000), 1);
        assert_eq!(wait_seconds(minute, start + 59 * SECOND, start + 63 * SECOND), 0);
        assert_eq!(wait_seconds(minute, start, start + 5 * minute), 0);
        for quoted in (0..60).map(|second| start + second * SECOND) {
            let ends_at = quoted + 20 * SECOND;
            let waited = i64::try_from(wait_seconds(minute, quoted, ends_at)).unwrap_or(i64::MAX);
            assert!(
                ends_at + waited * SECOND >= start + minute + BEYOND && waited <= 43,
                "{waited}"
            );
        }
    }
}
