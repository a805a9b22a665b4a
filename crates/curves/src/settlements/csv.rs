//! `curve.settlements.csv`: columns `as_of`, `curve_id`, `contract`, `block`, `price` and optionally `volume`, in any order.

use csv_core::{ReadRecordResult, Reader};

use super::{Settlement, Settlements, as_of, decimal};
use crate::CurveError;

const COLUMNS: [&str; 6] = ["as_of", "curve_id", "contract", "block", "price", "volume"];
const REQUIRED: usize = 5;
/// Cells of a line that are read; a line with more is rejected.
const WIDEST: usize = 16;

pub(super) fn parse(text: &str) -> Result<Settlements, CurveError> {
    let mut lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let Some((header, _)) = lines.next() else {
        return Err(CurveError::Unreadable(format!(
            "the file is empty: a header with {} is expected",
            COLUMNS.join(", ")
        )));
    };
    let places = places(&cells(header).map_err(CurveError::Unreadable)?)?;
    let mut found = Settlements::default();
    for (line, number) in lines {
        let row = cells(line).and_then(|cells| row(number, &cells, &places));
        found.add(number, row);
    }
    Ok(found)
}

/// Where each column is.
fn places(header: &[String]) -> Result<[Option<usize>; COLUMNS.len()], CurveError> {
    let mut places = [None; COLUMNS.len()];
    for (at, name) in header.iter().enumerate() {
        let plain = name.to_ascii_lowercase().replace(' ', "_");
        let place = COLUMNS
            .iter()
            .position(|column| *column == plain)
            .and_then(|known| places.get_mut(known));
        match place {
            Some(place @ None) => *place = Some(at),
            Some(_) => return Err(refused(&format!("has column \"{name}\" twice"))),
            None => return Err(refused(&format!("has an unknown column \"{name}\""))),
        }
    }
    let missing = COLUMNS
        .iter()
        .zip(places)
        .take(REQUIRED)
        .filter(|(_, place)| place.is_none());
    let missing: Vec<&str> = missing.map(|(column, _)| *column).collect();
    match missing.is_empty() {
        true => Ok(places),
        false => Err(refused(&format!("has no column {}", missing.join(", ")))),
    }
}

fn refused(what: &str) -> CurveError {
    CurveError::Unreadable(format!(
        "the header {what}: the columns are {} and optionally volume",
        COLUMNS.get(..REQUIRED).unwrap_or_default().join(", ")
    ))
}

fn row(line: u64, cells: &[String], places: &[Option<usize>; COLUMNS.len()]) -> Result<Settlement, String> {
    let cell = |column: usize| {
        let text = places.get(column).copied().flatten().and_then(|place| cells.get(place));
        text.map_or("", |text| text.as_str())
    };
    let required = |column: usize| match cell(column) {
        "" => Err(format!("{} is empty", COLUMNS.get(column).unwrap_or(&""))),
        text => Ok(text),
    };
    let (day, known_at) = as_of(required(0)?)?;
    let volume = match cell(5) {
        "" => None,
        text => Some(decimal("volume", text)?),
    };
    Ok(Settlement {
        line,
        as_of: day,
        known_at,
        curve_id: required(1)?.to_owned(),
        tenor: required(2)?.parse().map_err(|error: CurveError| error.to_string())?,
        block: required(3)?.parse().map_err(|error: CurveError| error.to_string())?,
        price: decimal("price", required(4)?)?,
        volume,
    })
}

/// The trimmed cells of one line. Each line is read by itself, so that a stray quote damages one row only.
fn cells(line: &str) -> Result<Vec<String>, String> {
    let mut reader = Reader::new();
    let (mut text, mut ends) = (vec![0; line.len() + 1], [0; WIDEST]);
    let (mut written, mut count) = (0, 0);
    for input in [line.as_bytes(), b"\n"] {
        let (output, left) = (
            text.get_mut(written..).unwrap_or_default(),
            ends.get_mut(count..).unwrap_or_default(),
        );
        let (result, _, bytes, found) = reader.read_record(input, output, left);
        (written, count) = (written + bytes, count + found);
        match result {
            ReadRecordResult::Record => break,
            ReadRecordResult::InputEmpty if input != b"\n" => {}
            ReadRecordResult::OutputEndsFull => return Err(format!("it has more than {WIDEST} cells")),
            _ => return Err("a quote is not closed".to_owned()),
        }
    }
    let mut start = 0;
    let mut cells = Vec::with_capacity(count);
    for end in ends.iter().take(count) {
        let bytes = text.get(start..*end).unwrap_or_default();
        let cell = std::str::from_utf8(bytes).map_err(|_| "a cell is not UTF-8".to_owned())?;
        cells.push(cell.trim().to_owned());
        start = *end;
    }
    Ok(cells)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::contract::Commodity;

    const GOOD: &str = "as_of,curve_id,contract,block,price,volume";

    #[test]
    fn columns_are_found_by_name_and_bad_rows_are_named() {
        let text = "Price,Block,Contract,Curve ID,As_Of\r\n\
                    41.50,peak,F27,PJM.WESTERN HUB,2026-11-25\r\n\
                    \r\n\
                    x,peak,F27,PJM.WESTERN HUB,2026-11-25\r\n\
                    40,peak,F277,PJM.WESTERN HUB,2026-11-25\r\n\
                    40,night,F27,PJM.WESTERN HUB,2026-11-25\r\n\
                    40,peak,F27,PJM.WESTERN HUB,25.11.2026\r\n\
                    40,peak,F27,,2026-11-25\r\n\
                    40,\"peak,F27,PJM.WESTERN HUB,2026-11-25\r\n\
                    -5.25,off_peak,CAL-27,PJM.WESTERN HUB,2026-11-25T22:30:00Z";
        let found = parse(text).unwrap();
        assert_eq!(found.rows.len(), 2);
        assert_eq!((found.rows[0].line, found.rows[1].line), (2, 10));
        assert_eq!(found.rows[1].price.to_string(), "-5.25");
        assert_eq!(found.rows[1].known_at, 1_795_645_800_000_000);
        let reasons: Vec<String> = found.rejected.iter().map(ToString::to_string).collect();
        for (reason, expected) in reasons.iter().zip([
            "line 4: price \"x\"",
            "line 5: \"F277\" is no contract",
            "line 6: \"night\" is no block",
            "line 7: as_of \"25.11.2026\"",
            "line 8: curve_id is empty",
            "line 9: a quote is not closed",
        ]) {
            assert!(reason.starts_with(expected), "{reason}");
        }
        assert_eq!(reasons.len(), 6);
        let quote = found.rows[0].quote(Commodity::Power).unwrap();
        assert_eq!(
            (&*quote.contract.to_string(), quote.price, &*quote.source),
            ("2027-01 peak", 41.5, "line 2")
        );
    }

    #[test]
    fn headers_that_may_change_the_meaning_are_refused() {
        for (header, expected) in [
            ("", "empty"),
            ("as_of,curve_id,contract,price", "has no column block"),
            (
                "as_of,curve_id,contract,block,price,volumes",
                "unknown column \"volumes\"",
            ),
            ("as_of,curve_id,contract,block,price,Price", "twice"),
        ] {
            let error = parse(header).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(parse(GOOD).unwrap().rows.is_empty());
    }
}
