//! Values that were taken back: a better price has replaced the one that they used, and now a leg has none. Their newest version is null.
//!
//! Role: ticks do not say whether a value was sent before the better price came, so a missing row of such a time may be right. The topic of
//! derived prices says it: a time that has a record there has a row.
//! Failure: a record that cannot be read is a dead letter of its writer.

use std::collections::BTreeSet;

use codec::{Record, Wire};
use domain::Micros;
use ops::present::iso;
use stream::{Brokers, StreamError};

use super::super::ranges::Range;
use super::super::report::WrongRow;
use super::super::versions::Compared;

/// Tenant, series and time, as in [`WrongRow::key`].
pub(super) type Key = Vec<String>;

pub(super) fn key(tenant: &str, series: &str, time: Micros) -> Key {
    [tenant, series, &iso(time)].map(str::to_owned).to_vec()
}

/// Which of these times have a record whose row cannot have expired. Blocks.
///
/// # Errors
/// Kafka does not answer.
pub(super) fn read(
    bootstrap: &Brokers,
    wire: &Wire,
    ranges: &[Range],
    (doubtful, values_since): (&BTreeSet<Key>, Micros),
) -> Result<BTreeSet<Key>, StreamError> {
    let mut sent = BTreeSet::new();
    for range in ranges {
        range.read(bootstrap, range.first, |message| {
            let payload = wire.current(Record::DerivedPrice, message.payload.unwrap_or_default());
            let Ok(price) = wire.decode_derived(&payload) else {
                return;
            };
            let key = key(price.tenant_id, price.series, price.event_time);
            if price.log_clock >= values_since && doubtful.contains(&key) {
                sent.insert(key);
            }
        })?;
    }
    Ok(sent)
}

/// The doubtful rows that were sent: they are missing.
pub(super) fn missing(doubtful: Vec<WrongRow>, sent: &BTreeSet<Key>) -> Compared {
    let wrong: Vec<WrongRow> = doubtful.into_iter().filter(|row| sent.contains(&row.key)).collect();
    Compared {
        expected: wrong.len() as u64,
        wrong,
        ..Compared::default()
    }
}
