//! What a wake-up costs on this machine in this minute, and what percentages of a core are without the machine.
//!
//! Role: a percentage of a core measures the core as well. [`cost`] measures a lone thread that sleeps and does nothing; [`with_cost`] and
//! [`relate`] divide by that and by the bare client's time. No goal depends on these figures.
//! Failure: a kernel that does not count the CPU time of a thread in `schedstat` gives no figure.

use std::time::{Duration, Instant};

use crate::bare;
use crate::figures::{Figures, Section};
use crate::statistics::median;

/// How long the thread sleeps at a time.
pub const SLEEP: Duration = Duration::from_millis(10);
/// How long it does so.
pub const LASTS: Duration = Duration::from_secs(5);
/// Three numbers: nanoseconds on a core, nanoseconds of waiting for one, times on a core.
const SCHEDSTAT: &str = "/proc/thread-self/schedstat";
/// The benchmark whose rounds of the bare client count. Others pin it to a core.
const WITH_CLIENT: &str = "hop";

/// CPU time of a wake-up in microseconds, measured with the calling thread. Blocks for [`LASTS`].
pub fn cost() -> Option<f64> {
    let (began, before) = (Instant::now(), own_nanos()?);
    let mut wake_ups = 0;
    while began.elapsed() < LASTS {
        std::thread::sleep(SLEEP);
        wake_ups += 1;
    }
    micros_each(own_nanos()?.saturating_sub(before), wake_ups)
}

fn own_nanos() -> Option<u64> {
    nanos_in(&std::fs::read_to_string(SCHEDSTAT).ok()?)
}

fn nanos_in(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

/// A thread that has woken up has used a core: 0 means that the kernel does not count.
fn micros_each(nanos: u64, wake_ups: u64) -> Option<f64> {
    (nanos > 0 && wake_ups > 0).then(|| nanos as f64 / 1e3 / wake_ups as f64)
}

/// Adds the cost of a wake-up, and what the counted wake-ups and the percentage are at that cost.
#[must_use]
pub fn with_cost(figures: Figures, micros: Option<f64>) -> Figures {
    let Some(micros) = micros.filter(|micros| *micros > 0.0) else {
        return figures;
    };
    let percent_of = |wake_ups: f64| wake_ups * micros / 1e6 * 100.0;
    Figures {
        wake_up_us: Some(micros),
        wake_ups_percent: figures.wake_ups_per_second.map(percent_of),
        core_percent_per_wake_up_us: figures.core_percent_total.map(|percent| percent / micros),
        ..figures
    }
}

/// Divides each percentage of a core by the CPU time a message of the bare client, if the same run has measured it.
pub fn relate(sections: &mut [Section]) {
    let Some(micros) = client_micros(sections).filter(|micros| *micros > 0.0) else {
        return;
    };
    for section in sections {
        let rows = section.rows.iter_mut().map(|row| &mut row.figures);
        for figures in rows.chain([&mut section.figures]) {
            figures.core_percent_per_client_us = figures.core_percent_total.map(|percent| percent / micros);
        }
    }
}

/// The median of the bare client's rounds, in microseconds a message.
fn client_micros(sections: &[Section]) -> Option<f64> {
    let with_client = sections.iter().filter(|section| section.bench == WITH_CLIENT);
    let rows = with_client.flat_map(|section| &section.rows);
    median(rows.filter_map(|row| row.figures.cpu_us_per_tick.get(bare::NAME).copied()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Row;

    #[test]
    fn the_cost_is_the_time_on_a_core_divided_by_the_wake_ups() {
        assert_eq!(nanos_in("45000000 1451519 500\n"), Some(45_000_000));
        assert_eq!((nanos_in(""), nanos_in("unknown 1 2")), (None, None));
        assert_eq!(micros_each(45_000_000, 500), Some(90.0));
        assert_eq!(
            (micros_each(0, 500), micros_each(45_000_000, 0)),
            (None, None),
            "a kernel that does not count"
        );
    }

    #[test]
    fn wake_ups_explain_their_number_times_their_cost() {
        let figures = || Figures {
            core_percent_total: Some(6.0),
            wake_ups_per_second: Some(550.0),
            ..Figures::lasted(30.0)
        };
        let weighed = with_cost(figures(), Some(80.0));
        assert_eq!(weighed.wake_up_us, Some(80.0));
        assert_eq!(weighed.core_percent_per_wake_up_us, Some(0.075));
        assert!(
            weighed
                .wake_ups_percent
                .is_some_and(|percent| (percent - 4.4).abs() < 1e-9),
            "550 wake-ups of 80 µs are 44 ms of a second: {weighed:?}"
        );
        assert_eq!(with_cost(figures(), None), figures());
        let never_woken = with_cost(Figures::lasted(1.0), Some(80.0));
        assert_eq!(
            (never_woken.wake_ups_percent, never_woken.core_percent_per_wake_up_us),
            (None, None)
        );
    }

    fn section(bench: &'static str, rows: Vec<Row>) -> Section {
        Section {
            bench,
            figures: rows.last().map(|row| row.figures.clone()).unwrap_or_default(),
            rows,
            notes: Vec::new(),
        }
    }

    #[test]
    fn percentages_are_divided_by_the_median_round_of_the_bare_client_of_the_same_run() {
        let client = |micros: f64| {
            let mut figures = Figures::moved(100, 1.0);
            figures.cpu_us_per_tick.insert(bare::NAME.to_owned(), micros);
            Row::new("bare client", figures)
        };
        let of_idle = || {
            let figures = Figures {
                core_percent_total: Some(5.0),
                ..Figures::default()
            };
            section("idle", vec![Row::new("idle", figures)])
        };
        let rounds = section("hop", vec![client(9.0), client(2.0), client(1.0)]);
        let pinned = section("scaling", vec![client(100.0)]);
        let mut run = [of_idle(), rounds, pinned];
        relate(&mut run);
        let [idle, hop, _] = &run;
        assert_eq!(idle.figures.core_percent_per_client_us, Some(2.5));
        assert_eq!(
            idle.rows.first().map(|row| row.figures.core_percent_per_client_us),
            Some(Some(2.5))
        );
        assert_eq!(hop.figures.core_percent_per_client_us, None, "it has no percentage");

        let mut alone = [of_idle()];
        relate(&mut alone);
        assert_eq!(alone, [of_idle()]);
    }
}
