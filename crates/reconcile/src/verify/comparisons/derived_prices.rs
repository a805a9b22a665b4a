//! Versions of derived prices: the newest of each value is computed again from the ticks of its legs.

use service::writer::tables::DERIVED_PRICES;

use super::comparison::{Basis, Comparison};
use crate::verify::derived::Derived;

pub(super) static COMPARISON: Comparison = Comparison {
    table: &DERIVED_PRICES,
    basis: Basis::ManyTicks(|versions| Box::pin(async move { Derived(versions).check().await })),
};
