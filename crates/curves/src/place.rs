//! Where a price comes from, kept longer than its message.

use std::sync::Arc;

use domain::Origin;

use crate::texts::Texts;

/// An [`Origin`] that shares the text of its feed with others; ordered as it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    feed: Arc<str>,
    partition: i32,
    offset: i64,
    index: i32,
}

impl Place {
    pub(crate) fn of(origin: &Origin<'_>, texts: &mut Texts) -> Place {
        Place {
            feed: texts.kept(origin.feed),
            partition: origin.partition,
            offset: origin.offset,
            index: origin.index,
        }
    }

    pub(crate) fn origin(&self) -> Origin<'_> {
        Origin {
            feed: &self.feed,
            partition: self.partition,
            offset: self.offset,
            index: self.index,
        }
    }
}
