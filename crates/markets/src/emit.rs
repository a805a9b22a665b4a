//! From the rows of a document to ticks.
//!
//! Invariant: every row ends as a tick or as a rejected row with its index (INV-5), in the order of the document.

use domain::instrument::write_instrument_id;
use domain::{Kind, Micros, Origin, QualityFlags, RowRanges, Tick};

use crate::check;
use crate::contract::SETTLEMENT;
use crate::contradictions::{self, Stated};
use crate::document::{At, Row};
use crate::event::venue_of;
use crate::message::RawMessage;
use crate::normalizer::{NormalizerConfig, Opened};
use crate::quality::{self, Earlier};
use crate::rejection::{RejectedRows, Rejection};
use crate::table::located;
use crate::venue::Venue;

/// The market status of the prices of a document that is not its whole set, so that completeness does not count on it.
const PART: &str = "part";

/// The instrument id of the last row. Rows of one node often follow each other.
#[derive(Default)]
struct InstrumentId {
    /// Empty, which no id is, if the last row had none.
    text: String,
    /// Of the text.
    hash: u64,
    key: String,
    product: &'static str,
    market: Option<&'static str>,
}

impl InstrumentId {
    /// That of this row, and its hash; `node` is the name of the column that its key is from.
    fn of(&mut self, row: &Row<'_>, venue: &Venue, node: &'static str) -> Result<(&str, u64), Rejection> {
        let is_same = self.key == row.key && self.product == row.product && self.market == row.market;
        if is_same && !self.text.is_empty() {
            return Ok((&self.text, self.hash));
        }
        write_instrument_id(&venue.name, row.key, row.product, &mut self.text);
        // Ids have the product in upper case.
        let product = self.text.len().saturating_sub(row.product.len());
        if let Some(product) = self.text.get_mut(product..) {
            product.make_ascii_uppercase();
        }
        if let Err(rejection) = check::identifier(&self.text, format_args!("{node} as an instrument id")) {
            self.text.clear();
            return Err(rejection);
        }
        self.key.clear();
        self.key.push_str(row.key);
        (self.product, self.market) = (row.product, row.market);
        self.hash = contradictions::hash_of(&self.text);
        Ok((&self.text, self.hash))
    }
}

/// Emits the rows of one document.
pub(crate) struct Rows<'s, 'd> {
    pub message: RawMessage<'s>,
    pub config: &'s NormalizerConfig,
    pub opened: &'d Opened<'s>,
    pub now: Micros,
}

impl Rows<'_, '_> {
    pub(crate) fn emit(
        &self,
        selected: Option<&RowRanges>,
        mut earlier: Option<Earlier<'_>>,
        stated: &mut Stated,
        emit: &mut dyn FnMut(&Tick<'_>),
    ) -> RejectedRows {
        let document = self.opened.document.as_ref();
        let names = document.names();
        let mut rejected = RejectedRows::default();
        let mut instrument_id = InstrumentId::default();
        let is_selected = |number| selected.is_none_or(|rows| rows.contains(number));
        let is_compared = !document.has_no_row_twice();
        stated.clear();
        let mut next = 0;
        // A replay also reads every row, because the flags of a row may depend on earlier ones.
        let read = document.for_each(self.config.quality.component_tolerance, &mut |index, row| {
            let Ok(number) = i32::try_from(index) else { return };
            next = number.saturating_add(1);
            let emitted = row.and_then(|row| {
                let venue = self.venue(&row).map_err(|rejection| located(row.spot, rejection))?;
                self.check_time(&row, venue, names.time)?;
                let (instrument_id, hash) = instrument_id.of(&row, venue, names.node)?;
                // A settlement that is published again in one file is a correction.
                if is_compared && row.product != SETTLEMENT {
                    stated.check((instrument_id, hash), &row)?;
                }
                if is_selected(number) {
                    let mut tick = self.tick(&row, venue, instrument_id, number);
                    let settings = &self.config.quality;
                    let found = quality::findings(settings, venue, &tick, row.remarks);
                    if let Some(rejection) = quality::refusal(settings, found) {
                        return Err(located(row.spot, rejection));
                    }
                    tick.quality_flags = quality::flags(settings, &tick, found, earlier.as_mut());
                    emit(&tick);
                }
                Ok(())
            });
            if let (Err(rejection), true) = (emitted, is_selected(number)) {
                rejected.push(number, rejection);
            }
        });
        // Checked when the document was opened. Should it happen, unread rows count as rejected (INV-5).
        if let Err(rejection) = read {
            let all = i32::try_from(document.rows()).unwrap_or(i32::MAX);
            (next..all)
                .filter(|number| is_selected(*number))
                .for_each(|number| rejected.push(number, rejection.clone()));
        }
        rejected
    }

    /// The market that the row names, else that of the document.
    fn venue(&self, row: &Row<'_>) -> Result<&Venue, Rejection> {
        match (row.market, self.opened.venue) {
            (None, Some(venue)) => Ok(venue),
            (market, _) => venue_of(&self.config.venues, market.unwrap_or_default(), "the market of the row"),
        }
    }

    fn check_time(&self, row: &Row<'_>, venue: &Venue, name: &'static str) -> Result<(), Rejection> {
        check::event_time(
            row.start,
            self.message.appended_at,
            (venue, row.product),
            self.config.quality.max_future,
            At(row.spot, name),
        )
    }

    fn tick<'t>(&'t self, row: &'t Row<'_>, venue: &'t Venue, instrument_id: &'t str, index: i32) -> Tick<'t> {
        Tick {
            origin: Origin {
                feed: self.message.feed,
                partition: self.message.partition,
                offset: self.message.offset,
                index,
            },
            appended_at: self.message.appended_at,
            source_event_id: &self.opened.event_id,
            correlation_id: &self.opened.event_id,
            causation_id: Some(&self.opened.event_id),
            tenant_id: self.opened.tenant_id,
            instrument_id,
            symbol: None,
            market: &venue.name,
            kind: Kind::Interval,
            event_time: row.start,
            interval_end: Some(row.end),
            price: row.prices.price,
            volume: row.volume,
            bid: None,
            ask: None,
            energy: row.prices.energy,
            congestion: row.prices.congestion,
            loss: row.prices.loss,
            ghg: row.prices.ghg,
            currency: &venue.currency,
            unit: &venue.unit,
            node: Some(row.node),
            zone: row.zone,
            hub: row.hub,
            market_status: self.opened.is_part.then_some(PART),
            product: row.product,
            version: row.version,
            source_system: self.opened.format,
            sequence: None,
            quality_flags: QualityFlags::NONE,
            normalized_at: self.now,
        }
    }
}
