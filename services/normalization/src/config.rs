//! The settings of normalization: `NORMALIZATION_*`. They decide which ticks exist, so `dp verify` reads them too.

use std::path::PathBuf;

use codec::Wire;
use delivery::event_window::WindowLimits;
use domain::{Decimal, DecimalError};
use markets::quality::{Check, Checks, QualitySettings};
use markets::{NormalizerConfig, PriceBounds, Venue, iso_venues};
use service::Reader;
use service::settings::{Kind, Rule, Secret};

mod bounds;

/// Most events in the window of one partition.
const DEDUP_IDS: u32 = 1_000_000;
const MICROS: i64 = 1_000_000;

/// The service's own settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Thresholds of the quality rules.
    pub quality: QualitySettings,
    /// Markets in addition to the ISOs.
    pub venues: Vec<Venue>,
    /// Floors and caps in addition to those of the registry, by market.
    pub bounds: Vec<(String, PriceBounds)>,
    /// How long an event is remembered.
    pub window: WindowLimits,
    /// Folder that keeps the windows over a restart.
    pub window_dir: Option<PathBuf>,
    /// Largest message with a single tick.
    pub max_tick_bytes: usize,
    /// Largest document.
    pub max_document_bytes: usize,
    /// Base URL of the projection service, for `GET /health/projections`.
    pub projection_url: Secret,
}

impl Config {
    /// The normalizer's configuration under these settings.
    pub fn normalizer(&self, default_tenant: &str, wire: Wire) -> NormalizerConfig {
        let mut venues = iso_venues();
        venues.extend(self.venues.iter().cloned());
        for (market, bounds) in &self.bounds {
            let known = venues.iter_mut().filter(|venue| venue.name == *market);
            known.for_each(|venue| venue.bound(*bounds));
        }
        NormalizerConfig {
            wire,
            default_tenant: default_tenant.to_owned(),
            venues,
            quality: self.quality.clone(),
            max_tick_bytes: self.max_tick_bytes,
            max_document_bytes: self.max_document_bytes,
        }
    }
}

/// Reads the settings.
pub fn read(r: &mut Reader<'_>) -> Config {
    let bytes = |r: &mut Reader<'_>, name, default, meaning| r.number(name, default, 1_024..=1 << 30, meaning) as usize;
    let quality = quality(r);
    let venues = venues(r);
    Config {
        quality,
        bounds: bounds::read(r, &venues),
        venues,
        window: WindowLimits {
            micros: seconds(
                r,
                "NORMALIZATION_DEDUP_WINDOW_S",
                300,
                "seconds of append time in which a repeated event is dropped",
            ),
            max_ids: DEDUP_IDS,
        },
        window_dir: Some(r.text_of(
            Kind::Path,
            "NORMALIZATION_WINDOW_DIR",
            "",
            "folder that keeps the events of that time over a restart, 64 MB a raw partition; empty = read them from Kafka again",
        ))
        .filter(|folder| !folder.is_empty())
        .map(PathBuf::from),
        max_tick_bytes: bytes(
            r,
            "NORMALIZATION_MAX_MESSAGE_BYTES",
            1 << 20,
            "largest message with a single tick, in bytes",
        ),
        max_document_bytes: bytes(
            r,
            "NORMALIZATION_MAX_DOCUMENT_BYTES",
            50 << 20,
            "largest document, in bytes",
        ),
        projection_url: r.http_url(
            "NORMALIZATION_PROJECTION_URL",
            "http://localhost:8083",
            "base URL of the projection service, for GET /health/projections",
        ),
    }
}

fn quality(r: &mut Reader<'_>) -> QualitySettings {
    let settings = QualitySettings {
        enabled: r.flag(
            "NORMALIZATION_VALIDATION_ENABLED",
            QualitySettings::default().enabled,
            "whether quality rules are applied",
        ),
        disabled: checks(
            r,
            "NORMALIZATION_RULES_OFF",
            "quality rules that are not applied, by name, separated by commas; GET /quality-rules lists them",
            |_| Ok(()),
        ),
        rejecting: checks(
            r,
            "NORMALIZATION_RULES_REJECT",
            "quality rules whose findings send a tick to the dead letters (quality_rule) instead of flagging it, separated by commas; only rules with may_reject",
            |check| {
                let earlier = "depends on earlier messages, so it can only flag";
                check.may_reject().then_some(()).ok_or(earlier)
            },
        ),
        ..thresholds(r)
    };
    if let Some(min) = settings.min_price.filter(|min| *min > settings.max_price) {
        r.problem(format!(
            "NORMALIZATION_MIN_PRICE must not exceed NORMALIZATION_MAX_PRICE ({}), got '{min}'",
            settings.max_price
        ));
    }
    settings
}

/// The limits of the rules; the rest is the default.
fn thresholds(r: &mut Reader<'_>) -> QualitySettings {
    let default = QualitySettings::default();
    QualitySettings {
        price_spike: decimal(
            r,
            "NORMALIZATION_PRICE_SPIKE_THRESHOLD",
            default.price_spike,
            "relative price change from the median of the instrument's last five ticks that counts as a spike",
        ),
        volume_spike: decimal(
            r,
            "NORMALIZATION_VOLUME_SPIKE_THRESHOLD",
            default.volume_spike,
            "relative volume change from the median of the instrument's last five ticks that counts as a spike",
        ),
        max_price: decimal(
            r,
            "NORMALIZATION_MAX_PRICE",
            default.max_price,
            "price above which a tick is out of range",
        ),
        min_price: min_price(r),
        max_volume: decimal(
            r,
            "NORMALIZATION_MAX_VOLUME",
            default.max_volume,
            "volume above which a tick is a volume spike",
        ),
        late_after: seconds(
            r,
            "NORMALIZATION_LATE_AFTER_S",
            default.late_after.unsigned_abs() / MICROS.unsigned_abs(),
            "seconds between event and append above which a tick is late",
        ),
        max_future: seconds(
            r,
            "NORMALIZATION_MAX_FUTURE_S",
            default.max_future.unsigned_abs() / MICROS.unsigned_abs(),
            "seconds that an event may be ahead of its append; for day-ahead prices the limit is nine days",
        ),
        component_tolerance: decimal(
            r,
            "NORMALIZATION_COMPONENT_TOLERANCE",
            default.component_tolerance,
            "largest allowed difference between the price and the sum of energy, congestion and loss",
        ),
        max_new_instruments: r.number(
            "NORMALIZATION_MAX_NEW_INSTRUMENTS_PER_HOUR",
            default.max_new_instruments,
            1..=1_000_000_000,
            "new instruments per tenant, hour and worker; additional ones are flagged unknown_node",
        ),
        ..default
    }
}

fn checks(
    r: &mut Reader<'_>,
    name: &str,
    meaning: &'static str,
    accepts: impl Fn(Check) -> Result<(), &'static str>,
) -> Checks {
    let mut checks = Vec::new();
    for item in r.list(name, "", meaning) {
        let check = item.parse().and_then(|check: Check| match accepts(check) {
            Ok(()) => Ok(check),
            Err(why) => Err(format!("'{item}' {why}")),
        });
        match check {
            Ok(check) => checks.push(check),
            Err(why) => r.problem(format!("{name}: {why}")),
        }
    }
    checks.into_iter().collect()
}

fn seconds(r: &mut Reader<'_>, name: &str, default: u64, meaning: &'static str) -> i64 {
    r.number(name, default, 1..=86_400, meaning) as i64 * MICROS
}

fn decimal(r: &mut Reader<'_>, name: &str, default: Decimal, meaning: &'static str) -> Decimal {
    let rule = Rule {
        kind: Kind::Decimal,
        expected: "a non-negative decimal number with at most 8 decimal places",
        accept: |value: &Decimal| *value >= Decimal::ZERO,
    };
    r.value(name, default, meaning, rule)
}

fn min_price(r: &mut Reader<'_>) -> Option<Decimal> {
    const NAME: &str = "NORMALIZATION_MIN_PRICE";
    let text = r.text_of(
        Kind::Decimal,
        NAME,
        "",
        "price below which a tick is out of range; empty = the floor of its market",
    );
    if text.is_empty() {
        return None;
    }
    let price: Result<Decimal, DecimalError> = text.parse();
    if let Err(error) = price {
        r.problem(format!(
            "{NAME} must be a decimal number or empty, got '{text}': {error}"
        ));
    }
    price.ok()
}

// An item is name, currency and unit: `NYMEX:USD:MMBtu`.
fn venues(r: &mut Reader<'_>) -> Vec<Venue> {
    const NAME: &str = "NORMALIZATION_VENUES";
    let items = r.list(
        NAME,
        "",
        "markets in addition to the ISOs, as NAME:CURRENCY:UNIT, separated by commas",
    );
    let mut venues: Vec<Venue> = Vec::new();
    for item in items {
        let parts: Vec<&str> = item.split(':').map(str::trim).collect();
        match parts.as_slice() {
            [name, currency, unit] if parts.iter().all(|part| !part.is_empty()) => {
                let venue = Venue::new(name, "configured venue", currency, unit);
                if iso_venues().iter().chain(&venues).any(|known| known.name == venue.name) {
                    r.problem(format!("{NAME} contains '{}', which is already defined", venue.name));
                }
                venues.push(venue);
            }
            _ => r.problem(format!(
                "{NAME} contains '{item}', expected NAME:CURRENCY:UNIT, for example NYMEX:USD:MMBtu"
            )),
        }
    }
    venues
}

#[cfg(test)]
mod tests {
    use service::Env;

    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Env {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn an_empty_environment_gives_the_documented_defaults() {
        let env = env(&[]);
        let mut reader = Reader::new(&env);
        let config = read(&mut reader);
        assert!(reader.finish().is_ok());
        assert_eq!(config.quality, QualitySettings::default());
        assert_eq!(
            config.window,
            WindowLimits {
                micros: 300_000_000,
                max_ids: 1_000_000
            }
        );
        // Seven power markets, and GAS.
        assert_eq!(config.normalizer("t", Wire::single_object()).venues.len(), 8);
    }

    #[test]
    fn thresholds_and_venues_are_read_exactly() {
        let env = env(&[
            ("NORMALIZATION_PRICE_SPIKE_THRESHOLD", "0.25"),
            ("NORMALIZATION_MIN_PRICE", "-7.5"),
            ("NORMALIZATION_DEDUP_WINDOW_S", "60"),
            ("NORMALIZATION_VENUES", "nymex:USD:MMBtu, ICE:USD:bbl"),
        ]);
        let mut reader = Reader::new(&env);
        let config = read(&mut reader);
        assert!(reader.finish().is_ok());
        assert_eq!(config.quality.price_spike.to_string(), "0.25");
        assert_eq!(
            config.quality.min_price.map(|price| price.to_string()).as_deref(),
            Some("-7.5")
        );
        assert_eq!(config.window.micros, 60_000_000);
        let names: Vec<&str> = config.venues.iter().map(|venue| venue.name.as_str()).collect();
        assert_eq!(names, ["NYMEX", "ICE"]);
    }

    #[test]
    fn a_range_without_a_price_and_a_relative_url_are_refused() {
        let env = env(&[
            ("NORMALIZATION_MIN_PRICE", "5"),
            ("NORMALIZATION_MAX_PRICE", "4"),
            ("NORMALIZATION_PROJECTION_URL", "projection:8083"),
        ]);
        let mut reader = Reader::new(&env);
        read(&mut reader);
        let problems = reader.finish().map(|_| ()).unwrap_err().problems;
        let begins = [
            "MIN_PRICE must not exceed NORMALIZATION_MAX_PRICE (4)",
            "PROJECTION_URL must",
        ];
        assert_eq!(problems.len(), begins.len(), "{problems:?}");
        for (problem, begin) in problems.iter().zip(begins) {
            assert!(problem.starts_with(&format!("NORMALIZATION_{begin}")), "{problem}");
        }
    }

    #[test]
    fn rules_are_switched_off_or_made_to_reject_by_name_and_unknown_names_are_refused() {
        let env = env(&[
            ("NORMALIZATION_RULES_OFF", "quote_order, price_change"),
            ("NORMALIZATION_RULES_REJECT", "price_maximum"),
        ]);
        let mut reader = Reader::new(&env);
        let quality = read(&mut reader).quality;
        assert!(reader.finish().is_ok());
        let rules = markets::quality::rules(&quality);
        let of = |name: &str| {
            let rule = rules.iter().find(|rule| rule.name == name);
            rule.map(|rule| (rule.enabled, rule.action))
        };
        assert_eq!(of("quote_order"), Some((false, "flag")));
        assert_eq!(of("price_change"), Some((false, "flag")));
        assert_eq!(of("price_maximum"), Some((true, "reject")));
        assert_eq!(of("price_minimum"), Some((true, "flag")));
        let mistaken = self::env(&[
            ("NORMALIZATION_RULES_OFF", "quote_ordre"),
            ("NORMALIZATION_RULES_REJECT", "price_change"),
        ]);
        let mut reader = Reader::new(&mistaken);
        read(&mut reader);
        let problems = reader.finish().map(|_| ()).unwrap_err().problems;
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(
            problems[0].contains("unknown quality rule 'quote_ordre'"),
            "{problems:?}"
        );
        assert!(
            problems[1].contains("'price_change' depends on earlier messages"),
            "{problems:?}"
        );
    }

    #[test]
    fn all_mistakes_are_reported_together() {
        let env = env(&[
            ("NORMALIZATION_MAX_PRICE", "much"),
            ("NORMALIZATION_MIN_PRICE", "low"),
            ("NORMALIZATION_VENUES", "NYMEX,MISO:USD:MWh"),
        ]);
        let mut reader = Reader::new(&env);
        read(&mut reader);
        let problems = reader.finish().map(|_| ()).unwrap_err().problems;
        for (problem, name) in problems.iter().zip(["MAX_PRICE", "MIN_PRICE", "'NYMEX'", "'MISO'"]) {
            assert!(problem.contains(name), "{problem}");
        }
        assert_eq!(problems.len(), 4);
    }
}
