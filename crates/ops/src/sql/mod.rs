//! Sends a statement to ClickHouse for `dp sql`, and passes the answer on as it arrives.
//!
//! Role: [`words`] judges a statement before it is sent.
//! Failure: a server that does not answer is named; what it refuses has its reason on one line.

pub mod words;

use std::time::Duration;

use anyhow::{Context as _, bail};
use stores::clickhouse::WHOLE_ANSWERS;

use crate::connection::Connection;

/// How long ClickHouse may take to answer `SELECT 1` before the statement is sent.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// The header in which ClickHouse sums a statement up; complete, since the answer waits for the end of the statement.
const SUMMARY: &str = "X-ClickHouse-Summary";
/// The header in which ClickHouse names the format of the answer.
const FORMAT: &str = "X-ClickHouse-Format";

/// The answer to a statement that was carried out.
#[derive(Debug)]
pub struct Answer(reqwest::Response);

impl Answer {
    /// How many rows the statement has written, if the server says so.
    pub fn written_rows(&self) -> Option<u64> {
        self.header(SUMMARY).and_then(written_rows)
    }

    /// The format that the server names.
    pub fn format(&self) -> Option<&str> {
        self.header(FORMAT)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.0.headers().get(name)?.to_str().ok()
    }

    /// The next part of the body; `None` at its end.
    ///
    /// # Errors
    /// The connection breaks off.
    pub async fn chunk(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let chunk = self.0.chunk().await.context("read the answer of ClickHouse")?;
        Ok(chunk.map(|chunk| chunk.to_vec()))
    }
}

/// Of the header, a JSON object with numbers as strings.
fn written_rows(summary: &str) -> Option<u64> {
    let summary: serde_json::Value = serde_json::from_str(summary).ok()?;
    summary.get("written_rows")?.as_str()?.parse().ok()
}

/// Sends the statement; the body of the answer has not been read yet. Unless it `writes`, the server refuses changes.
///
/// # Errors
/// ClickHouse does not answer, or refuses the statement.
pub async fn ask(connection: &Connection, statement: String, writes: bool) -> anyhow::Result<Answer> {
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
        .query(&query_settings(&settings.database, connection.json, writes))
        .send()
        .await
        .map_err(reqwest::Error::without_url)
        .with_context(unreachable)?;
    if answer.status().is_success() {
        return Ok(Answer(answer));
    }
    let text = answer.text().await.context("read the answer of ClickHouse")?;
    // Code 164 is READONLY.
    let remedy = if !writes && text.contains("Code: 164") {
        "; --write allows it"
    } else {
        ""
    };
    bail!("ClickHouse refused the SQL: {}{remedy}", one_line(&text))
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

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_the_written_rows() {
        let of = |written| written_rows(&format!(r#"{{"read_rows":"0","written_rows":"{written}"}}"#));
        assert_eq!((of(3), of(0)), (Some(3), Some(0)));
        assert_eq!(
            (written_rows(r#"{"read_rows":"0"}"#), written_rows("no JSON")),
            (None, None)
        );
    }

    #[test]
    fn a_statement_is_read_only_without_write() {
        let is_read_only = |write| query_settings("d", false, write).contains(&("readonly", "2".to_owned()));
        assert!(is_read_only(false) && !is_read_only(true));
    }
}
