//! `dp sql`: runs a statement on ClickHouse and streams the result to stdout.

use std::io::{IsTerminal, Read, Write};
use std::time::Duration;

use anyhow::{Context as _, bail};
use stores::clickhouse::WHOLE_ANSWERS;

use ops::connection::Connection;
use ops::consent;
use ops::present::{escaped, time_limit};
use ops::progress::waiting;

/// How long ClickHouse may take to answer `SELECT 1` before the statement is sent.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// The header in which ClickHouse sums a statement up; complete, since the answer waits for the end of the statement.
const SUMMARY: &str = "X-ClickHouse-Summary";
/// The header in which ClickHouse names the format of the answer.
const FORMAT: &str = "X-ClickHouse-Format";
/// Statements that administer the server are refused: they are a task for ClickHouse's own client.
const ADMINISTRATION: [&str; 7] = ["SYSTEM", "GRANT", "REVOKE", "KILL", "BACKUP", "RESTORE", "SET"];
const ADMINISTERED: [&str; 9] = [
    "USER", "ROLE", "QUOTA", "ROW", "POLICY", "SETTINGS", "PROFILE", "NAMED", "FUNCTION",
];

/// Words of an ALTER that removes parts, columns or rows.
const ALTER_REMOVES: [&str; 3] = ["DROP", "DELETE", "CLEAR"];

/// Run a SQL statement on ClickHouse (database market_data).
///
/// Statements are read-only unless --write is given. One that removes data or tables (DROP, TRUNCATE, DELETE, ALTER … DROP) also asks for
/// confirmation; without a terminal it needs --yes. Statements that administer the server are always refused. The result is
/// a table, or with --json an array of objects with decimals and 64-bit integers as strings, so that no digit is lost. A
/// FORMAT clause in the statement takes precedence. In tables, control characters of stored texts are escaped; every other format is
/// passed to files and programs as it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    dp sql \"SELECT market, count() FROM market_ticks GROUP BY market\"\n  \
    dp sql \"SELECT * FROM bars_latest WHERE interval = '5m' ORDER BY window_start DESC LIMIT 5\"\n  \
    dp sql --json \"SELECT max(timestamp) AS newest FROM market_ticks\" | jq -r '.[0].newest'\n  \
    dp sql --write \"OPTIMIZE TABLE bars FINAL\"\n  \
    dp sql --write --yes \"DROP TABLE IF EXISTS scratch\"\n  \
    echo 'SHOW TABLES' | dp sql -")]
pub struct Args {
    /// The statement, or - to read it from stdin
    #[arg(value_name = "SQL", allow_hyphen_values = true)]
    statement: String,
    /// Allow the statement to change data or tables
    #[arg(long)]
    write: bool,
    /// Maximum run time of the statement in seconds
    #[arg(long, value_name = "TIME", default_value = "120", value_parser = time_limit)]
    timeout: Duration,
}

impl Args {
    /// Whether the statement may change data or tables.
    pub fn writes(&self) -> bool {
        self.write
    }
}

/// Runs `dp sql`; `yes` skips the question before data is removed.
pub async fn run(connection: &Connection, args: &Args, yes: bool) -> anyhow::Result<()> {
    let statement = statement(args)?;
    if args.write
        && let Some(word) = removes(&statement)
    {
        let at = &connection.settings.clickhouse.url;
        consent::ask(&format!("remove data ({word}) from ClickHouse at {at}"), "remove", yes).await?;
    }
    let answer = ask(connection, args, statement);
    let at = &connection.settings.clickhouse.url;
    let what = format!("waiting up to {} s for ClickHouse at {at}", args.timeout.as_secs());
    let limit = args.timeout;
    let mut answer = waiting(&what, tokio::time::timeout(limit, answer))
        .await
        .with_context(|| {
            format!(
                "ClickHouse at {at} has not answered within {} s; to wait longer, use --timeout TIME",
                args.timeout.as_secs()
            )
        })??;
    let written = answer.headers().get(SUMMARY).and_then(|summary| summary.to_str().ok());
    let written = written.and_then(written_rows);
    let (mut out, mut is_empty) = (std::io::stdout(), true);
    let format = answer.headers().get(FORMAT).and_then(|format| format.to_str().ok());
    let mut terminal = is_for_people(format, out.is_terminal(), connection.json).then(Terminal::default);
    while let Some(chunk) = answer.chunk().await.context("read the answer of ClickHouse")? {
        is_empty &= chunk.is_empty();
        let shown = match &mut terminal {
            Some(terminal) => terminal.shown(&chunk).into_bytes(),
            None => chunk.to_vec(),
        };
        match out.write_all(&shown) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            result => result.context("write to stdout")?,
        }
    }
    if is_empty {
        eprintln!("{}", if args.write { done(written) } else { "0 rows".to_owned() });
    }
    out.flush().context("write to stdout")
}

/// What a statement without a result has done. Only an insert tells its rows: a mutation goes on in the background.
fn done(written: Option<u64>) -> String {
    match written {
        Some(rows) if rows > 0 => format!("done; {rows} row(s) written"),
        _ => "done".to_owned(),
    }
}

/// Of the header, a JSON object with numbers as strings.
fn written_rows(summary: &str) -> Option<u64> {
    let summary: serde_json::Value = serde_json::from_str(summary).ok()?;
    summary.get("written_rows")?.as_str()?.parse().ok()
}

fn statement(args: &Args) -> anyhow::Result<String> {
    let mut statement = args.statement.clone();
    if statement == "-" {
        statement.clear();
        std::io::stdin()
            .read_to_string(&mut statement)
            .context("read the SQL from stdin")?;
    }
    if statement.trim().is_empty() {
        bail!("the statement is empty; example: dp sql \"SELECT count() FROM market_ticks\"");
    }
    if let Some(word) = administers(&statement) {
        bail!("{word} administers the server, which `dp sql` does not allow: use ClickHouse's own client");
    }
    Ok(statement)
}

/// Sends the statement; the body of the response has not been read yet.
async fn ask(connection: &Connection, args: &Args, statement: String) -> anyhow::Result<reqwest::Response> {
    let settings = &connection.settings.clickhouse;
    let client = security::http_client(&connection.settings.trust, None)?;
    let post = |body: String| {
        client
            .post(settings.url.expose())
            .header("X-ClickHouse-User", &settings.user)
            .header("X-ClickHouse-Key", settings.password.expose())
            .body(body)
    };
    // A frozen server still accepts connections; without this check the command would wait for the whole --timeout.
    let unreachable = || format!("ask ClickHouse at {}: is it running (`dp status`)?", settings.url);
    post("SELECT 1".to_owned())
        .timeout(ANSWERS_WITHIN)
        .send()
        .await
        .map_err(reqwest::Error::without_url)
        .with_context(unreachable)?;
    let answer = post(statement)
        .query(&query_settings(&settings.database, connection.json, args.write))
        .send()
        .await
        .map_err(reqwest::Error::without_url)
        .with_context(unreachable)?;
    if answer.status().is_success() {
        return Ok(answer);
    }
    let text = answer.text().await.context("read the answer of ClickHouse")?;
    // Code 164 is READONLY.
    let remedy = if !args.write && text.contains("Code: 164") {
        "; --write allows it"
    } else {
        ""
    };
    bail!("ClickHouse refused the SQL: {}{remedy}", one_line(&text))
}

/// The leading words of the statement if they administer the server.
fn administers(statement: &str) -> Option<String> {
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
fn removes(statement: &str) -> Option<String> {
    let words = leading_words(statement);
    let first = words.first()?;
    let is_removal = match first.as_str() {
        "DROP" | "TRUNCATE" | "DELETE" | "REPLACE" => true,
        "CREATE" => words.get(2).is_some_and(|word| word == "REPLACE"),
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

fn query_settings(database: &str, json: bool, write: bool) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("database", database.to_owned()),
        ("output_format_json_quote_64bit_integers", "1".to_owned()),
        ("output_format_json_quote_decimals", "1".to_owned()),
        ("output_format_pretty_color", "0".to_owned()),
        ("output_format_pretty_row_numbers", "0".to_owned()),
    ];
    if !write {
        // 2: the server rejects changes but still accepts settings of a query.
        settings.push(("readonly", "2".to_owned()));
    }
    settings.extend(WHOLE_ANSWERS.map(|(name, value)| (name, value.to_owned())));
    if json {
        settings.push(("default_format", "JSONEachRow".to_owned()));
        settings.push(("output_format_json_array_of_rows", "1".to_owned()));
    } else {
        settings.push(("default_format", "PrettyCompactMonoBlock".to_owned()));
    }
    settings
}

/// Whether an answer in this format is read by people. A table is, even if it goes through a pipe: `| less` and `| head` end on a
/// terminal. Other formats are data: no program may read another value than the stored one.
fn is_for_people(format: Option<&str>, is_terminal: bool, json: bool) -> bool {
    let is_table = format.is_some_and(|format| format.starts_with("Pretty") || format == "Vertical");
    let is_json = json && format.is_none_or(|format| format.starts_with("JSON"));
    is_table || (is_terminal && !is_json)
}

/// Text for a terminal: text from producers must not control it or hide in it. A chunk may end inside of a character.
#[derive(Debug, Default)]
struct Terminal {
    begun: Vec<u8>,
}

impl Terminal {
    fn shown(&mut self, chunk: &[u8]) -> String {
        self.begun.extend_from_slice(chunk);
        let whole = match std::str::from_utf8(&self.begun) {
            // The rest of the character follows with the next chunk.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.begun.len(),
        };
        let rest = self.begun.split_off(whole);
        let text = String::from_utf8_lossy(&self.begun).into_owned();
        self.begun = rest;
        escaped(&text, |character| matches!(character, '\n' | '\t'))
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_insert_says_how_many_rows_it_wrote_and_a_mutation_claims_no_number() {
        let of = |summary| done(written_rows(summary));
        assert_eq!(of(r#"{"read_rows":"0","written_rows":"3"}"#), "done; 3 row(s) written");
        assert_eq!(of(r#"{"read_rows":"0","written_rows":"0"}"#), "done");
        assert_eq!(of("no JSON"), "done");
    }

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

    #[test]
    fn characters_that_control_a_terminal_or_hide_in_it_are_escaped_across_chunks() {
        let text = "a\u{1b}[2Jb\rc\td\né\u{202e}\u{200b}";
        for at in 0..=text.len() {
            let (first, second) = text.as_bytes().split_at(at);
            let mut terminal = Terminal::default();
            let shown = terminal.shown(first) + &terminal.shown(second);
            assert_eq!(shown, "a\\u{1b}[2Jb\\rc\td\né\\u{202e}\\u{200b}", "{at}");
        }
    }

    #[test]
    fn a_table_is_escaped_also_in_a_pipe_and_data_only_on_a_terminal() {
        for (format, is_terminal, json, expected) in [
            (Some("PrettyCompactMonoBlock"), false, false, true),
            (Some("PrettyCompactMonoBlock"), true, false, true),
            (Some("Vertical"), false, true, true),
            (Some("CSV"), false, false, false),
            (Some("Parquet"), false, true, false),
            (Some("CSV"), true, false, true),
            (Some("TSVRaw"), true, true, true),
            (Some("JSONEachRow"), true, true, false),
            (None, false, false, false),
            (None, true, false, true),
            (None, true, true, false),
        ] {
            let found = is_for_people(format, is_terminal, json);
            assert_eq!(found, expected, "{format:?}, terminal {is_terminal}, --json {json}");
        }
        assert_eq!(Terminal::default().shown(b"\0\x1b[31m"), "\\u{0}\\u{1b}[31m");
    }

    #[test]
    fn a_statement_is_read_only_without_write() {
        let is_read_only = |write| query_settings("d", false, write).contains(&("readonly", "2".to_owned()));
        assert!(is_read_only(false) && !is_read_only(true));
    }
}
