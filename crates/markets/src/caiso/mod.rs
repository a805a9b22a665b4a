//! CAISO: reports of the Open Access Same-time Information System (OASIS) of the California ISO.
//!
//! Each row holds one component of one price; see [`assemble`] for how prices are put together. GMT stamps give both ends of
//! an interval; the operating day and hour ending are Pacific prevailing time and must agree with them.

mod assemble;
mod components;
mod elements;
mod intervals;
mod markup;
mod oasis_rows;
mod oasis_xml;
mod report;
mod root;

use crate::clock::HOUR;
use crate::registry::{Bound, KnownFormat, Market, Peak, PlaceKind, Places};
use crate::time::utc;
use crate::venue::Scope;

/// The fifteen-minute market closes 22.5 minutes before its interval. One hour also covers runs that bind several intervals.
const FIFTEEN_MINUTE_MARKET: (&str, i64) = ("rt15", HOUR);

pub(crate) const MARKET: Market = Market {
    name: "CAISO",
    description: "California ISO",
    zone: "America/Los_Angeles",
    region: "west",
    currency: "USD",
    unit: "MWh",
    placed_by_hub: true,
    real_time_product: Some("rt5"),
    published_ahead: &[FIFTEEN_MINUTE_MARKET],
    bounds: &[
        Bound {
            from: 0,
            scope: Scope::All,
            floor: Some(-150),
            cap: Some(1_000),
        },
        Bound {
            from: utc(2021, 3, 20, 7),
            scope: Scope::All,
            floor: Some(-150),
            cap: Some(2_000),
        },
    ],
    peak: Some(Peak {
        zone: "America/Los_Angeles",
        first: 7,
        last: 22,
        saturday: true,
    }),
    samples: &["CAISO.TH_SP15_GEN-APND.RT15", "ELEC_CAISO_BALMO"],
    products: &["rt5", "rt15", "da"],
    places: &[
        Places {
            kind: PlaceKind::Hub,
            is_complete: true,
            region: None,
            names: &["TH_NP15_GEN-APND", "TH_SP15_GEN-APND", "TH_ZP26_GEN-APND"],
        },
        Places {
            kind: PlaceKind::Zone,
            is_complete: false,
            region: None,
            names: &["DLAP_PGAE-APND", "DLAP_SCE-APND", "DLAP_SDGE-APND", "DLAP_VEA-APND"],
        },
    ],
    formats: &[
        KnownFormat {
            name: "caiso.prc_lmp.csv",
            description: "day-ahead hourly prices (PRC_LMP)",
            recognise: |head| report::recognise(head, ",DAM,"),
            open: report::open,
        },
        KnownFormat {
            name: "caiso.prc_rtpd_lmp.csv",
            description: "fifteen-minute market prices (PRC_RTPD_LMP)",
            recognise: |head| report::recognise(head, ",RTPD,"),
            open: report::open,
        },
        KnownFormat {
            name: "caiso.prc_intvl_lmp.csv",
            description: "real-time five-minute prices (PRC_INTVL_LMP)",
            recognise: |head| report::recognise(head, ",RTM,"),
            open: report::open,
        },
        KnownFormat {
            name: "caiso.oasis.xml",
            description: "prices of any of the three markets as OASIS XML",
            recognise: |head| head.is_xml() && head.holds("OASISReport"),
            open: oasis_xml::open,
        },
    ],
};
