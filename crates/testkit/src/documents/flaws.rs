//! Rows that cannot be read, as they occur in real documents. Pure.

use fastrand::Rng;

use super::rows::{Form, Report};

/// Changes the cells of a sound row so that it must be rejected, and no other row with it.
pub(super) fn spoil(report: Report, form: Form, cells: &mut Vec<String>, random: &mut Rng) {
    let flaws: &[(usize, &str)] = match (report, form) {
        (Report::MisoRealTime, _) => &[
            // A zone, which these stamps do not have; no time; long ago; ahead of its append time.
            (0, "2026-11-02T10:05:00-05:00"),
            (0, "yesterday"),
            (0, "1980-11-02T10:05:00"),
            (0, "2199-11-02T10:05:00"),
            (1, " "),
            (2, "n/a"),
            (2, ""),
            (3, "nil"),
            (4, "1,5"),
        ],
        // The first row of a page names its columns, so none lacks a field.
        (_, Form::Page { .. }) => &[
            (0, ""),
            (1, "2026-01-01T04:30:00"),
            (2, "12a"),
            (3, ""),
            (9, ""),
            (9, "None"),
            (10, "#REF!"),
            (12, "maybe"),
            (13, ""),
            (13, "one"),
        ],
        (_, Form::Report) => &[
            (0, ""),
            (0, "13/1/2026 4:00:00 AM"),
            // Not the local time of the same hour.
            (1, "1/1/2026 4:30:00 AM"),
            (2, "12a"),
            (3, ""),
            (3, "\"EASTERN HUB"),
            (9, "None"),
            (10, "#REF!"),
            (12, "maybe"),
            (13, "one"),
        ],
    };
    let lacks_a_cell = usize::from(form == Form::Report);
    let chosen = random.usize(..flaws.len() + lacks_a_cell);
    match flaws.get(chosen) {
        Some((column, text)) => {
            if let Some(cell) = cells.get_mut(*column) {
                *cell = (*text).to_owned();
            }
        }
        // A cell is missing.
        None => _ = cells.pop(),
    }
}
