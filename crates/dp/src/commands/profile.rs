//! `dp profile`: which functions of a running service use CPU time, and which its memory grows in.
//!
//! Failure: exit code 2 if the service gives no answer or refuses, or if the picture cannot be written; a profile without samples
//! is said in words, and no picture is written.

mod common;
mod cpu;
mod heap;
mod picture;

use ops::connection::Connection;
use ops::definitions::DEFAULT_PORTS;
use ops::own_route::Asked;
use ops::place::Place;

use cpu::CpuArgs;
use heap::HeapArgs;

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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

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
}
