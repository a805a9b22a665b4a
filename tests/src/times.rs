//! When windows are closed and forgotten: as settings of aggregation and as times of the oracle.

use std::collections::BTreeMap;

use anyhow::Context as _;
use testkit::bars::Times;

const CLOSE: &str = "AGGREGATION_WATERMARK_DELAY_MS";
const MAX_LATE: &str = "AGGREGATION_MAX_LATE_MS";
const REAL_TIME_CLOSE: &str = "AGGREGATION_REAL_TIME_CLOSE_MS";
const REAL_TIME_MAX_LATE: &str = "AGGREGATION_REAL_TIME_MAX_LATE_MS";
const MILLISECOND: i64 = 1_000;

/// Whether `name` is one of these settings.
pub fn is_setting(name: &str) -> bool {
    [CLOSE, MAX_LATE, REAL_TIME_CLOSE, REAL_TIME_MAX_LATE].contains(&name)
}

/// The settings for these times.
pub fn settings(times: &Times) -> [(String, String); 4] {
    let ((close, forget), (real_time_close, real_time_forget)) = (times.at_once, times.after_interval);
    [
        (CLOSE, close),
        (MAX_LATE, forget - close),
        (REAL_TIME_CLOSE, real_time_close),
        (REAL_TIME_MAX_LATE, real_time_forget - real_time_close),
    ]
    .map(|(name, micros)| (name.to_owned(), (micros / MILLISECOND).to_string()))
}

/// The times of an environment, with defaults for missing settings.
///
/// # Errors
/// If a setting is not a number.
pub fn read(env: &BTreeMap<String, String>) -> anyhow::Result<Times> {
    let defaults = BTreeMap::from(settings(&Times::default()));
    let micros = |name: &str| -> anyhow::Result<i64> {
        let text = env
            .get(name)
            .or_else(|| defaults.get(name))
            .context("no such setting")?;
        let number: i64 = text.parse().with_context(|| format!("{name} is '{text}'"))?;
        Ok(number * MILLISECOND)
    };
    let pair = |close: i64, max_late: i64| (close, close + max_late);
    Ok(Times {
        at_once: pair(micros(CLOSE)?, micros(MAX_LATE)?),
        after_interval: pair(micros(REAL_TIME_CLOSE)?, micros(REAL_TIME_MAX_LATE)?),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_back() {
        let times = Times {
            at_once: (1_000, 7_000),
            after_interval: (2_000, 2_000),
        };
        assert_eq!(read(&settings(&times).into()).unwrap(), times);
        assert_eq!(read(&BTreeMap::new()).unwrap(), Times::default());
    }
}
