//! Ticks that came too late for a window in memory. The raw log does not say which they are.

use domain::{Interval, LateTick};
use service::writer::tables::LATE_TICKS;

use super::comparison::{Basis, Comparison};
use crate::verify::canonical::{Field, SourceText, Writer, columns, field, list, optional, plain, time};

pub(super) static COMPARISON: Comparison = Comparison {
    table: &LATE_TICKS,
    basis: Basis::Record(SourceText {
        columns: || columns(&LATE),
        append: |wire, payload, to| {
            let late = wire.decode_late(payload)?;
            LATE.iter().for_each(|field| (field.write)(to, &late));
            Ok(late.origin)
        },
    }),
};

type OfLate = fn(&mut Writer<'_>, &LateTick<'_>);

static LATE: [Field<OfLate>; 12] = [
    field(plain("tenant_id"), |to, late| to.value(late.tenant_id)),
    field(plain("instrument_id"), |to, late| to.value(late.instrument_id)),
    field(time("timestamp"), |to, late| to.value(late.event_time)),
    field(plain("price"), |to, late| to.value(late.price)),
    field(optional("volume"), |to, late| to.optional(late.volume)),
    field(list("intervals"), |to, late| {
        let is_missed = |interval: &Interval| late.missed_intervals & (1 << interval.index()) != 0;
        to.list(Interval::ALL.into_iter().filter(is_missed).map(Interval::name));
    }),
    field(time("watermark"), |to, late| to.value(late.watermark)),
    field(plain("enriched_offset"), |to, late| to.value(late.enriched_offset)),
    field(plain("feed"), |to, late| to.value(late.origin.feed)),
    field(plain("raw_partition"), |to, late| to.value(late.origin.partition)),
    field(plain("raw_offset"), |to, late| to.value(late.origin.offset)),
    field(plain("raw_index"), |to, late| to.value(late.origin.index)),
];
