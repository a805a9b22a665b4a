//! Classification by name: commodity, region and tier of an instrument without a row of reference data.
//!
//! Role: pure rules. Keywords match whole tokens, never parts of words, and the longest keyword wins, so `HEATING_OIL` is
//! a refined product and not crude oil. The order of the keywords never matters.
//! Of an ISO location (`MARKET.<node>.<PRODUCT>`) only the market and the product are matched: the node is a proper name,
//! and a node called `GAS_PLANT` still has an electricity price. The curve of an instrument is the first, by id, with a pattern that its
//! id fits.
//! Failure: none; an instrument that no rule matches is `unknown`.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use domain::Tick;
use domain::instrument::IdPattern;

/// Commodity and region if no rule matches.
pub const UNKNOWN: &str = "unknown";
/// The tier if no rule matches.
pub const STANDARD: &str = "standard";
/// Confidence of a row in the database, in hundredths.
pub const DATABASE_CONFIDENCE: i32 = 95;
/// Confidence if no rule matches, in hundredths.
pub const FALLBACK_CONFIDENCE: i32 = 10;

const COMMODITIES: &[(&str, &[&str])] = &[
    ("natural_gas", &["NG", "GAS", "NATURAL"]),
    ("electricity", &["ELEC", "POWER", "MW"]),
    ("crude_oil", &["CRUDE", "OIL", "WTI", "BRENT"]),
    ("refined_products", &["GASOLINE", "DIESEL", "HEATING", "RBOB"]),
    ("coal", &["COAL", "THERMAL"]),
];
// The usual names. The names of the power markets come from the registry.
const REGIONS: &[(&str, &[&str])] = &[
    ("northeast", &["NY", "NE", "ISO-NE", "PJM"]),
    ("southeast", &["SE", "SOUTH", "FLORIDA"]),
    ("midwest", &["MIDWEST", "MISO", "ILLINOIS"]),
    ("west", &["WEST", "CAISO", "CALIFORNIA"]),
    ("texas", &["TEXAS", "ERCOT", "TX"]),
];
const TIERS: &[(&str, &[&str])] = &[
    ("premium", &["BALMO", "PROMO", "PREM", "PREMIUM"]),
    (STANDARD, &["STD", "STANDARD", "BASE"]),
    ("futures", &["SETTLEMENT"]),
];
// After every rule of the database.
const BUILT_IN_PRIORITY: i32 = i32::MAX;

/// A rule of the database: keywords of a name. Replaces the built-in keywords of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomRule {
    /// Commodity or region.
    pub name: String,
    /// Keywords; a keyword of several tokens (`ISO-NE`) matches consecutive tokens.
    pub keywords: Vec<String>,
    /// Among keywords of the same length the lowest number wins.
    pub priority: i32,
}

/// A curve of the database, and the ids of the instruments that are its quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CurveRule {
    pub curve_id: String,
    /// As ticks carry it.
    pub definition: Option<String>,
    pub instruments: Vec<IdPattern>,
}

impl CurveRule {
    /// Whether an instrument exists that fits both: it is a quote of the first by id only.
    pub fn overlaps(&self, other: &CurveRule) -> bool {
        let of_other = |pattern: &IdPattern| other.instruments.iter().any(|beside| pattern.overlaps(beside));
        self.instruments.iter().any(of_other)
    }
}

/// The rules of all tenants: the built-in ones, extended or replaced by the tenant's own.
#[derive(Debug, Clone, Default)]
pub struct RuleBook {
    built_in: Rules,
    by_tenant: BTreeMap<String, Rules>,
}

impl RuleBook {
    /// The built-in rules and the rules of these tenants.
    pub fn new(tenants: &[TenantRules]) -> RuleBook {
        let rules = |own: &TenantRules| {
            let mut rules = Rules::new(&own.commodities, &own.regions);
            rules.curves.clone_from(&own.curves);
            rules.curves.sort_by(|one, other| one.curve_id.cmp(&other.curve_id));
            (own.tenant_id.clone(), rules)
        };
        RuleBook {
            built_in: Rules::default(),
            by_tenant: tenants.iter().map(rules).collect(),
        }
    }

    /// The rules of a tenant.
    pub fn of(&self, tenant_id: &str) -> &Rules {
        self.by_tenant.get(tenant_id).unwrap_or(&self.built_in)
    }
}

/// The rules of one tenant in the database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct TenantRules {
    pub tenant_id: String,
    pub commodities: Vec<CustomRule>,
    pub regions: Vec<CustomRule>,
    pub curves: Vec<CurveRule>,
}

/// The names of an instrument that the rules use.
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs)]
pub struct Subject<'a> {
    pub instrument_id: &'a str,
    pub market: &'a str,
    pub node: Option<&'a str>,
    pub hub: Option<&'a str>,
    pub zone: Option<&'a str>,
}

impl<'a> Subject<'a> {
    /// The names in a tick.
    pub fn of(tick: &Tick<'a>) -> Subject<'a> {
        Subject {
            instrument_id: tick.instrument_id,
            market: tick.market,
            node: tick.node,
            hub: tick.hub,
            zone: tick.zone,
        }
    }
}

/// The classification of an instrument.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Names {
    pub commodity: String,
    pub region: String,
    pub product_tier: String,
    pub curve_id: Option<String>,
    pub curve_definition: Option<String>,
}

impl Names {
    /// The classification if no rule matches.
    pub fn unknown() -> Names {
        Names {
            commodity: UNKNOWN.to_owned(),
            region: UNKNOWN.to_owned(),
            product_tier: STANDARD.to_owned(),
            curve_id: None,
            curve_definition: None,
        }
    }

    /// Whether a rule matched its commodity or region.
    pub fn is_known(&self) -> bool {
        self.commodity != UNKNOWN || self.region != UNKNOWN
    }
}

/// The rules in effect.
#[derive(Debug, Clone)]
pub struct Rules {
    commodities: Vec<Keyword>,
    regions: Vec<Keyword>,
    tiers: Vec<Keyword>,
    curves: Vec<CurveRule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Keyword {
    tokens: Vec<String>,
    length: usize,
    priority: i32,
    name: String,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules::new(&[], &[])
    }
}

impl Rules {
    /// The built-in rules, extended or replaced by those of the database.
    pub fn new(commodities: &[CustomRule], regions: &[CustomRule]) -> Rules {
        Rules {
            commodities: keywords(owned(COMMODITIES), commodities),
            regions: keywords(regions_of_markets(), regions),
            tiers: keywords(owned(TIERS), &[]),
            curves: Vec::new(),
        }
    }

    /// The curve that an instrument is a quote of.
    pub fn curve_of(&self, instrument_id: &str) -> Option<&CurveRule> {
        let fits = |curve: &&CurveRule| curve.instruments.iter().any(|pattern| pattern.matches(instrument_id));
        self.curves.iter().find(fits)
    }

    /// The curve of this id.
    pub fn curve_named(&self, curve_id: &str) -> Option<&CurveRule> {
        self.curves.iter().find(|curve| curve.curve_id == curve_id)
    }

    /// Classifies an instrument.
    pub fn classify(&self, subject: &Subject<'_>) -> Names {
        let tokens = tokens_of(subject);
        let by_keyword = |keywords: &[Keyword]| best(keywords, &tokens).map(str::to_owned);
        let electricity_of_iso = || is_iso(subject.market).then(|| "electricity".to_owned());
        let unknown = || UNKNOWN.to_owned();
        let curve = self.curve_of(subject.instrument_id);
        Names {
            commodity: by_keyword(&self.commodities)
                .or_else(electricity_of_iso)
                .unwrap_or_else(unknown),
            region: by_keyword(&self.regions).unwrap_or_else(unknown),
            product_tier: by_keyword(&self.tiers).unwrap_or_else(|| STANDARD.to_owned()),
            curve_id: curve.map(|curve| curve.curve_id.clone()),
            curve_definition: curve.and_then(|curve| curve.definition.clone()),
        }
    }
}

/// Confidence of a classification by rules, in hundredths: higher if market, node, hub or zone are known.
pub fn rule_confidence(subject: &Subject<'_>) -> i32 {
    let mut confidence = 50;
    if is_iso(subject.market) {
        confidence += 20;
    }
    if subject.node.is_some() || subject.hub.is_some() {
        confidence += 10;
    }
    if subject.zone.is_some() {
        confidence += 10;
    }
    confidence.min(90)
}

fn is_iso(market: &str) -> bool {
    markets::reference::is_power_market(market)
}

fn owned(rules: &[(&'static str, &[&'static str])]) -> BTreeMap<&'static str, Vec<&'static str>> {
    rules
        .iter()
        .map(|(name, keywords)| (*name, keywords.to_vec()))
        .collect()
}

/// The regions with their usual names and the power markets in them.
fn regions_of_markets() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut regions = owned(REGIONS);
    for market in markets::power_markets() {
        regions.entry(market.region).or_default().push(market.name);
    }
    regions
}

fn keywords(built_in: BTreeMap<&'static str, Vec<&'static str>>, custom: &[CustomRule]) -> Vec<Keyword> {
    let mut rules: BTreeMap<String, Vec<(String, i32)>> = BTreeMap::new();
    for rule in custom {
        let entry = rules.entry(rule.name.clone()).or_default();
        entry.extend(rule.keywords.iter().map(|keyword| (keyword.clone(), rule.priority)));
    }
    for (name, keywords) in built_in {
        let built_in = keywords
            .into_iter()
            .map(|keyword| (keyword.to_owned(), BUILT_IN_PRIORITY));
        rules.entry(name.to_owned()).or_insert_with(|| built_in.collect());
    }
    let keyword = |name: &str, text: &str, priority| {
        let tokens = tokenize(text);
        Keyword {
            length: tokens.iter().map(String::len).sum(),
            tokens,
            priority,
            name: name.to_owned(),
        }
    };
    rules
        .iter()
        .flat_map(|(name, texts)| texts.iter().map(move |(text, priority)| keyword(name, text, *priority)))
        .filter(|keyword| !keyword.tokens.is_empty())
        .collect()
}

/// The name of the best keyword: longest, then lowest priority number, then first in the text, then by name.
fn best<'k>(keywords: &'k [Keyword], tokens: &[String]) -> Option<&'k str> {
    keywords
        .iter()
        .filter_map(|keyword| Some((keyword, position(keyword, tokens)?)))
        .min_by_key(|(keyword, position)| (Reverse(keyword.length), keyword.priority, *position, &keyword.name))
        .map(|(keyword, _)| keyword.name.as_str())
}

fn position(keyword: &Keyword, tokens: &[String]) -> Option<usize> {
    tokens
        .windows(keyword.tokens.len())
        .position(|window| window == keyword.tokens)
}

fn tokens_of(subject: &Subject<'_>) -> Vec<String> {
    let id = subject.instrument_id;
    let mut tokens = match iso_parts(id, subject.market) {
        Some((market, product)) => [tokenize(market), tokenize(product)].concat(),
        None => tokenize(id),
    };
    tokens.extend(tokenize(subject.market));
    tokens
}

/// Market and product of `MARKET.<node>.<PRODUCT>`, if the id has this form.
fn iso_parts<'a>(id: &'a str, market: &str) -> Option<(&'a str, &'a str)> {
    let (first, rest) = id.split_once('.')?;
    let (_, product) = rest.rsplit_once('.')?;
    (is_iso(market) && first.eq_ignore_ascii_case(market)).then_some((first, product))
}

/// Upper-case tokens, separated by characters that are not letters or digits, or by percent-encoded bytes.
fn tokenize(text: &str) -> Vec<String> {
    let mut tokens = vec![String::new()];
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let mut width = character.len_utf8();
        if character.is_alphanumeric() {
            if let Some(token) = tokens.last_mut() {
                token.extend(character.to_uppercase());
            }
        } else {
            let is_encoded = rest
                .get(1..3)
                .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
            if character == '%' && is_encoded {
                width = 3;
            }
            tokens.push(String::new());
        }
        rest = rest.get(width..).unwrap_or_default();
    }
    tokens.retain(|token| !token.is_empty());
    tokens
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn subject<'a>(instrument_id: &'a str, market: &'a str) -> Subject<'a> {
        Subject {
            instrument_id,
            market,
            ..Subject::default()
        }
    }

    fn check(id: &str, market: &str, commodity: &str, region: &str, tier: &str) {
        let names = Rules::default().classify(&subject(id, market));
        assert_eq!(
            (
                names.commodity.as_str(),
                names.region.as_str(),
                names.product_tier.as_str()
            ),
            (commodity, region, tier),
            "{id}"
        );
    }

    #[test]
    fn the_sample_instruments_are_classified_as_traders_do() {
        for (id, market, commodity, region, tier) in [
            ("HEATING_OIL", "NYMEX", "refined_products", "unknown", "standard"),
            ("RBOB_GASOLINE", "NYMEX", "refined_products", "unknown", "standard"),
            ("NG_HH_BALMO", "NYMEX", "natural_gas", "unknown", "premium"),
            ("NG_HH_PROMO", "NYMEX", "natural_gas", "unknown", "premium"),
            ("NG_HH_STD", "NYMEX", "natural_gas", "unknown", "standard"),
            ("NG_HH_M1", "NYMEX", "natural_gas", "unknown", "standard"),
            (
                "POWER_OFF_PEAK_DAY_AHEAD",
                "PJM",
                "electricity",
                "northeast",
                "standard",
            ),
            ("ELEC_MISO_BALMO", "MISO", "electricity", "midwest", "premium"),
            ("CRUDE_BRENT_BALMO", "ICE", "crude_oil", "unknown", "premium"),
            ("BRENT_ICE", "ICE", "crude_oil", "unknown", "standard"),
            ("CRUDE_WTI", "NYMEX", "crude_oil", "unknown", "standard"),
            ("ENGAGED_BOILER", "NYMEX", "unknown", "unknown", "standard"),
            ("POWER_ISO-NE_X", "ICE", "electricity", "northeast", "standard"),
        ] {
            check(id, market, commodity, region, tier);
        }
    }

    #[test]
    fn the_name_of_a_node_does_not_change_commodity_or_region() {
        check("MISO.GAS_PLANT.TEXAS.RT5", "MISO", "electricity", "midwest", "standard");
        check("PJM.WESTERN%20HUB.RTH", "PJM", "electricity", "northeast", "standard");
        check("NYISO.WEST.DA", "NYISO", "electricity", "northeast", "standard");
        check("ERCOT.HB_SOUTH.RT15", "ERCOT", "electricity", "texas", "standard");
    }

    #[test]
    fn each_power_market_of_the_registry_has_its_region_and_trades_electricity() {
        for markets::PowerMarket {
            name: market, region, ..
        } in markets::power_markets()
        {
            check(
                &format!("{market}.SOMEWHERE.DA"),
                market,
                "electricity",
                region,
                "standard",
            );
            check("SOMETHING", &market.to_lowercase(), "electricity", region, "standard");
        }
        // By whole tokens: part of a name is not a market.
        check("XPJMX_1", "ICE", "unknown", "unknown", "standard");
    }

    #[test]
    fn rules_of_the_database_replace_or_extend_the_built_in_ones() {
        let rule = |name: &str, keyword: &str| CustomRule {
            name: name.into(),
            keywords: vec![keyword.into()],
            priority: 1,
        };
        let rules = Rules::new(&[rule("carbon", "EUA"), rule("coal", "API2")], &[]);
        let commodity = |id| rules.classify(&subject(id, "ICE")).commodity;
        assert_eq!(commodity("EUA_DEC"), "carbon");
        assert_eq!(commodity("API2_M1"), "coal");
        assert_eq!(commodity("COAL_M1"), "unknown", "replaced");
        assert_eq!(commodity("NG_M1"), "natural_gas", "kept");
    }

    #[test]
    fn quotes_of_contracts_have_the_first_curve_whose_pattern_they_fit() {
        let curve = |curve_id: &str, patterns: &[&str]| CurveRule {
            curve_id: curve_id.into(),
            definition: Some(format!("linear;{}", curve_id.len())),
            instruments: patterns.iter().map(|text| IdPattern::new(text)).collect(),
        };
        let all = curve("Z", &["*.SETTLEMENT"]);
        let gas = curve("GAS", &["GAS.SPOT", "GAS.HENRY_HUB.*.SETTLEMENT"]);
        assert!(all.overlaps(&gas) && gas.overlaps(&all));
        assert!(!gas.overlaps(&curve("PJM", &["PJM.*.SETTLEMENT"])) && !curve("NONE", &[]).overlaps(&all));
        let own = TenantRules {
            tenant_id: "a".into(),
            curves: vec![
                curve("Z", &["*.SETTLEMENT"]),
                curve("GAS", &["GAS.WAHA.*.SETTLEMENT", "GAS.HENRY_HUB.*.SETTLEMENT"]),
                curve("NONE", &[]),
            ],
            ..TenantRules::default()
        };
        let book = RuleBook::new(&[own]);
        let names = |tenant, id| book.of(tenant).classify(&subject(id, "GAS"));
        let henry = names("a", "GAS.HENRY_HUB.2027-01.FLAT.SETTLEMENT");
        assert_eq!(henry.curve_id.as_deref(), Some("GAS"));
        assert_eq!(henry.curve_definition.as_deref(), Some("linear;3"));
        assert_eq!(
            (henry.commodity.as_str(), henry.product_tier.as_str()),
            ("natural_gas", "futures")
        );
        assert_eq!(
            names("a", "PJM.X.CAL-27.PEAK.SETTLEMENT").curve_id.as_deref(),
            Some("Z")
        );
        assert_eq!(names("a", "GAS.HENRY_HUB.SPOT").curve_id, None);
        assert_eq!(names("b", "GAS.HENRY_HUB.2027-01.FLAT.SETTLEMENT").curve_id, None);
    }

    #[test]
    fn confidence_grows_with_the_known_parts_of_the_location() {
        for (market, node, zone, confidence) in [
            ("ICE", None, None, 50),
            ("MISO", None, None, 70),
            ("MISO", Some("n"), None, 80),
            ("MISO", Some("n"), Some("z"), 90),
            ("ICE", None, Some("z"), 60),
        ] {
            let subject = Subject {
                instrument_id: "X",
                market,
                node,
                hub: None,
                zone,
            };
            assert_eq!(rule_confidence(&subject), confidence);
        }
    }

    const WORDS: &[&str] = &[
        "NG", "GAS", "POWER", "OIL", "HEATING", "BRENT", "COAL", "TEXAS", "NE", "ISO", "MISO", "BALMO", "STD", "PEAK",
        "X", "M1",
    ];

    proptest! {
        #[test]
        fn the_order_of_keywords_never_matters(
            picks in proptest::collection::vec(proptest::sample::select(WORDS), 1..6),
            order in Just((0usize..40).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let id = picks.join("_");
            let rules = Rules::default();
            let shuffle = |keywords: &[Keyword]| {
                let mut indexed: Vec<(usize, Keyword)> =
                    keywords.iter().enumerate().map(|(index, keyword)| (order[index], keyword.clone())).collect();
                indexed.sort_by_key(|(place, _)| *place);
                indexed.into_iter().map(|(_, keyword)| keyword).collect::<Vec<_>>()
            };
            let shuffled = Rules {
                commodities: shuffle(&rules.commodities),
                regions: shuffle(&rules.regions),
                tiers: shuffle(&rules.tiers),
                curves: Vec::new(),
            };
            prop_assert_eq!(rules.classify(&subject(&id, "ICE")), shuffled.classify(&subject(&id, "ICE")));
        }

        #[test]
        fn parts_of_words_never_match(word in "[A-Z]{1,6}", keyword in proptest::sample::select(&["NG", "GAS", "OIL", "MW", "TX"][..])) {
            let glued = format!("Q{word}{keyword}Q");
            let names = Rules::default().classify(&subject(&glued, "ICE"));
            prop_assert!(!names.is_known(), "{glued}: {names:?}");
        }

        #[test]
        fn case_and_separators_do_not_matter(picks in proptest::collection::vec(proptest::sample::select(WORDS), 1..6)) {
            let rules = Rules::default();
            let names = rules.classify(&subject(&picks.join("_"), "ICE"));
            for separator in ["-", "%20", " "] {
                let id = picks.join(separator).to_lowercase();
                prop_assert_eq!(&rules.classify(&subject(&id, "ICE")), &names);
            }
        }

        #[test]
        fn any_text_is_classified_without_panic(id in "\\PC{0,30}", market in "\\PC{0,8}") {
            let names = Rules::default().classify(&subject(&id, &market));
            prop_assert!(!names.commodity.is_empty() && !names.product_tier.is_empty());
        }
    }
}
