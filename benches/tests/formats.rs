//! Gate: each format of the registry has a large document, so that no market is added whose cost nobody knows.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use hot_paths::documents::{Reading, TICKS, documents};
use markets::{FORMATS, detect_format};

#[test]
fn every_format_of_the_registry_has_a_document_and_no_other_has() {
    let measured: BTreeSet<&str> = documents().unwrap().iter().map(|document| document.format).collect();
    let known: BTreeSet<&str> = FORMATS.iter().map(|format| format.name).collect();
    assert_eq!(measured, known, "add the missing documents to benches/src/documents");
}

#[test]
fn each_document_is_recognized_and_becomes_ticks() {
    let mut names = BTreeSet::new();
    for document in documents().unwrap() {
        let name = document.name;
        assert!(names.insert(name), "{name} is there twice");
        assert_eq!(detect_format(name, &document.bytes), Some(document.format), "{name}");
        let ticks = Reading::new().unwrap().read(&document);
        assert!(ticks >= TICKS, "{name}: {ticks} ticks");
    }
}
