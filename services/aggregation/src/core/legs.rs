//! Which instruments are legs, and of what.
//!
//! Invariant: the legs of an instrument have a fixed order, so that a tick that is read again gives the same legs with the same indexes.

use std::sync::Arc;

use curves::derived::Definition;
use rustc_hash::FxHashMap;

/// One use of an instrument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegOf {
    /// Name of the series.
    pub series: Arc<str>,
    /// Name of the leg.
    pub role: Arc<str>,
}

/// The uses of each instrument, for every tenant alike.
#[derive(Debug, Clone, Default)]
pub struct LegIndex {
    by_instrument: FxHashMap<Box<str>, Vec<LegOf>>,
}

impl LegIndex {
    /// The legs of these series.
    pub fn of(series: &[Arc<Definition>]) -> LegIndex {
        let mut index = LegIndex::default();
        for definition in series {
            let series: Arc<str> = definition.series.as_str().into();
            for (role, instrument) in definition.formula.legs().iter().zip(&definition.legs) {
                index.add(instrument, Arc::clone(&series), (*role).into());
            }
        }
        index
    }

    fn add(&mut self, instrument_id: &str, series: Arc<str>, role: Arc<str>) {
        let uses = self.by_instrument.entry(instrument_id.into()).or_default();
        uses.push(LegOf { series, role });
    }

    /// Whether no instrument is a leg.
    pub fn is_empty(&self) -> bool {
        self.by_instrument.is_empty()
    }

    /// The uses of this instrument.
    pub fn of_instrument(&self, instrument_id: &str) -> &[LegOf] {
        // Without series this costs one comparison a tick.
        match self.is_empty() {
            true => &[],
            false => self.by_instrument.get(instrument_id).map_or(&[], Vec::as_slice),
        }
    }
}
