//! NYISO: price files of the New York ISO.
//!
//! Stamps are Eastern prevailing time without a zone. Congestion is published with the opposite sign, and energy not at all.

mod advisory;
mod lbmp;
mod passes;

use crate::registry::{Bound, KnownFormat, Market, Peak, PlaceKind, Places};
use crate::venue::Scope;

pub(crate) const MARKET: Market = Market {
    name: "NYISO",
    description: "New York ISO",
    zone: "America/New_York",
    region: "northeast",
    currency: "USD",
    unit: "MWh",
    placed_by_hub: false,
    real_time_product: Some("rt5"),
    published_ahead: &[],
    bounds: &[Bound {
        from: 0,
        scope: Scope::All,
        floor: Some(-1_000),
        cap: Some(2_000),
    }],
    peak: Some(Peak {
        zone: "America/New_York",
        first: 8,
        last: 23,
        saturday: false,
    }),
    samples: &["NYISO.N.Y.C..RT5", "NYISO.WEST.DA"],
    products: &["rt5", "rth", "da"],
    places: &[
        Places {
            kind: PlaceKind::Zone,
            is_complete: true,
            region: None,
            names: &[
                "CAPITL", "CENTRL", "DUNWOD", "GENESE", "HUD VL", "LONGIL", "MHK VL", "MILLWD", "N.Y.C.", "NORTH",
                "WEST",
            ],
        },
        Places {
            kind: PlaceKind::Interface,
            is_complete: true,
            region: None,
            names: &["H Q", "NPX", "O H", "PJM"],
        },
    ],
    formats: &[
        KnownFormat {
            name: lbmp::REAL_TIME,
            description: "real-time five-minute prices of zones",
            recognise: |head| lbmp::recognise(head) == Some(lbmp::REAL_TIME),
            open: lbmp::open,
        },
        KnownFormat {
            name: lbmp::DAY_AHEAD,
            description: "day-ahead hourly prices of zones",
            recognise: |head| lbmp::recognise(head) == Some(lbmp::DAY_AHEAD),
            open: lbmp::open,
        },
        KnownFormat {
            name: lbmp::HOURLY,
            description: "real-time hourly prices of zones",
            recognise: |head| lbmp::recognise(head) == Some(lbmp::HOURLY),
            open: lbmp::open,
        },
    ],
};
