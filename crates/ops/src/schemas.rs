//! The Avro schemas of the pipeline: their versions, and whether a changed one can replace the current one.
//!
//! Role: pure. A schema is known by the name of its record, so a file may have any name.
//! Failure: a text that is no schema, or no schema of the pipeline, is an error that says so.

use anyhow::{Context as _, bail};
use codec::Record;
use codec::compatibility::{kinds, parse_whole, unreadable};
use codec::older::{FILES, record_of};
use serde::Serialize;
use service::Names;

/// A schema that the programs contain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Known {
    /// Name of its file without the extension, also the subject in a registry.
    pub name: &'static str,
    /// Fingerprint in the frame of a record, as hexadecimal text.
    pub fingerprint: String,
    /// Number of fields, nested ones included.
    pub fields: usize,
    /// Older versions that are still read.
    pub older: usize,
    /// The topics whose records have it.
    pub topics: Vec<String>,
    /// What is wrong with it; `None` in a correct build.
    pub problem: Option<String>,
}

/// Every schema.
pub fn known(names: &Names) -> Vec<Known> {
    Record::ALL.into_iter().map(|record| one(record, names)).collect()
}

fn one(record: Record, names: &Names) -> Known {
    let parsed = parse_whole(record.schema_text());
    let prefix = format!("{}.v", record.name());
    let mut problem = parsed.as_ref().err().map(ToString::to_string);
    for (file, text) in FILES.iter().filter(|(file, _)| file.starts_with(&prefix)) {
        let read = parse_whole(text).map_err(|error| error.to_string());
        let unread = match (&read, &parsed) {
            (Err(error), _) => Some(error.clone()),
            (Ok(old), Ok(current)) => unreadable(old, current),
            (Ok(_), Err(_)) => None,
        };
        problem = problem.or_else(|| unread.map(|why| format!("old/{file}: {why}")));
    }
    Known {
        name: record.name(),
        fingerprint: format!("{:016x}", record.fingerprint()),
        // The path of the record itself is empty.
        fields: parsed
            .as_ref()
            .map_or(0, |schema| kinds(schema).len().saturating_sub(1)),
        older: FILES.iter().filter(|(file, _)| file.starts_with(&prefix)).count(),
        topics: topics_of(record, names),
        problem,
    }
}

/// The topics whose records have this schema.
pub fn topics_of(record: Record, names: &Names) -> Vec<String> {
    match record {
        Record::RawMarketTick => names.raw.clone(),
        Record::Tick => vec![names.normalized.clone()],
        Record::EnrichedTick => vec![names.enriched.clone()],
        Record::Bar => vec![names.bars.clone()],
        Record::LateTick => vec![names.late.clone()],
        Record::LegPrice => vec![names.legs.clone()],
        Record::DerivedPrice => vec![names.derived.clone()],
        Record::CurveSnapshot => vec![names.curves.clone()],
        Record::WindowState | Record::SequencerState => vec![names.state.clone()],
    }
}

/// The records that may be in a topic; empty for a topic whose records have no schema of the pipeline.
pub fn expected_in(topic: &str, names: &Names) -> Vec<Record> {
    let is_in = |record: &Record| topics_of(*record, names).iter().any(|known| known == topic);
    Record::ALL.into_iter().filter(is_in).collect()
}

/// The comparison of a schema with the current one of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compatibility {
    /// The record.
    pub record: &'static str,
    /// Why records of the current schema could not be read with the new one. `None`: the new one can be released.
    pub backward: Option<String>,
    /// Why records of the new schema could not be read with the current one. Readers have to be updated before writers then.
    pub forward: Option<String>,
}

/// Compares the schema of this text with the current one.
///
/// # Errors
/// The text is not a schema, or the pipeline has no schema of that name.
pub fn compare(text: &str) -> anyhow::Result<Compatibility> {
    let new = parse_whole(text).context("this is not an Avro schema")?;
    let Some(record) = record_of(&new) else {
        let known: Vec<&str> = Record::ALL.into_iter().map(Record::name).collect();
        bail!(
            "no schema of the pipeline has the name of this one; name and namespace must be those of {}",
            known.join(", ")
        );
    };
    let current = parse_whole(record.schema_text()).context("read the current schema")?;
    Ok(Compatibility {
        record: record.name(),
        backward: unreadable(&current, &new),
        forward: unreadable(&new, &current),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use service::settings::{Env, load};

    use super::*;

    fn names() -> Names {
        Names::new(&load(&Env::new(), 8080, |_| ()).unwrap().settings)
    }

    #[test]
    fn every_schema_is_well_formed_and_reads_its_older_versions() {
        let known = known(&names());
        assert_eq!(known.len(), Record::ALL.len());
        for schema in &known {
            assert_eq!(schema.problem, None, "{}", schema.name);
            assert!(schema.fields > 0 && !schema.topics.is_empty(), "{schema:?}");
        }
        assert_eq!(known.iter().map(|schema| schema.older).sum::<usize>(), FILES.len());
    }

    #[test]
    fn a_schema_is_compared_with_the_current_one_of_its_name() {
        let current = Record::Bar.schema_text();
        assert_eq!(
            compare(current).unwrap(),
            Compatibility {
                record: "bar",
                backward: None,
                forward: None,
            }
        );
        let mut schema: serde_json::Value = serde_json::from_str(current).unwrap();
        let fields = schema["fields"].as_array_mut().unwrap();
        fields.push(serde_json::json!({ "name": "added", "type": "string" }));
        let compared = compare(&schema.to_string()).unwrap();
        assert!(
            compared.backward.is_some() && compared.forward.is_none(),
            "{compared:?}"
        );

        schema["name"] = "Other".into();
        let refused = compare(&schema.to_string()).unwrap_err().to_string();
        assert!(refused.contains("enriched_tick"), "{refused}");
        assert!(compare("{").is_err());
    }

    #[test]
    fn a_topic_names_the_records_that_may_be_in_it() {
        let names = names();
        assert_eq!(
            expected_in("aggregation.state.v1", &names),
            [Record::WindowState, Record::SequencerState]
        );
        assert_eq!(expected_in("dlq", &names), []);
    }
}
