//! `dp sql`: asks ClickHouse, and shows its answer as it comes.

use std::io::{Read, Write};

use anyhow::{Context as _, bail};
use stores::clickhouse::WHOLE_ANSWERS;

use crate::connection::Connection;

/// Run SQL on ClickHouse (database market_data).
///
/// The answer is a table; with --json it is an array of objects, decimals and 64-bit numbers as texts, so that no digit is
/// lost. A FORMAT clause in the SQL wins.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    dp sql \"SELECT market, count() FROM market_ticks GROUP BY market\"\n  \
    dp sql \"SELECT * FROM bars_latest WHERE interval = '5m' ORDER BY window_start DESC LIMIT 5\"\n  \
    dp sql --json \"SELECT max(timestamp) AS newest FROM market_ticks\" | jq -r '.[0].newest'\n  \
    echo 'SHOW TABLES' | dp sql -")]
pub struct Args {
    /// One statement, or - to read it from stdin
    #[arg(value_name = "SQL", allow_hyphen_values = true)]
    statement: String,
}

/// Runs `dp sql`.
pub async fn run(connection: &Connection, args: &Args) -> anyhow::Result<()> {
    let mut statement = args.statement.clone();
    if statement == "-" {
        statement.clear();
        std::io::stdin()
            .read_to_string(&mut statement)
            .context("read the SQL from stdin")?;
    }
    if statement.trim().is_empty() {
        bail!("there is no SQL to run: dp sql \"SELECT count() FROM market_ticks\"");
    }
    let settings = &connection.settings.clickhouse;
    let request = reqwest::Client::new()
        .post(settings.url.expose())
        .query(&query_settings(&settings.database, connection.json))
        .header("X-ClickHouse-User", &settings.user)
        .header("X-ClickHouse-Key", settings.password.expose())
        .body(statement);
    let mut answer = request
        .send()
        .await
        .map_err(reqwest::Error::without_url)
        .with_context(|| format!("ask ClickHouse at {}: is it running (`dp status`)?", settings.url))?;
    if !answer.status().is_success() {
        let text = answer.text().await.context("read the answer of ClickHouse")?;
        bail!("ClickHouse refused the SQL: {}", one_line(&text));
    }
    let mut out = std::io::stdout().lock();
    while let Some(chunk) = answer.chunk().await.context("read the answer of ClickHouse")? {
        match out.write_all(&chunk) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            result => result.context("write to stdout")?,
        }
    }
    out.flush().context("write to stdout")
}

fn query_settings(database: &str, json: bool) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("database", database.to_owned()),
        ("output_format_json_quote_64bit_integers", "1".to_owned()),
        ("output_format_json_quote_decimals", "1".to_owned()),
        ("output_format_pretty_color", "0".to_owned()),
        ("output_format_pretty_row_numbers", "0".to_owned()),
    ];
    settings.extend(WHOLE_ANSWERS.map(|(name, value)| (name, value.to_owned())));
    if json {
        settings.push(("default_format", "JSONEachRow".to_owned()));
        settings.push(("output_format_json_array_of_rows", "1".to_owned()));
    } else {
        settings.push(("default_format", "PrettyCompactMonoBlock".to_owned()));
    }
    settings
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
