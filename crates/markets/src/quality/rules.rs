//! The list of rules that `GET /quality-rules` returns.

use domain::QualityFlag;
use serde::Serialize;

use super::{Check, QualitySettings};

/// One rule as shown to users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Stable name.
    pub name: &'static str,
    /// What it checks.
    pub description: &'static str,
    /// The flag that it sets, if any.
    pub flag: Option<&'static str>,
    /// `flag`, `reject` (to the topic `dlq`), or `drop` (counted as `duplicate`).
    pub action: &'static str,
    /// False if `NORMALIZATION_RULES_OFF` names it, or validation is off. What cannot be stored is rejected always.
    pub enabled: bool,
    /// Whether `NORMALIZATION_RULES_REJECT` may name it.
    pub may_reject: bool,
    /// The configured threshold as text, if the rule has one.
    pub threshold: Option<String>,
}

/// All rules with their configured thresholds and actions.
pub fn rules(settings: &QualitySettings) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Check::ALL.iter().map(|check| of_check(settings, *check)).collect();
    rules.push(Rule {
        name: "event_repeated",
        description: "an earlier message of the partition within NORMALIZATION_DEDUP_WINDOW_S has the same tenant, source, event id and facts; POST /validate shows the flag",
        flag: Some(QualityFlag::Duplicate.name()),
        action: "drop",
        enabled: true,
        may_reject: false,
        threshold: None,
    });
    rules.extend(rejections(settings));
    rules
}

fn of_check(settings: &QualitySettings, check: Check) -> Rule {
    let rejects = settings.rejecting.contains(check);
    Rule {
        name: check.name(),
        description: check.description(),
        flag: Some(check.flag().name()),
        action: if rejects { "reject" } else { "flag" },
        enabled: settings.active().contains(check),
        may_reject: check.may_reject(),
        threshold: threshold(settings, check),
    }
}

fn threshold(settings: &QualitySettings, check: Check) -> Option<String> {
    let floor = || settings.min_price.map(|price| price.to_string());
    Some(match check {
        Check::PricePositive => "0".to_owned(),
        Check::PriceMinimum => floor().unwrap_or_else(|| "floor of the market".to_owned()),
        Check::PriceMaximum => settings.max_price.to_string(),
        Check::PriceChange => settings.price_spike.to_string(),
        Check::VolumeMaximum => settings.max_volume.to_string(),
        Check::VolumeChange => settings.volume_spike.to_string(),
        Check::LateArrival => (settings.late_after / 1_000_000).to_string(),
        Check::ComponentSum => settings.component_tolerance.to_string(),
        Check::NewInstruments => settings.max_new_instruments.to_string(),
        Check::VolumePresent
        | Check::MetadataPresent
        | Check::IntervalGrid
        | Check::KnownNode
        | Check::ProductOfId
        | Check::RowRepeated
        | Check::EventIdUnique
        | Check::QuoteOrder
        | Check::QuoteReadable
        | Check::NumberNoise => return None,
    })
}

/// A rule that rejects a tick.
fn reject(name: &'static str, threshold: Option<&str>, description: &'static str) -> Rule {
    Rule {
        name,
        description,
        flag: None,
        action: "reject",
        enabled: true,
        may_reject: true,
        threshold: threshold.map(str::to_owned),
    }
}

/// Rules that reject a tick.
fn rejections(settings: &QualitySettings) -> Vec<Rule> {
    let max_future_seconds = settings.max_future / 1_000_000;
    vec![
        reject("volume_non_negative", Some("0"), "volume below zero"),
        reject(
            "price_present",
            None,
            "no price, or one that is not an exact decimal with at most 8 decimals and below 10^10",
        ),
        reject("event_time_range", Some("1990-01-01"), "event time before this date"),
        reject(
            "event_time_future",
            Some(&max_future_seconds.to_string()),
            "event time more seconds than this ahead of the append in the log; day-ahead prices may be nine days ahead, CAISO's \
             15-minute prices one hour",
        ),
        reject(
            "turnover_range",
            Some("100000000000000"),
            "price times volume above this amount, which could overflow the sums of bars",
        ),
    ]
}
