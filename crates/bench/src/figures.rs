//! The figures of a measurement. Field names are the JSON keys.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::goal::Goal;

/// The figures of one measurement. Figures that were not measured are left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Number of processed ticks (for the bare client: messages).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticks: Option<u64>,
    /// Time from the first to the last of them, or duration of the measured action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// `ticks` divided by `seconds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticks_per_second: Option<f64>,
    /// Throughput of the bare client over the same topic, in messages a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passthrough_per_second: Option<f64>,
    /// `ticks_per_second` as a share of `passthrough_per_second`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// Ticks that were published but are missing at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// Ticks that are stored more than once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doubled: Option<u64>,
    /// Bars that do not match their ticks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrong_bars: Option<u64>,
    /// Median latency in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// 99th percentile in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
    /// 99.9th percentile in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p999_ms: Option<f64>,
    /// CPU time a tick in microseconds, by process.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub cpu_us_per_tick: BTreeMap<String, f64>,
    /// Peak resident memory in MB, by process.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub peak_rss_mb: BTreeMap<String, f64>,
    /// Share of one core in percent, by process.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub core_percent: BTreeMap<String, f64>,
    /// The same of all processes together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub core_percent_total: Option<f64>,
    /// Requests that the broker served in a second, by kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub requests_per_second: BTreeMap<String, f64>,
    /// Inserts into ClickHouse in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inserts_per_second: Option<f64>,
    /// How often a thread of the stack began to run after a wait, in a second. It depends on the machine least of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wake_ups_per_second: Option<f64>,
    /// CPU time of a wake-up in microseconds, of a lone thread that sleeps 10 ms at a time and does nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wake_up_us: Option<f64>,
    /// Percent of one core that the wake-ups alone take at that cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wake_ups_percent: Option<f64>,
    /// `core_percent_total` divided by `wake_up_us`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub core_percent_per_wake_up_us: Option<f64>,
    /// `core_percent_total` divided by the CPU time a message of the bare client in the same run, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub core_percent_per_client_us: Option<f64>,
}

impl Figures {
    /// The throughput of `ticks` in `seconds`.
    pub fn moved(ticks: u64, seconds: f64) -> Figures {
        Figures {
            ticks: Some(ticks),
            seconds: Some(seconds),
            ticks_per_second: (seconds > 0.0).then(|| ticks as f64 / seconds),
            ..Figures::default()
        }
    }

    /// A duration without a tick count.
    pub fn lasted(seconds: f64) -> Figures {
        Figures {
            seconds: Some(seconds),
            ..Figures::default()
        }
    }

    /// Adds the throughput of the bare client and the ratio.
    #[must_use]
    pub fn against(mut self, passthrough_per_second: f64) -> Figures {
        self.passthrough_per_second = Some(passthrough_per_second);
        self.ratio = self
            .ticks_per_second
            .filter(|_| passthrough_per_second > 0.0)
            .map(|own| own / passthrough_per_second);
        self
    }

    /// Adds quantiles of values in milliseconds. Sorts the values.
    #[must_use]
    pub fn with_quantiles(mut self, values: &mut [f64]) -> Figures {
        values.sort_by(f64::total_cmp);
        let of = |share| super::statistics::quantile(values, share);
        (self.p50_ms, self.p99_ms, self.p999_ms) = (of(0.5), of(0.99), of(0.999));
        self
    }

    /// Adds the numbers of lost and doubled ticks.
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
    /// Its figures.
    #[serde(flatten)]
    pub figures: Figures,
    /// The goals of this measurement.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub goals: Vec<Goal>,
}

impl Row {
    /// A named measurement.
    pub fn new(name: impl Into<String>, figures: Figures) -> Row {
        Row {
            name: name.into(),
            figures,
            goals: Vec::new(),
        }
    }
}

/// The result of one benchmark.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Section {
    /// Name of the subcommand.
    pub bench: &'static str,
    /// The main figures, for which there are performance goals.
    #[serde(flatten)]
    pub figures: Figures,
    /// All measurements, in order.
    pub rows: Vec<Row>,
    /// Notes on the measurements.
    pub notes: Vec<String>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn json_keys_are_the_contract_and_figures_that_were_not_measured_are_absent() {
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
