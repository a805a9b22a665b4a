//! Strict reader of Avro's JSON encoding, which checks the examples.
//!
//! One exception keeps the examples readable: a decimal is the text of its number (`"-31.55"`), not the standard's string of
//! code points.

use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, RecordSchema, UnionSchema};
use apache_avro::types::Value;
use codec::compatibility::full_name;
use serde_json::{Map, Value as Json};

/// The location of a JSON value that does not fit the schema, and the reason.
#[derive(Debug)]
pub struct Refused {
    /// Field, with the enclosing fields: `tick.origin.index`.
    pub place: String,
    /// What is wrong.
    pub why: String,
}

/// The value of the JSON.
pub fn read(schema: &Schema, json: &Json, place: &str) -> Result<Value, Refused> {
    let refused = |why: &str| {
        Err(Refused {
            place: place.to_owned(),
            why: format!("{why}: {json}"),
        })
    };
    match (schema, json) {
        (Schema::Null, Json::Null) => Ok(Value::Null),
        (Schema::Boolean, Json::Bool(value)) => Ok(Value::Boolean(*value)),
        (Schema::String, Json::String(text)) => Ok(Value::String(text.clone())),
        (Schema::Int, Json::Number(_)) => match json.as_i64().map(i32::try_from) {
            Some(Ok(value)) => Ok(Value::Int(value)),
            _ => refused("not an integer of 32 bits"),
        },
        (Schema::Long, Json::Number(_)) => json
            .as_i64()
            .map_or_else(|| refused("not an integer of 64 bits"), |v| Ok(Value::Long(v))),
        (Schema::TimestampMicros, Json::Number(_)) => json
            .as_i64()
            .map_or_else(|| refused("not whole microseconds"), |v| Ok(Value::TimestampMicros(v))),
        (Schema::Date, Json::Number(_)) => match json.as_i64().map(i32::try_from) {
            Some(Ok(days)) => Ok(Value::Date(days)),
            _ => refused("not days in 32 bits"),
        },
        (Schema::Double, Json::Number(_)) => json
            .as_f64()
            .map_or_else(|| refused("not a number"), |v| Ok(Value::Double(v))),
        (Schema::Enum(known), Json::String(text)) => match known.symbols.iter().position(|symbol| symbol == text) {
            Some(index) => Ok(Value::Enum(index as u32, text.clone())),
            None => refused("no such symbol"),
        },
        (Schema::Decimal(decimal), Json::String(text)) => match unscaled(text, decimal.precision, decimal.scale) {
            Ok(value) => {
                let InnerDecimalSchema::Fixed(fixed) = &decimal.inner else {
                    return refused("a decimal on bytes");
                };
                Ok(Value::Decimal(value.to_be_bytes()[16 - fixed.size..].into()))
            }
            Err(why) => refused(why),
        },
        (Schema::Array(array), Json::Array(items)) => items
            .iter()
            .map(|item| read(&array.items, item, place))
            .collect::<Result<_, _>>()
            .map(Value::Array),
        (Schema::Union(union), _) => read_union(union, json, place),
        (Schema::Record(record), Json::Object(fields)) => read_record(record, fields, place),
        _ => refused("not of the type that the schema requires"),
    }
}

fn read_union(union: &UnionSchema, json: &Json, place: &str) -> Result<Value, Refused> {
    let branch = |name: &str| union.variants().iter().position(|variant| branch_name(variant) == name);
    let (index, value) = match json {
        Json::Null => (branch("null"), json),
        Json::Object(branches) if branches.len() == 1 => {
            let (name, value) = branches.iter().next().unwrap();
            (branch(name), value)
        }
        _ => (None, json),
    };
    let Some(index) = index else {
        return Err(Refused {
            place: place.to_owned(),
            why: format!("names no branch of the union: {json}"),
        });
    };
    Ok(Value::Union(
        index as u32,
        Box::new(read(&union.variants()[index], value, place)?),
    ))
}

fn branch_name(schema: &Schema) -> String {
    match schema {
        Schema::Null => "null".to_owned(),
        Schema::String => "string".to_owned(),
        Schema::Long | Schema::TimestampMicros => "long".to_owned(),
        Schema::Double => "double".to_owned(),
        named => full_name(named).unwrap(),
    }
}

fn read_record(record: &RecordSchema, fields: &Map<String, Json>, place: &str) -> Result<Value, Refused> {
    let inside = |name: &str| {
        if place.is_empty() {
            name.to_owned()
        } else {
            format!("{place}.{name}")
        }
    };
    if let Some(name) = fields
        .keys()
        .find(|name| record.fields.iter().all(|field| field.name != **name))
    {
        return Err(Refused {
            place: inside(name),
            why: "the schema has no such field".to_owned(),
        });
    }
    let mut values = Vec::new();
    for field in &record.fields {
        let place = inside(&field.name);
        let json = fields.get(&field.name).ok_or_else(|| Refused {
            place: place.clone(),
            why: "is missing".to_owned(),
        })?;
        values.push((field.name.clone(), read(&field.schema, json, &place)?));
    }
    Ok(Value::Record(values))
}

fn unscaled(text: &str, precision: usize, scale: usize) -> Result<i128, &'static str> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err("not the text of a number");
    }
    if fraction.len() > scale {
        return Err("more decimals than the scale");
    }
    let digits = format!("{whole}{fraction:0<scale$}");
    if digits.trim_start_matches('0').len() > precision {
        return Err("more digits than the precision");
    }
    let magnitude: i128 = digits.parse().map_err(|_| "not the text of a number")?;
    Ok(if negative { -magnitude } else { magnitude })
}
