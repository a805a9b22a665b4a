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
        assert!(rule.enabled, "{rule:?}");
    }
}

#[test]
fn a_rule_is_listed_with_its_configured_action_and_every_name_is_read_back() {
    let settings = QualitySettings {
        disabled: Checks::from_iter([Check::QuoteOrder]),
        rejecting: Checks::from_iter([Check::PriceMaximum]),
        ..QualitySettings::default()
    };
    for rule in rules(&settings) {
        let expected = match rule.name {
            "quote_order" => (false, "flag"),
            "price_maximum" => (true, "reject"),
            name => (
                true,
                rules(&QualitySettings::default())
                    .iter()
                    .find(|rule| rule.name == name)
                    .unwrap()
                    .action,
            ),
        };
        assert_eq!((rule.enabled, rule.action), expected, "{}", rule.name);
    }
    for check in Check::ALL {
        assert_eq!(check.name().parse(), Ok(*check));
    }
    let error = "price_maxima".parse::<Check>().unwrap_err();
    assert!(
        error.contains("price_maxima") && error.contains("price_maximum"),
        "{error}"
    );
}

struct Feed {
    settings: QualitySettings,
    histories: Histories,
    offset: i64,
}

impl Feed {
    fn new() -> Feed {
        Feed {
            settings: QualitySettings::default(),
            histories: Histories::default(),
            offset: 0,
        }
    }

    /// The names of the flags of the next tick.
    fn next(&mut self, event_time: Micros, price: &str, kind: domain::Kind) -> Vec<&'static str> {
        let mut tick = self.tick(event_time, price, kind);
        tick.origin.offset = self.offset;
        self.offset += 1;
        let found = findings(&self.settings, Venue::unknown(), &tick, QualityFlags::NONE);
        let mut earlier = self.histories.of(tick.origin.feed, tick.origin.partition);
        let flags = flags(&self.settings, &tick, found, earlier.as_mut());
        flags.iter().map(QualityFlag::name).collect()
    }

    fn tick(&self, event_time: Micros, price: &str, kind: domain::Kind) -> Tick<'static> {
        Tick {
            appended_at: event_time,
            event_time,
            interval_end: (kind == domain::Kind::Interval).then_some(event_time + 300_000_000),
            kind,
            price: price.parse().unwrap(),
            volume: (kind == domain::Kind::Trade).then(|| "1".parse().unwrap()),
            energy: None,
            congestion: None,
            loss: None,
            ghg: None,
            bid: None,
            ask: None,
            node: Some("N"),
            zone: Some("Z"),
            ..domain::fixtures::tick()
        }
    }

    fn spikes(&mut self, prices: &[&str]) -> Vec<bool> {
        let prices = prices.iter().zip(0..);
        let flags = prices.map(|(price, at)| self.next(at * 300_000_000, price, domain::Kind::Trade));
        flags.map(|flags| flags.contains(&"price_spike")).collect()
    }
}

#[test]
fn one_outlier_is_flagged_and_the_price_after_it_is_not() {
    let spikes = Feed::new().spikes(&["100", "101", "500", "102", "101", "99"]);
    assert_eq!(spikes, [false, false, true, false, false, false]);
    // A new level is flagged until it is the median.
    let spikes = Feed::new().spikes(&["100", "101", "100", "500", "501", "500", "502"]);
    assert_eq!(spikes, [false, false, false, true, true, true, false]);
    // Even as the first price of an instrument an outlier does not make the next ones spikes for long.
    let spikes = Feed::new().spikes(&["500", "100", "101", "100"]);
    assert_eq!(spikes, [false, true, false, false]);
}

#[test]
fn a_corrected_interval_is_not_compared_with_itself_and_an_older_one_not_at_all() {
    let mut feed = Feed::new();
    let mut next = |at: Micros, price: &str| feed.next(at, price, domain::Kind::Interval);
    for at in 0..3 {
        assert_eq!(next(at, "100"), ["valid"]);
    }
    assert_eq!(next(3, "500"), ["price_spike"]);
    assert_eq!(next(3, "100"), ["valid"], "the correction");
    assert_eq!(next(1, "700"), ["valid"], "older than the newest");
    assert_eq!(next(4, "101"), ["valid"]);
}

#[test]
fn the_same_row_again_is_a_duplicate_a_correction_or_a_trade_is_not() {
    let mut feed = Feed::new();
    let mut next = |at: Micros, price: &str, kind| feed.next(at, price, kind);
    assert_eq!(next(1, "100", domain::Kind::Interval), ["valid"]);
    assert_eq!(next(2, "100", domain::Kind::Interval), ["valid"], "another interval");
    assert_eq!(next(1, "100", domain::Kind::Interval), ["duplicate"]);
    assert_eq!(next(1, "101", domain::Kind::Interval), ["valid"], "a correction");
    assert_eq!(next(1, "100", domain::Kind::Interval), ["valid"], "a correction of it");
    assert_eq!(next(1, "100", domain::Kind::Interval), ["duplicate"]);
    assert_eq!(next(3, "100", domain::Kind::Trade), ["valid"]);
    assert_eq!(next(3, "100", domain::Kind::Trade), ["valid"], "each trade counts");
    // Read again from its offset after a restart of the producer: the first row is still the first.
    feed.offset = 0;
    assert_eq!(feed.next(1, "100", domain::Kind::Interval), ["valid"]);
}

#[test]
fn only_a_hub_that_a_complete_list_lacks_is_unknown() {
    let venues = crate::iso_venues();
    let flags_of = |market: &str, node: &'static str, hub, zone| {
        let venue = venues.iter().find(|venue| venue.name == market).unwrap();
        let feed = Feed::new();
        let tick = Tick {
            node: Some(node),
            hub,
            zone,
            ..feed.tick(1, "10", domain::Kind::Interval)
        };
        findings(&feed.settings, venue, &tick, QualityFlags::NONE).contains(Check::KnownNode)
    };
    assert!(!flags_of("MISO", "MINN.HUB", Some("MINN.HUB"), None));
    assert!(flags_of("MISO", "MINNN.HUB", Some("MINNN.HUB"), None));
    assert!(!flags_of("MISO", "ALTW.WELLS1", None, None), "an ordinary node");
    assert!(
        !flags_of("SPP", "CSWS_HUB", Some("CSWS_HUB"), None),
        "hubs of participants"
    );
    assert!(!flags_of("NYISO", "H Q", None, Some("H Q")), "a proxy");
    assert!(flags_of("NYISO", "H Q 2", None, Some("H Q 2")));
}

proptest::proptest! {
    /// Of five equal prices, two may be replaced by anything without the next one becoming a spike.
    #[test]
    fn two_outliers_of_five_never_make_an_ordinary_price_a_spike(
        first in 0_usize..5, second in 0_usize..5, high in -9_000_i64..9_000, low in -9_000_i64..9_000,
    ) {
        let mut prices = vec!["100".to_owned(); 5];
        prices[first] = high.to_string();
        prices[second] = low.to_string();
        prices.push("105".to_owned());
        let prices: Vec<&str> = prices.iter().map(String::as_str).collect();
        proptest::prop_assert!(!Feed::new().spikes(&prices)[5]);
    }
}
