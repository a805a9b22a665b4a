//! Quantiles of the services' own histograms, read from their `/metrics`.

use std::collections::BTreeMap;

/// Cumulative counts of one histogram, by upper bound in seconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram(Vec<(f64, f64)>);

impl Histogram {
    /// The observations since `before`.
    pub fn since(&self, before: Option<&Histogram>) -> Histogram {
        let earlier = |bound: f64| {
            let found = before.and_then(|before| before.0.iter().find(|(other, _)| *other == bound));
            found.map_or(0.0, |(_, count)| *count)
        };
        Histogram(
            self.0
                .iter()
                .map(|(bound, count)| (*bound, count - earlier(*bound)))
                .collect(),
        )
    }

    /// The quantile in seconds, interpolated inside its bucket as in Prometheus. `None` without observations.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let total = self.0.last().map(|(_, count)| *count).filter(|total| *total > 0.0)?;
        let (mut lower, mut below) = (0.0, 0.0);
        for (bound, count) in &self.0 {
            if *count >= total * share {
                let inside = (count - below).max(f64::MIN_POSITIVE);
                let width = if bound.is_finite() { bound - lower } else { 0.0 };
                return Some(lower + width * ((total * share - below) / inside));
            }
            (lower, below) = (*bound, *count);
        }
        None
    }
}

/// The histograms of this name in a scrape, by the value of label `label`.
pub fn histograms(scrape: &str, name: &str, label: &str) -> BTreeMap<String, Histogram> {
    let mut found: BTreeMap<String, Histogram> = BTreeMap::new();
    let prefix = format!("{name}_bucket{{");
    for line in scrape.lines() {
        let Some((labels, value)) = line.strip_prefix(&prefix).and_then(|rest| rest.split_once("} ")) else {
            continue;
        };
        let of = |wanted: &str| {
            labels
                .split(',')
                .filter_map(|pair| pair.split_once('='))
                .find(|(name, _)| *name == wanted)
                .map(|(_, value)| value.trim_matches('"'))
        };
        let bound = of("le").and_then(|le| {
            if le == "+Inf" {
                Some(f64::INFINITY)
            } else {
                le.parse().ok()
            }
        });
        if let (Some(bound), Ok(count)) = (bound, value.trim().parse::<f64>()) {
            found
                .entry(of(label).unwrap_or_default().to_owned())
                .or_default()
                .0
                .push((bound, count));
        }
    }
    for histogram in found.values_mut() {
        histogram.0.sort_by(|one, other| one.0.total_cmp(&other.0));
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SCRAPE: &str = "# TYPE end_to_end_latency_seconds histogram\n\
        end_to_end_latency_seconds_bucket{service=\"projection\",stage=\"latest\",le=\"0.01\"} 50\n\
        end_to_end_latency_seconds_bucket{service=\"projection\",stage=\"latest\",le=\"0.1\"} 100\n\
        end_to_end_latency_seconds_bucket{service=\"projection\",stage=\"latest\",le=\"+Inf\"} 100\n\
        end_to_end_latency_seconds_sum{service=\"projection\",stage=\"latest\"} 3.2\n";

    #[test]
    fn a_quantile_is_interpolated_inside_its_bucket() {
        let found = histograms(SCRAPE, "end_to_end_latency_seconds", "stage");
        let latest = &found["latest"];
        assert_eq!(latest.quantile(0.5), Some(0.01));
        assert!((latest.quantile(0.75).unwrap() - 0.055).abs() < 1e-9);
        assert_eq!(latest.since(Some(latest)).quantile(0.5), None);
    }

    #[test]
    fn earlier_observations_do_not_count() {
        let before = histograms(SCRAPE, "end_to_end_latency_seconds", "stage");
        let after = histograms(&SCRAPE.replace("} 100", "} 140"), "end_to_end_latency_seconds", "stage");
        let new = after["latest"].since(before.get("latest"));
        assert!(new.quantile(0.5).unwrap() > 0.01, "all forty new ones are above 10 ms");
    }

    #[test]
    fn a_quantile_in_the_last_bucket_is_its_lower_bound() {
        let scrape = "x_bucket{le=\"1\"} 0\nx_bucket{le=\"+Inf\"} 5\n";
        assert_eq!(histograms(scrape, "x", "stage")[""].quantile(0.99), Some(1.0));
    }
}
