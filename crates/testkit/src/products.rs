//! Products: their names, and how far a price may be ahead of its append time.

const NINE_DAYS: i64 = 9 * 24 * 3600 * 1_000_000;
const TEN_MINUTES: i64 = 600 * 1_000_000;
const HOUR: i64 = 3600 * 1_000_000;

/// The product that a producer names. Known products are accepted in any spelling; others are kept unchanged.
pub(crate) fn product(named: Option<&str>, market: &str) -> String {
    let Some(named) = named.map(str::trim).filter(|name| !name.is_empty()) else {
        return "trade".to_owned();
    };
    let plain = named.to_lowercase().replace(['_', '-', ' '], "");
    match plain.as_str() {
        "dayahead" => "da".to_owned(),
        "realtime" if market.trim().eq_ignore_ascii_case("ercot") => "rt15".to_owned(),
        "realtime" => "rt5".to_owned(),
        "da" | "rt5" | "rt15" | "rth" | "exante" | "trade" => plain,
        _ => named.to_owned(),
    }
}

/// Whether a price of this product is that of an interval. Trades are not.
pub(crate) fn is_of_interval(product: &str) -> bool {
    ["da", "rt5", "rt15", "rth", "exante"].contains(&product)
}

/// How far a price may be ahead of its append time. CAISO publishes prices of its 15-minute market before their intervals.
pub(crate) fn furthest(market: &str, product: &str) -> i64 {
    match product {
        "da" => NINE_DAYS,
        "rt15" if market.eq_ignore_ascii_case("caiso") => HOUR,
        _ => TEN_MINUTES,
    }
}
