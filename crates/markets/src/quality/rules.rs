//! The list of rules that `GET /quality-rules` returns.

use domain::QualityFlag;
use serde::Serialize;

use super::QualitySettings;

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
    /// Rules that reject or drop are always on.
    pub enabled: bool,
    /// The configured threshold as text, if the rule has one.
    pub threshold: Option<String>,
}

/// All rules with their configured thresholds.
pub fn rules(settings: &QualitySettings) -> Vec<Rule> {
    let mut rules = of_prices(settings);
    rules.extend(of_volumes(settings));
    rules.extend(of_facts(settings));
    rules.extend(of_events(settings));
    rules.extend(of_numbers(settings));
    rules.extend(rejections(settings));
    rules
}

/// A rule that sets a flag.
fn flag(
    settings: &QualitySettings,
    (name, flag): (&'static str, QualityFlag),
    threshold: Option<String>,
    description: &'static str,
) -> Rule {
    Rule {
        name,
        description,
        flag: Some(flag.name()),
        action: "flag",
        enabled: settings.enabled,
        threshold,
    }
}

/// A rule that rejects a tick.
fn reject(name: &'static str, threshold: Option<&str>, description: &'static str) -> Rule {
    Rule {
        name,
        description,
        flag: None,
        action: "reject",
        enabled: true,
        threshold: threshold.map(str::to_owned),
    }
}

/// Rules for a price, alone and compared with the instrument's last price.
fn of_prices(settings: &QualitySettings) -> Vec<Rule> {
    let min_price = settings
        .min_price
        .map_or("floor of the market".to_owned(), |price| price.to_string());
    vec![
        flag(
            settings,
            ("price_positive", QualityFlag::PriceNegative),
            Some("0".to_owned()),
            "price below zero (valid in power markets)",
        ),
        flag(
            settings,
            ("price_minimum", QualityFlag::OutOfRange),
            Some(min_price),
            "price below the configured minimum, or the floor of its market at that date",
        ),
        flag(
            settings,
            ("price_maximum", QualityFlag::OutOfRange),
            Some(settings.max_price.to_string()),
            "price above the configured maximum or the cap of its market at that date, whichever is lower",
        ),
        flag(
            settings,
            ("price_change", QualityFlag::PriceSpike),
            Some(settings.price_spike.to_string()),
            "relative change from the instrument's last price above this fraction",
        ),
    ]
}

/// Rules for volumes.
fn of_volumes(settings: &QualitySettings) -> Vec<Rule> {
    vec![
        flag(
            settings,
            ("volume_maximum", QualityFlag::VolumeSpike),
            Some(settings.max_volume.to_string()),
            "volume above the maximum",
        ),
        flag(
            settings,
            ("volume_change", QualityFlag::VolumeSpike),
            Some(settings.volume_spike.to_string()),
            "relative change from the instrument's last volume above this fraction",
        ),
        flag(
            settings,
            ("volume_present", QualityFlag::MissingVolume),
            None,
            "a trade without a volume",
        ),
    ]
}

/// Rules for time, location, components and interval.
fn of_facts(settings: &QualitySettings) -> Vec<Rule> {
    let late_seconds = settings.late_after / 1_000_000;
    vec![
        flag(
            settings,
            ("late_arrival_threshold", QualityFlag::LateArrival),
            Some(late_seconds.to_string()),
            "more seconds than this from the event to its append in the log; not applied to day-ahead prices",
        ),
        flag(
            settings,
            ("metadata_present", QualityFlag::MissingMetadata),
            None,
            "node or zone missing (CAISO: node or hub; rows of documents: node)",
        ),
        flag(
            settings,
            ("component_sum", QualityFlag::ComponentMismatch),
            Some(settings.component_tolerance.to_string()),
            "energy, congestion, loss and greenhouse gas do not add up to the price, or the derived energy price differs within an interval (MISO, NYISO)",
        ),
        flag(
            settings,
            ("interval_grid", QualityFlag::OffGrid),
            None,
            "the start of an interval is not a multiple of its length (MISO, CAISO, PJM, ISO-NE web service, SPP)",
        ),
    ]
}

/// Rules for repeated events and new instruments.
fn of_events(settings: &QualitySettings) -> Vec<Rule> {
    vec![
        flag(
            settings,
            ("event_id_unique", QualityFlag::EventIdReused),
            None,
            "an earlier message of the partition within NORMALIZATION_DEDUP_WINDOW_S has the same tenant, source and event id but different facts",
        ),
        flag(
            settings,
            ("new_instruments", QualityFlag::UnknownNode),
            Some(settings.max_new_instruments.to_string()),
            "the tenant has more new instruments than this within an hour of append time; set on the first tick of each additional one",
        ),
        Rule {
            name: "event_repeated",
            description: "an earlier message of the partition within NORMALIZATION_DEDUP_WINDOW_S has the same tenant, source, event id and facts; POST /validate shows the flag, stored ticks never have it",
            flag: Some(QualityFlag::Duplicate.name()),
            action: "drop",
            enabled: true,
            threshold: None,
        },
    ]
}

/// Rules for quotes and for rounded or unreadable numbers.
fn of_numbers(settings: &QualitySettings) -> Vec<Rule> {
    vec![
        flag(
            settings,
            ("quote_order", QualityFlag::CrossedMarket),
            None,
            "the bid is above the ask",
        ),
        flag(
            settings,
            ("quote_readable", QualityFlag::MissingQuote),
            None,
            "a bid or ask that is not a number in range was dropped",
        ),
        flag(
            settings,
            ("number_noise", QualityFlag::Rounded),
            None,
            "binary floating-point noise after the eighth decimal was rounded",
        ),
    ]
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
