//! Natural gas: daily prices of the U.S. Energy Information Administration (EIA).

mod eia_daily;

use crate::registry::{KnownFormat, Market};

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
    formats: &[KnownFormat {
        name: "gas.eia_daily.csv",
        description: "daily spot prices of Henry Hub",
        recognise: eia_daily::recognise,
        open: eia_daily::open,
    }],
};
