//! Whether a column can store every value of a row's field.

/// Whether a column of type `column` can store every value of `field`, both as ClickHouse type names. A wider column can; of
/// types that are unknown here, only the same type can.
pub(super) fn holds(column: &str, field: &str) -> bool {
    let (column, field) = (without("LowCardinality", column), without("LowCardinality", field));
    match (inside("Nullable", column), inside("Nullable", field)) {
        (Some(column), Some(field)) => holds(column, field),
        (Some(column), None) => holds(column, field),
        (None, Some(_)) => false,
        (None, None) => plain(column, field),
    }
}

fn plain(column: &str, field: &str) -> bool {
    if column == field {
        return true;
    }
    if let (Some(column), Some(field)) = (inside("Array", column), inside("Array", field)) {
        return holds(column, field);
    }
    if let (Some(column), Some(field)) = (decimal(column), decimal(field)) {
        // Digits before and after the point.
        return column.1 >= field.1 && column.0 - column.1 >= field.0 - field.1;
    }
    if let (Some(column), Some(field)) = (number(column, "Int"), number(field, "Int")) {
        return column >= field;
    }
    if let (Some(column), Some(field)) = (number(column, "UInt"), number(field, "UInt")) {
        return column >= field;
    }
    if let (Some(column), Some(field)) = (inside("DateTime64", column), inside("DateTime64", field)) {
        return digits(column)
            .zip(digits(field))
            .is_some_and(|(column, field)| column >= field && column <= 8);
    }
    match (names(column), names(field)) {
        (Some(column), Some(field)) => field.iter().all(|name| column.contains(name)),
        _ => false,
    }
}

/// `T` of `Name(T)`.
fn inside<'a>(name: &str, kind: &'a str) -> Option<&'a str> {
    kind.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')')
}

fn without<'a>(name: &str, kind: &'a str) -> &'a str {
    inside(name, kind).unwrap_or(kind)
}

/// Precision and scale.
fn decimal(kind: &str) -> Option<(u32, u32)> {
    let (precision, scale) = inside("Decimal", kind)?.split_once(',')?;
    let parsed = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
    (parsed.0 >= parsed.1).then_some(parsed)
}

/// Bits of `Int32`, `UInt64`.
fn number(kind: &str, name: &str) -> Option<u32> {
    kind.strip_prefix(name)?.parse().ok()
}

/// Digits of the second in `6, 'UTC'`. (With nine digits, years after 2262 are out of range.)
fn digits(arguments: &str) -> Option<u32> {
    arguments.split(',').next()?.trim().parse().ok()
}

/// `'name' = number` of an enumeration.
fn names(kind: &str) -> Option<Vec<&str>> {
    let arguments = inside("Enum8", kind).or_else(|| inside("Enum16", kind))?;
    Some(arguments.split(',').map(str::trim).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_and_a_wider_column_hold_a_field() {
        for (column, field) in [
            ("LowCardinality(String)", "String"),
            ("LowCardinality(Nullable(String))", "Nullable(String)"),
            ("Array(LowCardinality(String))", "Array(String)"),
            ("Nullable(String)", "String"),
            ("Decimal(18, 8)", "Decimal(18, 8)"),
            ("Decimal(38, 8)", "Decimal(18, 8)"),
            ("Decimal(38, 16)", "Decimal(18, 8)"),
            ("Nullable(Decimal(38, 8))", "Nullable(Decimal(18, 8))"),
            ("Int64", "Int32"),
            ("DateTime64(6, 'UTC')", "DateTime64(6, 'UTC')"),
            ("DateTime64(7, 'UTC')", "DateTime64(6, 'UTC')"),
            (
                "Enum8('trade' = 1, 'interval' = 2, 'quote' = 3)",
                "Enum8('trade' = 1, 'interval' = 2)",
            ),
        ] {
            assert!(holds(column, field), "{column} holds {field}");
        }
    }

    #[test]
    fn a_narrower_column_does_not() {
        for (column, field) in [
            ("String", "Nullable(String)"),
            ("Decimal(9, 2)", "Decimal(18, 8)"),
            ("Decimal(18, 4)", "Decimal(18, 8)"),
            ("Decimal(18, 9)", "Decimal(18, 8)"),
            ("Float64", "Decimal(18, 8)"),
            ("Int32", "Int64"),
            ("UInt64", "Int64"),
            ("DateTime64(3, 'UTC')", "DateTime64(6, 'UTC')"),
            ("DateTime('UTC')", "DateTime64(6, 'UTC')"),
            ("FixedString(8)", "String"),
            ("Enum8('trade' = 1)", "Enum8('trade' = 1, 'interval' = 2)"),
            ("Array(Int32)", "Array(String)"),
        ] {
            assert!(!holds(column, field), "{column} does not hold every {field}");
        }
    }
}
