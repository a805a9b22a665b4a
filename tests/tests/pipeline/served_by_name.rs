//! A served curve snapshot or derived price, or its copy in Redis, changed or deleted by hand: `dp verify` names each with both values, and the
//! commands that it names bring it back.

use std::collections::BTreeMap;

use e2e::{Pipeline, eventually};

const SNAPSHOTS: &str = "served:curve_snapshot:";
const PRICES: &str = "served:custom:derived_price:";

/// The copies whose keys begin with this.
fn copies(pipeline: &Pipeline, prefix: &str) -> anyhow::Result<BTreeMap<String, String>> {
    Ok(pipeline.redis.with_prefix(prefix)?.into_iter().collect())
}

/// The copy with another number in the first field of this name.
fn with_number(copy: &str, field: &str) -> String {
    let name = format!("\"{field}\":");
    let found = copy.split(&name).nth(1).and_then(|rest| rest.split([',', '}']).next());
    let number = found.unwrap_or_else(|| panic!("{copy} has no {field}"));
    copy.replacen(&format!("{name}{number}"), &format!("{name}123456.789"), 1)
}

/// Waits until the copies are these, and verifies all.
fn are_as_before(pipeline: &Pipeline, prefix: &str, before: &BTreeMap<String, String>) {
    let mut last = BTreeMap::new();
    let same = eventually("the copies are as before", || {
        last = copies(pipeline, prefix)?;
        Ok(last == *before)
    });
    assert!(same.is_ok(), "{last:?} instead of {before:?}");
    let verified = pipeline.verify().unwrap();
    assert_eq!(verified.code, 0, "{:?}", verified.differences());
}

/// Changes a price of the row to horizon 1y of this curve of tenant `default`, deletes the copy to 3m, and changes a price of that to 6m.
pub(crate) fn changed_snapshots_are_named(pipeline: &Pipeline, curve: &str) {
    let before = copies(pipeline, SNAPSHOTS).unwrap();
    let key = |horizon: &str| format!("{SNAPSHOTS}default:{curve}:{horizon}");
    let (deleted, changed) = (key("3m"), key("6m"));
    assert!(before.contains_key(&deleted), "{:?}", before.keys());
    let sql = format!(
        "UPDATE served_curve_snapshots SET snapshot = jsonb_set(snapshot::jsonb, '{{points,0,price}}', '12345.5')::json \
         WHERE generation = '' AND tenant_id = 'default' AND curve_id = '{curve}' AND horizon = '1y'"
    );
    pipeline.postgres.rows(&sql).unwrap();
    let other = with_number(&before[&changed], "price");
    pipeline.redis.run(&["SET", &changed, &other, "EX", "3600"]).unwrap();
    pipeline.redis.run(&["DEL", &deleted]).unwrap();

    let verified = pipeline.verify().unwrap();
    assert_eq!(
        verified.failed(),
        [
            "Postgres: newest snapshot of each curve and horizon",
            "Redis: newest snapshot of each curve and horizon"
        ],
        "{:?}",
        verified.differences()
    );
    let row = format!("curve {curve} to horizon 1y of tenant default differs");
    for parts in [
        [row.as_str(), "points[0].price is 12345.5 instead of"],
        [deleted.as_str(), "is missing: as_of"],
        [changed.as_str(), "price is 123456.789 instead of"],
    ] {
        assert!(verified.names(&parts), "{parts:?}: {:?}", verified.differences());
    }
    let notes = verified.report["notes"].to_string();
    for command in ["dp projection rebuild curve_snapshot", "dp cache refresh"] {
        assert!(notes.contains(command), "{command}: {notes}");
    }

    pipeline
        .dp_ok(&["projection", "rebuild", "curve_snapshot", "--full", "--yes"])
        .unwrap();
    pipeline.dp_ok(&["cache", "refresh"]).unwrap();
    are_as_before(pipeline, SNAPSHOTS, &before);
}

/// Changes the value of the row of the first of these series, deletes the copy of the second, and changes the value of that of the third.
pub(crate) fn changed_derived_prices_are_named(pipeline: &Pipeline, tenant: &str, series: [&str; 3]) {
    let before = copies(pipeline, PRICES).unwrap();
    let [changed_row, deleted, changed] = series;
    let key = |series: &str| format!("{PRICES}{tenant}:{series}");
    let (deleted, changed) = (key(deleted), key(changed));
    assert!(before.contains_key(&deleted), "{:?}", before.keys());
    let sql = format!(
        "UPDATE served_derived_prices SET price = jsonb_set(price::jsonb, '{{value}}', '123456.789')::json \
         WHERE generation = '' AND tenant_id = '{tenant}' AND series = '{changed_row}'"
    );
    pipeline.postgres.rows(&sql).unwrap();
    let other = with_number(&before[&changed], "value");
    pipeline.redis.run(&["SET", &changed, &other, "EX", "3600"]).unwrap();
    pipeline.redis.run(&["DEL", &deleted]).unwrap();

    let verified = pipeline.verify().unwrap();
    assert_eq!(
        verified.failed(),
        [
            "Postgres: newest price of each derived series",
            "Redis: newest price of each derived series"
        ],
        "{:?}",
        verified.differences()
    );
    let row = format!("series {changed_row} of tenant {tenant} differs");
    for parts in [
        [row.as_str(), "value is 123456.789 instead of"],
        [deleted.as_str(), "is missing: event_time"],
        [changed.as_str(), "value is 123456.789 instead of"],
    ] {
        assert!(verified.names(&parts), "{parts:?}: {:?}", verified.differences());
    }
    let notes = verified.report["notes"].to_string();
    for command in ["dp projection rebuild derived_price", "dp cache refresh"] {
        assert!(notes.contains(command), "{command}: {notes}");
    }

    pipeline
        .dp_ok(&["projection", "rebuild", "derived_price", "--full", "--yes"])
        .unwrap();
    pipeline.dp_ok(&["cache", "refresh"]).unwrap();
    are_as_before(pipeline, PRICES, &before);
}
