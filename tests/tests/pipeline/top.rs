//! `dp top` on the running pipeline: what it shows is what flows, and the screen is left as it was found.

use e2e::{Pipeline, eventually};
use serde_json::Value;
use testkit::terminal::InTerminal;

/// The group of this id that reads this topic.
fn group<'f>(figures: &'f Value, name: &str) -> &'f Value {
    let mut groups = figures["groups"].as_array().unwrap().iter();
    groups.find(|group| group["group"] == name).unwrap()
}

#[test]
fn top_shows_rates_latency_and_the_use_of_processes_while_ticks_are_published() {
    let pipeline = Pipeline::shared();
    let load = pipeline.publish(61);
    let figures =
        || -> anyhow::Result<Value> { Ok(serde_json::from_str(&pipeline.dp_ok(&["top", "--once", "--json"])?)?) };
    eventually("every stage has a rate and a latency", || {
        let figures = figures()?;
        let is_positive = |value: &Value| value.as_f64().is_some_and(|number| number > 0.0);
        let processes = figures["processes"].as_array().unwrap();
        let mut services = processes.iter().filter(|process| process["kind"] == "service");
        anyhow::ensure!(
            services.all(|service| is_positive(&service["messages_per_second"])),
            "{processes:#?}"
        );
        anyhow::ensure!(
            is_positive(&group(&figures, "normalization-local")["in_per_second"]),
            "{figures:#}"
        );
        let hops = figures["hops"].as_array().unwrap();
        // Late ticks are rare, no derived series is configured, and no settlements come.
        let untimed = [
            "clickhouse_late_ticks",
            "clickhouse_derived_prices",
            "clickhouse_curve_snapshots",
        ];
        let mut timed = hops
            .iter()
            .filter(|hop| !untimed.contains(&hop["stage"].as_str().unwrap_or_default()));
        anyhow::ensure!(timed.all(|hop| is_positive(&hop["p99_seconds"])), "{hops:#?}");
        Ok(true)
    })
    .unwrap();
    let shown = figures().unwrap();
    let processes = shown["processes"].as_array().unwrap();
    assert_eq!(processes.len(), 8, "{processes:#?}");
    for process in processes {
        assert!(
            process["cpu_percent"].as_f64().is_some_and(|percent| percent >= 0.0),
            "{process}"
        );
        assert!(
            process["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20),
            "{process}"
        );
    }
    // Each group that has a stage finds its latency.
    for group in shown["groups"].as_array().unwrap() {
        let stage = &group["stage"];
        let found = shown["hops"]
            .as_array()
            .unwrap()
            .iter()
            .any(|hop| hop["stage"] == *stage);
        assert!(stage.is_null() || found, "{group}");
    }
    // A stack of a test has no Alertmanager.
    assert_eq!(shown["alerts"], "not_configured");

    let mut top = InTerminal::start(pipeline.dp(&["top", "--every", "1s"]), 80, 24).unwrap();
    top.wait_for("projection-local").unwrap();
    assert!(top.is_taken().unwrap());
    top.press("sp").unwrap();
    top.wait_for("PAUSED").unwrap();
    top.press("q").unwrap();
    let (status, drawn) = top.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{drawn:?}");
    top.wait_restored().unwrap();
    load.finish().unwrap();
    pipeline.agree().unwrap();
}

#[test]
fn capacity_is_extrapolated_from_the_cpu_time_of_each_service() {
    let pipeline = Pipeline::shared();
    let load = pipeline.publish(62);
    eventually("each service has a headroom", || {
        let output = pipeline.dp(&["capacity", "--json"]).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(matches!(output.status.code(), Some(0 | 1)), "{said}");
        let answer: Value = serde_json::from_slice(&output.stdout)?;
        let services = answer["services"].as_array().unwrap();
        assert_eq!(services.len(), 4, "{answer:#}");
        for service in services {
            let (Some(headroom), Some(cpu)) = (service["headroom"].as_f64(), service["cpu_percent"].as_f64()) else {
                anyhow::bail!("{service:#}");
            };
            // Both say how far a core is from being full.
            assert!((headroom * cpu - 100.0).abs() < 0.1, "{service:#}");
            assert!(
                service["partitions"].as_u64().is_some_and(|number| number > 0),
                "{service:#}"
            );
            assert!(service["lag"].is_i64(), "{service:#}");
        }
        assert!(
            answer["disks"][0]["free_bytes"].as_u64().is_some_and(|free| free > 0),
            "{answer:#}"
        );
        let has_problems = !answer["problems"].as_array().unwrap().is_empty();
        assert_eq!(output.status.code(), Some(i32::from(has_problems)), "{answer:#}");
        Ok(true)
    })
    .unwrap();
    load.finish().unwrap();
}

#[test]
fn analyze_measures_stages_calls_and_machine() {
    let pipeline = Pipeline::shared();
    let load = pipeline.publish(63);
    eventually("every part is measured", || {
        let output = pipeline.dp(&["analyze", "--for", "2s", "--json"]).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(matches!(output.status.code(), Some(0 | 1)), "{said}");
        let answer: Value = serde_json::from_slice(&output.stdout)?;
        let list = |name: &str| answer[name].as_array().cloned().unwrap_or_default();
        let costs: u64 = list("findings")
            .iter()
            .filter_map(|finding| finding["cost"].as_u64())
            .sum();
        assert_eq!(
            answer["score"].as_u64(),
            Some(100u64.saturating_sub(costs)),
            "{answer:#}"
        );
        assert_eq!(
            output.status.code(),
            Some(i32::from(!list("findings").is_empty())),
            "{answer:#}"
        );
        let calls = list("calls");
        for (service, operation) in [
            ("projection", "put prices"),
            ("normalization", "insert"),
            ("aggregation", "check topics"),
        ] {
            let is_it = |call: &&Value| call["service"] == service && call["operation"] == operation;
            let Some(call) = calls.iter().find(is_it) else {
                anyhow::bail!("no call {operation} of {service}: {answer:#}");
            };
            let [p50, p95, p99, max] =
                ["p50_ms", "p95_ms", "p99_ms", "max_ms"].map(|name| call[name].as_f64().unwrap());
            assert!(0.0 < p50 && p50 <= p95 && p95 <= p99 && p99 <= max, "{call:#}");
        }
        let machines = list("machines");
        assert_eq!(machines.len(), 1, "{answer:#}");
        assert_eq!(machines[0]["services"].as_array().map(Vec::len), Some(4), "{answer:#}");
        for used in ["memory", "disk"] {
            assert!(
                machines[0][used]["used_bytes"].as_u64().is_some_and(|bytes| bytes > 0),
                "{answer:#}"
            );
        }
        Ok(machines[0]["cpu_percent"].is_f64() && list("stages").iter().any(|stage| stage["out_per_second"].is_f64()))
    })
    .unwrap();
    load.finish().unwrap();
}
