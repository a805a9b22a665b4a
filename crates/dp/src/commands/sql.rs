//! `dp sql`: runs a statement on ClickHouse and streams the result to stdout.
//!
//! Role: arguments and printing; [`ops::sql`] judges and sends the statement.

use std::io::{IsTerminal, Read, Write};
use std::time::Duration;

use anyhow::{Context as _, bail};
use ops::connection::Connection;
use ops::consent;
use ops::present::{escaped, time_limit};
use ops::progress::waiting;
use ops::sql::ask;
use ops::sql::words::{administers, removes};

/// Run a SQL statement on ClickHouse (database market_data).
///
/// Statements are read-only unless --write is given. One that removes, overwrites or renames data or tables (DROP, TRUNCATE, DELETE,
/// UPDATE, RENAME, ALTER … DROP, CLEAR, TTL or MODIFY COLUMN) also asks for confirmation; without a terminal it needs --yes. Statements
/// that administer the server are always refused. The result is a table, or with --json an array of objects with decimals and 64-bit
/// integers as strings, so that no digit is lost. A FORMAT clause in the statement takes precedence. In tables, control characters of
/// stored texts are escaped; every other format is passed to files and programs as it is.
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
        let what = format!("remove, overwrite or rename data or tables ({word}) in ClickHouse at {at}");
        consent::ask(&what, &word.to_lowercase(), yes).await?;
    }
    let answer = ask(connection, statement, args.write);
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
    let written = answer.written_rows();
    let (mut out, mut is_empty) = (std::io::stdout(), true);
    let mut terminal = is_for_people(answer.format(), out.is_terminal(), connection.json).then(Terminal::default);
    while let Some(chunk) = answer.chunk().await? {
        is_empty &= chunk.is_empty();
        let shown = match &mut terminal {
            Some(terminal) => terminal.shown(&chunk).into_bytes(),
            None => chunk,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_insert_says_how_many_rows_it_wrote_and_a_mutation_claims_no_number() {
        assert_eq!(done(Some(3)), "done; 3 row(s) written");
        assert_eq!((done(Some(0)), done(None)), ("done".to_owned(), "done".to_owned()));
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
}
