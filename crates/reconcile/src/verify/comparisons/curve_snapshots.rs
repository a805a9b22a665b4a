//! Versions of snapshots of curves: the newest of each is compared with the ticks of its quotes.

use service::writer::tables::CURVE_SNAPSHOTS;

use super::comparison::{Basis, Comparison};
use crate::verify::curves::Curves;

pub(super) static COMPARISON: Comparison = Comparison {
    table: &CURVE_SNAPSHOTS,
    basis: Basis::ManyTicks(|versions| Box::pin(async move { Curves(versions).check().await })),
};
