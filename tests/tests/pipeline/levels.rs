//! The log level of a running service changes without a restart, and comes back by itself.

use e2e::{Pipeline, eventually};
use localstack::Service;
use serde_json::Value;

fn shown(pipeline: &Pipeline) -> anyhow::Result<Value> {
    let (_, body) = pipeline.get(Service::Normalization, "/log-level")?;
    Ok(serde_json::from_str(&body)?)
}

#[test]
fn a_level_changes_without_a_restart_and_comes_back_by_itself() {
    let pipeline = Pipeline::shared();
    let before = shown(&pipeline).unwrap();
    assert_eq!(
        (&before["level"], &before["until"]),
        (&before["base_level"], &Value::Null)
    );
    // Long enough to be seen on a slow machine; the level returns by a newer change, and then by itself.
    let set = |time: &str| pipeline.dp_ok(&["logs", "level", "normalization", "debug", "--for", time, "--json"]);
    let changed: Value = serde_json::from_str(&set("10m").unwrap()).unwrap();
    assert_eq!(
        (&changed["service"], &changed["level"]),
        (&"normalization".into(), &"debug".into())
    );
    assert_eq!(shown(&pipeline).unwrap(), changed);
    let text = pipeline.dp_ok(&["logs", "level", "normalization"]).unwrap();
    assert!(text.starts_with("normalization: debug until 20"), "{text}");

    set("2s").unwrap();
    eventually("the base level is back", || Ok(shown(&pipeline)? == before)).unwrap();

    set("10m").unwrap();
    pipeline.dp_ok(&["logs", "level", "normalization", "--reset"]).unwrap();
    assert_eq!(shown(&pipeline).unwrap(), before);
}

#[test]
fn a_wrong_level_or_service_ends_with_the_valid_names() {
    let pipeline = Pipeline::shared();
    for (words, names) in [
        (["normalization", "loud"], "error, warn, info, debug, trace"),
        (
            ["normalisation", "debug"],
            "normalization, enrichment, aggregation, projection",
        ),
    ] {
        let output = pipeline.dp(&["logs", "level", words[0], words[1]]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
        assert!(said.contains(names), "{words:?}: {said}");
    }
}
