//! Puts the components of CAISO's prices together.
//!
//! A price exists once its rows of LMP, energy, congestion and loss have been read; greenhouse gas is absent for some nodes
//! and in older reports. Its index is the place of its first row among all prices; rows that belong to no price follow.
//! Invariant: two different values of one component refuse the price; the same value again changes nothing.

use std::collections::HashMap;

use domain::{Decimal, Micros, QualityFlags};

use super::components::{COMPONENTS, Component, PRICE};
use crate::clock::{self, DAY, HOUR, Instants, MINUTE, PACIFIC, SECOND};
use crate::document::{Document, Names, Prices, Refused, Row, Spot, Visit, check_grid};
use crate::rejection::{RejectCode, Rejection, excerpt};
use crate::table::located;

/// A market run, and the product that its prices are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub names: &'static [&'static str],
    pub product: &'static str,
    pub interval: Micros,
}

/// No two have intervals of the same length.
pub(super) static RUNS: [Run; 3] = [
    Run {
        names: &["DAM"],
        product: "da",
        interval: HOUR,
    },
    Run {
        names: &["RTPD"],
        product: "rt15",
        interval: 15 * MINUTE,
    },
    Run {
        names: &["RTM", "RTD"],
        product: "rt5",
        interval: 5 * MINUTE,
    },
];

/// One row, with its texts as written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'r> {
    pub spot: Spot,
    pub node: &'r str,
    pub component: usize,
    pub run: &'static Run,
    pub start: Micros,
    pub end: Micros,
    /// Whether it is rounded, too. `None` if the row says that there is none. A value that cannot be read spoils its price only.
    pub value: &'r Result<(Option<Decimal>, bool), Rejection>,
}

/// The prices of a document.
///
/// Reports are sorted by node and component, so a row nearly always belongs to the node of the row before, and to the price
/// that follows the one of that row. Only other rows are looked up: in the prices of their node while those are in the order of
/// time, else in a map.
#[derive(Default)]
pub(super) struct Assembled {
    nodes: Vec<Node>,
    by_node: HashMap<String, usize>,
    /// Prices by node, start and length.
    by_key: HashMap<(usize, Micros, Micros), usize>,
    prices: Vec<Price>,
    refused: Refused,
    /// Node and component of the last row.
    last: Option<(usize, usize)>,
    /// Whether the document ends inside a row.
    ends_inside: bool,
}

struct Node {
    name: String,
    /// Its prices in the order of their first rows, as indices of all prices.
    prices: Vec<usize>,
    /// The place in them after that of the last row.
    next: usize,
    /// Whether they are in the order of time, and all of one run. Those of other nodes are in `by_key`, too.
    is_in_order: bool,
}

struct Price {
    node: usize,
    /// Its place among the prices of its node.
    place: usize,
    spot: Spot,
    start: Micros,
    run: &'static Run,
    components: [Component; COMPONENTS.len()],
    is_rounded: bool,
    problem: Option<Box<Rejection>>,
}

impl Assembled {
    /// Refuses a row that belongs to no price.
    pub(super) fn refuse(&mut self, rejection: Rejection) {
        self.refused.push(rejection);
    }

    /// Says that the document ends inside a row.
    pub(super) fn end_inside(&mut self) {
        self.ends_inside = true;
    }

    /// The node of which components may be missing that the whole document has, because it was cut. The rows of a node follow
    /// each other by component, greenhouse gas last, so only the last node can lack some.
    fn cut_node(&self) -> Option<usize> {
        let lacks_rows = |node: usize, component: usize| {
            let mut prices = self
                .prices
                .iter()
                .filter(|price| price.node == node && price.problem.is_none());
            // If the last row is one of greenhouse gas, the node has it in all its intervals.
            let needs_ghg = component + 1 == COMPONENTS.len();
            prices.any(|price| !price.is_complete() || needs_ghg && !price.has_ghg())
        };
        // A row that was refused explains an incomplete price too.
        let (node, component) = self.last?;
        let is_cut = self.ends_inside || (self.refused.count() == 0 && lacks_rows(node, component));
        is_cut.then_some(node)
    }

    /// Adds a row to its price.
    pub(super) fn add(&mut self, part: Part<'_>) {
        if part.end - part.start != part.run.interval {
            let message = format!(
                "the interval has {} s; those of {} have {} s",
                (part.end - part.start) / SECOND,
                part.run.names.first().copied().unwrap_or_default(),
                part.run.interval / SECOND
            );
            return self.refuse(located(part.spot, Rejection::new(RejectCode::InvalidTime, message)));
        }
        let node = self.node(part.node);
        self.last = Some((node, part.component));
        let index = self.price(node, &part);
        if let Some(price) = self.prices.get_mut(index) {
            price.add(part);
        }
    }

    /// The index of a node.
    fn node(&mut self, name: &str) -> usize {
        let is_it = |node: &usize| self.nodes.get(*node).is_some_and(|known| known.name == name);
        if let Some(node) = self.last.map(|(node, _)| node).filter(is_it) {
            return node;
        }
        if let Some(node) = self.by_node.get(name) {
            return *node;
        }
        // A day has 25 hours, and nodes have the same number of prices.
        let expected = self.nodes.last().map_or(0, |node| node.prices.len().min(32));
        self.nodes.push(Node {
            name: name.to_owned(),
            prices: Vec::with_capacity(expected),
            next: 0,
            is_in_order: true,
        });
        self.by_node.insert(name.to_owned(), self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    /// The index of the price that a row belongs to.
    fn price(&mut self, index: usize, part: &Part<'_>) -> usize {
        let Some(node) = self.nodes.get_mut(index) else {
            return usize::MAX;
        };
        let prices = &self.prices;
        let is_it = |at: &usize| prices.get(*at).is_some_and(|price| price.is_of(part));
        if let Some(at) = node.prices.get(node.next).copied().filter(is_it) {
            node.next += 1;
            return at;
        }
        let known = if node.is_in_order {
            let is_before = |at: &usize| prices.get(*at).is_some_and(|price| price.start < part.start);
            let place = node.prices.partition_point(is_before);
            node.prices.get(place).copied().filter(is_it)
        } else {
            self.by_key.get(&(index, part.start, part.run.interval)).copied()
        };
        if let Some(at) = known {
            node.next = prices.get(at).map_or(0, |price| price.place) + 1;
            return at;
        }
        self.new_price(index, part)
    }

    fn new_price(&mut self, index: usize, part: &Part<'_>) -> usize {
        let at = self.prices.len();
        let Some(node) = self.nodes.get_mut(index) else {
            return usize::MAX;
        };
        self.prices.push(Price {
            node: index,
            place: node.prices.len(),
            spot: part.spot,
            start: part.start,
            run: part.run,
            components: [Component::Unread; COMPONENTS.len()],
            is_rounded: false,
            problem: None,
        });
        let last = node.prices.last().and_then(|last| self.prices.get(*last));
        let follows = last.is_none_or(|last| last.start < part.start && last.run.interval == part.run.interval);
        node.prices.push(at);
        node.next = node.prices.len();
        if node.is_in_order && follows {
            return at;
        }
        // The first price out of order takes those before it along.
        let first = if node.is_in_order { 0 } else { node.prices.len() - 1 };
        node.is_in_order = false;
        for at in node.prices.iter().skip(first) {
            if let Some(price) = self.prices.get(*at) {
                self.by_key.insert((index, price.start, price.run.interval), *at);
            }
        }
        at
    }
}

impl Price {
    fn is_of(&self, part: &Part<'_>) -> bool {
        self.start == part.start && self.run.interval == part.run.interval
    }

    fn add(&mut self, part: Part<'_>) {
        let (name, _) = COMPONENTS.get(part.component).copied().unwrap_or_default();
        let mut refuse = |rejection| {
            self.problem
                .get_or_insert_with(|| Box::new(located(part.spot, rejection)));
        };
        match part.value {
            Err(rejection) => refuse(rejection.clone()),
            Ok((value, is_rounded)) => {
                self.is_rounded |= is_rounded;
                let read = value.map_or(Component::Absent, Component::Is);
                match self.components.get_mut(part.component) {
                    Some(other) if other.is_read() && *other != read => {
                        let [value, other] = [read, *other].map(Component::shown);
                        refuse(Rejection::new(
                            RejectCode::SchemaViolation,
                            format!("{name} is {value}, but an earlier row of the same interval has {other}"),
                        ));
                    }
                    Some(slot) => *slot = read,
                    None => {}
                }
            }
        }
    }

    fn is_complete(&self) -> bool {
        let needed = COMPONENTS.len() - 1;
        self.components.iter().take(needed).all(Component::is_read)
    }

    fn has_ghg(&self) -> bool {
        self.components.last().is_some_and(Component::is_read)
    }

    fn row<'r>(&self, nodes: &'r [Node], is_cut: bool) -> Result<Row<'r>, Rejection> {
        if let Some(problem) = &self.problem {
            return Err((**problem).clone());
        }
        let [price, energy, congestion, loss, ghg] = self.components.map(Component::value);
        let (Some(price), true) = (price, self.is_complete()) else {
            return Err(self.incomplete());
        };
        if !self.has_ghg() && is_cut {
            let message = "the document was cut, and the price has no row of MGHG before that";
            return Err(located(self.spot, Rejection::new(RejectCode::SchemaViolation, message)));
        }
        let node = nodes.get(self.node).map_or("", |node| node.name.as_str());
        let mut remarks = QualityFlags::NONE;
        check_grid(self.start, self.run.interval, &mut remarks);
        if self.is_rounded {
            remarks.insert(domain::QualityFlag::Rounded);
        }
        Ok(Row {
            spot: self.spot,
            market: None,
            node,
            key: node,
            zone: node.starts_with("DLAP_").then_some(node),
            hub: node.starts_with("TH_").then_some(node),
            product: self.run.product,
            start: self.start,
            end: self.start + self.run.interval,
            prices: Prices {
                price,
                energy,
                congestion,
                loss,
                ghg,
            },
            volume: None,
            version: None,
            remarks,
        })
    }

    #[cold]
    fn incomplete(&self) -> Rejection {
        // Greenhouse gas, the last one, may be absent.
        let missing: Vec<&str> = COMPONENTS
            .iter()
            .zip(&self.components)
            .take(COMPONENTS.len() - 1)
            .filter(|(_, value)| !value.is_read())
            .map(|((name, _), _)| *name)
            .collect();
        let code = if self.components.get(PRICE) == Some(&Component::Unread) {
            RejectCode::MissingPrice
        } else {
            RejectCode::SchemaViolation
        };
        let message = format!("the price that begins here has no row of {}", missing.join(", "));
        located(self.spot, Rejection::new(code, message))
    }
}

impl Document for Assembled {
    fn names(&self) -> Names {
        Names {
            time: "INTERVALSTARTTIME_GMT",
            node: "NODE",
        }
    }

    fn rows(&self) -> usize {
        self.prices.len() + self.refused.count()
    }

    fn is_bare(&self) -> bool {
        self.rows() == 0
    }

    fn has_no_row_twice(&self) -> bool {
        true
    }

    fn is_part(&self) -> bool {
        self.cut_node().is_some()
    }

    fn for_each(&self, _: Decimal, visit: &mut Visit<'_>) -> Result<(), Rejection> {
        let cut = self.cut_node();
        for (index, price) in self.prices.iter().enumerate() {
            visit(index, price.row(&self.nodes, cut == Some(price.node)));
        }
        self.refused.for_each(self.prices.len(), visit);
        Ok(())
    }
}

/// Checks that the operating hour, Pacific prevailing time, is that of a GMT interval. The second pass of the repeated hour
/// is hour 25. The names are those that the report has for day and hour.
pub(super) fn check_hour(
    start: Micros,
    day: Micros,
    hour: &str,
    [name_of_day, name_of_hour]: [&str; 2],
) -> Result<(), Rejection> {
    let wall = PACIFIC.wall(start);
    let expected = match PACIFIC.instants(wall) {
        Instants::Twice(_, second) if second == start => 25,
        _ => wall.rem_euclid(DAY) / HOUR + 1,
    };
    let midnight = wall - wall.rem_euclid(DAY);
    if day == midnight && hour.parse() == Ok(expected) {
        return Ok(());
    }
    let message = format!(
        "{name_of_day} and {name_of_hour} \"{}\" do not agree with the GMT interval, which is hour {expected} of {}",
        excerpt(hour),
        clock::shown(midnight)
    );
    Err(Rejection::new(RejectCode::InvalidTime, message))
}
