//! The rules that every declaration of a metric keeps to.

use super::{Declared, Kind};

/// What is wrong with these declarations; the tests of the services assert that this is empty.
pub fn flaws(metrics: &[Declared]) -> Vec<String> {
    let mut flaws = Vec::new();
    for declared in metrics {
        let name = declared.name;
        let mut flaw = |is_wrong: bool, text: &str| {
            if is_wrong {
                flaws.push(format!("{name}: {text}"));
            }
        };
        let is_counter = declared.kind == Kind::Counter;
        flaw(
            declared.help.is_empty() || declared.unit.is_empty(),
            "help and unit are required",
        );
        flaw(
            is_counter != name.ends_with("_total"),
            "counters, and only counters, end in _total",
        );
        flaw(
            (declared.unit == "seconds") != name.ends_with("_seconds"),
            "metrics in seconds, and only those, end in _seconds",
        );
        flaw(
            (declared.unit == "bytes") != name.ends_with("_bytes"),
            "metrics in bytes, and only those, end in _bytes",
        );
        flaw(
            declared.labels.contains(&"service"),
            "label service is set by the recorder",
        );
        let labels_differ = |series: &&[(&str, &str)]| !series.iter().map(|(label, _)| label).eq(declared.labels);
        flaw(
            declared.series.iter().any(labels_differ),
            "the labels of a series differ from the declared ones",
        );
        if let Kind::Histogram(buckets) = declared.kind {
            flaw(!buckets.is_sorted_by(|a, b| a < b), "buckets must increase");
        }
    }
    flaws
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declared::SHARED;

    #[test]
    fn names_units_and_labels_agree() {
        assert_eq!(flaws(SHARED), Vec::<String>::new());
        let bad = [
            Declared::new("a", Kind::Counter, "things", "A."),
            Declared::new("b_seconds", Kind::Gauge, "things", "B."),
            Declared::new("c", Kind::Gauge, "things", "").with(&[&[("x", "1")]]),
        ];
        assert_eq!(flaws(&bad).len(), 4, "{:?}", flaws(&bad));
    }
}
