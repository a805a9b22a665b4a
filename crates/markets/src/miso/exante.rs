//! MISO's ex-ante prices of the hubs: `miso.exante.json`.
//!
//! `{"LMPData": {"RefId": "02-Oct-2026 - Interval 16:50 EST", "ExAnteLMP": {"HourAndMin": "16:50", "Hub": [{"name", "LMP",
//! "loss", "congestion"}, …]}}}`. The stamp is read as that of the ex-post prices: the end of the interval, in EST. They are
//! prices of a product of their own and never replace ex-post prices.

use domain::{Decimal, Interval, Micros, QualityFlags};

use super::EST_TO_UTC;
use crate::clock;
use crate::document::{Document, Names, Prices, Row, Visit, check_grid};
use crate::encoding::json_text;
use crate::energies::{Ahead, Energies, NEXT};
use crate::json::{Key, Read, Reader, Token};
use crate::rejection::{RejectCode, Rejection, excerpt};
use crate::table::{Column, Known, Objects, Page, Record, Table, columns, required};

const HUBS: &str = "/LMPData/ExAnteLMP/Hub";
const COLUMNS: [Known; 4] = [
    required(&["name"]),
    required(&["LMP"]),
    required(&["loss"]),
    required(&["congestion"]),
];

struct Board<'a> {
    end: Micros,
    page: Page<'a>,
    columns: [Column; COLUMNS.len()],
}

/// The parts of the document as written.
#[derive(Default)]
struct Frame<'a> {
    reference: Option<Token<'a>>,
    clock: Option<Token<'a>>,
    hubs: Option<Objects<'a>>,
}

impl<'a> Frame<'a> {
    fn read(&mut self, reader: &mut Reader<'a>, key: &Key<'_>) -> Read<()> {
        match key.name().as_str() {
            "LMPData" | "ExAnteLMP" => {
                reader.object(&mut |reader: &mut Reader<'a>, key: Key<'_>| self.read(reader, &key))
            }
            "RefId" => put(&mut self.reference, reader),
            "HourAndMin" => put(&mut self.clock, reader),
            "Hub" if self.hubs.is_some() => Err(reader.twice()),
            "Hub" => {
                self.hubs = Some(Objects::read(reader)?);
                Ok(())
            }
            _ => reader.skip(),
        }
    }
}

fn put<'a>(slot: &mut Option<Token<'a>>, reader: &mut Reader<'a>) -> Read<()> {
    if slot.is_some() {
        return Err(reader.twice());
    }
    *slot = Some(reader.value()?);
    Ok(())
}

pub(super) fn open<'a>(payload: &'a [u8], _: &'static str) -> Result<Box<dyn Document + 'a>, Rejection> {
    let mut frame = Frame::default();
    Reader::whole_object(json_text(payload)?, &mut |reader: &mut Reader<'a>, key: Key<'_>| {
        frame.read(reader, &key)
    })
    .map_err(|error| error.rejection(""))?;
    let reference = frame.reference.ok_or_else(|| Rejection::missing("/LMPData/RefId"))?;
    let hubs = frame.hubs.ok_or_else(|| Rejection::missing(HUBS))?;
    Ok(Box::new(Board {
        end: interval_end(reference, frame.clock)?,
        page: Page::of_objects(HUBS, &hubs, false),
        columns: columns(&hubs.names, &COLUMNS)?,
    }))
}

// `02-Oct-2026 - Interval 16:50 EST`.
fn interval_end(reference: Token<'_>, hour_and_minute: Option<Token<'_>>) -> Result<Micros, Rejection> {
    let refused = |why: &str| {
        let message = format!("RefId is {}: {why}", reference.shown());
        Rejection::new(RejectCode::InvalidTime, message)
    };
    let parts = reference.raw.trim().split_once(" - ");
    let (date, rest) = parts.ok_or_else(|| refused("02-Oct-2026 - Interval 16:50 EST is expected"))?;
    let stamp = rest.trim().strip_prefix("Interval").unwrap_or(rest);
    let stamp = stamp
        .trim()
        .strip_suffix("EST")
        .ok_or_else(|| refused("its zone must be EST"))?
        .trim();
    let time = clock::time_of_day(stamp).ok_or_else(|| refused("its time of day cannot be read"))?;
    if let Some(other) = hour_and_minute.filter(|other| clock::time_of_day(other.raw.trim()) != Some(time)) {
        return Err(refused(&format!("HourAndMin is {}", excerpt(other.raw))));
    }
    Ok(clock::date(date.trim(), "RefId")? + time + EST_TO_UTC)
}

impl Board<'_> {
    fn row<'r>(&self, record: &Record<'r>) -> Result<Row<'r>, Rejection> {
        let [name, lmp, loss, congestion] = self.columns;
        let mut remarks = QualityFlags::NONE;
        let node = record.node(name)?;
        let price = record.price(lmp, &mut remarks)?;
        let (loss, congestion) = (
            record.component(loss, &mut remarks)?,
            record.component(congestion, &mut remarks)?,
        );
        check_grid(self.end, Interval::FiveMinutes.micros(), &mut remarks);
        Ok(Row {
            spot: record.spot,
            market: None,
            node,
            key: node,
            zone: None,
            hub: node.ends_with(".HUB").then_some(node),
            product: "exante",
            start: self.end - Interval::FiveMinutes.micros(),
            end: self.end,
            prices: Prices::without_energy(price, congestion, loss)?,
            volume: None,
            version: None,
            remarks,
        })
    }
}

impl Document for Board<'_> {
    fn names(&self) -> Names {
        Names {
            time: "RefId",
            node: "name",
        }
    }

    fn rows(&self) -> usize {
        self.page.rows()
    }

    fn for_each(&self, tolerance: Decimal, visit: &mut Visit<'_>) -> Result<(), Rejection> {
        let mut energies = Energies::default();
        self.page.for_each(&mut |index, record| {
            let row = record.and_then(|record| {
                let mut row = self.row(&record).map_err(|rejection| record.locate(rejection))?;
                if let Some(energy) = row.prices.energy {
                    energies.compare(row.end, energy, tolerance, &mut row.remarks, self);
                }
                Ok(row)
            });
            visit(index, row);
        })
    }
}

/// All rows are of one interval, so the first of them asks for those behind it.
impl Ahead for Board<'_> {
    fn next(&self, visit: &mut dyn FnMut(Decimal)) {
        let mut first = true;
        self.page.first(NEXT + 1, &mut |record| {
            let row = self.row(&record).ok().filter(|_| !std::mem::take(&mut first));
            row.and_then(|row| row.prices.energy).into_iter().for_each(&mut *visit);
        });
    }

    fn all(&self, visit: &mut dyn FnMut(Micros, Decimal)) {
        _ = self.page.for_each(&mut |_, record| {
            if let Ok(record) = record
                && let Ok(row) = self.row(&record)
                && let Some(energy) = row.prices.energy
            {
                visit(row.end, energy);
            }
        });
    }
}
