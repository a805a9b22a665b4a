//! The registry: one row for each market, and in it one row for each format of its documents.
//!
//! Role: the facts that the venues of ticks, `GET /markets`, the detection of formats and `dp ingest` are made from. A market
//! is added by its folder, `mod` in `lib.rs` and one line of [`MARKETS`].
//! Invariants: names of formats are unique; the rows are constants, so that they never fail.

use domain::{Decimal, Micros};
use serde::Serialize;

use crate::document::Open;
use crate::format::Head;
use crate::settlements;
use crate::venue::{PriceBounds, Scope, Venue};

/// Every market whose documents are known, in the order in which users see them.
pub(crate) const MARKETS: &[&Market] = &[
    &crate::miso::MARKET,
    &crate::caiso::MARKET,
    &crate::ercot::MARKET,
    &crate::pjm::MARKET,
    &crate::nyiso::MARKET,
    &crate::isone::MARKET,
    &crate::spp::MARKET,
    &crate::gas::MARKET,
];

/// Formats whose rows name their market.
pub(crate) const OF_ANY_MARKET: &[KnownFormat] = &[KnownFormat {
    name: "curve.settlements.csv",
    description: "settlements of contracts: months, quarters, seasons, calendars and the balance of a month",
    recognise: settlements::csv::recognise,
    open: settlements::csv::open,
}];

/// The facts of one market.
#[derive(Debug)]
pub(crate) struct Market {
    /// Upper case, as in instrument ids.
    pub name: &'static str,
    pub description: &'static str,
    /// Name of the time zone of its day.
    pub zone: &'static str,
    /// The region of its taxonomy.
    pub region: &'static str,
    pub currency: &'static str,
    pub unit: &'static str,
    /// Whether a tick is located by node and hub instead of node and zone.
    pub placed_by_hub: bool,
    /// The product that `real_time` means.
    pub real_time_product: Option<&'static str>,
    /// Real-time products that may be further ahead of their interval than other ticks, and how far.
    pub published_ahead: &'static [(&'static str, Micros)],
    /// Oldest first.
    pub bounds: &'static [Bound],
    /// When its contracts deliver on-peak power; `None` for gas.
    pub peak: Option<Peak>,
    pub samples: &'static [&'static str],
    /// The products of its documents.
    pub products: &'static [&'static str],
    /// Its hubs, zones and interfaces: reference data, and the check for unknown ones.
    pub places: &'static [Places],
    pub formats: &'static [KnownFormat],
}

/// Floor and cap from a date on, in whole currency units.
#[derive(Debug)]
pub(crate) struct Bound {
    pub from: Micros,
    pub scope: Scope,
    pub floor: Option<i64>,
    pub cap: Option<i64>,
}

/// The on-peak block of a market's contracts, in hours ending of its prevailing time. Holidays of NERC and Sundays are off-peak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Peak {
    /// Name of the time zone.
    pub zone: &'static str,
    /// First on-peak hour ending.
    pub first: u8,
    /// Last on-peak hour ending.
    pub last: u8,
    /// Whether Saturday has on-peak hours (6x16).
    pub saturday: bool,
}

/// A market of the registry that trades power, and the clocks of its prices and contracts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowerMarket {
    /// Upper case, as in instrument ids.
    pub name: &'static str,
    /// The region of its taxonomy.
    pub region: &'static str,
    /// Name of the time zone of its day.
    pub zone: &'static str,
    /// When its contracts deliver on-peak power.
    pub peak: Peak,
}

/// The power markets, in the order of the registry.
pub fn power_markets() -> impl Iterator<Item = PowerMarket> {
    MARKETS.iter().filter_map(|market| {
        Some(PowerMarket {
            name: market.name,
            region: market.region,
            zone: market.zone,
            peak: market.peak?,
        })
    })
}

/// The named places of one kind of a market.
#[derive(Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Places {
    pub kind: PlaceKind,
    /// Whether the market has no others, so that another name is suspicious.
    pub is_complete: bool,
    /// Their region, if it is not that of the market.
    pub region: Option<&'static str>,
    /// As the market writes them.
    pub names: &'static [&'static str],
}

/// What a named place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum PlaceKind {
    Hub,
    Zone,
    Interface,
}

impl PlaceKind {
    /// The public name.
    pub fn name(self) -> &'static str {
        match self {
            PlaceKind::Hub => "hub",
            PlaceKind::Zone => "zone",
            PlaceKind::Interface => "interface",
        }
    }
}

/// One format of documents.
#[derive(Debug)]
pub(crate) struct KnownFormat {
    /// The value of header `dp.format`.
    pub name: &'static str,
    /// What it holds, for users.
    pub description: &'static str,
    /// Whether the beginning of a document is of this format.
    pub recognise: fn(&Head<'_>) -> bool,
    /// Reads the frame of a document.
    pub open: Open,
}

/// The market with this name.
pub(crate) fn market(name: &str) -> Option<&'static Market> {
    MARKETS.iter().copied().find(|market| market.name == name)
}

/// The row of a format, and its market unless its rows name theirs.
pub(crate) fn format(name: &str) -> Option<(Option<&'static Market>, &'static KnownFormat)> {
    formats().find(|(_, format)| format.name == name)
}

/// Every format with its market.
pub(crate) fn formats() -> impl Iterator<Item = (Option<&'static Market>, &'static KnownFormat)> {
    let of_one = |market: &&'static Market| {
        let market = *market;
        market.formats.iter().map(move |format| (Some(market), format))
    };
    let of_any = OF_ANY_MARKET.iter().map(|format| (None, format));
    MARKETS.iter().flat_map(of_one).chain(of_any)
}

impl Market {
    /// The market as ticks name it.
    pub(crate) fn venue(&self) -> Venue {
        Venue {
            placed_by_hub: self.placed_by_hub,
            real_time_product: self.real_time_product.map(str::to_owned),
            published_ahead: self.published_ahead.to_vec(),
            bounds: self.bounds.iter().map(Bound::price_bounds).collect(),
            places: self.places,
            sample_instruments: self.samples.iter().map(|sample| (*sample).to_owned()).collect(),
            ..Venue::new(self.name, self.description, self.currency, self.unit)
        }
    }
}

impl Bound {
    fn price_bounds(&self) -> PriceBounds {
        let price = |value: i64| Decimal::from_integer(value).ok();
        PriceBounds {
            from: self.from,
            scope: self.scope,
            floor: self.floor.and_then(price),
            cap: self.cap.and_then(price),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_formats_begin_with_their_market() {
        let mut seen = std::collections::BTreeSet::new();
        for (market, format) in formats() {
            assert!(seen.insert(format.name), "{}", format.name);
            let begins = market.map_or_else(|| "curve.".to_owned(), |market| market.name.to_ascii_lowercase());
            assert!(format.name.starts_with(&begins), "{}", format.name);
            assert!(!format.description.is_empty());
        }
        for market in MARKETS {
            assert!(seen.insert(market.name), "{}", market.name);
            assert!(market.bounds.is_sorted_by_key(|bound| bound.from), "{}", market.name);
            // Power is what has on-peak hours.
            assert_eq!(market.unit == "MWh", market.peak.is_some(), "{}", market.name);
            let zones = [Some(market.zone), market.peak.map(|peak| peak.zone)];
            for zone in zones.into_iter().flatten() {
                assert!(jiff::tz::TimeZoneDatabase::bundled().get(zone).is_ok(), "{zone}");
            }
        }
    }
}
