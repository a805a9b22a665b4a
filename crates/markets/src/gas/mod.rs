//! Natural gas: daily prices and settlements of futures of the U.S. Energy Information Administration (EIA).

mod eia_daily;
pub(crate) mod eia_futures;

use crate::registry::{KnownFormat, Market, PlaceKind, Places};

pub(crate) const MARKET: Market = Market {
    name: "GAS",
    description: "Natural gas spot prices (EIA)",
    zone: "America/Chicago",
    region: "southeast",
    currency: "USD",
    unit: "MMBtu",
    placed_by_hub: false,
    real_time_product: None,
    published_ahead: &[],
    bounds: &[],
    peak: None,
    samples: &["GAS.HENRY_HUB.SPOT"],
    products: &["spot"],
    // Henry Hub is published by the EIA; the others are names for quotes, and for prices of other sources.
    places: &[
        Places {
            kind: PlaceKind::Hub,
            is_complete: false,
            region: Some("southeast"),
            names: &["HENRY_HUB"],
        },
        Places {
            kind: PlaceKind::Hub,
            is_complete: false,
            region: Some("texas"),
            names: &["WAHA", "HOUSTON_SHIP_CHANNEL", "KATY"],
        },
        Places {
            kind: PlaceKind::Hub,
            is_complete: false,
            region: Some("midwest"),
            names: &["CHICAGO_CITYGATE"],
        },
        Places {
            kind: PlaceKind::Hub,
            is_complete: false,
            region: Some("northeast"),
            names: &["DOMINION_SOUTH", "TETCO_M3", "TRANSCO_Z6_NY", "ALGONQUIN_CITYGATE"],
        },
        Places {
            kind: PlaceKind::Hub,
            is_complete: false,
            region: Some("west"),
            names: &["SOCAL_CITYGATE", "PGE_CITYGATE", "OPAL", "AECO", "SUMAS"],
        },
    ],
    formats: &[
        KnownFormat {
            name: "gas.eia_daily.csv",
            description: "daily spot prices of Henry Hub",
            recognise: eia_daily::recognise,
            open: eia_daily::open,
        },
        KnownFormat {
            name: "gas.eia_futures.json",
            description: "settlements of the four nearby futures on Henry Hub, a page of the API (RNGC1 to RNGC4)",
            recognise: eia_futures::recognise,
            open: eia_futures::open,
        },
    ],
};
