#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn a_change_is_relative_to_the_last_value_and_a_change_from_zero_is_never_flagged() {
    let decimal = |text: &str| text.parse::<Decimal>().unwrap();
    let tenth = decimal("0.1");
    for (now, then, expected) in [
        ("110", "100", false),
        ("110.00000001", "100", true),
        ("90", "100", false),
        ("-100", "100", true),
        ("-89.99", "-100", true),
        ("5", "0", false),
        ("9999999999", "-9999999999", true),
    ] {
        assert_eq!(
            changed_by_more(decimal(now), decimal(then), tenth),
            expected,
            "{now} after {then}"
        );
    }
}

#[test]
fn every_flag_rule_names_its_flag_and_shows_the_configured_threshold() {
    let settings = QualitySettings {
        max_price: "123.5".parse().unwrap(),
        min_price: Some("-7".parse().unwrap()),
        max_new_instruments: 77,
        ..QualitySettings::default()
    };
    let rules = rules(&settings);
    let threshold = |name: &str| {
        rules
            .iter()
            .find(|rule| rule.name == name)
            .and_then(|rule| rule.threshold.as_deref())
    };
    assert_eq!(threshold("price_maximum"), Some("123.5"));
    assert_eq!(threshold("new_instruments"), Some("77"));
    assert_eq!(threshold("price_minimum"), Some("-7"));
    assert_eq!(threshold("price_change"), Some("0.1"));
    assert_eq!(threshold("volume_change"), Some("0.5"));
    assert_eq!(threshold("volume_maximum"), Some("1000000"));
    assert_eq!(threshold("late_arrival_threshold"), Some("300"));
    assert_eq!(threshold("component_sum"), Some("0.02"));
    for rule in &rules {
        let known = rule
            .flag
            .is_none_or(|name| QualityFlag::ALL.iter().any(|flag| flag.name() == name));
        assert!(known && rule.flag.is_some() == (rule.action != "reject"), "{rule:?}");
    }
}
