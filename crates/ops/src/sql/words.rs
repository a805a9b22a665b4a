//! What a statement does, judged by its words. Pure.
//!
//! Failure: the judgement only decides about a refusal or a question; the server decides what a statement may do.

/// Statements that administer the server are refused: they are a task for ClickHouse's own client.
const ADMINISTRATION: [&str; 7] = ["SYSTEM", "GRANT", "REVOKE", "KILL", "BACKUP", "RESTORE", "SET"];
const ADMINISTERED: [&str; 9] = [
    "USER", "ROLE", "QUOTA", "ROW", "POLICY", "SETTINGS", "PROFILE", "NAMED", "FUNCTION",
];

/// Beginnings of a statement that removes or overwrites data or tables, or takes a table away from those who use its name.
const DESTROYS: [&str; 9] = [
    "DROP",
    "TRUNCATE",
    "DELETE",
    "UPDATE",
    "REPLACE",
    "CREATE OR REPLACE",
    "DETACH",
    "EXCHANGE",
    "RENAME",
];
/// Words by which a statement with this beginning does so; of two words both, in any place, since comments can be between them. Such
/// words within a value or a comment, or in two actions of one statement, ask in vain.
const DESTROYS_WITH: [(&str, &[&str]); 2] = [
    (
        "ALTER",
        &[
            "DROP",
            "DELETE",
            "CLEAR",
            "UPDATE",
            "REPLACE",
            "DETACH",
            "MOVE",
            "RENAME",
            "TTL",
            "UNFREEZE",
            // A narrower type changes stored values. The second is `ALTER COLUMN … TYPE`, which does the same.
            "MODIFY COLUMN",
            "COLUMN TYPE",
        ],
    ),
    ("OPTIMIZE", &["DEDUPLICATE", "CLEANUP"]),
];
/// As many words as the longest beginning has.
const LEADING: usize = 3;

/// The leading words of the statement if they administer the server.
pub fn administers(statement: &str) -> Option<String> {
    readings(statement).iter().find_map(|words| administration(words))
}

fn administration(words: &[String]) -> Option<String> {
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

/// The leading word of the statement if it removes, overwrites or renames data or tables.
pub fn removes(statement: &str) -> Option<String> {
    let readings = readings(statement);
    let words = readings.iter().find(|words| destroys(words, statement))?;
    words.first().cloned()
}

fn destroys(words: &[String], statement: &str) -> bool {
    let has_one = |wanted: &[&str]| wanted.iter().any(|phrase| has(statement, phrase));
    DESTROYS.iter().any(|phrase| begins(words, phrase))
        || DESTROYS_WITH
            .iter()
            .any(|(first, with)| begins(words, first) && has_one(with))
}

/// Whether each word of the phrase is a word of the statement.
fn has(statement: &str, phrase: &str) -> bool {
    let is_there = |wanted: &str| {
        statement
            .split(|c: char| !is_word(c))
            .any(|word| word.eq_ignore_ascii_case(wanted))
    };
    phrase.split(' ').all(is_there)
}

fn begins(words: &[String], phrase: &str) -> bool {
    phrase
        .split(' ')
        .enumerate()
        .all(|(at, wanted)| words.get(at).is_some_and(|word| word == wanted))
}

/// The leading words for a server whose comments do not nest, and for one whose comments do: which one it is depends on its version, so
/// the more dangerous reading counts.
fn readings(statement: &str) -> [Vec<String>; 2] {
    [false, true].map(|nests| leading_words(statement, nests))
}

/// The first words in upper case, without the comments before and between them.
fn leading_words(statement: &str, nests: bool) -> Vec<String> {
    let (mut words, mut rest) = (Vec::new(), statement);
    while words.len() < LEADING {
        let mut after = rest.chars();
        let Some(first) = after.next() else {
            break;
        };
        rest = if first == '#' || rest.starts_with("--") {
            rest.split_once('\n').map_or("", |(_, after)| after)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            after_comment(comment, nests)
        } else if is_word(first) {
            let (word, after) = rest.split_at(rest.find(|c: char| !is_word(c)).unwrap_or(rest.len()));
            words.push(word.to_ascii_uppercase());
            after
        } else {
            after.as_str()
        };
    }
    words
}

/// What follows the comment whose inside begins here; nothing if it has no end.
fn after_comment(mut rest: &str, nests: bool) -> &str {
    let mut open = 1_usize;
    while open > 0 {
        let Some(end) = rest.find("*/") else {
            return "";
        };
        let inner = rest.find("/*").filter(|begin| nests && *begin < end);
        open = if inner.is_some() { open + 1 } else { open - 1 };
        rest = rest.get(inner.unwrap_or(end) + 2..).unwrap_or_default();
    }
    rest
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
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
            ("UPDATE bars SET volume = 0 WHERE 1", Some("UPDATE")),
            ("DETACH TABLE bars PERMANENTLY", Some("DETACH")),
            ("EXCHANGE TABLES bars AND bars_copy", Some("EXCHANGE")),
            ("RENAME TABLE bars TO bars_damaged", Some("RENAME")),
            ("OPTIMIZE TABLE bars FINAL DEDUPLICATE", Some("OPTIMIZE")),
            ("", None),
        ] {
            assert_eq!(removes(statement).as_deref(), word, "{statement}");
        }
    }

    #[test]
    fn an_alter_that_removes_or_overwrites_is_told_from_one_that_does_not() {
        for action in [
            "REPLACE PARTITION '2026-01-01' FROM bars_copy",
            "MODIFY TTL window_start + INTERVAL 1 DAY",
            "MATERIALIZE TTL",
            "REMOVE TTL",
            "MODIFY COLUMN volume Int8",
            "modify column if exists volume Int8",
            "MODIFY /* narrower */ COLUMN volume Int8",
            "ALTER COLUMN volume TYPE Int8",
            "ALTER COLUMN volume /* narrower */ type Int8",
            "DETACH PARTITION '2026-01-01'",
            "DETACH PART 'all_1_1_0'",
            "MOVE PARTITION '2026-01-01' TO TABLE bars_copy",
            "UPDATE volume = 0 WHERE 1",
            "CLEAR COLUMN volume",
            "clear index by_time",
            "RENAME COLUMN volume TO amount",
            "UNFREEZE WITH NAME 'a'",
            "ADD COLUMN a Int8, DROP COLUMN b",
        ] {
            let statement = format!("ALTER TABLE bars {action}");
            assert_eq!(removes(&statement).as_deref(), Some("ALTER"), "{statement}");
        }
        for action in [
            "FREEZE",
            "FREEZE PARTITION '2026-01-01' WITH NAME 'a'",
            "ATTACH PARTITION '2026-01-01'",
            "ADD INDEX by_time window_start TYPE minmax",
            "RESET SETTING async_insert",
            "MODIFY SETTING async_insert = 1",
            "MODIFY ORDER BY (window_start, volume)",
            "COMMENT COLUMN volume 'in MWh'",
            "ADD COLUMN column_type Int8",
        ] {
            let statement = format!("ALTER TABLE bars {action}");
            assert_eq!(removes(&statement), None, "{statement}");
        }
    }

    #[test]
    fn comments_hide_nothing_whether_they_nest_or_not() {
        for statement in [
            "# old\nDROP TABLE bars",
            "#!one\n  # two\n-- three\nDROP TABLE bars",
            "/* /* */ */ DROP TABLE bars",
            // Where comments nest, this one ends at the second mark; elsewhere at the first one.
            "/* /* */ SELECT 1 */ DROP TABLE bars",
            "/* /* */ DROP TABLE bars",
            "/* a */*/ DROP TABLE bars",
            "\u{200b}-- old\nDROP TABLE bars",
            ";(/**/DROP TABLE bars",
        ] {
            assert_eq!(removes(statement).as_deref(), Some("DROP"), "{statement}");
        }
        let created = "CREATE /* a */ OR -- b\nREPLACE TABLE bars (a Int8) ENGINE = Memory";
        assert_eq!(removes(created).as_deref(), Some("CREATE"));
        let made = administers("# a\nCREATE /* TABLE */ USER x");
        assert_eq!(made.as_deref(), Some("CREATE USER"));
        for statement in [
            "-- DROP TABLE bars\nSELECT 1",
            "/* DROP TABLE bars */ SELECT 1",
            "# DROP TABLE bars",
            "/* DROP TABLE bars",
            "/*/ DROP TABLE bars */ SELECT 1",
        ] {
            assert_eq!(removes(statement), None, "{statement}");
        }
    }
}
