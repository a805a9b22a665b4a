//! SPP: price files of the Southwest Power Pool.
//!
//! Both stamps are the end of an interval; the one in GMT is authoritative, and the one in Central prevailing time must agree.

mod da_lmp;

use crate::registry::{Bound, KnownFormat, Market, Peak, PlaceKind, Places};
use crate::venue::Scope;

pub(crate) const MARKET: Market = Market {
    name: "SPP",
    description: "Southwest Power Pool",
    zone: "America/Chicago",
    region: "midwest",
    currency: "USD",
    unit: "MWh",
    placed_by_hub: false,
    real_time_product: Some("rt5"),
    published_ahead: &[],
    bounds: &[Bound {
        from: 0,
        scope: Scope::All,
        floor: Some(-500),
        cap: Some(2_000),
    }],
    peak: Some(Peak {
        zone: "America/Chicago",
        first: 7,
        last: 22,
        saturday: false,
    }),
    samples: &["SPP.SPPNORTH_HUB.DA"],
    products: &["da"],
    places: &[Places {
        kind: PlaceKind::Hub,
        is_complete: false,
        region: None,
        names: &["SPPNORTH_HUB", "SPPSOUTH_HUB"],
    }],
    formats: &[KnownFormat {
        name: "spp.da_lmp_sl.csv",
        description: "day-ahead hourly prices by settlement location",
        recognise: da_lmp::recognise,
        open: da_lmp::open,
    }],
};
