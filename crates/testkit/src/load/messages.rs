//! The messages of a load: pure, and counted while they are made.

use std::collections::VecDeque;

use super::hostile;
use super::{Ledger, LoadPlan};
use crate::random::Random;

/// Markets and the instruments of each.
const MARKETS: [&str; 4] = ["MISO", "CAISO", "PJM", "ERCOT"];
const INSTRUMENTS: u64 = 12;
/// Takes event ids that the first tenant has too.
const OTHER_TENANT: &str = "second";
/// A repetition repeats one of so many messages, so within a second or two: far inside the event-id window.
const RECENT: usize = 200;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Made {
    pub key: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    pub headers: Vec<(&'static str, Option<Vec<u8>>)>,
}

/// What a message says, whenever it is sent.
#[derive(Debug, Clone)]
struct Said {
    event: String,
    tenant: &'static str,
    market: &'static str,
    instrument: String,
    time: i64,
    /// Hundredths; `None` is poison.
    price: Option<i64>,
    volume: u64,
    sequence: u64,
    is_flat: bool,
    /// No other tenant and no other facts take its id any more.
    is_settled: bool,
}

impl Said {
    /// The message as it is sent now: a retry of a producer differs in its transport fields.
    fn sent_at(&self, now: i64) -> Made {
        let price = self.price.map_or("\"n/a\"".to_owned(), |price| {
            let sign = if price < 0 { "-" } else { "" };
            format!("{sign}{}.{:02}", price.abs() / 100, price.abs() % 100)
        });
        // Milliseconds since 1970 are one of the forms of a time.
        let tick = format!(
            "{{\"timestamp\":{},\"price\":{price},\"volume\":{}.{:02}}}",
            self.time,
            self.volume / 100,
            self.volume % 100
        );
        let Said {
            event,
            tenant,
            market,
            instrument,
            sequence,
            ..
        } = self;
        let payload = if self.is_flat {
            let raw = tick.replace('"', "\\\"");
            format!(
                "{{\"event_id\":\"{event}\",\"trace_id\":null,\"schema_version\":\"1.0.0\",\"tenant_id\":\"{tenant}\",\
                 \"producer\":\"load\",\"published_at\":{now}000,\"occurred_at\":{now}000,\"ingested_at\":{now}000,\
                 \"payload\":{{\"source_system\":\"load\",\"market\":\"{market}\",\"symbol\":\"{instrument}\",\
                 \"sequence\":{sequence},\"received_at\":{now}000,\"raw_payload\":\"{raw}\",\
                 \"metadata\":{{\"instrument_id\":\"{instrument}\"}}}}}}"
            )
        } else {
            format!(
                "{{\"envelope\":{{\"event_type\":\"market.tick\",\"event_id\":\"{event}\",\"timestamp\":\"{now}\",\
                 \"tenant_id\":\"{tenant}\",\"source\":\"load\",\"version\":\"1.0\",\"correlation_id\":\"c-{now}\"}},\
                 \"payload\":{{\"market\":\"{market}\",\"instrument_id\":\"{instrument}\",\"raw_data\":{tick}}}}}"
            )
        };
        Made {
            key: Some(instrument.clone().into_bytes()),
            payload: Some(payload.into_bytes()),
            headers: Vec::new(),
        }
    }
}

/// Makes messages; pure.
#[derive(Debug)]
pub(super) struct Maker {
    plan: LoadPlan,
    random: Random,
    ledger: Ledger,
    recent: VecDeque<(Said, Made)>,
}

impl Maker {
    pub(super) fn new(plan: LoadPlan) -> Maker {
        Maker {
            random: Random::new(plan.seed ^ (u64::from(plan.session) << 40)),
            plan,
            ledger: Ledger::default(),
            recent: VecDeque::new(),
        }
    }

    /// The next message; `now` in milliseconds since 1970.
    pub(super) fn next(&mut self, now: i64) -> Made {
        self.ledger.messages += 1;
        let chance = self.random.below(1000);
        if chance < 30
            && let Some((said, made)) = self.chosen().cloned()
        {
            self.ledger.repeated += 1;
            // The same bytes, or the retry of a producer that has written the message anew.
            return if chance < 15 { made } else { said.sent_at(now) };
        }
        if chance < 35 {
            self.ledger.poison += 1;
            let said = self.say(now);
            return match self.random.below(3) {
                0 => Said { price: None, ..said }.sent_at(now),
                _ => hostile::spoiled(&mut self.random, said.sent_at(now)),
            };
        }
        self.ledger.ticks += 1;
        let said = match chance {
            35..55 => self.say_under_the_same_id(chance < 45),
            _ => None,
        };
        let said = said.unwrap_or_else(|| self.say(now));
        let made = said.sent_at(now);
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((said, made.clone()));
        made
    }

    pub(super) fn plan(&self) -> &LoadPlan {
        &self.plan
    }

    pub(super) fn ledger(&self) -> Ledger {
        self.ledger
    }

    /// Nothing that was made so far is repeated any more.
    pub(super) fn forget_recent(&mut self) {
        self.recent.clear();
    }

    fn chosen(&mut self) -> Option<&mut (Said, Made)> {
        let chosen = self.random.below(self.recent.len().max(1) as u64) as usize;
        self.recent.get_mut(chosen)
    }

    /// The id of an earlier message for another tenant, or for another price.
    fn say_under_the_same_id(&mut self, for_another_tenant: bool) -> Option<Said> {
        let (first, _) = self.chosen().filter(|(said, _)| !said.is_settled)?;
        first.is_settled = true;
        let mut said = first.clone();
        if for_another_tenant {
            said.tenant = OTHER_TENANT;
        } else {
            said.price = said.price.map(|price| price + 1);
            self.ledger.reused_ids += 1;
        }
        Some(said)
    }

    fn say(&mut self, now: i64) -> Said {
        let number = self.random.below(INSTRUMENTS * MARKETS.len() as u64);
        let market = MARKETS
            .get((number % MARKETS.len() as u64) as usize)
            .copied()
            .unwrap_or("MISO");
        let (price, volume) = (self.random.below(20_000) as i64 - 1_000, self.random.below(50_000));
        let late = match self.random.below(100) {
            0 | 1 => 60_000 * self.random.below(50) as i64 + 600_000,
            2 => 3_600_000 * self.random.below(30) as i64 + 3_600_000,
            _ => self.random.below(1_500) as i64,
        };
        Said {
            event: format!("f-{:x}-{}-{}", self.plan.seed, self.plan.session, self.ledger.messages),
            tenant: "default",
            market,
            instrument: format!("{market}.FAULT.HUB{:02}", number / MARKETS.len() as u64),
            time: now - late,
            price: Some(price),
            volume,
            sequence: self.ledger.messages,
            is_flat: self.random.below(2) == 0,
            is_settled: false,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::expect::Expected;
    use crate::kafka::Record;
    use crate::parse::Parser;

    #[test]
    fn the_ledger_agrees_with_what_a_reader_of_the_log_counts() {
        let schema = include_str!("../../../../schemas/avro/raw_market_tick.avsc");
        let parser = Parser::new(schema, "default").unwrap();
        let mut maker = Maker::new(LoadPlan {
            topic: "raw".to_owned(),
            seed: 7,
            session: 1,
            rate: 1,
        });
        let now = 1_790_000_000_000;
        let records: Vec<Record> = (0..5_000)
            .map(|offset| {
                let made = maker.next(now + offset);
                Record {
                    topic: "raw".to_owned(),
                    partition: 0,
                    offset,
                    timestamp: now + offset,
                    key: made.key,
                    payload: made.payload.unwrap_or_default(),
                    headers: made
                        .headers
                        .into_iter()
                        .map(|(name, value)| (name.to_owned(), value.unwrap_or_default()))
                        .collect(),
                }
            })
            .collect();
        let expected = Expected::of(&records, Vec::new(), &parser);
        let ledger = maker.ledger;
        assert_eq!(expected.messages, ledger.messages);
        assert_eq!(expected.ticks.len() as u64, ledger.ticks);
        assert_eq!(expected.repeated, ledger.repeated);
        let reused = expected.ticks.iter().filter(|tick| tick.reused_id).count();
        assert_eq!(reused as u64, ledger.reused_ids);
        assert!(ledger.reused_ids > 20);
        assert!(expected.ticks.iter().any(|tick| tick.tenant == OTHER_TENANT));
        assert_eq!(expected.dead_letters.len() as u64, ledger.poison);
        assert!(ledger.repeated > 50 && ledger.poison > 5, "{ledger:?}");
    }
}
