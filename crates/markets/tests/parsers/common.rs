//! Shared helpers of the tests of this crate.

use std::io::Write as _;
use std::path::PathBuf;

use domain::{Micros, Tick};
use markets::{Normalizer, NormalizerConfig, Outcome, RawMessage, RejectCode, Rejection};

/// 2026-10-02T12:00:00Z.
pub const APPENDED_AT: Micros = 1_790_942_400_000_000;

pub fn message(payload: &[u8]) -> RawMessage<'_> {
    RawMessage {
        feed: "ingestion.market.raw.v1",
        partition: 2,
        offset: 77,
        appended_at: APPENDED_AT,
        key: None,
        payload,
        format: None,
        tenant: None,
        replay: None,
    }
}

pub fn normalizer() -> Normalizer {
    Normalizer::new(NormalizerConfig::default())
}

/// Returns the ticks as text, and the outcome.
pub fn run(message: &RawMessage<'_>) -> Result<(Vec<String>, Outcome), Rejection> {
    let mut ticks = Vec::new();
    let outcome = normalizer().normalize(message, 5, &mut |tick| ticks.push(format!("{tick:?}")))?;
    Ok((ticks, outcome))
}

/// Calls `check` with the only tick of a message.
pub fn one(payload: &str, check: impl Fn(&Tick<'_>)) {
    let mut count = 0;
    normalizer()
        .normalize(&message(payload.as_bytes()), 5, &mut |tick| {
            count += 1;
            check(tick);
        })
        .unwrap_or_else(|rejection| panic!("{payload}: {rejection}"));
    assert_eq!(count, 1);
}

pub fn flags(payload: &str) -> Vec<&'static str> {
    let flags = std::cell::RefCell::new(Vec::new());
    one(payload, |tick| {
        flags
            .borrow_mut()
            .extend(tick.quality_flags.iter().map(domain::QualityFlag::name))
    });
    flags.into_inner()
}

/// Asserts the code of the rejection, and that its message contains `names`.
pub fn refused(payload: &str, code: RejectCode, names: &str) -> Rejection {
    let rejection = run(&message(payload.as_bytes())).expect_err(payload);
    assert_eq!(rejection.code, code, "{payload}: {rejection}");
    assert!(
        rejection.message.contains(names),
        "{payload}: '{}' does not name '{names}'",
        rejection.message
    );
    rejection
}

/// The folder of real documents next to the project.
pub fn sample_data() -> PathBuf {
    std::env::var_os("DATA_PROC_SAMPLE_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")),
        PathBuf::from,
    )
}

/// The whole folder of real documents; `None`, with a line that names the test, if it is missing.
pub fn samples_or_skip(test: &str) -> Option<PathBuf> {
    let folder = sample_data();
    if folder.is_dir() {
        return Some(folder);
    }
    skipped(
        test,
        &format!("{} is missing; set DATA_PROC_SAMPLE_DATA", folder.display()),
    );
    None
}

/// Says that a test was skipped. Written past the capture of the test harness, which would hide it since the test passes.
pub fn skipped(test: &str, why: &str) {
    let mut past_capture = std::io::stderr();
    writeln!(past_capture, "SKIPPED {test}: {why}").unwrap();
}

/// 2027-06-01T00:00:00Z: no price of a sample is ahead of it.
pub const LATER: Micros = 1_811_808_000_000_000;

/// The result of a document: its ticks as text, and `line or element: code` of its rejected rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    pub ticks: Vec<String>,
    pub rejected: Vec<String>,
    pub messages: Vec<String>,
}

pub fn document<'a>(format: &'a str, payload: &'a [u8]) -> RawMessage<'a> {
    RawMessage {
        format: Some(format),
        appended_at: LATER,
        ..message(payload)
    }
}

/// Whether the document says that it is not its whole set, which each of its ticks must say too, and nothing else.
pub fn is_part(format: &str, payload: &[u8]) -> bool {
    let said = normalizer().parse(&document(format, payload)).unwrap().is_part();
    let mut ticks = 0;
    let outcome = normalizer().normalize(&document(format, payload), 5, &mut |tick| {
        ticks += 1;
        assert_eq!(tick.market_status, said.then_some("part"), "{}", tick.instrument_id);
    });
    outcome.unwrap();
    assert!(ticks > 0, "{format}: a document without a tick shows nothing");
    said
}

/// Reads a document. A tick is `instrument start minutes price e c l g version flags`, without what is absent and without
/// the flags that compare it with its surroundings.
pub fn read(format: &str, payload: &[u8]) -> Result<Read, Rejection> {
    read_with(&mut normalizer(), format, payload)
}

fn read_with(normalizer: &mut Normalizer, format: &str, payload: &[u8]) -> Result<Read, Rejection> {
    let mut ticks = Vec::new();
    let outcome = normalizer.normalize(&document(format, payload), 5, &mut |tick| ticks.push(shown(tick)))?;
    assert_eq!(outcome.ticks as usize, ticks.len());
    let rows = outcome.rejected.first;
    Ok(Read {
        ticks,
        rejected: rows
            .iter()
            .map(|row| {
                let place = row.rejection.message.split(':').next().unwrap_or_default();
                format!("{place}: {}", row.rejection.code.name())
            })
            .collect(),
        messages: rows.into_iter().map(|row| row.rejection.message).collect(),
    })
}

fn shown(tick: &Tick<'_>) -> String {
    use std::fmt::Write as _;

    let start = jiff::Timestamp::from_microsecond(tick.event_time).unwrap();
    let seconds = (tick.interval_end.unwrap() - tick.event_time) / 1_000_000;
    let mut text = format!("{} {start} {seconds}s {}", tick.instrument_id, tick.price);
    for (name, value) in [
        ("e", tick.energy),
        ("c", tick.congestion),
        ("l", tick.loss),
        ("g", tick.ghg),
    ] {
        if let Some(value) = value {
            write!(text, " {name}{value}").unwrap();
        }
    }
    if let Some(version) = tick.version {
        write!(text, " v:{version}").unwrap();
    }
    for flag in tick.quality_flags.iter().map(domain::QualityFlag::name) {
        if !["valid", "late_arrival", "price_spike", "price_negative", "out_of_range"].contains(&flag) {
            write!(text, " !{flag}").unwrap();
        }
    }
    text
}

/// Asserts that a whole document is refused.
pub fn refused_whole(format: &str, payload: &[u8], code: RejectCode, names: &str) {
    let rejection = read(format, payload).expect_err(&String::from_utf8_lossy(payload));
    assert_eq!(rejection.code, code, "{rejection}");
    assert!(
        rejection.message.contains(names),
        "'{rejection}' does not name '{names}'"
    );
}

/// Asserts that no part of a document has a tick that the whole lacks.
pub fn every_cut_is_a_part(format: &str, payload: &[u8], step: usize) {
    let whole: std::collections::HashSet<String> = read(format, payload)
        .map(|read| read.ticks)
        .unwrap()
        .into_iter()
        .collect();
    let mut normalizer = normalizer();
    for end in (0..payload.len()).step_by(step) {
        if let Ok(part) = read_with(&mut normalizer, format, &payload[..end]) {
            for tick in part.ticks {
                assert!(whole.contains(&tick), "{format} cut at byte {end} has {tick}");
            }
        }
    }
}
