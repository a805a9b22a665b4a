//! Records with their frames: what services put into topics and read from them.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::{Bar, EnrichedTick, Enrichment, LateTick, Tick};

use crate::framing::{self, SchemaRef};
use crate::registry::RegistryClient;
use crate::schemas::Record;
use crate::state::{InstrumentWatermark, SequencerState};
use crate::{CodecError, RawTick, bar, enriched, late, raw_tick, tick};

/// Writes and reads framed records. Cheap to clone; made once per process.
#[derive(Debug, Clone)]
pub struct Wire {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    headers: BTreeMap<Record, Vec<u8>>,
    /// Registry ids of our current schemas.
    ids: BTreeMap<u32, Record>,
}

impl Wire {
    /// Single-object encoding, resolvable from `schemas/avro` alone.
    pub fn single_object() -> Wire {
        let headers = Record::ALL
            .into_iter()
            .map(|r| (r, framing::single_object_header(r.fingerprint())))
            .collect();
        Wire {
            inner: Arc::new(Inner {
                headers,
                ids: BTreeMap::new(),
            }),
        }
    }

    /// The registry's wire format: registers our schemas and remembers their ids.
    pub async fn with_registry(client: &RegistryClient) -> Result<Wire, CodecError> {
        let (mut headers, mut ids) = (BTreeMap::new(), BTreeMap::new());
        for record in Record::ALL {
            let id = client.register(record.name(), record.schema_text()).await?;
            headers.insert(record, framing::registry_header(id));
            ids.insert(id, record);
        }
        Ok(Wire {
            inner: Arc::new(Inner { headers, ids }),
        })
    }

    /// What record the frame holds, and its datum.
    pub fn open<'a>(&self, bytes: &'a [u8]) -> Result<(Record, &'a [u8]), CodecError> {
        let (schema, datum) = framing::split(bytes)?;
        let record = match schema {
            SchemaRef::Fingerprint(fingerprint) => Record::from_fingerprint(fingerprint),
            SchemaRef::RegistryId(id) => self.inner.ids.get(&id).copied(),
        };
        match record {
            Some(record) => Ok((record, datum)),
            None => Err(CodecError::UnknownSchema(format!(
                "no schema of this build has the {}",
                match schema {
                    SchemaRef::Fingerprint(fingerprint) => format!("fingerprint {fingerprint:016x}"),
                    SchemaRef::RegistryId(id) => format!("registry id {id} (is DATA_PROC_SCHEMA_REGISTRY_URL set?)"),
                }
            ))),
        }
    }

    fn datum<'a>(&self, expected: Record, bytes: &'a [u8]) -> Result<&'a [u8], CodecError> {
        // The common case: our own current header.
        if let Some(datum) = self
            .inner
            .headers
            .get(&expected)
            .and_then(|header| bytes.strip_prefix(header.as_slice()))
        {
            return Ok(datum);
        }
        let (record, datum) = self.open(bytes)?;
        if record == expected {
            return Ok(datum);
        }
        Err(CodecError::UnknownSchema(format!(
            "holds a record {}, expected {}",
            record.name(),
            expected.name()
        )))
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
        self.split_tick(bytes).map(|(value, _)| value)
    }

    /// Reads a framed tick, and hands out its datum for [`Wire::encode_enrichment`].
    pub fn split_tick<'a>(&self, bytes: &'a [u8]) -> Result<(Tick<'a>, &'a [u8]), CodecError> {
        let datum = self.datum(Record::Tick, bytes)?;
        let (value, read) = tick::decode(datum)?;
        ended(datum, read)?;
        Ok((value, datum))
    }

    /// Appends a framed enriched tick made of the tick's own datum.
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

    /// Appends a framed instrument watermark.
    pub fn encode_watermark(&self, value: &InstrumentWatermark, out: &mut Vec<u8>) {
        self.begin(Record::InstrumentWatermark, out);
        value.encode(out);
    }

    /// Reads a framed instrument watermark.
    pub fn decode_watermark(&self, bytes: &[u8]) -> Result<InstrumentWatermark, CodecError> {
        read_all(
            self.datum(Record::InstrumentWatermark, bytes)?,
            InstrumentWatermark::decode,
        )
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
