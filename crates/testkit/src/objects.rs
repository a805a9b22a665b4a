//! JSON objects that keep the text of their values.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::parse::Refusal;

pub(crate) type Object = BTreeMap<String, Box<RawValue>>;

pub(crate) fn object(text: &str) -> Result<Object, Refusal> {
    serde_json::from_str(text).map_err(|error| {
        if error.is_data() {
            "schema_violation"
        } else {
            "broken_json"
        }
    })
}

pub(crate) fn inner(object_: &Object, name: &str) -> Result<Object, Refusal> {
    object(object_.get(name).ok_or("schema_violation")?.get())
}

pub(crate) fn string(object: &Object, name: &str) -> Option<String> {
    serde_json::from_str(object.get(name)?.get()).ok()
}

// The first of these fields that is present. A number keeps its digits.
pub(crate) fn any(object: &Object, names: &[&str]) -> Option<String> {
    let raw = names
        .iter()
        .filter_map(|name| object.get(*name))
        .find(|raw| raw.get() != "null")?;
    Some(serde_json::from_str(raw.get()).unwrap_or_else(|_| raw.get().to_owned()))
}
