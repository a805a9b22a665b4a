//! The files of a crate import in one direction: no circle of them, and no command of `dp` that imports another one.
//!
//! Role: reads the sources of `dp`, `ops`, `bench` and `reconcile` as text. A file imports another one if it uses an item that is defined
//! there, whatever path leads to it. `mod x;` alone is no import, nor is a re-export whose name the file itself does not use. Unit tests
//! do not count.

mod graph;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use graph::{Edges, Tree, circles};

const CRATES: [&str; 4] = ["dp", "ops", "bench", "reconcile"];

fn edges(name: &str) -> Edges {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src");
    Tree::read(|file| fs::read_to_string(folder.join(file)).ok()).edges()
}

#[test]
fn no_files_import_in_a_circle() {
    let mut found = Vec::new();
    for name in CRATES {
        let edges = edges(name);
        let imports: usize = edges.values().map(BTreeMap::len).sum();
        assert!(
            edges.len() > 20 && imports > edges.len(),
            "{name}: only {} files and {imports} imports were found",
            edges.len()
        );
        found.extend(circles(&edges).iter().map(|circle| format!("{name}: {circle}")));
    }
    assert!(
        found.is_empty(),
        "move what both need to a file of its own:\n{}",
        found.join("\n")
    );
}

/// The command that a file belongs to.
fn command(file: &str) -> Option<&str> {
    let name = file.strip_prefix("commands/")?.split(['/', '.']).next()?;
    (name != "mod").then_some(name)
}

/// What two commands need is in `ops` or `reconcile`, or in a file beside the commands.
#[test]
fn no_command_imports_another() {
    let edges = edges("dp");
    let commands: BTreeSet<&str> = edges.keys().filter_map(|file| command(file)).collect();
    assert!(commands.len() > 40, "{commands:?}");
    for (file, imported) in &edges {
        for (other, path) in imported {
            if let (Some(one), Some(another)) = (command(file), command(other)) {
                assert!(one == another, "{file} uses {path} of {other}");
            }
        }
    }
}

/// The circles of a crate of these files, each with its text.
fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
    let text = |name: &str| {
        let found = files.iter().find(|(file, _)| *file == name);
        found.map(|(_, text)| (*text).to_owned())
    };
    circles(&Tree::read(text).edges()).into_iter().collect()
}

#[test]
fn a_circle_is_named_with_the_items_that_make_it() {
    let child = ("child.rs", "use super::Args;\npub fn run(args: &Args) {}");
    let parent = "mod child;\npub struct Args;\n";
    let parent = format!("{parent}fn all(args: &Args) {{ child::run(args) }}");
    assert_eq!(
        circles_of(&[("lib.rs", parent.as_str()), child]),
        ["child.rs -> lib.rs -> child.rs (super::Args, child::run)"]
    );
    let through_three = [
        ("lib.rs", "mod a;\nmod b;\nmod c;"),
        (
            "a.rs",
            "use crate::b::{self, Other as Renamed};\npub const A: u8 = b::B;",
        ),
        (
            "b/mod.rs",
            "use crate::{c::C};\npub struct Other;\npub const B: u8 = C;",
        ),
        ("c.rs", "pub const C: u8 = super::a::A;"),
    ];
    assert_eq!(
        circles_of(&through_three),
        ["a.rs -> b/mod.rs -> c.rs -> a.rs (crate::b::Other, crate::c::C, super::a::A)"]
    );
}

#[test]
fn a_re_export_is_an_import_only_where_its_name_is_used() {
    let child = ("child.rs", "use super::Args;\npub fn run(args: &Args) {}");
    let parent = "mod child;\npub use child::run;\npub struct Args;\n";
    assert_eq!(circles_of(&[("lib.rs", parent), child]), [""; 0]);
    let uses = format!("{parent}fn all(args: &Args) {{ run(args) }}");
    assert_eq!(
        circles_of(&[("lib.rs", uses.as_str()), child]),
        ["child.rs -> lib.rs -> child.rs (super::Args, run)"]
    );
    // An import leads to the file that defines the item, not to the one that exports it again.
    let moved = [
        (
            "lib.rs",
            "mod args;\nmod child;\npub use args::Args;\nfn all(args: &Args) { child::run(args) }",
        ),
        ("args.rs", "pub struct Args;"),
        child,
    ];
    assert_eq!(circles_of(&moved), [""; 0]);
}

#[test]
fn tests_texts_and_comments_import_nothing() {
    let child = ("child.rs", "use super::Args;\npub fn run(args: &Args) {}");
    let parent = r##"
        mod child;
        pub struct Args<'a>(&'a str);
        // child::run
        const TEXT: &str = "child::run \" child::run";
        const RAW: &str = r#"child::run " child::run"#;
        const QUOTES: [char; 2] = ['"', '\''];
        #[cfg(test)]
        use child::run;
        #[cfg(test)]
        #[path = "lib_tests.rs"]
        mod tests;
        #[cfg(test)]
        mod more_tests {
            use super::child::run;
        }
    "##;
    assert_eq!(circles_of(&[("lib.rs", parent), child]), [""; 0]);
    let after = format!("{parent}fn all() {{ child::run() }}");
    assert_eq!(circles_of(&[("lib.rs", after.as_str()), child]).len(), 1);
}
