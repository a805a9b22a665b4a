//! What must hold at the end of a simulated life.

use std::collections::BTreeMap;

use domain::{Interval, Micros};

use super::fixtures::OwnedBar;
use super::oracle::Expected;
use super::world::{Broker, Owner, World};

pub fn check_bars(broker: &Broker, expected: &Expected) -> Result<(), String> {
    let mut versions: BTreeMap<((String, Interval, Micros), u64), &OwnedBar> = BTreeMap::new();
    for bar in &broker.bars {
        let other = versions.insert((bar.key(), bar.version.as_u64()), bar);
        if other.is_some_and(|other| other != bar) {
            return Err(format!("one version, two contents: {bar:?} {other:?}"));
        }
    }
    let newest: BTreeMap<(String, Interval, Micros), &OwnedBar> =
        versions.into_iter().map(|((key, _), bar)| (key, bar)).collect();
    if let Some(key) = newest.keys().find(|key| !expected.bars.contains_key(*key)) {
        return Err(format!("a bar that nobody asked for: {key:?}"));
    }
    for (key, wanted) in &expected.bars {
        let bar = newest.get(key).ok_or_else(|| format!("no bar {key:?}"))?;
        let agrees = bar.prices.map(|p| p.unscaled()) == wanted.open_high_low_close
            && (bar.volume, bar.turnover.0, bar.trade_count) == (wanted.volume, wanted.turnover, wanted.trade_count)
            && (bar.open.raw, bar.close.raw) == (wanted.first_raw, wanted.last_raw)
            && (bar.revision, bar.version.last_offset) == (wanted.revision, wanted.last_offset)
            // An idle clock may have closed it; the log's close may not be missing.
            && (bar.version.closed || !wanted.closed);
        if !agrees {
            return Err(format!("{key:?}: expected {wanted:?}, newest {bar:?}"));
        }
    }
    Ok(())
}

pub fn check_late(broker: &Broker, expected: &Expected) -> Result<(), String> {
    let mut late = broker.late.clone();
    late.sort();
    late.dedup();
    (late == expected.late)
        .then_some(())
        .ok_or_else(|| format!("late ticks: expected {:?}, found {late:?}", expected.late))
}

/// What a restore finds at the end is what the owner has in memory.
pub fn check_state(world: &mut World, owner: &Owner) -> Result<(), String> {
    let restored = world.start_owner();
    let bars = |owner: &Owner| {
        let mut bars = Vec::new();
        for instrument_id in ["X", "Y", "Z"] {
            owner
                .state
                .bars("t", instrument_id, &mut |bar| bars.push(OwnedBar::from(bar)));
        }
        bars
    };
    if !owner.position_saved
        || restored.next != world.log.len()
        || restored.state.sequencer_state() != owner.state.sequencer_state()
    {
        return Err("the last checkpoint is not complete".to_owned());
    }
    (bars(&restored) == bars(owner))
        .then_some(())
        .ok_or_else(|| "restored windows differ from those in memory".to_owned())
}
