//! Times in queries.

use domain::Micros;

use super::Problem;

/// Parses ISO 8601; UTC if there is no offset.
pub fn instant(text: &str) -> Option<Micros> {
    let with_offset = || text.parse::<jiff::Timestamp>().ok();
    let in_utc = || {
        let time: jiff::civil::DateTime = text.parse().ok()?;
        time.to_zoned(jiff::tz::TimeZone::UTC)
            .ok()
            .map(|zoned| zoned.timestamp())
    };
    with_offset().or_else(in_utc).map(jiff::Timestamp::as_microsecond)
}

/// The time of the parameter of this name.
///
/// # Errors
/// 400: it is no time.
pub fn time_of(name: &str, text: &str) -> Result<Micros, Problem> {
    instant(text).ok_or_else(|| {
        Problem::bad_request(format!(
            "{name} is '{text}'; it must be a time such as 2026-10-01T00:00:00Z (UTC if it has no offset)"
        ))
    })
}
