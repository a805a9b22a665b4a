//! What a statement does, judged by its words. Pure.
//!
//! Failure: the judgement only decides about a refusal or a question; the server decides what a statement may do.

/// Statements that administer the server are refused: they are a task for ClickHouse's own client.
const ADMINISTRATION: [&str; 7] = ["SYSTEM", "GRANT", "REVOKE", "KILL", "BACKUP", "RESTORE", "SET"];
const ADMINISTERED: [&str; 9] = [
    "USER", "ROLE", "QUOTA", "ROW", "POLICY", "SETTINGS", "PROFILE", "NAMED", "FUNCTION",
];

/// Words of an ALTER that removes parts, columns or rows.
const ALTER_REMOVES: [&str; 3] = ["DROP", "DELETE", "CLEAR"];

/// The leading words of the statement if they administer the server.
pub fn administers(statement: &str) -> Option<String> {
    let words = leading_words(statement);
    let first = words.first()?;
    let is_object = |word: &String| ADMINISTERED.contains(&word.as_str());
    match first.as_str() {
        word if ADMINISTRATION.contains(&word) => Some(first.clone()),
        "CREATE" | "ALTER" | "DROP" | "ATTACH" | "DETACH" if words.get(1).is_some_and(is_object) => {
            Some(words.get(..2)?.join(" "))
        }
        _ => None,
    }
}

/// The leading word of the statement if it removes data or tables.
pub fn removes(statement: &str) -> Option<String> {
    let words = leading_words(statement);
    let first = words.first()?;
    let is_removal = match first.as_str() {
        "DROP" | "TRUNCATE" | "DELETE" | "REPLACE" => true,
        "CREATE" => words.get(1..3).is_some_and(|words| words == ["OR", "REPLACE"]),
        // Such a word within a value asks in vain.
        "ALTER" => statement
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .any(|word| ALTER_REMOVES.iter().any(|removal| word.eq_ignore_ascii_case(removal))),
        _ => false,
    };
    is_removal.then(|| first.clone())
}

/// The first words in upper case, after leading comments.
fn leading_words(statement: &str) -> Vec<String> {
    let mut rest = statement.trim_start_matches(|c: char| c.is_whitespace() || c == '(' || c == ';');
    loop {
        let after = match (rest.strip_prefix("--"), rest.strip_prefix("/*")) {
            (Some(comment), _) => comment.split_once('\n').map_or("", |(_, after)| after),
            (_, Some(comment)) => comment.split_once("*/").map_or("", |(_, after)| after),
            _ => break,
        };
        rest = after.trim_start_matches(|c: char| c.is_whitespace() || c == '(' || c == ';');
    }
    rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .take(3)
        .map(str::to_ascii_uppercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_administer_the_server_are_recognized() {
        for statement in [
            "SYSTEM SHUTDOWN",
            "  system\tstop merges",
            "-- a comment\nSYSTEM FLUSH LOGS",
            "/* one */ /* two */ GRANT ALL ON *.* TO x",
            "CREATE USER x",
            "drop role r",
            "KILL QUERY WHERE 1",
        ] {
            assert!(administers(statement).is_some(), "{statement}");
        }
        for statement in [
            "SELECT * FROM system.tables",
            "(SELECT 1)",
            "DROP TABLE system_events",
            "CREATE TABLE user (a Int8) ENGINE = Memory",
            "SHOW CREATE TABLE bars",
            "",
            "--",
        ] {
            assert_eq!(administers(statement), None, "{statement}");
        }
    }

    #[test]
    fn statements_that_remove_data_are_recognized() {
        for (statement, word) in [
            ("DROP TABLE scratch SYNC", Some("DROP")),
            ("-- old\ntruncate table bars", Some("TRUNCATE")),
            ("DELETE FROM market_ticks WHERE 1", Some("DELETE")),
            ("alter table bars drop partition '2026-01-01'", Some("ALTER")),
            ("ALTER TABLE bars DELETE WHERE tick_id IN ('a')", Some("ALTER")),
            ("CREATE OR REPLACE TABLE bars (a Int8) ENGINE = Memory", Some("CREATE")),
            ("ALTER TABLE bars ADD COLUMN dropped Int8", None),
            ("CREATE TABLE replace (a Int8) ENGINE = Memory", None),
            ("INSERT INTO bars SELECT 'DROP TABLE bars'", None),
            ("OPTIMIZE TABLE bars FINAL", None),
            ("RENAME TABLE bars TO bars_damaged", None),
            ("", None),
        ] {
            assert_eq!(removes(statement).as_deref(), word, "{statement}");
        }
    }
}
