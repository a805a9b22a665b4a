//! Finds the known name that was probably meant.

use super::variable::key as key_of;

/// The most changes between a misspelt name and the one that was meant.
const DISTANCE: usize = 4;

/// The known variable with the most similar spelling.
pub(super) fn name<'n>(name: &str, known: &[&'n str]) -> Option<&'n str> {
    let (distance, nearest) = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), *known))
        .min_by_key(|(distance, _)| *distance)?;
    (distance <= DISTANCE).then_some(nearest)
}

/// The key of the known variable with the most similar spelling: with or without its table, and in any case.
pub(super) fn key(key: &str, known: &[&str]) -> Option<String> {
    let plain = |key: &str| key.to_ascii_lowercase().replace('.', "_");
    let last = |key: &str| key.rsplit('.').next().unwrap_or(key).to_ascii_lowercase();
    let written = [plain(key), last(key)].map(|key| key.strip_prefix("data_proc_").map_or(key.clone(), str::to_owned));
    let distance = |known: &str| {
        let forms = [plain(known), last(known)];
        let pairs = written
            .iter()
            .flat_map(|written| forms.iter().map(move |form| (written, form)));
        // A short key resembles many others.
        let near = pairs.filter_map(|(written, form)| {
            let distance = strsim::damerau_levenshtein(written, form);
            (distance <= DISTANCE.min(written.len() / 2)).then_some(distance)
        });
        near.min()
    };
    known
        .iter()
        .map(|known| key_of(known))
        .filter_map(|key| Some((distance(&key)?, key)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, key)| key)
}
