//! Every accepted tick: what normalization adds to the facts of the raw log.

use codec::{CodecError, Wire};
use domain::Origin;
use service::writer::tables::MARKET_TICKS;

use super::{Basis, Comparison, Records};
use crate::verify::canonical::{Column, FLAGS, Field, OfTick, Writer, columns, field, time};

pub(super) static COMPARISON: Comparison = Comparison {
    table: &MARKET_TICKS,
    has_facts: true,
    basis: Basis::Records(&Ticks),
};

static REMARKS: [Field<OfTick>; 2] = [
    FLAGS,
    field(time("normalized_at"), |to, tick| to.value(tick.normalized_at)),
];

#[derive(Debug)]
struct Ticks;

impl Records for Ticks {
    fn columns(&self) -> Vec<Column> {
        columns(&REMARKS).collect()
    }

    fn write<'r>(&self, wire: &Wire, payload: &'r [u8], to: &mut Writer<'_>) -> Result<Origin<'r>, CodecError> {
        let tick = wire.decode_tick(payload)?;
        REMARKS.iter().for_each(|field| (field.write)(to, &tick));
        Ok(tick.origin)
    }
}
