//! The settings of enrichment: `ENRICHMENT_*`.

use std::time::Duration;

use service::Reader;
use service::settings::{Kind, Rule};

/// The service's own settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Classifications with a lower confidence are flagged; in hundredths.
    pub threshold_percent: i32,
    /// Time between full loads, in addition to those on notification.
    pub refresh_interval: Duration,
}

/// Reads the settings.
pub fn read(r: &mut Reader<'_>) -> Config {
    let threshold = r.value(
        "ENRICHMENT_CONFIDENCE_THRESHOLD",
        0.8,
        "classifications with a lower confidence are flagged, 0 to 1",
        Rule {
            kind: Kind::Decimal,
            expected: "a number from 0 to 1",
            accept: |value: &f64| (0.0..=1.0).contains(value),
        },
    );
    Config {
        threshold_percent: (threshold * 100.0).round() as i32,
        refresh_interval: r.duration(
            "ENRICHMENT_REFRESH_INTERVAL",
            "300s",
            "time between full loads of reference data",
        ),
    }
}
