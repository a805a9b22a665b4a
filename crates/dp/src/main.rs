//! `dp`, the operator's command line of the pipeline.

use std::process::ExitCode;

fn main() -> ExitCode {
    dp::run()
}
