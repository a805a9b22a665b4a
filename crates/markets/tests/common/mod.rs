//! Shared helpers of the tests of this crate.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

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

pub fn sample(path: &str) -> Vec<u8> {
    let path = sample_data().join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; set DATA_PROC_SAMPLE_DATA", path.display()))
}
