//! Processes old data again: a folder of documents, or a time range of the raw log.
//!
//! Role: documents are published as `dp ingest` publishes them, each once ([`plan()`]). A range of the raw log is never published again,
//! since its ticks would count twice: [`range`] replays its dead letters and repairs the stores.
//! Failure: a document that cannot be read is in the report. If Kafka does not answer, those before it are published, and another run
//! skips them.

mod known;
pub mod plan;
pub mod range;
pub mod text;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::bail;
use jiff::civil::Date;
use markets::{Normalizer, NormalizerConfig, RawMessage};
use ops::connection::Connection;
use ops::ingest::{Documents, Found, Sender, files_in, format_of, read};
use ops::progress::Progress;
use ops::threads::blocking;
use serde::Serialize;
use service::Reader;
use xxhash_rust::xxh64::xxh64;

use known::known;
use plan::{Content, Document, Outcome, Planned, plan};

/// What to publish.
#[derive(Debug, Clone, Default)]
pub struct Orders {
    /// Folder of documents, read with its folders.
    pub folder: PathBuf,
    /// Only documents of this market.
    pub market: Option<String>,
    /// Tenant of the documents, unless it is that of normalization.
    pub tenant: Option<String>,
    /// Raw topic, unless it is the first one.
    pub topic: Option<String>,
    /// Only report.
    pub dry_run: bool,
}

/// The result for one document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Done {
    /// The file.
    pub file: PathBuf,
    /// Its format; `None` if it fits none.
    pub format: Option<String>,
    /// Delivery day of its first tick, by the market's clock.
    pub day: Option<Date>,
    /// What was done, or would be.
    pub outcome: Outcome,
    /// Ticks that it adds.
    pub ticks: u64,
    /// Rows that become dead letters.
    pub rejected: u64,
    /// Ticks that the pipeline has taken before, or that another file of the folder brings.
    pub repeated: u64,
    /// Of a repeated document: rows that `market_ticks` has of it.
    pub stored: u64,
    /// The file of the folder that has the same bytes and is published in its place.
    pub same_as: Option<PathBuf>,
    /// Why it cannot be read, or is rejected.
    pub problem: Option<String>,
    /// Place of its message.
    pub partition: Option<i32>,
    /// Place of its message.
    pub offset: Option<i64>,
}

impl Done {
    fn of(planned: &Planned) -> Done {
        let document = &planned.document;
        let is_new = planned.outcome == Outcome::Published;
        let if_new = |count: u64| if is_new { count } else { 0 };
        Done {
            file: document.file.clone(),
            format: document.format.clone(),
            day: document.day,
            outcome: planned.outcome,
            ticks: if_new(document.ticks),
            rejected: if_new(document.rejected),
            repeated: if planned.outcome == Outcome::Repeated {
                document.ticks
            } else {
                0
            },
            stored: planned.stored,
            same_as: planned.same_as.clone(),
            problem: document.problem.clone().or_else(|| unstored(planned)),
            partition: None,
            offset: None,
        }
    }
}

/// What to look at if a document was taken, and none of its rows is stored.
fn unstored(planned: &Planned) -> Option<String> {
    if let Some(file) = &planned.same_as {
        return Some(format!(
            "has the same bytes as {} of this folder, which is published once",
            file.display()
        ));
    }
    let is_unstored = planned.outcome == Outcome::Repeated && planned.stored == 0 && planned.document.ticks > 0;
    is_unstored.then(|| {
        "is in a raw topic, and market_ticks has no row of it yet: if that stays so, `dp dlq list` or `dp reconcile` says why"
            .to_owned()
    })
}

/// The outcome of a backfill of documents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether nothing was published.
    pub dry_run: bool,
    /// In the order of publishing.
    pub documents: Vec<Done>,
}

impl Report {
    /// Whether every document was taken, now or before, with all its rows.
    pub fn is_ok(&self) -> bool {
        self.documents
            .iter()
            .all(|done| done.outcome != Outcome::Skipped && done.rejected == 0)
    }
}

/// Publishes the documents of a folder that the pipeline has not taken yet; `sent` counts them.
///
/// # Errors
/// The folder does not exist or has no document, a server does not answer, or the tenant or topic is refused.
pub async fn documents(connection: &Connection, orders: &Orders, sent: Arc<AtomicUsize>) -> anyhow::Result<Report> {
    let files = files_in(&orders.folder)?;
    if files.is_empty() {
        bail!("no document found in {}", orders.folder.display());
    }
    let mut reader = Reader::new(&connection.env);
    let config = normalization::config::read(&mut reader);
    reader.finish()?;
    let normalizer = config.normalizer(&connection.settings.tenant_id, connection.wire().await?);
    let feed = connection.names.raw_topic(orders.topic.as_deref());
    let reads = Reads {
        config: normalizer,
        feed: feed.map_err(|problem| anyhow::anyhow!("--topic {problem}"))?.to_owned(),
        tenant: orders.tenant.clone(),
        default_tenant: connection.settings.tenant_id.clone(),
    };
    let found = blocking(move || Ok(reads.all(&files))).await?;
    let known = known(connection, &found).await?;
    let planned = plan(found, &known, orders.market.as_deref());
    if planned.is_empty() {
        bail!("no document of this market found in {}", orders.folder.display());
    }
    if orders.dry_run {
        return Ok(Report {
            dry_run: true,
            documents: planned.iter().map(Done::of).collect(),
        });
    }
    let sending = Documents {
        tenant: orders.tenant.clone(),
        topic: orders.topic.clone(),
        ..Documents::default()
    };
    let sender = Sender::new(connection, &sending)?;
    let documents = blocking(move || publish(sender, &planned, &sent)).await?;
    Ok(Report {
        dry_run: false,
        documents,
    })
}

/// Reads documents as normalization does.
struct Reads {
    config: NormalizerConfig,
    feed: String,
    tenant: Option<String>,
    default_tenant: String,
}

impl Reads {
    fn all(&self, files: &[Found]) -> Vec<Document> {
        let mut progress = Progress::new("reading", files.len() as u64, "documents");
        let documents = (1..).zip(files).map(|(count, found)| {
            progress.set(count, "");
            self.document(found)
        });
        let documents = documents.collect();
        progress.finish();
        documents
    }

    fn document(&self, found: &Found) -> Document {
        let mut document = Document {
            file: found.path.clone(),
            content: None,
            format: None,
            market: None,
            event_id: None,
            first: None,
            day: None,
            ticks: 0,
            rejected: 0,
            problem: None,
        };
        let bytes = match found.problem.clone().map_or_else(|| read(&found.path), Err) {
            Ok(bytes) => bytes,
            Err(problem) => {
                document.problem = Some(problem);
                return document;
            }
        };
        document.content = Some(Content {
            tenant: self.tenant.clone().unwrap_or_else(|| self.default_tenant.clone()),
            bytes: bytes.len() as u64,
            hash: xxh64(&bytes, 0),
        });
        match format_of(&found.path, &bytes) {
            Some(format) => self.parse(format, &bytes, &mut document),
            None => {
                let unknown =
                    || "fits no known format (`dp ingest --as` sets one; it publishes captured trades, too)".to_owned();
                document.problem = Some(markets::archive_problem(&bytes).unwrap_or_else(unknown));
            }
        }
        document
    }

    fn parse(&self, format: &'static str, bytes: &[u8], document: &mut Document) {
        let known = markets::FORMATS.iter().find(|known| known.name == format);
        document.format = Some(format.to_owned());
        document.market = known.and_then(|known| known.market).map(str::to_owned);
        let now = stream::status::wall_clock();
        let message = RawMessage {
            feed: &self.feed,
            partition: 0,
            offset: 0,
            appended_at: now,
            key: None,
            payload: bytes,
            format: Some(format),
            tenant: self.tenant.as_deref(),
            replay: None,
        };
        let mut normalizer = Normalizer::new(self.config.clone());
        match normalizer.parse(&message) {
            Ok(parsed) => {
                let rejected = parsed.emit(now, domain::QualityFlags::NONE, &mut |tick| {
                    document.ticks += 1;
                    // Rows of some formats name their market.
                    document.market.get_or_insert_with(|| tick.market.to_owned());
                    if document.first.is_none_or(|first| tick.event_time < first) {
                        document.first = Some(tick.event_time);
                        document.day = markets::date_in(tick.market, tick.event_time);
                    }
                    document.event_id.get_or_insert_with(|| tick.source_event_id.to_owned());
                });
                document.rejected = rejected.count();
                document.problem = rejected.first.first().map(|row| row.rejection.message.clone());
            }
            Err(rejection) => {
                document.rejected = 1;
                document.problem = Some(rejection.message);
            }
        }
    }
}

/// Publishes what is planned, one document after the other. Blocks.
fn publish(mut sender: Sender, planned: &[Planned], sent: &AtomicUsize) -> anyhow::Result<Vec<Done>> {
    let mut progress = Progress::new("publishing", planned.len() as u64, "documents");
    let mut all = Vec::with_capacity(planned.len());
    for (count, planned) in (1..).zip(planned) {
        let mut done = Done::of(planned);
        if planned.outcome == Outcome::Published {
            match unchanged(&planned.document.file, planned.document.content.as_ref()) {
                Ok(bytes) => {
                    let place = sender.send(&planned.document.file, &bytes)?;
                    (done.partition, done.offset) = (place.partition, place.offset);
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                Err(problem) => {
                    (done.outcome, done.ticks, done.rejected) = (Outcome::Skipped, 0, 0);
                    done.problem = Some(problem);
                }
            }
        }
        all.push(done);
        progress.set(count, "");
    }
    progress.finish();
    Ok(all)
}

/// The bytes of a file, unless they are not those that the decision was about.
fn unchanged(file: &Path, content: Option<&Content>) -> Result<Vec<u8>, String> {
    let bytes = read(file)?;
    match content.is_some_and(|content| content.hash == xxh64(&bytes, 0)) {
        true => Ok(bytes),
        false => Err("has changed since it was read: run the command again".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn reads() -> Reads {
        Reads {
            config: NormalizerConfig::default(),
            feed: "raw".to_owned(),
            tenant: Some("acme".to_owned()),
            default_tenant: "default".to_owned(),
        }
    }

    fn example(name: &str) -> Document {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../examples/documents")
            .join(name);
        reads().document(&Found { path, problem: None })
    }

    #[test]
    fn a_document_is_read_as_normalization_reads_it() {
        let document = example("miso_20251102_da_expost_lmp.csv");
        assert_eq!(
            (document.market.as_deref(), document.problem.as_deref()),
            (Some("MISO"), None)
        );
        assert!(document.ticks > 0 && document.event_id.is_some(), "{document:?}");
        assert_eq!(document.day.map(|day| day.to_string()).as_deref(), Some("2025-11-02"));
        assert_eq!(document.content.unwrap().tenant, "acme");
    }

    #[test]
    fn what_fits_no_format_or_cannot_be_read_has_a_problem() {
        let strange = example("README.md");
        assert!(strange.format.is_none() && strange.problem.unwrap().contains("no known format"));
        let gone = example("no-such-document.csv");
        assert!(gone.content.is_none() && gone.problem.is_some());
    }

    #[test]
    fn a_repeated_document_adds_no_tick() {
        let planned = |outcome| Planned {
            document: example("miso_20251102_da_expost_lmp.csv"),
            outcome,
            stored: 3,
            same_as: None,
        };
        let (new, old) = (
            Done::of(&planned(Outcome::Published)),
            Done::of(&planned(Outcome::Repeated)),
        );
        assert!(new.ticks > 0 && new.repeated == 0);
        assert_eq!((old.ticks, old.repeated, old.stored), (0, new.ticks, 3));
        assert_eq!(old.problem, None);
        let lost = Done::of(&Planned {
            stored: 0,
            ..planned(Outcome::Repeated)
        });
        assert!(lost.problem.is_some_and(|problem| problem.contains("no row")));
        let twice = Done::of(&Planned {
            stored: 0,
            same_as: Some("first.csv".into()),
            ..planned(Outcome::Repeated)
        });
        let said = twice.problem.unwrap();
        assert!(said.contains("first.csv") && !said.contains("raw topic"), "{said}");
    }
}
