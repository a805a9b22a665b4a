//! Documents read a second time by a program in another language (tests/second_reading.py), which shares nothing with the parsers but
//! docs/markets.md: instrument, interval, price, components and version of each row must be the same. Read so are the real documents
//! next to the project, its examples, and hand-made documents of formats that both lack (tests/documents).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use domain::Tick;
use markets::detect_format;

use crate::common::{document, normalizer, samples_or_skip, skipped};

const MARKETS: [&str; 8] = ["caiso", "ercot", "gas", "isone", "miso", "nyiso", "pjm", "spp"];
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/second_reading.py");

/// The lines of the second reading; `None` if Python is missing.
fn second_reading(path: &Path) -> Option<Vec<String>> {
    let output = match Command::new("python3").arg(SCRIPT).arg(path).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        output => output.unwrap(),
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", path.display());
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.lines().map(str::to_owned).collect())
}

fn line(tick: &Tick<'_>) -> String {
    let seconds = (tick.interval_end.unwrap() - tick.event_time) / 1_000_000;
    let mut line = format!(
        "{} {} {seconds} {}",
        tick.instrument_id,
        tick.event_time / 1_000_000,
        tick.price
    );
    for component in [tick.energy, tick.congestion, tick.loss, tick.ghg] {
        line.push(' ');
        line.push_str(&component.map_or("-".to_owned(), |component| component.to_string()));
    }
    line.push(' ');
    line.push_str(tick.version.unwrap_or("-"));
    // Of the other markets, the second reading does not find it out.
    if tick.market == "PJM" {
        line.extend(tick.market_status.map(|status| [" ", status]).into_iter().flatten());
    }
    line
}

/// Compares each file of these folders; returns the number of files and of prices, or `None` if Python is missing.
fn compared(folders: &[PathBuf]) -> Option<(usize, usize)> {
    let (mut files, mut prices) = (0, 0);
    for entry in folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap()) {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name == "README.md" {
            continue;
        }
        let expected = second_reading(&path)?;
        let payload = std::fs::read(&path).unwrap();
        let format = detect_format(name, &payload[..payload.len().min(4096)]).unwrap_or_else(|| panic!("{name}"));
        let mut found = Vec::new();
        let outcome = normalizer().normalize(&document(format, &payload), 5, &mut |tick| found.push(line(tick)));
        let rejected = outcome.unwrap_or_else(|error| panic!("{name}: {error}")).rejected;
        assert!(rejected.is_empty(), "{name}: {:?}", rejected.first.first());
        found.sort();
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "{name}");
        }
        assert_eq!(found.len(), expected.len(), "{name}");
        (files, prices) = (files + 1, prices + found.len());
    }
    Some((files, prices))
}

#[test]
fn a_second_reading_of_the_real_documents_finds_the_same_prices() {
    let test = "a_second_reading_of_the_real_documents_finds_the_same_prices";
    let Some(folder) = samples_or_skip(test) else {
        return;
    };
    match compared(&MARKETS.map(|market| folder.join(market))) {
        Some((files, prices)) => assert!(files > 30 && prices > 5_000, "{files} documents, {prices} prices"),
        None => skipped(test, "python3 is missing"),
    }
}

/// The examples of the project, and formats of which there is no real document: both have the day on which clocks go back.
#[test]
fn a_second_reading_of_hand_made_documents_finds_the_same_prices() {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["tests/documents", "../../examples/documents"].map(|folder| crate_folder.join(folder));
    match compared(&folders) {
        Some((files, prices)) => assert!(files == 17 && prices > 500, "{files} documents, {prices} prices"),
        None => skipped(
            "a_second_reading_of_hand_made_documents_finds_the_same_prices",
            "python3 is missing",
        ),
    }
}

/// The parsers do not ask the machine for its zone. The second reading names its zones too, so both run with any.
#[test]
fn the_zone_of_the_machine_changes_no_price() {
    const ZONES: [&str; 8] = [
        "America/New_York",
        "America/Los_Angeles",
        "Asia/Kolkata",
        "Australia/Lord_Howe",
        "Pacific/Kiritimati",
        "America/St_Johns",
        "Africa/Casablanca",
        "<-11>11",
    ];
    const TEST: &str = "second_reading::a_second_reading_of_hand_made_documents_finds_the_same_prices";
    let program = std::env::current_exe().unwrap();
    let first = std::process::id() as usize;
    for zone in (first..first + 3).map(|number| ZONES[number % ZONES.len()]) {
        let mut command = Command::new(&program);
        let output = command.args(["--exact", TEST]).env("TZ", zone).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let has_skipped = String::from_utf8_lossy(&output.stderr).contains("SKIPPED");
        assert!(
            output.status.success() && (text.contains("1 passed") || has_skipped),
            "TZ={zone}: {text}"
        );
        if has_skipped {
            skipped("the_zone_of_the_machine_changes_no_price", "python3 is missing");
        }
    }
}
