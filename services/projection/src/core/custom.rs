//! `PROJECTION_CUSTOM`: values of `served:custom:TYPE:TENANT:INSTRUMENT`, each made of fields of the instrument's latest price. Pure.
//!
//! An item is the type, then its fields: `settlement:value=price:at=event_time:currency`. A field may have another name in front of `=`.
//! Invariants: a value is a function of the price, and has its rank. It is therefore written, replaced and repaired as the copy of the
//! price itself is, and can never belong to another price.
//! Failure: a definition that cannot be used is refused at the start, with the reason.

use std::sync::Arc;

use service::Reader;
use stores::price::RANK;
use stores::redis::Key;
use stores::redis::key::DERIVED_TYPE;
use stores::{LatestPrice, PriceField};

const NAME: &str = "PROJECTION_CUSTOM";
const EXPECTED: &str = "expected TYPE:FIELD:…, where a FIELD is the name of a field of the latest price or NEW_NAME=FIELD, for example \
                        settlement:value=price:at=event_time:currency";
/// Longest name of a type or a field.
const LONGEST: usize = 64;

/// A type.
#[derive(Debug, Clone, PartialEq, Eq)]
struct CustomType {
    name: String,
    /// Names in the JSON, and what is under them.
    fields: Vec<(String, PriceField)>,
}

/// The configured types. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CustomTypes(Arc<[CustomType]>);

impl CustomTypes {
    /// Reads the setting.
    pub fn read(reader: &mut Reader<'_>) -> CustomTypes {
        let items = reader.list(
            NAME,
            "",
            "types of served:custom, separated by commas: TYPE:FIELD:…, a field of the latest price or NEW_NAME=FIELD (docs/serving.md); empty = none",
        );
        let mut types: Vec<CustomType> = Vec::new();
        for item in items {
            match custom_type(&item) {
                Ok(new) if types.iter().any(|known| known.name == new.name) => {
                    reader.problem(format!("{NAME} defines '{}' twice", new.name));
                }
                Ok(new) => types.push(new),
                Err(why) => reader.problem(format!("{NAME} contains '{item}': {why}")),
            }
        }
        CustomTypes(types.into())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values of these prices.
    pub fn values<'p>(&self, prices: impl IntoIterator<Item = &'p LatestPrice>) -> Vec<(Key<'static>, String)> {
        if self.is_empty() {
            return Vec::new();
        }
        let of_price = |price: &'p LatestPrice| {
            self.0.iter().map(move |custom| {
                let fields = custom.fields.iter().map(|(name, field)| (name.as_str(), *field));
                (
                    custom.key(&price.tenant_id, &price.instrument_id),
                    price.json_of(fields),
                )
            })
        };
        prices.into_iter().flat_map(of_price).collect()
    }

    /// The keys of an instrument.
    pub fn keys(&self, tenant_id: &str, instrument_id: &str) -> impl Iterator<Item = String> {
        let key = move |custom: &CustomType| custom.key(tenant_id, instrument_id).to_string();
        self.0.iter().map(key)
    }

    /// Whether this is a key of a configured type. The others are those of other programs.
    pub fn writes(&self, key: &str) -> bool {
        let of_type = |kind: &str| self.0.iter().any(|custom| custom.name == kind);
        matches!(Key::parse(key), Some(Key::Custom { kind, .. }) if of_type(&kind))
    }

    /// For each type, the pattern (for `SCAN`) that matches its values of every tenant. Names of types have no wildcards.
    pub fn patterns(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|custom| format!("served:custom:{}:*", custom.name))
    }
}

impl CustomType {
    fn key(&self, tenant_id: &str, instrument_id: &str) -> Key<'static> {
        Key::Custom {
            kind: self.name.clone().into(),
            tenant_id: tenant_id.to_owned().into(),
            instrument_id: instrument_id.to_owned().into(),
        }
    }
}

fn custom_type(item: &str) -> Result<CustomType, String> {
    let mut parts = item.split(':').map(str::trim);
    let name = parts.next().unwrap_or_default();
    check_name(name)?;
    if name == DERIVED_TYPE {
        return Err(format!(
            "'{DERIVED_TYPE}' is the type of derived series, whose newest prices projection writes itself; give it another name"
        ));
    }
    let mut fields: Vec<(String, PriceField)> = Vec::new();
    for part in parts {
        let (shown, field) = part.split_once('=').unwrap_or((part, part));
        check_name(shown)?;
        let known = PriceField::ALL.into_iter().find(|known| known.name() == field);
        let known = known.ok_or_else(|| {
            let names = PriceField::ALL.map(PriceField::name);
            format!("a price has no field '{field}'; it has {}", names.join(", "))
        })?;
        if shown == RANK {
            return Err(format!("'{RANK}' is the name of the rank, which each value has"));
        }
        if fields.iter().any(|(other, _)| other == shown) {
            return Err(format!("'{shown}' is named twice"));
        }
        fields.push((shown.to_owned(), known));
    }
    if fields.is_empty() {
        return Err(EXPECTED.to_owned());
    }
    Ok(CustomType {
        name: name.to_owned(),
        fields,
    })
}

fn check_name(name: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    match (1..=LONGEST).contains(&name.len()) && name.bytes().all(is_plain) {
        true => Ok(()),
        false => Err(format!(
            "'{name}' is not a name of letters, digits, '_' and '-' with up to {LONGEST} characters; {EXPECTED}"
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use domain::{Micros, QualityFlags, Vintage};
    use service::Env;
    use stores::OwnedOrigin;

    use super::*;

    fn types(text: &str) -> Result<CustomTypes, String> {
        let env = Env::from([(NAME.to_owned(), text.to_owned())]);
        let mut reader = Reader::new(&env);
        let types = CustomTypes::read(&mut reader);
        let finished = reader.finish().map(|_| types);
        finished.map_err(|error| error.problems.join("\n"))
    }

    fn price(instrument_id: &str, event_time: Micros) -> LatestPrice {
        LatestPrice {
            tenant_id: "acme".into(),
            instrument_id: instrument_id.into(),
            price: "3.25".parse().unwrap(),
            volume: None,
            event_time,
            vintage: Vintage::from_rank(0),
            sequence: None,
            origin: OwnedOrigin {
                feed: "raw".into(),
                partition: 0,
                offset: 7,
                index: 0,
            },
            src_partition: 0,
            market: "MISO".into(),
            product: "rt5".into(),
            currency: "USD".into(),
            unit: "MWh".into(),
            quality_flags: QualityFlags::NONE,
            appended_at: event_time,
        }
    }

    #[test]
    fn without_a_setting_there_is_no_value() {
        let none = types("").unwrap();
        assert!(none.is_empty() && none.values(&[price("A", 0)]).is_empty());
        assert!(!none.writes("served:custom:settlement:acme:A"));
    }

    #[test]
    fn each_type_has_a_value_for_each_price_with_its_rank() {
        let types = types("settlement:value=price:at=event_time:currency, mark : price").unwrap();
        let prices = [price("A:1", 1_790_812_800_000_000), price("B", 0)];
        let values = types.values(&prices);
        let shown = |at: usize| {
            let (key, value) = &values[at];
            (key.to_string(), LatestPrice::public_json(value))
        };
        assert_eq!(values.len(), 4);
        assert_eq!(
            shown(0),
            (
                "served:custom:settlement:acme:A%3A1".to_owned(),
                r#"{"value":3.25,"at":"2026-10-01T00:00:00.000000Z","currency":"USD"}"#.to_owned()
            )
        );
        assert_eq!(
            shown(3),
            ("served:custom:mark:acme:B".to_owned(), r#"{"price":3.25}"#.to_owned())
        );
        for (price, pair) in prices.iter().zip(values.chunks(2)) {
            let rank = format!(r#"{{"{RANK}":"{}","#, price.rank_text());
            assert!(pair.iter().all(|(_, value)| value.starts_with(&rank)), "{pair:?}");
        }
        let keys: Vec<String> = types.keys("acme", "A:1").collect();
        assert_eq!(keys, [values[0].0.to_string(), values[1].0.to_string()]);
        assert!(keys.iter().all(|key| types.writes(key)));
        assert!(!types.writes("served:custom:vwap:acme:B") && !types.writes("served:latest_price:acme:B"));
        let patterns: Vec<String> = types.patterns().collect();
        assert_eq!(patterns, ["served:custom:settlement:*", "served:custom:mark:*"]);
    }

    #[test]
    fn each_bad_definition_is_refused_with_the_reason() {
        let long = format!("{}:price", "a".repeat(LONGEST + 1));
        for (text, part) in [
            ("settlement", "expected TYPE:FIELD"),
            (":price", "'' is not a name"),
            ("a*:price", "'a*' is not a name"),
            (long.as_str(), "is not a name"),
            ("a:close", "no field 'close'; it has tenant_id,"),
            ("a:x=", "no field ''"),
            ("a:=price", "'' is not a name"),
            ("a:price:price", "'price' is named twice"),
            ("a:standing=price", "name of the rank"),
            ("a:price,a:volume", "defines 'a' twice"),
            ("derived_price:price", "is the type of derived series"),
        ] {
            let refused = types(text).unwrap_err();
            assert!(refused.contains(part) && refused.contains(NAME), "{text}: {refused}");
        }
    }
}
