//! Appends its input to a log file of bounded size: `dp-log FILE`.
//!
//! Role: reads the output of a process of the local stack and writes its log, so that the log can be rotated while the
//! process runs. It ends when all processes that write to the pipe have ended.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: dp-log FILE");
        return ExitCode::from(2);
    };
    match localstack::append_rotating(&mut std::io::stdin().lock(), Path::new(&path)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dp-log: {}: {error}", Path::new(&path).display());
            ExitCode::FAILURE
        }
    }
}
