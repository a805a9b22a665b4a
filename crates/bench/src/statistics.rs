//! Quantiles, medians, gaps, and counts of lost and doubled origins.

/// The quantile at `share` by nearest rank. `sorted` is ascending. `None` without values.
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// The middle value.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

/// One sample of a counter that only grows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// Seconds since the beginning.
    pub at: f64,
    /// The counter's value.
    pub count: u64,
}

/// The longest time without growth of the counter between `from` and `to`, measured from sample to sample.
pub fn longest_gap(looks: &[Look], from: f64, to: f64) -> f64 {
    let mut longest: f64 = 0.0;
    let mut last: Option<Look> = None;
    for look in looks.iter().filter(|look| (from..=to).contains(&look.at)) {
        match last {
            Some(before) if look.count <= before.count => longest = longest.max(look.at - before.at),
            Some(before) => {
                longest = longest.max(look.at - before.at);
                last = Some(*look);
            }
            None => last = Some(*look),
        }
    }
    longest
}

/// Seconds from `from` until the counter was greater than at `from`. `None` if it did not grow.
pub fn until_growth(looks: &[Look], from: f64) -> Option<f64> {
    let then = looks.iter().rfind(|look| look.at <= from).map_or(0, |look| look.count);
    let grown = looks.iter().find(|look| look.at > from && look.count > then)?;
    Some(grown.at - from)
}

/// The numbers of lost and doubled origins. `found` contains each origin as often as it is stored.
pub fn lost_and_doubled<T: Ord>(published: u64, mut found: Vec<T>) -> (u64, u64) {
    let all = found.len() as u64;
    found.sort_unstable();
    found.dedup();
    let distinct = found.len() as u64;
    (published.saturating_sub(distinct), all - distinct)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_of_the_input() {
        let values: Vec<f64> = (1..=1000).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.5), Some(500.0));
        assert_eq!(quantile(&values, 0.99), Some(990.0));
        assert_eq!(quantile(&values, 0.999), Some(999.0));
        assert_eq!(quantile(&values, 1.0), Some(1000.0));
        assert_eq!(quantile(&[7.0], 0.001), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(median([9.0, 1.0, 5.0]), Some(5.0));
    }

    fn looks(pairs: &[(f64, u64)]) -> Vec<Look> {
        pairs
            .iter()
            .map(|(at, count)| Look { at: *at, count: *count })
            .collect()
    }

    #[test]
    fn a_gap_lasts_from_growth_to_growth() {
        let looks = looks(&[(0.0, 1), (1.0, 2), (2.0, 2), (3.0, 2), (4.0, 9), (4.5, 10)]);
        assert_eq!(longest_gap(&looks, 0.0, 9.0), 3.0);
        assert_eq!(longest_gap(&looks, 4.0, 9.0), 0.5);
        assert_eq!(
            longest_gap(&looks[..4], 0.0, 9.0),
            2.0,
            "a gap that has not ended counts up to the last sample"
        );
    }

    #[test]
    fn growth_is_searched_after_the_given_time() {
        let looks = looks(&[(0.0, 5), (1.0, 6), (2.0, 6), (3.0, 7)]);
        assert_eq!(until_growth(&looks, 1.5), Some(1.5));
        assert_eq!(until_growth(&looks, 3.0), None);
        assert_eq!(until_growth(&looks, -1.0), Some(1.0));
    }

    #[test]
    fn a_missing_and_a_repeated_origin_do_not_cancel_each_other() {
        assert_eq!(lost_and_doubled(3, vec![1, 2, 2]), (1, 1));
        assert_eq!(lost_and_doubled(2, vec![2, 1]), (0, 0));
        assert_eq!(lost_and_doubled::<u8>(0, Vec::new()), (0, 0));
    }
}
