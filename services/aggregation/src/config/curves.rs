//! `AGGREGATION_CURVES_*`: how snapshots of curves are made, and how long their quotes are kept.

use curves::snapshots::Limits;
use domain::Micros;
use service::Reader;

const DAY_S: u64 = 86_400;

/// Reads the settings. The largest values still fit the retention of the topic of legs, two weeks.
pub(super) fn read(reader: &mut Reader<'_>) -> Limits {
    let interval = reader.number(
        "AGGREGATION_CURVES_INTERVAL_S",
        60,
        1..=3_600,
        "interval of the log's clock, in seconds, in which a curve has at most one snapshot of each horizon",
    );
    let hold = reader.number(
        "AGGREGATION_CURVES_HOLD_S",
        DAY_S,
        60..=4 * DAY_S,
        "how far back a quote that comes late revises snapshots, in seconds of the log's clock",
    );
    let max_age = reader.number(
        "AGGREGATION_CURVES_MAX_AGE_S",
        7 * DAY_S,
        60..=8 * DAY_S,
        "how long a quote counts in snapshots if no newer one of its instrument comes, in seconds of the log's clock",
    );
    let quotes = reader.number(
        "AGGREGATION_CURVES_QUOTES",
        200_000,
        100..=100_000_000,
        "most quotes in memory for each curve and tenant",
    );
    Limits::new(
        (micros(interval), micros(hold), micros(max_age)),
        usize::try_from(quotes).unwrap_or(usize::MAX),
    )
}

fn micros(seconds: u64) -> Micros {
    i64::try_from(seconds)
        .unwrap_or(i64::MAX / 1_000_000)
        .saturating_mul(1_000_000)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use curves::snapshots::read_back;
    use service::Env;

    #[test]
    fn the_defaults_are_those_of_the_documents_and_the_largest_values_fit_the_retention() {
        let limits = read(&mut Reader::new(&Env::new()));
        assert_eq!((limits.interval, limits.hold), (60_000_000, 86_400_000_000));
        assert_eq!((limits.max_age, limits.quotes), (7 * 86_400_000_000, 200_000));
        let largest = [("INTERVAL_S", 3_600), ("HOLD_S", 4 * DAY_S), ("MAX_AGE_S", 8 * DAY_S)];
        let env: Env = largest
            .iter()
            .map(|(name, value)| (format!("AGGREGATION_CURVES_{name}"), value.to_string()))
            .collect();
        let mut reader = Reader::new(&env);
        let limits = read(&mut reader);
        assert!(reader.finish().is_ok());
        assert!(read_back(&limits) < 14 * 86_400_000_000);
    }

    #[test]
    fn a_quote_that_counts_longer_than_it_can_be_read_again_is_refused() {
        let env = Env::from([("AGGREGATION_CURVES_MAX_AGE_S".to_owned(), (9 * DAY_S).to_string())]);
        let mut reader = Reader::new(&env);
        read(&mut reader);
        assert!(reader.finish().is_err());
    }
}
