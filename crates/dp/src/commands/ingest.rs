//! `dp ingest`: publishes documents of market operators, each as one message with a header that names its format.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::bail;
use ops::connection::Connection;
use ops::ingest::{Documents, Ingested, publish_counted};
use ops::interrupt::unless_interrupted;
use ops::present::{grouped, print_json, print_line, table};

/// Publish documents: price files of MISO, CAISO, ERCOT, PJM, NYISO and others, and captured trades.
///
/// Captured trades (Kraken's REST answer, Coinbase's websocket lines, BitMEX's CSV) become one message for each trade, with its id as
/// event id and, if it is a number, as sequence. Normalization accepts them if NORMALIZATION_VENUES names the venue.
///
/// Each file becomes one message; it may be a ZIP archive with one file. Its format is detected from content and file name and sent in header dp.format; --as sets
/// it manually. Folders are read recursively, without hidden files, *.md and links to folders. A file that fits no format or cannot be read is
/// skipped, and the output gives the reason.
///
/// Documents of a known format that has no parser yet become dead letters with code unsupported_format. They are kept for
/// the retention time of topic dlq.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  \
    dp ingest GetRealTimeFiveMinExPost_Current.json\n  \
    dp ingest examples/documents --tenant acme\n  \
    dp ingest prices.txt --as miso.rt5.expost.json")]
pub struct Args {
    /// Files and folders to publish
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Format of all files, instead of detecting it
    #[arg(long = "as", value_name = "FORMAT", value_parser = known_format)]
    format: Option<String>,
    /// Tenant of the documents (header dp.tenant_id) [default: DATA_PROC_TENANT_ID of normalization]
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Also send files that fit no format; they become dead letters
    #[arg(long)]
    send_unknown: bool,
    /// Raw topic [default: the first of DATA_PROC_RAW_TOPICS]
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
}

impl Args {
    fn documents(&self) -> Documents {
        Documents {
            files: self.files.clone(),
            format: self.format.clone(),
            tenant: self.tenant.clone(),
            send_unknown: self.send_unknown,
            trades_tenant: String::new(),
            topic: self.topic.clone(),
        }
    }
}

fn known_format(text: &str) -> Result<String, String> {
    if markets::FORMATS.iter().any(|format| format.name == text) {
        return Ok(text.to_owned());
    }
    let known: Vec<&str> = markets::FORMATS.iter().map(|format| format.name).collect();
    Err(format!("unknown format; use one of {}", known.join(", ")))
}

/// Runs `dp ingest`.
pub async fn run(connection: &Connection, args: &Args) -> anyhow::Result<()> {
    let documents = args.documents();
    let done = Arc::new(AtomicUsize::new(0));
    let publishing = publish_counted(connection, &documents, done.clone());
    let ingested = unless_interrupted(publishing, || {
        format!(
            "{} file(s) were processed, the next one may have been published, the others were not",
            done.load(Ordering::Relaxed)
        )
    })
    .await?;
    if connection.json {
        print_json(&ingested)?;
    } else {
        print_line(&shown(&ingested))?;
    }
    if ingested.iter().all(|file| file.offset.is_none()) {
        bail!(
            "nothing was published: none of {} file(s) has a known format; set it with --as FORMAT",
            ingested.len()
        );
    }
    Ok(())
}

fn trades(file: &Ingested) -> String {
    let venue = file.venue.unwrap_or_default();
    let unread = match file.unread.as_slice() {
        [] => String::new(),
        [one] => format!("; not read: {one}"),
        // The last one may be a line that the end of the file has cut.
        [first, .., last] => format!(
            "; {} rows are not read, the first: {first}; the last: {last}",
            file.unread.len()
        ),
    };
    format!(
        "{} trades of {venue} (NORMALIZATION_VENUES must name it){unread}",
        grouped(file.messages as i64)
    )
}

fn shown(ingested: &[Ingested]) -> String {
    let rows = ingested.iter().map(|file| {
        let outcome = match (&file.format, file.has_parser) {
            _ if file.problem.is_some() => format!("skipped: {}", file.problem.as_deref().unwrap_or_default()),
            (None, _) if file.venue.is_some() => trades(file),
            (None, _) => "skipped: fits no known format".to_owned(),
            (Some(format), true) => format.clone(),
            (Some(format), false) => format!("{format} (no parser yet: becomes a dead letter)"),
        };
        let place = file
            .partition
            .zip(file.offset)
            .map_or_else(String::new, |(partition, offset)| format!("{partition}/{offset}"));
        vec![
            file.file.display().to_string(),
            outcome,
            place,
            grouped(file.bytes as i64),
        ]
    });
    table(&["document", "format", "partition/offset", "bytes"], 3, rows)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn an_unknown_format_is_an_argument_error_that_lists_the_known_ones() {
        let error = Cli::try_parse_from(["ingest", "a.csv", "--as", "miso.rt5"])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("miso.rt5.expost.json") && error.contains("gas.eia_daily.csv"),
            "{error}"
        );
        assert!(Cli::try_parse_from(["ingest"]).is_err());
        let args = Cli::try_parse_from(["ingest", "a.csv", "--as", "miso.da.expost.csv"])
            .unwrap()
            .args;
        assert_eq!(args.format.as_deref(), Some("miso.da.expost.csv"));
    }
}
