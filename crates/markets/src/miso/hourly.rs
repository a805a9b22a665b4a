//! MISO's hourly reports: `miso.da.expost.csv` and `miso.rt_lmp.csv`.
//!
//! A title, a date and the statement that hours ending are in EST, in three or four lines; then `Node,Type,Value,HE 1,…,HE 24`
//! with one line for each node and each of LMP, MLC and MCC. The three lines of a node may be far apart, so they are found
//! when the document is opened and read when its rows are visited. A node without MLC or MCC has a price without energy.
//! Rows are numbered by node, in the order of first mention, and hour; lines that belong to no node follow.

use std::cell::OnceCell;
use std::collections::HashMap;

use domain::{Decimal, Micros, QualityFlags};

use super::EST_TO_UTC;
use crate::clock::{self, HOUR};
use crate::document::{Document, Names, Prices, Refused, Row, Spot, Visit};
use crate::encoding::csv_text;
use crate::energies::{Ahead, Energies, NEXT};
use crate::format::Head;
use crate::rejection::{RejectCode, Rejection, excerpt};
use crate::table::{
    Cells, Column, Csv, Known, Line, Lines, Record, Splitter, columns, is_plain, located, plain, required,
};

pub(super) const DAY_AHEAD: &str = "miso.da.expost.csv";
pub(super) const REAL_TIME: &str = "miso.rt_lmp.csv";
/// Lines before the header.
const PREAMBLE: usize = 10;

const COLUMNS: [Known; 27] = [
    required(&["Node"]),
    required(&["Type"]),
    required(&["Value"]),
    required(&["HE 1", "HE 01"]),
    required(&["HE 2", "HE 02"]),
    required(&["HE 3", "HE 03"]),
    required(&["HE 4", "HE 04"]),
    required(&["HE 5", "HE 05"]),
    required(&["HE 6", "HE 06"]),
    required(&["HE 7", "HE 07"]),
    required(&["HE 8", "HE 08"]),
    required(&["HE 9", "HE 09"]),
    required(&["HE 10", "HE 10"]),
    required(&["HE 11", "HE 11"]),
    required(&["HE 12", "HE 12"]),
    required(&["HE 13", "HE 13"]),
    required(&["HE 14", "HE 14"]),
    required(&["HE 15", "HE 15"]),
    required(&["HE 16", "HE 16"]),
    required(&["HE 17", "HE 17"]),
    required(&["HE 18", "HE 18"]),
    required(&["HE 19", "HE 19"]),
    required(&["HE 20", "HE 20"]),
    required(&["HE 21", "HE 21"]),
    required(&["HE 22", "HE 22"]),
    required(&["HE 23", "HE 23"]),
    required(&["HE 24", "HE 24"]),
];

/// The lines of a node.
const VALUES: [&str; 3] = ["LMP", "MLC", "MCC"];

pub(super) fn recognise(head: &Head<'_>, format: &str) -> bool {
    !head.is_json() && head.holds("HE 1") && title_format(head.first_line) == Some(format)
}

// An ex-ante report has the same columns.
fn title_format(title: &str) -> Option<&'static str> {
    let title = plain(title);
    if !title.contains("lmp") || title.contains("exante") {
        None
    } else if title.contains("dayahead") && title.contains("expost") {
        Some(DAY_AHEAD)
    } else if title.contains("realtime") {
        Some(REAL_TIME)
    } else {
        None
    }
}

fn version(title: &str) -> Option<&'static str> {
    let title = plain(title);
    match (title.contains("prelim"), title.contains("final")) {
        (true, false) => Some("preliminary"),
        (false, true) => Some("final"),
        _ => None,
    }
}

struct Report<'a> {
    product: &'static str,
    version: Option<&'static str>,
    /// Start of the first hour.
    start: Micros,
    columns: [Column; COLUMNS.len()],
    nodes: Vec<Node<'a>>,
    /// Lines that belong to no node.
    refused: Refused,
    /// Whether lines may be missing that the whole report has.
    is_open: bool,
}

#[derive(Default)]
struct Node<'a> {
    /// The lines of [`VALUES`], and the number of the first.
    lines: [Option<Line<'a>>; VALUES.len()],
    number: u64,
    /// Whether two different lines have the same value.
    contradicts: bool,
}

pub(super) fn open<'a>(payload: &'a [u8], format: &'static str) -> Result<Box<dyn Document + 'a>, Rejection> {
    let text = csv_text(payload)?;
    let refused = |why: String| Err(Rejection::new(RejectCode::SchemaViolation, why));
    let mut lines = Lines::new(text);
    let mut preamble = Vec::new();
    let header = loop {
        match lines.next() {
            Some(line) if is_plain(line.text.split(',').next().unwrap_or_default(), "node") => break line,
            Some(line) if preamble.len() < PREAMBLE => preamble.push(line.text.trim_matches([',', ' ', '"'])),
            _ => return refused("no line begins with Node, the header of the report".to_owned()),
        }
    };
    let title = preamble.first().copied().unwrap_or_default();
    if title_format(title) != Some(format) {
        return refused(format!(
            "its title is \"{}\", which is not one of format {format}",
            excerpt(title)
        ));
    }
    if !preamble
        .iter()
        .any(|line| line.contains("EST") || line.contains("Eastern Standard"))
    {
        return refused("no line before the header says that hours ending are in EST".to_owned());
    }
    let date = preamble
        .iter()
        .skip(1)
        .find_map(|line| clock::date(line, "the date").ok());
    let Some(date) = date else {
        return refused("no line before the header is a date".to_owned());
    };
    let (csv, names) = Csv::below(lines, header)?;
    let columns = columns(&names, &COLUMNS)?;
    let mut report = Report {
        product: if format == DAY_AHEAD { "da" } else { "rth" },
        version: version(title).filter(|_| format == REAL_TIME),
        start: date + EST_TO_UTC,
        columns,
        nodes: Vec::new(),
        refused: Refused::default(),
        is_open: csv.is_open(),
    };
    report.find_lines(&csv.guarded(columns.get(3..).unwrap_or_default(), &[]));
    Ok(Box::new(report))
}

// A line that the report does not have is an empty record, and its component is absent.
fn text_of<'a>(line: Option<Line<'a>>) -> &'a str {
    line.map_or("", |line| line.text)
}

fn number_of(line: Option<Line<'_>>) -> u64 {
    line.map_or(0, |line| line.number)
}

impl<'a> Report<'a> {
    fn find_lines(&mut self, csv: &Csv<'a>) {
        let [node, _, value, ..] = self.columns;
        let mut known: HashMap<String, usize> = HashMap::new();
        csv.for_each_line(&mut |_, line, record| {
            let read = record.and_then(|record| {
                let name = record.node(node).map_err(|error| record.locate(error))?;
                let value = record.cell(value);
                let at = VALUES
                    .iter()
                    .position(|known| known.eq_ignore_ascii_case(value))
                    .ok_or_else(|| {
                        let message = format!("Value is \"{}\": LMP, MLC or MCC is expected", excerpt(value));
                        record.locate(Rejection::new(RejectCode::SchemaViolation, message))
                    })?;
                Ok((name.to_owned(), at))
            });
            match read {
                Ok((name, at)) => {
                    let nodes = &mut self.nodes;
                    let index = *known.entry(name).or_insert_with(|| {
                        nodes.push(Node {
                            number: line.number,
                            ..Node::default()
                        });
                        nodes.len() - 1
                    });
                    let slot = nodes.get_mut(index).and_then(|node| {
                        let slot = node.lines.get_mut(at)?;
                        Some((slot, &mut node.contradicts))
                    });
                    if let Some((slot, contradicts)) = slot {
                        *contradicts |= slot.is_some_and(|earlier| earlier.text != line.text);
                        *slot = Some(line);
                    }
                }
                Err(rejection) => self.refused.push(rejection),
            }
        });
    }

    fn node(
        &self,
        node: &Node<'_>,
        splitters: &mut [Splitter; 3],
        visit: &mut dyn FnMut(usize, Result<Row<'_>, Rejection>),
    ) {
        let spot = Spot::Line(node.number);
        let mut refuse = |why: String| {
            let rejection = located(spot, Rejection::new(RejectCode::SchemaViolation, why));
            (0..24).for_each(|hour| visit(hour, Err(rejection.clone())));
        };
        if node.contradicts {
            return refuse("the node has two lines of the same value with different prices".to_owned());
        }
        let [lmp, mlc, mcc] = node.lines;
        let Some(lmp) = lmp else {
            return refuse("the node has no line of LMP".to_owned());
        };
        if self.is_open && (mlc.is_none() || mcc.is_none()) {
            return refuse("the node has no line of MLC or MCC before the document ends without a line end".to_owned());
        }
        let [first, second, third] = splitters;
        let split = first.split(lmp.text, |lmp_cells| {
            second.split(text_of(mlc), |loss| {
                third.split(text_of(mcc), |congestion| {
                    let record = |texts, number| Record {
                        cells: Cells::Texts(texts),
                        spot: Spot::Line(number),
                    };
                    let records = [
                        record(lmp_cells, lmp.number),
                        record(loss, number_of(mlc)),
                        record(congestion, number_of(mcc)),
                    ];
                    (0..24).for_each(|hour| visit(hour, self.row(&records, hour)));
                })
            })
        });
        // Each line was split before, when its node was found.
        if let Err(rejection) | Ok(Err(rejection)) | Ok(Ok(Err(rejection))) = split {
            (0..24).for_each(|hour| visit(hour, Err(rejection.clone())));
        }
    }

    fn row<'r>(&self, [lmp, mlc, mcc]: &[Record<'r>; 3], hour: usize) -> Result<Row<'r>, Rejection> {
        let [node, kind, _, hours @ ..] = &self.columns;
        let column = hours
            .get(hour)
            .copied()
            .ok_or_else(|| lmp.locate(Rejection::missing("the hour")))?;
        let mut remarks = QualityFlags::NONE;
        let price = lmp
            .price(column, &mut remarks)
            .map_err(|rejection| lmp.locate(rejection))?;
        let mut component = |of: &Record<'r>| {
            let read = of.component(column, &mut remarks);
            read.map_err(|rejection| of.locate(rejection))
        };
        let (loss, congestion) = (component(mlc)?, component(mcc)?);
        let prices = Prices::without_energy(price, congestion, loss).map_err(|rejection| lmp.locate(rejection))?;
        let name = lmp.cell(*node);
        let is = |wanted: &str| lmp.cell(*kind).eq_ignore_ascii_case(wanted).then_some(name);
        let start = self.start + i64::try_from(hour).unwrap_or(0) * HOUR;
        Ok(Row {
            spot: lmp.spot,
            market: None,
            node: name,
            key: name,
            zone: is("Loadzone"),
            // Hundreds of other aggregates are of type Hub too.
            hub: is("Hub").filter(|name| name.ends_with(".HUB")),
            product: self.product,
            start,
            end: start + HOUR,
            prices,
            volume: None,
            version: self.version,
            remarks,
        })
    }
}

impl Document for Report<'_> {
    fn names(&self) -> Names {
        Names {
            time: "the hour ending",
            node: "Node",
        }
    }

    fn rows(&self) -> usize {
        self.nodes.len() * 24 + self.refused.count()
    }

    fn is_bare(&self) -> bool {
        self.rows() == 0
    }

    fn has_no_row_twice(&self) -> bool {
        true
    }

    fn for_each(&self, tolerance: Decimal, visit: &mut Visit<'_>) -> Result<(), Rejection> {
        let mut energies = Energies::default();
        let mut splitters = [Splitter::new(), Splitter::new(), Splitter::new()];
        for (index, node) in self.nodes.iter().enumerate() {
            let next = OnceCell::new();
            self.node(node, &mut splitters, &mut |hour, row| {
                let compared = row.map(|mut row| {
                    if let Some(energy) = row.prices.energy {
                        let ahead = AheadOf {
                            report: self,
                            behind: self.nodes.get(index + 1..).unwrap_or_default(),
                            start: row.start,
                            next: &next,
                        };
                        energies.compare(row.start, energy, tolerance, &mut row.remarks, &ahead);
                    }
                    row
                });
                visit(index * 24 + hour, compared);
            });
        }
        self.refused.for_each(self.nodes.len() * 24, visit);
        Ok(())
    }
}

/// The energies of the nodes behind one of them.
struct AheadOf<'r, 'a> {
    report: &'r Report<'a>,
    behind: &'r [Node<'a>],
    /// Start of the hour.
    start: Micros,
    /// The energies of the nodes right behind, with their hours: read once for all hours of the node.
    next: &'r OnceCell<Vec<(Micros, Decimal)>>,
}

impl AheadOf<'_, '_> {
    fn of(&self, nodes: &[Node<'_>], visit: &mut dyn FnMut(Micros, Decimal)) {
        let mut splitters = [Splitter::new(), Splitter::new(), Splitter::new()];
        for node in nodes {
            self.report.node(node, &mut splitters, &mut |_, row| {
                if let Ok(row) = row
                    && let Some(energy) = row.prices.energy
                {
                    visit(row.start, energy);
                }
            });
        }
    }
}

impl Ahead for AheadOf<'_, '_> {
    fn next(&self, visit: &mut dyn FnMut(Decimal)) {
        let next = self.next.get_or_init(|| {
            let mut found = Vec::with_capacity(NEXT * 24);
            let nodes = self.behind.get(..NEXT.min(self.behind.len())).unwrap_or_default();
            self.of(nodes, &mut |start, energy| found.push((start, energy)));
            found
        });
        let of_hour = next.iter().filter(|(start, _)| *start == self.start);
        of_hour.for_each(|(_, energy)| visit(*energy));
    }

    fn all(&self, visit: &mut dyn FnMut(Micros, Decimal)) {
        self.of(&self.report.nodes, visit);
    }
}
