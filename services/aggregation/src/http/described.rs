//! The bodies of answers, as `/openapi.json` describes them.

use service::http::openapi::Shape;

const TEXT: Shape = Shape::Optional(&Shape::Text);
const TIME: Shape = Shape::Optional(&Shape::Time);
const FIGURE: Shape = Shape::Optional(&Shape::Nullable(&Shape::Number));
const COUNT: Shape = Shape::Optional(&Shape::Integer);

/// Of `/bars/{instrument_id}`. A bar without figures has them in ClickHouse only (`from_table`).
pub(super) const BARS: Shape = Shape::Object(&[
    ("tenant_id", Shape::Text),
    ("instrument_id", Shape::Text),
    ("bars", Shape::List(&BAR)),
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
    ("source", TEXT),
]);
