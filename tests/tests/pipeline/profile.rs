//! Profiles of a running service: what its picture and table show, and that the service works on.

use e2e::{Pipeline, eventually};
use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::Value;

/// The texts of all `title` elements of a picture; fails if it is not well-formed.
fn titles(svg: &str) -> Vec<String> {
    let mut reader = Reader::from_str(svg);
    let (mut titles, mut is_title, mut depth) = (Vec::new(), false, 0);
    loop {
        match reader.read_event().unwrap() {
            Event::Eof => break,
            Event::Start(tag) => {
                depth += 1;
                is_title = tag.name().as_ref() == b"title";
                if is_title {
                    titles.push(String::new());
                }
            }
            Event::End(_) => {
                depth -= 1;
                is_title = false;
            }
            Event::Text(text) if is_title => titles.last_mut().unwrap().push_str(&text.decode().unwrap()),
            _ => {}
        }
    }
    assert_eq!(depth, 0, "not closed");
    titles
}

fn percents(rows: &Value, name: &str) -> Vec<f64> {
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| row[name].as_f64().unwrap()).collect()
}

#[test]
fn a_cpu_profile_under_load_is_a_picture_and_a_table_of_our_functions() {
    let pipeline = Pipeline::shared();
    let load = pipeline.publish(63);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("normalization.svg");
    let path = path.to_str().unwrap();
    let ours = [
        "normalization::",
        "markets::",
        "stream::",
        "delivery::",
        "codec::",
        "service::",
    ];
    let is_ours = |title: &String| ours.iter().any(|name| title.contains(name));
    let mut seen = (Value::Null, Vec::new());
    let words = [
        "profile",
        "cpu",
        "normalization",
        "--for",
        "2",
        "--frequency",
        "250",
        "--output",
        path,
    ];
    // The load is light: a profile of two seconds may have few samples.
    eventually("a sample in a function of ours", || {
        let printed = pipeline.dp_ok(&[&words[..], &["--json"]].concat())?;
        let profile: Value = serde_json::from_str(&printed)?;
        if profile["output"].is_null() {
            return Ok(false);
        }
        seen = (profile, titles(&std::fs::read_to_string(path)?));
        Ok(seen.1.iter().any(is_ours))
    })
    .unwrap();
    let (profile, titles) = seen;
    assert_eq!(
        (&profile["service"], &profile["output"]),
        (&"normalization".into(), &path.into())
    );
    assert!(
        titles.iter().any(|title| title.starts_with("all: 100.0 %, ")),
        "{titles:#?}"
    );
    let (own, total) = (
        percents(&profile["top"], "own_percent"),
        percents(&profile["top"], "total_percent"),
    );
    assert!(own.len() <= 10 && own.iter().sum::<f64>() <= 100.001, "{profile:#}");
    assert!(
        own.iter()
            .zip(&total)
            .all(|(own, total)| own <= total && *total <= 100.0),
        "{profile:#}"
    );
    assert!(
        profile["samples"].as_u64().is_some_and(|samples| samples > 0),
        "{profile:#}"
    );
    // The threads of librdkafka cannot be sampled; their time is not left out.
    assert!(
        profile["cpu_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0),
        "{profile:#}"
    );

    eventually("a table with the way to the picture", || {
        let text = pipeline.dp_ok(&words)?;
        Ok(text.contains("total %") && text.contains("flame graph: "))
    })
    .unwrap();
    load.finish().unwrap();
    pipeline.agree().unwrap();
}

#[test]
fn a_heap_profile_compares_two_moments_and_names_who_allocates() {
    let pipeline = Pipeline::shared();
    let load = pipeline.publish(64);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("aggregation.folded");
    let path = path.to_str().unwrap();
    let printed = pipeline
        .dp_ok(&[
            "profile",
            "heap",
            "aggregation",
            "--for",
            "4",
            "--all",
            "--output",
            path,
            "--json",
        ])
        .unwrap();
    let profile: Value = serde_json::from_str(&printed).unwrap();
    assert_ne!(profile["before"]["at"], profile["after"]["at"], "{profile:#}");
    for moment in ["before", "after"] {
        for name in ["resident_bytes", "heap_used_bytes"] {
            let bytes = profile[moment][name].as_u64();
            assert!(
                bytes.is_some_and(|bytes| bytes > 1 << 20),
                "{moment} {name}: {profile:#}"
            );
        }
        assert!(profile[moment]["kept"]["bar_windows_open"].is_number(), "{profile:#}");
    }
    // The services declare the allocator that counts.
    let allocated = &profile["allocated"];
    assert!(
        allocated["allocations"].as_u64().is_some_and(|number| number > 0),
        "{profile:#}"
    );
    let grown = allocated["allocated_bytes"].as_i64().unwrap() - allocated["freed_bytes"].as_i64().unwrap();
    assert_eq!(profile["difference"]["rust"], grown, "{profile:#}");

    let text = pipeline
        .dp_ok(&["profile", "heap", "aggregation", "--for", "1", "--output", path])
        .unwrap();
    assert!(
        text.contains("heap in use") && text.contains("Rust code allocated"),
        "{text}"
    );
    load.finish().unwrap();
    pipeline.agree().unwrap();
}

#[test]
fn an_unknown_service_and_a_wrong_file_end_with_what_to_do() {
    let pipeline = Pipeline::shared();
    for (words, expected) in [
        (
            &["profile", "cpu", "normalisation"][..],
            "normalization, enrichment, aggregation, projection",
        ),
        (&["profile", "heap", "normalization", "--for", "90"], "from 1s to 60s"),
    ] {
        let output = pipeline.dp(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
        assert!(said.contains(expected), "{words:?}: {said}");
    }
}
