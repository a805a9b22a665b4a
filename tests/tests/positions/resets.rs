//! `dp kafka reset-offsets` and `dp kafka plan-reassign`, the latter with Kafka's own tool.

use super::*;

fn reset(pipeline: &Pipeline, arguments: &[&str]) -> (i32, String, String) {
    let all: Vec<&str> = ["--json", "kafka", "reset-offsets"]
        .iter()
        .chain(arguments)
        .copied()
        .collect();
    let output = pipeline.dp(&all).output().unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_stage_whose_offsets_are_set_to_the_earliest_reads_again_and_nothing_is_doubled() {
    let pipeline = filled();
    agrees(&pipeline);
    let number = |sql: &str| pipeline.clickhouse.number(sql).unwrap();
    let doubled =
        || number("SELECT count() - uniqExact(feed, raw_partition, raw_offset, raw_index) FROM enriched_ticks");
    let (ticks, doubled_before) = (pipeline.enriched().unwrap(), doubled());
    let (code, plan, _) = reset(&pipeline, &["--group", "normalization-local", "--to", "earliest"]);
    assert_eq!((code, json(&plan)["executed"].as_bool()), (1, Some(false)));
    assert_eq!(json(&plan)["active"]["members"], 1, "{plan}");
    let (code, _, told) = reset(
        &pipeline,
        &["--group", "normalization-local", "--to", "earliest", "--execute"],
    );
    assert_eq!(code, 2, "{told}");
    all_hold(
        &told,
        &["has 1 member(s)", "stop normalization", "kubectl scale"].map(str::to_owned),
    );

    stop(&pipeline, &[Service::Normalization, Service::Enrichment]);
    for group in ["normalization-local", "enrichment-local"] {
        let (code, done, told) = reset(&pipeline, &["--group", group, "--to", "earliest", "--yes"]);
        assert_eq!(code, 0, "{told}");
        let again: i64 = json(&done)["plan"]["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["again"].as_i64().unwrap())
            .sum();
        assert!(i128::from(again) >= ticks / 2, "{done}");
    }
    // Forwards would skip them in silence.
    let (code, refused, _) = reset(
        &pipeline,
        &["--group", "normalization-local", "--to", "latest", "--yes"],
    );
    assert_eq!((code, json(&refused)["refused"].as_bool()), (1, Some(true)));
    start(&pipeline, &[Service::Normalization, Service::Enrichment]);
    publish_to(&pipeline, 0, 5, "AFTER-RESET");
    agrees(&pipeline);
    assert_eq!(doubled(), doubled_before);
    assert_eq!(
        number("SELECT count() FROM enriched_ticks WHERE startsWith(instrument_id, 'MISO.AFTER-RESET.')"),
        5
    );
    // More than five, if another test let a stage skip records: they are read now.
    assert!(pipeline.enriched().unwrap() >= ticks + 5);
}

#[test]
fn offsets_of_a_group_with_its_position_elsewhere_are_only_shown_as_lag() {
    let pipeline = filled();
    stop(&pipeline, &[Service::Projection]);
    let (code, plan, told) = reset(&pipeline, &["--group", "projection-local", "--to", "earliest", "--yes"]);
    assert_eq!(code, 0, "{told}");
    assert_eq!(json(&plan)["plan"]["is_position"], false);
    start(&pipeline, &[Service::Projection]);
    agrees(&pipeline);
    let (code, _, told) = reset(&pipeline, &["--group", "somebody-elses", "--to", "earliest"]);
    assert_eq!(code, 2);
    all_hold(&told, &["--topic".to_owned()]);
}

/// Kafka's tool parses the plan, compares it with the cluster, and takes it.
#[test]
fn a_planned_reassignment_is_accepted_by_kafkas_own_tool() {
    let pipeline = filled();
    let plan = pipeline.dp_ok(&["kafka", "plan-reassign"]).unwrap();
    assert_eq!(json(&plan)["version"], 1);
    let file = pipeline.stack().config().dir.join("reassign.json");
    std::fs::write(&file, &plan).unwrap();
    for (action, answer) in [("--verify", "is completed"), ("--execute", "Successfully started")] {
        let output = Command::new("java")
            .args(["-cp", &pipeline.stack().kafka_classpath().unwrap()])
            .arg("org.apache.kafka.tools.reassign.ReassignPartitionsCommand")
            .args([
                "--bootstrap-server",
                &pipeline.bootstrap(),
                action,
                "--reassignment-json-file",
            ])
            .arg(&file)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && told.contains(answer),
            "{told}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let missing = pipeline
        .dp(&["kafka", "plan-reassign", "--brokers", "1,99"])
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(2));
    let few = pipeline
        .dp(&["kafka", "plan-reassign", "--replication", "3"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&few.stderr).contains("needs 3 replicas"));
}
