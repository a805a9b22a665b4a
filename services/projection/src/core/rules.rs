//! Which change of a served price tells programs to drop their own copies of it: the rules of channel `cache:invalidation`.
//!
//! Invariant: what fires when a price is replaced depends on the two prices only, so every replica decides the same for the same
//! log. A price that is not replaced fires by the clock, once, in the process that serves its partition at that time.

use domain::{Decimal, Micros};
use serde_json::json;
use stores::{Projection, ServedKey};

/// Redis channel of all notices.
pub const CHANNEL: &str = "cache:invalidation";
/// From this change on, in percent of the price before it.
const CHANGE_PERCENT: i128 = 1;
/// A price that is older has expired: the time to live in Redis is the same.
pub const MAX_AGE: Micros = 3_600_000_000;

/// Why copies of a price are no longer valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The price has changed by at least 1 %.
    PriceChange,
    /// The price has become older than 3,600 s, or one that old was replaced.
    Age,
    /// An operator or a service asked for it.
    Manual,
    /// A newer snapshot of the curve is served.
    NewSnapshot,
    /// A newer price of the derived series is served.
    NewDerivedPrice,
}

impl Rule {
    /// Its name in notices.
    pub fn name(self) -> &'static str {
        match self {
            Rule::PriceChange => "price_change",
            Rule::Age => "age",
            Rule::Manual => "manual",
            Rule::NewSnapshot => "new_snapshot",
            Rule::NewDerivedPrice => "new_derived_price",
        }
    }
}

/// A price, and when its message was appended to the log.
pub type Served = (Decimal, Micros);

/// The rule that fires when `after` replaces `before`. A change of the price comes first: it is true for copies of any age.
pub fn fired(before: Served, after: Served) -> Option<Rule> {
    let (old, new) = (i128::from(before.0.unscaled()), i128::from(after.0.unscaled()));
    let change = (new - old).abs();
    if change > 0 && change * 100 >= old.abs() * CHANGE_PERCENT {
        return Some(Rule::PriceChange);
    }
    (after.1.saturating_sub(before.1) > MAX_AGE).then_some(Rule::Age)
}

/// A message on the channel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Notice {
    pub tenant_id: String,
    pub instrument_id: String,
    pub rule: Rule,
}

impl Notice {
    /// As it is published. Without a reason of its own, the rule is the reason.
    pub fn to_text(&self, reason: Option<&str>) -> String {
        let rule = self.rule.name();
        json!({
            "tenant_id": self.tenant_id, "instrument_id": self.instrument_id,
            "rule": rule, "reason": reason.unwrap_or(rule),
        })
        .to_string()
    }
}

/// The message about a curve snapshot or derived price: a newer one is served, or someone asked for it, for this reason.
pub fn served_notice(projection: Projection, key: &ServedKey, asked: Option<&str>) -> String {
    let rule = match (asked, projection) {
        (Some(_), _) => Rule::Manual.name(),
        (None, Projection::CurveSnapshot) => Rule::NewSnapshot.name(),
        (None, Projection::DerivedPrice) => Rule::NewDerivedPrice.name(),
    };
    let reason = asked.unwrap_or(rule);
    let notice = match projection {
        Projection::CurveSnapshot => json!({
            "tenant_id": key.tenant_id, "curve_id": key.name, "horizon": key.horizon, "rule": rule, "reason": reason,
        }),
        Projection::DerivedPrice => json!({
            "tenant_id": key.tenant_id, "series": key.name, "rule": rule, "reason": reason,
        }),
    };
    notice.to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn price(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn one_percent_of_the_price_before_fires_and_less_does_not() {
        for (before, after, expected) in [
            ("100", "101", Some(Rule::PriceChange)),
            ("100", "100.99999999", None),
            ("100", "99", Some(Rule::PriceChange)),
            ("100", "99.00000001", None),
            ("100", "100", None),
            ("-100", "-101", Some(Rule::PriceChange)),
            ("-100", "-100.5", None),
            ("-1", "1", Some(Rule::PriceChange)),
            ("0", "0", None),
            ("0", "0.00000001", Some(Rule::PriceChange)),
            ("5", "0", Some(Rule::PriceChange)),
        ] {
            assert_eq!(
                fired((price(before), 0), (price(after), 0)),
                expected,
                "{before} {after}"
            );
        }
    }

    #[test]
    fn an_age_of_more_than_an_hour_fires_unless_the_price_has_changed() {
        let at = |price: &str, seconds: i64| (price.parse().unwrap(), seconds * 1_000_000);
        assert_eq!(fired(at("5", 10), at("5", 3_610)), None);
        assert_eq!(fired(at("5", 10), at("5", 3_611)), Some(Rule::Age));
        assert_eq!(fired(at("5", 10), at("6", 9_999)), Some(Rule::PriceChange));
        // Appended in another order than their event times.
        assert_eq!(fired(at("5", 9_999), at("5", 10)), None);
    }

    #[test]
    fn a_notice_names_its_price_and_its_rule() {
        let notice = Notice {
            tenant_id: "acme".into(),
            instrument_id: "NG".into(),
            rule: Rule::Age,
        };
        let read = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
        assert_eq!(
            read(notice.to_text(None)),
            json!({"tenant_id": "acme", "instrument_id": "NG", "rule": "age", "reason": "age"})
        );
        assert_eq!(read(notice.to_text(Some("by hand")))["reason"], "by hand");
    }

    #[test]
    fn a_notice_names_curve_and_horizon_or_the_series() {
        let key = |horizon: &str| ServedKey {
            tenant_id: "acme".into(),
            name: "C".into(),
            horizon: horizon.into(),
        };
        let snapshot = |asked| {
            serde_json::from_str::<serde_json::Value>(&served_notice(Projection::CurveSnapshot, &key("1m"), asked))
                .unwrap()
        };
        let named = |rule: &str, reason: &str| json!({"tenant_id": "acme", "curve_id": "C", "horizon": "1m", "rule": rule, "reason": reason});
        assert_eq!(snapshot(None), named("new_snapshot", "new_snapshot"));
        assert_eq!(snapshot(Some("by hand")), named("manual", "by hand"));
        let price = |asked| {
            serde_json::from_str::<serde_json::Value>(&served_notice(Projection::DerivedPrice, &key(""), asked))
                .unwrap()
        };
        let named =
            |rule: &str, reason: &str| json!({"tenant_id": "acme", "series": "C", "rule": rule, "reason": reason});
        assert_eq!(price(None), named("new_derived_price", "new_derived_price"));
        assert_eq!(price(Some("by hand")), named("manual", "by hand"));
    }

    /// Outside of the open band of 99 to 101 % around the price before it, whatever the sign.
    #[test]
    fn a_change_fires_outside_of_the_band() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut inside, mut outside) = (0, 0);
        for _ in 0..20_000 {
            let before = random.i64(-1_000_000..1_000_000);
            let after = before + random.i64(-before.abs() / 40 - 2..=before.abs() / 40 + 2);
            let (one, other) = (before * 99, before * 101);
            let is_inside = after == before || (one.min(other) < after * 100 && after * 100 < one.max(other));
            let served = |unscaled| (Decimal::from_unscaled(unscaled).unwrap(), 0);
            let expected = (!is_inside).then_some(Rule::PriceChange);
            assert_eq!(fired(served(before), served(after)), expected, "{before} {after}");
            match is_inside {
                true => inside += 1,
                false => outside += 1,
            }
        }
        assert!(inside > 1_000 && outside > 1_000, "{inside} inside, {outside} outside");
    }
}
