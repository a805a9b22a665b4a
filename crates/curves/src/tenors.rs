//! Quotes of instruments that reference data gives a tenor, such as `NG_HH_M1`.
//!
//! Role: an instrument of a curve whose product tier is `M1` to `M24`, `PROMPT` or `BALMO` quotes the contract that this tenor means on the
//! trade date of the price, in the whole of its hours, or in those of a block (`M1 PEAK`). With a block the tenor may be absolute too
//! (`Q1-27 PEAK`, `CAL-27 FLAT`). Its id for the curve is absolute: `NG_HH_M1.2026-12.FLAT.SETTLEMENT`.
//! Invariants: a function of the tick alone, so that history does not change its meaning. A relative tenor has no meaning of its own: what
//! was quoted before the expiry stays a quote of the contract that has expired.
//! Failure: `None`: no such tenor, a market without contracts, or a day on which the tenor means none (a balance on the last of a month).

use std::collections::BTreeMap;

use domain::{EnrichedTick, Micros};
use markets::contract::{Block, Contract, SETTLEMENT, Tenor};

use crate::DeliveryCalendar;

/// The commodity of reference data whose contracts are those of market [`GAS`], wherever they trade.
const NATURAL_GAS: &str = "natural_gas";
const GAS: &str = "GAS";
const BLOCKS: [Block; 3] = [Block::Flat, Block::Peak, Block::OffPeak];

/// A price of an instrument, and what reference data says of the instrument.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct TenorPrice<'t> {
    pub instrument_id: &'t str,
    pub product_tier: &'t str,
    pub commodity: &'t str,
    /// Of the tick.
    pub market: &'t str,
    pub event_time: Micros,
}

/// The calendars of the markets of such quotes; `None` for a market that has none.
#[derive(Debug, Default)]
pub struct Tenors(BTreeMap<String, Option<DeliveryCalendar>>);

impl Tenors {
    /// Whether a product tier is such a tenor.
    pub fn has(product_tier: &str) -> bool {
        tenor_of(product_tier).is_some()
    }

    /// The market of the contract that this price quotes by the tenor of its instrument, and the instrument's id for the curve.
    pub fn contract<'t>(&mut self, enriched: &EnrichedTick<'t>) -> Option<(&'t str, String)> {
        self.contract_of(TenorPrice {
            instrument_id: enriched.tick.instrument_id,
            product_tier: enriched.enrichment.product_tier,
            commodity: enriched.enrichment.commodity,
            market: enriched.tick.market,
            event_time: enriched.tick.event_time,
        })
    }

    /// As [`Tenors::contract`], of a price that is not a tick of the log.
    pub fn contract_of<'t>(&mut self, priced: TenorPrice<'t>) -> Option<(&'t str, String)> {
        let (tenor, block) = tenor_of(priced.product_tier)?;
        let market = match priced.commodity {
            NATURAL_GAS => GAS,
            _ => priced.market,
        };
        if !self.0.contains_key(market) {
            self.0.insert(market.to_owned(), DeliveryCalendar::of(market).ok());
        }
        let calendar = self.0.get(market)?.as_ref()?;
        let period = tenor.resolve(calendar.day_at(priced.event_time)?, calendar.commodity());
        let contract = Contract {
            period: period.ok()?,
            block,
        };
        let mut id = String::new();
        contract.write_key(priced.instrument_id, &mut id);
        id.extend([".", &SETTLEMENT.to_ascii_uppercase()]);
        Some((market, id))
    }
}

/// Tenor and block of a product tier. An absolute tenor alone names no quote: many a tier looks like the code of a month.
fn tenor_of(product_tier: &str) -> Option<(Tenor, Block)> {
    let mut words = product_tier.split(' ').filter(|word| !word.is_empty());
    let (tenor, block, more) = (words.next()?, words.next(), words.next());
    let tenor: Tenor = tenor.parse().ok()?;
    match (block, more) {
        (Some(name), None) => {
            let block = BLOCKS.into_iter().find(|block| block.name().eq_ignore_ascii_case(name));
            Some((tenor, block?))
        }
        (None, None) if matches!(tenor, Tenor::Relative(_) | Tenor::BalanceOfMonth) => Some((tenor, Block::Flat)),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use domain::{Classification, CurveSnapshot, Enrichment, LegPlace, LegPrice, LegPurpose, Tick};

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
            // It names no block.
            (TRADED, ("NYMEX", "natural_gas", "Q1-27"), None),
            (TRADED, ("ICE", "crude_oil", "M1"), None),
            (
                TRADED,
                ("PJM", "electricity", "Q1-27 PEAK"),
                Some(("PJM", "Q1-27.PEAK")),
            ),
            (
                TRADED,
                ("PJM", "electricity", "f27  off_peak"),
                Some(("PJM", "2027-01.OFF_PEAK")),
            ),
            (TRADED, ("PJM", "electricity", "CAL-2027 flat"), Some(("PJM", "CAL-27"))),
            (TRADED, ("PJM", "electricity", "M1 PEAK"), Some(("PJM", "2026-12.PEAK"))),
            (TRADED, ("PJM", "electricity", "Q1-27 NIGHT"), None),
            (TRADED, ("PJM", "electricity", "Q1-27 PEAK 5"), None),
        ] {
            let found = Tenors::default().contract(&enriched(time, of));
            let expected = expected.map(|(market, name)| {
                let block = if name.contains('.') { "" } else { ".FLAT" };
                (market, format!("NG_HH_M1.{name}{block}.SETTLEMENT"))
            });
            assert_eq!(found, expected, "{time} {of:?}");
            if found.is_some() {
                assert!(Tenors::has(of.2), "{of:?}");
            }
        }
    }

    #[test]
    fn other_tiers_are_no_tenors() {
        for tier in ["", "standard", "futures", "M25", "Q1-27", "PEAK", "standard PEAK"] {
            assert!(!Tenors::has(tier), "{tier}");
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
