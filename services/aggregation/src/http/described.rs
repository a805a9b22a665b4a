//! The bodies of answers, as `/openapi.json` describes them.

use service::http::openapi::Shape;
use service::http::shapes::{CURVE_INPUT, CURVE_POINT};

const TEXT: Shape = Shape::Optional(&Shape::Text);
const TIME: Shape = Shape::Optional(&Shape::Time);
const FIGURE: Shape = Shape::Optional(&Shape::Nullable(&Shape::Number));
const COUNT: Shape = Shape::Optional(&Shape::Integer);

/// Of `/bars/{instrument_id}`. A bar without figures has them in ClickHouse only (`from_table`); one with `hours` is merged from hours.
pub(super) const BARS: Shape = Shape::Object(&[
    ("tenant_id", Shape::Text),
    ("instrument_id", Shape::Text),
    ("bars", Shape::List(&BAR)),
]);

/// Of `/derived/{series}`.
pub(super) const DERIVED: Shape = Shape::Object(&[
    ("tenant_id", Shape::Text),
    ("series", Shape::Text),
    ("values", Shape::List(&VALUE)),
]);

/// Of `/curves/{curve_id}`.
pub(super) const CURVE: Shape = Shape::Object(&[
    ("tenant_id", Shape::Text),
    ("curve_id", Shape::Text),
    ("horizon", Shape::Text),
    ("market", Shape::Text),
    ("as_of", Shape::Time),
    ("known_at", Shape::Time),
    ("day", Shape::Text),
    ("method", Shape::Text),
    ("definition", Shape::Text),
    ("version", Shape::Integer),
    ("revision", Shape::Integer),
    ("cause", Shape::Text),
    ("origin", Shape::Text),
    ("points", Shape::List(&CURVE_POINT)),
    ("inputs", Shape::List(&CURVE_INPUT)),
]);

const VALUE: Shape = Shape::Object(&[
    ("kind", Shape::Text),
    ("time", Shape::Time),
    ("value", Shape::Nullable(&Shape::Number)),
    ("unit", Shape::Text),
    ("legs", Shape::List(&LEG)),
    ("known_at", Shape::Time),
    ("version", Shape::Integer),
    ("revision", Shape::Integer),
    ("cause", Shape::Text),
    ("cause_origin", Shape::Text),
]);

const LEG: Shape = Shape::Object(&[
    ("role", Shape::Text),
    ("instrument_id", Shape::Text),
    ("price", Shape::Nullable(&Shape::Number)),
    ("time", Shape::Time),
    ("age_ms", Shape::Number),
    ("origin", Shape::Text),
]);

const BAR: Shape = Shape::Object(&[
    ("interval", Shape::Text),
    ("window_start", Shape::Time),
    ("window_end", Shape::Time),
    ("closed", Shape::Flag),
    ("version", COUNT),
    ("from_table", TEXT),
    ("tenant_id", TEXT),
    ("market", TEXT),
    ("open", FIGURE),
    ("high", FIGURE),
    ("low", FIGURE),
    ("close", FIGURE),
    ("volume", FIGURE),
    ("turnover", FIGURE),
    ("vwap", FIGURE),
    ("twap", FIGURE),
    ("trade_count", COUNT),
    ("open_time", TIME),
    ("close_time", TIME),
    ("first_origin", TEXT),
    ("last_origin", TEXT),
    ("revision", COUNT),
    ("cause", TEXT),
    ("hours", COUNT),
    ("hours_of_day", COUNT),
    ("flags", Shape::Optional(&Shape::List(&Shape::Text))),
    ("source", TEXT),
]);
