//! `NORMALIZATION_PRICE_BOUNDS`: floors and caps of markets from a date on, beside those of the registry.
//!
//! An item is market, date, prices, floor and cap: `ERCOT:2027-01-01:real_time:-251:3000`. Floor or cap may be empty. The date
//! is a day in UTC.

use domain::Decimal;
use markets::{PriceBounds, Scope, Venue, iso_venues};
use service::Reader;

const NAME: &str = "NORMALIZATION_PRICE_BOUNDS";
const EXPECTED: &str = "expected MARKET:DATE:SCOPE:FLOOR:CAP with scope all, day_ahead or real_time, for example ERCOT:2027-01-01:real_time:-251:3000";

/// Reads the bounds; `venues` are the configured markets.
pub(super) fn read(r: &mut Reader<'_>, venues: &[Venue]) -> Vec<(String, PriceBounds)> {
    let items = r.list(
        NAME,
        "",
        "floors and caps from a date (UTC) on, beside those of GET /markets: MARKET:DATE:SCOPE:FLOOR:CAP, separated by commas; SCOPE is all, day_ahead or real_time; floor or cap may be empty",
    );
    let mut read = Vec::new();
    for item in items {
        match bounds(&item) {
            Ok((market, bounds)) if iso_venues().iter().chain(venues).any(|venue| venue.name == market) => {
                read.push((market, bounds));
            }
            Ok((market, _)) => r.problem(format!("{NAME} contains '{item}', but market {market} is not known")),
            Err(why) => r.problem(format!("{NAME} contains '{item}': {why}")),
        }
    }
    read
}

fn bounds(item: &str) -> Result<(String, PriceBounds), String> {
    let parts: Vec<&str> = item.split(':').map(str::trim).collect();
    let [market, date, scope, floor, cap] = parts.as_slice() else {
        return Err(EXPECTED.to_owned());
    };
    let from = format!("{date}T00:00:00Z").parse::<jiff::Timestamp>();
    let from = from.map_err(|_| format!("'{date}' is not a date; {EXPECTED}"))?;
    let scope = Scope::ALL.into_iter().find(|known| known.name() == *scope);
    let (floor, cap) = (price(floor)?, price(cap)?);
    if floor.zip(cap).is_some_and(|(floor, cap)| floor > cap) {
        return Err("the floor exceeds the cap".to_owned());
    }
    let bounds = PriceBounds {
        from: from.as_microsecond(),
        scope: scope.ok_or_else(|| EXPECTED.to_owned())?,
        floor,
        cap,
    };
    Ok((market.to_ascii_uppercase(), bounds))
}

fn price(text: &str) -> Result<Option<Decimal>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let price: Result<Decimal, _> = text.parse();
    price.map(Some).map_err(|error| format!("'{text}': {error}"))
}

#[cfg(test)]
mod tests {
    use codec::Wire;
    use service::Env;

    use super::*;

    fn config(text: &str) -> Result<crate::config::Config, Vec<String>> {
        let env = Env::from_iter([
            (NAME.to_owned(), text.to_owned()),
            ("NORMALIZATION_VENUES".to_owned(), "NYMEX:USD:MMBtu".to_owned()),
        ]);
        let mut reader = Reader::new(&env);
        let config = crate::config::read(&mut reader);
        reader.finish().map(|_| config).map_err(|error| error.problems)
    }

    #[test]
    fn configured_bounds_apply_from_their_date_to_their_prices_only() {
        let config = config("ercot:2027-01-01:real_time:-251:3000, NYMEX:2020-01-01:all::500").unwrap();
        let venues = config.normalizer("t", Wire::single_object()).venues;
        let cap = |market: &str, date: &str, day_ahead| {
            let venue = venues.iter().find(|venue| venue.name == market)?;
            let time: jiff::Timestamp = format!("{date}T12:00:00Z").parse().ok()?;
            venue
                .bounds_at(time.as_microsecond(), day_ahead)
                .1
                .map(|cap| cap.to_string())
        };
        assert_eq!(cap("ERCOT", "2026-12-31", false).as_deref(), Some("2000"));
        assert_eq!(cap("ERCOT", "2027-01-01", false).as_deref(), Some("3000"));
        assert_eq!(cap("ERCOT", "2027-01-01", true).as_deref(), Some("5000"));
        assert_eq!(cap("NYMEX", "2026-01-01", false).as_deref(), Some("500"));
        assert_eq!(cap("NYMEX", "2019-01-01", false), None);
    }

    #[test]
    fn each_mistake_is_named() {
        for (text, named) in [
            ("ERCOT:2027-01-01:real_time:-251", "expected MARKET"),
            ("ERCOT:2027-13-01:all:0:1", "'2027-13-01' is not a date"),
            ("ERCOT:2027-01-01:weekly:0:1", "expected MARKET"),
            ("ERCOT:2027-01-01:all:9:1", "the floor exceeds the cap"),
            ("ERCOT:2027-01-01:all:x:1", "'x'"),
            ("MARS:2027-01-01:all:0:1", "market MARS is not known"),
        ] {
            let problems = config(text).unwrap_err();
            assert!(
                problems.len() == 1 && problems[0].contains(named),
                "{text}: {problems:?}"
            );
        }
    }
}
