//! `dp profile`: which functions of a running service use CPU time, and which its memory grows in.
//!
//! Failure: exit code 2 if the service gives no answer or refuses, or if the picture cannot be written; a profile without samples
//! is said in words, and no picture is written.

mod cpu;
mod heap;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use ops::connection::Connection;
use ops::own_route::Asked;
use ops::place::Place;
use ops::present::{duration, print_json, print_line, printable, table};
use profile::flame::{self, Caption, shortened};
use profile::stacks::{By, Function, Stacks};
use serde::Serialize;
use service::http::MAX_PROFILE_SECONDS;

use crate::definitions::DEFAULT_PORTS;

/// Functions in a table.
const TOP: usize = 10;
/// Width of a function in a table of 80 columns.
const NAME: usize = 58;
/// Width of a number of bytes in it.
const BYTES: usize = 10;

/// Profile a running service: a flame graph, and the ten functions with the most CPU time or memory
///
/// Needs no restart, no rights and no other program; the service runs on. A service answers only on its own machine: in a cluster, forward
/// its port (`kubectl port-forward`), or run this inside the pod. One profile of a service at a time.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  dp profile cpu normalization\n  dp profile heap aggregation --for 30s")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Command {
    Cpu(CpuArgs),
    Heap(HeapArgs),
}

/// Show which functions of a running service use CPU time
///
/// Interrupts each thread by its own CPU time and notes its stack. A service without work uses little CPU time and has few samples: run this
/// under load, or for longer. Threads of librdkafka cannot be interrupted; they are shown with their time, without functions. `own` is the
/// time in a function itself, `total` includes what it calls.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Exit codes: 0 done; 2 the service gives no answer or refuses, the file cannot be written, or wrong usage\n\n\
    Examples:\n  dp profile cpu normalization\n  dp profile cpu aggregation --for 30s --output bars.svg\n  \
    dp profile cpu projection --sort total --output projection.folded\n  dp profile cpu normalization --json | jq '.top[0].function'"
)]
pub struct CpuArgs {
    #[command(flatten)]
    common: Common,
    /// Samples in a second of CPU time, up to 250
    #[arg(long, value_name = "N", default_value_t = profile::cpu::FREQUENCY,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(profile::cpu::MAX_FREQUENCY)))]
    frequency: u32,
    /// Order of the table
    #[arg(long, value_enum, default_value_t = Sort::Own)]
    sort: Sort,
}

/// What the functions of a table are sorted by.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Sort {
    /// Time in the function itself
    Own,
    /// Time with what it calls
    Total,
}

impl Sort {
    fn by(self) -> By {
        match self {
            Sort::Own => By::Own,
            Sort::Total => By::Total,
        }
    }
}

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
    common: Common,
    /// Draw all that was allocated, freed or not, instead of what is still in use
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Clone, clap::Args)]
struct Common {
    /// normalization, enrichment, aggregation, projection, or a replica such as normalization-2
    service: String,
    /// How long, in whole seconds up to one minute
    #[arg(long = "for", alias = "seconds", value_name = "TIME", default_value = "10s", value_parser = seconds)]
    seconds: u32,
    /// The picture: an SVG file, or folded stacks if the name ends with .folded; - is standard output
    /// [default: SERVICE-cpu-TIME.svg or SERVICE-heap-TIME.svg]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// A service counts in whole seconds.
fn seconds(text: &str) -> Result<u32, String> {
    let time = duration(text)?;
    let whole = u32::try_from(time.as_secs()).ok().filter(|_| time.subsec_nanos() == 0);
    whole
        .filter(|seconds| (1..=MAX_PROFILE_SECONDS).contains(seconds))
        .ok_or_else(|| format!("it must be whole seconds from 1s to {MAX_PROFILE_SECONDS}s"))
}

/// Runs `dp profile`.
///
/// # Errors
/// The service is not known, gives no answer, or refuses; the picture cannot be written.
pub async fn run(place: &Place, connection: &Connection, args: &Args) -> anyhow::Result<()> {
    let (Command::Cpu(CpuArgs { common, .. }) | Command::Heap(HeapArgs { common, .. })) = &args.command;
    let asked = Asked {
        place,
        connection,
        service: &common.service,
        usual: &DEFAULT_PORTS,
    };
    match &args.command {
        Command::Cpu(args) => cpu::run(asked, args, connection.json).await,
        Command::Heap(args) => heap::run(asked, args, connection.json).await,
    }
}

/// A picture to be written.
struct Picture<'a> {
    /// `cpu` or `heap`.
    kind: &'a str,
    service: &'a str,
    /// Second line of the picture.
    subtitle: String,
    stacks: &'a Stacks,
    shown: fn(u64) -> String,
}

/// Where a picture was written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Written {
    /// There is nothing to draw.
    Nothing,
    Output,
    File(PathBuf),
}

impl Picture<'_> {
    fn write(&self, output: Option<&Path>) -> anyhow::Result<Written> {
        if self.stacks.weight() == 0 {
            return Ok(Written::Nothing);
        }
        let path = output.map_or_else(|| self.usual_path(jiff::Timestamp::now()), Path::to_path_buf);
        let text = match path.extension().is_some_and(|ending| ending == "folded") {
            true => self.stacks.folded(),
            false => self.svg(),
        };
        if path.as_os_str() == "-" {
            std::io::stdout()
                .write_all(text.as_bytes())
                .context("write to stdout")?;
            return Ok(Written::Output);
        }
        let advice = || format!("write {}; choose another file with --output", path.display());
        std::fs::write(&path, text).with_context(advice)?;
        Ok(Written::File(path))
    }

    fn svg(&self) -> String {
        let title = format!("{} {}", self.service, self.kind);
        let caption = Caption {
            title: &title,
            subtitle: &self.subtitle,
        };
        flame::svg(caption, self.stacks, self.shown)
    }

    fn usual_path(&self, now: jiff::Timestamp) -> PathBuf {
        // The name comes from a service.
        let is_plain = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '-';
        let service: String = self.service.chars().filter(is_plain).collect();
        PathBuf::from(format!(
            "{service}-{}-{}.svg",
            self.kind,
            now.strftime("%Y%m%dT%H%M%SZ")
        ))
    }
}

impl Written {
    fn path(&self) -> Option<String> {
        match self {
            Written::File(path) => Some(path.display().to_string()),
            Written::Nothing | Written::Output => None,
        }
    }

    /// Prints the result, beside the picture if that has taken the standard output.
    fn print(&self, json: bool, value: &impl Serialize, text: &str) -> anyhow::Result<()> {
        let text = match self {
            Written::File(path) => format!("{text}\nflame graph: {}", printable(&path.display().to_string())),
            Written::Nothing => format!("{text}\nno picture was written: there is nothing to draw"),
            Written::Output => {
                eprintln!("{text}");
                return Ok(());
            }
        };
        match json {
            true => print_json(value),
            false => print_line(&text),
        }
    }
}

/// A table of functions, of 80 columns, with their own weight if it is in bytes.
fn functions(top: &[Function], bytes: Option<fn(u64) -> String>) -> String {
    let width = if bytes.is_some() { NAME - BYTES - 3 } else { NAME };
    let row = |function: &Function| {
        let name = shortened(&printable(&function.function), width);
        let own = bytes.map(|shown| shown(function.own));
        let percents = [function.own_percent, function.total_percent].map(|percent| format!("{percent:.1}"));
        std::iter::once(name).chain(own).chain(percents).collect()
    };
    let headers: &[&str] = match bytes {
        Some(_) => &["function", "own", "own %", "total %"],
        None => &["function", "own %", "total %"],
    };
    table(headers, 1, top.iter().map(row))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser as _;
    use profile::stacks::Folding;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn numbers_out_of_range_are_refused_with_what_is_valid() {
        let refused = |words: &[&str]| match Line::try_parse_from([&["profile"], words].concat()) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        assert_eq!(refused(&["cpu", "projection", "--for", "1m"]), "");
        // As it was before lengths of time had units.
        assert_eq!(refused(&["cpu", "projection", "--seconds", "60"]), "");
        assert_eq!(refused(&["heap", "projection", "--all"]), "");
        for (words, reason) in [
            (&["cpu", "projection", "--for", "61"][..], "from 1s to 60s"),
            (&["cpu", "projection", "--for", "1500ms"], "whole seconds"),
            (&["heap", "projection", "--seconds", "0"], "from 1s to 60s"),
            (&["heap", "projection", "--for", "soon"], "600, 500ms, 30s"),
            (&["cpu", "projection", "--frequency", "251"], "1..=250"),
            (&["cpu"], "<SERVICE>"),
        ] {
            assert!(refused(words).contains(reason), "{words:?}: {}", refused(words));
        }
    }

    fn picture(stacks: &Stacks) -> Picture<'_> {
        Picture {
            kind: "cpu",
            service: "../a service",
            subtitle: "2 s".to_owned(),
            stacks,
            shown: |weight| format!("{weight} samples"),
        }
    }

    #[test]
    fn a_picture_is_written_by_its_ending_and_never_without_samples() {
        let folder = tempfile::tempdir().unwrap();
        let mut folding = Folding::default();
        folding.add(Some("worker"), ["main"], 3);
        let stacks = folding.done();
        let path = folder.path().join("a.folded");
        let written = picture(&stacks).write(Some(&path)).unwrap();
        assert_eq!(written, Written::File(path.clone()));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "worker;main 3\n");
        let path = folder.path().join("a.svg");
        picture(&stacks).write(Some(&path)).unwrap();
        assert!(
            std::fs::read_to_string(&path)
                .unwrap()
                .contains("main: 100.0 %, 3 samples")
        );
        let nowhere = folder.path().join("none").join("a.svg");
        let refused = picture(&stacks).write(Some(&nowhere)).unwrap_err().to_string();
        assert!(refused.contains("--output"), "{refused}");
        let empty = Stacks::default();
        assert_eq!(picture(&empty).write(Some(&nowhere)).unwrap(), Written::Nothing);
    }

    #[test]
    fn the_usual_name_has_the_service_and_the_time_and_no_folder() {
        let stacks = Stacks::default();
        let path = picture(&stacks).usual_path(jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(path, PathBuf::from("aservice-cpu-19700101T000000Z.svg"));
    }

    #[test]
    fn a_table_of_functions_fits_80_columns() {
        let function = Function {
            function: "<core::pin::Pin<P> as core::future::future::Future>::poll".repeat(3),
            own: u64::MAX >> 20,
            total: u64::MAX >> 20,
            own_percent: 100.0,
            total_percent: 100.0,
        };
        for bytes in [None, Some((|_| "999.99 MiB".to_owned()) as fn(u64) -> String)] {
            let text = functions(std::slice::from_ref(&function), bytes);
            assert!(text.lines().all(|line| line.chars().count() == 80), "{text}");
        }
    }
}
