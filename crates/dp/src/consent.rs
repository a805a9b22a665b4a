//! Asks before something is done that cannot be undone.
//!
//! Role: one question on the terminal, answered by a word; `--yes` on the command line answers it before it is asked.
//! Failure: without a terminal nobody can answer: then the command refuses, and names `--yes`.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, bail};

/// Returns when the user agrees. `what` says what would be done, `word` is what has to be typed.
///
/// # Errors
/// The user does not agree, or cannot be asked.
pub async fn ask(what: &str, word: &str, yes: bool) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        bail!("this would {what}: repeat it with --yes");
    }
    let question = format!("This would {what}. Type {word} to continue: ");
    // On a thread of its own, so that Ctrl-C ends the command meanwhile.
    let answer = tokio::task::spawn_blocking(move || read_answer(&question))
        .await
        .context("ask")??;
    if answer.trim() == word {
        Ok(())
    } else {
        bail!("nothing was done: {word} was not typed");
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
    async fn only_yes_answers_where_nobody_can_be_asked() {
        assert!(ask("remove it", "yes", true).await.is_ok());
        if !std::io::stdin().is_terminal() {
            let refused = ask("remove it", "yes", false).await.unwrap_err().to_string();
            assert_eq!(refused, "this would remove it: repeat it with --yes");
        }
    }
}
