//! Recomputes a bar from its ticks with exact digits. Pure.

use anyhow::{Context as _, bail};
use domain::{Decimal, TimeWeighted, Turnover};
use serde::Serialize;

use super::tick_row::{At, TickRow};

/// The numbers of a bar as ClickHouse prints them (no trailing zeros).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Numbers {
    pub open: String,
    pub high: String,
    pub low: String,
    pub close: String,
    pub volume: String,
    pub turnover: String,
    pub vwap: Option<String>,
    pub twap: Option<String>,
    pub trade_count: i64,
    pub open_time: At,
    pub first_tick: String,
    pub close_time: At,
    pub last_tick: String,
}

/// A number of a bar, stored and recomputed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Compared {
    pub name: &'static str,
    pub stored: String,
    pub recomputed: String,
    pub agrees: bool,
}

/// Computes the bar of these ticks. `None` if there are none.
///
/// # Errors
/// A number of a row is not a decimal, or a sum overflows.
pub fn recompute(ticks: &[&TickRow]) -> anyhow::Result<Option<Numbers>> {
    let by_time = |a: &&TickRow, b: &&TickRow| a.rank().cmp(&b.rank());
    let (Some(first), Some(last)) = (
        ticks.iter().copied().min_by(by_time),
        ticks.iter().copied().max_by(by_time),
    ) else {
        return Ok(None);
    };
    let (mut high, mut low) = (price(first)?, price(first)?);
    let (mut volume, mut turnover, mut weighted) = (0_i128, Turnover::default(), TimeWeighted::default());
    for tick in ticks {
        let price = price(tick)?;
        (high, low) = (high.max(price), low.min(price));
        let traded: Decimal = match &tick.volume {
            Some(digits) => digits.parse().with_context(|| format!("volume of {}", tick.tick_id))?,
            None => Decimal::ZERO,
        };
        volume += i128::from(traded.unscaled());
        let delivered = TimeWeighted::of(price, tick.priced_seconds());
        weighted.price_seconds += delivered.price_seconds;
        weighted.seconds += delivered.seconds;
        turnover = match turnover.checked_add(price.turnover(traded)) {
            Some(sum) => sum,
            None => bail!("the turnover exceeds 38 digits at tick {}", tick.tick_id),
        };
    }
    Ok(Some(Numbers {
        open: price(first)?.to_string(),
        high: high.to_string(),
        low: low.to_string(),
        close: price(last)?.to_string(),
        volume: digits(volume, 8),
        turnover: digits(turnover.0, 16),
        vwap: turnover.vwap(volume).map(|vwap| vwap.to_string()),
        twap: weighted.twap().map(|twap| twap.to_string()),
        trade_count: ticks.len() as i64,
        open_time: first.event_time,
        first_tick: first.tick_id.clone(),
        close_time: last.event_time,
        last_tick: last.tick_id.clone(),
    }))
}

fn price(tick: &TickRow) -> anyhow::Result<Decimal> {
    tick.price.parse().with_context(|| format!("price of {}", tick.tick_id))
}

/// `value / 10^scale` without trailing zeros.
pub(crate) fn digits(value: i128, scale: usize) -> String {
    let padded = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    let sign = if value < 0 { "-" } else { "" };
    match fraction.trim_end_matches('0') {
        "" => format!("{sign}{whole}"),
        fraction => format!("{sign}{whole}.{fraction}"),
    }
}

/// Compares every number.
pub fn compare(stored: &Numbers, recomputed: Option<&Numbers>) -> Vec<Compared> {
    let none = || "none".to_owned();
    let texts = |of: &Numbers| {
        [
            ("open", of.open.clone()),
            ("high", of.high.clone()),
            ("low", of.low.clone()),
            ("close", of.close.clone()),
            ("volume", of.volume.clone()),
            ("turnover", of.turnover.clone()),
            ("vwap", of.vwap.clone().unwrap_or_else(none)),
            ("twap", of.twap.clone().unwrap_or_else(none)),
            ("trade_count", of.trade_count.to_string()),
            ("open_time", of.open_time.to_string()),
            ("first_tick", of.first_tick.clone()),
            ("close_time", of.close_time.to_string()),
            ("last_tick", of.last_tick.clone()),
        ]
    };
    let recomputed = recomputed.map(texts);
    let mut compared = Vec::new();
    for (index, (name, stored)) in texts(stored).into_iter().enumerate() {
        let other = recomputed.as_ref().and_then(|texts| texts.get(index));
        let recomputed = other.map_or_else(none, |(_, text)| text.clone());
        compared.push(Compared {
            // A bar of an earlier release has no TWAP.
            agrees: other.is_some_and(|(_, text)| *text == stored || name == "twap" && stored == "none"),
            name,
            stored,
            recomputed,
        });
    }
    compared
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::super::Place;
    use super::*;

    pub(crate) fn tick(offset: i64, event_time: i64, price: &str, volume: Option<&str>) -> TickRow {
        TickRow {
            tick_id: format!("raw/0/{offset}/0"),
            raw: Place {
                topic: "raw".to_owned(),
                partition: 0,
                offset,
            },
            index: 0,
            event_id: Some(format!("e-{offset}")),
            tenant_id: "t".to_owned(),
            instrument_id: "i".to_owned(),
            event_time: At(event_time),
            interval_end: None,
            sequence: None,
            price: price.to_owned(),
            volume: volume.map(str::to_owned),
            product: "trade".to_owned(),
            is_of_interval: false,
            version: None,
            appended_at: At(event_time),
            normalized: None,
            enriched: None,
            late: None,
        }
    }

    #[test]
    fn open_and_close_are_by_event_time_then_sequence_then_origin_and_sums_keep_every_digit() {
        let ticks = [
            tick(3, 20, "31.55", Some("0.00000001")),
            tick(1, 10, "-4.2", None),
            tick(2, 20, "7", Some("2")),
        ];
        let bar = recompute(&ticks.iter().collect::<Vec<_>>()).unwrap().unwrap();
        assert_eq!(
            (&*bar.open, &*bar.high, &*bar.low, &*bar.close),
            ("-4.2", "31.55", "-4.2", "31.55")
        );
        assert_eq!((&*bar.volume, &*bar.turnover), ("2.00000001", "14.0000003155"));
        assert_eq!(bar.vwap.as_deref(), Some("7.00000012"));
        assert_eq!(
            (&*bar.first_tick, &*bar.last_tick, bar.trade_count),
            ("raw/0/1/0", "raw/0/3/0", 3)
        );
        // Of ticks with equal times, the one with the highest sequence is last. A tick without a sequence comes first.
        let mut ticks = ticks;
        ticks[2].sequence = Some(-7);
        let bar = recompute(&ticks.iter().collect::<Vec<_>>()).unwrap().unwrap();
        assert_eq!((&*bar.close, &*bar.last_tick), ("7", "raw/0/2/0"));
        assert_eq!(recompute(&[]).unwrap(), None);
    }

    /// 100 × 8 s + 25 × 292 s.
    #[test]
    fn the_average_weighs_each_price_by_its_own_interval() {
        let price = |offset, start: i64, end: i64, digits| TickRow {
            product: "rt5".to_owned(),
            is_of_interval: true,
            interval_end: Some(At(end * 1_000_000)),
            ..tick(offset, start * 1_000_000, digits, None)
        };
        let prices = [price(1, 0, 8, "100"), price(2, 8, 300, "25")];
        let bar = recompute(&prices.iter().collect::<Vec<_>>()).unwrap().unwrap();
        assert_eq!(bar.twap.as_deref(), Some("27"));
    }

    #[test]
    fn a_stored_number_that_differs_in_its_last_digit_is_marked() {
        let ticks = [tick(1, 10, "1", Some("1"))];
        let right = recompute(&ticks.iter().collect::<Vec<_>>()).unwrap().unwrap();
        assert!(compare(&right, Some(&right)).iter().all(|number| number.agrees));
        let wrong = Numbers {
            turnover: "1.0000000000000001".to_owned(),
            ..right.clone()
        };
        let marked: Vec<&str> = compare(&wrong, Some(&right))
            .iter()
            .filter(|number| !number.agrees)
            .map(|number| number.name)
            .collect();
        assert_eq!(marked, ["turnover"]);
        assert!(compare(&right, None).iter().all(|number| !number.agrees));
    }

    proptest! {
        #[test]
        fn digits_are_those_of_a_decimal(unscaled in -999_999_999_999_999_999i64..=999_999_999_999_999_999) {
            prop_assert_eq!(digits(i128::from(unscaled), 8), Decimal::from_unscaled(unscaled).unwrap().to_string());
        }

        #[test]
        fn the_order_of_the_input_does_not_matter(prices in proptest::collection::vec(-1000i64..1000, 1..20), turn in 0usize..20) {
            let mut ticks: Vec<TickRow> = prices
                .iter()
                .enumerate()
                .map(|(offset, price)| tick(offset as i64, *price, &price.to_string(), Some("1.5")))
                .collect();
            let straight = recompute(&ticks.iter().collect::<Vec<_>>()).unwrap();
            let length = ticks.len();
            ticks.rotate_left(turn % length);
            prop_assert_eq!(recompute(&ticks.iter().collect::<Vec<_>>()).unwrap(), straight);
        }
    }
}
