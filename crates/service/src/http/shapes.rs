//! Parts of bodies that the answers of more than one service have.

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
