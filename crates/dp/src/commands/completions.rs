//! `dp completions`: the completion script of a shell.

use clap::Command;
use clap_complete::Shell;
use ops::present::print_data;

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
pub fn run(args: &Args, dp: &mut Command) -> anyhow::Result<()> {
    print_data(script(args.shell, dp).trim_end())
}

fn script(shell: Shell, dp: &mut Command) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, dp, "dp", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, ValueEnum};

    use super::*;

    #[test]
    fn every_shell_has_a_script() {
        for shell in Shell::value_variants() {
            assert!(
                script(*shell, &mut crate::cli::Cli::command()).contains("port-offset"),
                "{shell}"
            );
        }
    }
}
