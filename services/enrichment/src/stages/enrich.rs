//! Tick → tick with reference data.
//!
//! Role: decodes the borrowed tick, finds its row or a guess in memory, appends the enrichment to the tick's own bytes.
//! Invariants: one output per tick, with the same key and the same partition number (INV-4), in input order (INV-7).
//! Reference data changes with time; it never decides whether a tick exists or where it goes (INV-1).
//! Failure: a message that is not a tick becomes a dead letter.

use codec::{Record, Wire};
use domain::{Classification, Classified, Enrichment, ErrorClass, Micros, RowRanges, Tick};
use stream::hop::{Rejected, Stage, StageOutput, Verdict};
use stream::status::wall_clock;
use stream::{Message, StreamError};

use crate::core::taxonomy::{self, Subject};
use crate::lookup::{Found, View};
use crate::metrics::Meters;

/// Name in metrics and dead letters.
pub const NAME: &str = "enrich";
/// Codes of this stage's dead letters.
pub const DEAD_LETTER_CODES: &[&str] = &[
    "missing_payload",
    "truncated",
    "unknown_schema",
    "invalid_utf8",
    "invalid_value",
    stream::hop::Rejected::OVERSIZE,
];

/// The stage of one worker.
pub struct Enrich {
    wire: Wire,
    view: View,
    threshold_percent: i32,
    meters: Meters,
    /// The next tick is the first of a batch.
    begins_batch: bool,
}

impl Enrich {
    /// `threshold_percent`: confidence below it is flagged as low.
    pub fn new(wire: Wire, view: View, threshold_percent: i32) -> Enrich {
        Enrich {
            wire,
            view,
            threshold_percent,
            meters: Meters::new(),
            begins_batch: true,
        }
    }

    /// Processes one record of the normalized topic.
    fn record(
        &mut self,
        partition: i32,
        key: &[u8],
        payload: Option<&[u8]>,
        out: &mut StageOutput<'_>,
    ) -> Result<Verdict, StreamError> {
        if std::mem::take(&mut self.begins_batch) {
            // In a quiet market the last turn may be a while ago.
            self.view.refresh();
        }
        let Some(payload) = payload else {
            let reason = "the message has no value; a tick has one".to_owned();
            return Ok(refused("missing_payload", reason));
        };
        let payload = self.wire.current(Record::Tick, payload);
        let (tick, datum) = match self.wire.split_tick(&payload) {
            Ok(split) => split,
            Err(error) if error.class() == ErrorClass::Poison => return Ok(refused(error.code(), error.to_string())),
            Err(error) => {
                let reason = format!("read a normalized tick: {error}");
                return Err(StreamError::transient(error.code(), reason));
            }
        };
        let enrichment = enrich(&mut self.view, &tick, self.threshold_percent, wall_clock());
        let (method, low) = (enrichment.method, enrichment.low_confidence);
        let Ok(()) = out.push(partition, &[key], |bytes| {
            self.wire.encode_enrichment(datum, &enrichment, bytes);
            Ok::<(), std::convert::Infallible>(())
        });
        self.meters.tick(method, low, tick.appended_at);
        Ok(Verdict::Done)
    }
}

impl Stage for Enrich {
    fn name(&self) -> &'static str {
        NAME
    }

    fn process(&mut self, message: &Message<'_>, out: &mut StageOutput<'_>) -> Result<Verdict, StreamError> {
        self.record(message.partition, message.key.unwrap_or_default(), message.payload, out)
    }

    fn turn(&mut self) -> Result<(), StreamError> {
        self.view.refresh();
        self.begins_batch = true;
        self.meters.flush(wall_clock());
        Ok(())
    }
}

/// The enrichment of one tick from the view.
pub fn enrich<'v>(view: &'v mut View, tick: &Tick<'_>, threshold_percent: i32, now: Micros) -> Enrichment<'v> {
    let subject = Subject::of(tick);
    enrich_subject(
        view.find(tick.tenant_id, &subject, now),
        &subject,
        threshold_percent,
        now,
    )
}

/// The enrichment of a subject from its row or guess.
pub fn enrich_subject<'v>(
    found: Found<'v>,
    subject: &Subject<'_>,
    threshold_percent: i32,
    now: Micros,
) -> Enrichment<'v> {
    let mut enrichment = match found {
        Found::Row(row) => Enrichment {
            commodity: &row.commodity,
            region: &row.region,
            product_tier: &row.product_tier,
            unit: row.unit.as_deref(),
            contract_size: row.contract_size,
            tick_size: row.tick_size,
            curve_id: row.curve_id.as_deref(),
            curve_definition: row.curve_definition.as_deref(),
            confidence_percent: taxonomy::DATABASE_CONFIDENCE,
            method: Classification::Database,
            low_confidence: false,
            enriched_at: now,
        },
        Found::Guess(names) => Enrichment {
            commodity: &names.commodity,
            region: &names.region,
            product_tier: &names.product_tier,
            unit: None,
            contract_size: None,
            tick_size: None,
            curve_id: names.curve_id.as_deref(),
            curve_definition: names.curve_definition.as_deref(),
            confidence_percent: if names.is_known() {
                taxonomy::rule_confidence(subject)
            } else {
                taxonomy::FALLBACK_CONFIDENCE
            },
            method: if names.is_known() {
                Classification::RuleBased
            } else {
                Classification::Fallback
            },
            low_confidence: false,
            enriched_at: now,
        },
    };
    enrichment.low_confidence = enrichment.confidence_percent < threshold_percent;
    enrichment
}

fn refused(code: &'static str, message: String) -> Verdict {
    Verdict::DeadLetter(Rejected {
        code,
        message,
        rows: RowRanges::default(),
        reasons: Vec::new(),
        // A message that cannot be decoded has no correlation id.
        correlation_id: String::new(),
        tenant: String::new(),
        attempts: 1,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::core::taxonomy::RuleBook;
    use crate::lookup::{Directory, Reference, Snapshot};
    use domain::Origin;
    use std::sync::Arc;

    fn tick<'a>(instrument_id: &'a str, market: &'a str, node: Option<&'a str>) -> Tick<'a> {
        Tick {
            origin: Origin {
                feed: "raw",
                partition: 1,
                offset: 2,
                index: 3,
            },
            appended_at: 10,
            instrument_id,
            market,
            event_time: 5,
            price: "1.25".parse().unwrap(),
            node,
            normalized_at: 11,
            ..domain::fixtures::tick()
        }
    }

    fn row() -> Reference {
        Reference {
            tenant_id: "t".into(),
            instrument_id: "NG_HH_M1".into(),
            commodity: "natural_gas".into(),
            region: "southeast".into(),
            product_tier: "standard".into(),
            unit: Some("MMBtu".into()),
            contract_size: Some("10000".parse().unwrap()),
            tick_size: Some("0.001".parse().unwrap()),
            curve_id: Some("NG".into()),
            curve_definition: None,
        }
    }

    fn directory() -> Arc<Directory> {
        let (misses, _) = tokio::sync::mpsc::channel(4);
        Arc::new(Directory::new(misses))
    }

    fn load(directory: &Directory) {
        directory.publish(|_| Snapshot::loaded(vec![row()], RuleBook::default(), 1));
    }

    fn view() -> View {
        let directory = directory();
        load(&directory);
        View::new(directory)
    }

    fn enriched(tick: &Tick<'_>) -> (i32, Classification, bool, String, Option<String>) {
        let mut view = view();
        let e = enrich(&mut view, tick, 80, 99);
        assert_eq!(e.enriched_at, 99);
        (
            e.confidence_percent,
            e.method,
            e.low_confidence,
            e.commodity.to_owned(),
            e.unit.map(str::to_owned),
        )
    }

    #[test]
    fn a_row_has_precedence_over_rules_and_rules_over_the_fallback() {
        assert_eq!(
            enriched(&tick("NG_HH_M1", "NYMEX", None)),
            (
                95,
                Classification::Database,
                false,
                "natural_gas".into(),
                Some("MMBtu".into())
            )
        );
        assert_eq!(
            enriched(&tick("MISO.X.RT5", "MISO", Some("X"))),
            (80, Classification::RuleBased, false, "electricity".into(), None)
        );
        assert_eq!(
            enriched(&tick("NG_X", "NYMEX", None)),
            (50, Classification::RuleBased, true, "natural_gas".into(), None)
        );
        assert_eq!(
            enriched(&tick("ABC", "NYMEX", None)),
            (10, Classification::Fallback, true, "unknown".into(), None)
        );
    }

    type Outputs = Vec<(i32, Vec<u8>, Vec<u8>)>;

    fn process(payload: &[u8]) -> (Verdict, Outputs) {
        let mut stage = Enrich::new(Wire::single_object(), view(), 80);
        let mut out = StageOutput::default();
        let verdict = stage.record(3, b"t|NG_HH_M1", Some(payload), &mut out).unwrap();
        (
            verdict,
            out.iter()
                .map(|(partition, key, value)| (partition, key.to_vec(), value.to_vec()))
                .collect(),
        )
    }

    #[test]
    fn the_output_is_the_tick_with_its_row_under_the_same_key_and_partition() {
        let wire = Wire::single_object();
        let tick = tick("NG_HH_M1", "NYMEX", None);
        let mut payload = Vec::new();
        wire.encode_tick(&tick, &mut payload);
        let (verdict, outputs) = process(&payload);
        assert_eq!(verdict, Verdict::Done);
        let [(partition, key, value)] = outputs.as_slice() else {
            unreachable!("one output")
        };
        assert_eq!((*partition, key.as_slice()), (3, &b"t|NG_HH_M1"[..]));
        let decoded = wire.decode_enriched(value).unwrap();
        assert_eq!(decoded.tick, tick);
        assert_eq!(decoded.enrichment.curve_id, Some("NG"));
    }

    /// Regression: after a pause the first batch used the rows of the last turn.
    #[test]
    fn rows_loaded_between_two_batches_are_used_from_the_first_tick_on() {
        let (wire, directory) = (Wire::single_object(), directory());
        let mut stage = Enrich::new(wire.clone(), View::new(Arc::clone(&directory)), 80);
        let mut payload = Vec::new();
        wire.encode_tick(&tick("NG_HH_M1", "NYMEX", None), &mut payload);
        stage.turn().unwrap();
        load(&directory);
        let mut out = StageOutput::default();
        stage.record(3, b"t|NG_HH_M1", Some(&payload), &mut out).unwrap();
        let (_, _, value) = out.iter().next().unwrap();
        assert_eq!(wire.decode_enriched(value).unwrap().enrichment.curve_id, Some("NG"));
    }

    #[test]
    fn a_message_that_is_not_a_tick_is_dead_lettered_with_a_declared_code() {
        let mut payload = Vec::new();
        Wire::single_object().encode_tick(&tick("X", "Y", None), &mut payload);
        for bytes in [
            &b""[..],
            b"{}",
            &payload[..payload.len() - 1],
            &[0xC3, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            let (verdict, outputs) = process(bytes);
            let Verdict::DeadLetter(rejected) = verdict else {
                unreachable!("{bytes:?} was accepted")
            };
            assert!(DEAD_LETTER_CODES.contains(&rejected.code), "{}", rejected.code);
            assert!(outputs.is_empty());
        }
    }
}
