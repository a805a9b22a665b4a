//! The declarations of all metrics: complete, documented, and the only place where metrics are named.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use service::metrics::{Declared, SHARED, document, flaws};

const OWN: [(&str, &[Declared]); 4] = [
    ("normalization", normalization::metrics::DECLARED),
    ("enrichment", enrichment::metrics::DECLARED),
    ("aggregation", aggregation::metrics::DECLARED),
    ("projection", projection::metrics::DECLARED),
];

#[test]
fn every_declaration_is_complete_and_every_name_is_declared_once() {
    for (service, own) in OWN {
        assert_eq!(flaws(own), Vec::<String>::new(), "{service}");
    }
    let names = || {
        SHARED
            .iter()
            .chain(OWN.iter().flat_map(|(_, own)| *own))
            .map(|declared| declared.name)
    };
    let mut known = BTreeSet::new();
    let twice: Vec<&str> = names().filter(|name| !known.insert(*name)).collect();
    assert_eq!(twice, Vec::<&str>::new());
}

#[test]
fn the_metrics_page_matches_the_declarations() {
    let page = std::fs::read_to_string(e2e::root().join("docs/metrics.md")).unwrap();
    assert!(
        page == document(&OWN),
        "docs/metrics.md is out of date: cargo run -p e2e --example metrics-page > docs/metrics.md"
    );
}

#[test]
fn only_modules_named_metrics_create_metrics() {
    let mut allowed = Vec::new();
    for folder in ["benches", "crates", "services", "tests"] {
        sources(&e2e::root().join(folder), &mut |path| {
            let text = std::fs::read_to_string(path).unwrap();
            if text.contains(concat!("clippy::disallowed", "_macros")) {
                allowed.push(path.to_owned());
            }
        });
    }
    assert!(allowed.len() >= 6, "{allowed:?}");
    let is_elsewhere = |path: &&PathBuf| {
        !path.ends_with("metrics.rs") && !path.parent().is_some_and(|folder| folder.ends_with("metrics"))
    };
    let elsewhere: Vec<&PathBuf> = allowed.iter().filter(is_elsewhere).collect();
    assert!(
        elsewhere.is_empty(),
        "metrics may only be created in a metrics.rs or a folder metrics: {elsewhere:?}"
    );
}

fn sources(folder: &Path, look: &mut dyn FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, look);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            look(&path);
        }
    }
}
