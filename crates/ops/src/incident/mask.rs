//! Removes secrets from texts. Pure, but for the files that contain secrets.
//!
//! Invariant: what [`Masker::of`] knows appears in no masked text, plain, percent-encoded or escaped as in JSON; neither does the
//! password of any address, known or not.

use std::collections::BTreeSet;

use service::Env;

/// Stands for a secret.
const HIDDEN: &str = "***";
/// Shorter values are no secrets that a search would find; hiding them would make the rest unreadable.
const SHORTEST: usize = 4;
/// The documented credentials of the local stack, whose servers listen on the loopback address only; and values of flags.
const PUBLIC: [&str; 4] = ["user", "password", "true", "false"];
/// Parts of the names of variables whose values are secret, besides those that are declared as such.
const SECRET_NAMES: [&str; 6] = ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "CREDENTIAL", "PRIVATE_KEY"];

/// Knows secrets.
#[derive(Debug, Clone, Default)]
pub struct Masker(BTreeSet<String>);

impl Masker {
    /// Knows the secrets of an environment: the values of the variables that `is_secret` names or that are called like one, those in the files that
    /// they name, and the passwords of addresses.
    pub fn of(env: &Env, is_secret: impl Fn(&str) -> bool) -> Masker {
        let mut masker = Masker::default();
        for (name, value) in env {
            let (variable, content) = match name.strip_suffix("_FILE") {
                // A file that cannot be read has no secret that this program could show.
                Some(variable) => (variable, std::fs::read_to_string(value.trim()).unwrap_or_default()),
                None => (name.as_str(), value.clone()),
            };
            let is_called_secret = SECRET_NAMES.iter().any(|part| variable.to_uppercase().contains(part));
            let value = content.trim();
            masker.know_passwords_in(value);
            // An address is shown without its password.
            if (is_secret(variable) || is_called_secret) && !value.contains("://") {
                masker.know(value);
            }
        }
        masker
    }

    /// Also knows this.
    pub fn know(&mut self, secret: &str) {
        if secret.len() < SHORTEST || PUBLIC.contains(&secret) {
            return;
        }
        let as_json = serde_json::Value::from(secret).to_string();
        // Without its quotes; the secret may end with one, too.
        let inside = as_json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        self.0.extend(inside.map(str::to_owned));
        self.0.insert(secret.to_owned());
    }

    fn know_passwords_in(&mut self, text: &str) {
        for (_, user) in credentials(text) {
            if let Some((_, password)) = user.split_once(':') {
                self.know(password);
                // What is no text after decoding is no password that anyone would see.
                let decoded = percent_encoding::percent_decode_str(password).decode_utf8();
                self.know(&decoded.unwrap_or_default());
            }
        }
        // A DSN of words.
        let words = text.split_whitespace().filter_map(|word| word.split_once('='));
        for (_, password) in words.filter(|(name, _)| *name == "password") {
            self.know(password.trim_matches('\''));
        }
    }

    /// The text without secrets.
    pub fn masked(&self, text: &str) -> String {
        let mut masked = text.to_owned();
        // The longest first: one secret may begin with another one.
        let mut secrets: Vec<&String> = self.0.iter().collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        for secret in secrets {
            if masked.contains(secret.as_str()) {
                masked = masked.replace(secret.as_str(), HIDDEN);
            }
        }
        let found: Vec<(usize, String)> = credentials(&masked).map(|(at, user)| (at, user.to_owned())).collect();
        for (at, user) in found.into_iter().rev() {
            let name = user.split(':').next().unwrap_or_default();
            masked.replace_range(at..at + user.len(), &format!("{name}:{HIDDEN}"));
        }
        masked
    }
}

/// What stands before the `@` of each address in a text, and where it begins.
fn credentials(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.match_indices("://").filter_map(|(at, separator)| {
        let begin = at + separator.len();
        let rest = text.get(begin..)?;
        let ends =
            |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '`' | '\\' | '<' | '>' | '|');
        let authority = rest.get(..rest.find(ends).unwrap_or(rest.len()))?;
        let (user, _) = authority.rsplit_once('@')?;
        Some((begin, user))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::connection::tests::env;

    #[test]
    fn secrets_are_hidden_in_every_form() {
        let masker = Masker::of(
            &env(&[
                ("DATA_PROC_CLICKHOUSE_PASSWORD", "clickhouse-\"secret\""),
                ("DATA_PROC_POSTGRES_DSN", "postgresql://dp:pa%2Fss-word@postgres/db"),
                ("OTHER_DSN", "host=h password=of-words user=u"),
                ("DECLARED", "declared-secret"),
                ("DATA_PROC_LOG_LEVEL", "debug"),
            ]),
            |name| name == "DECLARED",
        );
        let text = "clickhouse-\"secret\" {\"a\":\"clickhouse-\\\"secret\\\"\"} pa%2Fss-word pa/ss-word of-words declared-secret debug";
        let masked = masker.masked(text);
        assert_eq!(masked, "*** {\"a\":\"***\"} *** *** *** *** debug");
    }

    #[test]
    fn the_password_of_an_unknown_address_is_hidden() {
        let masker = Masker::default();
        for (text, expected) in [
            (
                "at http://u:p@h:1/x and redis://:p@r/0.",
                "at http://u:***@h:1/x and redis://:***@r/0.",
            ),
            ("\"http://token@h\"", "\"http://token:***@h\""),
            ("http://h/a@b kafka:9092", "http://h/a@b kafka:9092"),
            ("postgresql://u:a@b@h", "postgresql://u:***@h"),
        ] {
            assert_eq!(masker.masked(text), expected);
        }
    }

    #[test]
    fn public_and_short_values_stay_readable() {
        let masker = Masker::of(
            &env(&[
                ("A_PASSWORD", "password"),
                ("B_TOKEN", "ab"),
                ("C_DSN", "postgresql://user:password@127.0.0.1/db"),
            ]),
            |_| true,
        );
        let text = "password authentication failed for user";
        assert_eq!(masker.masked(text), text);
    }

    #[test]
    fn a_secret_in_a_file_is_known() {
        let path = std::env::temp_dir().join(format!("dp-mask-{}", std::process::id()));
        std::fs::write(&path, "in-a-file\n").unwrap();
        let masker = Masker::of(&env(&[("DATA_PROC_REDIS_URL_FILE", path.to_str().unwrap())]), |_| true);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(masker.masked("x in-a-file y"), "x *** y");
    }
}
