//! Short names of the topics of the pipeline, as the command line accepts them.

use anyhow::bail;
use service::Names;

/// The topic of a short name. A name with a dot or a dash is a topic name.
///
/// # Errors
/// The text is neither; the message lists the short names.
pub fn resolve(names: &Names, text: &str) -> anyhow::Result<String> {
    let short = [
        ("raw", names.raw.first().map_or("", String::as_str)),
        ("normalized", &names.normalized),
        ("enriched", &names.enriched),
        ("bars", &names.bars),
        ("curves", &names.curves),
        ("derived", &names.derived),
        ("late", &names.late),
        ("legs", &names.legs),
        ("state", &names.state),
        ("invalidation", &names.invalidation),
        ("control", &names.control),
        ("dlq", &names.dlq),
    ];
    if let Some((_, topic)) = short.iter().find(|(name, _)| *name == text) {
        return Ok((*topic).to_owned());
    }
    if text.contains(['.', '-']) || names.raw.iter().any(|raw| raw == text) {
        return Ok(text.to_owned());
    }
    let known: Vec<&str> = short.iter().map(|(name, _)| *name).collect();
    bail!(
        "there is no topic '{text}'; use a full topic name or one of {}",
        known.join(", ")
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use service::settings::{Env, load};

    use super::*;

    fn names(generation: &str) -> Names {
        let env = Env::from([("DATA_PROC_GENERATION".to_owned(), generation.to_owned())]);
        Names::new(&load(&env, 8080, |_| ()).unwrap().settings)
    }

    #[test]
    fn short_names_stand_for_the_topics_of_the_generation_in_effect() {
        assert_eq!(resolve(&names(""), "bars").unwrap(), "aggregation.bars.v1");
        assert_eq!(
            resolve(&names("g2"), "normalized").unwrap(),
            "normalized.market.ticks.v1-g2"
        );
        assert_eq!(resolve(&names("g2"), "dlq").unwrap(), "dlq");
        assert_eq!(resolve(&names(""), "some.other.topic").unwrap(), "some.other.topic");
        let error = resolve(&names(""), "barz").unwrap_err().to_string();
        assert!(error.contains("barz") && error.contains("normalized"), "{error}");
    }
}
