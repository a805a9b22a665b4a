//! A changed schema against records that exist: which of them it reads, and which field stops it.
//!
//! Role: [`crate::compatibility`] compares schemas, so it says what could happen; this module says what does. Invariant: a record is read if
//! every field that the changed schema has finds a value that it accepts. What a value means (a unit, the scale of a decimal) only the
//! comparison of the schemas sees.
//! Failure: [`CodecError::UnknownSchema`] for a text that is no schema of the pipeline. A datum that is no record is a problem like others.

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema::RecordField;
use apache_avro::types::Value;

use crate::compatibility::parse_whole;
use crate::older::record_of;
use crate::{CodecError, Record};

/// A changed schema of a record of the pipeline.
#[derive(Debug)]
pub struct Changed {
    record: Record,
    current: Schema,
    changed: Schema,
}

impl Changed {
    /// The schema of this text.
    ///
    /// # Errors
    /// [`CodecError::UnknownSchema`]: it is no schema, or none of the pipeline.
    pub fn new(text: &str) -> Result<Changed, CodecError> {
        let broken = |error: apache_avro::Error| CodecError::UnknownSchema(format!("not an Avro schema: {error}"));
        let changed = parse_whole(text).map_err(broken)?;
        let record = record_of(&changed)
            .ok_or_else(|| CodecError::UnknownSchema("the schema is not a record of this pipeline".to_owned()))?;
        Ok(Changed {
            record,
            current: Schema::parse_str(record.schema_text()).map_err(broken)?,
            changed,
        })
    }

    /// The record that it is a schema of.
    pub fn record(&self) -> Record {
        self.record
    }

    /// Why a datum of the current schema cannot be read with the changed one, with the path of the field.
    pub fn problem(&self, mut datum: &[u8]) -> Option<String> {
        let read = GenericDatumReader::builder(&self.current)
            .build()
            .and_then(|reader| reader.read_value(&mut datum));
        match read {
            Ok(value) => unfit(&value, &self.changed, ""),
            Err(error) => Some(format!("it is no record of the current schema: {error}")),
        }
    }
}

/// The first place at which a value does not fit.
fn unfit(value: &Value, schema: &Schema, path: &str) -> Option<String> {
    match (value, schema) {
        (Value::Union(_, value), _) => unfit(value, schema, path),
        (_, Schema::Union(union)) => {
            let of_variants: Vec<Option<String>> = union
                .variants()
                .iter()
                .map(|variant| unfit(value, variant, path))
                .collect();
            let fits = of_variants.iter().any(Option::is_none);
            (!fits).then(|| of_variants.into_iter().flatten().collect::<Vec<_>>().join("; or "))
        }
        (Value::Record(values), Schema::Record(record)) => {
            record.fields.iter().find_map(|field| of_field(values, field, path))
        }
        (Value::Array(items), Schema::Array(array)) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(at, item)| unfit(item, &array.items, &format!("{path}[{at}]")))
        }
        _ => {
            let resolved = value.clone().resolve(schema);
            resolved.err().map(|error| format!("{path}: {error}"))
        }
    }
}

fn of_field(values: &[(String, Value)], field: &RecordField, path: &str) -> Option<String> {
    let path = format!("{path}.{}", field.name);
    let named = |wanted: &str| values.iter().find(|(name, _)| name == wanted);
    let former = || field.aliases.iter().find_map(|alias| named(alias));
    match named(&field.name).or_else(former) {
        Some((_, value)) => unfit(value, &field.schema, &path),
        None if field.default.is_some() => None,
        None => Some(format!("{path}: records do not have this field, and it has no default")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::Wire;

    /// What is wrong with a tick for its schema after a change.
    fn problem(change: impl FnOnce(&mut Json)) -> Option<String> {
        let mut schema: Json = serde_json::from_str(Record::Tick.schema_text()).unwrap();
        change(&mut schema);
        let (wire, mut bytes) = (Wire::single_object(), Vec::new());
        wire.encode_tick(&domain::fixtures::tick(), &mut bytes);
        let (record, datum) = wire.open(&bytes).unwrap();
        let changed = Changed::new(&schema.to_string()).unwrap();
        assert_eq!((record, changed.record()), (Record::Tick, Record::Tick));
        changed.problem(datum)
    }

    fn field<'s>(schema: &'s mut Json, name: &str) -> &'s mut Json {
        let fields = schema["fields"].as_array_mut().unwrap();
        fields.iter_mut().find(|field| field["name"] == name).unwrap()
    }

    #[test]
    fn a_record_is_read_or_the_field_that_stops_it_is_named() {
        assert_eq!(problem(|_| {}), None);
        let added = |default: Option<Json>| {
            problem(|schema| {
                let mut field = json!({ "name": "added", "type": "long" });
                if let Some(default) = default {
                    field["default"] = default;
                }
                schema["fields"].as_array_mut().unwrap().push(field);
            })
        };
        assert_eq!(added(Some(json!(0))), None);
        let without = added(None).unwrap();
        assert!(
            without.starts_with(".added: records do not have this field"),
            "{without}"
        );
        let renamed = |aliases: Json| {
            problem(|schema| {
                let field = field(schema, "market");
                (field["name"], field["aliases"]) = (json!("exchange"), aliases);
            })
        };
        assert_eq!(renamed(json!(["market"])), None);
        assert!(renamed(json!([])).unwrap().starts_with(".exchange: "));
        let retyped = problem(|schema| field(schema, "market")["type"] = json!("long")).unwrap();
        assert!(retyped.starts_with(".market: "), "{retyped}");
    }

    #[test]
    fn a_nested_field_has_its_path_and_bytes_that_are_no_record_are_a_problem() {
        let nested = problem(|schema| {
            let origin = field(schema, "origin");
            let fields = origin["type"]["fields"].as_array_mut().unwrap();
            let offset = fields.iter_mut().find(|field| field["name"] == "offset").unwrap();
            offset["type"] = json!("string");
        });
        assert!(nested.unwrap().starts_with(".origin.offset: "));
        let changed = Changed::new(Record::Tick.schema_text()).unwrap();
        assert!(
            changed
                .problem(&[0xff; 3])
                .unwrap()
                .contains("no record of the current schema")
        );
        assert!(Changed::new("{").is_err());
        assert!(Changed::new(r#"{"type":"record","name":"Other","fields":[]}"#).is_err());
    }
}
