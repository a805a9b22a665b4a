//! The settings that decide the results of a service, as one word.
//!
//! Role: replicas of a service share one consumer group, and a partition moves from one to another. If their settings differ,
//! results depend on which replica computed them. Prometheus compares the words (alert `SettingsDiffer`).

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use crate::StartError;
use crate::settings::{Kind, Variable};

/// The word for the values in effect of the variables with these names.
///
/// # Errors
/// If the service does not declare one of them.
pub(crate) fn of(variables: &[Variable], deciding: &[&str]) -> Result<String, StartError> {
    let mut values = BTreeMap::new();
    for name in deciding {
        let variable = variables.iter().find(|variable| variable.name == *name);
        let variable = variable.ok_or_else(|| format!("the service does not declare {name}"))?;
        values.insert(*name, in_one_form(variable));
    }
    let text: String = values.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    Ok(format!("{:016x}", xxh3_64(text.as_bytes())))
}

/// The order and the blanks of a list have no meaning.
fn in_one_form(variable: &Variable) -> String {
    if variable.kind != Kind::List {
        return variable.value.clone();
    }
    let mut items: Vec<&str> = variable.value.split(',').map(str::trim).collect();
    items.sort_unstable();
    items.join(",")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::settings::{Env, load};

    const DECIDING: &[&str] = &["DATA_PROC_TENANT_ID", "DATA_PROC_RAW_TOPICS"];

    fn word(pairs: &[(&str, &str)]) -> String {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let env: Env = pairs.collect();
        of(&load(&env, 8080, |_| ()).unwrap().variables, DECIDING).unwrap()
    }

    #[test]
    fn only_another_value_of_a_deciding_setting_changes_the_word() {
        let usual = word(&[]);
        assert_eq!(usual.len(), 16);
        assert_eq!(word(&[("DATA_PROC_WORKERS", "3")]), usual);
        assert_ne!(word(&[("DATA_PROC_TENANT_ID", "other")]), usual);
        let lists = ["b, a", "a,b"].map(|list| word(&[("DATA_PROC_RAW_TOPICS", list)]));
        assert_eq!(lists[0], lists[1]);
        assert_ne!(lists[0], usual);
    }

    #[test]
    fn a_name_that_the_service_does_not_declare_is_refused() {
        let variables = load(&Env::new(), 8080, |_| ()).unwrap().variables;
        assert!(
            of(&variables, &["DATA_PROC_NOTHING"])
                .unwrap_err()
                .to_string()
                .contains("DATA_PROC_NOTHING")
        );
    }
}
