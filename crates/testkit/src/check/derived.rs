//! Compares derived prices with naive arithmetic over all expected ticks.

use anyhow::Context as _;

use super::{Comparison, cell, newest, once};
use crate::derived::{Key, Leg, Series, Wanted, values};
use crate::expect::Expected;
use crate::numbers::at_scale;
use crate::stores::{ClickHouse, Row};

#[derive(Debug, PartialEq, Eq)]
struct Found {
    value: Option<i128>,
    legs: Vec<Leg>,
}

/// Compares the newest version of every value of these series. A record of the topic may have one row only.
pub fn derived(
    clickhouse: &ClickHouse,
    table: &str,
    expected: &Expected,
    all: &[Series],
) -> anyhow::Result<Comparison> {
    let names: Vec<String> = all.iter().map(|series| format!("'{}'", series.name)).collect();
    let text = |column: &str| format!("if(isNull({column}), '-', toString({column}))");
    let leg = |leg: &str| {
        format!(
            "{}, {}, {}, {}",
            text(&format!("{leg}_price")),
            text(&format!("toUnixTimestamp64Micro({leg}_time)")),
            text(&format!("{leg}_age")),
            text(&format!("{leg}_origin"))
        )
    };
    let rows = clickhouse.rows(&format!(
        "SELECT tenant_id, series, toUnixTimestamp64Micro(timestamp), version, {}, {}, {}, src_partition, src_offset \
         FROM {table} WHERE series IN ({})",
        text("value"),
        leg("first"),
        leg("second"),
        names.join(", ")
    ))?;
    let mut comparison = Comparison {
        name: table.to_owned(),
        ..Comparison::default()
    };
    once(&rows, 13, &mut comparison)?;
    let newest = newest(&rows, &mut comparison, found)?;
    let mut wanted = values(&expected.ticks, all);
    wanted.retain(|key, wanted| *wanted != Wanted::NoValue || newest.contains_key(key));
    for (key, found) in newest {
        match wanted.remove(&key) {
            Some(Wanted::Unknown) => {}
            Some(Wanted::NoValue) if found.value.is_none() => {}
            Some(Wanted::Row(value, legs)) => {
                comparison.expected += 1;
                comparison.found += 1;
                if found.value != value || found.legs != legs {
                    let wanted = (value, legs);
                    comparison
                        .wrong
                        .push(format!("{key:?}: {found:?} instead of {wanted:?}"));
                }
            }
            Some(Wanted::NoValue) | None => comparison
                .wrong
                .push(format!("{key:?}: {found:?}, but its legs have no prices")),
        }
    }
    let lost = wanted.into_iter().filter(|(_, wanted)| *wanted != Wanted::Unknown);
    comparison.lost = lost.map(|(key, wanted)| format!("{key:?} {wanted:?}")).collect();
    comparison.expected += comparison.lost.len();
    Ok(comparison)
}

fn found(row: &Row) -> anyhow::Result<(Key, u64, Found)> {
    let number = |index: usize| match cell(row, index)? {
        "-" => anyhow::Ok(None),
        text => Ok(Some(
            at_scale(text, 8).with_context(|| format!("number {index} of {row:?}"))?,
        )),
    };
    let mut legs = Vec::new();
    for first in [5, 9] {
        if let Some(price) = number(first)? {
            let origin = cell(row, first + 3)?.to_owned();
            legs.push((
                price,
                cell(row, first + 1)?.parse()?,
                cell(row, first + 2)?.parse()?,
                origin,
            ));
        }
    }
    let key = (
        cell(row, 0)?.to_owned(),
        cell(row, 1)?.to_owned(),
        cell(row, 2)?.parse()?,
    );
    let value = number(4)?;
    Ok((key, cell(row, 3)?.parse()?, Found { value, legs }))
}
