//! The codec against the reference implementation, byte for byte, and against arbitrary bytes.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::borrow::Cow;

use apache_avro::Schema;
use apache_avro::rabin::Rabin;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use codec::{Record, Wire};
use domain::{
    Bar, BarCause, BarVersion, Classification, Classified, CurveInput, CurvePoint, CurveSnapshot, Decimal,
    DerivedCause, DerivedLeg, DerivedPrice, EnrichedTick, EnrichedTickOf, Enrichment, EnrichmentOf, Interval, Kind,
    LateTick, LegPlace, LegPrice, LegPurpose, Origin, QualityFlags, Tick, TickOf, TimeWeighted, Turnover, Window,
};
use proptest::prelude::*;
use serde_json::Value as Json;

fn schema(record: Record) -> Schema {
    Schema::parse_str(record.schema_text()).unwrap()
}

/// All fields of a tick, owned, so that proptest can generate them.
#[derive(Debug, Clone)]
struct Parts {
    texts: Vec<String>,
    options: Vec<Option<String>>,
    decimals: Vec<Option<i64>>,
    numbers: Vec<i64>,
    small: (i32, i32),
    flags: u32,
    interval: bool,
    sequence: Option<i64>,
}

fn parts() -> impl Strategy<Value = Parts> {
    let decimal = -999_999_999_999_999_999i64..=999_999_999_999_999_999;
    (
        proptest::collection::vec(".{0,12}", 10),
        proptest::collection::vec(proptest::option::of(".{0,8}"), 9),
        proptest::collection::vec(proptest::option::of(decimal), 10),
        proptest::collection::vec(any::<i64>(), 8),
        any::<(i32, i32)>(),
        0u32..1 << domain::QualityFlag::ALL.len(),
        any::<bool>(),
        any::<Option<i64>>(),
    )
        .prop_map(
            |(texts, options, decimals, numbers, small, flags, interval, sequence)| Parts {
                texts,
                options,
                decimals,
                numbers,
                small,
                flags,
                interval,
                sequence,
            },
        )
}

impl Parts {
    fn option(&self, index: usize) -> Option<&str> {
        self.options[index].as_deref()
    }

    fn decimal(&self, index: usize) -> Option<Decimal> {
        self.decimals[index].map(|unscaled| Decimal::from_unscaled(unscaled).unwrap())
    }

    fn origin(&self) -> Origin<'_> {
        Origin {
            feed: &self.texts[0],
            partition: self.small.0,
            offset: self.numbers[0],
            index: self.small.1,
        }
    }

    fn tick(&self) -> Tick<'_> {
        Tick {
            origin: self.origin(),
            appended_at: self.numbers[1],
            source_event_id: &self.texts[1],
            correlation_id: &self.texts[2],
            causation_id: self.option(0),
            tenant_id: &self.texts[3],
            instrument_id: &self.texts[4],
            symbol: self.option(1),
            market: &self.texts[5],
            kind: if self.interval { Kind::Interval } else { Kind::Trade },
            event_time: self.numbers[2],
            interval_end: self.sequence,
            price: self.decimal(0).unwrap_or_default(),
            volume: self.decimal(1),
            bid: self.decimal(2),
            ask: self.decimal(3),
            energy: self.decimal(4),
            congestion: self.decimal(5),
            loss: self.decimal(6),
            ghg: self.decimal(7),
            currency: &self.texts[6],
            unit: &self.texts[7],
            node: self.option(2),
            zone: self.option(3),
            hub: self.option(4),
            market_status: self.option(5),
            product: &self.texts[8],
            version: self.option(6),
            source_system: &self.texts[9],
            sequence: self.sequence,
            quality_flags: QualityFlags::from_bits(self.flags).unwrap(),
            normalized_at: self.numbers[3],
        }
    }

    fn enriched(&self) -> EnrichedTick<'_> {
        EnrichedTick {
            tick: self.tick(),
            enrichment: Enrichment {
                commodity: &self.texts[6],
                region: &self.texts[7],
                product_tier: &self.texts[8],
                unit: self.option(7),
                contract_size: self.decimal(8),
                tick_size: self.decimal(9),
                curve_id: self.option(8),
                curve_definition: self.option(6),
                confidence_percent: self.small.0,
                method: Classification::RuleBased,
                low_confidence: self.interval,
                enriched_at: self.numbers[4],
            },
        }
    }

    fn bar(&self) -> Bar<'_> {
        Bar {
            tenant_id: &self.texts[3],
            instrument_id: &self.texts[4],
            market: &self.texts[5],
            window: Window {
                interval: Interval::OneHour,
                start: self.numbers[1],
            },
            open: self.decimal(0).unwrap_or_default(),
            high: self.decimal(1).unwrap_or_default(),
            low: self.decimal(2).unwrap_or_default(),
            close: self.decimal(3).unwrap_or_default(),
            volume: i128::from(self.numbers[2]) * 1000,
            turnover: Turnover(i128::from(self.numbers[3]) * i128::from(self.numbers[4])),
            vwap: self.decimal(4),
            time_weighted: TimeWeighted {
                price_seconds: i128::from(self.numbers[3]) * 300,
                seconds: self.numbers[2],
            },
            trade_count: self.numbers[5],
            open_time: self.numbers[6],
            open_sequence: self.sequence,
            first_origin: self.origin(),
            close_time: self.numbers[7],
            close_sequence: self.sequence.map(|sequence| !sequence),
            last_origin: self.origin(),
            revision: self.small.1,
            cause: BarCause::ALL
                .get(self.flags as usize % (BarCause::ALL.len() + 1))
                .copied(),
            version: BarVersion {
                last_offset: self.numbers[0],
                closed: self.interval,
            },
            last_appended_at: self.numbers[1],
        }
    }

    fn late(&self) -> LateTick<'_> {
        LateTick {
            origin: self.origin(),
            tenant_id: &self.texts[3],
            instrument_id: &self.texts[4],
            event_time: self.numbers[1],
            price: self.decimal(0).unwrap_or_default(),
            volume: self.decimal(1),
            missed_intervals: (self.flags % 32) as u8,
            closed_intervals: (self.flags / 32 % 32) as u8,
            is_close: self.flags / 1024 % 2 == 1,
            watermark: self.numbers[2],
            enriched_offset: self.numbers[3],
        }
    }
}

impl Parts {
    fn leg(&self) -> LegPrice<'_> {
        let place = LegPlace {
            purpose: LegPurpose::ALL[self.flags as usize % LegPurpose::ALL.len()],
            series: &self.texts[0],
            role: &self.texts[1],
            definition: self.option(8),
            unit: &self.texts[2],
            log_clock: self.numbers[3],
            enriched_partition: self.small.0,
            enriched_offset: self.numbers[4],
            index: self.small.1,
        };
        LegPrice {
            appended_at: (self.flags.is_multiple_of(2)).then_some(self.numbers[1]),
            ..LegPrice::of(&self.tick(), place)
        }
    }

    fn derived(&self) -> DerivedPrice<'_> {
        let leg = |index: usize| DerivedLeg {
            role: &self.texts[index],
            instrument_id: &self.texts[index + 1],
            price: self.decimal(index).unwrap_or_default(),
            event_time: self.numbers[index],
            age: self.numbers[index + 1],
            origin: self.origin(),
        };
        DerivedPrice {
            tenant_id: &self.texts[3],
            series: &self.texts[4],
            kind: &self.texts[5],
            event_time: self.numbers[5],
            value: self.decimal(4),
            unit: &self.texts[6],
            legs: (0..self.flags as usize % 4).map(leg).collect(),
            log_clock: self.numbers[6],
            version: self.numbers[7],
            revision: self.small.0,
            cause: DerivedCause::ALL[self.flags as usize % DerivedCause::ALL.len()],
            cause_origin: self.origin(),
        }
    }
}

/// A tick with the bytes of its texts, in whichever form it was read. Every field is named, so none is left out of a comparison.
fn tick_bytes<'t, T: AsRef<[u8]>>(tick: &'t TickOf<'t, T>) -> TickOf<'t, &'t [u8]> {
    let optional = |text: &'t Option<T>| text.as_ref().map(AsRef::as_ref);
    TickOf {
        origin: tick.origin,
        appended_at: tick.appended_at,
        source_event_id: tick.source_event_id.as_ref(),
        correlation_id: tick.correlation_id.as_ref(),
        causation_id: optional(&tick.causation_id),
        tenant_id: tick.tenant_id.as_ref(),
        instrument_id: tick.instrument_id.as_ref(),
        symbol: optional(&tick.symbol),
        market: tick.market.as_ref(),
        kind: tick.kind,
        event_time: tick.event_time,
        interval_end: tick.interval_end,
        price: tick.price,
        volume: tick.volume,
        bid: tick.bid,
        ask: tick.ask,
        energy: tick.energy,
        congestion: tick.congestion,
        loss: tick.loss,
        ghg: tick.ghg,
        currency: tick.currency.as_ref(),
        unit: tick.unit.as_ref(),
        node: optional(&tick.node),
        zone: optional(&tick.zone),
        hub: optional(&tick.hub),
        market_status: optional(&tick.market_status),
        product: tick.product.as_ref(),
        version: optional(&tick.version),
        source_system: tick.source_system.as_ref(),
        sequence: tick.sequence,
        quality_flags: tick.quality_flags,
        normalized_at: tick.normalized_at,
    }
}

fn enriched_bytes<'t, T: AsRef<[u8]>>(enriched: &'t EnrichedTickOf<'t, T>) -> EnrichedTickOf<'t, &'t [u8]> {
    let of = &enriched.enrichment;
    let optional = |text: &'t Option<T>| text.as_ref().map(AsRef::as_ref);
    EnrichedTickOf {
        tick: tick_bytes(&enriched.tick),
        enrichment: EnrichmentOf {
            commodity: of.commodity.as_ref(),
            region: of.region.as_ref(),
            product_tier: of.product_tier.as_ref(),
            unit: optional(&of.unit),
            contract_size: of.contract_size,
            tick_size: of.tick_size,
            curve_id: optional(&of.curve_id),
            curve_definition: optional(&of.curve_definition),
            confidence_percent: of.confidence_percent,
            method: of.method,
            low_confidence: of.low_confidence,
            enriched_at: of.enriched_at,
        },
    }
}

/// Both ways of reading give the same tick, or refuse it with the same error.
fn agrees_with_the_view(wire: &Wire, framed: &[u8]) -> Result<(), TestCaseError> {
    let (whole, view) = (wire.decode_tick(framed), wire.view_tick(framed));
    prop_assert_eq!(whole.as_ref().map(tick_bytes), view.as_ref().map(tick_bytes));
    let (whole, view) = (wire.decode_enriched(framed), wire.view_enriched(framed));
    prop_assert_eq!(whole.as_ref().map(enriched_bytes), view.as_ref().map(enriched_bytes));
    Ok(())
}

impl Parts {
    /// A double of any bits.
    fn double(&self, index: usize) -> f64 {
        // The reference compares values, and a NaN equals none.
        let any = f64::from_bits(self.numbers[index] as u64);
        if any.is_nan() { 0.5 } else { any }
    }

    fn curve(&self) -> CurveSnapshot<'_> {
        let texts = |count: usize| self.texts.iter().take(count).map(String::as_str).collect();
        let point = |index: usize| CurvePoint {
            contract: &self.texts[index],
            block: &self.texts[index + 1],
            delivery_start: &self.texts[index + 2],
            delivery_end: &self.texts[index + 3],
            price: self.double(index),
            volume: self.sequence.map(|_| self.double(index + 1)),
            confidence: self.double(index + 2),
            method: &self.texts[index + 4],
            extrapolated: self.interval,
            sources: texts(index),
        };
        let input = |index: usize| CurveInput {
            contract: &self.texts[index],
            block: &self.texts[index + 1],
            price: self.double(index),
            curve_price: self.decimals[index].map(|_| self.double(index + 1)),
            residual: self.decimals[index + 1].map(|_| self.double(index + 2)),
            state: &self.texts[index + 2],
            implied_by: texts(3 - index),
            source: &self.texts[index + 3],
            known_at: self.numbers[index],
        };
        CurveSnapshot {
            origin: self.origin(),
            tenant_id: &self.texts[3],
            curve_id: &self.texts[4],
            market: &self.texts[5],
            horizon: &self.texts[6],
            as_of: self.numbers[5],
            day: self.small.0,
            method: &self.texts[7],
            definition: &self.texts[8],
            log_clock: self.numbers[7],
            version: self.numbers[6],
            revision: self.small.1,
            cause: DerivedCause::ALL[self.flags as usize % DerivedCause::ALL.len()],
            points: (0..self.flags as usize % 4).map(point).collect(),
            inputs: (0..self.flags as usize / 4 % 4).map(input).collect(),
        }
    }
}

/// The reference reads the codec's bytes, and writes the same bytes again.
fn agrees(record: Record, framed: &[u8]) -> Value {
    let schema = schema(record);
    let mut datum = &framed[10..];
    let reader = GenericDatumReader::builder(&schema).build().unwrap();
    let value = reader.read_value(&mut datum).unwrap();
    assert!(datum.is_empty(), "the reference left {} bytes", datum.len());
    let writer = GenericDatumWriter::builder(&schema).build().unwrap();
    assert_eq!(writer.write_value_to_vec(value.clone()).unwrap(), &framed[10..]);
    value
}

fn field<'v>(value: &'v Value, name: &str) -> &'v Value {
    let Value::Record(fields) = value else {
        panic!("not a record: {value:?}")
    };
    &fields
        .iter()
        .find(|(field, _)| field == name)
        .unwrap_or_else(|| panic!("no field {name}"))
        .1
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn ticks_agree_with_the_reference_byte_for_byte(parts in parts()) {
        let (wire, mut bytes) = (Wire::single_object(), Vec::new());
        wire.encode_tick(&parts.tick(), &mut bytes);
        prop_assert_eq!(wire.decode_tick(&bytes).unwrap(), parts.tick());
        let value = agrees(Record::Tick, &bytes);
        // Compared by name through the reference, so that swapped fields are noticed.
        prop_assert_eq!(field(&value, "instrument_id"), &Value::String(parts.texts[4].clone()));
        prop_assert_eq!(field(&value, "event_time"), &Value::TimestampMicros(parts.numbers[2]));
        let Value::Decimal(price) = field(&value, "price") else { panic!("price is not a decimal") };
        let unscaled: Vec<u8> = Vec::<u8>::try_from(price).unwrap();
        prop_assert_eq!(unscaled, parts.tick().price.unscaled().to_be_bytes().to_vec());
    }

    #[test]
    fn enriched_ticks_agree_with_the_reference_and_keep_the_bytes_of_the_tick(parts in parts()) {
        let (wire, mut whole, mut tick, mut appended) = (Wire::single_object(), Vec::new(), Vec::new(), Vec::new());
        wire.encode_enriched(&parts.enriched(), &mut whole);
        prop_assert_eq!(wire.decode_enriched(&whole).unwrap(), parts.enriched());
        agrees(Record::EnrichedTick, &whole);
        wire.encode_tick(&parts.tick(), &mut tick);
        let (_, datum) = wire.split_tick(&tick).unwrap();
        wire.encode_enrichment(datum, &parts.enriched().enrichment, &mut appended);
        prop_assert_eq!(appended, whole);
    }

    /// The ClickHouse writers read the view: what others refuse must be a dead letter there too, with the same code and reason.
    #[test]
    fn the_view_is_the_whole_record_and_refuses_what_it_refuses(
        parts in parts(),
        cut in any::<prop::sample::Index>(),
        flips in proptest::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4),
        inserted in any::<(prop::sample::Index, u8)>(),
    ) {
        let (wire, mut tick, mut enriched) = (Wire::single_object(), Vec::new(), Vec::new());
        wire.encode_tick(&parts.tick(), &mut tick);
        wire.encode_enriched(&parts.enriched(), &mut enriched);
        prop_assert!(wire.view_tick(&tick).is_ok() && wire.view_enriched(&enriched).is_ok());
        for framed in [tick, enriched] {
            agrees_with_the_view(&wire, &framed)?;
            agrees_with_the_view(&wire, &framed[..cut.index(framed.len())])?;
            let mut changed = framed.clone();
            for (at, flip) in &flips {
                let at = at.index(changed.len());
                changed[at] ^= flip;
                agrees_with_the_view(&wire, &changed)?;
            }
            // One byte more anywhere moves all fields after it.
            let mut moved = framed.clone();
            moved.insert(inserted.0.index(moved.len()), inserted.1);
            agrees_with_the_view(&wire, &moved)?;
        }
    }

    #[test]
    fn bars_and_late_ticks_agree_with_the_reference(parts in parts()) {
        let (wire, mut bar, mut late) = (Wire::single_object(), Vec::new(), Vec::new());
        wire.encode_bar(&parts.bar(), &mut bar);
        prop_assert_eq!(wire.decode_bar(&bar).unwrap(), parts.bar());
        agrees(Record::Bar, &bar);
        wire.encode_late(&parts.late(), &mut late);
        prop_assert_eq!(wire.decode_late(&late).unwrap(), parts.late());
        agrees(Record::LateTick, &late);
    }

    #[test]
    fn legs_and_derived_prices_agree_with_the_reference(parts in parts()) {
        let (wire, mut leg, mut derived) = (Wire::single_object(), Vec::new(), Vec::new());
        wire.encode_leg(&parts.leg(), &mut leg);
        prop_assert_eq!(wire.decode_leg(&leg).unwrap(), parts.leg());
        let value = agrees(Record::LegPrice, &leg);
        prop_assert_eq!(field(&value, "role"), &Value::String(parts.texts[1].clone()));
        prop_assert_eq!(field(&value, "enriched_offset"), &Value::Long(parts.numbers[4]));
        wire.encode_derived(&parts.derived(), &mut derived);
        prop_assert_eq!(wire.decode_derived(&derived).unwrap(), parts.derived());
        let value = agrees(Record::DerivedPrice, &derived);
        prop_assert_eq!(field(&value, "series"), &Value::String(parts.texts[4].clone()));
    }

    #[test]
    fn snapshots_of_curves_agree_with_the_reference(parts in parts()) {
        let (wire, mut bytes) = (Wire::single_object(), Vec::new());
        wire.encode_curve(&parts.curve(), &mut bytes);
        prop_assert_eq!(wire.decode_curve(&bytes).unwrap(), parts.curve());
        let value = agrees(Record::CurveSnapshot, &bytes);
        prop_assert_eq!(field(&value, "curve_id"), &Value::String(parts.texts[4].clone()));
        prop_assert_eq!(field(&value, "definition"), &Value::String(parts.texts[8].clone()));
        prop_assert_eq!(field(&value, "day"), &Value::Date(parts.small.0));
        prop_assert_eq!(field(&value, "version"), &Value::Long(parts.numbers[6]));
    }

    #[test]
    fn truncated_and_changed_bytes_are_errors_or_values_but_never_a_panic(parts in parts(), cut in any::<prop::sample::Index>(), flip in any::<(prop::sample::Index, u8)>()) {
        let (wire, mut bytes) = (Wire::single_object(), Vec::new());
        wire.encode_enriched(&parts.enriched(), &mut bytes);
        let cut = cut.index(bytes.len());
        prop_assert!(wire.decode_enriched(&bytes[..cut]).is_err());
        let at = flip.0.index(bytes.len());
        bytes[at] ^= flip.1;
        let _ = wire.decode_enriched(&bytes);
    }

    #[test]
    fn arbitrary_bytes_never_panic(datum in proptest::collection::vec(any::<u8>(), 0..200)) {
        let wire = Wire::single_object();
        for record in Record::ALL {
            let framed = [&codec::framing::single_object_header(record.fingerprint())[..], &datum].concat();
            let _ = codec::json::describe(&wire, &framed);
        }
        let _ = codec::json::describe(&wire, &datum);
    }

    /// A realistic older version: the schema before two fields, one of them inside the tick, were added.
    #[test]
    fn records_of_an_older_version_decode_as_they_were_written(parts in parts()) {
        let older_text = without(without(serde_json::from_str(Record::EnrichedTick.schema_text()).unwrap(), "curve_id"), "ghg").to_string();
        let (old, current) = (Schema::parse_str(&older_text).unwrap(), schema(Record::EnrichedTick));
        let (wire, mut now) = (Wire::single_object(), Vec::new());
        wire.encode_enriched(&parts.enriched(), &mut now);
        // Written by the reference alone, from the values of the current record.
        let reader = GenericDatumReader::builder(&current).build().unwrap();
        let value = dropped(dropped(reader.read_value(&mut &now[10..]).unwrap(), "curve_id"), "ghg");
        let datum = GenericDatumWriter::builder(&old).build().unwrap().write_value_to_vec(value).unwrap();
        let fingerprint: [u8; 8] = old.fingerprint::<Rabin>().bytes.try_into().unwrap();
        let framed = [&[0xC3, 0x01][..], &fingerprint, &datum].concat();

        let mut expected = parts.enriched();
        (expected.tick.ghg, expected.enrichment.curve_id) = (None, None);
        let knowing = wire.also_reading(&older_text).unwrap();
        let rewritten = knowing.current(Record::EnrichedTick, &framed);
        prop_assert_eq!(knowing.decode_enriched(&rewritten), Ok(expected));
        // A current record is not copied.
        prop_assert!(matches!(knowing.current(Record::EnrichedTick, &now), Cow::Borrowed(_)));
        // Cut short, and unknown: each is an error with its own code.
        let cut = &framed[..framed.len() - 1];
        prop_assert_eq!(knowing.decode_enriched(&knowing.current(Record::EnrichedTick, cut)).unwrap_err().code(), "invalid_value");
        prop_assert_eq!(wire.decode_enriched(&wire.current(Record::EnrichedTick, &framed)).unwrap_err().code(), "unknown_schema");
    }
}

/// The schema without one field, at any depth.
fn without(schema: Json, field: &str) -> Json {
    match schema {
        Json::Object(object) => object
            .into_iter()
            .map(|(key, value)| (key, without(value, field)))
            .collect(),
        Json::Array(items) => items
            .into_iter()
            .filter(|item| !(item["name"] == field && item.get("type").is_some()))
            .map(|item| without(item, field))
            .collect(),
        other => other,
    }
}

/// The value without that field.
fn dropped(value: Value, name: &str) -> Value {
    let Value::Record(fields) = value else {
        return value;
    };
    let kept = fields.into_iter().filter(|(field, _)| field != name);
    Value::Record(kept.map(|(field, value)| (field, dropped(value, name))).collect())
}
