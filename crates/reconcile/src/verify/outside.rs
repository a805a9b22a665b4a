//! Rows of a table whose position is in no log.
//!
//! Invariant: a row is beyond the end of the log only if the end was read after the row, because both may grow.
//! Failure: of very many such rows some are not looked at; then the count says that it may be more.

use anyhow::Context as _;
use ops::rows::{number, text};
use serde_json::{Map, Value};

use super::blocks::Lane;
use super::ranges::Range;
use super::report::Differences;
use super::tables::{Place, Table};

/// Misplaced offsets that are looked at one by one.
const LOOKED_AT: usize = 10_000;

impl Table<'_> {
    /// Rows whose position is in no log: it is beyond the end, or in a topic that is not read. `ends` reads the log: once before the
    /// table, so that few rows are looked at, and once after it, because the log and the table may grow.
    ///
    /// # Errors
    /// A server does not answer.
    pub async fn outside(&self, ends: impl AsyncFn() -> anyhow::Result<Vec<Range>>) -> anyhow::Result<Differences> {
        let (name, place) = (self.name, self.place);
        let before = ends().await?;
        let sql = format!(
            "SELECT {topic} AS topic, toString({partition}) AS partition, toString({offset}) AS offset_, toString(count()) AS rows, \
             any(concat({id}, ' was written from offset ', toString(src_offset), ' of partition ', toString(src_partition))) AS row, \
             toString(sum(count()) OVER ()) AS total FROM {name} WHERE NOT {within} \
             GROUP BY topic, {partition}, {offset} ORDER BY {offset} DESC LIMIT {LOOKED_AT}",
            topic = self.topic(),
            partition = place.partition(),
            offset = place.offset(),
            id = self.spec.row_name(),
            within = place.within(&before, true),
        );
        let rows = self.clickhouse.query_json(&sql).await;
        let rows = rows.with_context(|| format!("look for misplaced rows of {name}"))?;
        if rows.is_empty() {
            return Ok(Differences::default());
        }
        let total = rows.first().map_or(Ok(0), |row| number(row, "total"))?;
        let placed: Vec<Placed> = rows.iter().map(Placed::read).collect::<anyhow::Result<_>>()?;
        Ok(beyond(&placed, total, &ends().await?, place))
    }
}

/// The rows of one offset that may be in no log.
#[derive(Debug, Clone)]
struct Placed {
    lane: Lane,
    offset: i64,
    rows: u64,
    /// Names one of them.
    text: String,
}

impl Placed {
    fn read(row: &Map<String, Value>) -> anyhow::Result<Placed> {
        Ok(Placed {
            lane: Lane {
                topic: text(row, "topic")?.into(),
                partition: number(row, "partition")?,
            },
            offset: number(row, "offset_")?,
            rows: number(row, "rows")?,
            text: text(row, "row")?.to_owned(),
        })
    }
}

/// Those that are beyond these ends, which were read after the rows. `total` is the number of rows of all, looked at or not.
fn beyond(placed: &[Placed], total: u64, ends: &[Range], place: Place) -> Differences {
    let what = match place {
        Place::Raw => "but no raw topic has this message",
        Place::Source => "but the topic ends before that offset",
    };
    let has = |range: &Range, row: &Placed| range.lane == row.lane && row.offset < range.end;
    let is_outside = |row: &&Placed| !ends.iter().any(|range| has(range, row));
    let mut differences = Differences::default();
    for row in placed.iter().filter(is_outside) {
        differences.add(format!("{}, {what}", row.text));
        differences.total += row.rows.saturating_sub(1);
    }
    let looked_at: u64 = placed.iter().map(|row| row.rows).sum();
    differences.at_least = differences.total > 0 && looked_at < total;
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_beyond_the_log_only_by_ends_that_were_read_after_it() {
        let lane = |topic: &str| Lane {
            topic: topic.into(),
            partition: 0,
        };
        let placed = |topic, offset, rows| Placed {
            lane: lane(topic),
            offset,
            rows,
            text: format!("row {topic}/{offset}"),
        };
        let end = |end| Range {
            lane: lane("raw"),
            first: 0,
            end,
            is_cut: false,
            gaps: Vec::new(),
        };
        let rows = [placed("raw", 12, 1), placed("raw", 11, 3), placed("removed", 2, 1)];
        let of = |ends: &[Range], total| beyond(&rows, total, ends, Place::Raw);
        let arrived = of(&[end(13)], 5);
        assert_eq!((arrived.total, arrived.at_least), (1, false));
        assert_eq!(arrived.named, ["row removed/2, but no raw topic has this message"]);
        let lost = of(&[end(11)], 5);
        assert_eq!((lost.total, lost.named.len()), (5, 3), "every row counts");
        assert!(of(&[end(11)], 6).at_least, "one offset was not looked at");
        let later = beyond(&rows[..2], 900, &[end(13)], Place::Raw);
        assert_eq!((later.total, later.at_least), (0, false));
    }
}
