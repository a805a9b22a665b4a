//! Keeps the stack of a folder on one core while the machine is quiet: `dp-cores FOLDER`.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: dp-cores FOLDER");
        return ExitCode::from(2);
    };
    match localstack::keep_quiet(Path::new(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dp-cores: {error}");
            ExitCode::FAILURE
        }
    }
}
