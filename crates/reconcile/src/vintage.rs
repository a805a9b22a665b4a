//! The vintage of a row in SQL. It shares no code with the services: `dp verify` compares their results with it.

/// The vintage of an interval price, larger for a more certain one: by the words of its version, then by its number, then a
/// current row before a superseded one. The same for all trades.
pub(crate) const VINTAGE: &str = "if(kind = 'trade', (toUInt64(0), toUInt32(0), toUInt8(1)), (\
    indexOf(['preliminary', 'unverified', 'verified', 'final', 'corrected'], extract(lower(ifNull(version, '')), '^[^.]*')), \
    toUInt32OrZero(extract(lower(ifNull(version, '')), \
    '^(?:(?:preliminary|unverified|verified|final|corrected)\\\\.)?([0-9]{1,6})(?:\\\\.|$)')), \
    NOT match(lower(ifNull(version, '')), '(^|\\\\.)superseded$')))";
