//! Records of other schema versions: read by the reference implementation, written again with the current schema.
//!
//! Role: the slow path of [`crate::Wire::current`]. The versions come from `schemas/avro/old/` (compiled in) and from the
//! registry, if there is one. Invariant: a version whose records could be misread is refused as a whole when it is loaded.
//! Failure: [`CodecError::UnknownSchema`] names the version and why it cannot be used. A datum that does not fit its own
//! schema is [`CodecError::InvalidValue`].

use std::sync::LazyLock;

use apache_avro::Schema;
use apache_avro::rabin::Rabin;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;

use crate::canonical;
use crate::compatibility::{full_name, parse_whole, unreadable};
use crate::{CodecError, Record};

/// File name and text of every file in `schemas/avro/old/`.
pub const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/old_schemas.rs"));

/// The pipeline's record of that schema, if its name is known.
pub fn record_of(schema: &Schema) -> Option<Record> {
    let name = full_name(schema)?;
    let ours = CURRENT
        .iter()
        .find(|(_, current)| full_name(current).as_ref() == Some(&name))?;
    Some(ours.0)
}

static CURRENT: LazyLock<Vec<(Record, Schema)>> = LazyLock::new(|| {
    let parsed = Record::ALL
        .into_iter()
        .map(|record| Some((record, parse_whole(record.schema_text()).ok()?)));
    parsed.flatten().collect()
});

/// A version of a known schema other than the current one.
#[derive(Debug)]
pub struct Older {
    record: Record,
    fingerprints: Fingerprints,
    writer: Schema,
    reader: Schema,
}

impl Older {
    /// The version with this schema text.
    ///
    /// # Errors
    /// [`CodecError::UnknownSchema`]: it is not a schema, no record of the pipeline, or its records would change their meaning.
    pub fn new(text: &str) -> Result<Older, CodecError> {
        let unknown = |why: String| CodecError::UnknownSchema(why);
        let broken = |error: apache_avro::Error| CodecError::UnknownSchema(format!("not an Avro schema: {error}"));
        let whole = parse_whole(text).map_err(broken)?;
        let writer = Schema::parse_str(text).map_err(broken)?;
        let Some(record) = record_of(&whole) else {
            let name = full_name(&whole).unwrap_or_else(|| "without a name".to_owned());
            return Err(unknown(format!("the schema {name} is not a record of this pipeline")));
        };
        let current = CURRENT.iter().find(|(known, _)| *known == record);
        if let Some(why) = current.and_then(|(_, current)| unreadable(&whole, current)) {
            let name = record.name();
            return Err(unknown(format!(
                "this version of {name} cannot be converted to the current one: {why}"
            )));
        }
        let reader = Schema::parse_str(record.schema_text()).map_err(broken)?;
        Ok(Older {
            record,
            fingerprints: Fingerprints::of(text)
                .ok_or_else(|| unknown("the schema has no canonical form".to_owned()))?,
            writer,
            reader,
        })
    }

    /// The record that it is a version of.
    pub fn record(&self) -> Record {
        self.record
    }

    /// The fingerprint by which frames name it.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprints.specified
    }

    /// Whether frames name it by this fingerprint, now or in earlier builds.
    pub fn is_named(&self, fingerprint: u64) -> bool {
        self.fingerprints.contain(fingerprint)
    }

    /// Appends the datum as the current schema writes it.
    ///
    /// # Errors
    /// The bytes are not a record of this version, or a value cannot be represented in the current one.
    pub fn rewrite(&self, datum: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        let mut rest = datum;
        let value = GenericDatumReader::builder(&self.writer)
            .reader_schema(&self.reader)
            .build()
            .and_then(|reader| reader.read_value(&mut rest));
        let at = datum.len() - rest.len();
        let invalid = |why| CodecError::InvalidValue {
            field: "record of another schema version",
            at,
            why,
        };
        let value = value.map_err(|_| invalid("is not a record of its own schema"))?;
        if !rest.is_empty() {
            return Err(invalid("bytes follow the last field"));
        }
        let written = GenericDatumWriter::builder(&self.reader)
            .build()
            .and_then(|writer| writer.write_value(out, value));
        written
            .map(|_| ())
            .map_err(|_| invalid("cannot be represented in the current schema"))
    }
}

/// The fingerprints by which frames name a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprints {
    /// CRC-64-AVRO of the specification's parsing canonical form; this one is written.
    pub specified: u64,
    /// CRC-64-AVRO of the canonical form of `apache-avro`, which earlier builds wrote; only read.
    pub former: u64,
}

impl Fingerprints {
    /// The fingerprints of the schema with this text; `None` if it is not a schema.
    pub fn of(text: &str) -> Option<Fingerprints> {
        let former = Schema::parse_str(text).ok()?.fingerprint::<Rabin>().bytes;
        Some(Fingerprints {
            specified: canonical::fingerprint(text)?,
            former: former.try_into().map(u64::from_le_bytes).ok()?,
        })
    }

    /// Whether it is one of the two.
    pub fn contain(self, fingerprint: u64) -> bool {
        [self.specified, self.former].contains(&fingerprint)
    }
}
