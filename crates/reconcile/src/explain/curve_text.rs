//! The trace of a curve snapshot as text, with lines of at most [`WIDTH`](super::text::WIDTH) characters unless a name is longer. Pure.

use super::curve::{CurveInput, CurveTrace};
use super::text::Lines;

/// The text of a snapshot's trace.
pub fn curve(trace: &CurveTrace) -> String {
    let mut out = Lines::default();
    let newest = trace.versions.first().map_or(0, |version| version.version);
    out.line(
        0,
        &format!(
            "Curve {} ({}) to horizon {}, tenant {}",
            trace.curve_id, trace.market, trace.horizon, trace.tenant_id
        ),
    );
    out.line(
        0,
        &format!(
            "as of {}, version {newest}: {}; trade date {}, definition {}",
            trace.as_of,
            match trace.status {
                "current" => format!("{} point(s) of {} quote(s)", trace.points.len(), trace.inputs.len()),
                _ => "taken back, it has no points".to_owned(),
            },
            trace.day,
            trace.definition
        ),
    );
    match trace.differences.is_empty() {
        true => out.line(
            0,
            "recomputed from its points: each quote has the price or the residual that it says",
        ),
        false => trace
            .differences
            .iter()
            .for_each(|words| out.line(0, &format!("DIFFERS: {words}"))),
    }
    points(&mut out, trace);
    out.title("Quotes, with their delivered hours");
    trace.inputs.iter().for_each(|input| of_input(&mut out, input));
    out.title("Versions in table curve_snapshots, newest first");
    for version in &trace.versions {
        out.line(
            2,
            &format!(
                "version {} (revision {}, {}), known at {}",
                version.version, version.revision, version.cause, version.known_at
            ),
        );
        out.line(
            4,
            &format!(
                "newest quote {}; curves topic {}; ingested {}",
                version.origin, version.place, version.ingested_at
            ),
        );
    }
    out.title("Raw messages");
    trace.raw.iter().for_each(|raw| out.raw(raw));
    out.notes(&trace.notes);
    out.text
}

/// The points of each block in one paragraph.
fn points(out: &mut Lines, trace: &CurveTrace) {
    out.title("Points");
    for block in ["flat", "peak", "off_peak"] {
        let of_block = trace.points.iter().filter(|point| point.block == block);
        let words: Vec<String> = of_block
            .map(|point| format!("{} {} {}", point.contract, point.price, point.method))
            .collect();
        if !words.is_empty() {
            out.line(2, &format!("{block}: {}", words.join(", ")));
        }
    }
    if trace.points.is_empty() {
        out.line(2, "none");
    }
}

fn of_input(out: &mut Lines, input: &CurveInput) {
    let mut words = format!("{} {}: {} {}", input.contract, input.block, input.price, input.state);
    if let Some(residual) = input.residual {
        words.push_str(&format!(", residual {residual}"));
    }
    match input.hours {
        Some(hours) => words.push_str(&format!(", {hours} h")),
        None => words.push_str(", not within these points"),
    }
    out.line(2, &format!("{words}, of {}", input.known_at));
    input
        .differences
        .iter()
        .for_each(|words| out.line(4, &format!("DIFFERS: {words}")));
    match &input.tick {
        Some(tick) => out.places(4, tick),
        None => out.line(4, &format!("raw {} (no row)", input.origin)),
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::super::curve::tests::quote;
    use super::super::curve::{CurvePoint, CurveVersion};
    use super::super::text::WIDTH;
    use super::super::{At, Place};
    use super::*;

    fn trace() -> CurveTrace {
        let point = |contract: &str| CurvePoint {
            contract: contract.to_owned(),
            block: "flat".to_owned(),
            delivery_start: String::new(),
            delivery_end: String::new(),
            price: 40.25,
            method: "shaped".to_owned(),
        };
        CurveTrace {
            tenant_id: "t".to_owned(),
            curve_id: "C".to_owned(),
            market: "PJM".to_owned(),
            horizon: "all".to_owned(),
            as_of: At(0),
            status: "current",
            day: date(2026, 12, 18),
            definition: "flat".to_owned(),
            versions: vec![CurveVersion {
                version: 7,
                revision: 1,
                cause: "late".to_owned(),
                origin: "raw/0/4/0".to_owned(),
                known_at: At(0),
                place: Place {
                    topic: "curves".to_owned(),
                    partition: 1,
                    offset: 9,
                },
                ingested_at: At(1),
            }],
            points: ["2027-01", "2027-02", "2027-03"].map(point).to_vec(),
            inputs: vec![
                quote(),
                CurveInput {
                    tick: None,
                    hours: None,
                    ..quote()
                },
            ],
            raw: Vec::new(),
            differences: Vec::new(),
            agrees: true,
            notes: vec!["n".repeat(30)],
        }
    }

    #[test]
    fn the_text_leads_from_the_snapshot_through_its_quotes_to_their_ticks() {
        let mut trace = trace();
        let text = curve(&trace);
        for part in [
            "Curve C (PJM) to horizon all, tenant t",
            "version 7: 3 point(s) of 2 quote(s)",
            "recomputed from its points",
            "flat: 2027-01 40.25 shaped, 2027-02",
            "contradictory, residual 0.25, 2159 h",
            "not within these points",
            "(no row)",
            "version 7 (revision 1, late), known at 1970-01-01T00:00:00",
            "newest quote raw/0/4/0; curves topic curves/1/9",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        let longest = text.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(WIDTH), "{text}");
        (trace.status, trace.points) = ("taken_back", Vec::new());
        trace.differences = vec!["quote x is not repriced".to_owned()];
        let text = curve(&trace);
        assert!(
            text.contains("taken back, it has no points") && text.contains("DIFFERS: quote x"),
            "{text}"
        );
    }
}
