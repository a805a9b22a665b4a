//! The rows of ERCOT's repeated hours.
//!
//! Role: a flag tells the passes of such an hour apart, if the source sets it. Where it does not, the rows of both passes have one flag, and
//! the second one would be stored in the place of the first.
//! Invariants: a row is read if it is the only one of its point, time and flag, or says the same price as the others and its point has a row of
//! the other flag as well, so that it is one row twice. All other rows are refused, whatever their order is.
//! Failure: `ambiguous_time`.

use std::cell::OnceCell;
use std::collections::HashMap;

use domain::Decimal;

use crate::clock::{self, CENTRAL, Instants, Pass, Wall};
use crate::rejection::{RejectCode, Rejection, excerpt};
use crate::table::{Record, Table};

/// Most points and times that are followed, so that memory is bounded. The market has about 1,000 points.
const ROWS: usize = 65_536;

/// What the rows of repeated hours say. Known after the first such row; few documents have one.
#[derive(Debug, Default)]
pub(super) struct Repeated(OnceCell<HashMap<(String, Wall), [Said; 2]>>);

/// The rows of one point, time and flag.
#[derive(Debug, Default)]
struct Said {
    rows: usize,
    /// That of the first row; `None` if it cannot be read.
    price: Option<Decimal>,
    /// Whether another one has another price.
    differ: bool,
}

/// A row of a table, as far as it tells the passes apart.
pub(super) struct Printed {
    pub wall: Wall,
    pub pass: Option<Pass>,
    pub price: Option<Decimal>,
}

impl Repeated {
    /// Checks that a row of a repeated hour with this key, time and flag stands for one pass. `read` reads a row and writes its key; it gives
    /// nothing for a row that is refused for another reason.
    pub(super) fn check(
        &self,
        table: &dyn Table,
        (key, wall, pass): (&str, Wall, Pass),
        read: &dyn Fn(&Record<'_>, &mut String) -> Option<Printed>,
    ) -> Result<(), Rejection> {
        let note = |said: &mut Said, printed: &Printed| said.note(printed.price);
        let rows = self.0.get_or_init(|| by_point(table, read, (ROWS, |wall| wall), note));
        // Without an entry: the row is none of the table's own times, or there are too many to follow.
        let is_known = rows.len() < ROWS;
        let tells = match rows.get(&(key.to_owned(), wall)) {
            Some([first, second]) => match pass {
                Pass::First => first.tells(second),
                Pass::Second => second.tells(first),
            },
            None => is_known,
        };
        if tells { Ok(()) } else { Err(refused(key, wall)) }
    }
}

/// What the rows of repeated hours say, for each point with the time that `time_of` makes of theirs, and for each flag; of at most so many.
pub(super) fn by_point<T: Default>(
    table: &dyn Table,
    read: &dyn Fn(&Record<'_>, &mut String) -> Option<Printed>,
    (most, time_of): (usize, fn(Wall) -> Wall),
    note: fn(&mut T, &Printed),
) -> HashMap<(String, Wall), [T; 2]> {
    let (mut found, mut key) = (HashMap::<_, [T; 2]>::new(), String::new());
    // Rows that cannot be read are rejected when they are visited; so is the rest of a table that cannot be read.
    _ = table.for_each(&mut |_, record| {
        let Ok(record) = record else { return };
        let Some(printed) = read(&record, &mut key) else {
            return;
        };
        let place = match printed.pass {
            Some(Pass::First) => 0,
            Some(Pass::Second) => 1,
            None => return,
        };
        if is_repeated(printed.wall) && found.len() < most {
            let said = found.entry((key.clone(), time_of(printed.wall))).or_default();
            said.get_mut(place).into_iter().for_each(|said| note(said, &printed));
        }
    });
    found
}

impl Said {
    fn note(&mut self, price: Option<Decimal>) {
        if self.rows == 0 {
            self.price = price;
        }
        self.differ |= self.price != price;
        self.rows += 1;
    }

    /// Whether these rows stand for one pass, with those of the other flag.
    fn tells(&self, other: &Said) -> bool {
        self.rows <= 1 || !self.differ && other.rows > 0
    }
}

pub(super) fn is_repeated(wall: Wall) -> bool {
    matches!(CENTRAL.instants(wall), Instants::Twice(..))
}

#[cold]
fn refused(key: &str, wall: Wall) -> Rejection {
    let message = format!(
        "{} occurs twice on this day, and several rows of {} have it with the same flag, so nothing tells which pass is meant: set DSTFlag \
         (RepeatedHourFlag) to Y in the row of the second pass, and send the document again",
        clock::shown(wall),
        excerpt(key)
    );
    Rejection::new(RejectCode::AmbiguousTime, message)
}
