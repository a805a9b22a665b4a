//! One tick as a producer sent it, read and checked: the common part of shapes A, B and C.

use std::fmt::Display;

use domain::{Decimal, Kind, Micros, Origin, QualityFlags, Tick};

use crate::json::Token;
use crate::message::RawMessage;
use crate::rejection::{RejectCode, Rejection, excerpt};
use crate::text::Text;
use crate::venue::Venue;

/// A checked tick. It owns only the texts that had escapes.
#[derive(Debug)]
pub(crate) struct Event<'a> {
    pub event_id: Text<'a>,
    pub correlation_id: Option<Text<'a>>,
    pub tenant_id: Text<'a>,
    pub instrument_id: Text<'a>,
    pub symbol: Option<Text<'a>>,
    pub venue: &'a Venue,
    pub product: Text<'a>,
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
    /// The producer, if the message names one in addition to the source system.
    pub producer: Option<Text<'a>>,
    pub sequence: Option<i64>,
    /// Quality flags found while reading.
    pub remarks: QualityFlags,
}

impl Event<'_> {
    pub(crate) fn correlation_id(&self) -> &str {
        self.correlation_id
            .as_ref()
            .map_or(self.event_id.as_str(), Text::as_str)
    }

    /// The namespace of the event id.
    pub(crate) fn source(&self) -> &str {
        self.producer.as_ref().unwrap_or(&self.source_system).as_str()
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
            // The raw event caused the tick. The cause of the raw event is only in the raw log.
            causation_id: Some(self.event_id.as_str()),
            tenant_id: self.tenant_id.as_str(),
            instrument_id: self.instrument_id.as_str(),
            symbol: text(&self.symbol),
            market: &self.venue.name,
            kind: kind_of(self.product.as_str()),
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
            product: self.product.as_str(),
            version: None,
            source_system: self.source_system.as_str(),
            sequence: self.sequence,
            quality_flags: QualityFlags::NONE,
            normalized_at: now,
        }
    }
}

/// The product of a tick that names none.
pub(crate) const TRADE: &str = "trade";
/// The product of gas hubs, whose ids have it, too.
const SPOT: &str = "spot";
/// Products whose prices apply to intervals.
const INTERVAL_PRODUCTS: [&str; 5] = ["rt5", "rt15", "rth", "da", "exante"];

/// The product that a producer names. Known products are recognized in any case, with `_`, `-` or a space inside, and by
/// their long names. Any other name is kept unchanged.
///
/// # Errors
/// As [`Text::label`].
pub(crate) fn product_of<'a>(
    token: Option<Token<'a>>,
    venue: &'a Venue,
    place: impl Display + Copy,
) -> Result<Text<'a>, Rejection> {
    let Some(named) = Text::label(token, place)? else {
        return Ok(Text::from(TRADE));
    };
    // Fast path: nearly every name has its canonical spelling.
    let known = INTERVAL_PRODUCTS
        .into_iter()
        .chain([TRADE])
        .find(|product| *product == named.as_str())
        .or_else(|| known_product(named.as_str(), venue));
    Ok(known.map_or(named, Text::from))
}

fn known_product<'a>(name: &str, venue: &'a Venue) -> Option<&'a str> {
    let is = |known: &str| {
        let letters = name.bytes().filter(|byte| !matches!(byte, b'_' | b'-' | b' '));
        letters.map(|byte| byte.to_ascii_lowercase()).eq(known.bytes())
    };
    if is("dayahead") {
        return Some("da");
    }
    if is("realtime") {
        return venue.real_time_product.as_deref();
    }
    INTERVAL_PRODUCTS.into_iter().chain([TRADE]).find(|product| is(product))
}

/// Whether the last part of an instrument id is the name of a product in upper case, as ids have it, but not of this one.
pub(crate) fn names_another_product(suffix: &str, product: &str) -> bool {
    let is = |known: &str| {
        let letters = known.bytes().map(|byte| byte.to_ascii_uppercase());
        letters.eq(suffix.bytes())
    };
    !is(product) && INTERVAL_PRODUCTS.into_iter().chain([SPOT]).any(is)
}

fn kind_of(product: &str) -> Kind {
    if INTERVAL_PRODUCTS.contains(&product) {
        Kind::Interval
    } else {
        Kind::Trade
    }
}

/// Finds the market by name, in any case.
pub(crate) fn venue_of<'a>(venues: &'a [Venue], name: &str, place: impl Display) -> Result<&'a Venue, Rejection> {
    // Nearly every message spells the name as it is configured.
    if let Some(venue) = venues.iter().find(|venue| venue.name == name) {
        return Ok(venue);
    }
    let name = name.trim();
    venues
        .iter()
        .find(|venue| venue.name.eq_ignore_ascii_case(name))
        .ok_or_else(|| {
            let known: Vec<&str> = venues.iter().map(|venue| venue.name.as_str()).collect();
            Rejection::new(
                RejectCode::UnknownMarket,
                format!("{place} is '{}'; known markets are {}", excerpt(name), known.join(", ")),
            )
        })
}
