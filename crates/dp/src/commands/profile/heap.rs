//! `dp profile heap`.

use ops::own_route::Asked;
use ops::present::{bytes, printable, table, wrapped};
use ops::progress::waiting;
use profile::growth::{Difference, HeapProfile, Moment};
use profile::heap::Allocated;
use profile::stacks::{By, Function, Stacks};
use serde::Serialize;

use super::common::Common;
use super::picture::{Picture, TOP, functions};
use crate::cells::count;

/// Functions in the table of all allocations.
const ALL_TOP: usize = 5;
/// Width of a line.
const COLUMNS: usize = 80;
/// Shown where a number is not known.
const UNKNOWN: &str = "?";

/// Show how the memory of a running service grows, and which functions allocate it
///
/// Compares two moments. Bytes of Rust code are counted; bytes by function are estimated from samples, one in 128 KiB, so a function with
/// less may be missing. What was allocated before the first moment has no function. C libraries (librdkafka, OpenSSL) share the heap: their
/// part is what remains of its growth.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Exit codes: 0 done; 2 the service gives no answer or refuses, the file cannot be written, or wrong usage\n\n\
    Examples:\n  dp profile heap aggregation\n  dp profile heap projection --for 1m --output growth.svg\n  \
    dp profile heap normalization --all --json | jq '.difference.rust'"
)]
pub struct HeapArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// Draw all that was allocated, freed or not, instead of what is still in use
    #[arg(long)]
    all: bool,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    service: &'a str,
    seconds: f64,
    before: &'a Moment,
    after: &'a Moment,
    difference: Difference,
    allocated: Option<Counts>,
    /// By bytes that are still in use.
    top: Vec<Function>,
    /// By all bytes.
    top_of_all: Vec<Function>,
    output: Option<String>,
}

#[derive(Debug, Serialize)]
struct Counts {
    allocations: u64,
    allocated_bytes: u64,
    freed_bytes: u64,
    sample_bytes: u64,
    lost: u64,
}

pub(super) async fn run(asked: Asked<'_>, args: &HeapArgs, json: bool) -> anyhow::Result<()> {
    let seconds = args.common.seconds;
    let profiling = ops::profile::heap(asked, seconds);
    let profile = waiting(&format!("profiling {} for {seconds} s", asked.service), profiling).await?;
    let nothing = Stacks::default();
    let stacks = |of: fn(&Allocated) -> &Stacks| profile.allocated.as_ref().map_or(&nothing, of);
    let (grown, all) = (stacks(|allocated| &allocated.grown), stacks(|allocated| &allocated.all));
    let (drawn, what) = match args.all {
        true => (all, "all that was allocated"),
        false => (grown, "what was allocated and is still in use"),
    };
    let picture = Picture {
        kind: "heap",
        service: asked.service,
        subtitle: format!("{what} by Rust code in {:.1} s, estimated", profile.seconds),
        stacks: drawn,
        shown: bytes,
    };
    let written = picture.write(args.common.output.as_deref())?;
    let shown = Shown {
        service: asked.service,
        seconds: profile.seconds,
        before: &profile.before,
        after: &profile.after,
        difference: profile.difference(),
        allocated: profile.allocated.as_ref().map(Counts::of),
        top: grown.top(TOP, By::Own),
        top_of_all: all.top(ALL_TOP, By::Own),
        output: written.path(),
    };
    written.print(json, &shown, &text(&shown, &profile))
}

impl Counts {
    fn of(allocated: &Allocated) -> Counts {
        Counts {
            allocations: allocated.allocations,
            allocated_bytes: allocated.allocated_bytes,
            freed_bytes: allocated.freed_bytes,
            sample_bytes: allocated.sample_bytes,
            lost: allocated.lost,
        }
    }
}

fn text(shown: &Shown<'_>, profile: &HeapProfile) -> String {
    let mut lines = vec![
        format!("{}: two moments, {:.1} s apart", shown.service, shown.seconds),
        memory(&shown.difference, profile),
    ];
    let Some(counts) = &shown.allocated else {
        let unknown = "which code allocates is not known: this program has another allocator than the services";
        lines.extend(wrapped(unknown, COLUMNS));
        return lines.join("\n");
    };
    let said = format!(
        "Rust code allocated {} in {} allocation(s), and freed {}.",
        bytes(counts.allocated_bytes),
        count(counts.allocations),
        bytes(counts.freed_bytes)
    );
    lines.extend(wrapped(&said, COLUMNS));
    if shown.top.is_empty() {
        let none = format!(
            "of this, no function keeps more than a few times {}",
            bytes(counts.sample_bytes)
        );
        lines.push(none);
    } else {
        lines.push("Allocated and still in use, by function (estimated):".to_owned());
        lines.push(functions(&shown.top, Some(bytes)));
    }
    if !shown.top_of_all.is_empty() {
        lines.push("Allocated, freed or not, by function (estimated):".to_owned());
        lines.push(functions(&shown.top_of_all, Some(bytes)));
    }
    if counts.lost > 0 {
        let lost = format!(
            "{} sample(s) had no room, so functions are incomplete: use a shorter --for",
            count(counts.lost)
        );
        lines.push(lost);
    }
    lines.join("\n")
}

fn memory(difference: &Difference, profile: &HeapProfile) -> String {
    let (before, after) = (&profile.before, &profile.after);
    let moments = |of: fn(&Moment) -> Option<u64>| [before, after].map(|moment| of(moment).map(bytes));
    let unknown = || [None, None];
    let rows = [
        ("resident", moments(|moment| moment.resident_bytes), difference.resident),
        (
            "anonymous: heap and stacks",
            moments(|moment| moment.anonymous_bytes),
            difference.anonymous,
        ),
        (
            "heap in use",
            moments(|moment| Some(moment.heap_used_bytes)),
            Some(difference.heap_used),
        ),
        ("of this: Rust code", unknown(), difference.rust),
        ("of this: C libraries, malloc", unknown(), difference.c),
        (
            "heap freed and kept by malloc",
            moments(|moment| Some(moment.heap_free_bytes)),
            Some(difference.heap_free),
        ),
        ("not from malloc, or first touched", unknown(), difference.other),
    ];
    let known = |text: Option<String>| text.unwrap_or_else(|| UNKNOWN.to_owned());
    let rows = rows.into_iter().map(|(name, [before, after], grown)| {
        // Parts of the heap have a growth only.
        let only_growth = before.is_none() && after.is_none() && grown.is_some();
        let at = |moment| if only_growth { String::new() } else { known(moment) };
        vec![name.to_owned(), at(before), at(after), known(grown.map(signed))]
    });
    let kept = difference.kept.iter().map(|(name, (before, after))| {
        let number = |number: &f64| format!("{number:.0}");
        vec![
            printable(name),
            number(before),
            number(after),
            format!("{:+.0}", after - before),
        ]
    });
    table(&["memory", "before", "after", "growth"], 1, rows.chain(kept))
}

fn signed(grown: i64) -> String {
    let sign = match grown {
        0 => "",
        1.. => "+",
        _ => "-",
    };
    format!("{sign}{}", bytes(grown.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use profile::stacks::Folding;

    use super::*;

    fn moment(megabytes: u64, windows: f64) -> Moment {
        Moment {
            at: "2026-10-01T00:00:00.000Z".to_owned(),
            resident_bytes: Some((megabytes + 10) << 20),
            anonymous_bytes: None,
            heap_used_bytes: megabytes << 20,
            heap_free_bytes: 2 << 20,
            kept: [("bar_windows_open".to_owned(), windows)].into(),
        }
    }

    fn shown(allocated: Option<Allocated>) -> String {
        let profile = HeapProfile {
            service: "aggregation".to_owned(),
            seconds: 10.0,
            before: moment(100, 3.0),
            after: moment(104, 5.0),
            allocated,
        };
        let top = |of: fn(&Allocated) -> &Stacks| {
            profile
                .allocated
                .as_ref()
                .map_or_else(Vec::new, |all| of(all).top(TOP, By::Own))
        };
        let shown = Shown {
            service: "aggregation",
            seconds: 10.0,
            before: &profile.before,
            after: &profile.after,
            difference: profile.difference(),
            allocated: profile.allocated.as_ref().map(Counts::of),
            top: top(|allocated| &allocated.grown),
            top_of_all: top(|allocated| &allocated.all),
            output: None,
        };
        text(&shown, &profile)
    }

    fn line<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
        let line = text.lines().find(|line| line.contains(start)).unwrap_or_default();
        line.split(['│', '┆'])
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .collect()
    }

    #[test]
    fn a_difference_shows_both_moments_and_what_grew() {
        let mut folding = Folding::default();
        folding.add(None, ["main", "<aggregation::core::Windows as Keep>::insert"], 3 << 20);
        let stacks = folding.done();
        let text = shown(Some(Allocated {
            allocations: 1_234,
            allocated_bytes: 9 << 20,
            freed_bytes: 6 << 20,
            sample_bytes: 128 << 10,
            lost: 0,
            grown: stacks.clone(),
            all: stacks,
        }));
        assert_eq!(
            line(&text, "heap in use"),
            ["heap in use", "100.00 MiB", "104.00 MiB", "+4.00 MiB"]
        );
        assert_eq!(line(&text, "this: Rust"), ["of this: Rust code", "+3.00 MiB"]);
        assert_eq!(
            line(&text, "C libraries"),
            ["of this: C libraries, malloc", "+1.00 MiB"]
        );
        assert_eq!(line(&text, "anonymous"), ["anonymous: heap and stacks", "?", "?", "?"]);
        assert_eq!(line(&text, "bar_windows"), ["bar_windows_open", "3", "5", "+2"]);
        assert!(
            text.contains("allocated 9.00 MiB in 1,234 allocation(s), and freed 6.00 MiB"),
            "{text}"
        );
        assert!(text.contains("Windows as Keep>::insert"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
    }

    #[test]
    fn a_program_with_another_allocator_shows_its_moments() {
        let text = shown(None);
        assert!(text.contains("is not known") && text.contains("+4.00 MiB"), "{text}");
        assert_eq!(line(&text, "this: Rust"), ["of this: Rust code", "?", "?", "?"]);
    }

    #[test]
    fn growth_has_a_sign() {
        assert_eq!(
            [signed(0), signed(2_048), signed(-2_048)],
            ["0 B", "+2.00 KiB", "-2.00 KiB"]
        );
    }
}
