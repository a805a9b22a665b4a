//! The root of an OASIS report in XML, and what is around it.
//!
//! Invariant: a report is the only root of its document; nothing but blanks, comments and instructions to programs is around it, and
//! declarations are only before it. So a second report, or a page of the source behind it, is never read as a part of the first one.

use quick_xml::events::Event;

use super::elements::Name;
use crate::rejection::excerpt;

/// How far the root of the document is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    Before,
    /// It has begun; outside of all elements, it has ended, too.
    Begun,
}

impl Root {
    /// Takes an event outside of all elements.
    pub(super) fn after(self, event: &Event<'_>) -> Result<Root, String> {
        const ALONE: &str = "send each report as a document of its own";
        let name = match event {
            Event::Comment(_) | Event::PI(_) | Event::Eof => return Ok(self),
            Event::Text(text) if text.iter().all(u8::is_ascii_whitespace) => return Ok(self),
            Event::Decl(_) | Event::DocType(_) if self == Root::Before => return Ok(self),
            Event::Decl(_) | Event::DocType(_) => {
                return Err(format!(
                    "behind the end of the report, another document begins: {ALONE}"
                ));
            }
            Event::Start(element) | Event::Empty(element) => element,
            _ if self == Root::Before => {
                return Err(
                    "text stands before the root of the report: remove it and send the report again".to_owned(),
                );
            }
            _ => return Err("text follows the end of the report: remove it and send the report again".to_owned()),
        };
        let is_report = Name::of(name) == Name::Root;
        let shown = String::from_utf8_lossy(name.name().as_ref()).into_owned();
        match (self, is_report) {
            (Root::Begun, true) => Err(format!("behind the end of the report, another report begins: {ALONE}")),
            (Root::Begun, false) => Err(format!(
                "behind the end of the report, another element begins, <{}>: {ALONE}",
                excerpt(&shown)
            )),
            (Root::Before, true) if matches!(event, Event::Empty(_)) => {
                Err("the report is empty: request it again".to_owned())
            }
            (Root::Before, true) => Ok(Root::Begun),
            (Root::Before, false) if shown.eq_ignore_ascii_case("html") => {
                Err("its root is not OASISReport: an HTML page, perhaps an error page of the source".to_owned())
            }
            (Root::Before, false) => Err(format!(
                "its root is <{}>, not OASISReport: send the report as OASIS has published it",
                excerpt(&shown)
            )),
        }
    }
}
