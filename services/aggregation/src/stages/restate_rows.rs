//! Runs a statement for a batch of windows, sends their bars, and logs the windows that get none.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use domain::{AskedWindow, Bar, BarVersion, Classified, Micros, TimeWeighted};
use stores::{BarKey, History, Oldest, RestatedRow, StoreError, StoredBar};
use stream::Partition;
use stream::status::wall_clock;

use super::outbox::Outbox;
use crate::core::found::{Fate, Kept, ask_again, fate, kept};
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
    let with_rows = asked.iter().zip(of_windows(asked, rows)).enumerate();
    let (numbers, suspects): (Vec<usize>, Vec<AskedWindow>) = with_rows
        .filter(|(_, (asked, row))| {
            let last_offset = row.map(|row| row.last_offset);
            fate(asked, last_offset, Some(oldest), None) == Fate::Expired
                && fate(asked, last_offset, Some(oldest), Some(Kept::Whole)) == Fate::Bar
                && history.is_before(asked.window, oldest)
        })
        .map(|(number, (asked, _))| (number, asked.clone()))
        .unzip();
    let stored = history.stored(&suspects).await?;
    let Some(stored) = stored.iter().map(StoredBar::bar).collect::<Option<Vec<_>>>() else {
        return Ok(BTreeMap::new());
    };
    let stored: BTreeMap<BarKey<'_>, Bar<'_>> = stored.into_iter().map(|bar| (key(&bar), bar)).collect();
    let as_stored = suspects.iter().filter_map(|asked| {
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
    let all = numbers.into_iter().zip(&suspects);
    Ok(all
        .filter_map(|(number, asked)| {
            let key = (&*asked.tenant_id, &*asked.instrument_id, asked.window);
            let stored = stored.get(&key).copied();
            let again = stored.and_then(|stored| Some(like_stored(*again.get(&key)?, &stored, asked.version)));
            Some((
                number,
                kept(asked.version, stored.map(|bar| (bar.version, bar)), again)?,
            ))
        })
        .collect())
}

fn key<'a>(bar: &Bar<'a>) -> BarKey<'a> {
    (bar.tenant_id, bar.instrument_id, bar.window)
}

/// The bar of the remaining rows, reduced to what the stored one has: the table has no sequences, and an earlier release wrote no sums by
/// time. `closed` is not compared, and the cause only if no tick is added to it: it may follow from a row that has expired and counts no
/// more.
fn like_stored<'a>(bar: Bar<'a>, stored: &Bar<'_>, asked: BarVersion) -> Bar<'a> {
    Bar {
        open_sequence: None,
        close_sequence: None,
        time_weighted: match stored.time_weighted.seconds {
            0 => TimeWeighted::default(),
            _ => bar.time_weighted,
        },
        cause: match stored.cause {
            Some(_) if stored.version.last_offset == asked.last_offset => bar.cause,
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
