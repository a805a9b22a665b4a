//! Confirmation before a change that cannot be undone.
//!
//! Role: the user confirms by typing a word on the terminal; `--yes` skips the question.
//! Failure: without a terminal the command fails, and its error names `--yes`.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, bail};

/// Returns if the user confirms. `what` says what would be done, `word` is the word to type.
///
/// # Errors
/// The user does not confirm, or there is no terminal.
pub async fn ask(what: &str, word: &str, yes: bool) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        bail!("this would {what}: run the command again with --yes to confirm");
    }
    let question = format!("This would {what}. Type {word} to continue: ");
    // On its own thread, so that Ctrl-C can end the command meanwhile.
    let answer = tokio::task::spawn_blocking(move || read_answer(&question))
        .await
        .context("ask for confirmation")??;
    if answer.trim() == word {
        Ok(())
    } else {
        bail!("nothing was done: the answer was not {word}");
    }
}

fn read_answer(question: &str) -> anyhow::Result<String> {
    let mut err = std::io::stderr().lock();
    err.write_all(question.as_bytes())
        .and_then(|()| err.flush())
        .context("ask on the terminal")?;
    drop(err);
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .context("read the answer")?;
    Ok(answer)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_a_terminal_yes_is_required() {
        assert!(ask("remove it", "yes", true).await.is_ok());
        if !std::io::stdin().is_terminal() {
            let refused = ask("remove it", "yes", false).await.unwrap_err().to_string();
            assert_eq!(
                refused,
                "this would remove it: run the command again with --yes to confirm"
            );
        }
    }
}
