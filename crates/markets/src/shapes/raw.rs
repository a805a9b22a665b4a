//! The innermost object of shapes A and B: the tick in the source's own field names.

use domain::{Decimal, Micros, QualityFlags};

use super::Reading;
use crate::check;
use crate::event::{Event, product_of};
use crate::json::{Slot, Token, fields_are_slots};
use crate::number;
use crate::problems::Problems;
use crate::rejection::{Place, RejectCode, Rejection};
use crate::text::Text;
use crate::time;
use crate::venue::Venue;

/// `raw_data` of A, and the JSON inside `raw_payload` of B.
#[derive(Default)]
pub(super) struct RawData<'a> {
    pub instrument_id: Slot<'a>,
    timestamp: Slot<'a>,
    time: Slot<'a>,
    price: Slot<'a>,
    last_price: Slot<'a>,
    value: Slot<'a>,
    volume: Slot<'a>,
    bid_price: Slot<'a>,
    bid: Slot<'a>,
    ask_price: Slot<'a>,
    ask: Slot<'a>,
    pub currency: Slot<'a>,
    pub unit: Slot<'a>,
    pub node: Slot<'a>,
    pub zone: Slot<'a>,
    pub hub: Slot<'a>,
    pub market_status: Slot<'a>,
    pub product: Slot<'a>,
}

/// The values from the enclosing objects.
pub(super) struct Head<'a> {
    pub event_id: Text<'a>,
    pub correlation_id: Option<Text<'a>>,
    pub tenant_id: Text<'a>,
    pub instrument_id: Text<'a>,
    pub symbol: Option<Text<'a>>,
    pub venue: &'a Venue,
    pub source_system: Text<'a>,
    pub producer: Option<Text<'a>>,
    pub sequence: Option<i64>,
    /// The time of the message, if it is used as the event time; already read.
    pub time: Option<(Micros, Place)>,
}

fields_are_slots!(
    RawData,
    instrument_id,
    timestamp,
    time,
    price,
    last_price,
    value,
    volume,
    bid_price,
    bid,
    ask_price,
    ask,
    currency,
    unit,
    node,
    zone,
    hub,
    market_status,
    product,
);

impl<'a> RawData<'a> {
    /// The event. `parent` is the pointer of this object, including its trailing slash.
    pub(super) fn event<P: Problems>(
        &self,
        head: Head<'a>,
        parent: &'static str,
        reading: &Reading<'_, 'a>,
        problems: &mut P,
    ) -> Result<Event<'a>, Rejection> {
        let mut remarks = QualityFlags::NONE;
        let at = |field: &'static str| Place(parent, field);
        let product = product_of(self.product.get(), head.venue, at("product"));
        let product = problems.keep(product, Text::UNREAD)?;
        let (event_time, time_place) = self.event_time(head.time, parent, reading, problems)?;
        let appended_at = reading.message.appended_at;
        let checked = check::event_time(
            event_time,
            appended_at,
            (head.venue, product.as_str()),
            reading.max_future(),
            time_place,
        );
        problems.keep(checked, ())?;
        let price = problems.keep(self.price(parent, &mut remarks), Decimal::ZERO)?;
        let volume = self
            .volume
            .get()
            .map(|token| number::decimal(token, RejectCode::InvalidNumber, at("volume"), &mut remarks));
        let volume = problems.keep(volume.transpose(), None)?;
        problems.keep(check::volume(price, volume, at("volume")), ())?;
        let venues = &reading.config.venues;
        let checked = check::own_market(head.instrument_id.as_str(), head.venue, venues, "the instrument id");
        problems.keep(checked, ())?;
        Ok(Event {
            event_id: head.event_id,
            correlation_id: head.correlation_id,
            tenant_id: head.tenant_id,
            instrument_id: head.instrument_id,
            symbol: head.symbol,
            venue: head.venue,
            product,
            event_time,
            price,
            volume,
            bid: number::quote(self.bid_price.get().or(self.bid.get()), &mut remarks),
            ask: number::quote(self.ask_price.get().or(self.ask.get()), &mut remarks),
            currency: problems.keep(Text::label(self.currency.get(), at("currency")), None)?,
            unit: problems.keep(Text::label(self.unit.get(), at("unit")), None)?,
            node: problems.keep(Text::optional(self.node.get(), at("node")), None)?,
            zone: problems.keep(Text::optional(self.zone.get(), at("zone")), None)?,
            hub: problems.keep(Text::optional(self.hub.get(), at("hub")), None)?,
            market_status: problems.keep(Text::optional(self.market_status.get(), at("market_status")), None)?,
            source_system: head.source_system,
            producer: head.producer,
            sequence: head.sequence,
            remarks,
        })
    }

    // Zero is a valid price, so the first field present is used.
    fn price(&self, parent: &'static str, remarks: &mut QualityFlags) -> Result<Decimal, Rejection> {
        let fields = [
            ("price", self.price),
            ("last_price", self.last_price),
            ("value", self.value),
        ];
        let (token, place) = first(fields, parent).ok_or_else(|| {
            let message = format!("{parent}price is missing, and so are last_price and value (accepted: a number)");
            Rejection::new(RejectCode::MissingPrice, message)
        })?;
        number::decimal(token, RejectCode::InvalidPrice, place, remarks)
    }

    fn event_time<P: Problems>(
        &self,
        otherwise: Option<(Micros, Place)>,
        parent: &'static str,
        reading: &Reading<'_, 'a>,
        problems: &mut P,
    ) -> Result<(Micros, Place), Rejection> {
        let read = match (
            first([("timestamp", self.timestamp), ("time", self.time)], parent),
            otherwise,
        ) {
            (Some((token, place)), _) => time::parse(token, place).map(|time| (time, place)),
            (None, Some(time)) => Ok(time),
            (None, None) => Err(Rejection::new(
                RejectCode::MissingTime,
                format!("{parent}timestamp is missing, and so is time (accepted: ISO 8601, or a number since 1970)"),
            )),
        };
        // The append time is the substitute, so that time-dependent flags of the other values apply to the present.
        problems.keep(read, (reading.message.appended_at, Place(parent, "timestamp")))
    }
}

fn first<'a, const N: usize>(
    fields: [(&'static str, Slot<'a>); N],
    parent: &'static str,
) -> Option<(Token<'a>, Place)> {
    fields
        .into_iter()
        .find_map(|(name, slot)| slot.get().map(|token| (token, Place(parent, name))))
}
