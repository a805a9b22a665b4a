//! OASIS reports as XML: `caiso.oasis.xml`, and the errors that OASIS sends instead of any report.
//!
//! `OASISReport/MessagePayload/RTO/REPORT_ITEM` with a `REPORT_HEADER` (market, seconds of an interval) and one `REPORT_DATA`
//! for each component of each price. Names are compared without their namespace prefix. A document that is not closed is
//! refused as a whole, and so is one with anything but blanks and comments around its root, or with an entity that is not XML's own:
//! those that it declares itself are never expanded. A row with
//! an element twice, or with elements inside of a text, is refused, and all rows of an item if it is in the header. quick-xml reads the
//! document; rows that differ from an earlier one in their texts only are read by [`Markup`].

use std::io::BufRead as _;

use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};

use super::assemble::{RUNS, Run};
use super::elements::{Name, Problem, Slot, Texts};
use super::markup::{Between, LONGEST, Markup, Seen};
use super::oasis_rows::Rows;
use super::report::run_of;
use super::root::Root;
use crate::clock::SECOND;
use crate::document::Document;
use crate::encoding::document_text;
use crate::rejection::{RejectCode, Rejection, excerpt};

/// Deepest nesting of a report is 7.
const DEEPEST: usize = 32;
/// The unit of all prices, as it may be written.
const UNITS: [&str; 5] = ["US$/MWH", "USD/MWH", "$/MWH", "US$", "USD"];
/// The code of an answer without data.
const NO_DATA: &str = "1000";

pub(super) fn open<'a>(payload: &'a [u8], format: &'static str) -> Result<Box<dyn Document + 'a>, Rejection> {
    let text = document_text(payload)?;
    if !text.trim_ascii_start().starts_with('<') {
        return Err(broken("it does not begin with '<'"));
    }
    let mut report = Report::new(text, run_of(format));
    report.read()?;
    Ok(Box::new(report.rows.assembled))
}

struct Report<'a> {
    text: &'a str,
    /// The run that the format names.
    expected: Option<&'static Run>,
    texts: Texts,
    /// What is wrong with the elements of the row, and of the header of the item.
    problems: [Problem; 2],
    path: Vec<Name>,
    rows: Rows,
    markup: Option<Markup<'a>>,
    seen: Seen,
    between: Between,
}

impl<'a> Report<'a> {
    fn new(text: &'a str, expected: Option<&'static Run>) -> Report<'a> {
        Report {
            text,
            expected,
            texts: Texts::default(),
            problems: Default::default(),
            path: Vec::new(),
            rows: Rows::new(),
            markup: None,
            seen: Seen::default(),
            between: Between::default(),
        }
    }

    fn read(&mut self) -> Result<(), Rejection> {
        let mut reader = Reader::from_str(self.text);
        let mut root = Root::Before;
        loop {
            let start = place(&reader);
            let event = reader
                .read_event()
                .map_err(|error| broken(&format!("at byte {}: {error}", reader.error_position())))?;
            if !matches!(event, Event::Start(_) | Event::End(_) | Event::Text(_)) {
                self.seen.other();
                self.between.other();
            }
            if self.path.is_empty() {
                root = root.after(&event).map_err(|why| self.outside(start, &why))?;
            }
            match event {
                Event::Start(element) => {
                    self.enter(&element);
                    self.begin(place(&reader))?;
                }
                Event::Text(part) => {
                    let end = place(&reader);
                    if let Some(Name::Text(slot)) = self.path.last() {
                        self.seen.text(end.saturating_sub(part.len())..end, *slot as usize);
                    }
                    let part = part.decode().map_err(|error| broken(&error.to_string()))?;
                    self.text(&part)?;
                }
                Event::CData(part) => {
                    let part = part.decode().map_err(|error| broken(&error.to_string()))?;
                    self.text(&part)?;
                }
                Event::GeneralRef(name) => self.reference(&name)?,
                Event::Empty(element) => _ = self.open(&element),
                Event::End(element) => {
                    self.end(place(&reader))?;
                    self.between.end(element.name().as_ref(), self.path.len());
                    if self.path.last() == Some(&Name::Item) {
                        self.read_alike(&mut reader);
                    }
                }
                Event::Eof if self.path.is_empty() && root == Root::Begun => return Ok(()),
                Event::Eof => return Err(broken("it ends before its elements are closed")),
                _ => {}
            }
        }
    }

    /// What is wrong with what begins at this byte, outside of the root.
    #[cold]
    fn outside(&self, start: usize, why: &str) -> Rejection {
        let before = self.text.get(..start).unwrap_or_default();
        // Blanks belong to what follows them.
        let rest = self.text.get(start..).unwrap_or_default();
        let blanks = rest
            .get(..rest.len() - rest.trim_ascii_start().len())
            .unwrap_or_default();
        let line = 1 + [before, blanks]
            .iter()
            .map(|text| text.matches('\n').count())
            .sum::<usize>();
        broken(&format!("line {line}: {why}"))
    }

    /// Reads the rows that follow here and have the known markup, also those of the items that follow with the same header.
    fn read_alike(&mut self, reader: &mut Reader<&[u8]>) {
        let (start, depth) = (place(reader), self.path.len());
        let (mut end, mut last, mut between) = (start, None, None);
        if let Some(markup) = self.markup.as_ref().filter(|markup| markup.depth == depth) {
            let run = self.run();
            while let Some(rest) = self.text.get(end..) {
                if let Some(row) = markup.read(rest, self.rows.expected(&run)) {
                    if last.is_none() {
                        between = self.between.text(self.text, start, depth);
                    }
                    last = Some(end..end + row.length);
                    end += row.length;
                    self.rows.add(&run, &row.texts, row.interval);
                } else if last.as_ref().is_some_and(|last| last.end == end)
                    && let Some(text) = between.filter(|text| rest.starts_with(text))
                {
                    end += text.len();
                } else {
                    break;
                }
            }
            // What quick-xml would have left: the texts of the last row, unless another item has begun.
            if let Some(last) = last {
                let row = self.text.get(last.clone()).and_then(|row| markup.read(row, None));
                self.texts.clear_row();
                if let Some(row) = row.filter(|_| last.end == end) {
                    self.texts.set(&row.texts);
                    self.between.begin(end, depth);
                } else {
                    self.between.other();
                }
                reader.stream().consume(end - start);
            }
        }
        self.seen.begin(end);
    }

    fn enter(&mut self, element: &BytesStart<'_>) {
        let name = self.open(element);
        let is_item = match name {
            Name::Item => Some(true),
            Name::Text(slot) if slot.is_of_row() => None,
            Name::Text(_) | Name::Other => Some(false),
            _ => None,
        };
        self.between.element(element.name().as_ref(), is_item, self.path.len());
        self.path.push(name);
    }

    /// Notes an element, which must be the only one of its name in its row or header, and inside of no text.
    fn open(&mut self, element: &BytesStart<'_>) -> Name {
        let name = Name::of(element);
        if let Some(Name::Text(around)) = self.path.last().copied() {
            self.spoil(around, "inside of a text, it has the element", element);
        }
        if let Name::Text(slot) = name {
            let bit = 1 << slot as u16;
            let problem = self.problem(slot);
            if problem.elements & bit != 0 {
                self.spoil(slot, "it has more than one element", element);
            }
            self.problem(slot).elements |= bit;
        }
        name
    }

    fn problem(&mut self, slot: Slot) -> &mut Problem {
        let [of_row, of_header] = &mut self.problems;
        if slot.is_of_row() { of_row } else { of_header }
    }

    #[cold]
    fn spoil(&mut self, slot: Slot, what: &str, element: &BytesStart<'_>) {
        // Its markup is that of no other row.
        self.seen.other();
        let name = String::from_utf8_lossy(element.local_name().as_ref()).into_owned();
        let first = &mut self.problem(slot).first;
        first.get_or_insert_with(|| format!("{what} {}", excerpt(&name)));
    }

    fn begin(&mut self, place: usize) -> Result<(), Rejection> {
        if self.path.len() > DEEPEST {
            return Err(broken("it is nested too deep"));
        }
        match self.path.as_slice() {
            [.., Name::Item] => {
                self.texts.clear();
                self.problems = Default::default();
                self.seen.begin(place);
            }
            [.., parent, Name::Row] => {
                if *parent != Name::Item {
                    self.seen.other();
                }
                self.texts.clear_row();
                let [of_row, _] = &mut self.problems;
                *of_row = Problem::default();
            }
            [.., Name::Text(slot)] if slot.is_of_row() => {}
            [.., Name::Other] => {}
            _ => self.seen.other(),
        }
        Ok(())
    }

    /// A reference to a character, or to one of XML's own entities.
    fn reference(&mut self, name: &BytesRef<'_>) -> Result<(), Rejection> {
        if !matches!(self.path.last(), Some(Name::Text(_))) {
            return Ok(());
        }
        let unread = |error: &dyn std::fmt::Display| broken(&error.to_string());
        if let Some(character) = name.resolve_char_ref().map_err(|error| unread(&error))? {
            return self.text(character.encode_utf8(&mut [0; 4]));
        }
        let name = name.decode().map_err(|error| unread(&error))?;
        match resolve_xml_entity(&name) {
            Some(text) => self.text(text),
            None => Err(broken(&format!("the entity {} is not one of XML", excerpt(&name)))),
        }
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

    fn end(&mut self, place: usize) -> Result<(), Rejection> {
        match self.path.pop() {
            Some(Name::Error) => Err(self.error()),
            Some(Name::Row) => {
                let [of_row, _] = &mut self.problems;
                let run = match of_row.first.take() {
                    Some(problem) => Err(Rejection::new(RejectCode::SchemaViolation, problem)),
                    None => self.run(),
                };
                self.rows.add(&run, &self.texts.of_row(), None);
                self.learn(place);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Takes the markup of the row that ends here.
    fn learn(&mut self, end: usize) {
        if self.path.last() != Some(&Name::Item) {
            return;
        }
        let markup = self.seen.markup(self.text, end, self.path.len());
        if markup.is_some() && markup != self.markup {
            self.markup = markup;
            self.rows.forget_intervals();
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
        let refused = |message: String| Rejection::new(RejectCode::SchemaViolation, message);
        let [_, of_header] = &self.problems;
        if let Some(problem) = &of_header.first {
            return Err(refused(format!("the header of its item cannot be read: {problem}")));
        }
        let unit = self.texts.of(Slot::Unit);
        if !unit.is_empty() && !UNITS.iter().any(|known| known.eq_ignore_ascii_case(unit)) {
            return Err(refused(format!(
                "UOM is \"{}\": {} is expected",
                excerpt(unit),
                UNITS[0]
            )));
        }
        let (market, seconds) = (self.texts.of(Slot::Market), self.texts.of(Slot::Seconds));
        let run = RUNS
            .iter()
            .find(|run| run.names.iter().any(|name| name.eq_ignore_ascii_case(market)))
            .filter(|run| seconds.is_empty() || seconds.parse() == Ok(run.interval / SECOND))
            .filter(|run| self.expected.is_none_or(|expected| expected == *run));
        run.ok_or_else(|| {
            refused(format!(
                "MKT_TYPE \"{}\" with SEC_PER_INTERVAL \"{}\" is not a market of this format",
                excerpt(market),
                excerpt(seconds)
            ))
        })
    }
}

/// The place in the document after the last event.
fn place(reader: &Reader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX)
}

#[cold]
fn broken(why: &str) -> Rejection {
    Rejection::new(
        RejectCode::SchemaViolation,
        format!("the XML document cannot be read: {why}"),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The rows of a document as text, or the rejection without places.
    fn read(text: &str) -> Result<Vec<String>, String> {
        let mut report = Report::new(text, None);
        report.read().map_err(|rejection| {
            let message = rejection.message.replace(|digit: char| digit.is_ascii_digit(), "");
            format!("{:?} {message}", rejection.code)
        })?;
        let mut rows = vec![format!(
            "{} {}",
            report.rows.assembled.rows(),
            report.rows.assembled.is_part()
        )];
        let visited = report
            .rows
            .assembled
            .for_each(domain::Decimal::ZERO, &mut |index, row| {
                rows.push(format!("{index} {row:?}"));
            });
        visited.unwrap();
        Ok(rows)
    }

    /// The document with a comment before each row: such a row has no markup that is known.
    fn with_comments(text: &str) -> String {
        text.replace("<m:REPORT_DATA>", "<!---->\n<m:REPORT_DATA>")
    }

    /// One in a hundred is odd.
    fn text(usual: &'static str, odd: &'static str) -> impl Strategy<Value = String> {
        prop_oneof![100 => usual, 1 => odd]
    }

    fn element(name: &'static str, usual: &'static str, odd: &'static str) -> impl Strategy<Value = String> {
        let inner = text("", "( |<!--c-->|<x/>|<x>1</x>)");
        (text(usual, odd), inner).prop_map(move |(text, inner)| format!("<m:{name}>{text}{inner}</m:{name}>\n"))
    }

    fn row() -> impl Strategy<Value = String> {
        let elements = (
            element("DATA_ITEM", "LMP_(PRC|PRC|ENE_PRC|CONG_PRC|LOSS_PRC)", "(X|lmp_prc)"),
            element("RESOURCE_NAME", "(A|A|B|é)", "(A&amp;B|<!\\[CDATA\\[A\\]\\]>|)"),
            element("OPR_DATE", "2019-11-03", "(2019-11-04|)"),
            element("INTERVAL_NUM", "(1|1|1|2)", " 1 "),
            element("INTERVAL_START_GMT", "2019-11-03T0[78]:00:00-00:00", "x"),
            element(
                "INTERVAL_END_GMT",
                "2019-11-03T0[89]:00:00-00:00",
                "2019-11-03T08:00:00-00:000",
            ),
            element("VALUE", "(1|2.5|-3| 4 |x|)", "(1&#49;|&bad|&amp;)"),
            text(
                "",
                "(<m:MKT_TYPE>RTM</m:MKT_TYPE>|<m:VALUE>7</m:VALUE>|<m:ERR_CODE>1</m:ERR_CODE>|</m:OPR_DATE>|<m:REPORT_ITEM></m:REPORT_ITEM>)",
            ),
            0..100_u8,
        );
        elements.prop_map(|(item, node, day, hour, start, end, value, other, order)| {
            let inner = match order {
                0 => format!("{value}{item}{node}{day}{hour}{start}{end}"),
                1 => format!("{item}{node}{day}{start}{value}{end}{hour}"),
                2 => format!("{item}{node}{day}{hour}{end}{start}{value}"),
                3 => format!("{item}{node}{start}{end}{value}"),
                4 => format!("{item}{node}{day}{hour}{start}{end}<m:REPORT_DATA>{value}</m:REPORT_DATA>"),
                _ => format!("{item}{node}{day}{hour}{start}{end}{value}"),
            };
            format!("<m:REPORT_DATA>\n{inner}{other}</m:REPORT_DATA>")
        })
    }

    fn item() -> impl Strategy<Value = String> {
        const OTHERS: &str =
            "(<m:VALUE>5</m:VALUE>|text|<m:SEC_PER_INTERVAL>300</m:SEC_PER_INTERVAL>|</m:REPORT_ITEM>|<m:REPORT_ITEM>)";
        let market = text("(DAM|DAM|DAM|RTPD)", "(X|<!--DAM-->)");
        let rows = prop::collection::vec((text("\n", OTHERS), row()), 0..8);
        let names = (
            "(m:|m:|m:|m:|n:)",
            text("", "(<m:VALUE>7</m:VALUE>|<m:ERR_CODE>1</m:ERR_CODE>)"),
        );
        (market, rows, names, text("\n", OTHERS)).prop_map(|(market, rows, (prefix, other), between)| {
            let rows: String = rows.into_iter().map(|(between, row)| between + &row).collect();
            format!("<{prefix}REPORT_ITEM><h><m:MKT_TYPE>{market}</m:MKT_TYPE></h>{other}{rows}\n</{prefix}REPORT_ITEM>{between}")
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn rows_of_a_known_markup_are_those_that_quick_xml_finds(items in prop::collection::vec(item(), 1..7), cut in 0..20_000_usize) {
            let mut text = format!("<m:OASISReport xmlns:m=\"x\">{}</m:OASISReport>", items.concat());
            if let Some(at) = (0..=cut).rev().find(|at| text.is_char_boundary(*at)) {
                text.truncate(at);
            }
            prop_assert_eq!(read(&text), read(&with_comments(&text)), "{}", text);
        }
    }

    fn plain_row(hour: usize, item: &str) -> String {
        format!(
            "<m:REPORT_DATA>\n<m:DATA_ITEM>{item}</m:DATA_ITEM>\n<m:RESOURCE_NAME>A</m:RESOURCE_NAME>\n<m:OPR_DATE>2019-11-04</m:OPR_DATE>\n\
                 <m:INTERVAL_NUM>{}</m:INTERVAL_NUM>\n<m:INTERVAL_START_GMT>2019-11-04T{hour:02}:00:00-00:00</m:INTERVAL_START_GMT>\n\
                 <m:INTERVAL_END_GMT>2019-11-04T{:02}:00:00-00:00</m:INTERVAL_END_GMT>\n<m:VALUE>{hour}.5</m:VALUE>\n</m:REPORT_DATA>\n",
            hour - 7,
            hour + 1,
        )
    }

    #[test]
    fn rows_that_differ_in_their_texts_only_have_one_markup() {
        let rows: String = (8..20).map(|hour| plain_row(hour, "LMP_PRC")).collect();
        let text = format!(
            "<m:OASISReport><m:REPORT_ITEM><m:MKT_TYPE>DAM</m:MKT_TYPE>\n{rows}</m:REPORT_ITEM></m:OASISReport>"
        );
        let mut report = Report::new(&text, None);
        report.read().unwrap();
        let markup = report.markup.unwrap();
        let second = plain_row(9, "LMP_ENE_PRC");
        let texts = [
            "LMP_ENE_PRC",
            "A",
            "2019-11-04",
            "2",
            "2019-11-04T09:00:00-00:00",
            "2019-11-04T10:00:00-00:00",
            "9.5",
        ];
        // The end of the row before belongs to the markup.
        assert!(markup.read(&second, None).is_none());
        let follows = format!("\n{second}");
        let found = markup
            .read(&follows, None)
            .map(|row| (row.texts, row.interval.is_some()));
        assert_eq!(found, Some((texts, true)));
        assert_eq!(report.rows.assembled.rows(), 12);
        assert_eq!(read(&text), read(&with_comments(&text)));
    }

    // The text between the first and the second item is there again behind the second one, whose name it does not end.
    #[test]
    fn an_item_must_end_with_its_own_name() {
        let rows: String = (8..11).map(|hour| plain_row(hour, "LMP_PRC")).collect();
        let header = "<m:h><m:MKT_TYPE>DAM</m:MKT_TYPE></m:h>\n";
        let text = |[open, close]: [&str; 2]| {
            format!(
                "<r:OASISReport><m:REPORT_ITEM>{header}{rows}</m:REPORT_ITEM><{open}:REPORT_ITEM>{header}{rows}</{close}:REPORT_ITEM>\
                 <{open}:REPORT_ITEM>{header}{rows}</{open}:REPORT_ITEM></r:OASISReport>"
            )
        };
        assert_eq!(read(&text(["m", "m"])), read(&with_comments(&text(["m", "m"]))));
        assert!(read(&text(["m", "m"])).is_ok() && read(&text(["n", "n"])).is_ok());
        let refused = read(&text(["n", "m"])).unwrap_err();
        assert!(refused.contains("REPORT_ITEM"), "{refused}");
    }
}
