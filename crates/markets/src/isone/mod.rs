//! ISO-NE: reports and web services of ISO New England.
//!
//! Times are Eastern prevailing time. Reports name hours by their end; the repeated hour is `02X`, and hour 02 is missing on
//! the spring day. The web service gives the start with its offset.

mod report;
mod smd_hourly;
mod web_service;

use domain::Micros;

use crate::clock::{self, EASTERN, HOUR, Instants, Pass, Wall};
use crate::registry::{Bound, KnownFormat, Market, Peak, PlaceKind, Places};
use crate::rejection::{RejectCode, Rejection};
use crate::venue::Scope;

pub(crate) const MARKET: Market = Market {
    name: "ISONE",
    description: "ISO New England",
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
        floor: Some(-150),
        cap: Some(2_000),
    }],
    peak: Some(Peak {
        zone: "America/New_York",
        first: 8,
        last: 23,
        saturday: false,
    }),
    samples: &["ISONE..H.INTERNAL_HUB.DA"],
    products: &["rth", "da"],
    places: &[
        Places {
            kind: PlaceKind::Hub,
            is_complete: true,
            region: None,
            names: &[".H.INTERNAL_HUB"],
        },
        Places {
            kind: PlaceKind::Zone,
            is_complete: true,
            region: None,
            names: &[
                ".Z.MAINE",
                ".Z.NEWHAMPSHIRE",
                ".Z.VERMONT",
                ".Z.CONNECTICUT",
                ".Z.RHODEISLAND",
                ".Z.SEMASS",
                ".Z.WCMASS",
                ".Z.NEMASSBOST",
            ],
        },
    ],
    formats: &[
        KnownFormat {
            name: report::DAY_AHEAD,
            description: "day-ahead hourly prices",
            recognise: |head| report::recognise(head, report::DAY_AHEAD),
            open: report::open,
        },
        KnownFormat {
            name: report::REAL_TIME,
            description: "real-time hourly prices, preliminary or final",
            recognise: |head| report::recognise(head, report::REAL_TIME),
            open: report::open,
        },
        KnownFormat {
            name: web_service::NAME_OF_FORMAT,
            description: "day-ahead hourly prices of the web service",
            recognise: web_service::recognise,
            open: web_service::open,
        },
        KnownFormat {
            name: "isone.smd_hourly.csv",
            description: "hourly day-ahead and real-time prices of the SMD workbook",
            recognise: smd_hourly::recognise,
            open: smd_hourly::open,
        },
    ],
};

/// The start of an hour of a day; `ending` is `01` to `24`, or `02X`.
fn hour_start(day: Wall, ending: &str, column: &'static str) -> Result<Micros, Rejection> {
    let marked = ending.strip_suffix(['X', 'x']);
    let hour = clock::hour_ending(marked.unwrap_or(ending), column)?;
    let (start, end) = (day + (hour - 1) * HOUR, day + hour * HOUR);
    if marked.is_some() {
        return EASTERN.utc(start, Some(Pass::Second));
    }
    match (EASTERN.instants(start), EASTERN.instants(end)) {
        (_, Instants::Never) => Err(Rejection::new(
            RejectCode::InvalidTime,
            format!("{column} is {hour}: that hour is missing on this day"),
        )),
        (Instants::Once(start) | Instants::Twice(start, _), _) => Ok(start),
        // The clock is set forward at the beginning of this hour.
        (Instants::Never, Instants::Once(end)) => Ok(end - HOUR),
        (Instants::Never, Instants::Twice(..)) => Err(clock::ambiguous(end)),
        (Instants::OutOfRange, _) | (_, Instants::OutOfRange) => Err(clock::out_of_range(start)),
    }
}
