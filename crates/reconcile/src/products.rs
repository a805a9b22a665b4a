//! The window rules of each product: when its windows close and are forgotten by the log clock, and how long its intervals
//! are. Every check of a bar uses these rules.
//!
//! Role: the values from aggregation's settings, as Rust and as SQL over the columns `kind` and `product`. Pure.
//! Invariant: a function of the tick's kind and product and of the configuration, as in aggregation itself.

use aggregation::core::log_clock::WindowRules;
use domain::{Interval, Kind, Micros, Product};
use service::Reader;

/// When windows close and are forgotten, and for which intervals a price produces bars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The window closes this long after its end.
    pub close_after: Micros,
    /// The window is forgotten this long after its end; a later tick reaches its bar through `restate`.
    pub forget_after: Micros,
    /// Length of the interval that a price applies to; bars are at least as long. 0 for trades.
    pub nominal: Micros,
}

/// The rules of every product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Products(WindowRules);

impl Products {
    /// Reads the rules from the settings.
    pub fn read(reader: &mut Reader<'_>) -> Products {
        Products(aggregation::config::read(reader).rules)
    }

    /// The intervals that have bars.
    pub fn intervals(&self) -> Vec<Interval> {
        Interval::ALL
            .into_iter()
            .filter(|interval| self.0.makes(*interval))
            .collect()
    }

    /// The rule of a product.
    pub fn rule(&self, product: Product) -> Rule {
        let times = self.0.times(product);
        Rule {
            close_after: times.close_after,
            forget_after: times.forget_after,
            nominal: product.nominal().map_or(0, Interval::micros),
        }
    }

    /// One value of the rule as SQL over the columns `kind` and `product`.
    pub fn sql(&self, value: impl Fn(&Rule) -> Micros) -> String {
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for product in Product::ALL {
            if Product::of(product.name(), Kind::Interval) == product {
                names.push(format!("'{}'", product.name()));
                values.push(format!("toInt64({})", value(&self.rule(product))));
            }
        }
        format!(
            "if(kind = 'trade', toInt64({}), transform(toString(product), [{}], [{}], toInt64({})))",
            value(&self.rule(Product::Trade)),
            names.join(", "),
            values.join(", "),
            value(&self.rule(Product::OtherInterval))
        )
    }

    /// Every delay after which windows close.
    pub fn close_delays(&self) -> Vec<Micros> {
        let mut delays: Vec<Micros> = Product::ALL
            .into_iter()
            .map(|product| self.rule(product).close_after)
            .collect();
        delays.sort_unstable();
        delays.dedup();
        delays
    }
}

#[cfg(test)]
mod tests {
    use service::Env;

    use super::*;

    #[test]
    fn the_defaults_are_those_of_aggregation() {
        let env = Env::new();
        let products = Products::read(&mut Reader::new(&env));
        let of = |product| {
            let rule = products.rule(product);
            [rule.close_after, rule.forget_after, rule.nominal].map(|micros| micros / 1_000_000)
        };
        assert_eq!(of(Product::Trade), [30, 330, 0]);
        assert_eq!(of(Product::DayAhead), [30, 330, 3_600]);
        assert_eq!(of(Product::RealTimeFive), [900, 3_600, 300]);
        assert_eq!(of(Product::RealTimeFifteen), [900, 3_600, 900]);
        assert_eq!(products.close_delays(), [30_000_000, 900_000_000]);
        assert_eq!(products.intervals(), Interval::ALL);
    }

    #[test]
    fn the_sql_tests_the_kind_first() {
        let env = Env::new();
        let sql = Products::read(&mut Reader::new(&env)).sql(|rule| rule.nominal / 60_000_000);
        assert_eq!(
            sql,
            "if(kind = 'trade', toInt64(0), transform(toString(product), ['da', 'rt5', 'rt15', 'rth', 'exante', 'interval'], \
             [toInt64(60), toInt64(5), toInt64(15), toInt64(60), toInt64(5), toInt64(1)], toInt64(1)))"
        );
    }
}
