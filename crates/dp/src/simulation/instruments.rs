//! What is traded in the simulation: real hubs and zones of five markets, and a few traded products.

use domain::instrument::write_instrument_id;

use super::random::Random;

/// What kind of price an instrument has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Series {
    /// Prices of delivery intervals, as they happen.
    RealTime,
    /// Prices of tomorrow's hours.
    DayAhead,
    /// Trades.
    Trades,
}

/// One instrument and its wandering price.
#[derive(Debug, Clone)]
pub(super) struct Instrument {
    pub market: &'static str,
    pub id: String,
    pub node: &'static str,
    pub series: Series,
    /// The product that its messages name.
    pub product: &'static str,
    /// Hundredths of a dollar.
    price: i64,
    /// The level that the price is drawn back to.
    level: i64,
}

impl Instrument {
    /// Moves the price a little; answers it in hundredths. Power prices may fall below zero, traded ones may not.
    pub(super) fn move_price(&mut self, random: &mut Random) -> i64 {
        let reach = (self.level / 40).max(5);
        self.price += random.between(-reach, reach) + (self.level - self.price) / 50;
        if self.series == Series::Trades {
            self.price = self.price.max(1);
        } else if random.chance(2_000) {
            // Scarcity and negative prices come in single intervals.
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

/// Every instrument, each at its level.
pub(super) fn all() -> Vec<Instrument> {
    let mut instruments = Vec::new();
    for (market, real_time, nodes) in NODES {
        for (index, node) in nodes.iter().enumerate() {
            let level = 2_600 + 170 * index as i64;
            for (series, product) in [(Series::RealTime, real_time), (Series::DayAhead, "da")] {
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
        });
    }
    instruments
}
