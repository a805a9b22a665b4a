//! `dp clean-data`: stops the stack and removes its folder.

use ops::threads::blocking;
use serde_json::json;

use super::report::is_stack;
use ops::consent;
use ops::place::Place;
use ops::present::{print_json, print_line};

/// Runs `dp clean-data`.
pub async fn clean_data(place: &Place, yes: bool, json: bool) -> anyhow::Result<()> {
    let folder = place.folder();
    let removed = is_stack(&folder).then_some(&folder);
    if removed.is_some() {
        let stack = place.open()?;
        let what = format!(
            "stop the stack in {} and remove all its data and logs",
            folder.display()
        );
        consent::ask(&what, "yes", yes).await?;
        blocking(move || {
            stack.down()?;
            Ok(stack.clean()?)
        })
        .await?;
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
