//! Which examples are not run, which ones change something, and in which order these run.
//!
//! An entry is a line, or with a `*` at its end the beginning of lines.

const OTHER_STACK: &str = "means another stack, on fixed ports";
const SCREEN: &str = "draws on a terminal until a key ends it: tests/pipeline/top.rs";

/// Lines that are not run, each with its reason.
pub const EXCEPTIONS: [(&str, &str); 12] = [
    (
        "dp bench*",
        "starts stacks of its own, or measures, for minutes: `make bench`",
    ),
    ("dp demo*", "takes a minute, and this test begins with one"),
    ("dp up --port-offset 1000", OTHER_STACK),
    ("dp down --port-offset 1000", OTHER_STACK),
    ("dp clean-data --port-offset 1000 --yes", OTHER_STACK),
    ("dp ping --port-offset 1000 -s projection", OTHER_STACK),
    ("dp clean-data", "asks on a terminal: tests/harmless/main.rs"),
    ("dp top", SCREEN),
    ("dp top --every 5s --sort lag", SCREEN),
    (
        "dp position skip normalization*",
        "needs a partition that is blocked: tests/positions/passed.rs",
    ),
    (
        "dp redis sentinel*",
        "needs a sentinel: crates/dp/tests/commands/sentinel.rs",
    ),
    (
        "dp schema register*",
        "needs a schema registry: crates/dp/tests/commands/schema.rs",
    ),
];

/// Lines that change something, or of which one at a time can run. They run after those that only read, in the order of the help.
const CHANGES: [&str; 28] = [
    "dp alerts ack*",
    "dp alerts silence*",
    "dp alerts unsilence*",
    "dp backfill*",
    "dp backup*",
    "dp cache invalidate*",
    "dp cache refresh*",
    "dp dlq purge*",
    "dp dlq replay*",
    "dp ingest*",
    "dp kafka reset-offsets*",
    "dp kafka tail dlq --follow",
    "dp logs level*",
    "dp logs aggregation --follow*",
    "dp migrate*",
    "dp pause*",
    "dp position accept*",
    "dp postgres terminate*",
    "dp profile*",
    "dp projection rebuild*",
    "dp reconcile --from*",
    "dp resume*",
    "dp retention run*",
    "dp send*",
    "dp simulate*",
    "dp sql --write*",
    "dp tail normalized --follow*",
    "dp topics create*",
];

/// Lines that start and stop processes, in their order.
const LAST: [&str; 12] = [
    "dp up",
    "dp up --no-services",
    "dp start clickhouse",
    "dp start normalization-2",
    "dp restart*",
    "dp stop && dp backup restore*",
    "dp stop redis",
    "dp stop --kill aggregation",
    "dp stop",
    "dp start",
    "dp clean-data --dry-run",
    "dp down",
];

/// Whether an entry means this line.
pub fn means(entry: &str, line: &str) -> bool {
    match entry.strip_suffix('*') {
        Some(begin) => line.starts_with(begin),
        None => line == entry,
    }
}

/// When a line runs: 0 for one that only reads; of the others, the smallest first.
pub fn phase(line: &str) -> usize {
    match LAST.iter().position(|entry| means(entry, line)) {
        Some(place) => 2 + place,
        None => usize::from(CHANGES.iter().any(|entry| means(entry, line))),
    }
}

/// Whether a line goes on until Ctrl-C.
pub fn follows(line: &str) -> bool {
    line.contains("--follow") || line.starts_with("dp incident listen")
}

/// Entries that mean no line of these.
pub fn without_line(lines: &[String]) -> Vec<&'static str> {
    let exceptions = EXCEPTIONS.iter().map(|(entry, _)| *entry);
    exceptions
        .chain(CHANGES)
        .chain(LAST)
        .filter(|entry| !lines.iter().any(|line| means(entry, line)))
        .collect()
}
