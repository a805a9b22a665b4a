//! docs/markets.md tells for each market what is read: the formats that it names are those of the registry, no more and no less.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use markets::FORMATS;

#[test]
fn the_guide_names_each_format_and_no_other() {
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/markets.md")).unwrap();
    // Every second part is between two backticks.
    let quoted = guide.split('`').skip(1).step_by(2);
    let is_format = |text: &&str| {
        [".csv", ".json", ".xml"]
            .iter()
            .any(|end| text.ends_with(end) && text.len() > end.len())
    };
    let named: BTreeSet<&str> = quoted.filter(is_format).collect();
    let known: BTreeSet<&str> = FORMATS.iter().map(|format| format.name).collect();
    assert_eq!(named, known);
}
