//! Quotes of instruments that reference data gives a relative tenor, such as `NG_HH_M1`.
//!
//! Role: an instrument of a curve whose product tier is `M1` to `M24`, `PROMPT` or `BALMO` quotes the contract that this tenor means on the
//! trade date of the price, in the whole of its hours. Its id for the curve is absolute: `NG_HH_M1.2026-12.FLAT.SETTLEMENT`.
//! Invariants: a function of the tick alone, so that history does not change its meaning. A relative tenor has no meaning of its own: what
//! was quoted before the expiry stays a quote of the contract that has expired.
//! Failure: `None`: no such tenor, a market without contracts, or a day on which the tenor means none (a balance on the last of a month).

use std::collections::BTreeMap;

use domain::EnrichedTick;
use markets::contract::{Block, Contract, SETTLEMENT, Tenor};

use crate::DeliveryCalendar;

/// The commodity of reference data whose contracts are those of market [`GAS`], wherever they trade.
const NATURAL_GAS: &str = "natural_gas";
const GAS: &str = "GAS";

/// The calendars of the markets of such quotes; `None` for a market that has none.
#[derive(Debug, Default)]
pub struct Tenors(BTreeMap<String, Option<DeliveryCalendar>>);

impl Tenors {
    /// The market of the contract that this price quotes by the tenor of its instrument, and the instrument's id for the curve.
    pub fn contract<'t>(&mut self, enriched: &EnrichedTick<'t>) -> Option<(&'t str, String)> {
        let tick = &enriched.tick;
        let tenor = match enriched.enrichment.product_tier.parse() {
            Ok(tenor @ (Tenor::Relative(_) | Tenor::BalanceOfMonth)) => tenor,
            _ => return None,
        };
        let market = match enriched.enrichment.commodity {
            NATURAL_GAS => GAS,
            _ => tick.market,
        };
        if !self.0.contains_key(market) {
            self.0.insert(market.to_owned(), DeliveryCalendar::of(market).ok());
        }
        let calendar = self.0.get(market)?.as_ref()?;
        let period = tenor.resolve(calendar.day_at(tick.event_time)?, calendar.commodity());
        let contract = Contract {
            period: period.ok()?,
            block: Block::Flat,
        };
        let mut id = String::new();
        contract.write_key(tick.instrument_id, &mut id);
        id.extend([".", &SETTLEMENT.to_ascii_uppercase()]);
        Some((market, id))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use domain::{Classification, CurveSnapshot, Enrichment, LegPlace, LegPrice, LegPurpose, Micros, Tick};

    use super::*;
    use crate::snapshots::{Limits, Snapshots};

    const SECOND: Micros = 1_000_000;

    fn enriched(
        time: &str,
        (market, commodity, tier): (&'static str, &'static str, &'static str),
    ) -> EnrichedTick<'static> {
        let time: jiff::Timestamp = time.parse().unwrap();
        EnrichedTick {
            tick: Tick {
                instrument_id: "NG_HH_M1",
                market,
                event_time: time.as_microsecond(),
                price: domain::Decimal::from_integer(3).unwrap(),
                ..domain::fixtures::tick()
            },
            enrichment: Enrichment {
                commodity,
                region: "texas",
                product_tier: tier,
                unit: Some("MMBtu"),
                contract_size: None,
                tick_size: None,
                curve_id: Some("NG_HENRY_HUB"),
                curve_definition: Some("flat;;GAS.HENRY_HUB.*.SETTLEMENT"),
                confidence_percent: 100,
                method: Classification::Database,
                low_confidence: false,
                enriched_at: 0,
            },
        }
    }

    #[test]
    fn a_tenor_is_the_contract_that_it_means_on_the_trade_date() {
        const TRADED: &str = "2026-11-24T18:00:00Z";
        for (time, of, expected) in [
            (TRADED, ("NYMEX", "natural_gas", "M1"), Some(("GAS", "2026-12"))),
            (TRADED, ("NYMEX", "natural_gas", "prompt"), Some(("GAS", "2026-12"))),
            (TRADED, ("NYMEX", "natural_gas", "M13"), Some(("GAS", "2027-12"))),
            // December has expired.
            (
                "2026-11-27T18:00:00Z",
                ("NYMEX", "natural_gas", "M1"),
                Some(("GAS", "2027-01")),
            ),
            (
                TRADED,
                ("MISO", "electricity", "BALMO"),
                Some(("MISO", "BALMO-2026-11")),
            ),
            // No day of the month is left.
            ("2026-11-30T18:00:00Z", ("MISO", "electricity", "BALMO"), None),
            (TRADED, ("NYMEX", "natural_gas", "standard"), None),
            // It has an instrument of its own.
            (TRADED, ("NYMEX", "natural_gas", "Q1-27"), None),
            (TRADED, ("ICE", "crude_oil", "M1"), None),
        ] {
            let found = Tenors::default().contract(&enriched(time, of));
            let expected = expected.map(|(market, name)| (market, format!("NG_HH_M1.{name}.FLAT.SETTLEMENT")));
            assert_eq!(found, expected, "{time} {of:?}");
        }
    }

    /// Beside a settlement of the next month, which the patterns of the curve have.
    #[test]
    fn such_a_price_is_a_quote_of_its_curve() {
        let priced = enriched("2026-11-24T18:00:00Z", ("NYMEX", "natural_gas", "M1"));
        let (market, id) = Tenors::default().contract(&priced).unwrap();
        let limits = Limits::new((SECOND, 60 * SECOND, 7 * 86_400 * SECOND), 100);
        let (mut curve, mut inputs) = (Snapshots::new("t", "NG_HENRY_HUB", limits), Vec::new());
        for (offset, instrument_id) in [(1, &*id), (2, "GAS.HENRY_HUB.2027-01.FLAT.SETTLEMENT")] {
            let mut tick = Tick {
                instrument_id,
                ..priced.tick
            };
            tick.origin.offset = offset;
            let place = LegPlace {
                purpose: LegPurpose::Curve,
                series: "NG_HENRY_HUB",
                role: market,
                definition: priced.enrichment.curve_definition,
                unit: priced.unit(),
                log_clock: tick.event_time,
                enriched_partition: 0,
                enriched_offset: offset,
                index: 0,
            };
            assert_eq!(curve.take(&LegPrice::of(&tick, place), tick.event_time), None);
        }
        let mut send = |record: &CurveSnapshot<'_>| {
            let of = |input: &domain::CurveInput<'_>| (input.contract.to_owned(), input.state.to_owned());
            inputs.push(record.inputs.iter().map(of).collect::<Vec<_>>());
        };
        curve.advance(priced.tick.event_time + SECOND, 3, &mut send);
        let expected = ["2026-12", "2027-01"].map(|contract| (contract.to_owned(), "repriced".to_owned()));
        let mut last = inputs.pop().unwrap();
        last.sort();
        assert_eq!(last, expected);
    }
}
