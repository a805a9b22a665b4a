//! The query that recomputes bars. It computes each bar from all ticks of its window, whether the stream or `restate` has
//! computed the stored one. Pure.
//!
//! Invariant: every value is a function of the rows of `enriched_ticks`, including their offsets and append times. A row is
//! *after the close* of a window if the log clock at that row has reached the close: the largest append time in its partition
//! up to its offset is at least the end of the window plus the delay of its product. (A window of several products closes by
//! the delay of its last row.) A window closes at a whole minute plus the delay, so one step for each minute of the log clock
//! and each delay is enough.
//! The arithmetic uses exact decimals and 256-bit integers. A bar of an earlier release has no time-weighted average or no cause; its other
//! values are compared. One that counted nominal lengths, or prices without effect as revisions, is a difference (docs/bars.md).

use std::collections::BTreeMap;

use domain::Interval;
use domain::product::LONGEST_AHEAD;
use service::Names;
use service::writer::tables::{BARS, ENRICHED_TICKS};
use stores::clickhouse::literal;

use super::ranges::Range;
use crate::products::Products;
use crate::sql::VINTAGE;

/// `sum / weight` as `name_`, at the scale of the quotient, rounded half to even like `domain::Turnover::vwap`. Both are 256-bit integers;
/// weights are never negative.
fn average(sum: &str, weight: &str, name: &str) -> String {
    let [of, by, quotient, rest, rounded] = ["t", "v", "q", "r", "rounded"].map(|part| format!("{name}_{part}_"));
    format!(
        "abs({sum}) AS {of}, greatest({weight}, toInt256(1)) AS {by}, intDiv({of}, {by}) AS {quotient}, {of} % {by} AS {rest}, \
         {quotient} + ({rest} * 2 > {by} OR ({rest} * 2 = {by} AND {quotient} % 2 = 1)) AS {rounded}, \
         if({weight} = 0 OR {rounded} >= toInt256('1000000000000000000'), '\\\\N', \
         toString(if({sum} < 0, -{rounded}, {rounded}))) AS {name}_"
    )
}

/// Order of the ticks of a bar: event time, producer's sequence (ticks without one first), origin.
const EDGE: &str = "(toUnixTimestamp64Micro(timestamp), isNotNull(sequence), ifNull(sequence, 0), toString(feed), raw_partition, \
    raw_offset, raw_index)";
const ORIGIN: &str = "(toString(feed), raw_partition, raw_offset, raw_index)";
/// Every interval is a multiple of this.
const STEP: i64 = 60_000_000;

/// A partition of `enriched_ticks` that has expired rows. Rows expire in the order of their ingestion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expired {
    /// Its number.
    pub partition: i32,
    /// The first offset that the table still has.
    pub first_offset: i64,
    /// When that row was ingested, in microseconds.
    pub ingested_at: i64,
}

impl Expired {
    /// A window that begins at this time or later has lost no row, because no expired row has a later event time. `restate`
    /// uses the same rule.
    pub(super) fn until(&self) -> i64 {
        self.ingested_at.saturating_add(LONGEST_AHEAD)
    }
}

/// How far behind the end of the log a bar may be read: more offsets than arrive during a query.
const ARRIVING: i64 = 1_000_000;

/// Which bars have changed since the cut: those of these offsets `[from, to)` of each enriched partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bounds(BTreeMap<i32, (i64, i64)>);

impl Bounds {
    /// Every bar of a tick at or after these ends.
    pub(super) fn of(cut: BTreeMap<i32, i64>) -> Bounds {
        Bounds(
            cut.into_iter()
                .map(|(partition, end)| (partition, (end, i64::MAX)))
                .collect(),
        )
    }

    /// If the log, read after the bars, has not all of their last ticks: leaves those out that it cannot have, and returns true.
    pub(super) fn tightened(&mut self, last: &BTreeMap<i32, i64>, now: &[Range]) -> bool {
        let mut is_other = false;
        for range in now {
            let Some((from, to)) = self.0.get_mut(&range.lane.partition) else {
                continue;
            };
            if last.get(&range.lane.partition).is_some_and(|last| *last >= range.end) {
                // While ticks arrive, the next query may find newer ones.
                let arriving = if range.end > *from { ARRIVING } else { 0 };
                (*to, is_other) = (range.end.saturating_add(arriving), true);
            }
        }
        is_other
    }

    /// SQL that is true for a bar of the partition `src` whose newest version has the offset `last_`.
    fn sql(&self) -> String {
        if self.0.is_empty() {
            return "0".to_owned();
        }
        let partitions = array("Int32", self.0.keys());
        let bound = |bounds: String| format!("transform(src, {partitions}, {bounds}, toInt64({}))", i64::MAX);
        format!(
            "(last_ >= {} AND last_ < {})",
            bound(array("Int64", self.0.values().map(|(from, _)| *from))),
            bound(array("Int64", self.0.values().map(|(_, to)| *to)))
        )
    }
}

/// The parameters of the query.
pub struct Question<'a> {
    /// Names of the tables.
    pub names: &'a Names,
    /// When windows close.
    pub products: &'a Products,
    /// Intervals of the bars.
    pub intervals: &'a [Interval],
    /// SQL condition that selects instruments.
    pub part: String,
    /// SQL ` AND NOT (…)`: leaves out ticks in accepted gaps of aggregation, and those since the cut.
    pub passed: &'a str,
    /// Partitions in which an accepted gap may explain a difference.
    pub excused: Vec<i32>,
    /// Partitions that have expired rows.
    pub expired: &'a [Expired],
    /// Bars that have changed since the cut.
    pub(super) bounds: &'a Bounds,
    /// Number of differences that are listed.
    pub named: usize,
}

impl Question<'_> {
    /// The query. Its result is one row of counts and examples.
    pub fn sql(&self) -> String {
        let named = self.named;
        format!(
            "SELECT toString(countIf(notEmpty(wanted) AND NOT moved AND NOT excuse AND NOT expired)) AS expected, \
             toString(countIf(notEmpty(newest) AND NOT moved AND NOT excuse AND NOT expired)) AS found, toString(countIf(excuse)) AS excused, \
             toString(countIf(expired)) AS expired_bars, toString(countIf(differs AND NOT excuse AND NOT expired)) AS differing, \
             toString(countIf(moved)) AS moved_bars, \
             arrayMap((p, o) -> [toString(p), toString(o)], (maxMapIf([src], [last_], moved) AS lasts).1, lasts.2) AS last, \
             groupArrayIf({named})(key, expired) AS expired_examples, \
             groupArrayIf({named})([key, wanted, newest], differs AND NOT excuse AND NOT expired) AS examples FROM (\
             SELECT *, [tenant, instrument, label, toString(fromUnixTimestamp64Micro(start, 'UTC'))] AS key, \
             {moved} AS moved, wanted != newest AND NOT moved AS differs, differs AND has({excused}, src) AS excuse, \
             differs AND NOT excuse AND start < lost_until AND (empty(wanted) OR last_ < wanted_last OR newest_rows > wanted_rows OR of_prices) \
             AS expired FROM (\
             SELECT tenant, instrument, label, start, any(src_) AS src, max(may_close_) AS may_close, max(of_prices_) AS of_prices, \
             anyIf(content, is_wanted = 1) AS of_rows, anyIf(content, is_wanted = 0) AS newest, \
             if(newest[10] = '0', arrayConcat(arraySlice(of_rows, 1, 7), arraySlice(newest, 8, 3), arraySlice(of_rows, 11)), of_rows) \
             AS with_averages, \
             if(newest[18] = '', arrayConcat(arraySlice(with_averages, 1, 17), [''], arraySlice(with_averages, 19)), with_averages) \
             AS of_release, \
             if(empty(of_rows), of_rows, arrayPushBack(arrayPopBack(of_release), if(of_rows[-1] = '0' AND may_close AND newest[-1] = '1', \
             '1', of_rows[-1]))) AS wanted, \
             maxIf(rows_, is_wanted = 1) AS wanted_rows, maxIf(rows_, is_wanted = 0) AS newest_rows, \
             maxIf(last_offset_, is_wanted = 0) AS last_, maxIf(last_offset_, is_wanted = 1) AS wanted_last, {lost_until} AS lost_until \
             FROM ({wanted} UNION ALL {newest}) GROUP BY tenant, instrument, label, start))",
            excused = array("Int32", self.excused.iter()),
            lost_until = self.lost_until(),
            moved = self.bounds.sql(),
            wanted = self.wanted(),
            newest = self.newest(),
        )
    }

    // In a window that may have lost rows, a bar with more rows than are left, or an older one, is not wrong: `restate` keeps
    // such a bar. For interval prices the row count proves nothing, because a lost row may be the one that counted.
    fn lost_until(&self) -> String {
        let none = i64::MIN;
        if self.expired.is_empty() {
            return format!("toInt64({none})");
        }
        format!(
            "transform(src, {}, {}, toInt64({none}))",
            array("Int32", self.expired.iter().map(|one| one.partition)),
            array("Int64", self.expired.iter().map(Expired::until))
        )
    }

    /// For each partition and delay, the offset at which the log clock minus the delay has reached each whole minute.
    fn steps(&self) -> String {
        let behind = "(toUnixTimestamp64Micro(appended_at) - delay)";
        format!(
            "SELECT sp, delay, first, max(minute) OVER (PARTITION BY sp, delay ORDER BY first \
             ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS passed FROM (\
             SELECT src_partition AS sp, delay, {behind} - positiveModulo({behind}, {STEP}) AS minute, min(src_offset) AS first \
             FROM {enriched} ARRAY JOIN {delays} AS delay WHERE 1{passed} GROUP BY sp, delay, minute)",
            enriched = self.names.table(ENRICHED_TICKS.name),
            delays = array("Int64", self.products.close_delays().iter()),
            passed = self.passed,
        )
    }

    /// Every row that belongs to bars, and whether its numbers count. Of the prices of one interval (start and nominal length), only
    /// the last one counts, for the `seconds` between its start and its end. `again_` says what a row is to the earlier prices of its interval,
    /// and is empty without one; a row with `nothing` (the price that counts stays) is neither a revision nor a cause.
    fn ticks(&self) -> String {
        format!(
            "SELECT tenant_id, instrument_id, price, volume, src_partition, src_offset, toUnixTimestamp64Micro(timestamp) AS micros, \
             {EDGE} AS edge, {delay} AS delay, {nominal} AS nominal, \
             intDiv(least(nominal, greatest(toInt64(0), ifNull(toUnixTimestamp64Micro(interval_end), micros + nominal) - micros)), 1000000) AS seconds, \
             kind = 'trade' OR ({VINTAGE}, {ORIGIN}) = max(({VINTAGE}, {ORIGIN})) OVER (PARTITION BY tenant_id, instrument_id, timestamp, kind, nominal) AS counts, \
             maxIf((1, {VINTAGE}, {ORIGIN}, price, ifNull(volume, 0), seconds), kind != 'trade') OVER (PARTITION BY tenant_id, instrument_id, timestamp, kind, nominal ORDER BY src_offset \
             ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS earlier, \
             multiIf(earlier.1 = 0, '', \
             ({VINTAGE}, {ORIGIN}) < (earlier.2, earlier.3), 'nothing', \
             {VINTAGE} = earlier.2 AND price = earlier.4 AND ifNull(volume, 0) = earlier.5 AND seconds = earlier.6, 'nothing', \
             {VINTAGE} > earlier.2, 'vintage', 'correction') AS again_ \
             FROM {enriched} WHERE {part}{passed}",
            delay = self.products.sql(|rule| rule.close_after),
            nominal = self.products.sql(|rule| rule.nominal),
            enriched = self.names.table(ENRICHED_TICKS.name),
            part = self.part,
            passed = self.passed,
        )
    }

    fn wanted(&self) -> String {
        let texts = |edge: &str| {
            format!(
                "toString({edge}.1), concat({edge}.4, '/', toString({edge}.5), '/', toString({edge}.6), '/', toString({edge}.7))"
            )
        };
        let (steps, ticks) = (self.steps(), self.ticks());
        let labels = array("String", self.intervals.iter().map(|interval| literal(interval.name())));
        let lengths = array("Int64", self.intervals.iter().map(|interval| interval.micros()));
        let bars = format!(
            "SELECT tenant_id, instrument_id, kept.1 AS label, micros - positiveModulo(micros, kept.2) AS start, \
             start + any(kept.2) + argMax(delay, src_offset) AS closes_, argMinIf(price, edge, counts) AS open_, maxIf(price, counts) AS high_, \
             minIf(price, counts) AS low_, argMaxIf(price, edge, counts) AS close_, \
             sumIf(toDecimal128(ifNull(volume, 0), 8), counts) AS volume_, \
             sumIf(toDecimal128(price, 8) * toDecimal128(ifNull(volume, 0), 8), counts) AS turnover_, \
             sumIf(toInt256(reinterpretAsInt64(price)) * seconds, counts) AS price_seconds_, \
             sumIf(seconds, counts) AS priced_seconds_, countIf(counts) AS count_, minIf(edge, counts) AS first_, maxIf(edge, counts) AS last_, \
             max(src_offset) AS last_offset_, any(src_partition) AS src_, count() AS rows_, \
             countIf(again_ != 'nothing' AND passed >= micros - positiveModulo(micros, kept.2) + kept.2) AS revision_, \
             argMaxIf(multiIf(again_ != '', again_, passed >= micros - positiveModulo(micros, kept.2) + kept.2, 'late', 'live'), src_offset, again_ != 'nothing') AS cause_, argMax(delay, src_offset) AS delay_, max(nominal) > 0 AS of_prices_ \
             FROM (SELECT ticks.*, steps.passed AS passed FROM ({ticks}) AS ticks ASOF LEFT JOIN ({steps}) AS steps \
             ON ticks.src_partition = steps.sp AND ticks.delay = steps.delay AND ticks.src_offset >= steps.first) \
             ARRAY JOIN arrayFilter(i -> i.2 >= nominal, arrayZip({labels}, {lengths})) AS kept \
             GROUP BY tenant_id, instrument_id, label, start"
        );
        format!(
            "SELECT toString(tenant_id) AS tenant, toString(instrument_id) AS instrument, label, start, src_, 1 AS is_wanted, \
             closes_ <= toUnixTimestamp64Micro(now64(6)) AS may_close_, of_prices_, toUInt64(rows_) AS rows_, last_offset_, \
             [toString(open_), toString(high_), toString(low_), toString(close_), toString(volume_), toString(turnover_), vwap_, \
             twap_, toString(price_seconds_), toString(priced_seconds_), toString(count_), {first}, {last}, toString(last_offset_), toString(revision_), cause_, \
             if(now_.passed >= closes_ - delay_, '1', '0')] AS content FROM (SELECT *, {vwap}, {twap} FROM ({bars})) AS bars \
             LEFT JOIN (SELECT sp, delay, max(passed) AS passed FROM ({steps}) GROUP BY sp, delay) AS now_ \
             ON bars.src_ = now_.sp AND bars.delay_ = now_.delay",
            first = texts("first_"),
            last = texts("last_"),
            vwap = average(
                "toInt256(reinterpretAsInt128(turnover_))",
                "toInt256(reinterpretAsInt128(volume_))",
                "vwap"
            ),
            twap = average("price_seconds_", "toInt256(priced_seconds_)", "twap"),
        )
    }

    fn newest(&self) -> String {
        let place = |edge: &str| {
            format!(
                "concat({edge}_feed, '/', toString({edge}_partition), '/', toString({edge}_offset), '/', toString({edge}_index))"
            )
        };
        let labels: Vec<String> = self.intervals.iter().map(|interval| literal(interval.name())).collect();
        format!(
            "SELECT toString(tenant_id) AS tenant, toString(instrument_id) AS instrument, toString(interval) AS label, \
             toUnixTimestamp64Micro(window_start) AS start, src_partition AS src_, 0 AS is_wanted, 0 AS may_close_, 0 AS of_prices_, \
             toUInt64(trade_count) AS rows_, toInt64(intDiv(version, 2)) AS last_offset_, \
             [toString(open), toString(high), toString(low), toString(close), toString(volume), toString(turnover), \
             ifNull(toString(reinterpretAsInt64(vwap)), '\\\\N'), ifNull(toString(reinterpretAsInt64(twap)), '\\\\N'), \
             toString(reinterpretAsInt128(price_seconds)), toString(priced_seconds), toString(trade_count), \
             toString(toUnixTimestamp64Micro(open_time)), {first}, toString(toUnixTimestamp64Micro(close_time)), {last}, \
             toString(intDiv(version, 2)), toString(revision), toString(cause), toString(toUInt8(closed))] AS content FROM (\
             SELECT * FROM {bars} WHERE {part} AND interval IN ({labels}) \
             ORDER BY version DESC LIMIT 1 BY tenant_id, instrument_id, interval, window_start)",
            first = place("first"),
            last = place("last"),
            bars = self.names.table(BARS.name),
            part = self.part,
            labels = labels.join(", "),
        )
    }
}

fn array<T: ToString>(of: &str, values: impl Iterator<Item = T>) -> String {
    let values: Vec<String> = values.map(|value| value.to_string()).collect();
    // Without the cast, an empty array has no type.
    format!("CAST([{}], 'Array({of})')", values.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::blocks::Lane;
    use super::*;

    fn now(end: i64) -> [Range; 1] {
        [Range {
            lane: Lane {
                topic: "enriched".into(),
                partition: 2,
            },
            first: 0,
            end,
            is_cut: false,
            gaps: Vec::new(),
        }]
    }

    #[test]
    fn a_bar_of_a_tick_that_the_log_does_not_have_has_not_changed_meanwhile() {
        let cut = || Bounds::of([(2, 50)].into());
        let last = |offset| [(2, offset)].into();
        assert!(!cut().tightened(&last(59), &now(60)), "its tick arrived");
        let (mut still, mut busy) = (cut(), cut());
        assert!(still.tightened(&last(59), &now(50)) && busy.tightened(&last(3_000_000), &now(60)));
        assert_eq!(still, Bounds([(2, (50, 50))].into()));
        assert_eq!(busy, Bounds([(2, (50, 60 + ARRIVING))].into()));
    }

    #[test]
    fn without_a_cut_no_bar_has_changed() {
        assert_eq!(Bounds::of(BTreeMap::new()).sql(), "0");
        let bounds = Bounds::of([(2, 50)].into()).sql();
        assert!(
            bounds.starts_with("(last_ >= transform(src, CAST([2], 'Array(Int32)'), CAST([50], "),
            "{bounds}"
        );
    }
}
