//! NYISO's prices: `nyiso.realtime_zone.csv`, `nyiso.damlbmp_zone.csv` and `nyiso.rtlbmp_zone.csv`.
//!
//! A five-minute stamp is the end of its interval, an hourly one the start. Additional dispatch runs have stamps between those
//! of the grid; an interval begins at the stamp before it, or at the last mark of the grid. After the newest dispatch run the file of
//! a day has advisory prices of the next quarters, which are refused.

use std::cell::OnceCell;
use std::collections::HashMap;

use domain::{Decimal, Micros, QualityFlags};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::advisory::{Advisory, Seen};
use super::passes::{Counts, NAMES, Passes};
use crate::cadence;
use crate::clock::{self, EASTERN, HOUR, Instants, MINUTE};
use crate::document::{Document, Names, Prices, Row, Visit, check_hour};
use crate::encoding::csv_text;
use crate::energies::{Ahead, Energies, NEXT};
use crate::format::Head;
use crate::rejection::{RejectCode, Rejection};
use crate::table::{Column, Csv, Known, Line, Record, Table, columns, optional, required};

pub(super) const REAL_TIME: &str = "nyiso.realtime_zone.csv";
pub(super) const DAY_AHEAD: &str = "nyiso.damlbmp_zone.csv";
pub(super) const HOURLY: &str = "nyiso.rtlbmp_zone.csv";
/// Distance of the regular stamps.
pub(super) const GRID: Micros = 5 * MINUTE;

const COLUMNS: [Known; 6] = [
    required(&["Time Stamp"]),
    required(&["Name"]),
    optional(&["PTID"]),
    required(&["LBMP ($/MWHr)", "LBMP ($/MWH", "LBMP"]),
    required(&[
        "Marginal Cost Losses ($/MWHr)",
        "Marginal Cost Losses ($/MWH",
        "Marginal Cost Losses",
    ]),
    // Cut to a length until 2016.
    required(&[
        "Marginal Cost Congestion ($/MWHr)",
        "Marginal Cost Congestion ($/MWH",
        "Marginal Cost Congestion",
    ]),
];

// The three have the same columns. Without a telling name, only real-time stamps have seconds; an hourly file may be of either
// market. Files of generators have these columns too, but the formats are of zones: each generator would be a zone of its own.
pub(super) fn recognise(head: &Head<'_>) -> Option<&'static str> {
    if !head.has_columns(&["timestamp", "name"]) || !head.has_column_like("lbmp") || head.is_named(&["gen"]) {
        return None;
    }
    let named = [("damlbmp", DAY_AHEAD), ("rtlbmp", HOURLY), ("realtime", REAL_TIME)];
    if let Some((_, format)) = named.into_iter().find(|(part, _)| head.file_name.contains(part)) {
        return Some(format);
    }
    let row = head.text.lines().filter(|line| !line.trim().is_empty()).nth(1)?;
    let has_seconds = row.split(',').next()?.matches(':').count() == 2;
    has_seconds.then_some(REAL_TIME)
}

struct Lbmp<'a> {
    csv: Csv<'a>,
    columns: [Column; COLUMNS.len()],
    product: &'static str,
    /// Known after the first row in a repeated hour; few documents have one.
    passes: OnceCell<Passes>,
    /// Known after the first row that may be advisory; few documents have one.
    advisory: OnceCell<Advisory>,
}

pub(super) fn open<'a>(payload: &'a [u8], format: &'static str) -> Result<Box<dyn Document + 'a>, Rejection> {
    let (csv, names) = Csv::open(csv_text(payload)?)?;
    let columns = columns(&names, &COLUMNS)?;
    let csv = csv.guarded(columns.get(3..).unwrap_or_default(), &[]);
    let (product, interval) = match format {
        DAY_AHEAD => ("da", HOUR),
        HOURLY => ("rth", HOUR),
        _ => ("rt5", GRID),
    };
    let [stamp, ..] = columns;
    let stamps = csv.stamps(stamp, |cell| clock::local(cell, stamp.name).ok());
    cadence::check(&stamps, interval, format)?;
    Ok(Box::new(Lbmp {
        csv,
        columns,
        product,
        passes: OnceCell::new(),
        advisory: OnceCell::new(),
    }))
}

/// What the rows before a row tell about it.
#[derive(Default)]
struct Before {
    counts: Counts,
    /// The stamps of each name.
    seen: HashMap<String, Seen>,
    energies: Energies,
}

impl Lbmp<'_> {
    fn passes(&self) -> &Passes {
        self.passes.get_or_init(|| {
            let mut passes = Passes::default();
            let [stamp, name, _, price, loss, congestion] = self.columns;
            let is_hourly = self.product != "rt5";
            self.csv.for_each_line(&mut |_, _, record| {
                // Rows that cannot be read are rejected when they are visited.
                let Ok(record) = record else { return };
                if let Ok(wall) = clock::local(record.cell(stamp), stamp.name) {
                    let cells = [price, loss, congestion].map(|column| record.cell(column).as_bytes());
                    let values = cells.iter().fold(0, |hash, cell| xxh3_64_with_seed(cell, hash));
                    passes.note(record.cell(name), wall, values, is_hourly);
                }
            });
            passes
        })
    }

    fn advisory(&self) -> &Advisory {
        self.advisory.get_or_init(|| {
            let (mut advisory, mut counts) = (Advisory::default(), Counts::default());
            self.csv.for_each_line(&mut |_, _, record| {
                // As above; so are the rows of which the pass is not known.
                let Ok(record) = record else { return };
                if let Ok((node, instant)) = self.stamp(&record, &mut counts) {
                    advisory.note(node, instant);
                }
            });
            advisory
        })
    }

    /// Name and stamp of a row.
    fn stamp<'r>(&self, record: &Record<'r>, counts: &mut Counts) -> Result<(&'r str, Micros), Rejection> {
        let [stamp, name, ..] = self.columns;
        let wall = clock::local(record.cell(stamp), stamp.name)?;
        // Counts every row whose stamp can be read, as the pass over the whole document does.
        let pass = match EASTERN.instants(wall) {
            Instants::Twice(..) => self.passes().next(counts, record.cell(name), wall),
            _ => None,
        };
        Ok((record.node(name)?, EASTERN.utc(wall, pass)?))
    }

    fn prices(&self, record: &Record<'_>, remarks: &mut QualityFlags) -> Result<Prices, Rejection> {
        let [.., price, loss, congestion] = self.columns;
        let price = record.price(price, remarks)?;
        let (loss, published) = (record.component(loss, remarks)?, record.component(congestion, remarks)?);
        let out_of_range = |error| Rejection::new(RejectCode::InvalidNumber, format!("{}: {error}", congestion.name));
        let turned = published.map(|published| Decimal::ZERO.checked_sub(published));
        Prices::without_energy(price, turned.transpose().map_err(out_of_range)?, loss)
    }

    fn row<'r>(
        &self,
        (line, record): (&Line<'_>, &Record<'r>),
        tolerance: Decimal,
        before: &mut Before,
    ) -> Result<Row<'r>, Rejection> {
        let [stamp, ..] = self.columns;
        let (node, instant) = self.stamp(record, &mut before.counts)?;
        let (start, end) = if self.product == "rt5" {
            (self.start(node, instant, before)?, instant)
        } else {
            check_hour(instant, stamp.name)?;
            (instant, instant + HOUR)
        };
        let mut remarks = QualityFlags::NONE;
        let prices = self.prices(record, &mut remarks)?;
        if let Some(energy) = prices.energy {
            let ahead = AheadOf {
                document: self,
                line,
                stamp: record.cell(stamp),
            };
            before
                .energies
                .compare(instant, energy, tolerance, &mut remarks, &ahead);
        }
        Ok(Row {
            spot: record.spot,
            market: None,
            node,
            key: node,
            zone: Some(node),
            hub: None,
            product: self.product,
            start,
            end,
            prices,
            volume: None,
            version: None,
            remarks,
        })
    }

    // The stamp before this one if it lies after the last mark of the grid, else that mark.
    fn start(&self, node: &str, end: Micros, before: &mut Before) -> Result<Micros, Rejection> {
        let mark = end - 1 - (end - 1).rem_euclid(GRID);
        let is_full = before.seen.len() >= NAMES;
        let previous = match before.seen.get_mut(node) {
            Some(seen) => {
                let earlier = seen.next(end);
                if earlier.may_precede_advisory(end) && self.advisory().has(node, end) {
                    let message = "the row is one of the tail of quarters behind the last run of five minutes: an advisory price of \
                                   the market of 15 minutes (RTC)";
                    return Err(Rejection::new(RejectCode::SchemaViolation, message));
                }
                Some(earlier.stamp)
            }
            None if !is_full => {
                before.seen.insert(node.to_owned(), Seen::first(end));
                None
            }
            None => None,
        };
        Ok(previous
            .filter(|previous| (mark..end).contains(previous))
            .unwrap_or(mark))
    }
}

impl Document for Lbmp<'_> {
    fn names(&self) -> Names {
        Names {
            time: "Time Stamp",
            node: "Name",
        }
    }

    fn rows(&self) -> usize {
        self.csv.rows()
    }

    fn is_bare(&self) -> bool {
        self.csv.is_bare()
    }

    fn for_each(&self, tolerance: Decimal, visit: &mut Visit<'_>) -> Result<(), Rejection> {
        let mut before = Before::default();
        self.csv.for_each_line(&mut |index, line, record| match record {
            Ok(record) => {
                let row = self.row((&line, &record), tolerance, &mut before);
                visit(index, row.map_err(|rejection| record.locate(rejection)));
            }
            Err(rejection) => visit(index, Err(rejection)),
        });
        Ok(())
    }
}

/// The energies of the rows behind one of them.
struct AheadOf<'d, 'r> {
    document: &'d Lbmp<'d>,
    line: &'r Line<'r>,
    stamp: &'r str,
}

impl Ahead for AheadOf<'_, '_> {
    fn next(&self, visit: &mut dyn FnMut(Decimal)) {
        let [stamp, ..] = self.document.columns;
        let mut left = NEXT;
        // The next row of another pass with the same stamp may differ: then all rows are counted, by their instants.
        self.document.csv.for_each_behind(self.line, &mut |record| {
            let prices = self.document.prices(record, &mut QualityFlags::default()).ok();
            let energy = prices.and_then(|prices| prices.energy);
            energy
                .filter(|_| record.cell(stamp) == self.stamp)
                .into_iter()
                .for_each(&mut *visit);
            left -= 1;
            left > 0
        });
    }

    fn all(&self, visit: &mut dyn FnMut(Micros, Decimal)) {
        let mut counts = Counts::default();
        self.document.csv.for_each_line(&mut |_, _, record| {
            let Ok(record) = record else { return };
            if let Ok((_, instant)) = self.document.stamp(&record, &mut counts)
                && let Ok(prices) = self.document.prices(&record, &mut QualityFlags::default())
                && let Some(energy) = prices.energy
            {
                visit(instant, energy);
            }
        });
    }
}
