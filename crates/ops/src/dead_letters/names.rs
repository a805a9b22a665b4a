//! Which codes, stages, markets and tenants the letters have: a filter with a wrong name must not look like health.

use std::collections::BTreeSet;

use stream::{Brokers, StreamError};

use super::{Letter, Wanted, each};

/// More names are not listed; `dp dlq stats` counts all of them.
const LISTED: usize = 20;

/// The names of the letters of a topic, closed ones included.
#[derive(Debug, Default)]
struct Names {
    codes: BTreeSet<String>,
    stages: BTreeSet<String>,
    markets: BTreeSet<String>,
    tenants: BTreeSet<String>,
}

/// Says which name of the filter no letter has, and which names there are; `None` if every name exists, or the topic has no letter.
/// Blocks.
///
/// # Errors
/// Kafka does not answer, or the topic does not exist.
pub fn unknown(bootstrap: &Brokers, topic: &str, wanted: &Wanted) -> Result<Option<String>, StreamError> {
    let named = [&wanted.code, &wanted.stage, &wanted.market, &wanted.tenant];
    if named.into_iter().all(Option::is_none) {
        return Ok(None);
    }
    let (mut names, all) = (
        Names::default(),
        Wanted {
            closed: true,
            ..Wanted::default()
        },
    );
    each(bootstrap, topic, &all, |letter, _| {
        names.add(letter);
        true
    })?;
    Ok(names.missing(wanted))
}

impl Names {
    fn add(&mut self, letter: Letter) {
        self.codes.insert(letter.code);
        self.stages.insert(letter.stage);
        if !letter.market.is_empty() {
            self.markets.insert(letter.market);
        }
        if !letter.tenant.is_empty() {
            self.tenants.insert(letter.tenant);
        }
    }

    fn missing(&self, wanted: &Wanted) -> Option<String> {
        if self.codes.is_empty() {
            return None;
        }
        let market = wanted.market.as_ref().map(|market| market.trim().to_uppercase());
        let filters = [
            ("code", &wanted.code, &self.codes),
            ("stage", &wanted.stage, &self.stages),
            ("market", &market, &self.markets),
            ("tenant", &wanted.tenant, &self.tenants),
        ];
        filters.into_iter().find_map(|(what, name, there)| {
            let name = name.as_ref().filter(|name| !there.contains(*name))?;
            let mut listed: Vec<&str> = there.iter().take(LISTED).map(String::as_str).collect();
            if there.len() > LISTED {
                listed.push("…");
            }
            let listed = match listed.is_empty() {
                true => "none is known".to_owned(),
                false => format!("there are: {}", listed.join(", ")),
            };
            Some(format!("no letter has {what} {name}; {listed}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_letter_has_is_said_with_those_that_exist() {
        let of = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<String>>();
        let names = Names {
            codes: of(&["broken_json", "unknown_market"]),
            stages: of(&["normalize"]),
            markets: of(&["MISO"]),
            tenants: of(&["acme"]),
        };
        let said = |code: Option<&str>, stage: Option<&str>, market: Option<&str>| {
            names.missing(&Wanted {
                code: code.map(str::to_owned),
                stage: stage.map(str::to_owned),
                market: market.map(str::to_owned),
                ..Wanted::default()
            })
        };
        assert_eq!(
            said(Some("price_out_of_bounds"), None, None).as_deref(),
            Some("no letter has code price_out_of_bounds; there are: broken_json, unknown_market")
        );
        assert_eq!(
            said(Some("broken_json"), Some("normalise"), None).as_deref(),
            Some("no letter has stage normalise; there are: normalize")
        );
        assert_eq!(said(Some("broken_json"), Some("normalize"), Some(" miso ")), None);
        // Nothing is wrong with a filter while there are no letters.
        let wanted = Wanted {
            code: Some("x".to_owned()),
            ..Wanted::default()
        };
        assert_eq!(Names::default().missing(&wanted), None);
    }
}
