//! The energy that a document does not publish: it must be the same at all nodes of an interval, and most of them decide which it is.

use crate::common::read;

/// The nodes of the ticks that are flagged.
fn flagged(format: &str, text: &str) -> Vec<String> {
    let found = read(format, text.as_bytes()).unwrap();
    assert!(found.rejected.is_empty(), "{format}: {:?}", found.messages);
    let is_flagged = |tick: &&String| tick.contains("!component_mismatch");
    let node = |tick: &String| tick.split('.').nth(1).unwrap_or_default().to_owned();
    found.ticks.iter().filter(is_flagged).map(node).collect()
}

/// A document of each format with these energies of nodes A, B, …, in each of two intervals.
fn documents(energies: &[&str]) -> [(&'static str, String); 4] {
    let nodes = || {
        ["A", "B", "C", "D", "E", "F", "G"]
            .into_iter()
            .zip(energies.iter().copied())
    };
    let miso = |end: &str| -> String {
        nodes()
            .map(|(node, energy)| format!("[\"2026-07-04T10:{end}:00\",\"{node}\",\"{energy}\",\"0\",\"0\"],"))
            .collect()
    };
    let nyiso = |stamps: [&str; 2]| {
        let rows = |stamp: &str| -> String {
            nodes()
                .map(|(node, energy)| format!("07/18/2022 {stamp},{node},1,{energy},0,0\n"))
                .collect()
        };
        "Time Stamp,Name,PTID,LBMP ($/MWHr),Marginal Cost Losses ($/MWHr),Marginal Cost Congestion ($/MWHr)\n"
            .to_owned()
            + &rows(stamps[0])
            + &rows(stamps[1])
    };
    let hours: Vec<String> = (1..=24).map(|hour| format!("HE {hour}")).collect();
    let lines = |(node, energy): (&str, &str)| {
        let line = |value: &str, first: &str| format!("{node},Hub,{value},{first},{first}{}\n", ",0".repeat(22));
        line("LMP", energy) + &line("MLC", "0") + &line("MCC", "0")
    };
    let report: String = nodes().map(lines).collect();
    [
        (
            "miso.rt5.expost.json",
            format!(
                "{{\"headers\":[\"INTERVAL\",\"CPNODE\",\"LMP\",\"MLC\",\"MCC\"],\"data\":[{}]}}",
                (miso("00") + &miso("05")).trim_end_matches(',')
            ),
        ),
        ("nyiso.realtime_zone.csv", nyiso(["00:05:00", "00:10:00"])),
        ("nyiso.damlbmp_zone.csv", nyiso(["00:00", "01:00"])),
        (
            "miso.da.expost.csv",
            format!(
                "Day Ahead Market ExPost LMPs\n7/4/2026\n,,,All Hours-Ending are Eastern Standard Time (EST)\nNode,Type,Value,{}\n{report}",
                hours.join(",")
            ),
        ),
    ]
}

#[test]
fn most_nodes_of_an_interval_decide_which_energy_is_right() {
    for (energies, expected) in [
        (&["1", "1", "1", "1"][..], &[][..]),
        (&["9", "1", "1", "1"], &["A"]),
        (&["9", "1", "1"], &["A"]),
        (&["1", "9", "1", "1"], &["B"]),
        (&["1", "1", "9"], &["C"]),
        (&["9", "9", "1", "1", "1"], &["A", "B"]),
        (&["9", "8", "1.01", "1", "1", "1.02"], &["A", "B"]),
        // No majority.
        (&["9", "1"], &["A", "B"]),
        (&["9", "1", "9", "1"], &["A", "B", "C", "D"]),
        (&["1", "2", "3"], &["A", "B", "C"]),
        (&["9"], &[]),
        // Within the tolerance of most of them.
        (&["1.02", "1", "1", "1"], &[]),
    ] {
        for (format, text) in documents(energies) {
            let mut found = flagged(format, &text);
            found.sort();
            let twice: Vec<&str> = expected.iter().flat_map(|node| [*node, *node]).collect();
            assert_eq!(found, twice, "{format}: {energies:?}");
        }
    }
}
