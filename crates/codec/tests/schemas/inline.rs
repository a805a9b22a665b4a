//! A schema without references: every named type in full wherever it is used.
//!
//! The reference implementation compares a reference with a definition as two different types, so that adding a decimal
//! field in front of the first one would look like a break.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::UnionSchema;

/// The schema of this text, without references (our schemas are not recursive).
pub fn parse(text: &str) -> Schema {
    inline(&Schema::parse_str(text).unwrap(), &mut HashMap::new())
}

fn inline(schema: &Schema, known: &mut HashMap<String, Schema>) -> Schema {
    let whole = match schema.clone() {
        Schema::Ref { name } => return known[&name.to_string()].clone(),
        Schema::Record(mut record) => {
            for field in &mut record.fields {
                field.schema = inline(&field.schema, known);
            }
            Schema::Record(record)
        }
        Schema::Array(mut array) => {
            *array.items = inline(&array.items, known);
            Schema::Array(array)
        }
        Schema::Union(union) => {
            let variants = union.variants().iter().map(|variant| inline(variant, known)).collect();
            Schema::Union(UnionSchema::new(variants).unwrap())
        }
        other => other,
    };
    if let Some(name) = full_name(&whole) {
        known.insert(name, whole.clone());
    }
    whole
}

/// Name with namespace, of types that have one. (`Schema::name` forgets the fixed type of a decimal.)
pub fn full_name(schema: &Schema) -> Option<String> {
    match schema {
        Schema::Decimal(decimal) => match &decimal.inner {
            apache_avro::schema::InnerDecimalSchema::Fixed(fixed) => Some(fixed.name.to_string()),
            apache_avro::schema::InnerDecimalSchema::Bytes => None,
        },
        _ => schema.name().map(ToString::to_string),
    }
}
