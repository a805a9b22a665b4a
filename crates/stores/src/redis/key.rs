//! Names of all keys that the project uses in Redis.
//!
//! Invariant (INV-10): a key contains its tenant and its id as two parts. `:` separates parts, so each part percent-encodes
//! `:` and `%`; two different pairs never share a key, and [`Key::parse`] returns the pair.
//! Upgrade: a build from before this encoding wrote ids that contain `:` or `%` under other names. Those keys expire within
//! an hour, and the projection writes every price again under the new name when it starts.

use std::borrow::Cow;
use std::fmt;

use crate::served::{Projection, ServedKey};

/// The type of `served:custom` under which the newest prices of derived series are served. No other value has it.
pub const DERIVED_TYPE: &str = "derived_price";
const LATEST_PRICE: &str = "served:latest_price";
const CURVE_SNAPSHOT: &str = "served:curve_snapshot";
const CUSTOM: &str = "served:custom:";
const DERIVED_PRICE: &str = "served:custom:derived_price";
const REFERENCE: &str = "reference";
const COPY_MARK: &str = "served:copy:latest_price";
const SERVED_MARK: &str = "served:copy:";

/// A key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Key<'a> {
    /// The newest price of an instrument: `served:latest_price:<tenant>:<instrument>`.
    LatestPrice {
        tenant_id: Cow<'a, str>,
        instrument_id: Cow<'a, str>,
    },
    /// The newest snapshot of a curve to a horizon: `served:curve_snapshot:<tenant>:<curve>:<horizon>`.
    CurveSnapshot {
        tenant_id: Cow<'a, str>,
        curve_id: Cow<'a, str>,
        horizon: Cow<'a, str>,
    },
    /// The newest price of a derived series: `served:custom:derived_price:<tenant>:<series>`.
    DerivedPrice {
        tenant_id: Cow<'a, str>,
        series: Cow<'a, str>,
    },
    /// A value of another kind that is served from Redis: `served:custom:<type>:<tenant>:<instrument>`.
    Custom {
        kind: Cow<'a, str>,
        tenant_id: Cow<'a, str>,
        instrument_id: Cow<'a, str>,
    },
    /// A copy of an instrument's reference data: `reference:<tenant>:<instrument>`.
    Reference {
        tenant_id: Cow<'a, str>,
        instrument_id: Cow<'a, str>,
    },
    /// A projection lane stores it when its copy is complete: `served:copy:latest_price:<lane>`.
    CopyMark { lane: Cow<'a, str> },
    /// The same of the lane of a partition of curve snapshots or derived prices: `served:copy:<projection>:<lane>`.
    ServedMark { projection: Projection, lane: Cow<'a, str> },
}

impl<'a> Key<'a> {
    /// The key of an instrument's newest price.
    pub fn latest_price(tenant_id: &'a str, instrument_id: &'a str) -> Key<'a> {
        Key::LatestPrice {
            tenant_id: tenant_id.into(),
            instrument_id: instrument_id.into(),
        }
    }

    /// The key of the newest snapshot of a curve to a horizon.
    pub fn curve_snapshot(tenant_id: &'a str, curve_id: &'a str, horizon: &'a str) -> Key<'a> {
        Key::CurveSnapshot {
            tenant_id: tenant_id.into(),
            curve_id: curve_id.into(),
            horizon: horizon.into(),
        }
    }

    /// The key of the newest price of a derived series.
    pub fn derived_price(tenant_id: &'a str, series: &'a str) -> Key<'a> {
        Key::DerivedPrice {
            tenant_id: tenant_id.into(),
            series: series.into(),
        }
    }

    /// The key of the copy of what a projection serves under this name.
    pub fn served(projection: Projection, key: &'a ServedKey) -> Key<'a> {
        match projection {
            Projection::CurveSnapshot => Key::curve_snapshot(&key.tenant_id, &key.name, &key.horizon),
            Projection::DerivedPrice => Key::derived_price(&key.tenant_id, &key.name),
        }
    }

    /// The key of a served value of another kind.
    pub fn custom(kind: &'a str, tenant_id: &'a str, instrument_id: &'a str) -> Key<'a> {
        Key::Custom {
            kind: kind.into(),
            tenant_id: tenant_id.into(),
            instrument_id: instrument_id.into(),
        }
    }

    /// The key of an instrument's reference data.
    pub fn reference(tenant_id: &'a str, instrument_id: &'a str) -> Key<'a> {
        Key::Reference {
            tenant_id: tenant_id.into(),
            instrument_id: instrument_id.into(),
        }
    }

    /// The key of a lane's mark.
    pub fn copy_mark(lane: &'a str) -> Key<'a> {
        Key::CopyMark { lane: lane.into() }
    }

    /// The key of the mark of a lane of curve snapshots or derived prices.
    pub fn served_mark(projection: Projection, lane: &'a str) -> Key<'a> {
        Key::ServedMark {
            projection,
            lane: lane.into(),
        }
    }

    /// Parses a key; `None` if it is not one of ours.
    pub fn parse(key: &str) -> Option<Key<'static>> {
        let (before, last) = key.rsplit_once(':')?;
        if before == COPY_MARK {
            return Some(Key::CopyMark {
                lane: decoded(last)?.into(),
            });
        }
        let is_mark_of = |projection: &Projection| {
            before
                .strip_prefix(SERVED_MARK)
                .is_some_and(|name| name == projection.name())
        };
        if let Some(projection) = Projection::ALL.into_iter().find(is_mark_of) {
            return Some(Key::ServedMark {
                projection,
                lane: decoded(last)?.into(),
            });
        }
        let (prefix, first) = before.rsplit_once(':')?;
        if let Some(tenant_id) = prefix
            .strip_prefix(CURVE_SNAPSHOT)
            .and_then(|rest| rest.strip_prefix(':'))
        {
            return Some(Key::CurveSnapshot {
                tenant_id: decoded(tenant_id)?.into(),
                curve_id: decoded(first)?.into(),
                horizon: decoded(last)?.into(),
            });
        }
        let (tenant_id, instrument_id) = (decoded(first)?.into(), decoded(last)?.into());
        match prefix {
            LATEST_PRICE => Some(Key::LatestPrice {
                tenant_id,
                instrument_id,
            }),
            REFERENCE => Some(Key::Reference {
                tenant_id,
                instrument_id,
            }),
            DERIVED_PRICE => Some(Key::DerivedPrice {
                tenant_id,
                series: instrument_id,
            }),
            _ => Some(Key::Custom {
                kind: prefix.strip_prefix(CUSTOM).and_then(decoded)?.into(),
                tenant_id,
                instrument_id,
            }),
        }
    }
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::LatestPrice {
                tenant_id,
                instrument_id,
            } => write!(f, "{LATEST_PRICE}:{}:{}", encoded(tenant_id), encoded(instrument_id)),
            Key::CurveSnapshot {
                tenant_id,
                curve_id,
                horizon,
            } => write!(
                f,
                "{CURVE_SNAPSHOT}:{}:{}:{}",
                encoded(tenant_id),
                encoded(curve_id),
                encoded(horizon)
            ),
            Key::DerivedPrice { tenant_id, series } => {
                write!(f, "{DERIVED_PRICE}:{}:{}", encoded(tenant_id), encoded(series))
            }
            Key::Custom {
                kind,
                tenant_id,
                instrument_id,
            } => write!(
                f,
                "{CUSTOM}{}:{}:{}",
                encoded(kind),
                encoded(tenant_id),
                encoded(instrument_id)
            ),
            Key::Reference {
                tenant_id,
                instrument_id,
            } => write!(f, "{REFERENCE}:{}:{}", encoded(tenant_id), encoded(instrument_id)),
            Key::CopyMark { lane } => write!(f, "{COPY_MARK}:{}", encoded(lane)),
            Key::ServedMark { projection, lane } => write!(f, "{SERVED_MARK}{}:{}", projection.name(), encoded(lane)),
        }
    }
}

/// The pattern (for `SCAN`) that matches the newest prices of every tenant.
pub fn every_latest_price() -> String {
    format!("{LATEST_PRICE}:*")
}

/// The pattern (for `SCAN`) that matches the copies of a projection of every tenant.
pub fn every_served(projection: Projection) -> String {
    match projection {
        Projection::CurveSnapshot => format!("{CURVE_SNAPSHOT}:*"),
        Projection::DerivedPrice => format!("{DERIVED_PRICE}:*"),
    }
}

/// The pattern (for `SCAN`) that matches the marks of all lanes of latest prices.
pub fn every_copy_mark() -> String {
    format!("{COPY_MARK}:*")
}

/// The pattern (for `SCAN`) that matches the marks of all lanes of a projection of curve snapshots or derived prices.
pub fn every_served_mark(projection: Projection) -> String {
    format!("{SERVED_MARK}{}:*", projection.name())
}

/// The pattern (for `SCAN`) that matches the newest prices of one tenant and of no other.
pub fn latest_prices_of(tenant_id: &str) -> String {
    let mut pattern = format!("{LATEST_PRICE}:");
    for character in encoded(tenant_id).chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push_str(":*");
    pattern
}

fn encoded(part: &str) -> Cow<'_, str> {
    if part.contains(['%', ':']) {
        part.replace('%', "%25").replace(':', "%3A").into()
    } else {
        part.into()
    }
}

fn decoded(part: &str) -> Option<String> {
    // A separator inside a part would have been encoded.
    if part.contains(':') {
        return None;
    }
    let mut text = String::with_capacity(part.len());
    let mut pieces = part.split('%');
    text.push_str(pieces.next()?);
    for piece in pieces {
        let (code, rest) = piece.split_at_checked(2)?;
        text.push(match code {
            "25" => '%',
            "3A" => ':',
            _ => return None,
        });
        text.push_str(rest);
    }
    Some(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Ids of separators, escapes and wildcards, so that different pairs look alike.
    fn id() -> impl Strategy<Value = String> {
        prop_oneof!["[ab:%3A25.*?\\[\\]\\\\/ü'\" ]{1,8}", "\\PC{1,12}"]
    }

    proptest! {
        #[test]
        fn a_parsed_key_has_its_tenant_and_its_id(tenant in id(), instrument in id()) {
            for key in [
                Key::latest_price(&tenant, &instrument),
                Key::reference(&tenant, &instrument),
                Key::custom(&instrument, &tenant, &instrument),
                Key::copy_mark(&tenant),
                Key::served_mark(Projection::CurveSnapshot, &tenant),
                Key::served_mark(Projection::DerivedPrice, &tenant),
                Key::derived_price(&tenant, &instrument),
                Key::curve_snapshot(&tenant, &instrument, &tenant),
                Key::curve_snapshot(&instrument, &tenant, "1m"),
            ] {
                prop_assert_eq!(Key::parse(&key.to_string()), Some(key));
            }
        }

        /// The pairs are one text split at two places, since random pairs hardly ever look alike.
        #[test]
        fn two_pairs_that_look_alike_have_two_keys(parts in [id(), id(), id()], joint in "(:|%|%3A|%25)") {
            let [a, b, c] = &parts;
            let one = (a.clone(), format!("{b}{joint}{c}"));
            let other = (format!("{a}{joint}{b}"), c.clone());
            let keys = [&one, &other].map(|(tenant, instrument)| Key::latest_price(tenant, instrument).to_string());
            prop_assert_eq!(keys[0] == keys[1], one == other);
        }

        #[test]
        fn any_text_is_parsed_or_rejected(text in "\\PC{0,40}", rest in "[a:%35A]{0,20}") {
            let _ = Key::parse(&text);
            for prefix in [
                "reference",
                "served:curve_snapshot",
                "served:custom:derived_price",
                "served:copy:derived_price",
            ] {
                let ours = format!("{prefix}:{rest}");
                if let Some(key) = Key::parse(&ours) {
                    prop_assert_eq!(key.to_string(), ours);
                }
            }
        }
    }

    #[test]
    fn keys_have_their_public_names() {
        let names = [
            (
                Key::latest_price("default", "MISO.INDIANA.HUB.RT5"),
                "served:latest_price:default:MISO.INDIANA.HUB.RT5",
            ),
            (Key::latest_price("a:b", "c%20d"), "served:latest_price:a%3Ab:c%2520d"),
            (Key::latest_price("a", "b:c"), "served:latest_price:a:b%3Ac"),
            (Key::reference("p", "q:rX"), "reference:p:q%3ArX"),
            (Key::custom("vwap", "acme", "A:1"), "served:custom:vwap:acme:A%3A1"),
            (Key::copy_mark("enriched/3"), "served:copy:latest_price:enriched/3"),
            (
                Key::curve_snapshot("acme", "PJM:WEST", "1m"),
                "served:curve_snapshot:acme:PJM%3AWEST:1m",
            ),
            (
                Key::derived_price("a:b", "spark%1"),
                "served:custom:derived_price:a%3Ab:spark%251",
            ),
            (
                Key::served_mark(Projection::CurveSnapshot, "curves/3"),
                "served:copy:curve_snapshot:curves/3",
            ),
            (
                Key::served_mark(Projection::DerivedPrice, "derived/3"),
                "served:copy:derived_price:derived/3",
            ),
        ];
        for (key, name) in names {
            assert_eq!(key.to_string(), name);
            assert_eq!(Key::parse(name), Some(key));
        }
        // Written with the type, it is the same key, and of a derived series when it is read.
        let of_type = Key::custom(DERIVED_TYPE, "acme", "spark").to_string();
        assert_eq!(Key::parse(&of_type), Some(Key::derived_price("acme", "spark")));
        assert_eq!(Key::parse("served:copy:no_such:curves/3"), None);
        assert_eq!(latest_prices_of("a:*"), "served:latest_price:a%3A\\*:*");
    }

    #[test]
    fn the_patterns_of_a_projection_are_those_of_its_copies_and_of_its_marks() {
        let key = ServedKey {
            tenant_id: "t".into(),
            name: "n".into(),
            horizon: "1m".into(),
        };
        for projection in Projection::ALL {
            for (key, pattern) in [
                (Key::served(projection, &key), every_served(projection)),
                (Key::served_mark(projection, "topic/1"), every_served_mark(projection)),
            ] {
                let prefix = pattern.strip_suffix('*').unwrap();
                assert!(key.to_string().starts_with(prefix), "{key} {pattern}");
            }
        }
        assert_eq!(
            Projection::ALL.map(every_served),
            ["served:curve_snapshot:*", "served:custom:derived_price:*"]
        );
    }
}
