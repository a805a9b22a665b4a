//! Tenants are isolated (INV-10): pairs of tenant and instrument that could be confused when joined, split or decoded go
//! through every table, every key and every route.
//!
//! The test reads the tables from the stores and the routes from the services (`GET /info`). A new table, key or route that
//! is not covered here fails the test with a message that says what to add.

use std::collections::{BTreeMap, BTreeSet};

use e2e::{Pipeline, RAW, eventually};
use fastrand::Rng;
use localstack::Service;
use serde_json::{Value, json};
use testkit::bars::{INTERVALS, window_start};
use testkit::http::{Answer, encoded, request};
use testkit::kafka::{Outgoing, Publisher};
use testkit::times::iso;

/// The prefix of every tenant and instrument of this test. No other one has it.
const MARK: &str = "Zq";

/// Tenant and instrument with a number that is unique to the pair: the price of all its ticks, and its contract size.
type Pairs = BTreeMap<(String, String), u32>;

/// Pairs that a separator, an encoding or a truncation would make equal, and some random ones.
fn pairs() -> Pairs {
    let mut all = BTreeSet::new();
    let mut add = |tenant: &str, instrument: &str| {
        all.insert((format!("{MARK}{tenant}"), format!("{MARK}{instrument}")));
    };
    for separator in [
        ":", "%", "%3A", "%253A", ".", "/", "\\", "-", "_", " ", "'", "\"", "*", "ü", "{}",
    ] {
        let (one, other) = (format!("a{separator}{MARK}b"), format!("b{separator}{MARK}c"));
        add("a", &other);
        add(&one, "c");
    }
    for (tenant, instrument) in [
        ("a", "same"),
        ("b", "same"),
        ("aa", "same"),
        ("a", "sam"),
        ("A", "same"),
    ] {
        add(tenant, instrument);
    }
    let mut random = Rng::with_seed(10);
    for _ in 0..6 {
        let mut id = || -> String {
            let letters = ["a", "b", ":", "%", "25", "3A", "/", ".", "ü", "?", "#", "&", "="];
            let length = 1 + random.u64(..5);
            let picked = (0..length).map(|_| letters[random.usize(..letters.len())]);
            picked.collect()
        };
        add(&id(), &id());
    }
    (0..).zip(all).map(|(number, pair)| (pair, 101 + number)).collect()
}

fn count_of(pairs: &Pairs, tenant: &str) -> usize {
    pairs.keys().filter(|(of, _)| of == tenant).count()
}

fn postgres_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Inserts reference data for every pair. Its contract size identifies the pair.
fn describe(pipeline: &Pipeline, pairs: &Pairs) {
    let rows: Vec<String> = pairs
        .iter()
        .map(|((tenant, instrument), number)| {
            format!(
                "({}, {}, (SELECT min(commodity) FROM taxonomy_commodities), (SELECT min(region) FROM taxonomy_regions), {number})",
                postgres_literal(tenant),
                postgres_literal(instrument)
            )
        })
        .collect();
    let sql = format!(
        "INSERT INTO taxonomy_instruments (tenant_id, instrument_id, commodity, region, contract_size) VALUES {} \
         ON CONFLICT DO NOTHING",
        rows.join(", ")
    );
    pipeline.postgres.rows(&sql).unwrap();
    eventually("enrichment has the instruments", || {
        let told = request(port(pipeline, Service::Enrichment), "POST", "/cache/refresh", &[], "")?;
        let ((tenant, _), _) = pairs.iter().next().unwrap();
        let known = ask(
            pipeline,
            Service::Enrichment,
            ("GET", "/cache/status"),
            tenant,
            "",
            true,
        )?;
        Ok(told.status == 200 && json_of(&known)["entries"] == count_of(pairs, tenant))
    })
    .unwrap();
}

/// Publishes a current tick and one whose windows are all forgotten, with the price of the pair.
/// Returns the event time of the first, in microseconds.
fn publish(pipeline: &Pipeline, pairs: &Pairs) -> i64 {
    let mut publisher = Publisher::new(&pipeline.bootstrap(), RAW).unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let now = now.as_millis() as i64;
    for days_ago in [0, 3] {
        for ((tenant, instrument), number) in pairs {
            let message = json!({
                "envelope": {
                    "event_type": "ingestion.market.raw.v1", "event_id": format!("tenants-{number}-{days_ago}"),
                    "timestamp": "2026-10-01T00:00:00Z", "tenant_id": tenant, "source": "tenants", "version": "1.0",
                },
                "payload": {
                    "market": "MISO", "instrument_id": instrument,
                    "raw_data": {"timestamp": now - days_ago * 86_400_000, "price": number, "volume": 1},
                },
            });
            let outgoing = Outgoing {
                partition: Some(0),
                payload: message.to_string().into_bytes(),
                ..Outgoing::default()
            };
            publisher.send(&outgoing).unwrap();
        }
    }
    publisher.finish().unwrap();
    now * 1_000
}

type Found = BTreeSet<(String, String, String)>;

fn expected(pairs: &Pairs) -> Found {
    let one = |((tenant, instrument), number): (&(String, String), &u32)| {
        (tenant.clone(), instrument.clone(), number.to_string())
    };
    pairs.iter().map(one).collect()
}

/// The rows of this test: tenant, instrument and number.
fn found(rows: Vec<Vec<String>>) -> Found {
    rows.into_iter()
        .filter(|row| row[0].starts_with(MARK))
        .map(|row| (row[0].clone(), row[1].clone(), row[2].clone()))
        .collect()
}

const CLICKHOUSE_WITHOUT_TENANTS: [&str; 5] = [
    "accepted_gaps",
    "schema_migrations",
    "writer_fence",
    "writer_floor",
    "writer_topics",
];

/// Views of interval prices; this test publishes trades. `crates/dp/tests/commands/gaps.rs` reads them.
const CLICKHOUSE_OF_INTERVALS: [&str; 2] = ["completeness", "market_intervals"];

/// Derived prices have no instrument but a series; `derived.rs` reads them. A third view has a parameter.
const CLICKHOUSE_OF_SERIES: [&str; 2] = ["derived_prices", "derived_prices_latest"];

/// Snapshots of curves have no instrument but a curve; `curve.rs` reads them.
const CLICKHOUSE_OF_CURVES: [&str; 4] = [
    "curve_inputs",
    "curve_points",
    "curve_snapshots",
    "curve_snapshots_latest",
];
/// Of these, the views with a parameter.
const CLICKHOUSE_CURVES_AS_OF: [(&str, &str); 2] = [
    ("curve_points_asof", "curve_points_asof(at = '2100-01-01 00:00:00')"),
    ("curve_inputs_asof", "curve_inputs_asof(at = '2100-01-01 00:00:00')"),
];

/// Of derived prices, the view with a parameter.
const CLICKHOUSE_SERIES_AS_OF: (&str, &str) =
    ("derived_prices_asof", "derived_prices_asof(at = '2100-01-01 00:00:00')");

/// The view with a parameter, whose columns ClickHouse does not list, and how it is read.
const CLICKHOUSE_AS_OF: (&str, &str) = ("bars_asof", "bars_asof(at = '2100-01-01 00:00:00')");

fn check_clickhouse(pipeline: &Pipeline, pairs: &Pairs) {
    let tables = pipeline
        .clickhouse
        .rows("SELECT name, sorting_key, engine FROM system.tables WHERE database = currentDatabase() ORDER BY name")
        .unwrap();
    assert!(tables.len() > CLICKHOUSE_WITHOUT_TENANTS.len(), "{tables:?}");
    for table in tables {
        let (name, sorting_key, engine) = (&table[0], &table[1], &table[2]);
        if name == CLICKHOUSE_AS_OF.0 {
            let view = CLICKHOUSE_AS_OF.1;
            let sql = format!("SELECT DISTINCT tenant_id, instrument_id, toString(toInt64(open)) FROM {view}");
            let rows = found(pipeline.clickhouse.rows(&sql).unwrap());
            assert_eq!(rows, expected(pairs), "ClickHouse: {view}");
            continue;
        }
        let mut without_instruments = CLICKHOUSE_CURVES_AS_OF.iter().chain([&CLICKHOUSE_SERIES_AS_OF]);
        if let Some((_, view)) = without_instruments.find(|(known, _)| name == known) {
            let sql = format!("SELECT count(tenant_id) FROM {view}");
            assert_eq!(pipeline.clickhouse.number(&sql).unwrap(), 0);
            continue;
        }
        let columns = pipeline
            .clickhouse
            .rows(&format!(
                "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = '{name}'"
            ))
            .unwrap();
        let has = |column: &str| columns.iter().any(|row| row[0] == column);
        if !has("tenant_id") {
            assert!(
                CLICKHOUSE_WITHOUT_TENANTS.contains(&name.as_str()),
                "ClickHouse table {name} has no column tenant_id: key it by tenant, or, if it has no data of a tenant, add \
                 it to CLICKHOUSE_WITHOUT_TENANTS of {}",
                file!()
            );
            continue;
        }
        if CLICKHOUSE_OF_INTERVALS.contains(&name.as_str()) {
            continue;
        }
        if CLICKHOUSE_OF_CURVES.contains(&name.as_str()) {
            assert!(
                engine == "View" || sorting_key.starts_with("tenant_id, curve_id"),
                "{name}: {sorting_key}"
            );
            continue;
        }
        if CLICKHOUSE_OF_SERIES.contains(&name.as_str()) {
            assert!(
                engine == "View" || sorting_key.starts_with("tenant_id, series"),
                "{name}: {sorting_key}"
            );
            continue;
        }
        assert!(
            engine == "View" || sorting_key.starts_with("tenant_id, instrument_id"),
            "ClickHouse table {name} is ordered by {sorting_key}; it must begin with tenant_id, instrument_id"
        );
        let numbers: Vec<&str> = ["price", "open", "high", "contract_size"]
            .into_iter()
            .filter(|column| has(column))
            .collect();
        assert!(
            !numbers.is_empty(),
            "ClickHouse table {name} has no known column that identifies the pair: add one of its columns in {}",
            file!()
        );
        for column in numbers {
            let sql = format!("SELECT DISTINCT tenant_id, instrument_id, toString(toInt64({column})) FROM {name}");
            let rows = found(pipeline.clickhouse.rows(&sql).unwrap());
            assert_eq!(rows, expected(pairs), "ClickHouse: {name}.{column}");
        }
    }
}

const POSTGRES_WITHOUT_TENANTS: [&str; 7] = [
    "projection_rebuilds",
    "projection_positions",
    "projection_topics",
    "schema_migrations",
    "taxonomy_commodities",
    "taxonomy_regions",
    "verify_runs",
];
/// Tables with a number that identifies the pair.
const POSTGRES_NUMBERS: [(&str, &str); 2] = [
    ("served_latest_prices", "price"),
    ("taxonomy_instruments", "contract_size"),
];
/// Tables with the tenant in their key that only operators write.
const POSTGRES_KEYED: [&str; 4] = [
    "curve_metadata",
    "instrument_aliases",
    "taxonomy_commodity_rules",
    "taxonomy_region_rules",
];
/// Tables with the tenant in their key, whose names are no instruments but curves and series; `served.rs` reads them.
const POSTGRES_OF_CURVES: [&str; 2] = ["served_curve_snapshots", "served_derived_prices"];
/// Tables whose ids are unique across tenants and whose rows have a tenant column.
const POSTGRES_OWN_IDS: [&str; 1] = ["api_keys"];

fn check_postgres(pipeline: &Pipeline, pairs: &Pairs) {
    let sql = "SELECT t.table_name, \
                 EXISTS (SELECT 1 FROM information_schema.columns c WHERE c.table_schema = 'public' \
                         AND c.table_name = t.table_name AND c.column_name = 'tenant_id'), \
                 EXISTS (SELECT 1 FROM information_schema.table_constraints k JOIN information_schema.key_column_usage u \
                         USING (constraint_schema, constraint_name) WHERE k.table_schema = 'public' \
                         AND k.table_name = t.table_name AND k.constraint_type = 'PRIMARY KEY' AND u.column_name = 'tenant_id') \
               FROM information_schema.tables t WHERE t.table_schema = 'public' ORDER BY 1";
    let tables = pipeline.postgres.rows(sql).unwrap();
    assert!(tables.len() > POSTGRES_WITHOUT_TENANTS.len(), "{tables:?}");
    for table in tables {
        let (name, has_tenant, is_keyed) = (table[0].as_str(), table[1] == "t", table[2] == "t");
        let number = POSTGRES_NUMBERS.iter().find(|(known, _)| *known == name);
        let known = match has_tenant {
            false => POSTGRES_WITHOUT_TENANTS.contains(&name),
            true => {
                let keyed = [&POSTGRES_KEYED[..], &POSTGRES_OF_CURVES, &POSTGRES_OWN_IDS].concat();
                number.is_some() || keyed.contains(&name)
            }
        };
        assert!(
            known,
            "Postgres table {name} is new: key it by tenant and add it in {} (POSTGRES_…), so that this test can check its rows",
            file!()
        );
        assert!(
            is_keyed == (has_tenant && !POSTGRES_OWN_IDS.contains(&name)),
            "Postgres table {name}: tenant_id must be part of the primary key"
        );
        if let Some((_, column)) = number {
            let sql = format!("SELECT DISTINCT tenant_id, instrument_id, trunc({column})::bigint FROM {name}");
            assert_eq!(
                found(pipeline.postgres.rows(&sql).unwrap()),
                expected(pairs),
                "Postgres: {name}.{column}"
            );
        }
    }
}

fn check_redis(pipeline: &Pipeline, pairs: &Pairs) {
    let plain = |part: &str| part.replace("%3A", ":").replace("%25", "%");
    let mut kinds: BTreeMap<&str, Found> = BTreeMap::new();
    for (key, value) in pipeline.redis.with_prefix("").unwrap() {
        let parts: Vec<&str> = key.split(':').collect();
        let (kind, tenant, instrument, number) = match parts.as_slice() {
            // Snapshots of curves and prices of derived series have no instrument; `served.rs` reads them.
            ["served", "copy", "latest_price" | "curve_snapshot" | "derived_price", _]
            | ["served", "curve_snapshot", _, _, _]
            | ["served", "custom", "derived_price", _, _] => {
                continue;
            }
            ["served", "latest_price", tenant, instrument] => ("served", *tenant, *instrument, "price"),
            ["reference", tenant, instrument] => ("reference", *tenant, *instrument, "contract_size"),
            _ => panic!(
                "Redis has a key of a new kind, {key}: encode its parts (stores::redis::Key) and read it in {}",
                file!()
            ),
        };
        let pair = (plain(tenant), plain(instrument));
        if !pair.0.starts_with(MARK) {
            continue;
        }
        let value: Value = serde_json::from_str(&value).unwrap_or_else(|error| panic!("{key} is {value}: {error}"));
        assert_eq!(
            (&value["tenant_id"], &value["instrument_id"]),
            (&json!(pair.0), &json!(pair.1)),
            "{key}"
        );
        let number = value[number]
            .as_str()
            .map_or_else(|| value[number].to_string(), str::to_owned);
        kinds.entry(kind).or_default().insert((pair.0, pair.1, number));
    }
    for kind in ["served", "reference"] {
        assert_eq!(kinds.get(kind), Some(&expected(pairs)), "Redis keys of kind {kind}");
    }
}

fn port(pipeline: &Pipeline, service: Service) -> u16 {
    let ports = &pipeline.stack().config().ports;
    match service {
        Service::Normalization => ports.normalization,
        Service::Enrichment => ports.enrichment,
        Service::Aggregation => ports.aggregation,
        Service::Projection => ports.projection,
    }
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// Requests a route for a pair, with the tenant in the header or in the query.
fn ask(
    pipeline: &Pipeline,
    service: Service,
    (method, path): (&str, &str),
    tenant: &str,
    instrument: &str,
    in_header: bool,
) -> anyhow::Result<Answer> {
    let target = filled(path, &encoded(instrument));
    let query = match path {
        "/prices/latest" if !instrument.is_empty() => format!("instrument_id={}&", encoded(instrument)),
        // The test's instruments are of no curve; `served.rs` checks the snapshots of two tenants.
        "/curves/snapshots" => "horizon=1m&".to_owned(),
        _ => String::new(),
    };
    let body = match path {
        "/enrich" => json!({"instrument_id": instrument, "market": "MISO"}).to_string(),
        "/validate" => json!({"market": "MISO", "instrument_id": instrument}).to_string(),
        "/cache/invalidate" => json!({"instrument_id": instrument}).to_string(),
        _ => String::new(),
    };
    let json = ("Content-Type", "application/json");
    let port = port(pipeline, service);
    match in_header {
        true => request(
            port,
            method,
            &format!("{target}?{query}"),
            &[json, ("X-Tenant-Id", tenant)],
            &body,
        ),
        false => {
            let target = format!("{target}?{query}tenant_id={}", encoded(tenant));
            request(port, method, &target, &[json], &body)
        }
    }
}

/// The path with this name of an instrument, a series or a curve.
fn filled(path: &str, name: &str) -> String {
    ["{instrument_id}", "{series}", "{curve_id}"]
        .iter()
        .fold(path.to_owned(), |path, place| path.replace(place, name))
}

/// Whether the response of a tenant route contains only data of the pair; `None` if the route is not known here.
fn is_own(
    path: &str,
    service: Service,
    answer: &Value,
    pairs: &Pairs,
    pair: &(String, String),
    number: u32,
) -> Option<bool> {
    let (tenant, instrument) = pair;
    let count = count_of(pairs, tenant);
    Some(match (service, path) {
        (Service::Projection, "/prices/latest") => {
            answer["count"] == 1
                && answer["prices"][0]["tenant_id"] == *tenant
                && answer["prices"][0]["instrument_id"] == *instrument
                && answer["prices"][0]["price"] == number
        }
        (Service::Projection, "/curves/snapshots") => answer["count"] == 0 && answer["snapshots"] == json!([]),
        (Service::Aggregation, "/bars/{instrument_id}") => {
            let bars = answer["bars"].as_array().map(Vec::as_slice).unwrap_or_default();
            let own = |bar: &Value| bar["tenant_id"] == *tenant && bar["open"] == number && bar["trade_count"] == 1;
            answer["instrument_id"] == *instrument && !bars.is_empty() && bars.iter().all(own)
        }
        (Service::Aggregation, "/windows") => {
            let partitions = answer["partitions"].as_array().into_iter().flatten();
            let instruments = partitions.filter_map(|partition| partition["instruments"].as_u64());
            let merged = answer["merged_from_hours"] == json!(["4h", "1d-local", "blocks"]);
            merged && instruments.sum::<u64>() == count as u64
        }
        (Service::Enrichment, "/taxonomy/{instrument_id}" | "/enrich") => {
            answer["tenant_id"] == *tenant
                && answer["instrument_id"] == *instrument
                && answer["contract_size"].as_str() == Some(&*number.to_string())
        }
        (Service::Enrichment, "/cache/status" | "/cache/refresh") => answer["entries"] == count,
        (Service::Projection, "/cache/status") => answer["latest_prices"] == count,
        (Service::Projection, "/cache/invalidate") => answer["success"] == true && answer["invalidated_keys"] == 1,
        // The test's ticks are no prices of intervals.
        (Service::Aggregation, "/completeness") => answer["tenant_id"] == *tenant && answer["days"] == json!([]),
        // It reports what a message would become, without other data.
        (Service::Normalization, "/validate") => !answer.to_string().contains(MARK),
        _ => return None,
    })
}

fn check_tenant_route(pipeline: &Pipeline, service: Service, route: (&str, &str), pairs: &Pairs) {
    let (method, path) = route;
    for (place, (pair, number)) in pairs.iter().enumerate() {
        // Each refresh is a complete load, so two are enough.
        // The answers of the WebSocket are checked in `live.rs`.
        if path == "/cache/refresh" && place > 1 || path == "/ws/prices" {
            break;
        }
        let answer = ask(pipeline, service, route, &pair.0, &pair.1, place % 2 == 0).unwrap();
        // No tenant here has a curve or a series; `curve.rs` and `derived.rs` read those of two tenants.
        if matches!(path, "/curves/{curve_id}" | "/derived/{series}") {
            let message = json_of(&answer)["message"].to_string();
            let named = serde_json::to_string(&*pair.0).unwrap();
            assert!(
                answer.status == 404 && message.contains(named.trim_matches('"')),
                "{answer:?}"
            );
            continue;
        }
        assert_eq!(answer.status, 200, "{method} {path} of {pair:?}: {answer:?}");
        let own = is_own(path, service, &json_of(&answer), pairs, pair, *number).unwrap_or_else(|| {
            panic!(
                "{} has a new tenant route {method} {path}: add it in {} (ask, is_own), with its request and the check of \
                 its response",
                service.name(),
                file!()
            )
        });
        assert!(
            own,
            "{method} {path} of {pair:?}, whose number is {number}: {}",
            answer.body
        );
    }
    // Two tenants in one request, and an invalid tenant, are rejected before any store is queried.
    let ((tenant, instrument), _) = pairs.iter().next().unwrap();
    let target = filled(path, &encoded(instrument));
    let header = [("X-Tenant-Id", tenant.as_str())];
    let both = request(
        port(pipeline, service),
        method,
        &format!("{target}?tenant_id=other"),
        &header,
        "",
    )
    .unwrap();
    assert_eq!(both.status, 400, "{method} {path}: {both:?}");
    assert!(both.body.contains("other") && both.body.contains(MARK), "{both:?}");
    for impossible in ["%00", "a%7Cb", "", &"x".repeat(257)] {
        let target = format!("{target}?tenant_id={impossible}");
        let refused = request(port(pipeline, service), method, &target, &[], "").unwrap();
        assert_eq!(refused.status, 400, "{method} {target}: {refused:?}");
    }
    // The default tenant has no data of the test's tenants.
    let default = ask(pipeline, service, route, "default", "NO_SUCH_THING", true).unwrap();
    assert!(!default.body.contains(MARK), "{method} {path}: {default:?}");
}

fn check_routes(pipeline: &Pipeline, pairs: &Pairs) {
    // Until its first count has ended, which may take a while on a busy machine, projection answers without a number.
    eventually("projection has counted its copies", || {
        let ((tenant, _), _) = pairs.iter().next().unwrap();
        let route = ("GET", "/cache/status");
        let counted = ask(pipeline, Service::Projection, route, tenant, "", true)?;
        Ok(json_of(&counted)["latest_prices"] == count_of(pairs, tenant))
    })
    .unwrap();
    for service in e2e::SERVICES {
        let info = json_of(&request(port(pipeline, service), "GET", "/info", &[], "").unwrap());
        let routes = info["routes"].as_array().unwrap();
        assert!(!routes.is_empty());
        let described = json_of(&request(port(pipeline, service), "GET", "/openapi.json", &[], "").unwrap());
        for route in routes {
            let (method, path) = (route["method"].as_str().unwrap(), route["path"].as_str().unwrap());
            let operation = &described["paths"][path][method.to_lowercase()];
            assert!(
                operation["summary"].is_string(),
                "{path} is not in /openapi.json: {described}"
            );
            let unknown = request(
                port(pipeline, service),
                method,
                &format!("{}?no_such=1", filled(path, "x")),
                &[],
                "",
            )
            .unwrap();
            assert!(
                unknown.status == 400 && unknown.body.contains("no_such"),
                "{path}: {unknown:?}"
            );
            if route["scope"] == "tenant" {
                check_tenant_route(pipeline, service, (method, path), pairs);
                continue;
            }
            // Without a body, a change of the log level is refused; a profile, without its length.
            let is_refused = ["/log-level", "/profile/cpu", "/profile/heap"].contains(&path);
            assert!(
                (method == "GET" || is_refused) && !path.contains('{'),
                "{} has a new route {method} {path} without a tenant: add its request in {}",
                service.name(),
                file!()
            );
            let answer = request(port(pipeline, service), method, path, &[], "").unwrap();
            assert!(
                !answer.body.contains(MARK),
                "{method} {path} shows data of a tenant: {}",
                answer.body
            );
        }
    }
}

/// Checks `from`, `to`, `interval` and `limit` of the bars route. The only tick in memory has this time.
fn check_bar_filters(pipeline: &Pipeline, pairs: &Pairs, time: i64) {
    let ((tenant, instrument), _) = pairs.iter().next().unwrap();
    let (minute, day) = (window_start(time, 60_000_000), window_start(time, 86_400_000_000));
    let starts = INTERVALS.map(|(_, length)| window_start(time, length));
    let between = |from: i64, to: i64| {
        let filter = format!("from={}&to={}", iso(from), iso(to));
        (
            filter,
            starts.iter().filter(|start| (from..to).contains(*start)).count(),
        )
    };
    for (filter, bars) in [
        (String::new(), 5),
        ("interval=1h".to_owned(), 1),
        ("limit=2".to_owned(), 2),
        between(minute, minute + 1_000_000),
        between(day, minute),
        between(day + 86_400_000_000, day + 2 * 86_400_000_000),
    ] {
        let target = format!("/bars/{}?tenant_id={}&{filter}", encoded(instrument), encoded(tenant));
        let answer = request(port(pipeline, Service::Aggregation), "GET", &target, &[], "").unwrap();
        let found = json_of(&answer)["bars"].as_array().map(Vec::len);
        assert_eq!((answer.status, found), (200, Some(bars)), "{filter}: {}", answer.body);
    }
}

#[test]
fn similar_tenants_and_instruments_are_isolated_in_every_table_key_and_route() {
    let pipeline = Pipeline::shared();
    let pairs = pairs();
    describe(&pipeline, &pairs);
    let time = publish(&pipeline, &pairs);
    let arrived = |table: &str| {
        let rows = pipeline
            .clickhouse
            .rows(&format!("SELECT DISTINCT tenant_id, instrument_id, '' FROM {table}"))?;
        anyhow::Ok(found(rows).len() == pairs.len())
    };
    eventually("the ticks arrive", || Ok(arrived("late_ticks")? && arrived("bars")?)).unwrap();
    pipeline.agree().unwrap();
    check_clickhouse(&pipeline, &pairs);
    check_postgres(&pipeline, &pairs);
    check_redis(&pipeline, &pairs);
    check_routes(&pipeline, &pairs);
    check_bar_filters(&pipeline, &pairs, time);
    let ((tenant, instrument), number) = pairs.iter().find(|((tenant, _), _)| tenant.contains(':')).unwrap();
    let explained = pipeline
        .dp_ok(&[
            "--json",
            "explain",
            "price",
            "--tenant",
            tenant,
            "--instrument",
            instrument,
        ])
        .unwrap();
    let explained: Value = serde_json::from_str(&explained).unwrap();
    for quote in explained["quotes"].as_array().unwrap() {
        assert_eq!(quote["price"]["price"], number.to_string(), "{quote}");
    }
}
