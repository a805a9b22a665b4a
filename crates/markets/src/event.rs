//! One tick as a producer stated it, read and checked: what shapes A, B and C have in common.

use domain::{Decimal, Kind, Micros, Origin, QualityFlags, Tick};

use crate::check;
use crate::json::Token;
use crate::message::RawMessage;
use crate::rejection::{RejectCode, Rejection};
use crate::text::Text;
use crate::venue::Venue;

/// A checked tick, still owning what escapes had to be undone for.
#[derive(Debug)]
pub(crate) struct Event<'a> {
    pub event_id: Text<'a>,
    pub correlation_id: Option<Text<'a>>,
    pub tenant_id: Text<'a>,
    pub instrument_id: Text<'a>,
    pub symbol: Option<Text<'a>>,
    pub venue: &'a Venue,
    pub product: &'static str,
    pub event_time: Micros,
    pub price: Decimal,
    pub volume: Option<Decimal>,
    pub bid: Option<Decimal>,
    pub ask: Option<Decimal>,
    pub currency: Option<Text<'a>>,
    pub unit: Option<Text<'a>>,
    pub node: Option<Text<'a>>,
    pub zone: Option<Text<'a>>,
    pub hub: Option<Text<'a>>,
    pub market_status: Option<Text<'a>>,
    pub source_system: Text<'a>,
    /// Who sent it, where the message says so beside its source system.
    pub producer: Option<Text<'a>>,
    pub sequence: Option<i64>,
}

impl Event<'_> {
    pub(crate) fn correlation_id(&self) -> &str {
        self.correlation_id
            .as_ref()
            .map_or(self.event_id.as_str(), Text::as_str)
    }

    /// Whose event ids they are.
    pub(crate) fn source(&self) -> &str {
        self.producer.as_ref().unwrap_or(&self.source_system).as_str()
    }

    /// The checks that need more than one field, or the log.
    pub(crate) fn check(&self, message: &RawMessage<'_>) -> Result<(), Rejection> {
        check::identifier(self.event_id.as_str(), "event_id")?;
        check::identifier(self.tenant_id.as_str(), "tenant_id")?;
        check::identifier(self.instrument_id.as_str(), "instrument_id")?;
        check::event_time(self.event_time, message.appended_at, "event time")?;
        check::volume(self.price, self.volume, "volume")
    }

    /// The tick, without quality flags.
    pub(crate) fn tick<'t>(&'t self, message: &RawMessage<'t>, now: Micros) -> Tick<'t> {
        let text = |text: &'t Option<Text<'_>>| text.as_ref().map(Text::as_str);
        Tick {
            origin: Origin {
                feed: message.feed,
                partition: message.partition,
                offset: message.offset,
                index: 0,
            },
            appended_at: message.appended_at,
            source_event_id: self.event_id.as_str(),
            correlation_id: self.correlation_id(),
            // The tick is caused by the raw event; what caused that one stays in the raw log.
            causation_id: Some(self.event_id.as_str()),
            tenant_id: self.tenant_id.as_str(),
            instrument_id: self.instrument_id.as_str(),
            symbol: text(&self.symbol),
            market: &self.venue.name,
            kind: kind_of(self.product),
            event_time: self.event_time,
            interval_end: None,
            price: self.price,
            volume: self.volume,
            bid: self.bid,
            ask: self.ask,
            energy: None,
            congestion: None,
            loss: None,
            ghg: None,
            currency: text(&self.currency).unwrap_or(&self.venue.currency),
            unit: text(&self.unit).unwrap_or(&self.venue.unit),
            node: text(&self.node),
            zone: text(&self.zone),
            hub: text(&self.hub),
            market_status: text(&self.market_status),
            product: self.product,
            version: None,
            source_system: self.source_system.as_str(),
            sequence: self.sequence,
            quality_flags: QualityFlags::NONE,
            normalized_at: now,
        }
    }
}

/// The product that a producer names, where it is one of ours; otherwise a trade.
pub(crate) fn product_of(token: Option<Token<'_>>) -> &'static str {
    const INTERVAL_PRODUCTS: [&str; 5] = ["rt5", "rt15", "rth", "da", "exante"];
    token
        .filter(|token| token.is_text())
        .and_then(|token| {
            INTERVAL_PRODUCTS
                .into_iter()
                .find(|product| product.eq_ignore_ascii_case(token.raw.trim_ascii()))
        })
        .unwrap_or("trade")
}

fn kind_of(product: &str) -> Kind {
    if product == "trade" {
        Kind::Trade
    } else {
        Kind::Interval
    }
}

/// Finds the market by name, in any case.
pub(crate) fn venue_of<'a>(venues: &'a [Venue], name: &str, place: &str) -> Result<&'a Venue, Rejection> {
    let name = name.trim_ascii();
    venues
        .iter()
        .find(|venue| venue.name.eq_ignore_ascii_case(name))
        .ok_or_else(|| {
            let known: Vec<&str> = venues.iter().map(|venue| venue.name.as_str()).collect();
            let shown: String = name.chars().take(60).collect();
            Rejection::new(
                RejectCode::UnknownMarket,
                format!("{place} is '{shown}'; known are {}", known.join(", ")),
            )
        })
}
