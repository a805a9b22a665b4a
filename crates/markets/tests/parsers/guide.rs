//! docs/markets.md tells for each market what is read. Its tables are those of the registry, and its text names each format, and no other.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use markets::{DescribedBounds, FORMATS, MarketDescription, Venue};

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/markets.md");
const BEGIN: &str = "<!-- generated: markets -->\n";
const END: &str = "<!-- end -->\n";

/// The guide before its generated tables, these, and what follows.
fn guide() -> (String, String, String) {
    let guide = std::fs::read_to_string(GUIDE).unwrap();
    let (before, rest) = guide.split_once(BEGIN).unwrap();
    let (tables, after) = rest.split_once(END).unwrap();
    (before.to_owned(), tables.to_owned(), after.to_owned())
}

fn bounds(bounds: &DescribedBounds) -> String {
    let end = |price: &Option<String>| price.clone().unwrap_or_else(|| "none".to_owned());
    let mut text = format!("{} to {}", end(&bounds.floor), end(&bounds.cap));
    if bounds.scope != "all" {
        _ = write!(text, " ({})", bounds.scope);
    }
    if bounds.from != "1970-01-01T00:00:00Z" {
        _ = write!(text, " from {}", bounds.from);
    }
    text
}

/// Texts after each other, or that there is none.
fn listed(texts: impl IntoIterator<Item = String>, separator: &str) -> String {
    let texts: Vec<String> = texts.into_iter().collect();
    if texts.is_empty() {
        return "none".to_owned();
    }
    texts.join(separator)
}

fn row_of_market(venue: &Venue, market: &MarketDescription) -> String {
    let peak = market.on_peak.map(|peak| {
        let days = if peak.saturday { "6x16" } else { "5x16" };
        format!("{} to {}, {}, {days}", peak.first, peak.last, peak.zone)
    });
    format!(
        "| {} | {} | {}/{} | {} | {} | {} | {} |\n",
        market.name,
        market.time_zone.unwrap(),
        venue.currency,
        venue.unit,
        market.region.unwrap(),
        listed(market.products.iter().map(|product| (*product).to_owned()), ", "),
        listed(peak, ""),
        listed(market.price_bounds.iter().map(bounds), "; "),
    )
}

fn tables() -> String {
    let venues = markets::iso_venues();
    let mut text = "| market | day | prices | region | products | on-peak hours ending | floor to cap |\n|---|---|---|---|---|---|---|\n".to_owned();
    for (venue, market) in venues.iter().zip(markets::describe(&venues)) {
        text += &row_of_market(venue, &market);
    }
    text += "\n| format | holds |\n|---|---|\n";
    for format in FORMATS.iter() {
        _ = writeln!(text, "| `{}` | {} |", format.name, format.description);
    }
    text
}

#[test]
fn the_tables_of_the_guide_are_those_of_the_registry() {
    let (before, found, after) = guide();
    let expected = tables();
    if found != expected && std::env::var_os("RENEW").is_some() {
        std::fs::write(GUIDE, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
    } else {
        assert_eq!(
            found, expected,
            "RENEW=1 writes the tables of the registry into docs/markets.md"
        );
    }
}

#[test]
fn the_text_of_the_guide_names_each_format_and_no_other() {
    let (before, _, after) = guide();
    // Every second part is between two backticks.
    let quoted = before
        .split('`')
        .skip(1)
        .step_by(2)
        .chain(after.split('`').skip(1).step_by(2));
    let is_format = |text: &&str| {
        [".csv", ".json", ".xml"]
            .iter()
            .any(|end| text.ends_with(end) && text.len() > end.len())
    };
    let named: BTreeSet<&str> = quoted.filter(is_format).collect();
    let known: BTreeSet<&str> = FORMATS.iter().map(|format| format.name).collect();
    assert_eq!(named, known);
}
