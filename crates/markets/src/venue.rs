//! The markets that ticks may name, and the bounds of their prices.

use std::sync::LazyLock;

use domain::product::LONGEST_AHEAD;
use domain::{Decimal, Micros};
use serde::Serialize;

use crate::registry::{self, Peak, PlaceKind, Places};

/// The product whose prices are published a day ahead. An ex-ante price (`exante`) is a real-time price: it is published
/// minutes before its interval.
const DAY_AHEAD_PRODUCT: &str = "da";
/// The prices of a market to which a bound applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Scope {
    All,
    DayAhead,
    RealTime,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 3] = [Scope::All, Scope::DayAhead, Scope::RealTime];

    /// The name in the configuration and in `GET /markets`.
    pub fn name(self) -> &'static str {
        match self {
            Scope::All => "all",
            Scope::DayAhead => "day_ahead",
            Scope::RealTime => "real_time",
        }
    }
}

/// Floor and cap from a date on. Prices outside are suspicious, not wrong: scarcity and congestion can exceed offer caps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriceBounds {
    /// First event time to which it applies.
    pub from: Micros,
    /// The prices to which it applies.
    pub scope: Scope,
    /// Lowest price that is not suspicious.
    pub floor: Option<Decimal>,
    /// Highest price that is not suspicious.
    pub cap: Option<Decimal>,
}

/// A market that ticks may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Venue {
    /// Upper case.
    pub name: String,
    /// Description for users.
    pub description: String,
    /// Currency of a price that states none.
    pub currency: String,
    /// Unit of a price that states none.
    pub unit: String,
    /// Whether a tick is located by node and hub (CAISO) instead of node and zone.
    pub placed_by_hub: bool,
    /// The product that `real_time` means in this market.
    pub real_time_product: Option<String>,
    /// Real-time products that may be further ahead of their interval than other ticks, and how far.
    pub published_ahead: Vec<(&'static str, Micros)>,
    /// Oldest first; the last one that has begun and matches applies.
    pub bounds: Vec<PriceBounds>,
    /// Its named places; none for a configured venue.
    pub places: &'static [Places],
    /// Examples for `GET /markets`.
    pub sample_instruments: Vec<String>,
}

impl Venue {
    /// A venue without bounds, as an operator configures it.
    pub fn new(name: &str, description: &str, currency: &str, unit: &str) -> Venue {
        Venue {
            name: name.to_ascii_uppercase(),
            description: description.to_owned(),
            currency: currency.to_owned(),
            unit: unit.to_owned(),
            placed_by_hub: false,
            real_time_product: None,
            published_ahead: Vec::new(),
            bounds: Vec::new(),
            places: &[],
            sample_instruments: Vec::new(),
        }
    }

    /// Placeholder for a market that is not configured, for readings that continue after the error.
    pub(crate) fn unknown() -> &'static Venue {
        static UNKNOWN: LazyLock<Venue> = LazyLock::new(|| Venue::new("unknown", "", "USD", "MWh"));
        &UNKNOWN
    }

    /// How far ahead of its append time a price of this product may be; `others` if the product has no specific limit.
    pub(crate) fn furthest_ahead(&self, product: &str, others: Micros) -> Micros {
        if product == DAY_AHEAD_PRODUCT {
            return LONGEST_AHEAD;
        }
        let known = self.published_ahead.iter().find(|(name, _)| *name == product);
        known.map_or(others, |(_, ahead)| others.max(*ahead))
    }

    /// Whether a node that its document calls a hub or a zone is in none of the market's lists, though the list is complete.
    pub(crate) fn misses(&self, node: Option<&str>, hub: Option<&str>, zone: Option<&str>) -> bool {
        let is_called = |place: Option<&str>| place.is_some() && place == node;
        let lacks = |kind| {
            let lists_of = |kind| self.places.iter().filter(move |places| places.kind == kind);
            let is_known = |name| self.places.iter().any(|places| places.names.contains(&name));
            lists_of(kind).any(|places| places.is_complete) && !node.is_some_and(is_known)
        };
        (is_called(hub) && lacks(PlaceKind::Hub)) || (is_called(zone) && lacks(PlaceKind::Zone))
    }

    /// Adds bounds; where they begin at the same time as others, they apply.
    pub fn bound(&mut self, bounds: PriceBounds) {
        self.bounds.push(bounds);
        self.bounds.sort_by_key(|bounds| bounds.from);
    }

    /// Floor and cap of a price at `event_time`.
    pub fn bounds_at(&self, event_time: Micros, day_ahead: bool) -> (Option<Decimal>, Option<Decimal>) {
        let scope = if day_ahead { Scope::DayAhead } else { Scope::RealTime };
        self.bounds
            .iter()
            .rev()
            .find(|bounds| bounds.from <= event_time && (bounds.scope == Scope::All || bounds.scope == scope))
            .map_or((None, None), |bounds| (bounds.floor, bounds.cap))
    }
}

/// One entry of `GET /markets`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct MarketDescription {
    pub name: String,
    pub description: String,
    pub supported_formats: Vec<&'static str>,
    pub sample_instruments: Vec<String>,
    /// Time zone of the market's day; absent for a configured venue, like the next two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_peak: Option<Peak>,
    /// The products of its documents.
    pub products: &'static [&'static str],
    pub hubs: Vec<&'static str>,
    pub zones: Vec<&'static str>,
    pub interfaces: Vec<&'static str>,
    /// Oldest first.
    pub price_bounds: Vec<DescribedBounds>,
}

/// Floor and cap from a date on, as `GET /markets` shows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct DescribedBounds {
    /// RFC 3339, UTC.
    pub from: String,
    /// `all`, `day_ahead` or `real_time`.
    pub scope: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap: Option<String>,
}

impl DescribedBounds {
    fn of(bounds: &PriceBounds) -> DescribedBounds {
        let from = jiff::Timestamp::from_microsecond(bounds.from);
        DescribedBounds {
            from: from.map_or_else(|_| bounds.from.to_string(), |from| from.to_string()),
            scope: bounds.scope.name(),
            floor: bounds.floor.map(|floor| floor.to_string()),
            cap: bounds.cap.map(|cap| cap.to_string()),
        }
    }
}

/// Whether documents of a format may hold prices of this market. Those that name their market name one of the registry.
fn is_of(market: Option<&str>, venue: &str) -> bool {
    match market {
        Some(market) => market.eq_ignore_ascii_case(venue),
        None => registry::market(venue).is_some(),
    }
}

fn named(places: &[Places], kind: PlaceKind) -> Vec<&'static str> {
    let of_kind = places.iter().filter(|places| places.kind == kind);
    of_kind.flat_map(|places| places.names.iter().copied()).collect()
}

/// The response of `GET /markets`.
pub fn describe(venues: &[Venue]) -> Vec<MarketDescription> {
    venues
        .iter()
        .map(|venue| MarketDescription {
            name: venue.name.clone(),
            description: venue.description.clone(),
            supported_formats: ["json.envelope", "json.flat", "avro.raw_market_tick"]
                .into_iter()
                .chain(
                    crate::FORMATS
                        .iter()
                        .filter(|f| f.has_parser && is_of(f.market, &venue.name))
                        .map(|f| f.name),
                )
                .collect(),
            sample_instruments: venue.sample_instruments.clone(),
            time_zone: registry::market(&venue.name).map(|market| market.zone),
            region: registry::market(&venue.name).map(|market| market.region),
            on_peak: registry::market(&venue.name).and_then(|market| market.peak),
            products: registry::market(&venue.name).map_or(&[], |market| market.products),
            hubs: named(venue.places, PlaceKind::Hub),
            zones: named(venue.places, PlaceKind::Zone),
            interfaces: named(venue.places, PlaceKind::Interface),
            price_bounds: venue.bounds.iter().map(DescribedBounds::of).collect(),
        })
        .collect()
}

/// The markets of the registry, with their dated bounds.
pub fn iso_venues() -> Vec<Venue> {
    registry::MARKETS.iter().map(|market| market.venue()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::utc;

    fn cap(market: &str, time: Micros, day_ahead: bool) -> Option<String> {
        let venue = iso_venues().into_iter().find(|venue| venue.name == market)?;
        venue.bounds_at(time, day_ahead).1.map(|cap| cap.to_string())
    }

    #[test]
    fn caps_change_at_their_dates_and_by_product() {
        assert_eq!(cap("MISO", utc(2025, 9, 30, 4), false).as_deref(), Some("3500"));
        assert_eq!(cap("MISO", utc(2025, 9, 30, 5), false).as_deref(), Some("10000"));
        assert_eq!(cap("ERCOT", utc(2021, 2, 15, 0), false).as_deref(), Some("9000"));
        assert_eq!(cap("ERCOT", utc(2026, 1, 1, 0), true).as_deref(), Some("5000"));
        assert_eq!(cap("ERCOT", utc(2026, 1, 1, 0), false).as_deref(), Some("2000"));
        assert_eq!(cap("PJM", utc(2022, 9, 1, 0), false), None);
    }

    #[test]
    fn markets_list_the_formats_that_have_a_parser() {
        let markets = describe(&iso_venues());
        let names: Vec<&str> = markets.iter().map(|market| market.name.as_str()).collect();
        assert_eq!(names, ["MISO", "CAISO", "ERCOT", "PJM", "NYISO", "ISONE", "SPP", "GAS"]);
        assert!(
            markets
                .iter()
                .all(|market| market.supported_formats.contains(&"json.flat"))
        );
        assert!(
            markets
                .iter()
                .any(|market| market.supported_formats.contains(&"miso.rt5.expost.json"))
        );
        assert!(
            markets
                .iter()
                .all(|market| market.supported_formats.len() > 3 && !market.sample_instruments.is_empty())
        );
    }
}
