//! What a measurement says. The names of the fields are the JSON keys.

use std::collections::BTreeMap;

use serde::Serialize;

/// The figures of one measurement; what was not measured is left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Ticks (for the bare client: messages) that were moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticks: Option<u64>,
    /// From the first to the last of them, or the duration of what the row names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// The quotient of the two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticks_per_second: Option<f64>,
    /// What the bare client moved over the same topic, in messages a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passthrough_per_second: Option<f64>,
    /// `ticks_per_second` as a share of `passthrough_per_second`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// Published, and not there in the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// There more than once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doubled: Option<u64>,
    /// Bars that do not hold what all their ticks give.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrong_bars: Option<u64>,
    /// Median in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// 99th percentile in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
    /// 99.9th percentile in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p999_ms: Option<f64>,
    /// CPU time for each tick in microseconds, by process.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub cpu_us_per_tick: BTreeMap<String, f64>,
    /// Most memory that was resident at once, in MB, by process.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub peak_rss_mb: BTreeMap<String, f64>,
}

impl Figures {
    /// So many ticks in so many seconds.
    pub fn moved(ticks: u64, seconds: f64) -> Figures {
        Figures {
            ticks: Some(ticks),
            seconds: Some(seconds),
            ticks_per_second: (seconds > 0.0).then(|| ticks as f64 / seconds),
            ..Figures::default()
        }
    }

    /// Only a duration.
    pub fn lasted(seconds: f64) -> Figures {
        Figures {
            seconds: Some(seconds),
            ..Figures::default()
        }
    }

    /// Puts the bare client beside it.
    #[must_use]
    pub fn against(mut self, passthrough_per_second: f64) -> Figures {
        self.passthrough_per_second = Some(passthrough_per_second);
        self.ratio = self
            .ticks_per_second
            .filter(|_| passthrough_per_second > 0.0)
            .map(|own| own / passthrough_per_second);
        self
    }

    /// Adds quantiles of values in milliseconds, which are sorted here.
    #[must_use]
    pub fn with_quantiles(mut self, values: &mut [f64]) -> Figures {
        values.sort_by(f64::total_cmp);
        let of = |share| super::statistics::quantile(values, share);
        (self.p50_ms, self.p99_ms, self.p999_ms) = (of(0.5), of(0.99), of(0.999));
        self
    }

    /// Adds what was lost and doubled.
    #[must_use]
    pub fn with_counts(mut self, lost: u64, doubled: u64) -> Figures {
        (self.lost, self.doubled) = (Some(lost), Some(doubled));
        self
    }
}

/// One named measurement of a benchmark.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// What it gave.
    #[serde(flatten)]
    pub figures: Figures,
}

impl Row {
    /// A measurement with its name.
    pub fn new(name: impl Into<String>, figures: Figures) -> Row {
        Row {
            name: name.into(),
            figures,
        }
    }
}

/// What one benchmark found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Section {
    /// Name of the subcommand.
    pub bench: &'static str,
    /// The figures that the goals are about.
    #[serde(flatten)]
    pub figures: Figures,
    /// Everything that was measured, in order.
    pub rows: Vec<Row>,
    /// What a reader has to know about them.
    pub notes: Vec<String>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_json_keys_are_the_agreed_ones_and_the_unmeasured_are_absent() {
        let mut figures = Figures::moved(300, 2.0).against(200.0).with_counts(0, 1);
        figures.cpu_us_per_tick.insert("kafka".to_owned(), 1.5);
        figures.peak_rss_mb.insert("kafka".to_owned(), 700.0);
        figures.wrong_bars = Some(0);
        let figures = figures.with_quantiles(&mut [3.0, 1.0, 2.0]);
        let value = serde_json::to_value(Row::new("hop", figures)).unwrap();
        let keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = [
            "name",
            "ticks",
            "seconds",
            "ticks_per_second",
            "passthrough_per_second",
            "ratio",
            "lost",
            "doubled",
            "wrong_bars",
            "p50_ms",
            "p99_ms",
            "p999_ms",
            "cpu_us_per_tick",
            "peak_rss_mb",
        ];
        expected.sort_unstable();
        assert_eq!(keys, expected);
        assert_eq!(
            (value["ratio"].as_f64(), value["p50_ms"].as_f64()),
            (Some(0.75), Some(2.0))
        );
        let bare = serde_json::to_value(Figures::lasted(1.0)).unwrap();
        assert_eq!(bare.as_object().unwrap().len(), 1);
    }
}
