//! MISO: documents of the Midcontinent ISO.
//!
//! Its data are in Eastern Standard Time (UTC-5) all year, so each day has 24 hours. Its contracts deliver in prevailing time.

mod exante;
mod hourly;
mod rt5_expost;

use domain::Micros;

use crate::clock::HOUR;
use crate::registry::{Bound, KnownFormat, Market, Peak, PlaceKind, Places};
use crate::time::utc;
use crate::venue::Scope;

/// Added to Eastern Standard Time to get UTC.
const EST_TO_UTC: Micros = 5 * HOUR;

pub(crate) const MARKET: Market = Market {
    name: "MISO",
    description: "Midcontinent ISO",
    zone: "Etc/GMT+5",
    region: "midwest",
    currency: "USD",
    unit: "MWh",
    placed_by_hub: false,
    real_time_product: Some("rt5"),
    published_ahead: &[],
    bounds: &[
        Bound {
            from: 0,
            scope: Scope::All,
            floor: Some(-500),
            cap: Some(3_500),
        },
        Bound {
            from: utc(2025, 9, 30, 5),
            scope: Scope::All,
            floor: Some(-500),
            cap: Some(10_000),
        },
    ],
    peak: Some(Peak {
        zone: "America/New_York",
        first: 8,
        last: 23,
        saturday: false,
    }),
    samples: &["MISO.INDIANA.HUB.RT5", "MISO.MINN.HUB.RT5", "ELEC_MISO_BALMO"],
    products: &["rt5", "exante", "da", "rth"],
    places: &[
        Places {
            kind: PlaceKind::Hub,
            is_complete: true,
            region: None,
            names: &[
                "ARKANSAS.HUB",
                "ILLINOIS.HUB",
                "INDIANA.HUB",
                "LOUISIANA.HUB",
                "MICHIGAN.HUB",
                "MINN.HUB",
                "MS.HUB",
                "TEXAS.HUB",
            ],
        },
        Places {
            kind: PlaceKind::Interface,
            is_complete: false,
            region: None,
            names: &["PJMC", "SWPP", "MHEB", "ONT", "TVA", "SOCO", "LGEE", "AECI"],
        },
    ],
    formats: &[
        KnownFormat {
            name: "miso.rt5.expost.json",
            description: "real-time five-minute ex-post prices",
            recognise: |head| {
                head.is_json()
                    && ["\"headers\"", "\"CPNODE\"", "\"LMP\""]
                        .iter()
                        .all(|part| head.holds(part))
            },
            open: rt5_expost::open,
        },
        KnownFormat {
            name: "miso.exante.json",
            description: "real-time ex-ante prices of the hubs",
            recognise: |head| head.is_json() && head.holds("\"ExAnteLMP\""),
            open: exante::open,
        },
        KnownFormat {
            name: hourly::DAY_AHEAD,
            description: "day-ahead hourly ex-post prices",
            recognise: |head| hourly::recognise(head, hourly::DAY_AHEAD),
            open: hourly::open,
        },
        KnownFormat {
            name: hourly::REAL_TIME,
            description: "real-time hourly prices, preliminary or final",
            recognise: |head| hourly::recognise(head, hourly::REAL_TIME),
            open: hourly::open,
        },
    ],
};
