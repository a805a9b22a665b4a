//! The dispatch runs of ERCOT's repeated hours.
//!
//! Role: a flag tells the passes of such an hour apart, if the source sets it. Where it does not, the runs of both passes have one flag, and
//! those of the second one would be stored in the first. Runs hardly ever have the same second in both passes, so [`super::repeated`] does not
//! see them: here their order and their number do.
//! Invariants: rows of a point, hour and flag are refused if none of the point has the other flag in this hour, and their times turn back (a step
//! of half an hour against the direction of the others), or are more than one pass has. Runs of one pass in order are read.
//! Failure: `ambiguous_time`. Of more than [`POINTS`] points the later ones are not followed, and read as they are flagged.

use std::cell::OnceCell;
use std::collections::HashMap;

use super::repeated::{Printed, by_point};
use crate::clock::{self, HOUR, Pass, Wall};
use crate::rejection::{RejectCode, Rejection, excerpt};
use crate::table::{Record, Table};

/// Most points and hours that are followed, so that memory is bounded. The market has about 17,000 buses.
const POINTS: usize = 65_536;
/// A step that no two neighbouring runs make: they follow each other after about five minutes.
const TURN: i64 = HOUR / 2;
/// Runs of one pass: twelve, and some additional ones.
const MOST: usize = 18;

/// The runs of repeated hours. Known after the first such row; few documents have one.
#[derive(Debug, Default)]
pub(super) struct Runs(OnceCell<HashMap<(String, Wall), [Order; 2]>>);

/// The runs of one point, hour and flag, in the order of the document.
#[derive(Debug, Default)]
struct Order {
    count: usize,
    last: Option<Wall>,
    /// Whether a time is after, or before, the one printed before it.
    ascends: bool,
    descends: bool,
    turns: bool,
}

impl Runs {
    /// Checks that a row of a repeated hour belongs to one pass. `read` reads a row and writes its key; it gives nothing for a row that is
    /// refused for another reason.
    pub(super) fn check(
        &self,
        table: &dyn Table,
        (key, wall, pass): (&str, Wall, Pass),
        read: &dyn Fn(&Record<'_>, &mut String) -> Option<Printed>,
    ) -> Result<(), Rejection> {
        let note = |order: &mut Order, printed: &Printed| order.note(printed.wall);
        let orders = self.0.get_or_init(|| by_point(table, read, (POINTS, hour), note));
        let is_told = match orders.get(&(key.to_owned(), hour(wall))) {
            Some([first, second]) => match pass {
                Pass::First => first.is_one_pass() || second.count > 0,
                Pass::Second => second.is_one_pass() || first.count > 0,
            },
            None => true,
        };
        if is_told { Ok(()) } else { Err(refused(key, wall)) }
    }
}

impl Order {
    fn note(&mut self, wall: Wall) {
        let step = self.last.replace(wall).map_or(0, |last| wall - last);
        // A gap in the direction of the others is no turn.
        self.turns |= step <= -TURN && (self.ascends || !self.descends);
        self.turns |= step >= TURN && self.descends && !self.ascends;
        self.ascends |= (1..TURN).contains(&step);
        self.descends |= (1..TURN).contains(&-step);
        self.count += 1;
    }

    fn is_one_pass(&self) -> bool {
        !self.turns && self.count <= MOST
    }
}

fn hour(wall: Wall) -> Wall {
    wall - wall.rem_euclid(HOUR)
}

#[cold]
fn refused(key: &str, wall: Wall) -> Rejection {
    let message = format!(
        "{} occurs twice on this day, and the runs of both passes at {} have the same flag, so nothing tells which pass is meant: set \
         RepeatedHourFlag to Y in the rows of the second pass, and send the document again",
        clock::shown(wall),
        excerpt(key)
    );
    Rejection::new(RejectCode::AmbiguousTime, message)
}
