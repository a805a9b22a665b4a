//! The documents of folder `examples/documents`: one day-ahead report of each power market, gas prices, and settlements of contracts.

use jiff::civil::{Date, date};

/// The market day of the power prices. Clocks went back, so it has 25 hours, and 24 at MISO.
pub const EXAMPLE_DAY: Date = date(2025, 11, 2);

macro_rules! example {
    ($name:literal) => {
        (
            $name,
            include_bytes!(concat!("../../../../examples/documents/", $name)).as_slice(),
        )
    };
}

/// Names and contents.
pub(super) const EXAMPLES: [(&str, &[u8]); 9] = [
    example!("caiso_PRC_LMP_DAM_20251102.csv"),
    example!("curve_settlements_20251103.csv"),
    example!("ercot_DAMSPNP4190_20251102.csv"),
    example!("henry_hub_daily_spot.csv"),
    example!("isone_WW_DALMP_ISO_20251102.csv"),
    example!("miso_20251102_da_expost_lmp.csv"),
    example!("nyiso_20251102damlbmp_zone.csv"),
    example!("pjm_da_hrl_lmps_20251102.csv"),
    example!("spp_DA-LMP-SL-202511020100.csv"),
];

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use markets::{MarketDay, Normalizer, NormalizerConfig, RawMessage, detect_format};

    use super::*;

    #[test]
    fn each_market_has_every_hour_of_the_day_and_no_row_is_rejected() {
        let mut hours: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
        for (name, content) in EXAMPLES {
            let message = RawMessage {
                feed: "ingestion.market.raw.v1",
                partition: 0,
                offset: 1,
                appended_at: 1_790_942_400_000_000,
                key: None,
                payload: content,
                format: Some(detect_format(name, content).unwrap()),
                tenant: None,
                replay: None,
            };
            let mut normalizer = Normalizer::new(NormalizerConfig::default());
            let outcome = normalizer
                .normalize(&message, 5, &mut |tick| {
                    if tick.product == markets::contract::SETTLEMENT {
                        return;
                    }
                    hours.entry(tick.market.to_owned()).or_default().insert(tick.event_time);
                })
                .unwrap_or_else(|rejection| panic!("{name}: {rejection}"));
            assert!(outcome.rejected.is_empty(), "{name}: {:?}", outcome.rejected);
        }
        assert_eq!(hours.len(), 8, "{hours:?}");
        for venue in markets::iso_venues()
            .into_iter()
            .filter(|venue| !markets::products_of(&venue.name).is_empty())
        {
            let day = MarketDay::of(&venue.name, EXAMPLE_DAY).unwrap();
            let expected: BTreeSet<i64> = day.intervals("da").collect();
            assert_eq!(hours.get(&venue.name), Some(&expected), "{}", venue.name);
        }
    }
}
