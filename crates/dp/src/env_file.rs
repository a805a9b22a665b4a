//! Reads a file of environment variables, as `docker compose` and `kubectl create configmap --from-env-file` take it.
//!
//! Role: `NAME=VALUE` for each line; empty lines and lines that begin with `#` are skipped, `export ` in front and one pair of
//! quotes around the value are removed. A name alone takes its value from the environment of the process. Later lines win.
//! `${…}` is not expanded.

use std::path::Path;

use anyhow::{Context as _, bail};
use service::Env;

/// Adds the variables of this file to `env`.
///
/// # Errors
/// The file cannot be read, or a line names no variable.
pub fn read(path: &Path, process: &Env, env: &mut Env) -> anyhow::Result<()> {
    let shown = path.display();
    let content = std::fs::read_to_string(path).with_context(|| format!("read environment file {shown}"))?;
    for (number, line) in content.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name.trim(), Some(unquoted(value.trim()).to_owned())),
            None => (line, process.get(line).cloned()),
        };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            // The line itself may contain a secret.
            bail!("{shown}:{}: expected NAME=VALUE", number + 1);
        }
        match value {
            Some(value) => _ = env.insert(name.to_owned(), value),
            None => _ = env.remove(name),
        }
    }
    Ok(())
}

fn unquoted(value: &str) -> &str {
    let inner = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read_text(content: &str) -> anyhow::Result<Vec<(String, String)>> {
        let path = std::env::temp_dir().join(format!("dp-env-file-{}-{}", std::process::id(), content.len()));
        std::fs::write(&path, content).unwrap();
        let process = Env::from([("FROM_SHELL".to_owned(), "yes".to_owned())]);
        let mut env = Env::new();
        let result = read(&path, &process, &mut env);
        std::fs::remove_file(&path).unwrap();
        result.map(|()| env.into_iter().collect())
    }

    #[test]
    fn lines_are_read_as_compose_reads_them() {
        let content = "# comment\n\nA=1\n export B = \"two words\" \nC='x=y'\nD=\nA=2\nFROM_SHELL\nNOT_SET\n";
        let pairs = [
            ("A", "2"),
            ("B", "two words"),
            ("C", "x=y"),
            ("D", ""),
            ("FROM_SHELL", "yes"),
        ];
        assert_eq!(
            read_text(content).unwrap(),
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn a_line_without_a_name_is_located_and_not_shown() {
        for content in ["A=1\n=s3cret", "A=1\ns3cret value"] {
            let error = read_text(content).unwrap_err().to_string();
            assert!(
                error.ends_with(":2: expected NAME=VALUE") && !error.contains("s3cret"),
                "{error}"
            );
        }
    }
}
