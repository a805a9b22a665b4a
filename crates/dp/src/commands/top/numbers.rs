//! Numbers as the screen of `dp top` shows them: short, and `-` for what is not known. Pure.

use ops::present::grouped;

/// What is not known.
pub const UNKNOWN: &str = "-";

/// A number of messages.
pub fn count(number: Option<i64>) -> String {
    match number {
        None => UNKNOWN.to_owned(),
        Some(number @ ..1_000_000) => grouped(number),
        Some(number) => format!("{:.1} M", number as f64 / 1e6),
    }
}

/// Events a second.
pub fn rate(rate: Option<f64>) -> String {
    match rate {
        None => UNKNOWN.to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(rate) if rate < 9.95 => format!("{rate:.1}"),
        Some(rate) => count(Some(rate.round() as i64)),
    }
}

/// A share of a core.
pub fn percent(percent: Option<f64>) -> String {
    percent.map_or_else(|| UNKNOWN.to_owned(), |percent| format!("{percent:.0}"))
}

/// Memory.
pub fn memory(bytes: Option<u64>) -> String {
    bytes.map_or_else(
        || UNKNOWN.to_owned(),
        |bytes| format!("{} MB", grouped((bytes >> 20) as i64)),
    )
}

/// A length of time in the unit that fits.
pub fn latency(seconds: Option<f64>) -> String {
    match seconds {
        None => UNKNOWN.to_owned(),
        Some(seconds) if seconds < 0.000_999_5 => format!("{:.0} µs", seconds * 1e6),
        Some(seconds) if seconds < 0.009_95 => format!("{:.1} ms", seconds * 1e3),
        Some(seconds) if seconds < 0.999_5 => format!("{:.0} ms", seconds * 1e3),
        Some(seconds) if seconds < 99.95 => format!("{seconds:.1} s"),
        Some(seconds) => format!("{seconds:.0} s"),
    }
}

/// Time since a start.
pub fn age(seconds: Option<u64>) -> String {
    match seconds {
        None => UNKNOWN.to_owned(),
        Some(seconds @ 0..120) => format!("{seconds} s"),
        Some(seconds @ 120..7_200) => format!("{} min", seconds / 60),
        Some(seconds @ 7_200..172_800) => format!("{} h", seconds / 3_600),
        Some(seconds) => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_an_unknown_one_is_no_zero() {
        let rates = [None, Some(0.0), Some(0.04), Some(3.25), Some(9.96), Some(12_345.6)];
        assert_eq!(rates.map(rate), ["-", "0", "0.0", "3.2", "10", "12,346"]);
        assert_eq!(
            [None, Some(999_999), Some(12_340_000)].map(count),
            ["-", "999,999", "12.3 M"]
        );
        assert_eq!([None, Some(0.4), Some(152.0)].map(percent), ["-", "0", "152"]);
        assert_eq!(
            [None, Some(5 << 20), Some(3 << 30)].map(memory),
            ["-", "5 MB", "3,072 MB"]
        );
        let latencies = [None, Some(0.000_25), Some(0.0042), Some(0.042), Some(1.26), Some(250.0)];
        assert_eq!(
            latencies.map(latency),
            ["-", "250 µs", "4.2 ms", "42 ms", "1.3 s", "250 s"]
        );
        let ages = [None, Some(5), Some(600), Some(7_200), Some(200_000)];
        assert_eq!(ages.map(age), ["-", "5 s", "10 min", "2 h", "2 d"]);
    }
}
