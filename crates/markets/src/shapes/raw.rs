//! The innermost object of shapes A and B: the tick in the words of its source.

use domain::{Decimal, Micros};

use crate::json::{Read, Reader, Token};
use crate::number;
use crate::rejection::{RejectCode, Rejection};
use crate::time;

/// `raw_data` of A, and the JSON inside `raw_payload` of B.
#[derive(Default)]
pub(super) struct RawData<'a> {
    pub instrument_id: Option<Token<'a>>,
    timestamp: Option<Token<'a>>,
    time: Option<Token<'a>>,
    price: Option<Token<'a>>,
    last_price: Option<Token<'a>>,
    value: Option<Token<'a>>,
    volume: Option<Token<'a>>,
    bid_price: Option<Token<'a>>,
    bid: Option<Token<'a>>,
    ask_price: Option<Token<'a>>,
    ask: Option<Token<'a>>,
    pub currency: Option<Token<'a>>,
    pub unit: Option<Token<'a>>,
    pub node: Option<Token<'a>>,
    pub zone: Option<Token<'a>>,
    pub hub: Option<Token<'a>>,
    pub market_status: Option<Token<'a>>,
    pub product: Option<Token<'a>>,
}

/// The numbers of a tick.
pub(super) struct Numbers {
    pub price: Decimal,
    pub volume: Option<Decimal>,
    pub bid: Option<Decimal>,
    pub ask: Option<Decimal>,
}

impl<'a> RawData<'a> {
    pub(super) fn field(&mut self, reader: &mut Reader<'a>, key: &str) -> Read<()> {
        let slot = match key {
            "instrument_id" => &mut self.instrument_id,
            "timestamp" => &mut self.timestamp,
            "time" => &mut self.time,
            "price" => &mut self.price,
            "last_price" => &mut self.last_price,
            "value" => &mut self.value,
            "volume" => &mut self.volume,
            "bid_price" => &mut self.bid_price,
            "bid" => &mut self.bid,
            "ask_price" => &mut self.ask_price,
            "ask" => &mut self.ask,
            "currency" => &mut self.currency,
            "unit" => &mut self.unit,
            "node" => &mut self.node,
            "zone" => &mut self.zone,
            "hub" => &mut self.hub,
            "market_status" => &mut self.market_status,
            "product" => &mut self.product,
            _ => return reader.skip(),
        };
        reader.put(slot)
    }

    /// `place` is the pointer of this object.
    pub(super) fn numbers(&self, place: &'static str) -> Result<Numbers, Rejection> {
        // Zero is a price: the first field that is present decides.
        let price = self.price.or(self.last_price).or(self.value).ok_or_else(|| {
            Rejection::new(
                RejectCode::MissingPrice,
                format!("{place} has none of price, last_price, value"),
            )
        })?;
        Ok(Numbers {
            price: number::decimal(price, RejectCode::InvalidPrice, "price")?,
            volume: number::optional(self.volume, "volume")?,
            bid: number::optional(self.bid_price.or(self.bid), "bid")?,
            ask: number::optional(self.ask_price.or(self.ask), "ask")?,
        })
    }

    /// `otherwise` is the time of the message around it, where that counts as the event's.
    pub(super) fn event_time(&self, otherwise: Option<Token<'_>>, place: &'static str) -> Result<Micros, Rejection> {
        let token = self.timestamp.or(self.time).or(otherwise).ok_or_else(|| {
            Rejection::new(
                RejectCode::MissingTime,
                format!("{place} has neither timestamp nor time"),
            )
        })?;
        time::parse(token, "event time")
    }
}
