//! The dead letters of the pipeline: what was rejected, where and why.
//!
//! Role: reads topic `dlq` from its oldest record, or from a time, and passes the letters that a filter selects. [`replay`] sends
//! letters to their raw topics again, [`purge`] removes the oldest, [`give_up`] closes chosen ones.
//! Invariants: a stage that is killed after sending a letter may send it again. Such a repetition is not passed. A letter that
//! was replayed or given up is passed only if that is wanted.
//! Failure: a record of the topic that is no dead letter is counted, not passed. A broker that does not answer is an error.

pub mod give_up;
pub mod names;
pub mod purge;
pub mod replay;

use std::collections::{BTreeMap, BTreeSet};

use domain::Micros;
use normalization::replays::was_held;
use serde::Serialize;
use serde_json::Value;
use stream::dead_letter::header;
use stream::dead_letter::ledger::{Entry, Ledger};
use stream::kafka::reader::LogReader;
use stream::{Brokers, Message, Partition, StreamError};

/// A larger payload is not searched for its market: it is a document, and says it in a header.
const SEARCHED_BYTES: usize = 1 << 20;

const CLOCK_DIFFERENCE: Micros = 60_000_000;

/// A position in a log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[allow(missing_docs)]
pub struct Place {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

impl Place {
    /// Reads `topic/partition/offset`.
    pub fn parse(text: &str) -> Option<Place> {
        let (rest, offset) = text.rsplit_once('/')?;
        let (topic, partition) = rest.rsplit_once('/')?;
        Some(Place {
            topic: (!topic.is_empty()).then(|| topic.to_owned())?,
            partition: partition.parse().ok()?,
            offset: offset.parse().ok()?,
        })
    }
}

/// A dead letter without the bytes of the rejected record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Letter {
    /// Position of the letter.
    pub place: Place,
    /// The rejected record.
    pub origin: Place,
    /// When the record failed, in microseconds since 1970.
    #[serde(skip)]
    pub failed_at: Micros,
    /// The same in ISO 8601.
    #[serde(rename = "failed_at")]
    pub failed_at_text: String,
    /// Service that rejected it.
    pub service: String,
    /// Its stage.
    pub stage: String,
    /// Code of the reason.
    pub code: String,
    /// The reason.
    pub reason: String,
    /// Rejected rows of a document; empty means the whole record.
    pub rows: String,
    /// Market of the record in upper case; empty if it does not say.
    pub market: String,
    /// Tenant of the record; empty if it does not say.
    pub tenant: String,
    /// Whether the record was held because its tenant was paused.
    #[serde(skip)]
    pub held: bool,
    /// How often the record was tried.
    pub attempts: u32,
    /// Correlation id of the record, if it could be read.
    pub correlation_id: String,
    /// Bytes of the record that the letter contains.
    pub bytes: usize,
    /// Whether it was replayed.
    pub replayed: bool,
    /// Whether it was given up: nobody will replay it.
    pub given_up: bool,
}

impl Letter {
    /// The letter in a message; `None` if it is none.
    pub fn of(message: &Message<'_>) -> Option<Letter> {
        let text = |name| {
            message
                .header(name)
                .map(|value| String::from_utf8_lossy(value).into_owned())
        };
        let failed_at = text(header::FAILED_AT)
            .and_then(|micros| micros.parse().ok())
            .unwrap_or(message.timestamp);
        let (market, tenant) = named_by(text("dp.format").as_deref(), message.payload.unwrap_or_default());
        Some(Letter {
            code: text(header::CODE)?,
            origin: Place {
                topic: text(header::TOPIC)?,
                partition: text(header::PARTITION)?.parse().ok()?,
                offset: text(header::OFFSET)?.parse().ok()?,
            },
            place: Place {
                topic: message.topic.to_owned(),
                partition: message.partition,
                offset: message.offset,
            },
            failed_at,
            failed_at_text: crate::present::iso(failed_at),
            service: text(header::SERVICE).unwrap_or_default(),
            stage: text(header::STAGE).unwrap_or_default(),
            reason: text(header::MESSAGE).unwrap_or_default(),
            rows: text(header::REJECTED_ROWS).unwrap_or_default(),
            market,
            tenant: text(header::TENANT)
                .or_else(|| text("dp.tenant_id"))
                .unwrap_or(tenant)
                .trim()
                .to_owned(),
            held: was_held(|name| message.header(name)),
            attempts: text(header::ATTEMPTS)
                .and_then(|attempts| attempts.parse().ok())
                .unwrap_or(1),
            correlation_id: text(header::CORRELATION_ID).unwrap_or_default(),
            bytes: message.payload.map_or(0, <[u8]>::len),
            replayed: false,
            given_up: false,
        })
    }
}

/// The market and the tenant that a record names: a document its market in its format, a tick both in its fields.
fn named_by(format: Option<&str>, payload: &[u8]) -> (String, String) {
    if let Some((market, _)) = format.and_then(|format| format.split_once('.')) {
        return (market.to_ascii_uppercase(), String::new());
    }
    if payload.len() > SEARCHED_BYTES || payload.first() != Some(&b'{') {
        return (String::new(), String::new());
    }
    let Ok(value) = serde_json::from_slice::<Value>(payload) else {
        return (String::new(), String::new());
    };
    let first = |places: [&str; 2]| {
        let named = places
            .into_iter()
            .filter_map(|place| value.pointer(place))
            .find_map(Value::as_str);
        named.unwrap_or_default().trim().to_owned()
    };
    (
        first(["/payload/market", "/market"]).to_uppercase(),
        first(["/envelope/tenant_id", "/tenant_id"]),
    )
}

/// Which letters are wanted. `None` means no limit.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Code of the reason.
    pub code: Option<String>,
    /// Stage.
    pub stage: Option<String>,
    /// Market, in any case.
    pub market: Option<String>,
    /// Tenant.
    pub tenant: Option<String>,
    /// Failed at this time or later.
    pub since: Option<Micros>,
    /// Failed before this time.
    pub until: Option<Micros>,
    /// Letters that were replayed or given up, too.
    pub closed: bool,
}

impl Wanted {
    /// Whether the letter is wanted.
    pub fn has(&self, letter: &Letter) -> bool {
        let is = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
        let market = self.market.as_ref().map(|market| market.trim().to_uppercase());
        is(&self.code, &letter.code)
            && is(&self.stage, &letter.stage)
            && is(&market, &letter.market)
            && is(&self.tenant, &letter.tenant)
            && self.since.is_none_or(|since| letter.failed_at >= since)
            && self.until.is_none_or(|until| letter.failed_at < until)
    }
}

/// The letters of a topic that were not passed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Passed {
    /// Repetitions of a letter.
    pub repeated: u64,
    /// Letters that were replayed.
    pub replayed: u64,
    /// Letters that were given up.
    pub given_up: u64,
    /// Records that are no dead letters.
    pub foreign: u64,
}

/// Passes each wanted letter to `show`, the oldest of each partition first, until it returns false. Blocks.
///
/// # Errors
/// Kafka does not answer, or the topic does not exist.
pub fn each(
    bootstrap: &Brokers,
    topic: &str,
    wanted: &Wanted,
    mut show: impl FnMut(Letter, &Message<'_>) -> bool,
) -> Result<Passed, StreamError> {
    let (reader, mut passed, mut goes_on) = (LogReader::new(bootstrap)?, Passed::default(), true);
    for partition in reader.partitions(topic)? {
        let (from, end) = range(&reader, &partition, wanted.since)?;
        // Whether a letter is open is known at the end of the topic.
        let (mut whole, mut given_up) = (Ledger::default(), BTreeSet::new());
        reader.read(&partition, from, end, |message| {
            if let Entry::Marker(marker) = whole.read(message)
                && marker.is_given_up()
            {
                given_up.insert(marker.letter);
            }
            true
        })?;
        let mut read = Ledger::default();
        reader.read(&partition, from, end, |message| {
            match (read.read(message), Letter::of(message)) {
                (Entry::Letter, Some(mut letter)) => {
                    letter.given_up = given_up.contains(&message.offset);
                    letter.replayed = !whole.is_open(message.offset) && !letter.given_up;
                    if !wanted.has(&letter) {
                    } else if letter.replayed && !wanted.closed {
                        passed.replayed += 1;
                    } else if letter.given_up && !wanted.closed {
                        passed.given_up += 1;
                    } else {
                        goes_on = show(letter, message);
                    }
                }
                (Entry::Repeated, _) => passed.repeated += 1,
                (Entry::Marker(_), _) => {}
                (Entry::Letter | Entry::Foreign, _) => passed.foreign += 1,
            }
            goes_on
        })?;
        if !goes_on {
            break;
        }
    }
    Ok(passed)
}

/// The offsets that may contain letters since a time.
fn range(reader: &LogReader, partition: &Partition, since: Option<Micros>) -> Result<(i64, i64), StreamError> {
    let (oldest, end) = reader.log_range(partition)?;
    // The time of a record is the broker's, that of a failure the service's: allow a minute of clock difference.
    let from = match since {
        Some(since) => reader
            .offset_at(partition, since.saturating_sub(CLOCK_DIFFERENCE))?
            .unwrap_or(end)
            .max(oldest),
        None => oldest,
    };
    Ok((from, end))
}

/// What letters are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum By {
    Code,
    Stage,
    Market,
    Service,
}

impl By {
    /// Every one, in the order of columns.
    pub const ALL: [By; 4] = [By::Service, By::Stage, By::Code, By::Market];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            By::Code => "code",
            By::Stage => "stage",
            By::Market => "market",
            By::Service => "service",
        }
    }

    fn of(self, letter: &Letter) -> &str {
        match self {
            By::Code => &letter.code,
            By::Stage => &letter.stage,
            By::Market => &letter.market,
            By::Service => &letter.service,
        }
    }
}

/// Letters with the same values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// The values, by name of the field.
    #[serde(flatten)]
    pub values: BTreeMap<&'static str, String>,
    /// Number of letters.
    pub letters: u64,
    /// When the first of them failed, in ISO 8601.
    pub oldest: String,
    /// When the last of them failed.
    pub newest: String,
    /// The first of them.
    pub example: String,
    #[serde(skip)]
    span: (Micros, Micros),
}

impl Group {
    /// When the first of them failed.
    pub fn oldest(&self) -> Micros {
        self.span.0
    }

    /// When the last of them failed.
    pub fn newest(&self) -> Micros {
        self.span.1
    }
}

/// Counts letters by some of their fields.
#[derive(Debug, Default)]
pub struct Counted {
    groups: BTreeMap<Vec<String>, Group>,
}

impl Counted {
    /// Counts one letter.
    pub fn add(&mut self, by: &[By], letter: &Letter) {
        let key: Vec<String> = by.iter().map(|by| by.of(letter).to_owned()).collect();
        let group = self.groups.entry(key).or_insert_with(|| Group {
            values: by.iter().map(|by| (by.name(), by.of(letter).to_owned())).collect(),
            letters: 0,
            oldest: letter.failed_at_text.clone(),
            newest: letter.failed_at_text.clone(),
            example: letter.place.to_string(),
            span: (letter.failed_at, letter.failed_at),
        });
        group.letters += 1;
        if letter.failed_at < group.span.0 {
            group.span.0 = letter.failed_at;
            group.oldest.clone_from(&letter.failed_at_text);
        }
        if letter.failed_at > group.span.1 {
            group.span.1 = letter.failed_at;
            group.newest.clone_from(&letter.failed_at_text);
        }
    }

    /// The groups, the largest first.
    pub fn groups(self) -> Vec<Group> {
        let mut groups: Vec<Group> = self.groups.into_values().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.letters));
        groups
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// An open letter at this offset.
    pub(super) fn open_letter(offset: i64) -> Letter {
        Letter {
            place: Place::parse(&format!("dlq/0/{offset}")).unwrap(),
            origin: Place::parse("raw/1/42").unwrap(),
            failed_at: 0,
            failed_at_text: String::new(),
            service: String::new(),
            stage: String::new(),
            code: String::new(),
            reason: String::new(),
            rows: String::new(),
            market: String::new(),
            tenant: String::new(),
            held: false,
            attempts: 1,
            correlation_id: String::new(),
            bytes: 0,
            replayed: false,
            given_up: false,
        }
    }

    fn letter(code: &str, market: &str, failed_at: Micros) -> Letter {
        Letter {
            failed_at,
            failed_at_text: crate::present::iso(failed_at),
            service: "normalization".to_owned(),
            stage: "normalize".to_owned(),
            code: code.to_owned(),
            market: market.to_owned(),
            tenant: "acme".to_owned(),
            bytes: 2,
            ..open_letter(7)
        }
    }

    #[test]
    fn a_place_is_read_as_it_is_shown() {
        let place = Place::parse("a/b.c/3/17").unwrap();
        assert_eq!((place.topic.as_str(), place.partition, place.offset), ("a/b.c", 3, 17));
        assert_eq!(place.to_string(), "a/b.c/3/17");
        for text in ["", "17", "3/17", "/3/17", "a/b/17", "a/3/b"] {
            assert_eq!(Place::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_market_is_that_of_the_format_or_of_the_fields_and_so_is_the_tenant() {
        for (format, payload, market, tenant) in [
            (Some("miso.rt5.expost.json"), "{}", "MISO", ""),
            (
                None,
                r#"{"envelope":{"tenant_id":"a"},"payload":{"market":" pjm "}}"#,
                "PJM",
                "a",
            ),
            (None, r#"{"market":"caiso","tenant_id":" b "}"#, "CAISO", "b"),
            (None, r#"{"payload":{"market":7}}"#, "", ""),
            (None, "{", "", ""),
            (None, "\u{c3}\u{1}", "", ""),
            (Some("unknown"), "", "", ""),
        ] {
            let named = named_by(format, payload.as_bytes());
            assert_eq!(named, (market.to_owned(), tenant.to_owned()), "{payload}");
        }
    }

    #[test]
    fn every_filter_excludes_and_the_end_of_a_span_is_open() {
        let found = letter("broken_json", "MISO", 100);
        let wanted = |change: fn(&mut Wanted)| {
            let mut wanted = Wanted::default();
            change(&mut wanted);
            wanted.has(&found)
        };
        assert!(wanted(|_| ()));
        assert!(wanted(|wanted| wanted.market = Some("miso".to_owned())));
        assert!(!wanted(|wanted| wanted.market = Some("pjm".to_owned())));
        assert!(wanted(|wanted| wanted.tenant = Some("acme".to_owned())));
        assert!(!wanted(|wanted| wanted.tenant = Some("acm".to_owned())));
        assert!(!wanted(|wanted| wanted.code = Some("no_price".to_owned())));
        assert!(!wanted(|wanted| wanted.stage = Some("enrich".to_owned())));
        assert!(wanted(|wanted| wanted.since = Some(100)) && !wanted(|wanted| wanted.since = Some(101)));
        assert!(wanted(|wanted| wanted.until = Some(101)) && !wanted(|wanted| wanted.until = Some(100)));
    }

    #[test]
    fn letters_are_counted_by_the_fields_that_are_asked_for() {
        let mut counted = Counted::default();
        for (code, market, at) in [("a", "X", 30), ("b", "X", 10), ("b", "Y", 20), ("b", "Y", 5)] {
            counted.add(&[By::Code], &letter(code, market, at));
        }
        let groups = counted.groups();
        let shown: Vec<(&str, u64)> = groups
            .iter()
            .map(|group| (group.values["code"].as_str(), group.letters))
            .collect();
        assert_eq!(shown, [("b", 3), ("a", 1)]);
        assert_eq!(
            (groups[0].oldest.as_str(), groups[0].newest.as_str()),
            (&*crate::present::iso(5), &*crate::present::iso(20))
        );
    }
}
