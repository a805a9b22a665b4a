//! A snapshot of a curve or a derived price in one form, whichever store it is from. Pure.
//!
//! Role: [`columns`](super::columns) reads it from a row of ClickHouse, [`body`](super::body) from the JSON that is served.
//! Invariants: two rows of one record are equal in this form, with every digit. The log clock is not part of it: rows of earlier releases
//! have another one in the table.
//! Failure: none; what is no time stays as it is, and differs.

use domain::Micros;
use ops::present::iso;
use serde_json::{Value, json};

use super::kind::{Key, Rank};

/// A row in the form that is compared.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub rank: Rank,
    /// Since when it is known, by the log clock; `None` of a row of ClickHouse, where nothing asks for it.
    pub known: Option<Micros>,
    /// The tick that it comes from.
    pub origin: String,
    /// Every field by name.
    pub content: Value,
}

/// The newest row of a name in ClickHouse.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Expected {
    pub row: Row,
    pub partition: i32,
}

/// What a curve's snapshot and a derived price have in common.
pub(super) struct Common {
    pub names: Key,
    pub rank: Rank,
    pub revision: i64,
    pub cause: String,
    pub origin: String,
    pub known: Option<Micros>,
}

impl Common {
    fn row(self, content: Value) -> Row {
        let Common {
            rank, known, origin, ..
        } = self;
        Row {
            rank,
            known,
            origin,
            content,
        }
    }
}

pub(super) struct Snapshot {
    pub of: Common,
    pub market: String,
    pub day: String,
    pub method: String,
    pub definition: String,
    pub points: Value,
    pub inputs: Value,
}

impl Snapshot {
    pub(super) fn row(self) -> Row {
        let [tenant, curve, horizon] = &self.of.names;
        let content = json!({
            "tenant_id": tenant,
            "curve_id": curve,
            "horizon": horizon,
            "market": self.market,
            "day": self.day,
            "method": self.method,
            "definition": self.definition,
            "revision": self.of.revision,
            "cause": self.of.cause,
            "tick_id": self.of.origin,
            "points": self.points,
            "inputs": self.inputs,
        });
        self.of.row(content)
    }
}

pub(super) struct Price {
    pub of: Common,
    pub kind: String,
    pub value: Option<String>,
    pub unit: String,
    pub legs: Vec<Value>,
}

impl Price {
    pub(super) fn row(self) -> Row {
        let [tenant, series, _] = &self.of.names;
        let content = json!({
            "tenant_id": tenant,
            "series": series,
            "kind": self.kind,
            "value": self.value,
            "unit": self.unit,
            "legs": self.legs,
            "revision": self.of.revision,
            "cause": self.of.cause,
            "cause_origin": self.of.origin,
        });
        self.of.row(content)
    }
}

/// Quotes with their times as text: the table has numbers.
pub(super) fn with_times(mut inputs: Value) -> Value {
    for input in inputs.as_array_mut().into_iter().flatten() {
        if let Some(known_at) = input.get_mut("known_at") {
            *known_at = moment(known_at);
        }
    }
    inputs
}

/// A time in microseconds, or as text, in one form; what is no time stays as it is.
pub(super) fn moment(value: &Value) -> Value {
    let micros = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text
            .parse::<jiff::Timestamp>()
            .ok()
            .map(jiff::Timestamp::as_microsecond),
        _ => None,
    };
    micros.map_or_else(|| value.clone(), |micros| Value::from(iso(micros)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use domain::{CurveInput, CurvePoint, CurveSnapshot, Decimal, DerivedCause, DerivedLeg, DerivedPrice, Origin};

    use super::super::columns::{CurveRow, PriceRow};
    use super::super::kind::Kind;
    use super::*;

    /// 2026-10-01T00:00:00Z.
    const TIME: Micros = 1_790_812_800_000_000;

    fn origin() -> Origin<'static> {
        Origin {
            feed: "raw",
            partition: 1,
            offset: 2,
            index: 3,
        }
    }

    /// The JSON of a snapshot of curve `C` to horizon `1m` of tenant `t`.
    pub(in super::super) fn curve_body(minute: i64, version: i64, price: f64) -> String {
        let point = CurvePoint {
            contract: "2026-11",
            block: "flat",
            delivery_start: "2026-11-01T00:00:00-04:00",
            delivery_end: "2026-12-01T00:00:00-05:00",
            price,
            volume: None,
            confidence: 1.0,
            method: "quoted",
            extrapolated: false,
            sources: vec!["raw/1/2/3"],
        };
        let input = CurveInput {
            contract: "2026-11",
            block: "flat",
            price: 30.25,
            curve_price: Some(price),
            residual: None,
            state: "repriced",
            implied_by: Vec::new(),
            source: "raw/1/2/3",
            known_at: TIME - 1,
        };
        let time = TIME + minute * 60_000_000;
        let snapshot = CurveSnapshot {
            origin: origin(),
            tenant_id: "t",
            curve_id: "C",
            market: "PJM",
            horizon: "1m",
            as_of: time,
            day: 20_000,
            method: "smooth",
            definition: "smooth",
            log_clock: time,
            version,
            revision: 0,
            cause: DerivedCause::First,
            points: vec![point],
            inputs: vec![input],
        };
        codec::json::curve(&snapshot).to_string()
    }

    /// The JSON of a price of series `s` of tenant `t`.
    pub(in super::super) fn price_body(value: Option<&str>) -> String {
        let decimal = |text: &str| Decimal::parse(text.as_bytes()).unwrap();
        let leg = DerivedLeg {
            role: "local",
            instrument_id: "A",
            price: decimal("9999999999.12345678"),
            event_time: TIME - 5,
            age: 5,
            origin: origin(),
        };
        let price = DerivedPrice {
            tenant_id: "t",
            series: "s",
            kind: "basis",
            event_time: TIME,
            value: value.map(decimal),
            unit: "USD/MWh",
            legs: vec![leg],
            log_clock: TIME,
            version: 7,
            revision: 2,
            cause: DerivedCause::Late,
            cause_origin: origin(),
        };
        codec::json::derived(&price).to_string()
    }

    #[test]
    fn a_snapshot_of_the_table_is_that_of_its_json() {
        let row = json!({
            "tenant_": "t", "name_": "C", "horizon_": "1m", "time_": TIME.to_string(), "version_": "7", "partition_": "4",
            "revision_": "0", "cause_": "first", "origin_": "raw/1/2/3", "market_": "PJM", "day_": "2024-10-04",
            "method_": "smooth", "definition_": "smooth",
            "points_": r#"[{"block":"flat","confidence":1.0,"contract":"2026-11","delivery_end":"2026-12-01T00:00:00-05:00",
                "delivery_start":"2026-11-01T00:00:00-04:00","extrapolated":false,"method":"quoted","price":0.1,"sources":["raw/1/2/3"],
                "volume":null}]"#,
            "inputs_": format!(
                r#"[{{"block":"flat","contract":"2026-11","curve_price":0.1,"implied_by":[],"known_at":{},"price":30.25,
                    "residual":null,"source":"raw/1/2/3","state":"repriced"}}]"#,
                TIME - 1
            ),
        });
        let row: CurveRow = serde_json::from_value(row).unwrap();
        let (key, expected) = row.expected().unwrap();
        assert_eq!((key, expected.partition), (["t", "C", "1m"].map(str::to_owned), 4));
        let served = Row::of_body(Kind::CurveSnapshot, &curve_body(0, 7, 0.1)).unwrap();
        assert_eq!(served.known, Some(TIME));
        assert_eq!(Row { known: None, ..served }, expected.row);
    }

    #[test]
    fn a_derived_price_of_the_table_is_that_of_its_json_to_the_last_digit() {
        let row = |value: Value| {
            let row = json!({
                "tenant_": "t", "name_": "s", "time_": TIME.to_string(), "version_": "7", "partition_": "0", "revision_": "2",
                "cause_": "late", "origin_": "raw/1/2/3", "kind_": "basis", "value_": value, "unit_": "USD/MWh",
                "first_role_": "local", "first_instrument_": "A", "first_price_": "9999999999.12345678",
                "first_time_": (TIME - 5).to_string(), "first_age_": "5", "first_origin_": "raw/1/2/3",
                "second_role_": null, "second_instrument_": null, "second_price_": null, "second_time_": null,
                "second_age_": null, "second_origin_": null,
            });
            serde_json::from_value::<PriceRow>(row)
                .unwrap()
                .expected()
                .unwrap()
                .1
                .row
        };
        for (value, text) in [
            (json!("-3.5"), Some("-3.5")),
            (json!("41"), Some("41")),
            (json!("1234567890.12345678"), Some("1234567890.12345678")),
            (Value::Null, None),
        ] {
            let served = Row::of_body(Kind::DerivedPrice, &price_body(text)).unwrap();
            assert_eq!(Row { known: None, ..served }, row(value));
        }
        let other = Row::of_body(Kind::DerivedPrice, &price_body(Some("-3.51"))).unwrap();
        assert_ne!(other.content, row(json!("-3.5")).content);
    }

    #[test]
    fn a_body_that_lacks_a_field_says_which() {
        let why = Row::of_body(Kind::DerivedPrice, r#"{"value":"1"}"#).unwrap_err();
        assert!(why.contains("missing field"), "{why}");
        let why = Row::of_body(
            Kind::CurveSnapshot,
            &curve_body(0, 1, 2.0).replace("2026-10-01T", "noon"),
        );
        assert!(why.unwrap_err().contains("as_of"));
    }
}
