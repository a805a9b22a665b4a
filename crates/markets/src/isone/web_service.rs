//! ISO-NE's web service: `isone.ws_hourlylmp.json`, the day-ahead prices.
//!
//! `{"HourlyLmps": {"HourlyLmp": [{"BeginDate", "Location": {"@LocId", "@LocType", "$"}, "LmpTotal", "EnergyComponent",
//! "CongestionComponent", "LossComponent"}, …]}}`. The content does not name the market: only day-ahead prices may have this
//! format. A single price may come without its array.
//!
//! Nearly all prices differ in their values only: those are read by the [`Outline`] of an earlier one.

use domain::{Decimal, Micros, QualityFlags};

use crate::cadence;
use crate::clock::HOUR;
use crate::document::{Document, Names, Prices, Row, Spot, Visit, check_hour};
use crate::encoding::json_text;
use crate::format::Head;
use crate::json::{Key, Kind, Object, Outline, Read, Reader, Token};
use crate::number;
use crate::rejection::{RejectCode, Rejection};
use crate::table::{is_nothing, located};
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
                let (mut rows, mut outline) = (0, Outline::default());
                let data = reader.elements(|reader| {
                    rows += 1;
                    if outline.read(reader, |_, token| is_plain(token)) {
                        return Ok(());
                    }
                    let start = *reader;
                    reader.skip()?;
                    outline.learn_inside(start, is_location, |_| ());
                    Ok(())
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

/// The name of the format, which a file may have.
pub(super) const NAME_OF_FORMAT: &str = "isone.ws_hourlylmp.json";

/// The real-time prices of the service have the same content, so that only the name of the file tells.
pub(super) fn recognise(head: &Head<'_>) -> bool {
    head.is_json()
        && head.holds("\"HourlyLmp")
        && (head.is_named(&["da", "dam", "dalmp", "dayahead"]) || head.file_name == NAME_OF_FORMAT)
        && !head.is_named(&["rt", "rtlmp", "realtime"])
}

pub(super) fn open<'a>(payload: &'a [u8], format: &'static str) -> Result<Box<dyn Document + 'a>, Rejection> {
    let mut frame = Frame::default();
    Reader::whole_object(json_text(payload)?, &mut |reader: &mut Reader<'a>, key: Key<'_>| {
        frame.read(reader, &key)
    })
    .map_err(|error| error.rejection(""))?;
    let answer = frame.0.ok_or_else(|| Rejection::missing(PRICES))?;
    let stamps = cadence::stamps(answer.data, |text, _| {
        let (value, end) = cadence::field(text, "\"BeginDate\"")?;
        Some((instant(value), end))
    });
    cadence::check(&stamps, HOUR, format)?;
    Ok(Box::new(answer))
}

/// A time with its offset.
fn instant(text: &str) -> Option<Micros> {
    time::iso(text.trim().as_bytes()).and_then(|stamp| Some(stamp.wall - stamp.offset?))
}

/// The fields of a price.
const FIELDS: [&str; 7] = [
    "BeginDate",
    "$",
    "@LocType",
    "LmpTotal",
    "EnergyComponent",
    "CongestionComponent",
    "LossComponent",
];
const BEGIN: usize = 0;
const NAME: usize = 1;
const KIND: usize = 2;
const FIRST_NUMBER: usize = 3;
/// The place of a value that no tick needs.
const NOWHERE: usize = FIELDS.len();
/// Most values of a price whose outline is used.
const MOST_VALUES: usize = 12;

/// The place of a field with this name; `None` if it is unknown. A location may be its name alone.
fn place(key: &Key<'_>) -> Option<usize> {
    if key.is("@LocId") {
        return Some(NOWHERE);
    }
    if is_location(key) {
        return Some(NAME);
    }
    FIELDS.iter().position(|name| key.is(name))
}

fn is_location(key: &Key<'_>) -> bool {
    key.is("Location")
}

// An object may have fields, and an array objects.
fn is_plain(token: Token<'_>) -> bool {
    !matches!(token.kind, Kind::Object | Kind::Array)
}

/// The values of a price, by their places.
#[derive(Clone, Default)]
struct Fields<'a> {
    values: [Option<Token<'a>>; FIELDS.len()],
    unknown: Option<String>,
}

impl<'a> Object<'a> for Fields<'a> {
    fn field(&mut self, reader: &mut Reader<'a>, key: Key<'_>) -> Read<()> {
        if is_location(&key) && reader.is_at_object() {
            return reader.object(self);
        }
        let Some(place) = place(&key) else {
            self.unknown.get_or_insert_with(|| key.name());
            return reader.skip();
        };
        match self.values.get_mut(place) {
            None => reader.skip(),
            Some(Some(_)) => Err(reader.twice()),
            Some(value) => {
                *value = Some(reader.value()?);
                Ok(())
            }
        }
    }
}

/// Prices that differ in their values only.
struct Alike<'a> {
    outline: Outline<'a>,
    /// The place of each value.
    places: [usize; MOST_VALUES],
    /// Of the last price that had the outline.
    fields: Fields<'a>,
}

impl<'a> Alike<'a> {
    fn new() -> Alike<'a> {
        Alike {
            outline: Outline::default(),
            places: [NOWHERE; MOST_VALUES],
            fields: Fields::default(),
        }
    }

    /// Reads a price into `fields`, if it has the outline; returns whether it did so.
    fn read(&mut self, reader: &mut Reader<'a>) -> bool {
        let (places, values) = (&self.places, &mut self.fields.values);
        self.outline.read(reader, |number, token| {
            let Some(place) = places.get(number).filter(|_| is_plain(token)) else {
                return false;
            };
            if let Some(value) = values.get_mut(*place) {
                *value = Some(token);
            }
            true
        })
    }

    /// Takes the outline of the price at `start`, which has these fields.
    fn learn(&mut self, start: Reader<'a>, fields: &Fields<'a>) {
        if fields.unknown.is_some() {
            return;
        }
        let (mut count, places) = (0, &mut self.places);
        let learned = self.outline.learn_inside(start, is_location, |key| {
            if let Some(of_value) = places.get_mut(count) {
                *of_value = place(key).unwrap_or(NOWHERE);
            }
            count += 1;
        });
        if learned {
            self.fields = fields.clone();
        }
    }
}

impl<'a> Fields<'a> {
    fn value(&self, place: usize) -> Option<Token<'a>> {
        self.values.get(place).copied().flatten()
    }

    fn visit(&self, index: usize, visit: &mut Visit<'_>) {
        let spot = Spot::Item(PRICES, index);
        let name = Text::optional(self.value(NAME), "Location/$");
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
            .value(BEGIN)
            .ok_or_else(|| Rejection::new(RejectCode::MissingTime, "BeginDate is missing"))?;
        let start = instant(begin.raw).ok_or_else(|| {
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
            let place = FIRST_NUMBER + at;
            let is_something = |token: &Token<'_>| token.kind != Kind::Null && !is_nothing(token.raw.trim());
            let token = self.value(place).filter(is_something);
            let name = FIELDS.get(place).copied().unwrap_or_default();
            token
                .map(|token| number::decimal(token, code, name, &mut remarks))
                .transpose()
        };
        let price = number(0)?.ok_or_else(|| Rejection::new(RejectCode::MissingPrice, "LmpTotal is missing"))?;
        let (energy, congestion, loss) = (number(1)?, number(2)?, number(3)?);
        check_hour(start, "BeginDate")?;
        let is = |wanted: &str| {
            self.value(KIND)
                .is_some_and(|kind| crate::table::is_plain(kind.raw, wanted))
        };
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

impl<'a> Document for Answer<'a> {
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
        let (mut index, mut alike) = (0, Alike::new());
        let mut one = |reader: &mut Reader<'a>| {
            if alike.read(reader) {
                alike.fields.visit(index, visit);
            } else if reader.is_at_object() {
                let (start, mut fields) = (*reader, Fields::default());
                reader.object(&mut fields)?;
                fields.visit(index, visit);
                alike.learn(start, &fields);
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A rejection without the place in the text.
    fn reason(rejection: Rejection) -> String {
        let why = rejection.message.split(" at byte").next().unwrap_or_default();
        format!("{:?} {why}", rejection.code)
    }

    /// The rows of a document as text, and why it ended early.
    fn read(text: &str) -> Result<Vec<String>, String> {
        let document = open(text.as_bytes(), "isone.ws_hourlylmp.json").map_err(reason)?;
        let mut rows = vec![document.rows().to_string()];
        let read = document.for_each(Decimal::ZERO, &mut |index, row| rows.push(format!("{index} {row:?}")));
        rows.extend(read.err().map(reason));
        Ok(rows)
    }

    /// A document with these prices, the last of which may be cut. With `apart`, no price has the outline of another one.
    fn document(prices: &[String], cut: Option<usize>, apart: bool) -> String {
        let mut texts = Vec::new();
        for (number, price) in prices.iter().enumerate() {
            let length = cut.filter(|_| number + 1 == prices.len()).unwrap_or(price.len());
            let end = (0..=length.min(price.len()))
                .rev()
                .find(|at| price.is_char_boundary(*at));
            let written = price.get(..end.unwrap_or_default()).unwrap_or_default();
            texts.push(match written.strip_prefix('{') {
                Some(inner) if apart => format!("{{{}{inner}", " ".repeat(number + 1)),
                _ => written.to_owned(),
            });
        }
        let end = if cut.is_some() { "" } else { "]}}" };
        format!("{{\"HourlyLmps\":{{\"HourlyLmp\":[{}{end}", texts.join(","))
    }

    /// One in fifty is odd.
    fn number() -> impl Strategy<Value = String> {
        prop_oneof![
            50 => "-?(0|[1-9][0-9]{0,2})(\\.[0-9]{1,2})?",
            1 => "(null|\"12\\.5\"|\" 7\"| 7 |1e2|0\\.30000000000000004|\"\"|true|nul|01|\\[1\\]|\\{\"LossComponent\":1\\})",
        ]
    }

    fn price() -> impl Strategy<Value = String> {
        let name = prop_oneof![30 => "[AB]", 1 => "(|é|\\\\u00e9|\\\\ud83d|\\\\)"];
        let numbers = (number(), number(), number(), number());
        (0..10_u8, name, numbers, 0..300_u16).prop_map(|(hour, name, (price, energy, congestion, loss), change)| {
            let mut fields = vec![
                format!("\"BeginDate\":\"2025-11-02T0{hour}:00:00.000-05:00\""),
                format!("\"Location\":{{\"@LocId\":\"4001\",\"@LocType\":\"LOAD ZONE\",\"$\":\"{name}\"}}"),
                format!("\"LmpTotal\":{price}"),
                format!("\"EnergyComponent\":{energy}"),
                format!("\"CongestionComponent\":{congestion}"),
                format!("\"LossComponent\":{loss}"),
            ];
            match change {
                0 => fields.reverse(),
                1 => _ = fields.pop(),
                2 => fields.push(fields[usize::from(hour) % 6].clone()),
                3 => fields.push("\"Other\":{\"$\":\"C\"}".to_owned()),
                4 => fields[1] = format!("\"Location\":\"{name}\""),
                5 => fields[1] = format!("\"Location\":{{\"$\":\"{name}\",\"@LocType\":\"HUB\"}}"),
                6 => {
                    fields[1] =
                        format!("\"Location\":{{\"Location\":{{\"$\":\"{name}\"}},\"@LocId\":{{\"LmpTotal\":3}}}}")
                }
                7 => fields[1] = format!("\"Location\":{{\"@LocId\":[{{\"$\":1}}],\"@LocId\":2,\"$\":\"{name}\"}}"),
                8 => fields[1] = "\"Location\":{}".to_owned(),
                9 => fields[0] = format!("\"Begin\\u0044ate\":\"2025-11-02T0{hour}:00:00.000-05:00\""),
                10 => fields[0] = "\"BeginDate\":{\"LmpTotal\":1}".to_owned(),
                11 => fields[0] = "\"Begindate\":\"2025-11-02T00:00:00.000-05:00\"".to_owned(),
                12 => fields.extend(std::iter::repeat_n("\"@LocId\":1".to_owned(), MOST_VALUES)),
                13 => return "1".to_owned(),
                14 => return format!("{{{}}}", fields.join(" ,\n")),
                15 => return format!("{{{},}}", fields.join(",")),
                16 => return "{}".to_owned(),
                _ => {}
            }
            format!("{{{}}}", fields.join(","))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn prices_of_one_outline_are_those_that_are_found_one_by_one(
            prices in prop::collection::vec(price(), 1..12), cut in prop::option::weighted(0.2, 0..300_usize),
        ) {
            let text = document(&prices, cut, false);
            prop_assert_eq!(read(&text), read(&document(&prices, cut, true)), "{}", text);
        }
    }

    #[test]
    fn prices_that_differ_in_their_values_only_have_one_outline() {
        let prices = [("A", "1"), ("B", "\"2.5\""), ("\\u00e9", "null")].map(|(name, price)| {
            format!("{{\"BeginDate\":\"x\",\"Location\":{{\"@LocId\":1,\"$\":\"{name}\"}},\"LossComponent\":{price},\"LmpTotal\":{price}}}")
        });
        let mut alike = Alike::new();
        for (number, text) in prices.iter().enumerate() {
            let (mut reader, mut fields) = (Reader::new(text), Fields::default());
            let start = reader;
            reader.object(&mut fields).unwrap();
            let mut again = start;
            assert_eq!(alike.read(&mut again), number > 0, "{text}");
            if number == 0 {
                alike.learn(start, &fields);
            }
            assert_eq!(alike.fields.values, fields.values, "{text}");
            assert_eq!(
                alike.places[..5],
                [BEGIN, NOWHERE, NAME, FIRST_NUMBER + 3, FIRST_NUMBER]
            );
        }
    }
}
