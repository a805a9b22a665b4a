//! What a service exports at `/metrics`: sums of its series, and quantiles of its histograms. Pure.
//!
//! Invariant: a value that is no number (a lag that the broker does not report) counts as absent, not as zero.
//! Failure: lines that are no samples are left out; a series that is missing is `None`.

use std::collections::BTreeMap;

use prometheus_parse::{Sample, Value};

/// The series of one service at one moment.
#[derive(Debug, Clone, Default)]
pub struct Scrape(Vec<Sample>);

/// Cumulative counts of one histogram, by upper bound in seconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram(Vec<(f64, f64)>);

impl Scrape {
    /// Reads the Prometheus text format.
    pub fn parse(text: &str) -> Scrape {
        let lines = text.lines().map(|line| Ok(line.to_owned()));
        // The only error is one of the lines, and none of them is one.
        Scrape(prometheus_parse::Scrape::parse(lines).map_or_else(|_| Vec::new(), |scrape| scrape.samples))
    }

    /// The sum of all series of a counter or gauge.
    pub fn sum(&self, name: &str) -> Option<f64> {
        self.numbers(name)
            .map(|(_, number)| number)
            .reduce(|one, other| one + other)
    }

    /// The sums of a counter or gauge by the value of this label, of the series that `wanted` accepts.
    pub fn sums(&self, name: &str, label: &str, wanted: impl Fn(&Sample) -> bool) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for (sample, number) in self.numbers(name).filter(|(sample, _)| wanted(sample)) {
            let value = sample.labels.get(label).unwrap_or_default();
            *sums.entry(value.to_owned()).or_insert(0.0) += number;
        }
        sums
    }

    /// The value of a label that all series of this name have.
    pub fn label(&self, name: &str, label: &str) -> Option<&str> {
        let mut of_name = self.0.iter().filter(|sample| sample.metric == name);
        of_name.find_map(|sample| sample.labels.get(label))
    }

    /// The histograms of this name by the value of this label.
    pub fn histograms(&self, name: &str, label: &str) -> BTreeMap<String, Histogram> {
        let mut found: BTreeMap<String, Histogram> = BTreeMap::new();
        for sample in self.0.iter().filter(|sample| sample.metric == name) {
            let Value::Histogram(counts) = &sample.value else {
                continue;
            };
            let mut counts: Vec<(f64, f64)> = counts.iter().map(|count| (count.less_than, count.count)).collect();
            counts.sort_by(|one, other| one.0.total_cmp(&other.0));
            let value = sample.labels.get(label).unwrap_or_default().to_owned();
            found.entry(value).or_default().add(&Histogram(counts));
        }
        found
    }

    fn numbers(&self, name: &str) -> impl Iterator<Item = (&Sample, f64)> {
        self.0
            .iter()
            .filter(move |sample| sample.metric == name)
            .filter_map(|sample| match sample.value {
                Value::Counter(number) | Value::Gauge(number) | Value::Untyped(number) if !number.is_nan() => {
                    Some((sample, number))
                }
                _ => None,
            })
    }
}

impl Histogram {
    /// Adds the observations of another one with the same bounds, such as that of another replica.
    pub fn add(&mut self, other: &Histogram) {
        if self.0.is_empty() {
            self.0.clone_from(&other.0);
            return;
        }
        for (bound, count) in &mut self.0 {
            *count += other.at(*bound);
        }
    }

    /// The observations since `before`.
    pub fn since(&self, before: Option<&Histogram>) -> Histogram {
        let earlier = |bound: f64| before.map_or(0.0, |before| before.at(bound));
        Histogram(
            self.0
                .iter()
                .map(|(bound, count)| (*bound, count - earlier(*bound)))
                .collect(),
        )
    }

    /// Number of observations.
    pub fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }

    /// The quantile in seconds, interpolated inside its bucket as in Prometheus. `None` without observations.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let total = Some(self.count()).filter(|total| *total > 0.0)?;
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

    fn at(&self, bound: f64) -> f64 {
        let found = self.0.iter().find(|(other, _)| *other == bound);
        found.map_or(0.0, |(_, count)| *count)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SCRAPE: &str = "# TYPE end_to_end_latency_seconds histogram\n\
        end_to_end_latency_seconds_bucket{service=\"projection\",stage=\"latest\",le=\"0.01\"} 50\n\
        end_to_end_latency_seconds_bucket{service=\"projection\",stage=\"latest\",le=\"0.1\"} 100\n\
        end_to_end_latency_seconds_bucket{service=\"projection\",stage=\"latest\",le=\"+Inf\"} 100\n\
        end_to_end_latency_seconds_sum{service=\"projection\",stage=\"latest\"} 3.2\n\
        # TYPE messages_processed_total counter\n\
        messages_processed_total{service=\"projection\",topic=\"a\",status=\"success\"} 7\n\
        messages_processed_total{service=\"projection\",topic=\"a\",status=\"observed\"} 5\n\
        messages_processed_total{service=\"projection\",topic=\"b\",status=\"success\"} 2\n\
        # TYPE kafka_consumer_lag gauge\n\
        kafka_consumer_lag{group=\"a\"} NaN\n";

    fn latest(scrape: &str) -> Histogram {
        Scrape::parse(scrape).histograms("end_to_end_latency_seconds", "stage")["latest"].clone()
    }

    #[test]
    fn a_quantile_is_interpolated_inside_its_bucket() {
        let latest = latest(SCRAPE);
        assert_eq!(latest.quantile(0.5), Some(0.01));
        assert!((latest.quantile(0.75).unwrap() - 0.055).abs() < 1e-9);
        assert_eq!(latest.since(Some(&latest)).quantile(0.5), None);
    }

    #[test]
    fn earlier_observations_do_not_count_and_those_of_replicas_do() {
        let (before, mut after) = (latest(SCRAPE), latest(&SCRAPE.replace("} 100", "} 140")));
        let new = after.since(Some(&before));
        assert!(new.quantile(0.5).unwrap() > 0.01, "all forty new ones are above 10 ms");
        after.add(&before);
        assert_eq!(after.count(), 240.0);
        assert_eq!(after.quantile(0.4), Some(0.0096));
    }

    #[test]
    fn a_quantile_in_the_last_bucket_is_its_lower_bound() {
        let scrape = "# TYPE x histogram\nx_bucket{le=\"1\"} 0\nx_bucket{le=\"+Inf\"} 5\n";
        let found = Scrape::parse(scrape).histograms("x", "stage");
        assert_eq!(found[""].quantile(0.99), Some(1.0));
    }

    #[test]
    fn counters_are_summed_by_label_and_what_is_no_number_is_absent() {
        let scrape = Scrape::parse(SCRAPE);
        assert_eq!(scrape.sum("messages_processed_total"), Some(14.0));
        let wanted = |sample: &Sample| sample.labels.get("status") != Some("observed");
        let sums = scrape.sums("messages_processed_total", "topic", wanted);
        assert_eq!(sums, BTreeMap::from([("a".to_owned(), 7.0), ("b".to_owned(), 2.0)]));
        assert_eq!(scrape.sum("kafka_consumer_lag"), None);
        assert_eq!(scrape.sum("unknown"), None);
        assert_eq!(scrape.label("messages_processed_total", "service"), Some("projection"));
        assert_eq!(Scrape::parse("<html>").sum("x"), None);
    }
}
