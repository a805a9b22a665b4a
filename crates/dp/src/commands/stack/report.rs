//! Whether there is a stack, and what a command has done to its processes.

use std::path::Path;

use localstack::Name;
use ops::present::{print_json, print_line};
use serde_json::json;

pub(super) fn is_stack(folder: &Path) -> bool {
    folder.join("stack.json").exists()
}

/// Prints what was done (`what`) to which processes.
pub(super) fn report(what: &str, names: &[Name], json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(&json!({ what: names }));
    }
    print_line(&if names.is_empty() {
        format!("nothing {what}")
    } else {
        format!("{what}: {}", listed(names))
    })
}

pub(super) fn listed(names: &[Name]) -> String {
    let names: Vec<String> = names.iter().map(Name::to_string).collect();
    names.join(", ")
}
