//! Compares the bars that `dp verify` recomputes on a real ClickHouse with the oracle of testkit, which shares no code with it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeMap;

use common::{Setup, setup};
use domain::Interval;
use fastrand::Rng;
use reconcile::products::Products;
use reconcile::verify::bars::{Bars, Expired};
use reconcile::verify::cut::Cut;
use reconcile::verify::gaps::Gaps;
use reconcile::verify::report::Check;
use service::{Env, Reader};
use testkit::bars::{BarKey, Times, Wanted, bars, placed};
use testkit::parse::Tick;

const MINUTE: i64 = 60_000_000;
const DAY: i64 = 24 * 60 * MINUTE;
/// A day in the past, so that every window of it has closed.
const BEGIN: i64 = 1_700_000_040_000_000;

/// Versions of prices; most have none.
const VERSIONS: [Option<&str>; 12] = [
    None,
    None,
    None,
    None,
    Some("preliminary"),
    Some("unverified"),
    Some("verified.2"),
    Some("Verified.10"),
    Some("verified.10.superseded"),
    Some("final"),
    Some("12"),
    Some("other.7"),
];

impl Setup {
    async fn run(&self, sql: &str) {
        self.clickhouse.exec(sql).await.unwrap();
    }

    async fn check(&self, expired: &[Expired]) -> (Check, Option<String>) {
        let env = Env::new();
        let bars = Bars {
            clickhouse: &self.clickhouse,
            names: &self.names,
            gaps: &Gaps::default(),
            cut: &Cut::nowhere(),
            products: &Products::read(&mut Reader::new(&env)),
            intervals: &Interval::ALL,
            parts: 2,
            expired,
            named: 20,
        };
        let (check, notes) = bars.check(async || Ok(Vec::new())).await.unwrap();
        (check, notes.into_iter().next())
    }
}

/// Ticks of a few instruments, not in the order of event time: some are a day old, some are in the future, one raw partition
/// is behind the other, and prices of intervals are published again.
fn ticks(random: &mut Rng) -> Vec<(Tick, i32, i64)> {
    let mut appended = BEGIN;
    let mut below = |limit: u64| random.u64(..limit) as i64;
    let mut newest: Option<(Tick, i32, i64)> = None;
    (0..400)
        .map(|offset| {
            appended += below(40_000) * 1_000;
            let raw = below(2) as i32;
            let instrument = below(5);
            // The last instrument has prices of two interval lengths, often with the same start.
            let product = ["trade", "rt5", "da", "odd", ["rt5", "da"][offset as usize % 2]][instrument as usize];
            let behind = [0, 10, 45, 400, 3_700, 90_000, -7_000][below(7) as usize] * 1_000_000;
            let mut time = appended - behind - below(30) * 1_000_000;
            if product == "rt5" || product == "da" {
                time -= time.rem_euclid(if product == "da" { 60 * MINUTE } else { 5 * MINUTE });
            } else if below(3) == 0 {
                time -= time.rem_euclid(MINUTE);
            }
            let sign = if below(4) == 0 { -1 } else { 1 };
            let tick = Tick {
                feed: "raw".to_owned(),
                partition: raw,
                offset,
                index: 0,
                tenant: "t".to_owned(),
                instrument: format!("i{instrument}"),
                event_id: None,
                price: i128::from(sign * below(1 << 40)),
                volume: (below(5) > 0).then(|| i128::from(below(1 << 45))),
                time,
                // Some intervals are shorter than those of their product, or named with an end that is none.
                end: [None, Some(300), Some(below(300)), Some(below(5_000) - 20)][below(4) as usize]
                    .map(|seconds| time + seconds * 1_000_000 + below(2) * 999_999),
                sequence: (below(3) == 0).then(|| below(5) - 2),
                product: product.to_owned(),
                version: VERSIONS[below(VERSIONS.len() as u64) as usize].map(str::to_owned),
                // One raw partition is an hour behind.
                appended: appended - i64::from(raw) * 60 * MINUTE,
                is_part: false,
                reused_id: false,
            };
            // The row before in another document.
            let again = newest.take().filter(|_| below(4) == 0);
            let row = match again {
                Some((before, partition, _)) => {
                    let (partition_of_raw, appended) = (tick.partition, tick.appended);
                    let again = Tick {
                        partition: partition_of_raw,
                        offset,
                        appended,
                        ..before
                    };
                    (again, partition, offset)
                }
                None => (tick, (instrument % 2) as i32, offset),
            };
            newest = Some(row.clone());
            row
        })
        .collect()
}

fn decimal(unscaled: i128, scale: usize) -> String {
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    format!("{}{whole}.{fraction}", if unscaled < 0 { "-" } else { "" })
}

fn tick_row((tick, partition, offset): &(Tick, i32, i64)) -> String {
    let or_null = |value: Option<String>| value.unwrap_or_else(|| "NULL".to_owned());
    let kind = if matches!(&*tick.product, "rt5" | "da") {
        "interval"
    } else {
        "trade"
    };
    format!(
        "('{}', '{}', fromUnixTimestamp64Micro({}, 'UTC'), {}, '{}', '{kind}', {}, {}, {}, {}, '{}', {}, {}, {}, {partition}, {offset}, \
         fromUnixTimestamp64Micro({}, 'UTC'), now64(6))",
        tick.tenant,
        tick.instrument,
        tick.time,
        or_null(tick.end.map(|end| format!("fromUnixTimestamp64Micro({end}, 'UTC')"))),
        tick.product,
        decimal(tick.price, 8),
        or_null(tick.volume.map(|volume| decimal(volume, 8))),
        or_null(tick.sequence.map(|sequence| sequence.to_string())),
        or_null(tick.version.as_ref().map(|version| format!("'{version}'"))),
        tick.feed,
        tick.partition,
        tick.offset,
        tick.index,
        tick.appended
    )
}

fn bar_row((key, wanted): (&BarKey, &Wanted)) -> String {
    let bar = &wanted.bar;
    let edge = |(time, feed, partition, offset, index): &testkit::bars::Edge| {
        format!("fromUnixTimestamp64Micro({time}, 'UTC'), '{feed}', {partition}, {offset}, {index}")
    };
    format!(
        "('{}', '{}', '{}', fromUnixTimestamp64Micro({}, 'UTC'), {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, '{}', {}, {}, {}, now64(6))",
        key.0,
        key.1,
        key.2,
        key.3,
        decimal(bar.open, 8),
        decimal(bar.high, 8),
        decimal(bar.low, 8),
        decimal(bar.close, 8),
        decimal(bar.volume, 8),
        decimal(bar.turnover, 16),
        bar.vwap.map_or("NULL".to_owned(), |vwap| decimal(vwap, 8)),
        bar.by_time.0.map_or("NULL".to_owned(), |twap| decimal(twap, 8)),
        decimal(bar.by_time.1, 8),
        bar.by_time.2,
        bar.count,
        edge(&bar.first),
        edge(&bar.last),
        bar.revision,
        bar.cause,
        wanted.is_closed,
        bar.last_offset * 2 + i64::from(wanted.is_closed),
        key.1.trim_start_matches('i').parse::<i32>().unwrap() % 2,
    )
}

fn of(ticks: &[(Tick, i32, i64)]) -> BTreeMap<BarKey, Wanted> {
    let lying = ticks
        .iter()
        .map(|(tick, partition, offset)| (tick, *partition, *offset));
    bars(&placed(lying.collect(), &Times::default()))
}

async fn fill(setup: &Setup, ticks: &[(Tick, i32, i64)]) -> BTreeMap<BarKey, Wanted> {
    setup.run("TRUNCATE TABLE market_data.enriched_ticks").await;
    let rows: Vec<String> = ticks.iter().map(tick_row).collect();
    setup
        .run(&format!(
            "INSERT INTO market_data.enriched_ticks (tenant_id, instrument_id, timestamp, interval_end, product, kind, price, volume, sequence, version, feed, \
             raw_partition, raw_offset, raw_index, src_partition, src_offset, appended_at, ingested_at) VALUES {}",
            rows.join(", ")
        ))
        .await;
    let wanted = of(ticks);
    fill_bars(setup, &wanted).await;
    wanted
}

async fn fill_bars(setup: &Setup, bars: &BTreeMap<BarKey, Wanted>) {
    setup.run("TRUNCATE TABLE market_data.bars").await;
    let rows: Vec<String> = bars.iter().map(bar_row).collect();
    setup
        .run(&format!(
            "INSERT INTO market_data.bars (tenant_id, instrument_id, interval, window_start, open, high, low, close, volume, turnover, vwap, twap, price_seconds, priced_seconds, \
             trade_count, open_time, first_feed, first_partition, first_offset, first_index, close_time, last_feed, \
             last_partition, last_offset, last_index, revision, cause, closed, version, src_partition, ingested_at) VALUES {}",
            rows.join(", ")
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_judges_expect_the_same_bars_and_each_change_is_named() {
    let setup = setup().await;
    for seed in 0..4 {
        let ticks = ticks(&mut Rng::with_seed(seed));
        let wanted = fill(&setup, &ticks).await;
        assert!(wanted.values().any(|bar| bar.bar.revision > 0));
        assert!(wanted.values().any(|bar| !bar.is_closed));
        let (check, expired) = setup.check(&[]).await;
        assert!(check.ok && expired.is_none(), "seed {seed}: {check:?}");
        assert_eq!(check.expected, wanted.len() as i64);
    }
    // A release without causes wrote them; nothing is said of the others.
    setup
        .run("ALTER TABLE market_data.bars UPDATE cause = '' WHERE instrument_id = 'i1' SETTINGS mutations_sync = 2")
        .await;
    let (check, _) = setup.check(&[]).await;
    assert!(check.ok, "{check:?}");
    for (change, said) in [
        ("UPDATE revision = revision + 1", "revision is "),
        ("UPDATE cause = concat(cause, '?')", "cause is "),
        ("UPDATE closed = false", "closed is 0 instead of 1"),
        ("UPDATE last_offset = last_offset + 1", "last_tick is "),
        (
            "UPDATE turnover = turnover + toDecimal128('0.0000000000000001', 16)",
            "turnover is ",
        ),
        ("DELETE", "is missing"),
    ] {
        let bar = "instrument_id = 'i0' AND interval = '1d' AND closed";
        setup
            .run(&format!(
                "ALTER TABLE market_data.bars {change} WHERE {bar} SETTINGS mutations_sync = 2"
            ))
            .await;
        let (check, _) = setup.check(&[]).await;
        let named = check.differences.named.join("\n");
        assert!(
            named.contains("bar t/i0/1d/") && named.contains(said),
            "{change}: {named}"
        );
        fill(&setup, &ticks(&mut Rng::with_seed(3))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bars_whose_rows_have_expired_are_noted_but_no_difference() {
    let setup = setup().await;
    let ticks = ticks(&mut Rng::with_seed(11));
    fill(&setup, &ticks).await;
    setup
        .run("ALTER TABLE market_data.enriched_ticks DELETE WHERE src_offset < 100 SETTINGS mutations_sync = 2")
        .await;
    let (check, expired) = setup.check(&[]).await;
    assert!(!check.ok && expired.is_none(), "{check:?}");
    let since = |ingested_at| {
        [0, 1].map(|partition| Expired {
            partition,
            first_offset: 100,
            ingested_at,
        })
    };
    let (check, expired) = setup.check(&since(BEGIN)).await;
    assert!(check.ok, "{check:?}");
    let before = counted(expired.as_deref());
    assert!(expired.is_some_and(|note| note.contains("t/i")));

    // Windows that begin so much later have no expired rows, so their differences count.
    let (check, expired) = setup.check(&since(BEGIN - 60 * DAY)).await;
    assert!(!check.ok && expired.is_none(), "{check:?}");

    // Late ticks arrived for windows that had lost rows. The bars are kept without these ticks.
    let (all, without) = (of(&ticks), of(&ticks[..380]));
    let first = of(&ticks[..100]);
    let kept = |(key, bar): (&BarKey, &Wanted)| {
        let older = without
            .get(key)
            .filter(|_| bar.bar.last_offset >= 380 && first.contains_key(key));
        (key.clone(), older.unwrap_or(bar).clone())
    };
    let stored: BTreeMap<BarKey, Wanted> = all.iter().map(kept).collect();
    let are_older = stored.iter().filter(|(key, bar)| all[*key] != **bar).count() as u64;
    assert!(are_older > 0);
    fill_bars(&setup, &stored).await;
    let (check, expired) = setup.check(&since(BEGIN)).await;
    assert!(check.ok, "{check:?}");
    assert!(counted(expired.as_deref()) >= before, "{expired:?}");
    assert!(counted(expired.as_deref()) >= are_older, "{expired:?}");

    // A bar that counts exactly the rows that are left is still compared: a wrong number is a difference.
    setup
        .run("ALTER TABLE market_data.bars UPDATE high = high + 1 WHERE instrument_id = 'i0' AND closed SETTINGS mutations_sync = 2")
        .await;
    let (check, _) = setup.check(&since(BEGIN)).await;
    assert!(check.differences.named.join("\n").contains("high is "), "{check:?}");
}

/// How many bars the note counts.
fn counted(note: Option<&str>) -> u64 {
    let (count, rest) = note.unwrap().split_once(' ').unwrap();
    assert!(rest.starts_with("bar(s) cannot be recomputed"), "{rest}");
    count.parse().unwrap()
}
