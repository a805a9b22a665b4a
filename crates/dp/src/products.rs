//! What a product decides about its windows: when they close and are forgotten by the log's clock, and how long its
//! intervals are. Everything in `dp` that judges a bar asks here.
//!
//! Role: the values, and the same choice as an SQL expression over `product`. Pure.
//! Invariant: a function of the tick's product and of the configuration, as in aggregation itself.

use domain::{Interval, Micros};
use service::Reader;

const MINUTE: Micros = 60_000_000;

/// When windows close and are forgotten, and which intervals a price makes bars of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product {
    /// Behind the end of a window: it is closed from there on.
    pub close_after: Micros,
    /// Behind the end of a window: it is forgotten from there on, and a further tick takes the table's way.
    pub forget_after: Micros,
    /// Length of the interval that one price is for; bars are at least as long.
    pub nominal: Micros,
}

/// Every product with a rule of its own, and the rule of all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Products {
    named: Vec<(&'static str, Product)>,
    others: Product,
}

impl Products {
    /// Reads what the environment decides.
    pub fn read(reader: &mut Reader<'_>) -> Products {
        let mut milliseconds = |name, default, limit, help| {
            let number = reader.number(name, default, 0..=limit, help);
            number as Micros * 1_000
        };
        let close_after = milliseconds(
            "AGGREGATION_WATERMARK_DELAY_MS",
            30_000,
            86_400_000,
            "how long after its end a window closes",
        );
        let late = milliseconds(
            "AGGREGATION_MAX_LATE_MS",
            300_000,
            7 * 86_400_000,
            "how long after its close a window still takes ticks",
        );
        Products::of(close_after, close_after + late)
    }

    fn of(close_after: Micros, forget_after: Micros) -> Products {
        let others = Product {
            close_after,
            forget_after,
            nominal: 0,
        };
        let real_time = |minutes| Product {
            close_after: 15 * MINUTE,
            forget_after: 60 * MINUTE,
            nominal: minutes * MINUTE,
        };
        Products {
            named: vec![
                ("rt5", real_time(5)),
                ("exante", real_time(5)),
                ("rt15", real_time(15)),
                ("rth", real_time(60)),
                (
                    "da",
                    Product {
                        nominal: 60 * MINUTE,
                        ..others
                    },
                ),
            ],
            others,
        }
    }

    /// The rule of a product.
    pub fn rule(&self, product: &str) -> Product {
        let named = self.named.iter().find(|(name, _)| *name == product);
        named.map_or(self.others, |(_, rule)| *rule)
    }

    /// One value of the rule as SQL over the column `product`.
    pub fn sql(&self, value: impl Fn(&Product) -> Micros) -> String {
        let list = |of: &dyn Fn(&(&str, Product)) -> String| self.named.iter().map(of).collect::<Vec<_>>().join(", ");
        format!(
            "transform(toString(product), [{}], [{}], toInt64({}))",
            list(&|(name, _)| format!("'{name}'")),
            list(&|(_, rule)| format!("toInt64({})", value(rule))),
            value(&self.others)
        )
    }

    /// Every delay after which windows close.
    pub fn close_delays(&self) -> Vec<Micros> {
        let mut delays: Vec<Micros> = self.named.iter().map(|(_, rule)| rule.close_after).collect();
        delays.push(self.others.close_after);
        delays.sort_unstable();
        delays.dedup();
        delays
    }
}

/// Bars of an environment: `AGGREGATION_BAR_INTERVALS`.
///
/// # Errors
/// A name that is no interval.
pub fn intervals(reader: &mut Reader<'_>) -> anyhow::Result<Vec<Interval>> {
    let names = reader.list("AGGREGATION_BAR_INTERVALS", "1m,5m,15m,1h,1d", "lengths of bars");
    let read = |name: &String| {
        Interval::from_name(name).ok_or_else(|| anyhow::anyhow!("AGGREGATION_BAR_INTERVALS holds '{name}'"))
    };
    names.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use service::Env;

    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_interfaces() {
        let env = Env::new();
        let products = Products::read(&mut Reader::new(&env));
        let of = |product| {
            let rule = products.rule(product);
            (
                rule.close_after / 1_000_000,
                rule.forget_after / 1_000_000,
                rule.nominal / 1_000_000,
            )
        };
        assert_eq!(of("trade"), (30, 330, 0));
        assert_eq!(of("da"), (30, 330, 3_600));
        assert_eq!(of("rt5"), (900, 3_600, 300));
        assert_eq!(of("rt15"), (900, 3_600, 900));
        assert_eq!(products.close_delays(), [30_000_000, 900_000_000]);
    }

    #[test]
    fn the_sql_names_every_product_and_the_rest() {
        let products = Products::of(7, 9);
        assert_eq!(
            products.sql(|rule| rule.close_after),
            "transform(toString(product), ['rt5', 'exante', 'rt15', 'rth', 'da'], [toInt64(900000000), toInt64(900000000), \
             toInt64(900000000), toInt64(900000000), toInt64(7)], toInt64(7))"
        );
    }
}
