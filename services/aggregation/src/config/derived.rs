//! `AGGREGATION_DERIVED_*`: the derived series, and how long their legs are kept.
//!
//! An item is name, kind and legs, then settings: `spark:spark_spread:power=PJM.WESTERN%20HUB.RT5:gas=NG_HH_M1:heat_rate=7.5:max_age=1h`.
//! Kinds and the names of their legs are those of [`curves::derived::Formula`]. With `rolling=mean:count=20` or `rolling=deviation:window=1h` a
//! series shows a statistic of its last values in their place ([`curves::derived::Statistic`]).

use std::sync::Arc;
use std::time::Duration;

use curves::derived::{Definition, Formula, Limits, RollingStatistic, Statistic};
use domain::{Decimal, Micros};
use service::Reader;
use service::settings::parse_duration;

use crate::core::legs::LegIndex;

const NAME: &str = "AGGREGATION_DERIVED_SERIES";
const EXPECTED: &str = "expected NAME:KIND:LEG=INSTRUMENT:…, then if needed heat_rate=NUMBER, max_age=DURATION, rolling=STATISTIC, \
                        count=NUMBER and window=DURATION, for example \
                        spark:spark_spread:power=PJM.WESTERN%20HUB.RT5:gas=NG_HH_M1:heat_rate=7.5:max_age=1h";
const MAX_AGE: Duration = Duration::from_secs(15 * 60);
const DAY_S: u64 = 86_400;
/// Values of a window with a count are not older than this, unless it says otherwise: what a restart reads must have an end.
const WINDOW: Duration = Duration::from_secs(DAY_S);

/// The derived series.
#[derive(Debug, Clone)]
pub struct DerivedConfig {
    /// Their definitions, in the order of the configuration.
    pub series: Vec<Arc<Definition>>,
    /// Which instruments are legs.
    pub legs: Arc<LegIndex>,
    /// How much is kept of each series and tenant.
    pub limits: Limits,
}

/// Reads the settings.
pub(super) fn read(reader: &mut Reader<'_>) -> DerivedConfig {
    let items = reader.list(
        NAME,
        "",
        "derived series, separated by commas: NAME:KIND:LEG=INSTRUMENT:…, optionally heat_rate=7.5, max_age=15m, and rolling=mean with count=20 or window=1h (docs/derived.md); empty = none",
    );
    let hold = reader.number(
        "AGGREGATION_DERIVED_HOLD_S",
        DAY_S,
        60..=4 * DAY_S,
        "how far back a price that comes late or is corrected revises derived prices, in seconds of the log's clock; legs of this time are kept in memory",
    );
    let prices = reader.number(
        "AGGREGATION_DERIVED_PRICES",
        200_000,
        100..=100_000_000,
        "most prices of legs in memory for each derived series and tenant",
    );
    let mut series: Vec<Arc<Definition>> = Vec::new();
    for item in items {
        match definition(&item) {
            Ok(new) if series.iter().any(|known| known.series == new.series) => {
                reader.problem(format!("{NAME} defines '{}' twice", new.series));
            }
            Ok(new) => series.push(Arc::new(new)),
            Err(why) => reader.problem(format!("{NAME} contains '{item}': {why}")),
        }
    }
    let longest_reach = longest_reach(&series);
    DerivedConfig {
        legs: Arc::new(LegIndex::of(&series)),
        series,
        limits: Limits::new(
            i64::try_from(hold).unwrap_or(i64::MAX / 1_000_000) * 1_000_000,
            longest_reach,
            usize::try_from(prices).unwrap_or(usize::MAX),
        ),
    }
}

/// How long before a time the prices lie that a value of any of these series depends on.
pub fn longest_reach(series: &[Arc<Definition>]) -> Micros {
    series
        .iter()
        .map(|definition| definition.reach())
        .max()
        .unwrap_or_default()
}

/// The settings of an item, as they are written.
struct Item<'i> {
    /// Name and instrument of each leg.
    legs: Vec<(&'i str, &'i str)>,
    heat_rate: Option<Decimal>,
    max_age: Duration,
    statistic: Option<Statistic>,
    count: Option<usize>,
    window: Option<Duration>,
}

impl<'i> Item<'i> {
    fn read(parts: impl Iterator<Item = &'i str>) -> Result<Item<'i>, String> {
        let mut item = Item {
            legs: Vec::new(),
            heat_rate: None,
            max_age: MAX_AGE,
            statistic: None,
            count: None,
            window: None,
        };
        for part in parts {
            match part.split_once('=').ok_or_else(|| EXPECTED.to_owned())? {
                ("heat_rate", text) => {
                    let number: Decimal = text.parse().map_err(|error| format!("heat_rate '{text}': {error}"))?;
                    item.heat_rate = Some(number);
                }
                ("max_age", text) => item.max_age = duration("max_age", text)?,
                ("rolling", text) => item.statistic = Some(statistic(text)?),
                ("count", text) => {
                    let count = text.parse::<usize>();
                    item.count = Some(count.map_err(|_| format!("count '{text}' is not a number such as 20"))?);
                }
                ("window", text) => item.window = Some(duration("window", text)?),
                leg => item.legs.push(leg),
            }
        }
        Ok(item)
    }

    fn rolling(&self) -> Result<Option<RollingStatistic>, String> {
        let is_windowed = self.count.is_some() || self.window.is_some();
        match self.statistic {
            Some(statistic) if is_windowed => Ok(Some(RollingStatistic {
                statistic,
                count: self.count,
                width: micros(self.window.unwrap_or(WINDOW)),
            })),
            None if !is_windowed => Ok(None),
            _ => Err("rolling needs a count or a window, such as rolling=mean:count=20 or rolling=mean:window=1h, and no other series has them".to_owned()),
        }
    }
}

fn statistic(text: &str) -> Result<Statistic, String> {
    let names = || Statistic::ALL.map(Statistic::name).join(", ");
    Statistic::named(text).ok_or_else(|| format!("there is no statistic '{text}'; use one of {}", names()))
}

fn duration(name: &str, text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("{name} '{text}' is not a duration such as 15m"))
}

fn micros(duration: Duration) -> Micros {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn definition(text: &str) -> Result<Definition, String> {
    let mut parts = text.split(':').map(str::trim);
    let (Some(series), Some(kind)) = (parts.next(), parts.next()) else {
        return Err(EXPECTED.to_owned());
    };
    let item = Item::read(parts)?;
    let formula = Formula::named(kind, item.heat_rate.unwrap_or_default())
        .ok_or_else(|| format!("there is no kind '{kind}'; use one of {}", Formula::NAMES.join(", ")))?;
    if item.heat_rate.is_some() != matches!(formula, Formula::SparkSpread { .. }) {
        return Err("a spark_spread needs a heat_rate, and no other kind has one".to_owned());
    }
    let roles = formula.legs();
    let role_of = |role: &str| item.legs.iter().filter(|(name, _)| *name == role).count();
    if item.legs.len() != roles.len() || roles.iter().any(|role| role_of(role) != 1) {
        return Err(format!("a {kind} has the legs {}, each once", roles.join(", ")));
    }
    let instrument = |role: &&str| item.legs.iter().find(|(name, _)| name == role);
    let definition = Definition {
        series: series.to_owned(),
        formula,
        legs: roles
            .iter()
            .filter_map(instrument)
            .map(|(_, instrument)| (*instrument).to_owned())
            .collect(),
        max_age: micros(item.max_age),
        rolling: item.rolling()?,
    };
    definition.check().map_err(|error| error.to_string())?;
    Ok(definition)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use service::Env;

    fn config(text: &str) -> Result<DerivedConfig, String> {
        let env = Env::from([(NAME.to_owned(), text.to_owned())]);
        let mut reader = Reader::new(&env);
        let config = read(&mut reader);
        let finished = reader.finish().map(|_| config);
        finished.map_err(|error| error.problems.join("\n"))
    }

    #[test]
    fn without_a_value_there_is_no_series() {
        let none = config("").unwrap();
        assert!(none.series.is_empty() && none.legs.is_empty());
        assert_eq!(none.limits.hold, 86_400_000_000);
        // As long as a raw topic keeps its messages.
        assert_eq!(none.limits.behind, 7 * 86_400_000_000);
    }

    #[test]
    fn series_are_read_with_their_legs_in_the_order_of_the_formula() {
        let read = config(
            "spark:spark_spread:gas=NG_HH_M1:power=PJM.WESTERN%20HUB.RT5:heat_rate=7.5:max_age=1h, \
             quote : bid_ask_spread : quote=NG_HH_M1",
        );
        let read = read.unwrap();
        let [spark, quote] = read.series.as_slice() else {
            unreachable!("two series");
        };
        assert_eq!(spark.legs, ["PJM.WESTERN%20HUB.RT5", "NG_HH_M1"]);
        let heat_rate = "7.5".parse().unwrap();
        assert_eq!(spark.formula, Formula::SparkSpread { heat_rate });
        assert_eq!((spark.max_age, quote.max_age), (3_600_000_000, 900_000_000));
        assert_eq!(read.legs.of_instrument("NG_HH_M1").len(), 2);
    }

    #[test]
    fn a_series_may_show_a_rolling_statistic_by_count_or_time() {
        let read = config(
            "mean:basis:local=A:reference=B:rolling=mean:count=20,z:basis:local=A:reference=B:rolling=z_score:window=1h, \
             both:basis:local=A:reference=B:rolling=max:window=48h:count=50",
        );
        let found: Vec<_> = read
            .unwrap()
            .series
            .iter()
            .filter_map(|series| series.rolling)
            .collect();
        let of = |statistic, count, hours: i64| RollingStatistic {
            statistic,
            count,
            width: hours * 3_600_000_000,
        };
        assert_eq!(
            found,
            [
                of(Statistic::Mean, Some(20), 24),
                of(Statistic::ZScore, None, 1),
                of(Statistic::Max, Some(50), 48)
            ]
        );
    }

    #[test]
    fn each_bad_definition_is_refused_with_the_reason() {
        for (text, part) in [
            ("spark", "expected NAME:KIND"),
            ("s:crack_spread:oil=A", "there is no kind 'crack_spread'"),
            ("s:basis:local=A", "has the legs local, reference"),
            ("s:basis:local=A:local=B", "each once"),
            ("s:basis:local=A:reference=A", "different instruments"),
            ("s:basis:local=A:reference=", "is empty"),
            ("s:basis:local=A:reference=B:max_age=soon", "'soon' is not a duration"),
            ("s:basis:local=A:reference=B:heat_rate=7", "no other kind"),
            ("s:spark_spread:power=A:gas=B", "needs a heat_rate"),
            (
                "s:basis:local=A:reference=B:rolling=median:count=5",
                "no statistic 'median'",
            ),
            ("s:basis:local=A:reference=B:rolling=mean", "needs a count or a window"),
            ("s:basis:local=A:reference=B:count=5", "needs a count or a window"),
            (
                "s:basis:local=A:reference=B:rolling=mean:count=many",
                "'many' is not a number",
            ),
            ("s:basis:local=A:reference=B:rolling=mean:count=1", "2 to 1000"),
            ("s:basis:local=A:reference=B:rolling=mean:window=168h", "at most 7 days"),
            ("s:spark_spread:power=A:gas=B:heat_rate=-1", "must be positive"),
            (
                "s:basis:local=A:reference=B,s:basis:local=C:reference=D",
                "defines 's' twice",
            ),
            ("a|b:basis:local=A:reference=B", "'|'"),
        ] {
            let refused = config(text).unwrap_err();
            assert!(refused.contains(part) && refused.contains(NAME), "{text}: {refused}");
        }
    }
}
