//! Whether records of one schema can be read with another one and keep their meaning.
//!
//! The reference implementation checks only half of it: it reads milliseconds as microseconds, and a decimal of another scale
//! digit for digit, since the bytes are the same. Invariant: if [`unreadable`] finds no problem, values do not change.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, SchemaKind, UnionSchema};
use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};

const LOGICAL: &str = "logical ";

/// Why records of the old schema cannot all be read with the new one and keep their meaning. Both come from [`parse_whole`].
pub fn unreadable(old: &Schema, new: &Schema) -> Option<String> {
    match SchemaCompatibility::can_read(old, new) {
        Err(error) => return Some(error.to_string()),
        // Partial: some records could not be read, for example those with a removed enum symbol.
        Ok(Compatibility::Partial) => return Some("some records could not be read".to_owned()),
        Ok(Compatibility::Full) => {}
    }
    let new = kinds(new);
    kinds(old).into_iter().find_map(|(path, kinds)| {
        let now = new.get(&path)?;
        let lost = kinds
            .iter()
            .find(|kind| kind.starts_with(LOGICAL) && !now.contains(*kind))?;
        Some(format!("{path} was a {lost}, and is {now:?}"))
    })
}

/// The type of each field, by its path; the branches of a union share the path of the field.
pub fn kinds(schema: &Schema) -> BTreeMap<String, BTreeSet<String>> {
    let mut kinds = BTreeMap::new();
    collect(schema, String::new(), &mut kinds);
    kinds
}

fn collect(schema: &Schema, path: String, kinds: &mut BTreeMap<String, BTreeSet<String>>) {
    let kind = match schema {
        Schema::Decimal(decimal) => format!("{LOGICAL}decimal({},{})", decimal.precision, decimal.scale),
        Schema::Enum(known) => format!("enum {}", known.symbols.join(",")),
        Schema::Fixed(fixed) => format!("fixed {}", fixed.size),
        Schema::Date
        | Schema::TimeMillis
        | Schema::TimeMicros
        | Schema::TimestampMillis
        | Schema::TimestampMicros
        | Schema::TimestampNanos
        | Schema::LocalTimestampMillis
        | Schema::LocalTimestampMicros
        | Schema::LocalTimestampNanos => format!("{LOGICAL}{:?}", SchemaKind::from(schema)),
        _ => format!("{:?}", SchemaKind::from(schema)),
    };
    match schema {
        Schema::Record(record) => {
            record
                .fields
                .iter()
                .for_each(|field| collect(&field.schema, format!("{path}.{}", field.name), kinds));
        }
        Schema::Array(array) => collect(&array.items, format!("{path}[]"), kinds),
        Schema::Union(union) => union
            .variants()
            .iter()
            .for_each(|variant| collect(variant, path.clone(), kinds)),
        _ => {}
    }
    kinds.entry(path).or_default().insert(kind);
}

/// The schema of this text, with every named type written out wherever it is used.
///
/// The reference implementation treats a reference and a definition as two different types, so adding a decimal field in
/// front of the first one would look incompatible. A type that contains itself stays a reference.
///
/// # Errors
/// The text is not a schema.
pub fn parse_whole(text: &str) -> Result<Schema, apache_avro::Error> {
    whole(&Schema::parse_str(text)?, &mut HashMap::new())
}

fn whole(schema: &Schema, known: &mut HashMap<String, Schema>) -> Result<Schema, apache_avro::Error> {
    let whole = match schema.clone() {
        Schema::Ref { name } => return Ok(known.get(&name.to_string()).unwrap_or(schema).clone()),
        Schema::Record(mut record) => {
            for field in &mut record.fields {
                field.schema = whole(&field.schema, known)?;
            }
            Schema::Record(record)
        }
        Schema::Array(mut array) => {
            *array.items = whole(&array.items, known)?;
            Schema::Array(array)
        }
        Schema::Union(union) => {
            let variants = union.variants().iter().map(|variant| whole(variant, known));
            Schema::Union(UnionSchema::new(variants.collect::<Result<_, _>>()?)?)
        }
        other => other,
    };
    if let Some(name) = full_name(&whole) {
        known.insert(name, whole.clone());
    }
    Ok(whole)
}

/// Name with namespace, for types that have one. (`Schema::name` omits the fixed type of a decimal.)
pub fn full_name(schema: &Schema) -> Option<String> {
    match schema {
        Schema::Decimal(decimal) => match &decimal.inner {
            InnerDecimalSchema::Fixed(fixed) => Some(fixed.name.to_string()),
            InnerDecimalSchema::Bytes => None,
        },
        _ => schema.name().map(ToString::to_string),
    }
}
