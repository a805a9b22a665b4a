//! Records with their frames, as services write them to topics and read them.
//!
//! `decode_*` reads the current schemas and borrows from the message. A record of another version must be rewritten first, so
//! a reader calls [`Wire::current`] before: `wire.decode_tick(&wire.current(Record::Tick, payload))`. For a current record
//! that costs one comparison.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use domain::{Bar, CurveSnapshot, DerivedPrice, EnrichedTick, Enrichment, LateTick, LegPrice, Tick};

use crate::framing::{self, SchemaRef};
use crate::lookups::{Lookups, Version};
use crate::older::{self, Older};
use crate::reader::Reader;
use crate::registry::RegistryClient;
use crate::schemas::Record;
use crate::state::{SequencerState, WindowRecord};
use crate::{CodecError, RawTick, bar, curve, derived, enriched, late, leg, raw_tick, tick};

/// Writes and reads framed records. Cheap to clone; created once per process.
#[derive(Debug, Clone)]
pub struct Wire {
    inner: Arc<Inner>,
}

#[derive(Debug, Clone)]
struct Inner {
    headers: BTreeMap<Record, Vec<u8>>,
    /// Registry ids of the current schemas.
    ids: BTreeMap<u32, Record>,
    /// Versions that are read, but no longer written.
    older: Vec<Arc<Older>>,
    lookups: Option<Lookups>,
}

impl Wire {
    /// Single-object encoding: schemas are resolved from `schemas/avro` alone.
    pub fn single_object() -> Wire {
        let headers = Record::ALL
            .into_iter()
            .map(|r| (r, framing::single_object_header(r.fingerprint())))
            .collect();
        Wire::new(headers, BTreeMap::new(), None)
    }

    /// The registry's wire format: registers the pipeline's schemas and keeps their ids. Ids of other programs are looked up on
    /// the runtime that calls this.
    pub async fn with_registry(client: &RegistryClient) -> Result<Wire, CodecError> {
        let (mut headers, mut ids) = (BTreeMap::new(), BTreeMap::new());
        for record in Record::ALL {
            let id = client.register(record.name(), record.schema_text()).await?;
            headers.insert(record, framing::registry_header(id));
            ids.insert(id, record);
        }
        Ok(Wire::new(headers, ids, Some(Lookups::new(client.clone()))))
    }

    fn new(headers: BTreeMap<Record, Vec<u8>>, ids: BTreeMap<u32, Record>, lookups: Option<Lookups>) -> Wire {
        // The tests catch a file that cannot be read with the current schema: it is part of the program.
        let older = older::FILES
            .iter()
            .filter_map(|(_, text)| Older::new(text).ok().map(Arc::new))
            .collect();
        Wire {
            inner: Arc::new(Inner {
                headers,
                ids,
                older,
                lookups,
            }),
        }
    }

    /// The same, but reads one more version of a schema than those of `schemas/avro/old/`.
    ///
    /// # Errors
    /// [`CodecError::UnknownSchema`]: see [`Older::new`].
    pub fn also_reading(&self, schema: &str) -> Result<Wire, CodecError> {
        let mut inner = Inner::clone(&self.inner);
        inner.older.push(Arc::new(Older::new(schema)?));
        Ok(Wire { inner: Arc::new(inner) })
    }

    /// The bytes with the current schema: unchanged if they already have it, else rewritten. Bytes that cannot be rewritten
    /// are returned unchanged, so that the `decode_*` call after this returns the error.
    #[inline]
    pub fn current<'a>(&self, expected: Record, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        match self.own_datum(expected, bytes) {
            Some(_) => Cow::Borrowed(bytes),
            None => self.rewritten(bytes),
        }
    }

    #[cold]
    fn rewritten<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        if framing::is_framed(bytes)
            && let Ok((schema, datum)) = framing::split(bytes)
            && let Ok(Version::Older(older)) = self.version(schema)
        {
            let mut out = Vec::with_capacity(bytes.len() + 64);
            self.begin(older.record(), &mut out);
            if older.rewrite(datum, &mut out).is_ok() {
                return Cow::Owned(out);
            }
        }
        Cow::Borrowed(bytes)
    }

    fn version(&self, schema: SchemaRef) -> Result<Version, CodecError> {
        match schema {
            SchemaRef::Fingerprint(fingerprint) => {
                if let Some(record) = Record::from_fingerprint(fingerprint) {
                    return Ok(Version::Current(record));
                }
                let older = self.inner.older.iter().find(|older| older.is_named(fingerprint));
                older.map(|older| Version::Older(Arc::clone(older))).ok_or_else(|| {
                    CodecError::UnknownSchema(format!(
                        "no schema of this build has the fingerprint {fingerprint:016x} (is it newer than this build?)"
                    ))
                })
            }
            SchemaRef::RegistryId(id) => match (self.inner.ids.get(&id), &self.inner.lookups) {
                (Some(record), _) => Ok(Version::Current(*record)),
                (None, Some(lookups)) => lookups.version(id),
                (None, None) => Err(CodecError::UnknownSchema(format!(
                    "no schema of this build has the registry id {id} (is DATA_PROC_SCHEMA_REGISTRY_URL set?)"
                ))),
            },
        }
    }

    /// The record type of the frame, in any version, and its datum.
    pub fn open<'a>(&self, bytes: &'a [u8]) -> Result<(Record, &'a [u8]), CodecError> {
        let (schema, datum) = framing::split(bytes)?;
        match self.version(schema)? {
            Version::Current(record) => Ok((record, datum)),
            Version::Older(older) => Ok((older.record(), datum)),
        }
    }

    // The common case: the header of the current schema.
    #[inline]
    fn own_datum<'a>(&self, expected: Record, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let header = self.inner.headers.get(&expected)?;
        bytes.strip_prefix(header.as_slice())
    }

    fn datum<'a>(&self, expected: Record, bytes: &'a [u8]) -> Result<&'a [u8], CodecError> {
        match self.own_datum(expected, bytes) {
            Some(datum) => Ok(datum),
            None => self.foreign_datum(expected, bytes),
        }
    }

    #[cold]
    fn foreign_datum<'a>(&self, expected: Record, bytes: &'a [u8]) -> Result<&'a [u8], CodecError> {
        let (schema, datum) = framing::split(bytes)?;
        let version = self.version(schema)?;
        let record = match &version {
            Version::Current(record) => *record,
            Version::Older(older) => older.record(),
        };
        if record != expected {
            return Err(CodecError::UnknownSchema(format!(
                "contains a record {}, expected {}",
                record.name(),
                expected.name()
            )));
        }
        match version {
            Version::Current(_) => Ok(datum),
            // Its bytes are broken, which `rewrite` reports, or the caller has not called `current`.
            Version::Older(older) => {
                older.rewrite(datum, &mut Vec::new())?;
                Err(CodecError::UnknownSchema(format!(
                    "contains an older version of {} that was not rewritten before it was read",
                    record.name()
                )))
            }
        }
    }

    fn begin(&self, record: Record, out: &mut Vec<u8>) {
        if let Some(header) = self.inner.headers.get(&record) {
            out.extend_from_slice(header);
        }
    }

    /// Appends a framed tick.
    pub fn encode_tick(&self, value: &Tick<'_>, out: &mut Vec<u8>) {
        self.begin(Record::Tick, out);
        tick::encode(value, out);
    }

    /// Reads a framed tick.
    pub fn decode_tick<'a>(&self, bytes: &'a [u8]) -> Result<Tick<'a>, CodecError> {
        let datum = self.datum(Record::Tick, bytes)?;
        let mut from = Reader::new(datum);
        let value = tick::read(&mut from)?;
        ended(datum, from.consumed())?;
        Ok(value)
    }

    /// Reads a framed tick, and also returns its datum for [`Wire::encode_enrichment`].
    pub fn split_tick<'a>(&self, bytes: &'a [u8]) -> Result<(Tick<'a>, &'a [u8]), CodecError> {
        let datum = self.datum(Record::Tick, bytes)?;
        let (value, read) = tick::decode(datum)?;
        ended(datum, read)?;
        Ok((value, datum))
    }

    /// Appends a framed enriched tick, built from the tick's datum.
    pub fn encode_enrichment(&self, tick_datum: &[u8], enrichment: &Enrichment<'_>, out: &mut Vec<u8>) {
        self.begin(Record::EnrichedTick, out);
        enriched::append_enrichment(tick_datum, enrichment, out);
    }

    /// Appends a framed enriched tick.
    pub fn encode_enriched(&self, value: &EnrichedTick<'_>, out: &mut Vec<u8>) {
        self.begin(Record::EnrichedTick, out);
        enriched::encode(value, out);
    }

    /// Reads a framed enriched tick.
    pub fn decode_enriched<'a>(&self, bytes: &'a [u8]) -> Result<EnrichedTick<'a>, CodecError> {
        read_all(self.datum(Record::EnrichedTick, bytes)?, enriched::decode)
    }

    /// Appends a framed bar.
    pub fn encode_bar(&self, value: &Bar<'_>, out: &mut Vec<u8>) {
        self.begin(Record::Bar, out);
        bar::encode(value, out);
    }

    /// Reads a framed bar.
    pub fn decode_bar<'a>(&self, bytes: &'a [u8]) -> Result<Bar<'a>, CodecError> {
        read_all(self.datum(Record::Bar, bytes)?, bar::decode)
    }

    /// Appends a framed late tick.
    pub fn encode_late(&self, value: &LateTick<'_>, out: &mut Vec<u8>) {
        self.begin(Record::LateTick, out);
        late::encode(value, out);
    }

    /// Reads a framed late tick.
    pub fn decode_late<'a>(&self, bytes: &'a [u8]) -> Result<LateTick<'a>, CodecError> {
        read_all(self.datum(Record::LateTick, bytes)?, late::decode)
    }

    /// Appends a framed leg.
    pub fn encode_leg(&self, value: &LegPrice<'_>, out: &mut Vec<u8>) {
        self.begin(Record::LegPrice, out);
        leg::encode(value, out);
    }

    /// Reads a framed leg.
    pub fn decode_leg<'a>(&self, bytes: &'a [u8]) -> Result<LegPrice<'a>, CodecError> {
        read_all(self.datum(Record::LegPrice, bytes)?, leg::decode)
    }

    /// Appends a framed derived price.
    pub fn encode_derived(&self, value: &DerivedPrice<'_>, out: &mut Vec<u8>) {
        self.begin(Record::DerivedPrice, out);
        derived::encode(value, out);
    }

    /// Reads a framed derived price.
    pub fn decode_derived<'a>(&self, bytes: &'a [u8]) -> Result<DerivedPrice<'a>, CodecError> {
        read_all(self.datum(Record::DerivedPrice, bytes)?, derived::decode)
    }

    /// Appends a framed snapshot of a curve.
    pub fn encode_curve(&self, value: &CurveSnapshot<'_>, out: &mut Vec<u8>) {
        self.begin(Record::CurveSnapshot, out);
        curve::encode(value, out);
    }

    /// Reads a framed snapshot of a curve.
    pub fn decode_curve<'a>(&self, bytes: &'a [u8]) -> Result<CurveSnapshot<'a>, CodecError> {
        read_all(self.datum(Record::CurveSnapshot, bytes)?, curve::decode)
    }

    /// Appends a framed window of the state topic.
    pub fn encode_window(&self, value: &WindowRecord<'_>, out: &mut Vec<u8>) {
        self.begin(Record::WindowState, out);
        value.encode(out);
    }

    /// Reads a framed window of the state topic.
    pub fn decode_window<'a>(&self, bytes: &'a [u8]) -> Result<WindowRecord<'a>, CodecError> {
        read_all(self.datum(Record::WindowState, bytes)?, WindowRecord::decode)
    }

    /// Appends a framed sequencer state.
    pub fn encode_sequencer(&self, value: &SequencerState, out: &mut Vec<u8>) {
        self.begin(Record::SequencerState, out);
        value.encode(out);
    }

    /// Reads a framed sequencer state.
    pub fn decode_sequencer(&self, bytes: &[u8]) -> Result<SequencerState, CodecError> {
        read_all(self.datum(Record::SequencerState, bytes)?, SequencerState::decode)
    }

    /// Appends a framed raw tick (message shape C).
    pub fn encode_raw(&self, value: &RawTick<'_>, out: &mut Vec<u8>) {
        self.begin(Record::RawMarketTick, out);
        raw_tick::encode(value, out);
    }

    /// Reads a framed raw tick (message shape C).
    pub fn decode_raw<'a>(&self, bytes: &'a [u8]) -> Result<RawTick<'a>, CodecError> {
        read_all(self.datum(Record::RawMarketTick, bytes)?, raw_tick::decode)
    }
}

fn read_all<'a, T>(
    datum: &'a [u8],
    decode: impl FnOnce(&'a [u8]) -> Result<(T, usize), CodecError>,
) -> Result<T, CodecError> {
    let (value, read) = decode(datum)?;
    ended(datum, read)?;
    Ok(value)
}

fn ended(datum: &[u8], read: usize) -> Result<(), CodecError> {
    if read == datum.len() {
        return Ok(());
    }
    Err(CodecError::InvalidValue {
        field: "end of record",
        at: read,
        why: "bytes follow the last field",
    })
}
