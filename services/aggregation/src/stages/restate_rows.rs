//! Runs a statement for a batch of windows, sends their bars, and logs the windows that get none.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use domain::{AskedWindow, Bar, BarVersion, Classified, Micros, TimeWeighted};
use stores::{BarKey, History, Oldest, RestatedRow, StoreError, StoredBar};
use stream::Partition;
use stream::status::wall_clock;

use super::outbox::Outbox;
use crate::core::restate_outcome::{Fate, Kept, ask_again, fate, kept};
use crate::core::window_state::Shown;
use crate::metrics::Restated;

/// Longest error in logs and health, in characters.
const ERROR_LENGTH: usize = 600;

/// The answer to a statement.
pub enum Found {
    /// The table does not contain all rows yet.
    Behind,
    /// One row per bar.
    Rows {
        /// Unordered.
        rows: Vec<RestatedRow>,
        /// The partition's oldest row, read after the statement.
        oldest: Option<Oldest>,
        /// Result of the check against stored bars, for windows with expired rows; by window number.
        kept: BTreeMap<usize, Kept>,
        /// Duration of the statement.
        took: Duration,
    },
    /// The statement failed.
    Failed(StoreError),
}

/// Queries the bars of these windows.
pub async fn find(history: &History, partition: i32, asked: &[AskedWindow]) -> Found {
    match try_find(history, partition, asked).await {
        Ok(found) => found,
        Err(error) => Found::Failed(error),
    }
}

async fn try_find(history: &History, partition: i32, asked: &[AskedWindow]) -> Result<Found, StoreError> {
    let upto = asked.iter().map(|asked| asked.version.last_offset).max().unwrap_or(0);
    let mut is_second = false;
    loop {
        if !history.has_reached(partition, upto).await? {
            return Ok(Found::Behind);
        }
        let began = Instant::now();
        let rows = match history.oldest(partition).await? {
            Some(oldest) => history.restate(partition, asked, &oldest, wall_clock()).await?,
            None => Vec::new(),
        };
        let took = began.elapsed();
        // Read again after the statement: rows newer than this were in the table while it ran.
        let oldest = history.oldest(partition).await?;
        if !ask_again(fates(asked, &rows, oldest.as_ref()), oldest.as_ref(), is_second) {
            let kept = ask_kept(history, partition, (asked, &rows), oldest.as_ref()).await?;
            return Ok(Found::Rows {
                rows,
                oldest,
                kept,
                took,
            });
        }
        is_second = true;
        history.forget(partition);
    }
}

fn fates(asked: &[AskedWindow], rows: &[RestatedRow], oldest: Option<&Oldest>) -> Vec<Fate> {
    let of_windows = asked.iter().zip(of_windows(asked, rows));
    of_windows
        .map(|(asked, row)| fate(asked, row.map(|row| row.last_offset), oldest, None))
        .collect()
}

/// The row of each window.
fn of_windows<'r>(asked: &[AskedWindow], rows: &'r [RestatedRow]) -> Vec<Option<&'r RestatedRow>> {
    let mut of_windows = vec![None; asked.len()];
    for row in rows {
        if let Some(place) = of_windows.get_mut(row.number) {
            *place = Some(row);
        }
    }
    of_windows
}

/// Windows with expired rows, of which a stored bar may still have every row that counts: their places in `asked`, and whether the bar
/// keeps its cause.
fn suspects(
    history: &History,
    asked: &[AskedWindow],
    rows: &[RestatedRow],
    oldest: &Oldest,
) -> Vec<(usize, AskedWindow, bool)> {
    let with_rows = asked.iter().zip(of_windows(asked, rows)).enumerate();
    with_rows
        .filter(|(_, (asked, row))| {
            let last_offset = row.map(|row| row.last_offset);
            fate(asked, last_offset, Some(oldest), None) == Fate::Expired
                && fate(asked, last_offset, Some(oldest), Some(Kept::Whole)) == Fate::Bar
                && history.is_before(asked.window, oldest)
        })
        .map(|(number, (asked, row))| {
            let keeps_the_cause = row.is_some_and(RestatedRow::ends_without_effect);
            (number, asked.clone(), keeps_the_cause)
        })
        .collect()
}

/// For windows with expired rows: recomputes the stored bars, to see whether a row that counts is missing.
async fn ask_kept(
    history: &History,
    partition: i32,
    (asked, rows): (&[AskedWindow], &[RestatedRow]),
    oldest: Option<&Oldest>,
) -> Result<BTreeMap<usize, Kept>, StoreError> {
    let Some(oldest) = oldest else {
        return Ok(BTreeMap::new());
    };
    let suspects = suspects(history, asked, rows, oldest);
    let windows: Vec<AskedWindow> = suspects.iter().map(|(_, asked, _)| asked.clone()).collect();
    let stored = history.stored(&windows).await?;
    let Some(stored) = stored.iter().map(StoredBar::bar).collect::<Option<Vec<_>>>() else {
        return Ok(BTreeMap::new());
    };
    let stored: BTreeMap<BarKey<'_>, Bar<'_>> = stored.into_iter().map(|bar| (key(&bar), bar)).collect();
    let as_stored = windows.iter().filter_map(|asked| {
        let version = stored
            .get(&(&*asked.tenant_id, &*asked.instrument_id, asked.window))?
            .version;
        Some(AskedWindow {
            version,
            ..asked.clone()
        })
    });
    let as_stored: Vec<AskedWindow> = as_stored.collect();
    let again = if as_stored.is_empty() {
        Vec::new()
    } else {
        history.restate(partition, &as_stored, oldest, wall_clock()).await?
    };
    let again: BTreeMap<BarKey<'_>, Bar<'_>> = again
        .iter()
        .filter_map(|row| row.bar(as_stored.get(row.number)?, wall_clock()))
        .map(|bar| (key(&bar), bar))
        .collect();
    Ok(suspects
        .iter()
        .filter_map(|(number, asked, keeps_the_cause)| {
            let key = (&*asked.tenant_id, &*asked.instrument_id, asked.window);
            let stored = stored.get(&key).copied();
            let again = stored.and_then(|stored| {
                let is_caused_before = *keeps_the_cause || stored.version.last_offset == asked.version.last_offset;
                Some(like_stored(*again.get(&key)?, &stored, is_caused_before))
            });
            Some((
                *number,
                kept(asked.version, stored.map(|bar| (bar.version, bar)), again)?,
            ))
        })
        .collect())
}

fn key<'a>(bar: &Bar<'a>) -> BarKey<'a> {
    (bar.tenant_id, bar.instrument_id, bar.window)
}

/// The bar of the remaining rows, reduced to what the stored one has: the table has no sequences, and an earlier release wrote no sums by
/// time. `closed` is not compared, and the cause only if the asked version has it, too, since no tick is added to the stored one or only one
/// without effect: it may follow from a row that has expired and counts no more.
fn like_stored<'a>(bar: Bar<'a>, stored: &Bar<'_>, is_caused_before: bool) -> Bar<'a> {
    Bar {
        open_sequence: None,
        close_sequence: None,
        time_weighted: match stored.time_weighted.seconds {
            0 => TimeWeighted::default(),
            _ => bar.time_weighted,
        },
        cause: match stored.cause {
            Some(_) if is_caused_before => bar.cause,
            of_stored => of_stored,
        },
        version: BarVersion {
            closed: stored.version.closed,
            ..bar.version
        },
        ..bar
    }
}

/// The outcome of the windows of a statement.
#[derive(Default)]
pub struct Sent {
    /// Counts.
    pub restated: Restated,
    /// Numbers of the windows whose late tick has no row.
    pub without_row: Vec<usize>,
}

/// Sends the bars of the rows; windows without a bar are counted and logged.
pub fn send(
    outbox: &mut Outbox<'_, '_>,
    partition: &Partition,
    (asked, rows): (&[AskedWindow], &[RestatedRow]),
    (oldest, kept): (Option<&Oldest>, &BTreeMap<usize, Kept>),
    now: Micros,
) -> Sent {
    let mut sent = Sent::default();
    for (number, (asked, row)) in asked.iter().zip(of_windows(asked, rows)).enumerate() {
        let last_offset = row.map(|row| row.last_offset);
        match fate(asked, last_offset, oldest, kept.get(&number).copied()) {
            Fate::Bar => {}
            Fate::Superseded => continue,
            Fate::Expired => {
                sent.restated.expired += 1;
                log_expired(partition, asked, oldest);
                continue;
            }
            Fate::Missing => {
                sent.restated.missing += 1;
                sent.without_row.push(number);
            }
        }
        // If the late tick's row is missing, the bar of the rows before it is still right, and a record with a smaller offset
        // may need it.
        let Some(row) = row else {
            continue;
        };
        let Some(bar) = row.bar(asked, now) else {
            sent.restated.overflowed += 1;
            log_refused(
                partition,
                asked,
                "sum_overflow",
                "a sum of its ticks does not fit its column",
            );
            continue;
        };
        outbox.show(Shown::Bar(&bar), None);
        if let Some(count) = sent.restated.bars.get_mut(asked.window.interval.index()) {
            *count += 1;
        }
        sent.restated.delays.push(now - row.asked_appended_at);
    }
    sent
}

/// The server's error contains the statement with all its windows.
pub fn shortened(error: &StoreError) -> String {
    error.to_string().chars().take(ERROR_LENGTH).collect()
}

/// The error with its code and remedy, whatever is cut off.
pub fn in_health(error: &StoreError) -> String {
    let (code, reason) = (error.code(), shortened(error));
    let remedy = error.remedy().filter(|remedy| !reason.ends_with(remedy));
    let remedy = remedy.map(|remedy| format!("…; {remedy}")).unwrap_or_default();
    format!("bars of late ticks refused: {code}: {reason}{remedy}")
}

/// Logs a window whose rows may have expired.
pub fn log_expired(partition: &Partition, asked: &AskedWindow, oldest: Option<&Oldest>) {
    tracing::error!(
        event = "restate_expired",
        partition = %partition,
        tenant_id = %asked.tenant_id,
        instrument_id = %asked.instrument_id,
        interval = asked.window.interval.name(),
        window_start_us = asked.window.start,
        enriched_offset = asked.version.last_offset,
        oldest_offset = oldest.map(|oldest| oldest.offset),
        "rows of this window have expired, so its bar is unchanged and does not count the late tick; to count it, build a new generation from the raw log or its archive"
    );
}

/// Logs a window that is not restated for another reason.
pub fn log_refused(partition: &Partition, asked: &AskedWindow, code: &str, reason: &str) {
    tracing::error!(
        event = "restate_refused",
        partition = %partition,
        tenant_id = %asked.tenant_id,
        instrument_id = %asked.instrument_id,
        interval = asked.window.interval.name(),
        window_start_us = asked.window.start,
        enriched_offset = asked.version.last_offset,
        code,
        reason,
        "the bar of this window is not restated and is unchanged; `dp verify` compares it with its ticks"
    );
}

#[cfg(test)]
mod tests {
    use domain::{BarCause, BarVersion, Interval, Turnover};

    use super::*;

    fn bar(cause: Option<BarCause>, seconds: i64) -> Bar<'static> {
        let tick = domain::fixtures::tick();
        Bar {
            tenant_id: tick.tenant_id,
            instrument_id: tick.instrument_id,
            market: tick.market,
            window: Interval::OneHour.window_of(0),
            open: tick.price,
            high: tick.price,
            low: tick.price,
            close: tick.price,
            volume: 0,
            turnover: Turnover(0),
            vwap: None,
            time_weighted: TimeWeighted {
                price_seconds: 0,
                seconds,
            },
            trade_count: 1,
            open_time: 0,
            open_sequence: None,
            first_origin: tick.origin,
            close_time: 0,
            close_sequence: None,
            last_origin: tick.origin,
            revision: 1,
            cause,
            version: BarVersion {
                last_offset: 1,
                closed: true,
            },
            last_appended_at: 0,
        }
    }

    /// The first price of an interval has expired: its successor was a vintage, and is the first one among the rows that are left.
    #[test]
    fn the_cause_of_a_stored_bar_counts_if_the_new_version_has_it_too() {
        let (stored, again) = (bar(Some(BarCause::Vintage), 300), bar(Some(BarCause::Late), 300));
        assert_eq!(like_stored(again, &stored, false), stored);
        assert_ne!(like_stored(again, &stored, true), stored);
        assert_eq!(like_stored(stored, &stored, true), stored);
        // A release without causes and averages wrote it.
        let stored = bar(None, 0);
        assert_eq!(like_stored(again, &stored, true), stored);
    }
}
