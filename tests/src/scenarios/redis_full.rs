//! A Redis that has reached its limit of memory and may remove no key: it answers, reads work, and every write is refused.
//!
//! Failure: an answer of Redis other than `OK` is an error with that answer.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use localstack::{Server, Stack};

const TIMEOUT: Duration = Duration::from_secs(10);
/// Less than an empty server uses.
const LIMIT: &str = "500kb";

/// Lowers the limit, as the administrator of the local server. A restart ends it.
pub(super) fn fill(stack: &Stack) -> anyhow::Result<()> {
    let file = stack.config().dir.join("redis/admin-password");
    let password = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let port = stack.port(Server::Redis).context("Redis has no port")?;
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connect to Redis")?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut answers = BufReader::new(stream.try_clone()?);
    for command in [
        format!("AUTH admin {}", password.trim()),
        "CONFIG SET maxmemory-policy noeviction".to_owned(),
        format!("CONFIG SET maxmemory {LIMIT}"),
    ] {
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        let mut answer = String::new();
        answers.read_line(&mut answer)?;
        ensure!(answer.trim() == "+OK", "Redis refuses to be limited: {}", answer.trim());
    }
    Ok(())
}
