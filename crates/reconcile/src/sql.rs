//! Expressions of SQL that several queries have. They share no code with the services: `dp verify` compares their results with it.

use domain::Micros;

/// A time as a value of `DateTime64`.
pub(crate) fn moment(time: Micros) -> String {
    format!("fromUnixTimestamp64Micro(toInt64({time}), 'UTC')")
}

/// The vintage of a row as one number, in the same order.
pub(crate) fn vintage_number() -> String {
    let part = |at: u8| format!("toInt64(tupleElement({VINTAGE}, {at}))");
    format!("{} * 10000000 + {} * 1000000 + {}", part(1), part(2), part(3))
}

/// The vintage of an interval price, larger for a more certain one: one that is not superseded before all that are, then by the
/// words of its version, then by its number. The same for all trades.
pub(crate) const VINTAGE: &str = "if(kind = 'trade', (toUInt8(1), toUInt64(0), toUInt32(0)), (\
    NOT match(lower(ifNull(version, '')), '(^|\\\\.)superseded$'), \
    indexOf(['preliminary', 'unverified', 'verified', 'final', 'corrected'], extract(lower(ifNull(version, '')), '^[^.]*')), \
    toUInt32OrZero(extract(lower(ifNull(version, '')), \
    '^(?:(?:preliminary|unverified|verified|final|corrected)\\\\.)?([0-9]{1,6})(?:\\\\.|$)'))))";
