//! The elements of an OASIS report in XML, and their texts.

use quick_xml::events::BytesStart;

use super::markup::TEXTS;

/// An element that is read, or one that is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Root,
    Item,
    Row,
    Error,
    Text(Slot),
    Other,
}

/// An element whose text is read. Those of a row are the first, in the order of the texts of a markup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Item,
    Node,
    Day,
    Hour,
    Start,
    End,
    Value,
    Market,
    Seconds,
    Unit,
    ErrorCode,
    ErrorText,
}

impl Slot {
    pub(super) const COUNT: usize = Slot::ErrorText as usize + 1;

    pub(super) fn is_of_row(self) -> bool {
        (self as usize) < TEXTS
    }
}

impl Name {
    pub(super) fn of(element: &BytesStart<'_>) -> Name {
        match element.local_name().as_ref() {
            b"OASISReport" => Name::Root,
            b"REPORT_ITEM" => Name::Item,
            b"REPORT_DATA" => Name::Row,
            b"ERROR" => Name::Error,
            b"DATA_ITEM" => Name::Text(Slot::Item),
            b"RESOURCE_NAME" => Name::Text(Slot::Node),
            b"OPR_DATE" => Name::Text(Slot::Day),
            b"INTERVAL_NUM" => Name::Text(Slot::Hour),
            b"INTERVAL_START_GMT" => Name::Text(Slot::Start),
            b"INTERVAL_END_GMT" => Name::Text(Slot::End),
            b"VALUE" => Name::Text(Slot::Value),
            b"MKT_TYPE" => Name::Text(Slot::Market),
            b"SEC_PER_INTERVAL" => Name::Text(Slot::Seconds),
            b"UOM" => Name::Text(Slot::Unit),
            b"ERR_CODE" => Name::Text(Slot::ErrorCode),
            b"ERR_DESC" => Name::Text(Slot::ErrorText),
            _ => Name::Other,
        }
    }
}

/// The text of each element; the buffers are used again for the next row.
#[derive(Default)]
pub(super) struct Texts([String; Slot::COUNT]);

impl Texts {
    pub(super) fn slot(&mut self, slot: Slot) -> Option<&mut String> {
        self.0.get_mut(slot as usize)
    }

    /// Without the blanks around it.
    pub(super) fn of(&self, slot: Slot) -> &str {
        self.0.get(slot as usize).map_or("", |text| text.trim())
    }

    /// Those of a row, without the blanks around them.
    pub(super) fn of_row(&self) -> [&str; TEXTS] {
        std::array::from_fn(|at| self.0.get(at).map_or("", |text| text.trim()))
    }

    /// Sets those of a row.
    pub(super) fn set(&mut self, texts: &[&str; TEXTS]) {
        for (slot, text) in self.0.iter_mut().zip(texts) {
            slot.clear();
            slot.push_str(text);
        }
    }

    pub(super) fn clear_row(&mut self) {
        self.0.iter_mut().take(TEXTS).for_each(String::clear);
    }

    pub(super) fn clear(&mut self) {
        self.0.iter_mut().for_each(String::clear);
    }
}

/// The elements of a row or a header whose text is read.
#[derive(Default)]
pub(super) struct Problem {
    /// A bit for each slot that has an element.
    pub(super) elements: u16,
    pub(super) first: Option<String>,
}
