//! Which documents of a folder are published, and in which order. Pure.
//!
//! Invariant: a document is published once, however often the folder is backfilled: it is known by its bytes and tenant in the raw
//! log, and by its event id in `market_ticks` after the raw log has dropped it. Kafka's event window alone would not do, since it is
//! minutes long.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use domain::Micros;
use jiff::civil::Date;
use serde::Serialize;

/// The bytes of a document and its tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Content {
    /// Tenant.
    pub tenant: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Hash of the bytes.
    pub hash: u64,
}

/// A file of the folder, as normalization's rules read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The file.
    pub file: PathBuf,
    /// Its bytes; `None` if it cannot be read.
    pub content: Option<Content>,
    /// Header `dp.format`; `None` if it fits no format.
    pub format: Option<String>,
    /// Market of the format.
    pub market: Option<String>,
    /// Event id of its ticks; `None` without a tick.
    pub event_id: Option<String>,
    /// Event time of its first tick.
    pub first: Option<Micros>,
    /// Delivery day of its first tick, by the market's clock.
    pub day: Option<Date>,
    /// Its ticks.
    pub ticks: u64,
    /// Its rejected rows, or 1 if it is rejected as a whole.
    pub rejected: u64,
    /// Why it cannot be read, is rejected, or fits no format.
    pub problem: Option<String>,
}

/// Documents that the pipeline has taken before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// In the raw topics.
    pub in_log: BTreeSet<Content>,
    /// Rows in `market_ticks`, by tenant and event id.
    pub stored: BTreeMap<(String, String), u64>,
}

/// What is done with a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is published, or would be.
    Published,
    /// It was taken before: it is not published again.
    Repeated,
    /// It cannot be read, or fits no format.
    Skipped,
}

/// A document and the decision about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The document.
    pub document: Document,
    /// The decision.
    pub outcome: Outcome,
    /// Rows that `market_ticks` has of it.
    pub stored: u64,
    /// Of a repeated document: the file of the folder before it that has the same bytes and is published.
    pub same_as: Option<PathBuf>,
}

/// Decides about the documents, the oldest delivery day first; those without a tick last. `market` leaves out other markets.
pub fn plan(documents: Vec<Document>, known: &Known, market: Option<&str>) -> Vec<Planned> {
    let is_wanted = |document: &Document| {
        market.is_none_or(|wanted| {
            document
                .market
                .as_deref()
                .is_some_and(|market| market.eq_ignore_ascii_case(wanted))
        })
    };
    let mut documents: Vec<Document> = documents.into_iter().filter(is_wanted).collect();
    documents.sort_by(|a, b| (a.first.is_none(), a.first, &a.file).cmp(&(b.first.is_none(), b.first, &b.file)));
    let mut published = BTreeMap::new();
    documents
        .into_iter()
        .map(|document| decide(document, known, &mut published))
        .collect()
}

fn decide(document: Document, known: &Known, published: &mut BTreeMap<Content, PathBuf>) -> Planned {
    let stored = document
        .content
        .as_ref()
        .zip(document.event_id.as_ref())
        .and_then(|(content, id)| known.stored.get(&(content.tenant.clone(), id.clone())))
        .copied()
        .unwrap_or(0);
    let (outcome, same_as) = match (&document.content, &document.format) {
        (Some(content), Some(_)) if stored > 0 || known.in_log.contains(content) => (Outcome::Repeated, None),
        (Some(content), Some(_)) => match published.get(content) {
            Some(file) => (Outcome::Repeated, Some(file.clone())),
            None => {
                published.insert(content.clone(), document.file.clone());
                (Outcome::Published, None)
            }
        },
        _ => (Outcome::Skipped, None),
    };
    Planned {
        document,
        outcome,
        stored,
        same_as,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn content(hash: u64) -> Content {
        Content {
            tenant: "t".to_owned(),
            bytes: 10,
            hash,
        }
    }

    fn document(file: &str, hash: u64, first: Option<Micros>) -> Document {
        Document {
            file: file.into(),
            content: Some(content(hash)),
            format: Some("f".to_owned()),
            market: Some("MISO".to_owned()),
            event_id: Some(format!("doc-{hash}")),
            first,
            day: None,
            ticks: 5,
            rejected: 0,
            problem: None,
        }
    }

    fn decided(planned: &[Planned]) -> Vec<(&str, Outcome)> {
        planned
            .iter()
            .map(|planned| (planned.document.file.to_str().unwrap(), planned.outcome))
            .collect()
    }

    #[test]
    fn the_oldest_delivery_comes_first_and_documents_without_a_tick_last() {
        let documents = vec![
            document("a", 1, None),
            document("b", 2, Some(20)),
            document("c", 3, Some(10)),
            document("d", 4, Some(10)),
        ];
        let planned = plan(documents, &Known::default(), None);
        let files: Vec<&str> = decided(&planned).into_iter().map(|(file, _)| file).collect();
        assert_eq!(files, ["c", "d", "b", "a"]);
    }

    #[test]
    fn a_document_that_was_taken_before_or_is_there_twice_is_published_once() {
        let known = Known {
            in_log: [content(1)].into(),
            stored: [(("t".to_owned(), "doc-2".to_owned()), 5)].into(),
        };
        let documents = vec![
            document("in_log", 1, Some(1)),
            document("in_table", 2, Some(2)),
            document("new", 3, Some(3)),
            document("same", 3, Some(4)),
        ];
        let planned = plan(documents, &known, None);
        assert_eq!(
            decided(&planned),
            [
                ("in_log", Outcome::Repeated),
                ("in_table", Outcome::Repeated),
                ("new", Outcome::Published),
                ("same", Outcome::Repeated)
            ]
        );
        assert_eq!(
            planned.iter().map(|planned| planned.stored).collect::<Vec<_>>(),
            [0, 5, 0, 0]
        );
        let same: Vec<_> = planned.into_iter().map(|planned| planned.same_as).collect();
        assert_eq!(same, [None, None, None, Some("new".into())]);
    }

    #[test]
    fn the_same_bytes_of_another_tenant_are_another_document() {
        let mut other = document("other", 1, Some(1));
        other.content = Some(Content {
            tenant: "u".to_owned(),
            ..content(1)
        });
        let known = Known {
            in_log: [content(1)].into(),
            stored: [(("t".to_owned(), "doc-1".to_owned()), 5)].into(),
        };
        assert_eq!(
            decided(&plan(vec![other], &known, None)),
            [("other", Outcome::Published)]
        );
    }

    #[test]
    fn other_markets_are_left_out_and_what_fits_no_format_is_skipped() {
        let mut pjm = document("pjm", 1, Some(1));
        pjm.market = Some("PJM".to_owned());
        let mut strange = document("strange", 2, None);
        (strange.format, strange.market) = (None, None);
        let documents = vec![pjm, strange.clone(), document("miso", 3, Some(2))];
        let only = plan(documents, &Known::default(), Some("miso"));
        assert_eq!(decided(&only), [("miso", Outcome::Published)]);
        let all = plan(vec![strange], &Known::default(), None);
        assert_eq!(decided(&all), [("strange", Outcome::Skipped)]);
    }
}
