//! The program `dp`: the operator's command line for the pipeline.

use std::process::ExitCode;

fn main() -> ExitCode {
    dp::run()
}
