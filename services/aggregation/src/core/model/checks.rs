//! The checks at the end of a simulation.

use std::collections::{BTreeMap, BTreeSet};

use domain::BarVersion;

use super::fixtures::OwnedBar;
use super::oracle::{BarKey, Rows};
use super::world::{Broker, Owner, World};
use crate::core::window_state::Held;

pub fn check_bars(broker: &Broker, rows: &Rows) -> Result<(), String> {
    let of_bars = rows.by_bar();
    let mut versions: BTreeMap<(BarKey, u64), &OwnedBar> = BTreeMap::new();
    for bar in &broker.bars {
        let other = versions.insert((bar.key(), bar.version.as_u64()), bar);
        if other.is_some_and(|other| other != bar) {
            return Err(format!("one version, two contents: {bar:?} {other:?}"));
        }
        // Every version, not only the newest: a bar of half of its rows is wrong while it is the newest.
        let BarVersion { last_offset, closed } = bar.version;
        let of_bar = of_bars.get(&bar.key());
        let wanted = of_bar.and_then(|rows| rows.content(&bar.key(), last_offset, closed));
        if wanted.as_ref() != Some(bar) {
            return Err(format!("expected {wanted:?}, sent {bar:?}"));
        }
    }
    let newest: BTreeMap<BarKey, &OwnedBar> = versions.into_iter().map(|((key, _), bar)| (key, bar)).collect();
    let expected: BTreeSet<BarKey> = of_bars.keys().cloned().collect();
    if let Some(key) = broker.not_restated.first().filter(|_| !broker.table.lost) {
        return Err(format!("given up, although no row is lost: {key:?}"));
    }
    if let Some(key) = newest.keys().find(|key| !expected.contains(*key)) {
        return Err(format!("a bar without rows: {key:?}"));
    }
    for key in expected.difference(&broker.not_restated) {
        let bar = newest.get(key).ok_or_else(|| format!("no bar {key:?}"))?;
        let of_bar = of_bars.get(key);
        let wanted = of_bar
            .and_then(|rows| rows.content(key, i64::MAX, bar.version.closed))
            .ok_or_else(|| format!("no rows of {key:?}"))?;
        if **bar != wanted {
            return Err(format!("{key:?}: expected {wanted:?}, newest {bar:?}"));
        }
        // An idle close may have closed it, but a close by the log clock must not be missing.
        if rows.is_closed(key) && !bar.version.closed {
            return Err(format!("{key:?} is not closed"));
        }
    }
    Ok(())
}

/// All ticks that are left to the table in a simulation without faults are left to it with faults, too.
pub fn check_late(broker: &Broker, undisturbed: &Broker) -> Result<(), String> {
    let ticks = |broker: &Broker| {
        let ticks = broker.late.iter().filter(|record| !record.is_close);
        let mut bits: BTreeMap<i64, (u8, u8)> = BTreeMap::new();
        for record in ticks {
            let sum = bits.entry(record.enriched_offset).or_default();
            *sum = (sum.0 | record.by_table, sum.1 | record.closed);
        }
        bits
    };
    let found = ticks(broker);
    let is_missing = |(offset, (by_table, closed)): &(&i64, &(u8, u8))| {
        found
            .get(*offset)
            .is_none_or(|found| found.0 & by_table != *by_table || found.1 & closed != *closed)
    };
    match ticks(undisturbed).iter().find(is_missing) {
        None => Ok(()),
        Some(missing) => Err(format!("late tick {missing:?}, found {:?}", found.get(missing.0))),
    }
}

/// A restore at the end gives the state that the owner has in memory.
pub fn check_state(world: &mut World, owner: &Owner) -> Result<(), String> {
    let restored = world.start_owner();
    let bars = |owner: &Owner| {
        let (mut bars, mut settled) = (Vec::new(), Vec::new());
        for id in ["X", "Y", "Z", "M"] {
            owner.state.bars("t", id, &mut |held| match held {
                Held::Bar(bar) => bars.push((OwnedBar::from(bar), false)),
                Held::FromTable(bar) => bars.push((OwnedBar::from(bar), true)),
                Held::Settled(window) => settled.push((id.to_owned(), *window)),
            });
        }
        (bars, settled)
    };
    if !owner.position_saved
        || restored.next != world.log.len()
        || restored.state.log_clock() != owner.state.log_clock()
        || restored.state.sequencer_state() != owner.state.sequencer_state()
    {
        return Err("the last checkpoint is not complete".to_owned());
    }
    let ((mut restored, _), (in_memory, mut settled)) = (bars(&restored), bars(owner));
    // The values of a settled window are in the records only.
    restored.retain(|(bar, from_table)| {
        let id = (bar.instrument_id.clone(), bar.window);
        let is_settled = bar.version.closed && !from_table && settled.contains(&id);
        settled.retain(|of| !is_settled || *of != id);
        !is_settled
    });
    if !settled.is_empty() {
        return Err(format!("settled without a closed bar in the records: {settled:?}"));
    }
    if restored == in_memory {
        return Ok(());
    }
    let only = |some: &[(OwnedBar, bool)], others: &[(OwnedBar, bool)]| {
        let only = some.iter().filter(|bar| !others.contains(bar));
        only.cloned().collect::<Vec<_>>()
    };
    Err(format!(
        "restored only: {:?}, in memory only: {:?}",
        only(&restored, &in_memory),
        only(&in_memory, &restored)
    ))
}
