//! ISO-NE's hourly reports: `isone.da_lmp.csv` and `isone.rt_lmp_final.csv`.
//!
//! The first cell of a line is its kind: `C` comment, `H` header (names, then types), `D` data, `T` trailer with the number of data
//! lines. A report that does not end with a trailer was cut: its complete rows are taken, and one more rejected row says so. One with
//! another number of data lines is a part of the report. A comment or header behind the header, a header behind data, and data behind
//! the trailer are of another report, whose rows are refused: its title was not checked.

use domain::{Decimal, QualityFlags};

use super::hour_start;
use crate::clock::{self, HOUR, Wall};
use crate::document::{Document, Names, Row, Visit};
use crate::encoding::csv_text;
use crate::format::Head;
use crate::rejection::{RejectCode, Rejection, excerpt};
use crate::table::{Column, Csv, Known, Lines, Record, Table, columns, is_plain, of_another_report, plain, required};

pub(super) const DAY_AHEAD: &str = "isone.da_lmp.csv";
pub(super) const REAL_TIME: &str = "isone.rt_lmp_final.csv";

const COLUMNS: [Known; 10] = [
    required(&["H"]),
    required(&["Date"]),
    required(&["Hour Ending"]),
    required(&["Location ID"]),
    required(&["Location Name"]),
    required(&["Location Type"]),
    required(&["Locational Marginal Price"]),
    required(&["Energy Component"]),
    required(&["Congestion Component"]),
    required(&["Marginal Loss Component"]),
];

pub(super) fn recognise(head: &Head<'_>, format: &str) -> bool {
    is_kind(head.first_line, "c") && title_format(head.first_line) == Some(format)
}

fn title_format(title: &str) -> Option<&'static str> {
    let title = plain(title);
    if !title.contains("hourlylmp") {
        None
    } else if title.contains("dayahead") {
        Some(DAY_AHEAD)
    } else if title.contains("realtime") {
        Some(REAL_TIME)
    } else {
        None
    }
}

fn is_kind(line: &str, kind: &str) -> bool {
    is_plain(line.split(',').next().unwrap_or_default(), kind)
}

struct Report<'a> {
    csv: Csv<'a>,
    columns: [Column; COLUMNS.len()],
    product: &'static str,
    version: Option<&'static str>,
    end: End,
    /// The first line of another report.
    another: Option<u64>,
    /// First and last day that it says it is for.
    days: Option<(Wall, Wall)>,
}

/// How a report ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// With a trailer that has the number of its data lines.
    Whole,
    /// With a trailer that has another number, or none.
    OtherCount,
    /// Without a trailer.
    NoTrailer,
}

impl End {
    /// How the report ends of which `lines` follow the header, and the number of the line where another one begins.
    fn of(lines: Lines<'_>) -> (End, Option<u64>) {
        let (mut data, mut trailer, mut another) = (0_u64, None, None);
        for line in lines {
            match (kind(line.text), trailer) {
                (b'c', _) | (b'h' | b'd' | b't', Some(_)) => another = Some(line.number),
                (b'h', None) if data > 0 => another = Some(line.number),
                (b'd', None) => data += 1,
                (b't', None) => trailer = Some(line.text),
                // The types below the names, and rows that are refused.
                _ => {}
            }
            if another.is_some() {
                break;
            }
        }
        let end = match trailer {
            Some(trailer) if stated_count(trailer) == Some(data) => End::Whole,
            Some(_) => End::OtherCount,
            None => End::NoTrailer,
        };
        (end, another)
    }
}

/// The only letter of the first cell in lower case; zero if there is another one.
fn kind(line: &str) -> u8 {
    let cell = line.split(',').next().unwrap_or_default();
    let mut letters = cell.bytes().filter(u8::is_ascii_alphanumeric);
    match (letters.next(), letters.next()) {
        (Some(letter), None) => letter.to_ascii_lowercase(),
        _ => 0,
    }
}

/// `"T","29016 lines"`.
fn stated_count(trailer: &str) -> Option<u64> {
    let cell = trailer.split(',').nth(1)?.trim_matches(['"', ' ']);
    cell.split(' ').next()?.parse().ok()
}

pub(super) fn open<'a>(payload: &'a [u8], format: &'static str) -> Result<Box<dyn Document + 'a>, Rejection> {
    let text = csv_text(payload)?;
    let refused = |why: String| Err(Rejection::new(RejectCode::SchemaViolation, why));
    let mut lines = Lines::new(text);
    let mut comments = Vec::new();
    let header = loop {
        match lines.next() {
            Some(line) if is_kind(line.text, "h") => break line,
            Some(line) if is_kind(line.text, "c") => comments.push(line.text),
            Some(line) => {
                return refused(format!(
                    "line {} is \"{}\": a comment (C) or header (H) is expected",
                    line.number,
                    excerpt(line.text)
                ));
            }
            None => return refused("the report has no header (H)".to_owned()),
        }
    };
    if comments.iter().find_map(|line| title_format(line)) != Some(format) {
        let title = comments.first().copied().unwrap_or_default();
        return refused(format!(
            "its title is \"{}\", which is not one of format {format}",
            excerpt(title)
        ));
    }
    let (end, another) = End::of(lines.clone());
    // Lines of an unknown kind are rows that are refused.
    let (csv, names) = Csv::rows_below(lines, header, |line| {
        !["h", "c", "t"].iter().any(|kind| is_kind(line, kind))
    })?;
    let columns = columns(&names, &COLUMNS)?;
    let version = || {
        let comments = plain(&comments.concat());
        let is = |word: &str| comments.contains(word);
        match (is("prelim"), is("final")) {
            (true, false) => Some("preliminary"),
            (false, true) => Some("final"),
            _ => None,
        }
    };
    Ok(Box::new(Report {
        csv: csv.guarded(columns.get(6..).unwrap_or_default(), &[]),
        columns,
        product: if format == DAY_AHEAD { "da" } else { "rth" },
        version: if format == DAY_AHEAD { None } else { version() },
        end,
        another,
        days: comments.iter().find_map(|line| days_of(line)),
    }))
}

/// The days of `"C","Report for: 06/04/2026 - 06/04/2026"`.
fn days_of(comment: &str) -> Option<(Wall, Wall)> {
    let (_, days) = comment.split_once("Report for:")?;
    let (first, last) = days.trim_matches(['"', ' ', ',']).split_once('-')?;
    let day = |text: &str| clock::date(text.trim(), "Report for").ok();
    day(first).zip(day(last))
}

impl Report<'_> {
    fn row<'r>(&self, record: &Record<'r>) -> Result<Row<'r>, Rejection> {
        let [kind, date, hour, _, name, place, lmp, energy, congestion, loss] = self.columns;
        if !record.cell(kind).eq_ignore_ascii_case("D") {
            let message = format!("the row is of kind \"{}\": D is expected", excerpt(record.cell(kind)));
            return Err(Rejection::new(RejectCode::SchemaViolation, message));
        }
        let mut remarks = QualityFlags::NONE;
        let node = record.node(name)?;
        let day = clock::date(record.cell(date), date.name)?;
        if let Some((first, last)) = self.days.filter(|(first, last)| !(*first..=*last).contains(&day)) {
            let [day, first, last] = [day, first, last].map(clock::shown_day);
            let message = format!(
                "{} is {day}, but the report says that it is for {first} to {last}",
                date.name
            );
            return Err(Rejection::new(RejectCode::InvalidTime, message));
        }
        let start = hour_start(day, record.cell(hour), hour.name)?;
        let is = |wanted: &str| is_plain(record.cell(place), wanted);
        Ok(Row {
            spot: record.spot,
            market: None,
            node,
            key: node,
            zone: is("loadzone").then_some(node),
            hub: is("hub").then_some(node),
            product: self.product,
            start,
            end: start + HOUR,
            prices: record.prices([lmp, energy, congestion, loss], &mut remarks)?,
            volume: None,
            version: self.version,
            remarks,
        })
    }
}

impl Document for Report<'_> {
    fn names(&self) -> Names {
        Names {
            time: "Hour Ending",
            node: "Location Name",
        }
    }

    fn rows(&self) -> usize {
        self.csv.rows() + usize::from(self.end == End::NoTrailer)
    }

    fn is_part(&self) -> bool {
        self.end != End::Whole || self.another.is_some()
    }

    fn is_bare(&self) -> bool {
        self.csv.is_bare()
    }

    fn for_each(&self, _: Decimal, visit: &mut Visit<'_>) -> Result<(), Rejection> {
        self.csv.for_each_line(&mut |index, line, record| {
            let row = record.and_then(|record| {
                let row = match self.another.filter(|first| line.number >= *first) {
                    Some(first) => Err(of_another_report(line.number, first)),
                    None => self.row(&record),
                };
                row.map_err(|rejection| record.locate(rejection))
            });
            visit(index, row);
        });
        if self.end == End::NoTrailer {
            let message = "the report ends without its trailer (T), so rows after the last one are missing";
            visit(
                self.csv.rows(),
                Err(Rejection::new(RejectCode::SchemaViolation, message)),
            );
        }
        Ok(())
    }
}
