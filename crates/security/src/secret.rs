//! A value that is never printed, given directly or in a file that is read again at each use.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};

/// A secret that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: file {path} {problem}")]
pub struct SecretError {
    variable: String,
    path: String,
    problem: String,
}

/// A string that is never printed: `Debug` and `Display` show `***`, or a URL without its password.
///
/// A secret in a file is read again at each [`Secret::expose`], so that a rotated password is used by the next
/// connection.
#[derive(Clone)]
pub struct Secret {
    source: Source,
}

#[derive(Clone)]
enum Source {
    Value(Arc<str>),
    File(Arc<File>),
}

struct File {
    variable: String,
    path: PathBuf,
    last: Mutex<String>,
    /// Set while the file cannot be read, so that this is logged only once.
    is_unreadable: AtomicBool,
}

impl Secret {
    /// A secret that is given directly.
    pub fn new(value: impl Into<Arc<str>>) -> Secret {
        Secret {
            source: Source::Value(value.into()),
        }
    }

    /// A secret in a file; white space around it is removed. `variable` is the setting that names the file.
    ///
    /// # Errors
    /// The file cannot be read, is not UTF-8 or is empty.
    pub fn in_file(variable: &str, path: impl Into<PathBuf>) -> Result<Secret, SecretError> {
        let path = path.into();
        let value = read(variable, &path)?;
        Ok(Secret {
            source: Source::File(Arc::new(File {
                variable: variable.to_owned(),
                path,
                last: Mutex::new(value),
                is_unreadable: AtomicBool::new(false),
            })),
        })
    }

    /// The string, for the client that needs it. A secret file is read again: call this once per connection, not per message.
    /// While the file cannot be read, the last value is returned and a warning is logged.
    pub fn expose(&self) -> String {
        match &self.source {
            Source::Value(value) => value.as_ref().to_owned(),
            Source::File(file) => file.current(),
        }
    }

    /// Whether the secret is empty.
    pub fn is_empty(&self) -> bool {
        match &self.source {
            Source::Value(value) => value.is_empty(),
            Source::File(_) => false,
        }
    }

    /// Whether it is stored in a file, so that it may change while the process runs.
    pub fn is_in_file(&self) -> bool {
        matches!(self.source, Source::File(_))
    }

    fn last(&self) -> String {
        match &self.source {
            Source::Value(value) => value.as_ref().to_owned(),
            Source::File(file) => file.last().clone(),
        }
    }
}

impl File {
    fn current(&self) -> String {
        match read(&self.variable, &self.path) {
            Ok(value) => {
                if self.is_unreadable.swap(false, Ordering::Relaxed) {
                    tracing::info!(variable = self.variable, path = %self.path.display(), "secret file can be read again");
                }
                self.last().clone_from(&value);
                value
            }
            Err(error) => {
                if !self.is_unreadable.swap(true, Ordering::Relaxed) {
                    tracing::warn!(error = %error, "secret file cannot be read; the last value stays in use: restore the file");
                }
                self.last().clone()
            }
        }
    }

    fn last(&self) -> MutexGuard<'_, String> {
        self.last.lock()
    }
}

fn read(variable: &str, path: &Path) -> Result<String, SecretError> {
    let wrong = |problem: String| SecretError {
        variable: variable.to_owned(),
        path: path.display().to_string(),
        problem,
    };
    let content = std::fs::read_to_string(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    match content.trim() {
        "" => Err(wrong("is empty".to_owned())),
        value => Ok(value.to_owned()),
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        self.last() == other.last()
    }
}

impl Eq for Secret {}

impl Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mask(&self.last()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// The string without its secret parts: a URL loses its password, any other text is replaced.
pub fn mask(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return "***".to_owned();
    };
    // The password may contain '@': the last one before the path ends the user information.
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    // A password with an unencoded '/', '?' or '#': its end is unknown.
    if path.contains('@') || !authority.contains('@') && query.contains('@') {
        return format!("{scheme}://***");
    }
    let path = format!("{path}{}", if query.is_empty() { "" } else { "?***" });
    match authority.rsplit_once('@') {
        Some((user, host)) => {
            let name = user.split_once(':').map_or(user, |(name, _)| name);
            format!("{scheme}://{name}:***@{host}{path}")
        }
        None => format!("{scheme}://{authority}{path}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_a_file_is_read_again_and_survives_a_missing_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "first\n").unwrap();
        let secret = Secret::in_file("X_PASSWORD_FILE", &path).unwrap();
        assert_eq!((secret.expose().as_str(), secret.is_in_file()), ("first", true));
        std::fs::write(&path, "second").unwrap();
        assert_eq!(secret.expose(), "second");
        std::fs::write(&path, " \n").unwrap();
        assert_eq!(secret.expose(), "second", "a file that is being written");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(secret.expose(), "second");
        std::fs::write(&path, "third").unwrap();
        assert_eq!(secret.expose(), "third");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
    }

    #[test]
    fn an_unreadable_or_empty_file_is_named_with_its_variable() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let error = Secret::in_file("X_PASSWORD_FILE", &missing)
            .expect_err("missing")
            .to_string();
        assert!(
            error.contains("X_PASSWORD_FILE") && error.contains("missing"),
            "{error}"
        );
        let empty = folder.path().join("empty");
        std::fs::write(&empty, "\n").unwrap();
        let error = Secret::in_file("X_PASSWORD_FILE", &empty)
            .expect_err("empty")
            .to_string();
        assert!(error.ends_with("is empty"), "{error}");
    }

    #[test]
    fn urls_lose_only_the_password() {
        for (secret, shown) in [
            ("", ""),
            ("s3cret", "***"),
            ("http://host:1/path", "http://host:1/path"),
            ("http://u:p@w@host/x", "http://u:***@host/x"),
            ("postgresql://u:p@h/d?sslpassword=x", "postgresql://u:***@h/d?***"),
        ] {
            assert_eq!(mask(secret), shown);
        }
    }
}
