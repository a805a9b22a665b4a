//! PJM's prices, as CSV or as a page of its API: `pjm.rt_fivemin_hrl_lmps.csv`, `pjm.rt_hrl_lmps.csv`, `pjm.da_hrl_lmps.csv`.
//!
//! A page is `{"items": [{…}, …], "links": [{"rel": "next"}, …], "totalRows": …}`, or the array alone. An unverified report has no
//! energy column: energy is price - congestion - loss. A row that a correction has replaced says so (`row_is_current`).

use std::fmt::Write as _;

use domain::{Micros, QualityFlags};

use crate::cadence;
use crate::clock::{self, EASTERN, HOUR, MINUTE};
use crate::document::{Document, Names, Prices, Row, check_grid, check_hour};
use crate::encoding::{csv_text, json_text};
use crate::format::Head;
use crate::json::{Key, Read, Reader, Slot};
use crate::rejection::{RejectCode, Rejection, excerpt};
use crate::rowwise::{ReadRow, Rowwise};
use crate::table::{Column, Csv, Known, Objects, Page, Record, Table, columns, is_json, optional, required};

pub(super) const FIVE_MINUTES: &str = "pjm.rt_fivemin_hrl_lmps.csv";
pub(super) const HOURLY: &str = "pjm.rt_hrl_lmps.csv";
pub(super) const DAY_AHEAD: &str = "pjm.da_hrl_lmps.csv";

const COLUMNS: usize = 16;

macro_rules! known_columns {
    ($energy:literal, $price:literal, $congestion:literal, $loss:literal) => {
        [
            required(&["datetime_beginning_utc"]),
            optional(&["datetime_beginning_ept"]),
            required(&["pnode_id"]),
            required(&["pnode_name"]),
            optional(&["type"]),
            optional(&["zone"]),
            optional(&[$energy]),
            required(&[$price]),
            required(&[$congestion]),
            required(&[$loss]),
            optional(&["row_is_current"]),
            optional(&["version_nbr"]),
            optional(&["voltage"]),
            optional(&["equipment"]),
            optional(&["occ_check"]),
            optional(&["ref_caseid_used_multi_interval"]),
        ]
    };
}

const REAL_TIME_COLUMNS: [Known; COLUMNS] = known_columns!(
    "system_energy_price_rt",
    "total_lmp_rt",
    "congestion_price_rt",
    "marginal_loss_price_rt"
);
const DAY_AHEAD_COLUMNS: [Known; COLUMNS] = known_columns!(
    "system_energy_price_da",
    "total_lmp_da",
    "congestion_price_da",
    "marginal_loss_price_da"
);

// The real-time reports have the same columns: the name or the stamps tell them apart.
pub(super) fn recognise(head: &Head<'_>) -> Option<&'static str> {
    let has = |name: &str| {
        if head.is_json() {
            head.holds(&format!("\"{name}\""))
        } else {
            head.has_columns(&[&crate::table::plain(name)])
        }
    };
    if !has("datetime_beginning_utc") {
        return None;
    }
    match (has("total_lmp_da"), has("total_lmp_rt")) {
        (true, false) => Some(DAY_AHEAD),
        (false, true) if head.file_name.contains("fivemin") || head.holds(":05:00") => Some(FIVE_MINUTES),
        (false, true) if head.file_name.contains("rt_hrl") => Some(HOURLY),
        _ => None,
    }
}

struct Lmp {
    columns: [Column; COLUMNS],
    product: &'static str,
    interval: Micros,
}

pub(super) fn open<'a>(payload: &'a [u8], format: &'static str) -> Result<Box<dyn Document + 'a>, Rejection> {
    let (product, interval, known) = match format {
        DAY_AHEAD => ("da", HOUR, &DAY_AHEAD_COLUMNS),
        FIVE_MINUTES => ("rt5", 5 * MINUTE, &REAL_TIME_COLUMNS),
        _ => ("rth", HOUR, &REAL_TIME_COLUMNS),
    };
    let (table, columns): (Box<dyn Table + 'a>, _) = if is_json(payload) {
        let (page, names) = page(payload)?;
        // A page without rows has no keys, so no columns can be missing.
        let columns = if page.rows() == 0 {
            known.map(|known| Column {
                name: known.names.first().copied().unwrap_or_default(),
                at: None,
            })
        } else {
            columns(&names, known)?
        };
        let stamps = cadence::stamps(page.text(), |text, _| {
            let (value, end) = cadence::field(text, "\"datetime_beginning_utc\"")?;
            Some((clock::utc(value, "").ok(), end))
        });
        cadence::check(&stamps, interval, format)?;
        (Box::new(page), columns)
    } else {
        let (csv, names) = Csv::open(csv_text(payload)?)?;
        let columns = columns(&names, known)?;
        let prices: Vec<Column> = columns
            .iter()
            .copied()
            .filter(|column| column.name.contains("price") || column.name.contains("lmp"))
            .collect();
        let [
            utc,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            current,
            _,
            voltage,
            equipment,
            occ_check,
            case,
        ] = columns;
        let stamps = csv.stamps(utc, |cell| clock::utc(cell, utc.name).ok());
        cadence::check(&stamps, interval, format)?;
        // No word of `row_is_current` begins with another one, and no tick depends on the others.
        let harmless = [current, voltage, equipment, occ_check, case];
        (Box::new(csv.guarded(&prices, &harmless)), columns)
    };
    let reader = Lmp {
        columns,
        product,
        interval,
    };
    Ok(Box::new(Rowwise { table, reader }))
}

#[derive(Default)]
struct Frame<'a> {
    items: Option<Objects<'a>>,
    total: Slot<'a>,
    has_next: Option<bool>,
}

impl<'a> Frame<'a> {
    fn read(&mut self, reader: &mut Reader<'a>, key: &Key<'_>) -> Read<()> {
        match key.name().as_str() {
            "items" if self.items.is_some() => Err(reader.twice()),
            "items" => {
                self.items = Some(Objects::read(reader)?);
                Ok(())
            }
            "totalRows" => reader.put(Some(&mut self.total)),
            "links" if self.has_next.is_some() => Err(reader.twice()),
            "links" => {
                let links = reader.elements(|reader| reader.skip())?;
                self.has_next = Some(links.contains("\"next\""));
                Ok(())
            }
            _ => reader.skip(),
        }
    }
}

fn page<'a>(payload: &'a [u8]) -> Result<(Page<'a>, Vec<String>), Rejection> {
    let text = json_text(payload)?;
    if text.trim_ascii_start().starts_with('[') {
        let mut reader = Reader::new(text);
        reader.space();
        let items = Objects::read(&mut reader).map_err(|error| error.rejection(""))?;
        reader.end().map_err(|error| error.rejection(""))?;
        return Ok((Page::of_objects("", &items, false), items.names));
    }
    let mut frame = Frame::default();
    Reader::whole_object(text, &mut |reader: &mut Reader<'a>, key: Key<'_>| {
        frame.read(reader, &key)
    })
    .map_err(|error| error.rejection(""))?;
    let items = frame.items.ok_or_else(|| Rejection::missing("/items"))?;
    let total = frame.total.get().and_then(|total| total.raw.parse::<usize>().ok());
    let is_part = frame.has_next == Some(true) || total.is_some_and(|total| total != items.rows);
    Ok((Page::of_objects("/items", &items, is_part), items.names))
}

impl Lmp {
    fn prices(&self, record: &Record<'_>, remarks: &mut QualityFlags) -> Result<Prices, Rejection> {
        let [_, _, _, _, _, _, energy, price, congestion, loss, ..] = self.columns;
        let total = record.price(price, remarks)?;
        let (congestion, loss) = (record.component(congestion, remarks)?, record.component(loss, remarks)?);
        if energy.at.is_none() {
            return Prices::without_energy(total, congestion, loss);
        }
        Ok(Prices {
            price: total,
            energy: record.component(energy, remarks)?,
            congestion,
            loss,
            ghg: None,
        })
    }

    // `verified.2`, `verified.1.superseded`, `unverified`.
    fn version(&self, record: &Record<'_>, out: &mut String) -> Result<(), Rejection> {
        let [.., current, version, _, _, _, _] = self.columns;
        let refused = |column: Column, expected: &str| {
            let message = format!(
                "{} is \"{}\": {expected} is expected",
                column.name,
                excerpt(record.cell(column))
            );
            Rejection::new(RejectCode::SchemaViolation, message)
        };
        if current.at.is_none() && version.at.is_none() {
            out.push_str("unverified");
            return Ok(());
        }
        out.push_str("verified");
        if version.at.is_some() {
            let number: u32 = record.cell(version).parse().map_err(|_| refused(version, "a number"))?;
            _ = write!(out, ".{number}");
        }
        match record.cell(current) {
            _ if current.at.is_none() => {}
            text if ["true", "1", "yes"].iter().any(|word| text.eq_ignore_ascii_case(word)) => {}
            text if ["false", "0", "no"].iter().any(|word| text.eq_ignore_ascii_case(word)) => {
                out.push_str(".superseded")
            }
            _ => return Err(refused(current, "True or False")),
        }
        Ok(())
    }

    fn start(&self, record: &Record<'_>) -> Result<Micros, Rejection> {
        let [utc, ept, ..] = self.columns;
        let start = clock::utc(record.cell(utc), utc.name)?;
        let local = record.cell(ept);
        if !local.is_empty() && clock::local(local, ept.name)? != EASTERN.wall(start) {
            let message = format!(
                "{} is {}, but {} is {}, which is {} in Eastern prevailing time",
                ept.name,
                excerpt(local),
                utc.name,
                excerpt(record.cell(utc)),
                clock::shown(EASTERN.wall(start))
            );
            return Err(Rejection::new(RejectCode::InvalidTime, message));
        }
        Ok(start)
    }
}

impl ReadRow for Lmp {
    fn names(&self) -> Names {
        Names {
            time: "datetime_beginning_utc",
            node: "pnode_name",
        }
    }

    fn row<'r>(&'r self, _: &dyn Table, record: &Record<'r>, scratch: &'r mut String) -> Result<Row<'r>, Rejection> {
        let [_, _, id, name, kind, zone, ..] = self.columns;
        let mut remarks = QualityFlags::NONE;
        let node = record.node(name)?;
        let id = record.cell(id);
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
            let message = format!("pnode_id is \"{}\": a number is expected", excerpt(id));
            return Err(Rejection::new(RejectCode::MissingInstrument, message));
        }
        let start = self.start(record)?;
        let prices = self.prices(record, &mut remarks)?;
        if self.interval == HOUR {
            check_hour(start, "datetime_beginning_utc")?;
        }
        check_grid(start, self.interval, &mut remarks);
        let is = |wanted: &str| record.cell(kind).eq_ignore_ascii_case(wanted);
        // Names of hubs, zones and interfaces are unique. Others are cut short and shared by several nodes, so that only the
        // number is a key.
        scratch.clear();
        if !(is("HUB") || is("ZONE") || is("INTERFACE")) {
            scratch.extend([node, ".", id]);
        }
        let split = scratch.len();
        self.version(record, scratch)?;
        let (key, version) = scratch.split_at_checked(split).unwrap_or((node, ""));
        let zone = record.cell(zone);
        Ok(Row {
            spot: record.spot,
            market: None,
            node,
            key: if key.is_empty() { node } else { key },
            zone: if is("ZONE") {
                Some(node)
            } else {
                Some(zone).filter(|zone| !zone.is_empty())
            },
            hub: is("HUB").then_some(node),
            product: self.product,
            start,
            end: start + self.interval,
            prices,
            volume: None,
            version: Some(version),
            remarks,
        })
    }
}
