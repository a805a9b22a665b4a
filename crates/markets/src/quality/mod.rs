//! Quality rules: flags on a tick, with thresholds from the configuration.
//!
//! Role: which checks a tick fails, and what follows: a flag, or a rejection if the check is configured to reject.
//! Invariants: a flag never affects whether a tick exists or where it is routed; only a check that follows from the message alone
//! may reject (INV-1). The checks that compare with earlier ticks depend on what this worker has read since it began to read the
//! partition, and on nothing of other partitions; after a restart it learns from what is read back. See [`history`] for how far flags may
//! then differ from those of a worker without a restart.

mod check;
mod history;
mod new_instruments;
mod recent_rows;
mod rules;

use domain::{Decimal, Micros, QualityFlag, QualityFlags, Tick};

pub use check::{Check, Checks};
use history::Before;
pub(crate) use history::{Earlier, Histories, Middle};
pub use rules::{Rule, rules};

use crate::contract::SETTLEMENT;
use crate::event::names_another_product;
use crate::rejection::{RejectCode, Rejection};
use crate::venue::Venue;

/// Thresholds of the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QualitySettings {
    /// If false, no check is made. What cannot be read at all is rejected nevertheless.
    pub enabled: bool,
    /// Checks that are not made.
    pub disabled: Checks,
    /// Checks that reject the tick instead of setting a flag.
    pub rejecting: Checks,
    /// Relative change of price from the instrument's median, as a fraction.
    pub price_spike: Decimal,
    /// Relative change of volume from the instrument's median, as a fraction.
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
            disabled: Checks::NONE,
            rejecting: Checks::NONE,
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

impl QualitySettings {
    fn active(&self) -> Checks {
        let all = if self.enabled { Checks::ALL } else { Checks::NONE };
        all.without(self.disabled)
    }
}

/// The checks that a tick fails by itself. `remarks` are the flags that its parser has set.
pub(crate) fn findings(settings: &QualitySettings, venue: &Venue, tick: &Tick<'_>, remarks: QualityFlags) -> Checks {
    let mut found = Checks::NONE;
    if !settings.enabled {
        return found;
    }
    let (floor, cap) = bounds(settings, venue, tick);
    found.note(tick.price < Decimal::ZERO, Check::PricePositive);
    found.note(floor.is_some_and(|floor| tick.price < floor), Check::PriceMinimum);
    found.note(tick.price > cap, Check::PriceMaximum);
    let is_large = tick.volume.is_some_and(|volume| volume > settings.max_volume);
    found.note(is_large, Check::VolumeMaximum);
    // Interval prices have no volume.
    let lacks_volume = tick.volume.is_none() && tick.kind == domain::Kind::Trade;
    found.note(lacks_volume, Check::VolumePresent);
    found.note(is_late(settings, tick), Check::LateArrival);
    found.note(lacks_place(venue, tick), Check::MetadataPresent);
    found.note(components_differ(settings, tick), Check::ComponentSum);
    found.note(
        tick.interval_end.is_some() && venue.misses(tick.node, tick.hub, tick.zone),
        Check::KnownNode,
    );
    found.note(is_of_another_product(tick), Check::ProductOfId);
    let is_crossed = tick.bid.zip(tick.ask).is_some_and(|(bid, ask)| bid > ask);
    found.note(is_crossed, Check::QuoteOrder);
    if !remarks.is_empty() {
        found.note(remarks.contains(QualityFlag::ComponentMismatch), Check::ComponentSum);
        found.note(remarks.contains(QualityFlag::OffGrid), Check::IntervalGrid);
        found.note(remarks.contains(QualityFlag::Rounded), Check::NumberNoise);
        found.note(remarks.contains(QualityFlag::MissingQuote), Check::QuoteReadable);
        found.note(remarks.contains(QualityFlag::EventIdReused), Check::EventIdUnique);
    }
    found.and(settings.active())
}

/// The rejection of a tick with these findings, if one of them is configured to reject.
pub(crate) fn refusal(settings: &QualitySettings, found: Checks) -> Option<Rejection> {
    let check = found.and(settings.rejecting).iter().next()?;
    Some(refused(check))
}

#[cold]
fn refused(check: Check) -> Rejection {
    let message = format!(
        "quality rule {} rejects it: {} (NORMALIZATION_RULES_REJECT names this rule; without it the tick is only flagged {})",
        check.name(),
        check.description(),
        check.flag().name()
    );
    Rejection::new(RejectCode::QualityRule, message)
}

/// The flags of a tick with these findings, and of its comparison with earlier ticks.
pub(crate) fn flags(
    settings: &QualitySettings,
    tick: &Tick<'_>,
    mut found: Checks,
    earlier: Option<&mut Earlier<'_>>,
) -> QualityFlags {
    if !settings.enabled {
        return QualityFlags::NONE;
    }
    if let Some(earlier) = earlier {
        compare(settings, tick, &mut found, earlier);
    }
    found = found.and(settings.active());
    let mut flags = QualityFlags::NONE;
    found.iter().for_each(|check| flags.insert(check.flag()));
    if flags.is_empty() {
        flags.insert(QualityFlag::Valid);
    }
    flags
}

fn compare(settings: &QualitySettings, tick: &Tick<'_>, found: &mut Checks, earlier: &mut Earlier<'_>) {
    let Earlier {
        history,
        new_instruments,
    } = earlier;
    let key = history::key(tick);
    match history.replace(tick, key) {
        Before::Known(prices, volumes) => {
            let is_spike = |now, then| differs_from(now, then, settings.price_spike);
            found.note(is_spike(tick.price, prices), Check::PriceChange);
            let is_spike = |now| differs_from(now, volumes, settings.volume_spike);
            found.note(tick.volume.is_some_and(is_spike), Check::VolumeChange);
        }
        Before::Younger => {}
        Before::Unknown => {
            let (tenant, at, limit) = (tick.tenant_id, tick.appended_at, settings.max_new_instruments);
            found.note(new_instruments.exceeds(key, tenant, at, limit), Check::NewInstruments);
        }
    }
    found.note(history.recent_rows.is_repeated(tick, key), Check::RowRepeated);
}

fn bounds(settings: &QualitySettings, venue: &Venue, tick: &Tick<'_>) -> (Option<Decimal>, Decimal) {
    let (floor, cap) = venue.bounds_at(tick.event_time, tick.product == "da");
    let cap = cap.map_or(settings.max_price, |cap| cap.min(settings.max_price));
    (settings.min_price.or(floor), cap)
}

fn is_late(settings: &QualitySettings, tick: &Tick<'_>) -> bool {
    // The event time of a settlement is a date.
    !matches!(tick.product, "da" | SETTLEMENT) && tick.appended_at.saturating_sub(tick.event_time) > settings.late_after
}

// The zone of a document row comes from reference data; only single ticks must state theirs.
fn lacks_place(venue: &Venue, tick: &Tick<'_>) -> bool {
    let second = if venue.placed_by_hub { tick.hub } else { tick.zone };
    tick.node.is_none() || (second.is_none() && tick.interval_end.is_none())
}

// The ids of document rows are made from their product, and a trade may be of any instrument.
fn is_of_another_product(tick: &Tick<'_>) -> bool {
    if tick.interval_end.is_some() || tick.kind != domain::Kind::Interval {
        return false;
    }
    let Some((location, suffix)) = tick.instrument_id.rsplit_once('.') else {
        return false;
    };
    let node = location
        .strip_prefix(tick.market)
        .and_then(|rest| rest.strip_prefix('.'));
    node.is_some_and(|node| !node.is_empty()) && names_another_product(suffix, tick.product)
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

// Beyond both values in the middle: with one outlier among two, the other one still counts.
fn differs_from(now: Decimal, middle: Middle, share: Decimal) -> bool {
    middle.is_some_and(|(low, high)| changed_by_more(now, low, share) && changed_by_more(now, high, share))
}

// A change from zero has no relative size.
fn changed_by_more(now: Decimal, then: Decimal, share: Decimal) -> bool {
    const ONE: u128 = 100_000_000;
    let change = (i128::from(now.unscaled()) - i128::from(then.unscaled())).unsigned_abs();
    let allowed = u128::from(then.unscaled().unsigned_abs()) * u128::from(share.unscaled().unsigned_abs());
    then != Decimal::ZERO && change * ONE > allowed
}

#[cfg(test)]
mod duplicates;
#[cfg(test)]
mod restarts;
#[cfg(test)]
mod tests;
