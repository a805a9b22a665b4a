//! Rows of an OASIS report in XML, from the texts of their elements.
//!
//! A text with blanks around it is the same text. A row that cannot be read is refused alone, with its number.

use domain::{Micros, QualityFlag, QualityFlags};

use super::assemble::{Assembled, Part, Run, check_hour};
use super::components::{PRICE, component};
use super::intervals::Intervals;
use super::markup::TEXTS;
use crate::clock;
use crate::document::Spot;
use crate::rejection::{RejectCode, Rejection, excerpt};
use crate::table::{Column, decimal, is_nothing, located};

/// Reads rows from their texts.
pub(super) struct Rows {
    pub assembled: Assembled,
    intervals: Intervals,
    /// Whether the known intervals are hours of the day, so that their hour has been checked.
    are_hourly: bool,
    count: usize,
    /// That of the last row.
    component: usize,
}

impl Rows {
    pub(super) fn new() -> Rows {
        Rows {
            assembled: Assembled::default(),
            intervals: Intervals::new(),
            are_hourly: true,
            count: 0,
            component: 0,
        }
    }

    /// Forgets the intervals, because rows have another markup.
    pub(super) fn forget_intervals(&mut self) {
        self.intervals.clear();
    }

    /// The text of the interval that the next row of this run nearly always has. Its own texts need not be known then.
    pub(super) fn expected(&self, run: &Result<&'static Run, Rejection>) -> Option<&str> {
        let is_known = run.as_ref().is_ok_and(|run| is_hourly(run) == self.are_hourly);
        if is_known { self.intervals.expected() } else { None }
    }

    /// Adds a row with these texts. `interval` is the text of its interval, if that is one text.
    pub(super) fn add(&mut self, run: &Result<&'static Run, Rejection>, texts: &[&str; TEXTS], interval: Option<&str>) {
        let spot = Spot::Item("REPORT_DATA", self.count);
        self.count += 1;
        let read = match run {
            Ok(run) => self.read(spot, run, texts, interval),
            Err(rejection) => Err(rejection.clone()),
        };
        if let Err(rejection) = read {
            self.assembled.refuse(located(spot, rejection));
        }
    }

    fn read(
        &mut self,
        spot: Spot,
        run: &'static Run,
        texts: &[&str; TEXTS],
        interval: Option<&str>,
    ) -> Result<(), Rejection> {
        let [item, node, .., value] = texts.map(trimmed);
        let component = component(item, self.component).ok_or_else(|| {
            let message = format!("DATA_ITEM is \"{}\", which is not known", excerpt(item));
            Rejection::new(RejectCode::SchemaViolation, message)
        })?;
        self.component = component;
        if node.is_empty() {
            return Err(Rejection::new(RejectCode::MissingInstrument, "RESOURCE_NAME is empty"));
        }
        let is_hourly = is_hourly(run);
        let (start, end) = match interval {
            Some(text) => {
                if is_hourly != self.are_hourly {
                    self.are_hourly = is_hourly;
                    self.intervals.clear();
                }
                self.intervals.read(text, || checked_interval(texts, is_hourly))?
            }
            None => checked_interval(texts, is_hourly)?,
        };
        let column = Column {
            name: "VALUE",
            at: None,
        };
        let mut remarks = QualityFlags::NONE;
        let read = if !is_nothing(value) {
            decimal(value, RejectCode::InvalidPrice, column, &mut remarks).map(Some)
        } else if component == PRICE {
            let message = format!("VALUE is \"{value}\": there is no price");
            Err(Rejection::new(RejectCode::MissingPrice, message))
        } else {
            Ok(None)
        };
        let value = read.map(|value| (value, remarks.contains(QualityFlag::Rounded)));
        self.assembled.add(Part {
            spot,
            node,
            component,
            run,
            start,
            end,
            value: &value,
        });
        Ok(())
    }
}

// INTERVAL_NUM counts hours of the day only in hourly reports.
fn is_hourly(run: &Run) -> bool {
    run.product == "da"
}

/// Start and end of the interval with these texts.
fn checked_interval(texts: &[&str; TEXTS], is_hourly: bool) -> Result<(Micros, Micros), Rejection> {
    let [_, _, day, hour, start, end, _] = texts.map(trimmed);
    let start = clock::utc(start, "INTERVAL_START_GMT")?;
    let end = clock::utc(end, "INTERVAL_END_GMT")?;
    let day = clock::date(day, "OPR_DATE")?;
    if is_hourly {
        check_hour(start, day, hour, ["OPR_DATE", "INTERVAL_NUM"])?;
    }
    Ok((start, end))
}

// Nearly every text begins and ends with a visible character.
#[inline]
fn trimmed(text: &str) -> &str {
    match text.as_bytes() {
        [b'!'..=b'~'] | [b'!'..=b'~', .., b'!'..=b'~'] => text,
        _ => text.trim(),
    }
}
