//! `GET /stats` of all four services: the names that programs read, and that the counts move with the load.

use e2e::{Pipeline, RAW, eventually};
use localstack::Service;
use serde_json::Value;
use testkit::bars::INTERVALS;
use testkit::kafka::{Outgoing, Publisher};

/// Names that must be there with a number. Those of the second list must grow.
const NORMALIZATION: (&[&str], &[&str]) = (
    &[
        "processing_rate_per_second",
        "average_processing_time_ms",
        "error_rate_percent",
    ],
    &["messages_processed", "messages_failed"],
);
const ENRICHMENT: (&[&str], &[&str]) = (
    &[
        "enrichment_failures",
        "cache_hits",
        "cache_misses",
        "cache_hit_rate_percent",
    ],
    &["enrichment_count"],
);
const AGGREGATION: (&[&str], &[&str]) = (&["active_windows"], &["bars_generated"]);
const PROJECTION: (&[&str], &[&str]) = (
    &["materialized_views_refreshed"],
    &["projections_updated", "cache_invalidations"],
);

fn stats(pipeline: &Pipeline, service: Service) -> Value {
    let (status, body) = pipeline.get(service, "/stats").unwrap();
    assert_eq!(status, 200, "{service:?}: {body}");
    serde_json::from_str(&body).unwrap()
}

fn number(stats: &Value, name: &str) -> f64 {
    let value = stats.get(name).unwrap_or_else(|| panic!("{name} is missing: {stats}"));
    value.as_f64().unwrap_or_else(|| panic!("{name} is no number: {stats}"))
}

/// Checks the names; returns the counts that must grow.
fn counts(pipeline: &Pipeline, service: Service, (shown, growing): (&[&str], &[&str])) -> Vec<(String, f64)> {
    let stats = stats(pipeline, service);
    for name in shown {
        assert!(number(&stats, name) >= 0.0, "{name}: {stats}");
    }
    let mut counts: Vec<(String, f64)> = growing
        .iter()
        .map(|name| ((*name).to_owned(), number(&stats, name)))
        .collect();
    match service {
        Service::Enrichment => {
            let looked_up = number(&stats, "cache_hits") + number(&stats, "cache_misses");
            counts.push(("cache_hits and cache_misses".to_owned(), looked_up));
        }
        Service::Aggregation => {
            for (interval, _) in INTERVALS {
                let of_interval = &stats["intervals"][interval];
                number(of_interval, "windows_open");
                counts.push((interval.to_owned(), number(of_interval, "bars_generated")));
            }
        }
        _ => {}
    }
    counts
}

fn all_counts(pipeline: &Pipeline) -> Vec<(String, f64)> {
    let services = [
        (Service::Normalization, NORMALIZATION),
        (Service::Enrichment, ENRICHMENT),
        (Service::Aggregation, AGGREGATION),
        (Service::Projection, PROJECTION),
    ];
    let counts = services.map(|(service, names)| counts(pipeline, service, names));
    counts.into_iter().flatten().collect()
}

#[test]
fn the_named_counts_exist_and_move_after_a_load() {
    let pipeline = Pipeline::shared();
    let before = all_counts(&pipeline);
    pipeline.publish_once(2_000, 61_000).unwrap();
    let mut publisher = Publisher::new(&pipeline.bootstrap(), RAW).unwrap();
    let poison = Outgoing {
        payload: b"x".to_vec(),
        ..Outgoing::default()
    };
    publisher.send(&poison).unwrap();
    publisher.finish().unwrap();
    // Exit code 1 if its price is not stored yet: the request is published all the same.
    let asked = pipeline
        .dp(&["cache", "refresh", "--instrument", "NG_HH_M1"])
        .output()
        .unwrap();
    assert!(matches!(asked.status.code(), Some(0 | 1)), "{asked:?}");
    eventually("all counts have grown", || {
        let now = all_counts(&pipeline);
        let grown = before.iter().zip(&now).all(|((_, before), (_, now))| now > before);
        if !grown {
            eprintln!("before {before:?}, now {now:?}");
        }
        Ok(grown)
    })
    .unwrap();
    let normalization = stats(&pipeline, Service::Normalization);
    let last = normalization["last_processing_time"].as_str().unwrap();
    last.parse::<jiff::Timestamp>().unwrap();
    assert!(
        number(&normalization, "processing_rate_per_second") > 0.0,
        "{normalization}"
    );
    let hit_rate = number(&stats(&pipeline, Service::Enrichment), "cache_hit_rate_percent");
    assert!((0.0..=100.0).contains(&hit_rate), "{hit_rate}");
}
