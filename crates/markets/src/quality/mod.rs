//! Quality rules: flags on a tick, with thresholds from the configuration.
//!
//! Flags never affect whether a tick exists or where it is routed (INV-1). The two rules that compare with the instrument's
//! last tick, and the rule that counts new instruments, depend on what this instance has read. Their flags may differ
//! between runs.

mod last_ticks;
mod new_instruments;
mod rules;

use domain::{Decimal, Micros, QualityFlag, QualityFlags, Tick};

use last_ticks::Before;
pub(crate) use last_ticks::LastTicks;
pub use rules::{Rule, rules};

use crate::venue::Venue;

/// Thresholds of the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QualitySettings {
    /// If false, ticks have no flags. Rejections are unaffected.
    pub enabled: bool,
    /// Relative change of price from the last tick, as a fraction.
    pub price_spike: Decimal,
    /// Relative change of volume from the last tick, as a fraction.
    pub volume_spike: Decimal,
    /// Highest price of any market.
    pub max_price: Decimal,
    /// Lowest price; `None` means the market's floor.
    pub min_price: Option<Decimal>,
    /// Highest volume.
    pub max_volume: Decimal,
    /// Age at append above which a tick is late.
    pub late_after: Micros,
    /// How far ahead of its append time a tick may be if it is not day-ahead. A tick beyond this limit is rejected, even if
    /// flags are disabled.
    pub max_future: Micros,
    /// Largest difference between the price and the sum of its components.
    pub component_tolerance: Decimal,
    /// Maximum number of new instruments of one tenant in an hour of append time, per worker.
    pub max_new_instruments: u64,
}

impl Default for QualitySettings {
    fn default() -> QualitySettings {
        let exact = |unscaled: i64| Decimal::from_unscaled(unscaled).unwrap_or(Decimal::ZERO);
        QualitySettings {
            enabled: true,
            price_spike: exact(10_000_000),
            volume_spike: exact(50_000_000),
            max_price: exact(1_000_000_000_000),
            min_price: None,
            max_volume: exact(100_000_000_000_000),
            late_after: 300_000_000,
            max_future: 600_000_000,
            component_tolerance: exact(2_000_000),
            max_new_instruments: 1_000_000,
        }
    }
}

/// The flags of a tick. `remarks` are the flags that its parser has set.
pub(crate) fn flags(
    settings: &QualitySettings,
    venue: &Venue,
    tick: &Tick<'_>,
    remarks: QualityFlags,
    last: &mut LastTicks,
) -> QualityFlags {
    if !settings.enabled {
        return QualityFlags::NONE;
    }
    let mut flags = remarks;
    let mut flag = |applies: bool, flag: QualityFlag| {
        if applies {
            flags.insert(flag);
        }
    };
    flag(tick.price < Decimal::ZERO, QualityFlag::PriceNegative);
    flag(out_of_range(settings, venue, tick), QualityFlag::OutOfRange);
    flag(
        tick.volume.is_some_and(|volume| volume > settings.max_volume),
        QualityFlag::VolumeSpike,
    );
    flag(is_late(settings, tick), QualityFlag::LateArrival);
    flag(lacks_place(venue, tick), QualityFlag::MissingMetadata);
    // Interval prices have no volume.
    flag(
        tick.volume.is_none() && tick.kind == domain::Kind::Trade,
        QualityFlag::MissingVolume,
    );
    flag(components_differ(settings, tick), QualityFlag::ComponentMismatch);
    flag(
        tick.bid.zip(tick.ask).is_some_and(|(bid, ask)| bid > ask),
        QualityFlag::CrossedMarket,
    );
    match last.replace(tick) {
        Before::Last(price, volume) => {
            flag(
                changed_by_more(tick.price, price, settings.price_spike),
                QualityFlag::PriceSpike,
            );
            let volumes = tick.volume.zip(volume);
            flag(
                volumes.is_some_and(|(now, then)| changed_by_more(now, then, settings.volume_spike)),
                QualityFlag::VolumeSpike,
            );
        }
        Before::Younger => {}
        Before::Unknown(key) => flag(
            last.new_instruments
                .exceeds(key, tick.tenant_id, tick.appended_at, settings.max_new_instruments),
            QualityFlag::UnknownNode,
        ),
    }
    if flags.is_empty() {
        flags.insert(QualityFlag::Valid);
    }
    flags
}

fn out_of_range(settings: &QualitySettings, venue: &Venue, tick: &Tick<'_>) -> bool {
    let (floor, cap) = venue.bounds_at(tick.event_time, tick.product == "da");
    let floor = settings.min_price.or(floor);
    let cap = cap.map_or(settings.max_price, |cap| cap.min(settings.max_price));
    tick.price > cap || floor.is_some_and(|floor| tick.price < floor)
}

fn is_late(settings: &QualitySettings, tick: &Tick<'_>) -> bool {
    tick.product != "da" && tick.appended_at.saturating_sub(tick.event_time) > settings.late_after
}

// The zone of a document row comes from reference data; only single ticks must state theirs.
fn lacks_place(venue: &Venue, tick: &Tick<'_>) -> bool {
    let second = if venue.placed_by_hub { tick.hub } else { tick.zone };
    tick.node.is_none() || (second.is_none() && tick.interval_end.is_none())
}

fn components_differ(settings: &QualitySettings, tick: &Tick<'_>) -> bool {
    let (Some(energy), Some(congestion), Some(loss)) = (tick.energy, tick.congestion, tick.loss) else {
        return false;
    };
    let ghg = tick.ghg.map_or(0, Decimal::unscaled);
    let sum = i128::from(energy.unscaled())
        + i128::from(congestion.unscaled())
        + i128::from(loss.unscaled())
        + i128::from(ghg);
    (i128::from(tick.price.unscaled()) - sum).unsigned_abs()
        > u128::from(settings.component_tolerance.unscaled().unsigned_abs())
}

// A change from zero has no relative size.
fn changed_by_more(now: Decimal, then: Decimal, share: Decimal) -> bool {
    const ONE: u128 = 100_000_000;
    let change = (i128::from(now.unscaled()) - i128::from(then.unscaled())).unsigned_abs();
    let allowed = u128::from(then.unscaled().unsigned_abs()) * u128::from(share.unscaled().unsigned_abs());
    then != Decimal::ZERO && change * ONE > allowed
}

#[cfg(test)]
mod tests;
