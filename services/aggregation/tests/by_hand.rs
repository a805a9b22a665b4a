//! The daily bar of one hub of each market, from the example documents, against values that were added up by hand from the file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;

use aggregation::config;
use aggregation::core::instrument::Arrived;
use aggregation::core::partition_state::{PartitionState, Writer};
use aggregation::core::records::WriterId;
use aggregation::core::window_state::Shown;
use domain::{Decimal, Interval, Micros, Origin, Tick};
use markets::{Normalizer, NormalizerConfig, RawMessage, detect_format};
use service::{Env, Reader};

const FEED: &str = "ingestion.market.raw.v1";
const SECOND: Micros = 1_000_000;
const HOUR: Micros = 3_600 * SECOND;
/// 2025-11-02T00:00:00Z: the day on which clocks in North America go back.
const MIDNIGHT: Micros = 1_762_041_600 * SECOND;

/// File and instrument; hours of the market's day, and those of them that are in the day of UTC; of the latter first, highest, lowest and
/// last price, and their sum.
type Expected = (&'static str, &'static str, usize, i64, [&'static str; 4], &'static str);

const EXPECTED: [Expected; 7] = [
    (
        "caiso_PRC_LMP_DAM_20251102.csv",
        "CAISO.TH_NP15_GEN-APND.DA",
        25,
        17,
        ["23.51", "41.49", "21.8", "41.49"],
        "550.88",
    ),
    (
        "ercot_DAMSPNP4190_20251102.csv",
        "ERCOT.HB_NORTH.DA",
        25,
        19,
        ["15.91", "33.69", "14.6", "33.33"],
        "495.39",
    ),
    (
        "isone_WW_DALMP_ISO_20251102.csv",
        "ISONE..H.INTERNAL_HUB.DA",
        25,
        20,
        ["32.11", "50.18", "30.41", "45.18"],
        "844.37",
    ),
    (
        "miso_20251102_da_expost_lmp.csv",
        "MISO.INDIANA.HUB.DA",
        24,
        19,
        ["19.91", "38.73", "18.2", "36.73"],
        "571.29",
    ),
    (
        "nyiso_20251102damlbmp_zone.csv",
        "NYISO.WEST.DA",
        25,
        20,
        ["29.61", "47.39", "27.6", "43.88"],
        "796.47",
    ),
    (
        "pjm_da_hrl_lmps_20251102.csv",
        "PJM.WESTERN%20HUB.DA",
        25,
        20,
        ["26.31", "44.29", "24.6", "39.38"],
        "725.17",
    ),
    (
        "spp_DA-LMP-SL-202511020100.csv",
        "SPP.SPPNORTH_HUB.DA",
        25,
        19,
        ["13.01", "32.28", "13.01", "30.93"],
        "458.29",
    ),
];

/// The newest version of a bar: open, high, low, close, sum of price × seconds, seconds, number of prices.
type Facts = ([Decimal; 4], i128, i64, i64);

type Bars = BTreeMap<(String, Interval, Micros), Facts>;

/// All bars of an example document, after their windows have closed.
fn bars_of(file: &str) -> Bars {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/documents");
    let payload = std::fs::read(folder.join(file)).unwrap();
    bars_of_document(file, &payload, MIDNIGHT - 7 * HOUR)
}

/// All bars of a document that was appended at this time, after their windows have closed.
fn bars_of_document(file: &str, payload: &[u8], appended_at: Micros) -> Bars {
    let env = Env::new();
    let writer = Writer {
        id: WriterId { ordinal: 1, random: 1 },
        topic_id: "id".to_owned(),
    };
    let rules = config::read(&mut Reader::new(&env)).rules;
    let mut state = PartitionState::new(rules, writer, Vec::new(), appended_at);
    let (mut bars, mut offset) = (BTreeMap::new(), 0);
    let mut apply = |tick: &Tick<'_>| {
        offset += 1;
        let now = tick.appended_at;
        state.apply(&Arrived { tick, offset, now }, &mut |shown| match shown {
            Shown::Bar(bar) => {
                let key = (bar.instrument_id.to_owned(), bar.window.interval, bar.window.start);
                let prices = [bar.open, bar.high, bar.low, bar.close];
                let weighted = bar.time_weighted;
                bars.insert(key, (prices, weighted.price_seconds, weighted.seconds, bar.trade_count));
            }
            Shown::Closing(closing) => panic!("{file}: left to the table: {closing:?}"),
        })
    };
    let message = RawMessage {
        feed: FEED,
        partition: 0,
        offset: 1,
        appended_at,
        key: None,
        payload,
        format: Some(detect_format(file, payload).unwrap()),
        tenant: None,
        replay: None,
    };
    let mut normalizer = Normalizer::new(NormalizerConfig::default());
    let outcome = normalizer.normalize(&message, 5, &mut |tick| _ = apply(tick));
    assert!(outcome.unwrap().rejected.is_empty(), "{file}");
    // Moves the clock of the log past all windows.
    let later = MIDNIGHT + 96 * HOUR;
    _ = apply(&Tick {
        origin: Origin {
            feed: FEED,
            partition: 0,
            offset: 2,
            index: 0,
        },
        appended_at: later,
        event_time: later,
        instrument_id: "LATER",
        ..domain::fixtures::tick()
    });
    bars
}

#[test]
fn the_daily_bar_of_a_hub_of_each_market_is_the_one_computed_by_hand() {
    let decimal = |text: &str| Decimal::parse(text.as_bytes()).unwrap();
    for (file, instrument, hours, of_utc, prices, sum) in EXPECTED {
        let bars = bars_of(file);
        let of = |interval: Interval| {
            let is_it = move |((name, length, _), _): &(&(String, Interval, Micros), &Facts)| {
                name == instrument && *length == interval
            };
            bars.iter().filter(is_it)
        };
        assert_eq!(
            of(Interval::OneHour).count(),
            hours,
            "{file}: hours of the market's day"
        );
        let day = bars.get(&(instrument.to_owned(), Interval::OneDay, MIDNIGHT));
        let expected = (
            prices.map(decimal),
            i128::from(decimal(sum).unscaled()) * 3_600,
            of_utc * 3_600,
            of_utc,
        );
        assert_eq!(day, Some(&expected), "{file}");
        // The first hours of the day in which the market's day ends.
        let rest = bars.get(&(instrument.to_owned(), Interval::OneDay, MIDNIGHT + 24 * HOUR));
        assert_eq!(
            rest.map(|(_, _, _, count)| of_utc + count),
            Some(hours as i64),
            "{file}"
        );
    }
}

/// The third price is that of an extra dispatch run, and the last one of the document: it counts for the 46 seconds from 12:10:00 on.
#[test]
fn a_price_of_a_short_interval_counts_for_its_seconds() {
    const DOCUMENT: &str = "\"Time Stamp\",\"Name\",\"PTID\",\"LBMP ($/MWHr)\",\"Marginal Cost Losses ($/MWHr)\",\"Marginal Cost Congestion ($/MWHr)\"\n\
         \"11/02/2025 12:05:00\",\"N.Y.C.\",61761,10.50,0.00,0.00\n\
         \"11/02/2025 12:10:00\",\"N.Y.C.\",61761,20.25,0.00,0.00\n\
         \"11/02/2025 12:10:46\",\"N.Y.C.\",61761,100.00,0.00,0.00\n";
    let decimal = |text: &str| Decimal::parse(text.as_bytes()).unwrap();
    // Noon in New York.
    let noon = MIDNIGHT + 17 * HOUR;
    let bars = bars_of_document(
        "20251102realtime_zone.csv",
        DOCUMENT.as_bytes(),
        noon + 12 * 60 * SECOND,
    );
    let of = |interval, start| bars.get(&("NYISO.N.Y.C..RT5".to_owned(), interval, start));
    let unscaled = |units: i128| units * 100_000_000;
    let last = decimal("100");
    assert_eq!(
        of(Interval::FiveMinutes, noon + 600 * SECOND),
        Some(&([last; 4], unscaled(4_600), 46, 1))
    );
    // 10.50 × 300 + 20.25 × 300 + 100 × 46
    let prices = ["10.5", "100", "10.5", "100"].map(decimal);
    for (interval, start) in [
        (Interval::FifteenMinutes, noon),
        (Interval::OneHour, noon),
        (Interval::OneDay, MIDNIGHT),
    ] {
        assert_eq!(
            of(interval, start),
            Some(&(prices, unscaled(13_825), 646, 3)),
            "{interval:?}"
        );
    }
}
