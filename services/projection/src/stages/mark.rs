//! The mark that the owner of a partition keeps in Redis, where it is lost with the copy of the prices.

/// The mark of an assignment whose prices were loaded after `epoch` rebuilds.
pub(super) fn of(projector: u64, assignment: u64, epoch: i64) -> String {
    format!("{projector}-{assignment}@{epoch}")
}

/// The mark that a rebuild sets: an owner with prices from before it loads them again, any other one fills Redis.
pub fn replaced(epoch: i64) -> String {
    format!("rebuild@{epoch}")
}

/// Whether an owner that has loaded the prices of the rebuild has filled Redis, or begun to.
pub fn has_loaded(found: &str, epoch: i64) -> bool {
    found != replaced(epoch) && epoch_of(found) == Some(epoch)
}

/// Whether a rebuild may have replaced the prices since the owner of mark `own` loaded them: Postgres knows, since the mark may be
/// older than a restored backup.
pub(super) fn is_after(found: &str, own: &str) -> bool {
    epoch_of(found) > epoch_of(own)
}

/// Whether the owner of mark `own` has loaded its prices before this rebuild.
pub(super) fn is_before(own: &str, epoch: i64) -> bool {
    epoch_of(own) < Some(epoch)
}

/// `None` for a mark of a release without rebuilds.
fn epoch_of(mark: &str) -> Option<i64> {
    mark.rsplit_once('@')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marks_of_later_prices_are_after_and_a_rebuild_waits_for_an_owner() {
        let own = of(7, 1, 3);
        for (found, after, loaded) in [
            (own.clone(), false, false),
            (replaced(3), false, false),
            (replaced(4), true, false),
            (of(8, 9, 4), true, true),
            (of(8, 9, 3), false, false),
            ("8-9".to_owned(), false, false),
        ] {
            assert_eq!(is_after(&found, &own), after, "{found}");
            assert_eq!(has_loaded(&found, 4), loaded, "{found}");
        }
    }
}
