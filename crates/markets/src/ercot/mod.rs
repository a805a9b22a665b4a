//! ERCOT: public reports of the Electric Reliability Council of Texas, as CSV and as pages of its API.
//!
//! Times are Central prevailing time. In the hour that occurs twice, a flag tells the passes apart: Y is the second one, in
//! standard time. The order of rows tells nothing. No components are published.

mod day_ahead;
mod page;
mod repeated;
mod runs;
mod sced;
mod settlement;

use crate::clock::Pass;
use crate::registry::{Bound, KnownFormat, Market, Peak, PlaceKind, Places};
use crate::rejection::{RejectCode, Rejection, excerpt};
use crate::table::{Column, Known, Record, optional};
use crate::time::utc;
use crate::venue::Scope;

/// The flag of a repeated hour.
const REPEATED: Known = optional(&["DSTFlag", "RepeatedHourFlag", "RepeatHourFlag", "DSTFlg"]);

pub(crate) const MARKET: Market = Market {
    name: "ERCOT",
    description: "Electric Reliability Council of Texas",
    zone: "America/Chicago",
    region: "texas",
    currency: "USD",
    unit: "MWh",
    placed_by_hub: false,
    // Real-time prices are settled every 15 minutes.
    real_time_product: Some("rt15"),
    published_ahead: &[],
    bounds: &[
        Bound {
            from: 0,
            scope: Scope::All,
            floor: Some(-251),
            cap: Some(9_000),
        },
        Bound {
            from: utc(2022, 1, 1, 6),
            scope: Scope::All,
            floor: Some(-251),
            cap: Some(5_000),
        },
        Bound {
            from: utc(2025, 12, 5, 6),
            scope: Scope::RealTime,
            floor: Some(-251),
            cap: Some(2_000),
        },
    ],
    peak: Some(Peak {
        zone: "America/Chicago",
        first: 7,
        last: 22,
        saturday: false,
    }),
    samples: &["ERCOT.HB_NORTH.RT15", "ELEC_ERCOT_BALMO"],
    products: &["rt5", "rt15", "da"],
    places: &[
        Places {
            kind: PlaceKind::Hub,
            is_complete: true,
            region: None,
            names: &[
                "HB_HOUSTON",
                "HB_NORTH",
                "HB_SOUTH",
                "HB_WEST",
                "HB_PAN",
                "HB_BUSAVG",
                "HB_HUBAVG",
            ],
        },
        Places {
            kind: PlaceKind::Zone,
            is_complete: true,
            region: None,
            names: &[
                "LZ_AEN",
                "LZ_CPS",
                "LZ_HOUSTON",
                "LZ_LCRA",
                "LZ_NORTH",
                "LZ_RAYBN",
                "LZ_SOUTH",
                "LZ_WEST",
            ],
        },
        Places {
            kind: PlaceKind::Interface,
            is_complete: false,
            region: None,
            names: &["DC_E", "DC_L", "DC_N", "DC_R"],
        },
    ],
    formats: &[
        KnownFormat {
            name: sced::SETTLEMENT_POINTS,
            description: "prices of settlement points by SCED run (NP6-788)",
            recognise: |head| sced::recognise(head, sced::SETTLEMENT_POINTS),
            open: sced::open,
        },
        KnownFormat {
            name: sced::BUSES,
            description: "prices of electrical buses by SCED run (NP6-787)",
            recognise: |head| sced::recognise(head, sced::BUSES),
            open: sced::open,
        },
        KnownFormat {
            name: "ercot.np6-905.csv",
            description: "real-time settlement point prices, 15 minutes (NP6-905)",
            recognise: settlement::recognise,
            open: settlement::open,
        },
        KnownFormat {
            name: "ercot.np4-190.json",
            description: "day-ahead settlement point prices, a page of the API (NP4-190)",
            recognise: |head| head.is_json() && day_ahead::recognise(head),
            open: day_ahead::open,
        },
        KnownFormat {
            name: "ercot.np4-190.csv",
            description: "day-ahead settlement point prices (NP4-190)",
            recognise: |head| !head.is_json() && day_ahead::recognise(head),
            open: day_ahead::open,
        },
    ],
};

/// The pass that the flag of a row names; `None` without a flag.
fn pass(record: &Record<'_>, flag: Column) -> Result<Option<Pass>, Rejection> {
    let text = record.cell(flag);
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if text.is_empty() {
        Ok(None)
    } else if is(&["N", "false", "0", "no"]) {
        Ok(Some(Pass::First))
    } else if is(&["Y", "true", "1", "yes"]) {
        Ok(Some(Pass::Second))
    } else {
        let message = format!("{} is \"{}\": Y or N is expected", flag.name, excerpt(text));
        Err(Rejection::new(RejectCode::SchemaViolation, message))
    }
}

/// Zone and hub of a settlement point, by its name.
fn place(node: &str) -> (Option<&str>, Option<&str>) {
    (
        node.starts_with("LZ_").then_some(node),
        node.starts_with("HB_").then_some(node),
    )
}
