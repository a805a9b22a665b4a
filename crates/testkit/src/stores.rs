//! The simplest clients for the stores: HTTP text for ClickHouse, `psql`, a Redis socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;

use crate::PATIENCE;
use anyhow::{Context as _, bail};

/// A row of strings; `\N` is null.
pub type Row = Vec<String>;

/// ClickHouse over HTTP.
#[derive(Debug, Clone)]
pub struct ClickHouse {
    /// `127.0.0.1:8123`.
    pub address: String,
    /// Database for unqualified names.
    pub database: String,
}

impl ClickHouse {
    /// A client for `http://host:port`.
    pub fn new(url: &str, database: &str) -> ClickHouse {
        ClickHouse {
            address: url.trim_start_matches("http://").trim_end_matches('/').to_owned(),
            database: database.to_owned(),
        }
    }

    /// The result of a query.
    pub fn rows(&self, sql: &str) -> anyhow::Result<Vec<Row>> {
        let text = self.run(&format!("{sql} FORMAT TabSeparatedRaw"))?;
        Ok(text
            .lines()
            .map(|line| line.split('\t').map(str::to_owned).collect())
            .collect())
    }

    /// The only value of the only row, as a number.
    pub fn number(&self, sql: &str) -> anyhow::Result<i128> {
        let rows = self.rows(sql)?;
        let value = rows
            .first()
            .and_then(|row| row.first())
            .with_context(|| format!("the query returned no row: {sql}"))?;
        value.parse().with_context(|| format!("{value} is not a number"))
    }

    /// Runs a statement and returns the text of the result.
    pub fn run(&self, sql: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(&self.address).with_context(|| format!("connect to {}", self.address))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "POST /?database={}&mutations_sync=2&wait_end_of_query=1&http_response_buffer_size=1048576 HTTP/1.0\r\nHost: {}\r\nContent-Length: {}\r\n\r\n{sql}",
            self.database,
            self.address,
            sql.len()
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end = answer
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .context("no HTTP response")?;
        let (head, body) = answer.split_at(end + 4);
        let head = String::from_utf8_lossy(head).into_owned();
        let body = if head.to_lowercase().contains("transfer-encoding: chunked") {
            unchunk(body)?
        } else {
            body.to_vec()
        };
        let body = String::from_utf8(body).context("the response of ClickHouse is not UTF-8")?;
        if head.split(' ').nth(1) != Some("200") {
            bail!("ClickHouse rejected the statement: {}\nstatement: {sql}", body.trim());
        }
        Ok(body)
    }
}

fn unchunk(mut body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let line = body.windows(2).position(|w| w == b"\r\n").context("broken chunk")?;
        let (size, rest) = body.split_at(line);
        let size = usize::from_str_radix(std::str::from_utf8(size)?.trim(), 16)?;
        if size == 0 {
            return Ok(whole);
        }
        let rest = rest.get(2..).context("broken chunk")?;
        whole.extend_from_slice(rest.get(..size).context("broken chunk")?);
        body = rest.get(size + 2..).context("broken chunk")?;
    }
}

/// PostgreSQL through `psql`.
#[derive(Debug, Clone)]
pub struct Postgres {
    /// `postgresql://user:password@host:port/db`.
    pub dsn: String,
}

impl Postgres {
    /// The result of a statement.
    pub fn rows(&self, sql: &str) -> anyhow::Result<Vec<Row>> {
        let output = Command::new("psql")
            .args([
                "--no-psqlrc",
                "--quiet",
                "--tuples-only",
                "--no-align",
                "--set=ON_ERROR_STOP=1",
            ])
            .args([
                "--field-separator=\t",
                "--pset=null=\\N",
                "--dbname",
                &self.dsn,
                "--command",
                sql,
            ])
            .output()
            .context("run psql")?;
        if !output.status.success() {
            bail!(
                "PostgreSQL rejected the statement: {}\nstatement: {sql}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        let text = String::from_utf8(output.stdout)?;
        Ok(text
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| line.split('\t').map(str::to_owned).collect())
            .collect())
    }
}

/// Redis over its own protocol.
#[derive(Debug, Clone)]
pub struct Redis {
    /// `127.0.0.1:6379`.
    pub address: String,
    /// Number of the database.
    pub database: u32,
}

impl Redis {
    /// A client for `redis://host:port/db`.
    pub fn new(url: &str) -> Redis {
        let rest = url.trim_start_matches("redis://");
        let (address, database) = rest.split_once('/').unwrap_or((rest, "0"));
        Redis {
            address: address.to_owned(),
            database: database.parse().unwrap_or(0),
        }
    }

    /// Runs one command. Arrays are flattened; a missing value is `None`.
    pub fn run(&self, command: &[&str]) -> anyhow::Result<Vec<Option<String>>> {
        let mut stream = TcpStream::connect(&self.address).with_context(|| format!("connect to {}", self.address))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let database = self.database.to_string();
        for words in [&["SELECT", database.as_str()][..], command] {
            let mut request = format!("*{}\r\n", words.len());
            for word in words {
                request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
            }
            stream.write_all(request.as_bytes())?;
        }
        let mut reader = BufReader::new(stream);
        let mut values = Vec::new();
        read_reply(&mut reader, &mut values)?;
        values.clear();
        read_reply(&mut reader, &mut values)?;
        Ok(values)
    }

    /// Every key with this prefix, and its value.
    pub fn with_prefix(&self, prefix: &str) -> anyhow::Result<Vec<(String, String)>> {
        let mut pairs = Vec::new();
        for key in self.run(&["KEYS", &format!("{prefix}*")])?.into_iter().flatten() {
            if let Some(Some(value)) = self.run(&["GET", &key])?.pop() {
                pairs.push((key, value));
            }
        }
        Ok(pairs)
    }
}

fn read_reply(reader: &mut impl BufRead, values: &mut Vec<Option<String>>) -> anyhow::Result<()> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let line = line.trim_end();
    let (kind, rest) = line.split_at_checked(1).context("Redis closed the connection")?;
    match kind {
        "+" | ":" => values.push(Some(rest.to_owned())),
        "-" => bail!("Redis returned an error: {rest}"),
        "$" if rest == "-1" => values.push(None),
        "$" => {
            let mut bytes = vec![0; rest.parse::<usize>()? + 2];
            reader.read_exact(&mut bytes)?;
            bytes.truncate(bytes.len() - 2);
            values.push(Some(String::from_utf8(bytes)?));
        }
        "*" => {
            for _ in 0..rest.parse::<i64>()?.max(0) {
                read_reply(reader, values)?;
            }
        }
        _ => bail!("unexpected reply of Redis: {line}"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined() {
        assert_eq!(unchunk(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").unwrap(), b"abcde");
        assert!(unchunk(b"5\r\nabc").is_err());
    }

    #[test]
    fn redis_replies_are_read() {
        let mut values = Vec::new();
        read_reply(&mut &b"*3\r\n$2\r\nhi\r\n$-1\r\n:7\r\n"[..], &mut values).unwrap();
        assert_eq!(values, [Some("hi".to_owned()), None, Some("7".to_owned())]);
        assert!(read_reply(&mut &b"-ERR no\r\n"[..], &mut values).is_err());
    }
}
