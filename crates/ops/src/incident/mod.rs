//! A bundle of everything that a later analysis of an incident needs, taken while the incident lasts.
//!
//! Role: [`parts`] asks services and servers, all at the same time; [`mask`] removes secrets; [`archive`] writes the file; [`call`] judges
//! what Alertmanager sends. [`collecting`] knows what the bundles of a run share; [`listen`] collects one for each call. [`mask`] and
//! [`call`] are pure.
//! Invariant: every text passes the mask, whatever it is. Nothing is changed anywhere.
//! Failure: a part that cannot be read is a file with the reason, so that the bundle shows what did not answer. Only a bundle that cannot be
//! written is an error.

pub mod archive;
pub mod call;
pub mod collecting;
pub mod listen;
pub mod mask;
pub mod parts;
mod request;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde::Serialize;

use crate::progress::Progress;
use crate::threads::blocking;
use archive::Content;
use mask::Masker;
use parts::Part;

pub use request::Request;

/// A part that takes longer is given up. The doctor takes the longest: it looks at the lag twice.
const LIMIT: Duration = Duration::from_secs(60);

/// Which file holds what, and what could not be read: `manifest.json` of the bundle.
#[derive(Debug, Clone, Serialize)]
pub struct Manifest {
    /// When the collection began.
    pub began: jiff::Timestamp,
    /// How long it took.
    pub seconds: f64,
    /// Version of `dp`.
    pub version: &'static str,
    /// The environment.
    pub environment: &'static str,
    /// Logs and slow queries begin here.
    pub since: jiff::Timestamp,
    /// Alerts that called for it.
    pub alerts: Vec<String>,
    /// Every file but this one.
    pub files: Vec<Listed>,
}

/// A file of the bundle.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// The part that it holds.
    pub part: String,
    /// Its path.
    pub file: String,
    /// Its size.
    pub bytes: usize,
    /// How long it took to read.
    pub seconds: f64,
    /// Why the part could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A bundle that was written.
#[derive(Debug, Clone, Serialize)]
pub struct Bundle {
    /// Where it is.
    pub file: PathBuf,
    /// Its size, compressed.
    pub bytes: u64,
    /// What it holds.
    pub manifest: Manifest,
}

/// Collects everything and writes it to `out`.
///
/// # Errors
/// The file exists already, or cannot be written.
pub async fn collect(request: &Request<'_>, out: &Path) -> anyhow::Result<Bundle> {
    let (began, started) = (jiff::Timestamp::now(), Instant::now());
    let mut files: Vec<(Listed, String)> = read_all(parts::all(request), request.masker).await;
    files.sort_by(|(one, _), (other, _)| one.part.cmp(&other.part));
    let manifest = Manifest {
        began,
        seconds: started.elapsed().as_secs_f64(),
        version: env!("CARGO_PKG_VERSION"),
        environment: request.connection.settings.environment.name(),
        since: request.since,
        alerts: request.alerts.to_vec(),
        files: files.iter().map(|(listed, _)| listed.clone()).collect(),
    };
    let mut contents = vec![Content {
        path: "manifest.json".to_owned(),
        text: request.masker.masked(&serde_json::to_string_pretty(&manifest)?),
    }];
    contents.extend(files.into_iter().map(|(listed, text)| Content {
        path: listed.file,
        text,
    }));
    let (path, seconds) = (out.to_owned(), u64::try_from(began.as_second()).unwrap_or_default());
    let bytes = blocking(move || archive::write(&path, &contents, seconds)).await?;
    Ok(Bundle {
        file: out.to_owned(),
        bytes,
        manifest,
    })
}

/// Reads all parts at the same time; each becomes a file.
async fn read_all(parts: Vec<Part<'_>>, masker: &Masker) -> Vec<(Listed, String)> {
    let mut progress = Progress::new("collecting", parts.len() as u64, "parts");
    let mut running: FuturesUnordered<_> = parts.into_iter().map(|part| read(part, masker)).collect();
    let mut files = Vec::new();
    while let Some(file) = running.next().await {
        files.push(file);
        progress.set(files.len() as u64, "");
    }
    progress.finish();
    files
}

async fn read(part: Part<'_>, masker: &Masker) -> (Listed, String) {
    let started = Instant::now();
    let outcome = match tokio::time::timeout(LIMIT, part.read).await {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
    };
    let (file, text, error) = match outcome {
        Ok(text) => (format!("{}.{}", part.name, part.kind), masker.masked(&text), None),
        Err(error) => {
            let error = masker.masked(&error);
            (format!("{}.error.txt", part.name), format!("{error}\n"), Some(error))
        }
    };
    let listed = Listed {
        part: part.name,
        file,
        bytes: text.len(),
        seconds: started.elapsed().as_secs_f64(),
        error,
    };
    (listed, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_cannot_be_read_is_a_file_with_the_reason() {
        let mut masker = Masker::default();
        masker.know("s3cret");
        let part = |name: &str, text: Result<String, &'static str>| Part {
            name: name.to_owned(),
            kind: "json",
            read: Box::pin(async move { text.map_err(anyhow::Error::msg) }),
        };
        let parts = vec![
            part("health", Ok("{\"a\": \"s3cret\"}".to_owned())),
            part("lag", Err("Kafka with s3cret does not answer")),
        ];
        let mut files = read_all(parts, &masker).await;
        files.sort_by(|(one, _), (other, _)| one.part.cmp(&other.part));
        let found: Vec<(&str, &str, Option<&str>)> = files
            .iter()
            .map(|(listed, text)| (listed.file.as_str(), text.as_str(), listed.error.as_deref()))
            .collect();
        let reason = "Kafka with *** does not answer";
        assert_eq!(
            found,
            [
                ("health.json", "{\"a\": \"***\"}", None),
                ("lag.error.txt", "Kafka with *** does not answer\n", Some(reason)),
            ]
        );
    }
}
