//! The daily bar of one hub of each market, from the example documents, against values that were added up by hand from the file; and one
//! bar of each market, from the real documents, against a second reading of the file that shares no code with the services.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use aggregation::config;
use aggregation::core::instrument::Arrived;
use aggregation::core::partition_state::{PartitionState, Writer};
use aggregation::core::records::WriterId;
use aggregation::core::window_state::Shown;
use domain::{Decimal, Interval, Kind, Micros, Origin, Tick};
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

/// One partition, and the newest version of each of its bars.
struct Partition {
    state: PartitionState,
    offset: i64,
    bars: Bars,
}

impl Partition {
    fn new(now: Micros) -> Partition {
        let env = Env::new();
        let rules = config::read(&mut Reader::new(&env)).rules;
        let writer = Writer {
            id: WriterId { ordinal: 1, random: 1 },
            topic_id: "id".to_owned(),
        };
        Partition {
            state: PartitionState::new(rules, writer, Vec::new(), now),
            offset: 0,
            bars: BTreeMap::new(),
        }
    }

    fn apply(&mut self, tick: &Tick<'_>) {
        let Partition { state, offset, bars } = self;
        *offset += 1;
        let arrived = Arrived {
            tick,
            offset: *offset,
            now: tick.appended_at,
        };
        _ = state.apply(&arrived, &mut |shown| match shown {
            Shown::Bar(bar) => {
                let key = (bar.instrument_id.to_owned(), bar.window.interval, bar.window.start);
                let prices = [bar.open, bar.high, bar.low, bar.close];
                let weighted = bar.time_weighted;
                bars.insert(key, (prices, weighted.price_seconds, weighted.seconds, bar.trade_count));
            }
            Shown::Closing(closing) => panic!("left to the table: {closing:?}"),
        });
    }

    /// The bars, after the clock of the log has moved past all windows.
    fn close(mut self, later: Micros, offset: i64) -> Bars {
        self.apply(&Tick {
            origin: Origin {
                feed: FEED,
                partition: 0,
                offset,
                index: 0,
            },
            appended_at: later,
            event_time: later,
            instrument_id: "LATER",
            ..domain::fixtures::tick()
        });
        self.bars
    }
}

/// Passes the ticks of a document that was appended at this time.
fn normalize(file: &str, payload: &[u8], appended_at: Micros, emit: &mut dyn FnMut(&Tick<'_>)) {
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
    let outcome = normalizer.normalize(&message, 5, &mut |tick| emit(tick));
    assert!(outcome.unwrap().rejected.is_empty(), "{file}");
}

/// All bars of a document that was appended at this time, after their windows have closed.
fn bars_of_document(file: &str, payload: &[u8], appended_at: Micros) -> Bars {
    let mut partition = Partition::new(appended_at);
    normalize(file, payload, appended_at, &mut |tick| partition.apply(tick));
    partition.close(MIDNIGHT + 96 * HOUR, 2)
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

/// The price of one interval as its file writes it, and its seconds.
type Priced = (String, i64);

/// A bar of a real document.
struct Real {
    file: &'static str,
    instrument: &'static str,
    interval: Interval,
    start: &'static str,
    /// Its prices in the order of time.
    prices: fn(&str) -> Vec<Priced>,
    /// Open, high, low and close.
    expected: [&'static str; 4],
    /// Price times seconds, added up, and the seconds.
    sum: (&'static str, i64),
}

/// The cells of one column of the lines that begin and continue so.
fn cells(text: &str, begin: &str, part: &str, column: usize) -> Vec<String> {
    let lines = text
        .lines()
        .filter(|line| line.starts_with(begin) && line.contains(part));
    let cell = |line: &str| line.split(',').nth(column).unwrap().trim_matches('"').to_owned();
    lines.map(cell).collect()
}

/// The values that follow this text.
fn values(text: &str, before: &str) -> Vec<String> {
    let value = |rest: &str| {
        rest.trim_start()
            .split([',', '}', ']'])
            .next()
            .unwrap()
            .trim()
            .to_owned()
    };
    text.split(before).skip(1).map(value).collect()
}

fn each(prices: Vec<String>, seconds: i64) -> Vec<Priced> {
    prices.into_iter().map(|price| (price, seconds)).collect()
}

/// The sums were computed with a calculator of exact decimals: in comments what is added.
const REAL: [Real; 8] = [
    // (26.16 + 29.51 + 56.98) × 300; the stamps are the end in EST, so the first interval begins at 04:55 UTC.
    Real {
        file: "miso/GetRealTimeFiveMinExPost_Previous_20261001_0000_0010.json",
        instrument: "MISO.INDIANA.HUB.RT5",
        interval: Interval::OneDay,
        start: "2026-10-01T00:00:00Z",
        prices: |text| {
            let rows = text.split('[').filter(|row| row.contains("\"INDIANA.HUB\""));
            let price = |row: &str| row.split('"').nth(5).unwrap().to_owned();
            each(rows.map(price).collect(), 300)
        },
        expected: ["26.16", "56.98", "26.16", "56.98"],
        sum: ("33795", 900),
    },
    // (23.9984 + 30.78788 + 38.6902 + 62.83352) × 900
    Real {
        file: "caiso/PRC_RTPD_LMP_CAS_PP_GNODE7_20230917.csv",
        instrument: "CAISO.CAS_PP_GNODE7.RT15",
        interval: Interval::OneHour,
        start: "2023-09-18T00:00:00Z",
        prices: |text| each(cells(text, "2023-09-18T00:", ",LMP,", 13), 900),
        expected: ["23.9984", "62.83352", "23.9984", "62.83352"],
        sum: ("140679", 3_600),
    },
    // The day has 25 hours and begins at 05:00 UTC: the first 19 of them are in the day of UTC. 593.27 × 3600
    Real {
        file: "ercot/np4-190_dam_spp_hubavg_dst_fall_20251102.json",
        instrument: "ERCOT.HB_HUBAVG.DA",
        interval: Interval::OneDay,
        start: "2025-11-02T00:00:00Z",
        prices: |text| each(values(text, "\"HB_HUBAVG\",").into_iter().take(19).collect(), 3_600),
        expected: ["56.16", "76.42", "6.08", "76.42"],
        sum: ("2135772", 68_400),
    },
    // Twelve prices of 300 seconds: 201.373139 × 300
    Real {
        file: "pjm/rt_fivemin_hrl_lmps_rto_20250901_0000_0200.csv",
        instrument: "PJM.PJM-RTO.RT5",
        interval: Interval::OneHour,
        start: "2025-09-01T04:00:00Z",
        prices: |text| each(cells(text, "9/1/2025 4:", ",PJM-RTO,", 9), 300),
        expected: ["16.501561", "19.805603", "15.251576", "15.256474"],
        sum: ("60411.9417", 3_600),
    },
    // The day begins at 04:00 UTC: the first 20 hours are in the day of UTC. 1861.17 × 3600
    Real {
        file: "nyiso/damlbmp_zone_20220718.csv",
        instrument: "NYISO.N.Y.C..DA",
        interval: Interval::OneDay,
        start: "2022-07-18T00:00:00Z",
        prices: |text| {
            each(
                cells(text, "07/18/2022", ",N.Y.C.,", 3).into_iter().take(20).collect(),
                3_600,
            )
        },
        expected: ["76.23", "136.93", "59.09", "99.89"],
        sum: ("6700212.00", 72_000),
    },
    // As ERCOT's, but from 04:00 UTC on: 20 hours. 797.06 × 3600
    Real {
        file: "isone/ws_hourlylmp_da_final_hub_dst_fall_20251102.json",
        instrument: "ISONE..H.INTERNAL_HUB.DA",
        interval: Interval::OneDay,
        start: "2025-11-02T00:00:00Z",
        prices: |text| each(values(text, "\"LmpTotal\":").into_iter().take(20).collect(), 3_600),
        expected: ["32.34", "77.02", "31.49", "75.64"],
        sum: ("2869416", 72_000),
    },
    // 399.6101 × 3600
    Real {
        file: "spp/DA-LMP-SL-202511020100_dst_fall_part.csv",
        instrument: "SPP.SPPNORTH_HUB.DA",
        interval: Interval::OneDay,
        start: "2025-11-02T00:00:00Z",
        prices: |text| {
            each(
                cells(text, "11/0", ",SPPNORTH_HUB,", 4).into_iter().take(19).collect(),
                3_600,
            )
        },
        expected: ["27.5121", "27.5273", "15.2846", "23.6512"],
        sum: ("1438596.36", 68_400),
    },
    // The gas day begins at 15:00 UTC and is longer than a bar's price may count: one minute. 23.86 × 60
    Real {
        file: "gas/henry_hub_daily_spot_2021.csv",
        instrument: "GAS.HENRY_HUB.SPOT",
        interval: Interval::OneDay,
        start: "2021-02-17T00:00:00Z",
        prices: |text| each(cells(text, "2021-02-17,", "", 1), 60),
        expected: ["23.86", "23.86", "23.86", "23.86"],
        sum: ("1431.6", 60),
    },
];

/// A decimal number in units of 10^-8.
fn units(text: &str) -> i128 {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let number = |digits: &str| digits.parse::<i128>().unwrap();
    sign * (number(whole) * 100_000_000 + number(&format!("{fraction:0<8}")))
}

/// The folder of real documents next to the project; `None`, with a line that names the test, if it is missing.
fn samples_or_skip(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("DATA_PROC_SAMPLE_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")),
        PathBuf::from,
    );
    if folder.is_dir() {
        return Some(folder);
    }
    // Past the capture of the test harness, which would hide it since the test passes.
    let mut stderr = std::io::stderr();
    writeln!(
        stderr,
        "SKIPPED {test}: {} is missing; set DATA_PROC_SAMPLE_DATA",
        folder.display()
    )
    .unwrap();
    None
}

/// A price of one instrument, kept until all have been read.
struct Kept {
    market: String,
    product: String,
    start: Micros,
    end: Option<Micros>,
    price: Decimal,
}

/// The bars of one instrument of a document, as if each price had been published at the start of its interval.
fn live_bars(file: &str, payload: &[u8], instrument: &str) -> Bars {
    let mut prices = Vec::new();
    // After all samples.
    normalize(file, payload, MIDNIGHT + 10_000 * HOUR, &mut |tick| {
        if tick.instrument_id == instrument {
            prices.push(Kept {
                market: tick.market.to_owned(),
                product: tick.product.to_owned(),
                start: tick.event_time,
                end: tick.interval_end,
                price: tick.price,
            });
        }
    });
    prices.sort_by_key(|kept| kept.start);
    let first = prices
        .first()
        .unwrap_or_else(|| panic!("{file} has no {instrument}"))
        .start;
    let (mut partition, mut last, mut offset) = (Partition::new(first), first, 0);
    for kept in &prices {
        (last, offset) = (kept.start, offset + 1);
        partition.apply(&Tick {
            origin: Origin {
                feed: FEED,
                partition: 0,
                offset,
                index: 0,
            },
            appended_at: kept.start,
            event_time: kept.start,
            interval_end: kept.end,
            instrument_id: instrument,
            market: &kept.market,
            product: &kept.product,
            kind: Kind::Interval,
            price: kept.price,
            ..domain::fixtures::tick()
        });
    }
    partition.close(last + 96 * HOUR, offset + 1)
}

#[test]
fn a_bar_of_a_real_document_of_each_market_is_the_one_computed_from_its_text() {
    let Some(folder) = samples_or_skip("a_bar_of_a_real_document_of_each_market_is_the_one_computed_from_its_text")
    else {
        return;
    };
    for real in REAL {
        let file = real.file;
        let payload = std::fs::read(folder.join(file)).unwrap();
        let prices = (real.prices)(std::str::from_utf8(&payload).unwrap());
        let read = || prices.iter().map(|(price, _)| units(price));
        let computed = [prices.first(), prices.last()].map(|edge| units(&edge.unwrap().0));
        let computed = [computed[0], read().max().unwrap(), read().min().unwrap(), computed[1]];
        let sum: i128 = prices
            .iter()
            .map(|(price, seconds)| units(price) * i128::from(*seconds))
            .sum();
        let seconds: i64 = prices.iter().map(|(_, seconds)| seconds).sum();
        // Two readings of the file outside of the services agree.
        assert_eq!(computed, real.expected.map(units), "{file}");
        assert_eq!((sum, seconds), (units(real.sum.0), real.sum.1), "{file}");
        let name = Path::new(file).file_name().unwrap().to_str().unwrap();
        let bars = live_bars(name, &payload, real.instrument);
        let start: jiff::Timestamp = real.start.parse().unwrap();
        let bar = bars.get(&(real.instrument.to_owned(), real.interval, start.as_microsecond()));
        let (shown, price_seconds, of, count) = bar.unwrap_or_else(|| panic!("{file}: no bar"));
        assert_eq!(shown.map(|price| i128::from(price.unscaled())), computed, "{file}");
        assert_eq!(
            (*price_seconds, *of, *count),
            (sum, seconds, prices.len() as i64),
            "{file}"
        );
    }
}
