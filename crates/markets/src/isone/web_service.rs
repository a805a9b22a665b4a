//! ISO-NE's web service: `isone.ws_hourlylmp.json`, the day-ahead prices.
//!
//! `{"HourlyLmps": {"HourlyLmp": [{"BeginDate", "Location": {"@LocId", "@LocType", "$"}, "LmpTotal", "EnergyComponent",
//! "CongestionComponent", "LossComponent"}, …]}}`. The content does not name the market: only day-ahead prices may have this
//! format. A single price may come without its array.

use domain::{Decimal, QualityFlags};

use crate::clock::HOUR;
use crate::document::{Document, Names, Prices, Row, Spot, Visit, check_grid};
use crate::encoding::json_text;
use crate::json::{Key, Kind, Read, Reader, Token};
use crate::number;
use crate::rejection::{RejectCode, Rejection};
use crate::table::located;
use crate::text::Text;
use crate::time;

const PRICES: &str = "/HourlyLmps/HourlyLmp";

struct Answer<'a> {
    data: &'a str,
    rows: usize,
    is_single: bool,
}

#[derive(Default)]
struct Frame<'a>(Option<Answer<'a>>);

impl<'a> Frame<'a> {
    fn read(&mut self, reader: &mut Reader<'a>, key: &Key<'_>) -> Read<()> {
        match key.name().as_str() {
            "HourlyLmps" if reader.is_at_object() => {
                reader.object(&mut |reader: &mut Reader<'a>, key: Key<'_>| self.read(reader, &key))
            }
            "HourlyLmp" if self.0.is_some() => Err(reader.twice()),
            "HourlyLmp" if reader.is_at_object() => {
                self.0 = Some(Answer {
                    data: reader.value()?.raw,
                    rows: 1,
                    is_single: true,
                });
                Ok(())
            }
            "HourlyLmp" => {
                let mut rows = 0;
                let data = reader.elements(|reader| {
                    rows += 1;
                    reader.skip()
                })?;
                self.0 = Some(Answer {
                    data,
                    rows,
                    is_single: false,
                });
                Ok(())
            }
            _ => reader.skip(),
        }
    }
}

pub(super) fn open<'a>(payload: &'a [u8], _: &'static str) -> Result<Box<dyn Document + 'a>, Rejection> {
    let mut frame = Frame::default();
    Reader::whole_object(json_text(payload)?, &mut |reader: &mut Reader<'a>, key: Key<'_>| {
        frame.read(reader, &key)
    })
    .map_err(|error| error.rejection(""))?;
    let answer = frame.0.ok_or_else(|| Rejection::missing(PRICES))?;
    Ok(Box::new(answer))
}

/// The fields of a price.
#[derive(Default)]
struct Fields<'a> {
    begin: Option<Token<'a>>,
    name: Option<Token<'a>>,
    kind: Option<Token<'a>>,
    numbers: [Option<Token<'a>>; 4],
    unknown: Option<String>,
}

const NUMBERS: [&str; 4] = ["LmpTotal", "EnergyComponent", "CongestionComponent", "LossComponent"];

impl<'a> Fields<'a> {
    fn read(reader: &mut Reader<'a>) -> Read<Fields<'a>> {
        let mut fields = Fields::default();
        reader.object(&mut |reader: &mut Reader<'a>, key: Key<'_>| fields.field(reader, &key.name()))?;
        Ok(fields)
    }

    fn field(&mut self, reader: &mut Reader<'a>, name: &str) -> Read<()> {
        let slot = match name {
            "BeginDate" => &mut self.begin,
            "$" => &mut self.name,
            "@LocType" => &mut self.kind,
            "@LocId" => return reader.skip(),
            "Location" if reader.is_at_object() => {
                return reader.object(&mut |reader: &mut Reader<'a>, key: Key<'_>| self.field(reader, &key.name()));
            }
            "Location" => &mut self.name,
            _ => match NUMBERS.iter().position(|known| *known == name) {
                Some(at) => match self.numbers.get_mut(at) {
                    Some(slot) => slot,
                    None => return reader.skip(),
                },
                None => {
                    self.unknown.get_or_insert_with(|| name.to_owned());
                    return reader.skip();
                }
            },
        };
        if slot.is_some() {
            return Err(reader.twice());
        }
        *slot = Some(reader.value()?);
        Ok(())
    }

    fn visit(&self, index: usize, visit: &mut Visit<'_>) {
        let spot = Spot::Item(PRICES, index);
        let name = Text::optional(self.name, "Location/$");
        let row = name.as_ref().map_err(Clone::clone).and_then(|name| {
            let name = name.as_ref().map_or("", Text::as_str);
            self.row(spot, name)
        });
        visit(index, row.map_err(|rejection| located(spot, rejection)));
    }

    fn row<'r>(&self, spot: Spot, node: &'r str) -> Result<Row<'r>, Rejection> {
        if let Some(name) = &self.unknown {
            let message = format!("the price has an unknown field \"{}\"", crate::rejection::excerpt(name));
            return Err(Rejection::new(RejectCode::SchemaViolation, message));
        }
        if node.is_empty() {
            return Err(Rejection::new(RejectCode::MissingInstrument, "Location/$ is missing"));
        }
        let begin = self
            .begin
            .ok_or_else(|| Rejection::new(RejectCode::MissingTime, "BeginDate is missing"))?;
        let stamp = time::iso(begin.raw.trim().as_bytes()).and_then(|stamp| Some(stamp.wall - stamp.offset?));
        let start = stamp.ok_or_else(|| {
            let message = format!("BeginDate is {}: a time with its offset is expected", begin.shown());
            Rejection::new(RejectCode::InvalidTime, message)
        })?;
        let mut remarks = QualityFlags::NONE;
        let mut number = |at: usize| {
            let code = if at == 0 {
                RejectCode::InvalidPrice
            } else {
                RejectCode::InvalidNumber
            };
            let token = self
                .numbers
                .get(at)
                .copied()
                .flatten()
                .filter(|token| token.kind != Kind::Null);
            let name = NUMBERS.get(at).copied().unwrap_or_default();
            token
                .map(|token| number::decimal(token, code, name, &mut remarks))
                .transpose()
        };
        let price = number(0)?.ok_or_else(|| Rejection::new(RejectCode::MissingPrice, "LmpTotal is missing"))?;
        let (energy, congestion, loss) = (number(1)?, number(2)?, number(3)?);
        check_grid(start, HOUR, &mut remarks);
        let is = |wanted: &str| self.kind.is_some_and(|kind| crate::table::is_plain(kind.raw, wanted));
        Ok(Row {
            spot,
            market: None,
            node,
            key: node,
            zone: is("loadzone").then_some(node),
            hub: is("hub").then_some(node),
            product: "da",
            start,
            end: start + HOUR,
            prices: Prices {
                price,
                energy,
                congestion,
                loss,
                ghg: None,
            },
            volume: None,
            version: None,
            remarks,
        })
    }
}

impl Document for Answer<'_> {
    fn names(&self) -> Names {
        Names {
            time: "BeginDate",
            node: "Location/$",
        }
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn for_each(&self, _: Decimal, visit: &mut Visit<'_>) -> Result<(), Rejection> {
        let mut index = 0;
        let mut one = |reader: &mut Reader<'_>| {
            if reader.is_at_object() {
                Fields::read(reader)?.visit(index, visit);
            } else {
                let message = format!("an object is expected, got {}", reader.value()?.shown());
                let rejection = Rejection::new(RejectCode::SchemaViolation, message);
                visit(index, Err(located(Spot::Item(PRICES, index), rejection)));
            }
            index += 1;
            Ok(())
        };
        let mut reader = Reader::new(self.data);
        let read = if self.is_single {
            one(&mut reader)
        } else {
            reader.elements(one).map(|_| ())
        };
        read.map_err(|error| error.rejection(PRICES))
    }
}
