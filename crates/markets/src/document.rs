//! Documents: one message, many ticks.
//!
//! Role: what every format of every market has in common. A format reads the frame of its document when it is opened, and
//! its rows each time they are visited, so that memory does not grow with their number where the format allows it.
//! Invariants: a row has the same index at every visit, whether it becomes a tick or a rejection (INV-1, INV-5); components
//! are in canonical form: energy + congestion + loss + greenhouse gas = price; a component that is not published is absent.
//! Failure: one rejection for the whole document, or one for each row that cannot be read.

use std::fmt::{self, Display};

use domain::{Decimal, Micros, QualityFlag, QualityFlags};

use crate::archive;
use crate::clock::HOUR;
use crate::registry;
use crate::rejection::{RejectCode, RejectedRows, Rejection};

/// A document whose frame has been read.
pub(crate) trait Document {
    /// Names of the columns that errors about a row refer to.
    fn names(&self) -> Names;

    /// Number of rows, rejected ones included.
    fn rows(&self) -> usize;

    /// Whether the document says, or shows, that it is not the complete set that it belongs to.
    fn is_part(&self) -> bool {
        false
    }

    /// Whether it is a table of which nothing follows the header, as if it was cut there.
    fn is_bare(&self) -> bool {
        false
    }

    /// Whether the reader of the document has put rows of one instrument and interval together, and refused those that contradict each other.
    fn has_no_row_twice(&self) -> bool {
        false
    }

    /// Calls `visit` with every row and its index, in order. `tolerance` is the largest difference between components that
    /// must be equal.
    ///
    /// # Errors
    /// If the rest of the document cannot be read. Opening it has already checked that.
    fn for_each(&self, tolerance: Decimal, visit: &mut Visit<'_>) -> Result<(), Rejection>;
}

/// Receives the rows of a document.
pub(crate) type Visit<'v> = dyn FnMut(usize, Result<Row<'_>, Rejection>) + 'v;

/// Opens a document of the format with this name.
pub(crate) type Open = for<'a> fn(&'a [u8], &'static str) -> Result<Box<dyn Document + 'a>, Rejection>;

/// The columns that hold the time and the node of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names {
    pub time: &'static str,
    pub node: &'static str,
}

/// The price of one interval at one node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'r> {
    pub spot: Spot,
    /// The market of the row, if its document may hold prices of several.
    pub market: Option<&'static str>,
    pub node: &'r str,
    /// The part of the instrument id between market and product. It differs from the node where a name alone is not a key.
    pub key: &'r str,
    pub zone: Option<&'r str>,
    pub hub: Option<&'r str>,
    pub product: &'static str,
    pub start: Micros,
    pub end: Micros,
    pub prices: Prices,
    /// Traded volume, if the document states it.
    pub volume: Option<Decimal>,
    /// Vintage of a price that is restated.
    pub version: Option<&'r str>,
    /// Quality flags found while reading.
    pub remarks: QualityFlags,
}

/// A price and its components.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Prices {
    pub price: Decimal,
    pub energy: Option<Decimal>,
    pub congestion: Option<Decimal>,
    pub loss: Option<Decimal>,
    pub ghg: Option<Decimal>,
}

impl Prices {
    /// A price whose energy component is not published: price - congestion - loss, if it has both.
    pub(crate) fn without_energy(
        price: Decimal,
        congestion: Option<Decimal>,
        loss: Option<Decimal>,
    ) -> Result<Prices, Rejection> {
        let energy = match (congestion, loss) {
            (Some(congestion), Some(loss)) => price
                .checked_sub(loss)
                .and_then(|rest| rest.checked_sub(congestion))
                .map(Some)
                .map_err(|error| Rejection::new(RejectCode::InvalidPrice, format!("LMP - MLC - MCC: {error}")))?,
            _ => None,
        };
        Ok(Prices {
            price,
            energy,
            congestion,
            loss,
            ghg: None,
        })
    }

    /// A price without components.
    pub(crate) fn alone(price: Decimal) -> Prices {
        Prices {
            price,
            ..Prices::default()
        }
    }
}

/// Where a row is in its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spot {
    /// Number of the line, from 1.
    Line(u64),
    /// JSON pointer of the array, and index in it.
    Item(&'static str, usize),
}

impl Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spot::Line(number) => write!(f, "line {number}"),
            Spot::Item(array, index) => write!(f, "{array}/{index}"),
        }
    }
}

/// The name of a value of a row, for a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At(pub Spot, pub &'static str);

impl Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0, self.1)
    }
}

/// Rows of a document that belong to none of its prices. Bounded, like what is told about rejected rows in the end.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    first: Vec<Rejection>,
    count: usize,
}

impl Refused {
    pub(crate) fn push(&mut self, rejection: Rejection) {
        if self.first.len() < RejectedRows::REASONS {
            self.first.push(rejection);
        }
        self.count += 1;
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Visits the rows; `from` is the index of the first.
    pub(crate) fn for_each(&self, from: usize, visit: &mut Visit<'_>) {
        for index in 0..self.count {
            let other = || Rejection::new(RejectCode::SchemaViolation, "another row that cannot be read");
            visit(from + index, Err(self.first.get(index).cloned().unwrap_or_else(other)));
        }
    }
}

/// Refuses a stamp that is not on the hour: a row of finer prices in an hourly document would stand for a whole hour.
pub(crate) fn check_hour(stamp: Micros, column: &'static str) -> Result<(), Rejection> {
    if stamp.rem_euclid(HOUR) == 0 {
        return Ok(());
    }
    let message = format!("{column} is not on the hour, but the document has prices of hours");
    Err(Rejection::new(RejectCode::InvalidTime, message))
}

/// Flags a stamp that is not a multiple of the interval of its product.
pub(crate) fn check_grid(stamp: Micros, interval: Micros, remarks: &mut QualityFlags) {
    if stamp.rem_euclid(interval) != 0 {
        remarks.insert(QualityFlag::OffGrid);
    }
}

/// Opens the document of this format: unpacks an archive into `unpacked`, at most `limit` bytes, and reads the frame.
/// Returns the name of its market too, if all its prices are of one.
pub(crate) fn open<'a>(
    format: &str,
    payload: &'a [u8],
    unpacked: &'a mut Vec<u8>,
    limit: usize,
) -> Result<(Box<dyn Document + 'a>, Option<&'static str>), Rejection> {
    let Some((market, known)) = registry::format(format) else {
        let shown: String = format.chars().take(60).collect();
        let message = format!(
            "header dp.format is '{}', which is not a known format",
            shown.escape_debug()
        );
        return Err(Rejection::new(RejectCode::UnsupportedFormat, message));
    };
    let bytes = if archive::is_zip(payload) {
        archive::unpack(payload, unpacked, limit)?;
        unpacked.as_slice()
    } else {
        payload
    };
    let document = (known.open)(bytes, known.name)?;
    if document.is_bare() {
        let message = "the document has a header and no row: it was cut, or its market had nothing to publish";
        return Err(Rejection::new(RejectCode::NoData, message));
    }
    Ok((document, market.map(|market| market.name)))
}
