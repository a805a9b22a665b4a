//! Reference data and rules: what the seed has, and how soon a change of the database reaches new ticks.

use markets::reference::places;

use super::*;

/// How soon a new tick has the changed data.
const VISIBLE_WITHIN: Duration = Duration::from_secs(2);

impl Bench {
    fn postgres_rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        self.runtime
            .block_on(self.clients.postgres().unwrap().query_text(sql))
            .unwrap()
    }
}

#[test]
fn a_change_of_the_database_reaches_new_ticks_within_two_seconds_and_the_seed_has_every_place() {
    let bench = bench();
    the_seed_has_every_place_of_the_registry(&bench);
    let service = ServiceProcess::start(ENRICHMENT, &bench.env).unwrap();
    service
        .wait_until("ready", "/health/ready", |status, _| status == 200)
        .unwrap();
    bench.publish(0..4);
    bench.wait_for_rows(4, &service);
    let mut next = 4;
    for (sql, expected) in [
        (
            "INSERT INTO taxonomy_commodity_rules (tenant_id, commodity, keywords) VALUES ('acme', 'crude_oil', '{XYZZY}'), ('default', 'coal', '{XYZZY}')",
            "coal unknown rule_based",
        ),
        (
            "INSERT INTO taxonomy_region_rules (tenant_id, region, keywords) VALUES ('default', 'west', '{XYZZY}')",
            "coal west rule_based",
        ),
        (
            "UPDATE taxonomy_region_rules SET region = 'texas' WHERE tenant_id = 'default' AND region = 'west'",
            "coal texas rule_based",
        ),
        (
            "INSERT INTO taxonomy_instruments (tenant_id, instrument_id, commodity, region) VALUES ('default', 'XYZZY', 'refined_products', 'midwest')",
            "refined_products midwest database",
        ),
        (
            "UPDATE taxonomy_instruments SET active = false WHERE tenant_id = 'default' AND instrument_id = 'XYZZY'",
            "coal texas rule_based",
        ),
    ] {
        next = changes(&bench, &service, (sql, expected), next);
    }
    assert_eq!(service.signal("-TERM").unwrap(), Some(0));
}

/// Changes the database while ticks are published; returns the next raw offset.
fn changes(bench: &Bench, service: &ServiceProcess, (sql, expected): (&str, &str), first: i64) -> i64 {
    bench.postgres(sql);
    let changed = Instant::now();
    let (mut next, mut published) = (first, Vec::new());
    while changed.elapsed() < VISIBLE_WITHIN + Duration::from_millis(500) {
        published.push((next, changed.elapsed()));
        bench.publish(next..next + 4);
        next += 4;
    }
    bench.wait_for_rows(next, service);
    let rows = bench.clickhouse(&format!(
        "SELECT toString(raw_offset) AS place, concat(commodity, ' ', region, ' ', classification_method) AS found \
         FROM enriched_ticks WHERE instrument_id = 'XYZZY' AND raw_offset >= {first} ORDER BY raw_offset"
    ));
    let found = |offset: i64| {
        let of_group = |row: &&serde_json::Map<String, Value>| {
            let place: i64 = row["place"].as_str().unwrap().parse().unwrap();
            (offset..offset + 4).contains(&place)
        };
        rows.iter().find(of_group).unwrap()["found"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let visible = published.iter().find(|(offset, _)| found(*offset) == expected);
    let (_, after) = visible.unwrap_or_else(|| panic!("{sql}: {rows:?}"));
    println!("{sql}: visible after {after:?}");
    for (offset, at) in published.iter().filter(|(_, at)| *at >= VISIBLE_WITHIN) {
        assert_eq!(found(*offset), expected, "{sql}: published {at:?} after the change");
    }
    next
}

fn the_seed_has_every_place_of_the_registry(bench: &Bench) {
    let rows = bench.postgres_rows(
        "SELECT instrument_id, concat_ws(' ', commodity, region, unit, metadata->>'market', metadata->>'location_type', metadata->>'currency', \
         metadata->>'time_zone'), metadata->>'node', metadata->>'zone' FROM taxonomy_instruments WHERE tenant_id = 'default'",
    );
    let seeded: BTreeMap<String, (String, Option<String>, Option<String>)> = rows
        .into_iter()
        .map(|row| {
            let [id, facts, node, zone] = <[Option<String>; 4]>::try_from(row).unwrap();
            (id.unwrap(), (facts.unwrap(), node, zone))
        })
        .collect();
    let mut count = 0;
    for place in places() {
        let facts = format!(
            "{} {} {} {} {} {} {}",
            place.commodity,
            place.region,
            place.unit,
            place.market,
            place.kind.name(),
            place.currency,
            place.time_zone
        );
        let expected = (facts, Some(place.node.to_owned()), place.zone().map(str::to_owned));
        for id in place.instruments() {
            assert_eq!(seeded.get(&id), Some(&expected), "{id}");
            count += 1;
        }
    }
    assert!(count > 150, "{count}");
    for sample in [
        "NG_HH_BALMO",
        "NG_HH_PROMPT",
        "NG_HH_M1",
        "NG_HH_M2",
        "NG_HH_PROMO",
        "NG_HH_STD",
        "POWER_PEAK_DAY_AHEAD",
        "POWER_OFF_PEAK_REAL_TIME",
        "ELEC_MISO_BALMO",
        "ELEC_CAISO_BALMO",
        "ELEC_ERCOT_BALMO",
        "CRUDE_WTI",
        "CRUDE_BRENT_BALMO",
        "BRENT_ICE",
        "RBOB_GASOLINE",
        "HEATING_OIL",
    ] {
        assert!(seeded.contains_key(sample), "{sample}");
    }
    let aliases = bench.postgres_rows("SELECT count(*)::text FROM instrument_aliases WHERE tenant_id = 'default'");
    assert_eq!(aliases[0][0].as_deref(), Some("10"));
}
