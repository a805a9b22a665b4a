//! Parsing Canonical Form of an Avro schema and its CRC-64-AVRO fingerprint, as the Avro specification defines them.
//!
//! Implemented here because `apache-avro` differs from the specification: its canonical form keeps `logicalType`, `precision`
//! and `scale`, and writes `{"type":"long"}` instead of `"long"`. No other implementation computes those fingerprints.
//! Pure. Failure: `None` if the text is not a schema.

use serde_json::Value;

/// CRC-64-AVRO of the canonical form of this schema.
pub fn fingerprint(schema: &str) -> Option<u64> {
    canonical_form(schema).map(|form| crc64(form.as_bytes()))
}

/// The schema reduced to the attributes that decide how its data is read.
pub fn canonical_form(schema: &str) -> Option<String> {
    let mut form = String::new();
    write_schema(&serde_json::from_str(schema).ok()?, "", &mut form)?;
    Some(form)
}

fn crc64(bytes: &[u8]) -> u64 {
    const EMPTY: u64 = 0xc15d_213a_a4d7_a795;
    bytes.iter().fold(EMPTY, |crc, byte| {
        (0..8).fold(crc ^ u64::from(*byte), |crc, _| {
            (crc >> 1) ^ (EMPTY & (crc & 1).wrapping_neg())
        })
    })
}

fn write_schema(schema: &Value, namespace: &str, out: &mut String) -> Option<()> {
    match schema {
        Value::String(name) => write_text(&reference(name, namespace), out),
        Value::Array(branches) => write_list(branches, out, |branch, out| write_schema(branch, namespace, out))?,
        Value::Object(_) => match schema.get("type")? {
            Value::String(kind) => write_complex(kind, schema, namespace, out)?,
            nested => write_schema(nested, namespace, out)?,
        },
        _ => return None,
    }
    Some(())
}

// The attributes that count, in the order of the specification: name, type, fields, symbols, items, values, size.
fn write_complex(kind: &str, schema: &Value, namespace: &str, out: &mut String) -> Option<()> {
    match kind {
        "array" | "map" => {
            let content = if kind == "array" { "items" } else { "values" };
            out.push_str(&format!(r#"{{"type":"{kind}","{content}":"#));
            write_schema(schema.get(content)?, namespace, out)?;
        }
        "record" | "error" | "enum" | "fixed" => {
            let name = full_name(schema, namespace)?;
            let inside = name.rsplit_once('.').map_or("", |(namespace, _)| namespace);
            out.push_str(r#"{"name":"#);
            write_text(&name, out);
            out.push_str(&format!(r#","type":"{kind}","#));
            match kind {
                "enum" => {
                    out.push_str(r#""symbols":"#);
                    write_list(schema.get("symbols")?.as_array()?, out, |symbol, out| {
                        write_text(symbol.as_str()?, out);
                        Some(())
                    })?;
                }
                "fixed" => out.push_str(&format!(r#""size":{}"#, schema.get("size")?.as_u64()?)),
                _ => {
                    out.push_str(r#""fields":"#);
                    write_list(schema.get("fields")?.as_array()?, out, |field, out| {
                        out.push_str(r#"{"name":"#);
                        write_text(field.get("name")?.as_str()?, out);
                        out.push_str(r#","type":"#);
                        write_schema(field.get("type")?, inside, out)?;
                        out.push('}');
                        Some(())
                    })?;
                }
            }
        }
        // A primitive type with attributes, or a name.
        _ => {
            write_text(&reference(kind, namespace), out);
            return Some(());
        }
    }
    out.push('}');
    Some(())
}

fn write_list(items: &[Value], out: &mut String, write: impl Fn(&Value, &mut String) -> Option<()>) -> Option<()> {
    out.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(item, out)?;
    }
    out.push(']');
    Some(())
}

fn write_text(text: &str, out: &mut String) {
    out.push_str(&Value::from(text).to_string());
}

/// The full name by which a type is referenced.
fn reference(name: &str, namespace: &str) -> String {
    const PRIMITIVES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];
    if PRIMITIVES.contains(&name) || name.contains('.') || namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

/// The full name under which a type is defined: its own namespace takes precedence over the enclosing one.
fn full_name(schema: &Value, around: &str) -> Option<String> {
    let name = schema.get("name")?.as_str()?;
    let namespace = schema.get("namespace").and_then(Value::as_str).unwrap_or(around);
    Some(if name.contains('.') || namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with fastavro 1.13.1 for Python: `fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")`, which
    /// returns the bytes of a single-object header, lowest first.
    const FASTAVRO: [(&str, &str); 6] = [
        (r#""long""#, "b71df49344e154d0"),
        (
            r#"{"type":"long","logicalType":"timestamp-micros"}"#,
            "b71df49344e154d0",
        ),
        (
            r#"{"type":"fixed","name":"F","namespace":"a.b","size":16,"logicalType":"decimal","precision":38,"scale":8,"doc":"x"}"#,
            "d171ad06482d641a",
        ),
        (
            r#"{"type":"enum","name":"x.E","symbols":["A","B"],"default":"A","aliases":["y"]}"#,
            "7f4511894389f638",
        ),
        (
            r#"{"type":"record","name":"R","namespace":"n.s","doc":"d","aliases":["Q"],"fields":[
                {"name":"a","type":{"type":"array","items":{"type":"string"}},"default":[],"doc":"f"},
                {"name":"m","type":{"type":"map","values":["null",{"type":"long","logicalType":"timestamp-micros"}]},"order":"ignore"},
                {"name":"inner","type":{"type":"record","name":"I","fields":[
                    {"name":"e","type":{"type":"enum","name":"other.E","symbols":["A"]}},
                    {"name":"again","type":["null","other.E"],"default":null}]}},
                {"name":"next","type":["null","R"],"default":null},
                {"name":"i2","type":"I"}]}"#,
            "1bd4f9a1238ee572",
        ),
        (
            include_str!("../../../schemas/avro/raw_market_tick.avsc"),
            "3389c8eb99cf62b2",
        ),
    ];

    #[test]
    fn fingerprints_match_another_implementation() {
        for (schema, expected) in FASTAVRO {
            let header = hex::encode(fingerprint(schema).map(u64::to_le_bytes).unwrap_or_default());
            assert_eq!(header, expected, "{schema}\n{:?}", canonical_form(schema));
        }
    }

    #[test]
    fn attributes_that_do_not_decide_how_data_is_read_are_not_in_the_canonical_form() {
        let form = canonical_form(
            r#"{"type": "record", "name": "T", "namespace": "n", "doc": "d", "fields": [
                {"name": "price", "doc": "x", "default": null, "type": ["null",
                    {"type": "fixed", "name": "P", "size": 8, "logicalType": "decimal", "precision": 18, "scale": 8}]}]}"#,
        );
        assert_eq!(
            form.as_deref(),
            Some(
                r#"{"name":"n.T","type":"record","fields":[{"name":"price","type":["null",{"name":"n.P","type":"fixed","size":8}]}]}"#
            )
        );
        assert_eq!(canonical_form("{}"), None);
        assert_eq!(canonical_form("7"), None);
    }
}
