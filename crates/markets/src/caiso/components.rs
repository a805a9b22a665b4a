//! The components of CAISO's prices: their names, and what is known of each.

use domain::Decimal;

/// The component of a row; the order is that of a price's components.
pub(super) const COMPONENTS: [(&str, &str); 5] = [
    ("LMP", "LMP_PRC"),
    ("MCE", "LMP_ENE_PRC"),
    ("MCC", "LMP_CONG_PRC"),
    ("MCL", "LMP_LOSS_PRC"),
    ("MGHG", "LMP_GHG_PRC"),
];

/// The index of the price itself.
pub(super) const PRICE: usize = 0;

/// Index of a component by its short name or the name of its data item. `likely`, that of the row before, is tried first.
pub(super) fn component(name: &str, likely: usize) -> Option<usize> {
    let is_it = |(short, item): &(&str, &str)| short.eq_ignore_ascii_case(name) || item.eq_ignore_ascii_case(name);
    let as_written = |(short, item): &(&str, &str)| *item == name || *short == name;
    if COMPONENTS.get(likely).is_some_and(as_written) {
        return Some(likely);
    }
    COMPONENTS.iter().position(is_it)
}

/// A component of a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Component {
    /// No row of it has been read.
    Unread,
    /// Its row says that there is none.
    Absent,
    Is(Decimal),
}

impl Component {
    pub(super) fn value(self) -> Option<Decimal> {
        match self {
            Component::Is(value) => Some(value),
            Component::Unread | Component::Absent => None,
        }
    }

    pub(super) fn is_read(&self) -> bool {
        *self != Component::Unread
    }

    /// For a message.
    pub(super) fn shown(self) -> String {
        let value = self.value();
        value.map_or_else(|| "no value".to_owned(), |value| value.to_string())
    }
}
