//! OASIS reports as XML: `caiso.oasis.xml`, and the errors that OASIS sends instead of any report.
//!
//! `OASISReport/MessagePayload/RTO/REPORT_ITEM` with a `REPORT_HEADER` (market, seconds of an interval) and one `REPORT_DATA`
//! for each component of each price. Names are compared without their namespace prefix. A document that is not closed is
//! refused as a whole. Entities that it declares itself are never expanded.

use domain::{QualityFlag, QualityFlags};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::assemble::{Assembled, Part, RUNS, Run, check_hour, component};
use super::report::run_of;
use crate::clock::{self, SECOND};
use crate::document::{Document, Spot};
use crate::encoding::document_text;
use crate::rejection::{RejectCode, Rejection, excerpt};
use crate::table::{Column, decimal, located};

/// Deepest nesting of a report is 7.
const DEEPEST: usize = 32;
/// Longest text of one element. The longest known is a disclaimer.
const LONGEST: usize = 64 * 1024;
/// The code of an answer without data.
const NO_DATA: &str = "1000";

/// The elements that are read.
#[derive(Default)]
struct Texts {
    market: String,
    seconds: String,
    item: String,
    node: String,
    day: String,
    hour: String,
    start: String,
    end: String,
    value: String,
    error_code: String,
    error_text: String,
}

impl Texts {
    fn slot(&mut self, name: &str) -> Option<&mut String> {
        Some(match name {
            "MKT_TYPE" => &mut self.market,
            "SEC_PER_INTERVAL" => &mut self.seconds,
            "DATA_ITEM" => &mut self.item,
            "RESOURCE_NAME" => &mut self.node,
            "OPR_DATE" => &mut self.day,
            "INTERVAL_NUM" => &mut self.hour,
            "INTERVAL_START_GMT" => &mut self.start,
            "INTERVAL_END_GMT" => &mut self.end,
            "VALUE" => &mut self.value,
            "ERR_CODE" => &mut self.error_code,
            "ERR_DESC" => &mut self.error_text,
            _ => return None,
        })
    }

    fn clear_row(&mut self) {
        for name in [
            "DATA_ITEM",
            "RESOURCE_NAME",
            "OPR_DATE",
            "INTERVAL_NUM",
            "INTERVAL_START_GMT",
            "INTERVAL_END_GMT",
            "VALUE",
        ] {
            if let Some(text) = self.slot(name) {
                text.clear();
            }
        }
    }
}

pub(super) fn open<'a>(payload: &'a [u8], format: &'static str) -> Result<Box<dyn Document + 'a>, Rejection> {
    let text = document_text(payload)?;
    if !text.trim_ascii_start().starts_with('<') {
        return Err(broken("it does not begin with '<'"));
    }
    let mut report = Report {
        expected: run_of(format),
        assembled: Assembled::default(),
        texts: Texts::default(),
        path: Vec::new(),
        rows: 0,
        component: 0,
    };
    report.read(text)?;
    Ok(Box::new(report.assembled))
}

struct Report {
    /// The run that the format names.
    expected: Option<&'static Run>,
    assembled: Assembled,
    texts: Texts,
    path: Vec<String>,
    rows: usize,
    /// That of the last row.
    component: usize,
}

impl Report {
    fn read(&mut self, text: &str) -> Result<(), Rejection> {
        let mut reader = Reader::from_str(text);
        let mut is_report = false;
        loop {
            let event = reader
                .read_event()
                .map_err(|error| broken(&format!("at byte {}: {error}", reader.error_position())))?;
            match event {
                Event::Start(element) => {
                    self.path.push(local_name(&element));
                    is_report |= self.path.first().is_some_and(|name| name == "OASISReport");
                    if !is_report {
                        return Err(broken(
                            "its root is not OASISReport: an HTML page, perhaps an error page of the source",
                        ));
                    }
                    self.begin()?;
                }
                Event::Text(part) => {
                    let part = part.decode().map_err(|error| broken(&error.to_string()))?;
                    self.text(&part)?;
                }
                Event::CData(part) => {
                    let part = part.decode().map_err(|error| broken(&error.to_string()))?;
                    self.text(&part)?;
                }
                // An entity: only those of XML itself have a meaning here.
                Event::GeneralRef(name) => {
                    let name = name.decode().map_err(|error| broken(&error.to_string()))?;
                    self.text(entity(&name))?;
                }
                Event::End(_) => self.end()?,
                Event::Eof if self.path.is_empty() && is_report => return Ok(()),
                Event::Eof => return Err(broken("it ends before its elements are closed")),
                _ => {}
            }
        }
    }

    fn begin(&mut self) -> Result<(), Rejection> {
        if self.path.len() > DEEPEST {
            return Err(broken("it is nested too deep"));
        }
        match self.path.last().map(String::as_str) {
            Some("REPORT_ITEM") => self.texts = Texts::default(),
            Some("REPORT_DATA") => self.texts.clear_row(),
            _ => {}
        }
        Ok(())
    }

    fn text(&mut self, part: &str) -> Result<(), Rejection> {
        let Some(slot) = self.path.last().and_then(|name| self.texts.slot(name)) else {
            return Ok(());
        };
        if slot.len() + part.len() > LONGEST {
            return Err(broken("an element is too long"));
        }
        slot.push_str(part);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Rejection> {
        match self.path.pop().as_deref() {
            Some("ERROR") => Err(self.error()),
            Some("REPORT_DATA") => {
                let spot = Spot::Item("REPORT_DATA", self.rows);
                self.rows += 1;
                if let Err(rejection) = self.row(spot) {
                    self.assembled.refuse(located(spot, rejection));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    #[cold]
    fn error(&self) -> Rejection {
        let (code, text) = (self.texts.error_code.trim(), self.texts.error_text.trim());
        let message = format!("OASIS answered with error {}: {}", excerpt(code), excerpt(text));
        let kind = if code == NO_DATA {
            RejectCode::NoData
        } else {
            RejectCode::SchemaViolation
        };
        Rejection::new(kind, message)
    }

    fn run(&self) -> Result<&'static Run, Rejection> {
        let (market, seconds) = (self.texts.market.trim(), self.texts.seconds.trim());
        let run = RUNS
            .iter()
            .find(|run| run.names.iter().any(|name| name.eq_ignore_ascii_case(market)))
            .filter(|run| seconds.is_empty() || seconds.parse() == Ok(run.interval / SECOND))
            .filter(|run| self.expected.is_none_or(|expected| expected == *run));
        run.ok_or_else(|| {
            let message = format!(
                "MKT_TYPE \"{}\" with SEC_PER_INTERVAL \"{}\" is not a market of this format",
                excerpt(market),
                excerpt(seconds)
            );
            Rejection::new(RejectCode::SchemaViolation, message)
        })
    }

    fn row(&mut self, spot: Spot) -> Result<(), Rejection> {
        let run = self.run()?;
        let texts = &self.texts;
        let component = component(texts.item.trim(), self.component).ok_or_else(|| {
            let message = format!("DATA_ITEM is \"{}\", which is not known", excerpt(&texts.item));
            Rejection::new(RejectCode::SchemaViolation, message)
        })?;
        self.component = component;
        let node = texts.node.trim();
        if node.is_empty() {
            return Err(Rejection::new(RejectCode::MissingInstrument, "RESOURCE_NAME is empty"));
        }
        let start = clock::utc(texts.start.trim(), "INTERVAL_START_GMT")?;
        let end = clock::utc(texts.end.trim(), "INTERVAL_END_GMT")?;
        let day = clock::date(texts.day.trim(), "OPR_DATE")?;
        // INTERVAL_NUM counts hours of the day only in hourly reports.
        if run.product == "da" {
            check_hour(start, day, texts.hour.trim())?;
        }
        let column = Column {
            name: "VALUE",
            at: None,
        };
        let mut remarks = QualityFlags::NONE;
        let value = decimal(texts.value.trim(), RejectCode::InvalidPrice, column, &mut remarks)
            .map(|value| (value, remarks.contains(QualityFlag::Rounded)));
        self.assembled.add(Part {
            spot,
            node,
            component,
            run,
            start,
            end,
            value: &value,
        });
        Ok(())
    }
}

fn local_name(element: &BytesStart<'_>) -> String {
    String::from_utf8_lossy(element.local_name().as_ref()).into_owned()
}

fn entity(name: &str) -> &'static str {
    match name {
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        "apos" => "'",
        _ => "\u{fffd}",
    }
}

#[cold]
fn broken(why: &str) -> Rejection {
    Rejection::new(
        RejectCode::SchemaViolation,
        format!("the XML document cannot be read: {why}"),
    )
}
