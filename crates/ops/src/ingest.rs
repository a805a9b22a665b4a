//! Publishes documents of market operators, each as one message with a header that names its format, and captured trades of
//! venues, each trade as one message.
//!
//! Role: finds the files, detects their formats, and publishes them in the order of their names.
//! Failure: a file that cannot be read or that fits no format is skipped and listed with its reason. If Kafka does not answer, the
//! error names the file; the files before it are published.

pub use examples::EXAMPLE_DAY;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, bail};
use serde::Serialize;
use stream::Brokers;
use stream::kafka::publisher::{Publisher, Record};
use stream::kafka::settings::MAX_RAW_BYTES;

mod examples;

use crate::connection::Connection;
use crate::progress::Progress;
use crate::trades::{Capture, TradeMessage};

/// Bytes at the start of a file from which its format is detected.
const HEAD_BYTES: usize = 64 * 1024;
/// The format of a document that fits no known format and is sent with `--send-unknown`; normalization rejects it.
const UNKNOWN_FORMAT: &str = "unknown";

/// What to publish, and how.
#[derive(Debug, Clone, Default)]
pub struct Documents {
    /// Files and folders.
    pub files: Vec<PathBuf>,
    /// Format of all files, instead of detecting it.
    pub format: Option<String>,
    /// Tenant of the documents.
    pub tenant: Option<String>,
    /// Tenant of trades, which name it themselves; set by [`publish_counted`].
    pub trades_tenant: String,
    /// Whether files that fit no format are sent, too.
    pub send_unknown: bool,
    /// Raw topic, unless it is the first one.
    pub topic: Option<String>,
}

/// The result for one file.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Ingested {
    /// Path as given or found.
    pub file: PathBuf,
    /// Size.
    pub bytes: u64,
    /// Header `dp.format`; `None` if the file was skipped.
    pub format: Option<String>,
    /// Why the file cannot be read; `None` if it can.
    pub problem: Option<String>,
    /// Whether documents of that format become ticks.
    pub has_parser: bool,
    /// Messages published: one for a document, one for each trade of a capture.
    pub messages: u64,
    /// Venue of a capture of trades.
    pub venue: Option<&'static str>,
    /// Rows of a capture that are no trades, or may be cut.
    pub unread: Vec<String>,
    /// Partition of the message; `None` if the file was skipped.
    pub partition: Option<i32>,
    /// Offset of the message; `None` if the file was skipped.
    pub offset: Option<i64>,
}

/// Publishes the documents; shows progress on stderr.
///
/// # Errors
/// As [`publish_counted`].
pub async fn publish(connection: &Connection, documents: &Documents) -> anyhow::Result<Vec<Ingested>> {
    publish_counted(connection, documents, Arc::default()).await
}

/// As [`publish`]; `done` counts the processed files.
///
/// # Errors
/// Kafka does not answer, an argument does not exist, or the tenant or topic is refused.
pub async fn publish_counted(
    connection: &Connection,
    documents: &Documents,
    done: Arc<AtomicUsize>,
) -> anyhow::Result<Vec<Ingested>> {
    let topic = checked_topic(connection, documents)?;
    let mut files = Vec::new();
    for path in &documents.files {
        collect(path, &mut files)?;
    }
    if files.is_empty() {
        let named: Vec<String> = documents.files.iter().map(|path| path.display().to_string()).collect();
        bail!("no document found in {}", named.join(", "));
    }
    let bootstrap = connection.settings.kafka_bootstrap.clone();
    let tenant = documents.tenant.as_ref().unwrap_or(&connection.settings.tenant_id);
    let documents = Documents {
        trades_tenant: tenant.clone(),
        ..documents.clone()
    };
    tokio::task::spawn_blocking(move || publish_files(&bootstrap, &topic, &documents, &files, &done))
        .await
        .context("ingest")?
}

/// The topic to publish to, after a check of the tenant.
fn checked_topic(connection: &Connection, documents: &Documents) -> anyhow::Result<String> {
    if let Some(tenant) = &documents.tenant {
        domain::instrument::check_identifier(tenant)
            .map_err(|error| anyhow::anyhow!("--tenant {error}, got '{}'", tenant.escape_debug()))?;
    }
    let topic = connection.names.raw_topic(documents.topic.as_deref());
    let topic = topic.map_err(|problem| anyhow::anyhow!("--topic {problem}; nothing was sent"))?;
    Ok(topic.to_owned())
}

/// Publishes documents one at a time, in the order of the caller.
pub struct Sender {
    publisher: Publisher,
    topic: String,
    documents: Documents,
}

impl Sender {
    /// A sender with the tenant and topic of `documents`; its files are not read.
    ///
    /// # Errors
    /// The tenant or topic is refused.
    pub fn new(connection: &Connection, documents: &Documents) -> anyhow::Result<Sender> {
        Ok(Sender {
            topic: checked_topic(connection, documents)?,
            publisher: Publisher::new(&connection.settings.kafka_bootstrap, "dp-ingest")?,
            documents: documents.clone(),
        })
    }

    /// Publishes a document as `dp ingest` does, and waits until Kafka has it. Blocks.
    ///
    /// # Errors
    /// Kafka does not answer, or refuses it.
    pub fn send(&mut self, file: &Path, content: &[u8]) -> anyhow::Result<Ingested> {
        send_document(&mut self.publisher, &self.topic, &self.documents, file, content)
            .with_context(|| format!("publish {} to {}", file.display(), self.topic))
    }
}

/// Every file in a folder, in the order of names.
///
/// # Errors
/// The folder does not exist.
pub fn files_in(folder: &Path) -> anyhow::Result<Vec<Found>> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    Ok(files)
}

/// The format of a document by its name and content.
pub fn format_of(file: &Path, content: &[u8]) -> Option<&'static str> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    markets::detect_format(&name, head(content))
}

/// What tells the format. The directory of an archive is at its end.
fn head(content: &[u8]) -> &[u8] {
    let is_archive = content.starts_with(b"PK");
    content.get(..HEAD_BYTES).filter(|_| !is_archive).unwrap_or(content)
}

/// Publishes the example documents, which are part of this program, to the first raw topic; returns their number.
///
/// # Errors
/// Kafka does not answer.
pub async fn publish_examples(connection: &Connection) -> anyhow::Result<u64> {
    let topic = connection.names.raw_topic(None).map_err(anyhow::Error::msg)?.to_owned();
    let bootstrap = connection.settings.kafka_bootstrap.clone();
    let send = move || {
        let mut publisher = Publisher::new(&bootstrap, "dp-ingest")?;
        for (name, content) in examples::EXAMPLES {
            send_document(&mut publisher, &topic, &Documents::default(), Path::new(name), content)
                .with_context(|| format!("publish {name} to {topic} at {bootstrap}"))?;
        }
        publisher.finish()?;
        Ok(examples::EXAMPLES.len() as u64)
    };
    tokio::task::spawn_blocking(send)
        .await
        .context("publish the examples")?
}

/// A file in one of the arguments.
#[derive(Debug, Clone)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// Why it cannot be read; `None` if it is a regular file.
    pub problem: Option<String>,
}

/// Collects files in the order of their names, so that two runs publish in the same order. An argument must exist. A broken
/// or circular link or a pipe inside a folder is listed with its problem and does not stop the others.
fn collect(argument: &Path, files: &mut Vec<Found>) -> anyhow::Result<()> {
    let metadata = std::fs::metadata(argument).with_context(|| format!("read {}", argument.display()))?;
    if !metadata.is_dir() && !metadata.is_file() {
        bail!("{} is neither a file nor a folder", argument.display());
    }
    let is_wanted = |entry: &walkdir::DirEntry| {
        let name = entry.file_name().to_string_lossy().to_lowercase();
        entry.depth() == 0 || !name.starts_with('.') && !name.ends_with(".md")
    };
    let walk = walkdir::WalkDir::new(argument).sort_by_file_name();
    for entry in walk.into_iter().filter_entry(is_wanted) {
        match entry {
            Ok(entry) if entry.file_type().is_dir() => {}
            Ok(entry) => files.push(Found {
                problem: problem_of(&entry),
                path: entry.into_path(),
            }),
            Err(error) => files.push(Found {
                path: error.path().unwrap_or(argument).to_owned(),
                problem: Some(error.io_error().map_or_else(|| error.to_string(), ToString::to_string)),
            }),
        }
    }
    Ok(())
}

/// Why the entry is not published. A linked folder may be outside of the argument, or contain it.
fn problem_of(entry: &walkdir::DirEntry) -> Option<String> {
    // Of a link's target.
    match std::fs::metadata(entry.path()) {
        Ok(target) if target.is_file() => None,
        Ok(target) if target.is_dir() => {
            Some("is a link to a folder, which is not followed; to publish it, name the folder itself".to_owned())
        }
        Ok(_) => Some("is not a regular file".to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

/// Reads the file, unless it is larger than a raw topic accepts.
///
/// # Errors
/// The reason, for a report.
pub fn read(file: &Path) -> Result<Vec<u8>, String> {
    let size = std::fs::metadata(file).map_err(|error| error.to_string())?.len();
    if size > MAX_RAW_BYTES as u64 {
        return Err(format!("has {size} bytes; a raw topic accepts {MAX_RAW_BYTES}"));
    }
    std::fs::read(file).map_err(|error| error.to_string())
}

fn publish_files(
    bootstrap: &Brokers,
    topic: &str,
    documents: &Documents,
    files: &[Found],
    done: &AtomicUsize,
) -> anyhow::Result<Vec<Ingested>> {
    let mut publisher = Publisher::new(bootstrap, "dp-ingest")?;
    let mut progress = Progress::new("ingesting", files.len() as u64, "documents");
    let mut ingested = Vec::with_capacity(files.len());
    for (index, found) in files.iter().enumerate() {
        let file = &found.path;
        let content = found.problem.clone().map_or_else(|| read(file), Err);
        ingested.push(match content {
            Ok(content) => send_document(&mut publisher, topic, documents, file, &content)
                .with_context(|| format!("publish {} to {topic} at {bootstrap}", file.display()))?,
            Err(problem) => Ingested {
                file: file.clone(),
                problem: Some(problem),
                ..Ingested::default()
            },
        });
        done.store(index + 1, Ordering::Relaxed);
        progress.set(index as u64 + 1, "");
    }
    publisher.finish()?;
    progress.finish();
    Ok(ingested)
}

fn send_document(
    publisher: &mut Publisher,
    topic: &str,
    documents: &Documents,
    file: &Path,
    content: &[u8],
) -> anyhow::Result<Ingested> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let head = head(content);
    let detected = || markets::detect_format(&name, head).map(str::to_owned);
    let format = documents.format.clone().or_else(detected).or_else(|| {
        let is_unknown = documents.send_unknown && Capture::detect(head).is_none();
        is_unknown.then(|| UNKNOWN_FORMAT.to_owned())
    });
    let mut done = Ingested {
        file: file.to_owned(),
        bytes: content.len() as u64,
        has_parser: markets::FORMATS
            .iter()
            .any(|known| known.has_parser && Some(known.name) == format.as_deref()),
        format,
        ..Ingested::default()
    };
    let capture = Capture::detect(head).filter(|_| done.format.is_none());
    if let Some(capture) = capture {
        send_trades(
            publisher,
            topic,
            capture.messages(content, &documents.trades_tenant),
            &mut done,
        )?;
        done.venue = Some(capture.venue());
        return Ok(done);
    }
    if let Some(format) = &done.format {
        let mut headers: Vec<(&str, &[u8])> = vec![("dp.format", format.as_bytes())];
        headers.extend(
            documents
                .tenant
                .as_deref()
                .map(|tenant| ("dp.tenant_id", tenant.as_bytes())),
        );
        let record = Record {
            topic,
            key: Some(key_of(format).as_bytes()),
            payload: Some(content),
            headers: &headers,
            ..Record::default()
        };
        let place = publisher.publish(&record)?;
        (done.partition, done.offset) = (Some(place.partition), Some(place.offset));
        done.messages = 1;
    } else {
        done.problem = markets::archive_problem(content);
    }
    Ok(done)
}

/// The key of a document: its market, so that all documents of a market come through one partition in the order in which they are
/// published. Of two prices of an interval the last one by origin counts, and origins have an order only within a partition. A format
/// whose rows name their market is its own key.
fn key_of(format: &str) -> &str {
    let known = markets::FORMATS.iter().find(|known| known.name == format);
    known.and_then(|known| known.market).unwrap_or(format)
}

/// Publishes each trade; the place is that of the first one.
fn send_trades(
    publisher: &mut Publisher,
    topic: &str,
    trades: Vec<Result<TradeMessage, String>>,
    done: &mut Ingested,
) -> anyhow::Result<()> {
    for trade in trades {
        let trade = match trade {
            Ok(trade) => trade,
            Err(problem) => {
                done.unread.push(problem);
                continue;
            }
        };
        let record = Record {
            topic,
            key: Some(trade.instrument_id.as_bytes()),
            payload: Some(&trade.payload),
            ..Record::default()
        };
        if done.messages == 0 {
            let place = publisher.publish(&record)?;
            (done.partition, done.offset) = (Some(place.partition), Some(place.offset));
        } else {
            publisher.send(&record)?;
        }
        done.messages += 1;
    }
    if done.messages == 0 {
        done.problem = Some(
            done.unread
                .first()
                .cloned()
                .unwrap_or_else(|| "holds no trade".to_owned()),
        );
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_one_market_have_one_key() {
        let keys = ["pjm.rt_hrl_lmps.csv", "pjm.da_hrl_lmps.csv", "miso.exante.json"].map(key_of);
        assert_eq!(keys, ["PJM", "PJM", "MISO"]);
        for of_any_market in ["curve.settlements.csv", UNKNOWN_FORMAT] {
            assert_eq!(key_of(of_any_market), of_any_market);
        }
    }

    #[test]
    fn a_folder_is_read_in_the_order_of_names_without_markdown_and_hidden_files() {
        let root = std::env::temp_dir().join(format!("dp-ingest-{}", std::process::id()));
        std::fs::create_dir_all(root.join("b")).unwrap();
        for name in ["b/2.csv", "b/1.csv", "a.json", ".hidden", "SOURCES.md"] {
            std::fs::write(root.join(name), "x").unwrap();
        }
        let mut files = Vec::new();
        collect(&root, &mut files).unwrap();
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(names(&root, &files), ["a.json", "b/1.csv", "b/2.csv"]);
        assert!(files.iter().all(|file| file.problem.is_none()));
    }

    fn names(root: &Path, files: &[Found]) -> Vec<String> {
        let inside = files.iter().map(|file| file.path.strip_prefix(root).unwrap());
        inside.map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn broken_and_circular_links_and_sockets_are_listed_with_their_problem() {
        let root = std::env::temp_dir().join(format!("dp-ingest-odd-{}", std::process::id()));
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::write(root.join("z.csv"), "x").unwrap();
        std::os::unix::fs::symlink("missing", root.join("dangling")).unwrap();
        std::os::unix::fs::symlink("circle", root.join("circle")).unwrap();
        std::os::unix::fs::symlink("..", root.join("sub/up")).unwrap();
        std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        let mut files = Vec::new();
        collect(&root, &mut files).unwrap();
        std::fs::remove_dir_all(&root).unwrap();
        let found = names(&root, &files);
        for name in ["dangling", "circle", "sub/up", "socket", "z.csv"] {
            let file = &files[found.iter().position(|found| found == name).unwrap()];
            assert_eq!(file.problem.is_none(), name == "z.csv", "{name}: {:?}", file.problem);
        }
        assert_eq!(files.len(), 5);
        let link = &files[found.iter().position(|found| found == "sub/up").unwrap()];
        assert!(
            link.problem.as_ref().unwrap().contains("not followed"),
            "{:?}",
            link.problem
        );
        assert!(collect(Path::new("/dev/null"), &mut files).is_err());
    }
}
