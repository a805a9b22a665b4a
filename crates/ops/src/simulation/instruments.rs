//! The simulated instruments: real hubs and zones of five markets, and a few traded products.

use domain::Micros;
use domain::instrument::write_instrument_id;

use super::random::Random;
use super::units::{DAY, HOUR, MINUTE};

/// Kind of prices of an instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Series {
    /// Current bid and ask prices at a hub.
    Quotes,
    /// Prices of delivery intervals of this length, each published once after the end of its interval.
    RealTime(Micros),
    /// Prices of the hours of the next day, each published once.
    DayAhead,
    /// Trades.
    Trades,
}

/// An instrument and its current price.
#[derive(Debug, Clone)]
pub(super) struct Instrument {
    pub market: &'static str,
    pub id: String,
    pub node: &'static str,
    pub series: Series,
    /// The product in its messages.
    pub product: &'static str,
    /// Hundredths of a dollar.
    price: i64,
    /// The level to which the price reverts.
    level: i64,
    /// Start of the interval that was priced last.
    priced: Option<Micros>,
}

impl Instrument {
    /// Start of the next interval without a price; `None` if all have one, or if the series has no intervals.
    pub(super) fn next_interval(&self, now: Micros) -> Option<Micros> {
        match self.series {
            Series::RealTime(length) => {
                let last = now - now.rem_euclid(length) - length;
                (self.priced < Some(last)).then_some(last)
            }
            Series::DayAhead => {
                let tomorrow = now - now.rem_euclid(DAY) + DAY;
                let next = self.priced.map_or(tomorrow, |hour| hour + HOUR).max(tomorrow);
                (next < tomorrow + DAY).then_some(next)
            }
            Series::Quotes | Series::Trades => None,
        }
    }

    /// Records that this interval has its price.
    pub(super) fn set_priced(&mut self, start: Micros) {
        self.priced = Some(start);
    }

    /// Moves the price a little; returns it in hundredths. Power prices may be negative, prices of traded products may not.
    pub(super) fn move_price(&mut self, random: &mut Random) -> i64 {
        let reach = (self.level / 40).max(5);
        self.price += random.between(-reach, reach) + (self.level - self.price) / 50;
        if self.series == Series::Trades {
            self.price = self.price.max(1);
        } else if random.chance(2_000) {
            // Scarcity and negative prices occur in single intervals.
            self.price = random.between(-self.level, self.level * 8);
        }
        self.price
    }
}

const NODES: [(&str, &str, &[&str]); 5] = [
    (
        "MISO",
        "rt5",
        &[
            "ARKANSAS.HUB",
            "ILLINOIS.HUB",
            "INDIANA.HUB",
            "LOUISIANA.HUB",
            "MICHIGAN.HUB",
            "MINN.HUB",
            "MS.HUB",
            "TEXAS.HUB",
        ],
    ),
    (
        "CAISO",
        "rt15",
        &["TH_NP15_GEN-APND", "TH_SP15_GEN-APND", "TH_ZP26_GEN-APND"],
    ),
    (
        "ERCOT",
        "rt15",
        &[
            "HB_HOUSTON",
            "HB_NORTH",
            "HB_SOUTH",
            "HB_WEST",
            "HB_PAN",
            "LZ_HOUSTON",
            "LZ_NORTH",
            "LZ_SOUTH",
            "LZ_WEST",
        ],
    ),
    (
        "PJM",
        "rth",
        &[
            "WESTERN HUB",
            "EASTERN HUB",
            "AEP-DAYTON HUB",
            "N ILLINOIS HUB",
            "DOMINION HUB",
            "NEW JERSEY HUB",
        ],
    ),
    (
        "NYISO",
        "rt5",
        &["CAPITL", "CENTRL", "HUD VL", "LONGIL", "N.Y.C.", "WEST"],
    ),
];

const TRADED: [(&str, &str, i64); 6] = [
    ("MISO", "ELEC_MISO_BALMO", 3_420),
    ("CAISO", "ELEC_CAISO_BALMO", 4_180),
    ("ERCOT", "ELEC_ERCOT_BALMO", 2_960),
    ("PJM", "POWER_PEAK_REAL_TIME", 5_230),
    ("PJM", "POWER_OFF_PEAK_REAL_TIME", 3_110),
    ("NYISO", "POWER_PEAK_DAY_AHEAD", 6_040),
];

/// All instruments, each at its level.
pub(super) fn all() -> Vec<Instrument> {
    let mut instruments = Vec::new();
    for (market, real_time, nodes) in NODES {
        for (index, node) in nodes.iter().enumerate() {
            let level = 2_600 + 170 * index as i64;
            let series = [
                (Series::Quotes, "spot"),
                (Series::RealTime(length_of(real_time)), real_time),
                (Series::DayAhead, "da"),
            ];
            for (series, product) in series {
                let mut id = String::new();
                write_instrument_id(market, node, &product.to_ascii_uppercase(), &mut id);
                instruments.push(Instrument {
                    market,
                    id,
                    node,
                    series,
                    product,
                    price: level,
                    level,
                    priced: None,
                });
            }
        }
    }
    for (market, id, level) in TRADED {
        let (id, series) = (id.to_owned(), Series::Trades);
        instruments.push(Instrument {
            market,
            id,
            node: "",
            series,
            product: "trade",
            price: level,
            level,
            priced: None,
        });
    }
    instruments
}

fn length_of(real_time: &str) -> Micros {
    match real_time {
        "rt5" => 5 * MINUTE,
        "rt15" => 15 * MINUTE,
        _ => HOUR,
    }
}
