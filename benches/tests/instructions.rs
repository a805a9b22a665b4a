//! Gate: instructions per tick of every piece of the hot path and of every format's large document, counted by valgrind. The
//! count does not depend on the machine. It changes by some percent with what the compiler inlines, which changes elsewhere may alter, so
//! the agreed count is the middle of those; a difference of more than a tenth comes from a change of the code. A tick of a document must cost
//! less than a JSON envelope ([`most`]).
//!
//! The agreed counts are in `instructions.txt`. `RENEW=1 cargo test --release -p hot-paths --test instructions` writes new ones.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use hot_paths::{Path, documents};

const TOLERANCE: f64 = 0.10;
const INPUTS: usize = 3_000;
/// Ticks of two runs. The difference of their counts is the cost of the additional ticks, without the preparation.
const TICKS: (usize, usize) = (1_000, 3_000);
/// The first two readings of a document fill maps and buffers.
const DOCUMENT_TICKS: (usize, usize) = (2 * documents::TICKS, 3 * documents::TICKS);
const RENEW: &str = "RENEW=1 cargo test --release -p hot-paths --test instructions";

fn instructions(name: &str, ticks: usize) -> f64 {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(env!("CARGO_BIN_EXE_hot-path"));
    command.args([name, &INPUTS.to_string(), &ticks.to_string()]);
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot start valgrind ({error}): install it with scripts/bootstrap.sh"));
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "valgrind of {name}: {log}");
    // ==123== Collected : 456
    let collected = log.lines().find_map(|line| line.split_once("Collected :"));
    let count = collected.and_then(|(_, count)| count.trim().parse().ok());
    count.unwrap_or_else(|| panic!("valgrind did not print an instruction count: {log}"))
}

fn agreed_file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("instructions.txt")
}

fn agreed() -> BTreeMap<String, f64> {
    let text = std::fs::read_to_string(agreed_file()).unwrap_or_default();
    let pair = |line: &str| {
        let (name, count) = line.split_once(' ')?;
        Some((name.to_owned(), count.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

/// Instructions of a format's tick, as a share of an envelope's, at most. Those above 1 have longer texts for one tick than an envelope
/// (docs/performance.md, "Documents"): CAISO's price is put together from five rows of 165 bytes, in XML from five elements of 330,
/// which an archive must unpack first. In CPU time all of them take less than an envelope.
fn most(format: &str) -> f64 {
    match format {
        "caiso.prc_lmp.csv" | "caiso.prc_rtpd_lmp.csv" | "caiso.prc_intvl_lmp.csv" => 1.3,
        "caiso.oasis.xml" => 1.1,
        "caiso.oasis.xml/zip" => 1.3,
        _ => 1.0,
    }
}

/// Names and instructions per tick. Two processes at a time are enough for a small machine.
fn counted() -> Vec<(&'static str, f64)> {
    let pieces = Path::ALL.map(|path| (path.name(), TICKS));
    let documents = documents::sources();
    let documents = documents.iter().map(|source| (source.name, DOCUMENT_TICKS));
    let all: Vec<_> = pieces.into_iter().chain(documents).collect();
    let count = |(name, (few, many)): (&'static str, (usize, usize))| {
        let more = instructions(name, many) - instructions(name, few);
        (name, more / (many - few) as f64)
    };
    std::thread::scope(|scope| {
        let halves = all.chunks(all.len().div_ceil(2));
        let threads: Vec<_> = halves
            .map(|half| scope.spawn(move || half.iter().copied().map(count).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn every_piece_of_the_hot_path_has_its_agreed_instruction_count() {
    let found = counted();
    let (_, envelope) = found.first().copied().unwrap();
    for (name, count) in &found {
        println!("{name} {count:.0} ({:.0} % of an envelope)", count / envelope * 100.0);
    }
    let mut problems: Vec<String> = found
        .iter()
        .skip(Path::ALL.len())
        .filter(|(name, count)| *count > envelope * most(name))
        .map(|(name, count)| format!("{name} needs {count:.0} instructions a tick, an envelope only {envelope:.0}"))
        .collect();
    if std::env::var_os("RENEW").is_some() {
        let text: String = found
            .iter()
            .map(|(name, count)| format!("{name} {count:.0}\n"))
            .collect();
        std::fs::write(agreed_file(), text).unwrap();
        return;
    }
    let agreed = agreed();
    for (name, count) in found {
        match agreed.get(name) {
            None => problems.push(format!("{name} has no agreed count")),
            Some(agreed) if (count / agreed - 1.0).abs() > TOLERANCE => problems.push(format!(
                "{name} needs {count:.0} instructions a tick, but {agreed:.0} are agreed ({:+.0} %)",
                (count / agreed - 1.0) * 100.0
            )),
            Some(_) => {}
        }
    }
    assert!(
        problems.is_empty(),
        "{}\nMore instructions need a reason. If the change is intended, write the new counts with: {RENEW}",
        problems.join("\n")
    );
}
