//! Every accepted tick: what normalization adds to the facts of the raw log.

use service::writer::tables::MARKET_TICKS;

use super::comparison::{Basis, Comparison};
use crate::verify::canonical::{FLAGS, Field, OfTick, SourceText, columns, field, time};

pub(super) static COMPARISON: Comparison = Comparison {
    table: &MARKET_TICKS,
    basis: Basis::Tick(SourceText {
        columns: || columns(&REMARKS),
        append: |wire, payload, to| {
            let tick = wire.decode_tick(payload)?;
            REMARKS.iter().for_each(|field| (field.write)(to, &tick));
            Ok(tick.origin)
        },
    }),
};

static REMARKS: [Field<OfTick>; 2] = [
    FLAGS,
    field(time("normalized_at"), |to, tick| to.value(tick.normalized_at)),
];
