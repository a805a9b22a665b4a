//! The trace of a derived value as text, with lines of at most [`WIDTH`](super::text::WIDTH) characters unless a name is longer. Pure.

use super::derived::{DerivedLeg, DerivedTrace};
use super::text::Lines;

/// The text of a derived value's trace.
pub fn derived(trace: &DerivedTrace) -> String {
    let mut out = Lines::default();
    out.line(
        0,
        &format!("Series {} ({}), tenant {}", trace.series, trace.kind, trace.tenant_id),
    );
    out.line(0, &format!("at {}: {} {}", trace.time, trace.value(), trace.unit));
    match &trace.recomputed {
        Some(value) if value == trace.value() => out.line(0, "recomputed from its legs: same"),
        Some(value) => out.line(0, &format!("DIFFERS: recomputed from its legs it is {value}")),
        None => {}
    }
    out.title("Legs");
    trace.legs.iter().for_each(|leg| of_leg(&mut out, leg));
    if trace.legs.is_empty() {
        out.line(2, "none has a price at this time");
    }
    out.title("Versions in table derived_prices, newest first");
    for version in &trace.versions {
        let value = version.value.as_deref().unwrap_or("null");
        out.line(
            2,
            &format!(
                "version {} (revision {}, {}): {value}, known at {}",
                version.version, version.revision, version.cause, version.known_at
            ),
        );
        out.line(
            4,
            &format!(
                "because of {}; derived topic {}; ingested {}",
                version.cause_origin, version.place, version.ingested_at
            ),
        );
    }
    out.title("Raw messages");
    trace.raw.iter().for_each(|raw| out.raw(raw));
    out.notes(&trace.notes);
    out.text
}

fn of_leg(out: &mut Lines, leg: &DerivedLeg) {
    let age = match leg.age {
        0 => "of this time, or inside its delivery interval".to_owned(),
        age => format!("{} s old", seconds(age)),
    };
    out.line(
        2,
        &format!(
            "{} {}: {}, of {}, {age}",
            leg.role, leg.instrument_id, leg.price, leg.event_time
        ),
    );
    leg.differences
        .iter()
        .for_each(|words| out.line(4, &format!("DIFFERS: {words}")));
    match &leg.tick {
        Some(tick) => out.places(4, tick),
        None => out.line(4, &format!("raw {} (no row)", leg.origin)),
    }
}

/// Microseconds as seconds, without zeros at the end.
fn seconds(micros: i64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::derived::DerivedVersion;
    use super::super::derived::tests::leg;
    use super::super::text::WIDTH;
    use super::super::{At, Place};
    use super::*;

    fn trace() -> DerivedTrace {
        DerivedTrace {
            tenant_id: "t".to_owned(),
            series: "spark".to_owned(),
            kind: "spark_spread".to_owned(),
            time: At(0),
            unit: "USD/MWh".to_owned(),
            versions: vec![DerivedVersion {
                version: 7,
                value: Some("25".to_owned()),
                revision: 2,
                cause: "late".to_owned(),
                cause_origin: "raw/0/4/0".to_owned(),
                known_at: At(0),
                place: Place {
                    topic: "derived".to_owned(),
                    partition: 1,
                    offset: 9,
                },
                ingested_at: At(1),
            }],
            legs: vec![leg(), DerivedLeg { tick: None, ..leg() }],
            recomputed: Some("25".to_owned()),
            raw: Vec::new(),
            agrees: true,
            notes: vec!["n".repeat(30)],
        }
    }

    #[test]
    fn the_text_leads_from_the_value_through_its_legs_to_their_ticks() {
        let mut trace = trace();
        let text = derived(&trace);
        for part in [
            "Series spark (spark_spread), tenant t",
            "25 USD/MWh",
            "same",
            "90.5 s old",
            "(no row)",
            "version 7 (revision 2, late): 25, known at 1970-01-01T00:00:00",
            "because of raw/0/4/0; derived topic derived/1/9",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        let longest = text.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(WIDTH), "{text}");
        trace.recomputed = Some("26".to_owned());
        assert!(derived(&trace).contains("DIFFERS: recomputed from its legs it is 26"));
    }

    #[test]
    fn ages_are_seconds_without_useless_zeros() {
        assert_eq!([90_500_000, 1, 60_000_000].map(seconds), ["90.5", "0.000001", "60"]);
    }
}
