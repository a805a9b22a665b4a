//! Parts of bodies that the answers of more than one service have.

use std::collections::BTreeMap;

use domain::Micros;
use serde_json::value::{RawValue, to_raw_value};

use super::openapi::Shape;

/// A point of a curve.
pub const CURVE_POINT: Shape = Shape::Object(&[
    ("contract", Shape::Text),
    ("block", Shape::Text),
    ("delivery_start", Shape::Time),
    ("delivery_end", Shape::Time),
    ("price", Shape::Number),
    ("volume", Shape::Nullable(&Shape::Number)),
    ("confidence", Shape::Number),
    ("method", Shape::Text),
    ("extrapolated", Shape::Flag),
    ("sources", Shape::List(&Shape::Text)),
]);

/// A quote of a curve, and what the curve makes of it.
pub const CURVE_INPUT: Shape = Shape::Object(&[
    ("contract", Shape::Text),
    ("block", Shape::Text),
    ("price", Shape::Number),
    ("curve_price", Shape::Nullable(&Shape::Number)),
    ("residual", Shape::Nullable(&Shape::Number)),
    ("state", Shape::Text),
    ("implied_by", Shape::List(&Shape::Text)),
    ("source", Shape::Text),
    ("known_at", Shape::Time),
]);

/// A quote of a curve, as ClickHouse has it: `known_at` becomes a time, and every other field keeps its digits.
pub type CurveInput = BTreeMap<String, Box<RawValue>>;

/// The quotes of a snapshot in ClickHouse; `None` if they are not what this build writes.
pub fn curve_inputs(stored: &str) -> Option<Vec<CurveInput>> {
    let mut inputs: Vec<CurveInput> = serde_json::from_str(stored).ok()?;
    for input in &mut inputs {
        let known_at = input.get_mut("known_at")?;
        let micros: Micros = serde_json::from_str(known_at.get()).ok()?;
        *known_at = to_raw_value(&codec::json::time(micros)).ok()?;
    }
    Some(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_their_digits_and_get_a_time() {
        let stored = r#"[{"known_at":1790812800000001,"price":40.100000000000001}]"#;
        let shown = curve_inputs(stored).and_then(|inputs| serde_json::to_string(&inputs).ok());
        let expected = r#"[{"known_at":"2026-10-01T00:00:00.000001Z","price":40.100000000000001}]"#;
        assert_eq!(shown.as_deref(), Some(expected));
        for broken in ["", "[1]", r#"[{"price":40.1}]"#, r#"[{"known_at":"noon"}]"#] {
            assert!(curve_inputs(broken).is_none(), "{broken}");
        }
    }
}
