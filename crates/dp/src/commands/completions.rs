//! `dp completions`: the completion script of a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use super::present::print_line;
use crate::cli::Cli;

/// Print the completion script for a shell
///
/// Install the script once, and again after an update of dp.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  dp completions bash > ~/.local/share/bash-completion/completions/dp")]
pub struct Args {
    /// Shell to write the script for
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs `dp completions`.
pub fn run(args: &Args) -> anyhow::Result<()> {
    print_line(script(args.shell).trim_end())
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dp", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_has_a_script() {
        for shell in Shell::value_variants() {
            assert!(script(*shell).contains("port-offset"), "{shell}");
        }
    }
}
