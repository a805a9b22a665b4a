//! Reference data of the named places of all markets: what `taxonomy_instruments` is seeded with, and the regions of the taxonomy.
//!
//! Invariant: the registry is the only list; the seed in `schemas/postgres/seed` has the rows of [`seed_rows`].

use std::fmt::Write as _;

use crate::registry::{MARKETS, Market, PlaceKind, power_markets};

/// A hub, zone or interface, with what its instruments have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Place {
    pub market: &'static str,
    /// As the market writes it.
    pub node: &'static str,
    pub kind: PlaceKind,
    pub commodity: &'static str,
    pub region: &'static str,
    pub unit: &'static str,
    pub currency: &'static str,
    /// Of the market's day.
    pub time_zone: &'static str,
    /// In lower case, as in ticks.
    pub products: &'static [&'static str],
}

impl Place {
    /// The zone that it is; a hub or an interface lies in none that is known.
    pub fn zone(&self) -> Option<&'static str> {
        (self.kind == PlaceKind::Zone).then_some(self.node)
    }

    /// The ids of its instruments.
    pub fn instruments(&self) -> impl Iterator<Item = String> {
        let (market, node) = (self.market, self.node);
        self.products.iter().map(move |product| {
            let mut id = String::new();
            domain::instrument::write_instrument_id(market, node, &product.to_ascii_uppercase(), &mut id);
            id
        })
    }
}

fn commodity(market: &Market) -> &'static str {
    if market.peak.is_some() {
        "electricity"
    } else {
        "natural_gas"
    }
}

/// The named places of all markets, in the order of the registry.
pub fn places() -> impl Iterator<Item = Place> {
    MARKETS.iter().flat_map(|market| {
        market.places.iter().flat_map(|places| {
            places.names.iter().map(|node| Place {
                market: market.name,
                node,
                kind: places.kind,
                commodity: commodity(market),
                region: places.region.unwrap_or(market.region),
                unit: market.unit,
                currency: market.currency,
                time_zone: market.zone,
                products: market.products,
            })
        })
    })
}

/// Whether this is a power market of the registry, in any case.
pub fn is_power_market(name: &str) -> bool {
    power_markets().any(|market| market.name.eq_ignore_ascii_case(name))
}

/// The places as rows of SQL: market, region, location type, commodity, unit, currency, time zone, products, nodes.
pub fn seed_rows() -> String {
    let mut rows: Vec<String> = Vec::new();
    for market in MARKETS {
        for places in market.places {
            let array = |texts: &[&str]| {
                let quoted: Vec<String> = texts
                    .iter()
                    .map(|text| format!("'{}'", text.replace('\'', "''")))
                    .collect();
                format!("ARRAY[{}]", quoted.join(", "))
            };
            let products: Vec<String> = market
                .products
                .iter()
                .map(|product| product.to_ascii_uppercase())
                .collect();
            let products: Vec<&str> = products.iter().map(String::as_str).collect();
            let mut row = String::new();
            _ = write!(
                row,
                "    ('{}', '{}', '{}', '{}', '{}', '{}', '{}', {},\n     {})",
                market.name,
                places.region.unwrap_or(market.region),
                places.kind.name(),
                commodity(market),
                market.unit,
                market.currency,
                market.zone,
                array(&products),
                array(places.names),
            );
            rows.push(row);
        }
    }
    rows.join(",\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SEED: &str = include_str!("../../../schemas/postgres/seed/reference.sql");
    const BEGIN: &str = "-- places: begin (written by the test `the_seed_has_the_places_of_the_registry`)\n";
    const END: &str = "\n-- places: end";

    #[test]
    fn the_seed_has_the_places_of_the_registry() {
        let expected = seed_rows();
        let (before, rest) = SEED.split_once(BEGIN).unwrap();
        let (found, after) = rest.split_once(END).unwrap();
        if found != expected && std::env::var_os("RENEW").is_some() {
            let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/postgres/seed/reference.sql");
            std::fs::write(file, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
        } else {
            assert_eq!(found, expected, "RENEW=1 writes the rows of the registry into the seed");
        }
    }

    #[test]
    fn a_place_is_named_like_the_instruments_of_its_documents() {
        let ids: Vec<String> = places()
            .flat_map(|place| place.instruments().collect::<Vec<_>>())
            .collect();
        for id in [
            "MISO.INDIANA.HUB.RT5",
            "PJM.WESTERN%20HUB.RTH",
            "NYISO.N.Y.C..DA",
            "ISONE..H.INTERNAL_HUB.DA",
            "SPP.SPPNORTH_HUB.DA",
            "GAS.HENRY_HUB.SPOT",
            "ERCOT.LZ_AEN.RT15",
        ] {
            assert!(ids.iter().any(|known| known == id), "{id}");
        }
        let unique: std::collections::BTreeSet<&String> = ids.iter().collect();
        assert_eq!(unique.len(), ids.len());
        let gas: Vec<Place> = places().filter(|place| place.market == "GAS").collect();
        assert!(gas.len() == 14 && gas.iter().all(|place| place.unit == "MMBtu"));
    }
}
