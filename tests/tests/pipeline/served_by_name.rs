//! A served curve snapshot, its copy in Redis or a served derived price changed or deleted by hand: `dp verify` names each with both values, and
//! the commands that it names bring it back.

use std::collections::BTreeMap;

use e2e::{Pipeline, eventually};

/// The copies of all snapshots.
fn copies(pipeline: &Pipeline) -> anyhow::Result<BTreeMap<String, String>> {
    Ok(pipeline
        .redis
        .with_prefix("served:curve_snapshot:")?
        .into_iter()
        .collect())
}

/// Changes a price of the row to horizon 1y of this curve of tenant `default`, deletes the copy to 3m, and changes a price of that to 6m.
pub(crate) fn changed_snapshots_are_named(pipeline: &Pipeline, curve: &str) {
    let before = copies(pipeline).unwrap();
    let key = |horizon: &str| format!("served:curve_snapshot:default:{curve}:{horizon}");
    let (deleted, changed) = (key("3m"), key("6m"));
    assert!(before.contains_key(&deleted), "{:?}", before.keys());
    let sql = format!(
        "UPDATE served_curve_snapshots SET snapshot = jsonb_set(snapshot::jsonb, '{{points,0,price}}', '12345.5')::json \
         WHERE generation = '' AND tenant_id = 'default' AND curve_id = '{curve}' AND horizon = '1y'"
    );
    pipeline.postgres.rows(&sql).unwrap();
    let value = &before[&changed];
    let price = value
        .split("\"price\":")
        .nth(1)
        .and_then(|rest| rest.split([',', '}']).next())
        .unwrap();
    let other = value.replacen(&format!("\"price\":{price}"), "\"price\":123456.789", 1);
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
    let mut last = BTreeMap::new();
    let same = eventually("the copies are as before", || {
        last = copies(pipeline)?;
        Ok(last == before)
    });
    assert!(same.is_ok(), "{last:?} instead of {before:?}");
    let verified = pipeline.verify().unwrap();
    assert_eq!(verified.code, 0, "{:?}", verified.differences());
}

/// Changes the value of the row of this series.
pub(crate) fn a_changed_derived_price_is_named(pipeline: &Pipeline, (tenant, series): (&str, &str)) {
    let sql = format!(
        "UPDATE served_derived_prices SET price = jsonb_set(price::jsonb, '{{value}}', '123456.789')::json \
         WHERE generation = '' AND tenant_id = '{tenant}' AND series = '{series}'"
    );
    pipeline.postgres.rows(&sql).unwrap();
    let verified = pipeline.verify().unwrap();
    assert_eq!(
        verified.failed(),
        ["Postgres: newest price of each derived series"],
        "{:?}",
        verified.differences()
    );
    let row = format!("series {series} of tenant {tenant} differs");
    assert!(
        verified.names(&[&row, "value is 123456.789 instead of"]),
        "{:?}",
        verified.differences()
    );
    let notes = verified.report["notes"].to_string();
    assert!(notes.contains("dp projection rebuild derived_price"), "{notes}");
    pipeline
        .dp_ok(&["projection", "rebuild", "derived_price", "--full", "--yes"])
        .unwrap();
    let verified = pipeline.verify().unwrap();
    assert_eq!(verified.code, 0, "{:?}", verified.differences());
}
