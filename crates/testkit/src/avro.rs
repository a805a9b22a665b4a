//! Decodes Avro bytes to JSON values by the schema file. Supports only the types that occur.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use serde_json::{Map, Value, json};

/// A schema with its named types.
pub struct Schema {
    root: Value,
    named: BTreeMap<String, Value>,
}

impl Schema {
    /// Reads a schema file.
    pub fn parse(text: &str) -> anyhow::Result<Schema> {
        let root: Value = serde_json::from_str(text).context("schema is not JSON")?;
        let mut named = BTreeMap::new();
        collect(&root, &mut named);
        Ok(Schema { root, named })
    }

    /// Decodes a datum that must use all bytes. Fixed values become numbers in two's complement.
    pub fn decode(&self, datum: &[u8]) -> anyhow::Result<Value> {
        let mut bytes = datum;
        let value = self.value(&self.root, &mut bytes)?;
        if !bytes.is_empty() {
            bail!("{} bytes are left after the datum", bytes.len());
        }
        Ok(value)
    }

    fn value(&self, schema: &Value, bytes: &mut &[u8]) -> anyhow::Result<Value> {
        if let Some(branches) = schema.as_array() {
            let index = usize::try_from(long(bytes)?)?;
            return self.value(branches.get(index).context("the branch does not exist")?, bytes);
        }
        let name = schema.as_str().or_else(|| schema["type"].as_str()).unwrap_or_default();
        match name {
            "null" => Ok(Value::Null),
            "boolean" => Ok(json!(take(bytes, 1)?.first() == Some(&1))),
            "int" | "long" => Ok(json!(long(bytes)?)),
            "string" => {
                let length = usize::try_from(long(bytes)?)?;
                Ok(json!(std::str::from_utf8(take(bytes, length)?)?))
            }
            "fixed" => {
                let size = usize::try_from(schema["size"].as_u64().context("size")?)?;
                let raw = take(bytes, size)?;
                let first = if raw.first().is_some_and(|byte| byte & 0x80 != 0) {
                    -1i128
                } else {
                    0
                };
                let number = raw.iter().fold(first, |number, byte| number * 256 + i128::from(*byte));
                Ok(json!(number.to_string()))
            }
            "enum" => {
                let index = usize::try_from(long(bytes)?)?;
                Ok(schema["symbols"]
                    .get(index)
                    .context("the symbol does not exist")?
                    .clone())
            }
            "array" => self.array(&schema["items"], bytes),
            "record" => {
                let mut record = Map::new();
                for field in schema["fields"].as_array().context("fields")? {
                    let name = field["name"].as_str().context("name")?;
                    record.insert(
                        name.to_owned(),
                        self.value(&field["type"], bytes).with_context(|| name.to_owned())?,
                    );
                }
                Ok(Value::Object(record))
            }
            other => match (schema["type"].is_object(), self.named.get(other)) {
                (true, _) => self.value(&schema["type"], bytes),
                (false, Some(named)) => self.value(named, bytes),
                (false, None) => bail!("unknown type {other}"),
            },
        }
    }

    fn array(&self, items: &Value, bytes: &mut &[u8]) -> anyhow::Result<Value> {
        let mut values = Vec::new();
        loop {
            let mut count = long(bytes)?;
            if count == 0 {
                return Ok(Value::Array(values));
            }
            if count < 0 {
                count = -count;
                long(bytes)?;
            }
            for _ in 0..count {
                values.push(self.value(items, bytes)?);
            }
        }
    }
}

fn collect(schema: &Value, named: &mut BTreeMap<String, Value>) {
    match schema {
        Value::Array(parts) => parts.iter().for_each(|part| collect(part, named)),
        Value::Object(object) => {
            if let (Some(name), Some("record" | "fixed" | "enum")) = (schema["name"].as_str(), schema["type"].as_str())
            {
                named.insert(name.to_owned(), schema.clone());
            }
            object.values().for_each(|part| collect(part, named));
        }
        _ => {}
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> anyhow::Result<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(count).context("the datum ends too early")?;
    *bytes = rest;
    Ok(head)
}

fn long(bytes: &mut &[u8]) -> anyhow::Result<i64> {
    let (mut number, mut shift) = (0u64, 0);
    loop {
        let byte = *take(bytes, 1)?.first().context("no byte")?;
        if shift > 63 {
            bail!("a number has more than ten bytes");
        }
        number |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_decoded_by_its_schema() {
        let schema = Schema::parse(
            r#"{"type":"record","name":"R","fields":[
                {"name":"a","type":"string"},
                {"name":"b","type":["null",{"type":"fixed","name":"F","size":2}]},
                {"name":"c","type":["null","F"]},
                {"name":"d","type":{"type":"long","logicalType":"timestamp-micros"}},
                {"name":"e","type":{"type":"array","items":{"type":"enum","name":"E","symbols":["x","y"]}}}]}"#,
        )
        .unwrap();
        let bytes = [4, b'h', b'i', 2, 0xFF, 0xFE, 0, 3, 2, 2, 0];
        assert_eq!(
            schema.decode(&bytes).unwrap(),
            json!({"a": "hi", "b": "-2", "c": null, "d": -2, "e": ["y"]})
        );
        assert!(schema.decode(&bytes[..10]).is_err());
        assert!(schema.decode(&[&bytes[..], &[0]].concat()).is_err());
    }
}
