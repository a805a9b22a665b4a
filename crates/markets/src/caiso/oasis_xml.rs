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

/// An element that is read, or one that is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Root,
    Item,
    Row,
    Error,
    Text(Slot),
    Other,
}

/// An element whose text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Item,
    Node,
    Day,
    Hour,
    Start,
    End,
    Value,
    Market,
    Seconds,
    ErrorCode,
    ErrorText,
}

impl Slot {
    const COUNT: usize = 11;
    /// Those of a row.
    const OF_ROW: [Slot; 7] = [
        Slot::Item,
        Slot::Node,
        Slot::Day,
        Slot::Hour,
        Slot::Start,
        Slot::End,
        Slot::Value,
    ];
}

impl Name {
    fn of(element: &BytesStart<'_>) -> Name {
        match element.local_name().as_ref() {
            b"OASISReport" => Name::Root,
            b"REPORT_ITEM" => Name::Item,
            b"REPORT_DATA" => Name::Row,
            b"ERROR" => Name::Error,
            b"DATA_ITEM" => Name::Text(Slot::Item),
            b"RESOURCE_NAME" => Name::Text(Slot::Node),
            b"OPR_DATE" => Name::Text(Slot::Day),
            b"INTERVAL_NUM" => Name::Text(Slot::Hour),
            b"INTERVAL_START_GMT" => Name::Text(Slot::Start),
            b"INTERVAL_END_GMT" => Name::Text(Slot::End),
            b"VALUE" => Name::Text(Slot::Value),
            b"MKT_TYPE" => Name::Text(Slot::Market),
            b"SEC_PER_INTERVAL" => Name::Text(Slot::Seconds),
            b"ERR_CODE" => Name::Text(Slot::ErrorCode),
            b"ERR_DESC" => Name::Text(Slot::ErrorText),
            _ => Name::Other,
        }
    }
}

/// The text of each element; the buffers are used again for the next row.
#[derive(Default)]
struct Texts([String; Slot::COUNT]);

impl Texts {
    fn slot(&mut self, slot: Slot) -> Option<&mut String> {
        self.0.get_mut(slot as usize)
    }

    /// Without the blanks around it.
    fn of(&self, slot: Slot) -> &str {
        self.0.get(slot as usize).map_or("", |text| text.trim())
    }

    fn clear(&mut self, slots: &[Slot]) {
        for slot in slots {
            if let Some(text) = self.slot(*slot) {
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
    path: Vec<Name>,
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
                    self.path.push(Name::of(&element));
                    is_report |= self.path.first() == Some(&Name::Root);
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
        match self.path.last() {
            Some(Name::Item) => self.texts = Texts::default(),
            Some(Name::Row) => self.texts.clear(&Slot::OF_ROW),
            _ => {}
        }
        Ok(())
    }

    fn text(&mut self, part: &str) -> Result<(), Rejection> {
        let Some(Name::Text(slot)) = self.path.last() else {
            return Ok(());
        };
        let Some(slot) = self.texts.slot(*slot) else {
            return Ok(());
        };
        if slot.len() + part.len() > LONGEST {
            return Err(broken("an element is too long"));
        }
        slot.push_str(part);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Rejection> {
        match self.path.pop() {
            Some(Name::Error) => Err(self.error()),
            Some(Name::Row) => {
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
        let (code, text) = (self.texts.of(Slot::ErrorCode), self.texts.of(Slot::ErrorText));
        let message = format!("OASIS answered with error {}: {}", excerpt(code), excerpt(text));
        let kind = if code == NO_DATA {
            RejectCode::NoData
        } else {
            RejectCode::SchemaViolation
        };
        Rejection::new(kind, message)
    }

    fn run(&self) -> Result<&'static Run, Rejection> {
        let (market, seconds) = (self.texts.of(Slot::Market), self.texts.of(Slot::Seconds));
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
        let component = component(texts.of(Slot::Item), self.component).ok_or_else(|| {
            let message = format!("DATA_ITEM is \"{}\", which is not known", excerpt(texts.of(Slot::Item)));
            Rejection::new(RejectCode::SchemaViolation, message)
        })?;
        self.component = component;
        let node = texts.of(Slot::Node);
        if node.is_empty() {
            return Err(Rejection::new(RejectCode::MissingInstrument, "RESOURCE_NAME is empty"));
        }
        let start = clock::utc(texts.of(Slot::Start), "INTERVAL_START_GMT")?;
        let end = clock::utc(texts.of(Slot::End), "INTERVAL_END_GMT")?;
        let day = clock::date(texts.of(Slot::Day), "OPR_DATE")?;
        // INTERVAL_NUM counts hours of the day only in hourly reports.
        if run.product == "da" {
            check_hour(start, day, texts.of(Slot::Hour))?;
        }
        let column = Column {
            name: "VALUE",
            at: None,
        };
        let mut remarks = QualityFlags::NONE;
        let value = decimal(texts.of(Slot::Value), RejectCode::InvalidPrice, column, &mut remarks)
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
