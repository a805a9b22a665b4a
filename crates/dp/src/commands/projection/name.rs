//! The names of projections on the command line.

use ops::inspect::projection::all_names;

/// The name of a projection.
pub(super) fn projection(text: &str) -> Result<String, String> {
    match all_names().contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "there is no such projection; there are {}",
            all_names().join(", ")
        )),
    }
}
