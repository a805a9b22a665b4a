//! Documents as markets publish them, each in the market's own shape.
//!
//! Role: makes documents of three reports: MISO's real-time prices of five minutes (JSON), PJM's real-time prices of hours and its
//! day-ahead prices (CSV, or pages of its API). Most are new. Others have the bytes of an earlier one, its rows in another order, or corrected prices;
//! have one row that cannot be read; come days late; or are no document of their format. Pure; times are in milliseconds.
//! Invariants: the same seed, session and times make the same documents; only a repetition has the bytes of an earlier one, so the
//! ticks of a document are known when it is made. Instruments are not those of other messages of the load.
//! Failure: none.

mod flaws;
mod rows;

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use fastrand::Rng;

use rows::{DAY, Form, Prices, Report};

/// Documents in a thousand messages. Each has about sixteen rows.
const IN_A_THOUSAND: u64 = 8;
/// A repetition repeats one of the last documents, so it is seconds old and well inside the event-id window.
const RECENT: usize = 8;
/// Documents that may be corrected, and whose rows may come again.
const CORRECTED: usize = 40;
/// Raw partitions are chosen by one of this many keys for each format, so that rows of one interval come through several.
const KEYS: u64 = 4;

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Prices of the last intervals, or of tomorrow.
    New,
    /// Prices of intervals some days ago.
    Late,
    /// As `New`, with one row that cannot be read.
    OneBadRow,
    /// The rows of an earlier document in another order.
    SameRows,
    /// The rows of an earlier document, some with another price. PJM gives them a higher version, and may list the old ones again.
    Correction,
    /// The bytes of an earlier document.
    Again,
    /// Nothing that its format allows.
    Broken,
}

/// A document to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Header `dp.format`.
    pub format: &'static str,
    /// Key of the message. A repetition has the key of its first document, hence its partition.
    pub key: String,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Rows that become ticks.
    pub good: u64,
    /// Rows that are rejected.
    pub bad: u64,
    /// Whether it says that it is one page of many.
    pub is_part: bool,
}

/// Makes documents.
#[derive(Debug)]
pub struct Documents {
    random: Rng,
    /// Chooses the form of a document, so that its content does not depend on it.
    forms: Rng,
    recent: VecDeque<Document>,
    published: VecDeque<Prices>,
    /// Hashes of all documents so far.
    seen: HashSet<u64>,
}

impl Documents {
    /// `session` is the number of the publisher among those with the same seed.
    pub fn new(seed: u64, session: u32) -> Documents {
        let seed = seed.rotate_left(17) ^ u64::from(session);
        Documents {
            random: Rng::with_seed(seed),
            forms: Rng::with_seed(!seed),
            recent: VecDeque::new(),
            published: VecDeque::new(),
            seen: HashSet::new(),
        }
    }

    /// A document, if it is time for one among the messages of the load.
    pub(crate) fn due(&mut self, now: i64) -> Option<Document> {
        (self.random.u64(..1000) < IN_A_THOUSAND).then(|| self.next(now))
    }

    /// Earlier documents are not repeated any more.
    pub(crate) fn forget_recent(&mut self) {
        self.recent.clear();
    }

    /// The next document; `now` in milliseconds since 1970.
    pub fn next(&mut self, now: i64) -> Document {
        let chance = self.random.u64(..100);
        if chance < 10
            && let Some(known) = self.random.choice(&self.recent)
        {
            return Document {
                kind: Kind::Again,
                ..known.clone()
            };
        }
        let earlier = self.random.choice(&self.published).cloned();
        let (kind, prices) = match (chance, earlier) {
            (10..20, Some(earlier)) => (Kind::SameRows, earlier),
            (20..38, Some(earlier)) => (Kind::Correction, earlier.corrected(&mut self.random)),
            (38..48, _) => (Kind::OneBadRow, self.prices(now)),
            (48..58, _) => {
                let days = 3 + self.random.u64(..6) as i64;
                (Kind::Late, self.prices(now - days * DAY))
            }
            (58..60, _) => return self.broken(now),
            _ => (Kind::New, self.prices(now)),
        };
        let document = self.written(kind, prices);
        remember(&mut self.recent, RECENT, document.clone());
        document
    }

    fn prices(&mut self, now: i64) -> Prices {
        let report = match self.random.u64(..10) {
            0..6 => Report::MisoRealTime,
            6..8 => Report::PjmHourly,
            _ => Report::PjmDayAhead,
        };
        Prices::published(report, &mut self.random, now)
    }

    /// Half of PJM's documents are pages, and half of these are not the only one.
    fn form(&mut self) -> Form {
        if self.forms.bool() {
            return Form::Report;
        }
        let others = if self.forms.bool() {
            self.forms.usize(1..5_000)
        } else {
            0
        };
        Form::Page {
            others,
            has_next: others > 0 && self.forms.bool(),
        }
    }

    fn written(&mut self, kind: Kind, mut prices: Prices) -> Document {
        let form = self.form();
        let (payload, bad) = loop {
            // Another order of the rows is another document. There are at least six rows, so it is soon found.
            self.random.shuffle(&mut prices.rows);
            let mut cells = prices.cells(form);
            let mut bad = 0;
            if kind == Kind::OneBadRow
                && let Some(row) = self.random.choice(&mut cells)
            {
                flaws::spoil(prices.report, form, row, &mut self.random);
                bad = 1;
            }
            let payload = prices.report.document(&cells, form);
            if self.seen.insert(hash(&payload)) {
                break (payload, bad);
            }
        };
        let document = Document {
            format: prices.report.format(),
            key: self.key(prices.report),
            payload,
            kind,
            good: prices.rows.len() as u64 - bad,
            bad,
            is_part: prices.report != Report::MisoRealTime && matches!(form, Form::Page { others: 1.., .. }),
        };
        if !matches!(kind, Kind::SameRows | Kind::OneBadRow) {
            prices.rows.retain(|row| row.is_current);
            remember(&mut self.published, CORRECTED, prices);
        }
        document
    }

    /// The source's error page, another header, or a part of a document.
    fn broken(&mut self, now: i64) -> Document {
        let prices = self.prices(now);
        let form = self.form();
        let sound = prices.report.document(&prices.cells(form), form);
        let payload = match self.random.u64(..3) {
            0 => b"<!DOCTYPE html><html><body>503 Service Unavailable</body></html>\n".to_vec(),
            1 => prices.report.with_another_header(&sound),
            _ => prices.report.begun(&sound),
        };
        Document {
            format: prices.report.format(),
            key: self.key(prices.report),
            payload,
            kind: Kind::Broken,
            good: 0,
            bad: 0,
            is_part: false,
        }
    }

    fn key(&mut self, report: Report) -> String {
        format!("{}-{}", report.format(), self.random.u64(..KEYS))
    }
}

fn hash(payload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    payload.hash(&mut hasher);
    hasher.finish()
}

fn remember<T>(known: &mut VecDeque<T>, most: usize, one: T) {
    if known.len() == most {
        known.pop_front();
    }
    known.push_back(one);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::expect::{Expected, ROWS};
    use crate::kafka::Record;
    use crate::parse::{Parser, Tick};

    const NOW: i64 = 1_795_000_000_000;

    fn parser() -> Parser {
        Parser::new(include_str!("../../../schemas/avro/raw_market_tick.avsc"), "default").unwrap()
    }

    fn record(offset: i64, document: &Document) -> Record {
        Record {
            topic: "raw".to_owned(),
            partition: 0,
            offset,
            timestamp: NOW + offset,
            key: None,
            payload: document.payload.clone(),
            headers: vec![("dp.format".to_owned(), document.format.into())],
        }
    }

    /// The documents of a seed, and what the oracle expects of them.
    fn made(seed: u64, count: i64) -> (Vec<Document>, Expected) {
        let mut documents = Documents::new(seed, 1);
        let made: Vec<Document> = (0..count).map(|offset| documents.next(NOW + offset)).collect();
        let records: Vec<Record> = (0..).zip(&made).map(|(offset, one)| record(offset, one)).collect();
        let expected = Expected::of(&records, Vec::new(), &parser());
        (made, expected)
    }

    #[test]
    fn the_oracle_finds_in_a_log_of_documents_what_each_says_that_it_contains() {
        for seed in 0..20 {
            let (made, expected) = made(seed, 300);
            let sum = |of: fn(&Document) -> u64| made.iter().map(of).sum::<u64>();
            let is_new = |one: &Document| !matches!(one.kind, Kind::Again | Kind::Broken);
            let of = |kind: Kind| made.iter().filter(|one| one.kind == kind).count() as u64;
            let again = of(Kind::Again);
            let ticks: u64 = made.iter().filter(|one| is_new(one)).map(|one| one.good).sum();
            assert_eq!(expected.ticks.len() as u64, ticks, "seed {seed}");
            assert_eq!(expected.repeated, again, "seed {seed}");
            assert_eq!(expected.documents, 300 - again - of(Kind::Broken), "seed {seed}");
            assert_eq!(expected.rejected_rows, of(Kind::OneBadRow), "seed {seed}");
            assert!(sum(|one| one.bad) >= of(Kind::OneBadRow));
            let with_rows = |is: bool| {
                let is_it = |code: &&String| code.starts_with(ROWS) == is;
                expected.dead_letters.values().filter(is_it).count() as u64
            };
            assert_eq!(with_rows(true), of(Kind::OneBadRow), "seed {seed}");
            assert_eq!(with_rows(false), of(Kind::Broken), "seed {seed}");
            assert!(expected.corrections() > 100, "seed {seed}: {}", expected.corrections());
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_documents_and_another_session_makes_others() {
        let (first, _) = made(3, 50);
        assert_eq!(made(3, 50).0, first);
        let mut other = Documents::new(3, 2);
        assert_ne!(
            (0..50).map(|offset| other.next(NOW + offset)).collect::<Vec<_>>(),
            first
        );
    }

    #[test]
    fn every_report_has_every_kind_of_document() {
        let (made, expected) = made(7, 1_500);
        let mut kinds: BTreeMap<(&str, Kind), usize> = BTreeMap::new();
        for one in &made {
            *kinds.entry((one.format, one.kind)).or_default() += 1;
        }
        assert_eq!(kinds.len(), 3 * 7, "{kinds:?}");
        let count = |is: &dyn Fn(&Tick) -> bool| expected.ticks.iter().filter(|tick| is(tick)).count();
        let age = |tick: &Tick| tick.appended - tick.time;
        let day = DAY * 1000;
        for product in ["rt5", "rth", "da"] {
            assert!(
                count(&|tick| tick.product == product && age(tick) > day) > 100,
                "{product} days late"
            );
        }
        assert!(
            count(&|tick| tick.product == "rt5" && age(tick) < 15 * 60_000_000) > 100,
            "live"
        );
        assert!(count(&|tick| tick.product == "da" && age(tick) < 0) > 100, "tomorrow");
        let is_page = |one: &&Document| one.format.starts_with("pjm") && one.payload.starts_with(b"{");
        let pages = made.iter().filter(is_page).count();
        let parts = made.iter().filter(|one| one.is_part).count();
        assert!(
            pages > 150 && parts > 60 && pages - parts > 60,
            "{parts} of {pages} pages are not the only one"
        );
        assert!(count(&|tick| tick.is_part) > 300);
        for version in ["verified.1", "verified.2", "verified.3", "verified.1.superseded"] {
            assert!(
                count(&|tick| tick.version.as_deref() == Some(version)) > 20,
                "{version}"
            );
        }
        // A better vintage that arrived before a worse one: the last origin alone does not decide.
        let mut best: BTreeMap<(&str, i64), &str> = BTreeMap::new();
        let mut overtaken = 0;
        for tick in &expected.ticks {
            let version = tick.version.as_deref().unwrap_or_default();
            let known = best.entry((tick.instrument.as_str(), tick.time)).or_insert(version);
            overtaken += usize::from(version < *known);
            *known = version.max(*known);
        }
        assert!(overtaken > 50, "{overtaken}");
    }
}
