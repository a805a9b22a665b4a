//! `dp clean-data`: stops the stack and removes its folder.

use localstack::Name;
use ops::threads::blocking;
use serde_json::json;

use super::ps;
use super::report::{is_stack, listed};
use ops::consent;
use ops::place::Place;
use ops::present::{print_json, print_line};
use ops::progress::waiting;

/// Stop the local stack and remove its folder with all data and logs
///
/// This cannot be undone. It asks for confirmation first; without a terminal it needs --yes. Files in the folder that do
/// not belong to the stack are kept. Downloaded servers are kept too, so the next `dp up` takes seconds and starts empty.
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(
    after_help = "Examples:\n  dp clean-data --dry-run\n  dp clean-data\n  dp clean-data --port-offset 1000 --yes"
)]
pub struct CleanArgs {
    /// Only say what would be stopped and removed
    #[arg(long)]
    dry_run: bool,
}

impl CleanArgs {
    /// Whether it removes anything.
    pub fn removes(self) -> bool {
        !self.dry_run
    }
}

/// Runs `dp clean-data`.
pub async fn clean_data(place: &Place, args: CleanArgs, yes: bool, json: bool) -> anyhow::Result<()> {
    let folder = place.folder();
    let removed = is_stack(&folder).then_some(&folder);
    if args.dry_run {
        let running = match removed {
            Some(_) => ps::running(&place.open()?)?,
            None => Vec::new(),
        };
        let stopped: Vec<Name> = running.into_iter().map(|process| process.name).collect();
        if json {
            return print_json(&json!({ "would_stop": stopped, "would_remove": removed }));
        }
        return print_line(&match removed {
            Some(folder) if stopped.is_empty() => format!("would remove {}; nothing runs there", folder.display()),
            Some(folder) => format!("would stop {}, and remove {}", listed(&stopped), folder.display()),
            None => format!("there is no stack in {}", folder.display()),
        });
    }
    if removed.is_some() {
        let stack = place.open()?;
        let what = format!(
            "stop the stack in {} and remove all its data and logs",
            folder.display()
        );
        consent::ask(&what, "yes", yes).await?;
        let removing = blocking(move || {
            stack.down()?;
            Ok(stack.clean()?)
        });
        waiting("stopping; services drain for up to 30 s", removing).await?;
    }
    if json {
        return print_json(&json!({ "removed": removed }));
    }
    let what = if removed.is_some() {
        "removed"
    } else {
        "there is no stack in"
    };
    print_line(&format!("{what} {}", folder.display()))
}
