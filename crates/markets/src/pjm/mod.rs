//! PJM: prices from Data Miner 2 of PJM Interconnection.
//!
//! Stamps are the beginning of an interval, in UTC and in Eastern prevailing time. The first one is authoritative, and the
//! second one must agree with it.

mod lmp;

use crate::registry::{Bound, KnownFormat, Market, Peak, PlaceKind, Places};
use crate::time::utc;
use crate::venue::Scope;

pub(crate) const MARKET: Market = Market {
    name: "PJM",
    description: "PJM Interconnection",
    zone: "America/New_York",
    region: "northeast",
    currency: "USD",
    unit: "MWh",
    placed_by_hub: false,
    real_time_product: Some("rt5"),
    published_ahead: &[],
    bounds: &[Bound {
        from: utc(2022, 10, 1, 4),
        scope: Scope::All,
        floor: None,
        cap: Some(3_700),
    }],
    peak: Some(Peak {
        zone: "America/New_York",
        first: 8,
        last: 23,
        saturday: false,
    }),
    samples: &["PJM.WESTERN%20HUB.RTH"],
    products: &["rt5", "rth", "da"],
    places: &[
        Places {
            kind: PlaceKind::Hub,
            is_complete: true,
            region: None,
            names: &[
                "WESTERN HUB",
                "EASTERN HUB",
                "N ILLINOIS HUB",
                "AEP-DAYTON HUB",
                "AEP GEN HUB",
                "ATSI GEN HUB",
                "CHICAGO HUB",
                "CHICAGO GEN HUB",
                "DOMINION HUB",
                "NEW JERSEY HUB",
                "OHIO HUB",
                "WEST INT HUB",
            ],
        },
        Places {
            kind: PlaceKind::Zone,
            is_complete: false,
            region: None,
            names: &["PJM-RTO"],
        },
    ],
    formats: &[
        KnownFormat {
            name: lmp::FIVE_MINUTES,
            description: "real-time five-minute prices, verified or unverified",
            recognise: |head| lmp::recognise(head) == Some(lmp::FIVE_MINUTES),
            open: lmp::open,
        },
        KnownFormat {
            name: lmp::HOURLY,
            description: "real-time hourly prices",
            recognise: |head| lmp::recognise(head) == Some(lmp::HOURLY),
            open: lmp::open,
        },
        KnownFormat {
            name: lmp::DAY_AHEAD,
            description: "day-ahead hourly prices",
            recognise: |head| lmp::recognise(head) == Some(lmp::DAY_AHEAD),
            open: lmp::open,
        },
    ],
};
