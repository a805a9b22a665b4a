//! Creates and counts the messages of a load. Pure.

use std::collections::VecDeque;

use super::quotes::{Quoted, Quotes};
use super::said::{Made, Said};
use super::times::Prices;
use super::{Ledger, LoadPlan, hostile};
use crate::documents::{Document, Documents, Kind};
use fastrand::Rng;

/// Uses event ids of the first tenant.
const OTHER_TENANT: &str = "second";
/// A repetition repeats one of the last messages, so it is at most seconds old and well inside the event-id window.
const RECENT: usize = 200;

/// Creates messages.
#[derive(Debug)]
pub(super) struct Maker {
    plan: LoadPlan,
    random: Rng,
    ledger: Ledger,
    recent: VecDeque<(Said, Made)>,
    prices: Prices,
    /// If the plan wants them. Documents have a random source of their own, so that the other messages are the same without them.
    documents: Option<Documents>,
    /// The same of quotes.
    quotes: Option<Quotes>,
}

impl Maker {
    pub(super) fn new(plan: LoadPlan) -> Maker {
        Maker {
            random: Rng::with_seed(plan.seed ^ (u64::from(plan.session) << 40)),
            documents: plan.extras.then(|| Documents::new(plan.seed, plan.session)),
            quotes: plan.extras.then(|| Quotes::new(plan.seed, plan.session)),
            plan,
            ledger: Ledger::default(),
            recent: VecDeque::new(),
            prices: Prices::default(),
        }
    }

    /// The next message; `now` in milliseconds since 1970.
    pub(super) fn next(&mut self, now: i64) -> Made {
        self.ledger.messages += 1;
        // Before the documents, so that the seed makes the same documents with and without quotes.
        if let Some(quoted) = self.quotes.as_mut().and_then(|quotes| quotes.due(now)) {
            return self.counted_quote(quoted);
        }
        if let Some(document) = self.documents.as_mut().and_then(|documents| documents.due(now)) {
            return self.counted(document);
        }
        let chance = self.random.u64(..1000);
        if chance < 30
            && let Some((said, made)) = self.chosen().cloned()
        {
            self.ledger.repeated += 1;
            // The same bytes, or the retry of a producer that has encoded the message again.
            return if chance < 15 { made } else { said.sent_at(now) };
        }
        if chance < 35 {
            self.ledger.poison += 1;
            let said = self.say(now);
            return match self.random.u64(..3) {
                0 => Said { price: None, ..said }.sent_at(now),
                _ => hostile::spoiled(&mut self.random, said.sent_at(now), now),
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

    fn counted_quote(&mut self, quoted: Quoted) -> Made {
        match quoted.is_again {
            true => self.ledger.repeated += 1,
            false => {
                self.ledger.quotes += 1;
                self.ledger.ticks += 1;
            }
        }
        quoted.message
    }

    fn counted(&mut self, document: Document) -> Made {
        match document.kind {
            Kind::Again => self.ledger.repeated += 1,
            Kind::Broken => self.ledger.poison += 1,
            _ => {
                self.ledger.documents += 1;
                self.ledger.ticks += document.good;
                self.ledger.rejected_rows += document.bad;
                self.ledger.poison += document.bad.min(1);
            }
        }
        Made {
            key: Some(document.key.into_bytes()),
            payload: Some(document.payload),
            headers: vec![("dp.format", Some(document.format.into()))],
            partition: None,
        }
    }

    pub(super) fn plan(&self) -> &LoadPlan {
        &self.plan
    }

    pub(super) fn ledger(&self) -> Ledger {
        self.ledger
    }

    /// Earlier messages are not repeated any more.
    pub(super) fn forget_recent(&mut self) {
        self.recent.clear();
        self.documents.iter_mut().for_each(Documents::forget_recent);
        self.quotes.iter_mut().for_each(Quotes::forget_recent);
    }

    fn chosen(&mut self) -> Option<&mut (Said, Made)> {
        let chosen = self.random.usize(..self.recent.len().max(1));
        self.recent.get_mut(chosen)
    }

    /// A message with the event id of an earlier one, but another tenant or another price.
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
        let what = self.prices.next(&mut self.random, now);
        let volume = self.random.u64(..50_000);
        Said {
            event: format!("f-{:x}-{}-{}", self.plan.seed, self.plan.session, self.ledger.messages),
            tenant: "default",
            price: Some(what.cents),
            what,
            volume,
            sequence: self.random.u64(..8),
            is_flat: self.random.bool(),
            is_settled: false,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::expect::Expected;
    use crate::kafka::Record;
    use crate::parse::Parser;

    fn plan(seed: u64, extras: bool) -> LoadPlan {
        LoadPlan {
            topic: "raw".to_owned(),
            seed,
            session: 1,
            rate: 1,
            extras,
        }
    }

    /// The ledger of this many messages, and what the oracle expects of them.
    fn followed(plan: LoadPlan, count: i64) -> (Ledger, Expected) {
        let schema = include_str!("../../../../schemas/avro/raw_market_tick.avsc");
        let parser = Parser::new(schema, "default").unwrap();
        let mut maker = Maker::new(plan);
        let now = 1_790_000_000_000;
        let records: Vec<Record> = (0..count)
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
        (maker.ledger, Expected::of(&records, Vec::new(), &parser))
    }

    #[test]
    fn the_ledger_agrees_with_what_a_reader_of_the_log_counts() {
        for extras in [false, true] {
            let (ledger, expected) = followed(plan(7, extras), 40_000);
            assert_eq!(expected.messages, ledger.messages);
            assert_eq!(expected.ticks.len() as u64, ledger.ticks);
            assert_eq!(expected.repeated, ledger.repeated);
            assert_eq!(expected.documents, ledger.documents);
            assert_eq!(expected.rejected_rows, ledger.rejected_rows);
            assert_eq!(expected.quotes(), ledger.quotes);
            let reused = expected.ticks.iter().filter(|tick| tick.reused_id).count();
            assert_eq!(reused as u64, ledger.reused_ids);
            assert!(ledger.reused_ids > 20);
            assert!(expected.ticks.iter().any(|tick| tick.tenant == OTHER_TENANT));
            assert_eq!(expected.dead_letters.len() as u64, ledger.poison);
            assert!(ledger.repeated > 50 && ledger.poison > 5, "{ledger:?}");
            assert!(expected.dead_letters.values().any(|code| code == "future_time"));
            let has_documents = ledger.documents > 100 && ledger.rejected_rows > 10;
            assert_eq!(has_documents, extras, "{ledger:?}");
            assert_eq!(ledger.quotes > 200, extras, "{ledger:?}");
        }
    }

    #[test]
    fn documents_change_no_other_message_and_quotes_change_no_document() {
        let (mut without, mut with) = (Maker::new(plan(5, false)), Maker::new(plan(5, true)));
        let mut without_quotes = Maker {
            quotes: None,
            ..Maker::new(plan(5, true))
        };
        let is_document = |made: &Made| made.headers.iter().any(|(name, _)| *name == "dp.format");
        let is_quote = |made: &Made| {
            made.key
                .as_deref()
                .is_some_and(|key| key.windows(12).any(|part| part == b".SETTLEMENT-"))
        };
        let others = std::iter::repeat_with(|| with.next(1_790_000_000_000)).filter(|made| !is_quote(made));
        // Event ids contain the number of the message, so the bytes differ.
        for other in others.take(2_000) {
            let same = without_quotes.next(1_790_000_000_000);
            assert_eq!((&other.key, other.partition), (&same.key, same.partition));
            if is_document(&other) {
                assert_eq!(other.payload, same.payload);
                continue;
            }
            let alone = without.next(1_790_000_000_000);
            assert_eq!((other.key, other.partition), (alone.key, alone.partition));
        }
    }

    #[test]
    fn the_load_contains_every_kind_of_time() {
        let mut maker = Maker::new(plan(11, false));
        let (now, minute) = (1_790_000_000_000, 60_000);
        let mut said: Vec<Said> = Vec::new();
        for _ in 0..5_000 {
            said.push(maker.say(now));
        }
        let count = |is: &dyn Fn(&Said) -> bool| said.iter().filter(|one| is(one)).count();
        assert!(
            count(&|one| one.what.time < now - 2 * 365 * 24 * 60 * minute) > 50,
            "years old"
        );
        assert!(
            count(&|one| one.what.time == now - 10 * minute) > 50,
            "ten minutes late"
        );
        assert!(
            count(&|one| one.what.time > now && one.what.product == "trade") > 50,
            "ahead"
        );
        assert!(
            count(&|one| one.what.partition == Some(0) && one.what.time == now - 60 * minute) > 50,
            "a partition behind"
        );
        let mut prices: BTreeMap<(String, i64), Vec<i64>> = BTreeMap::new();
        for one in said.iter().filter(|one| one.what.product != "trade") {
            let key = (one.what.instrument.clone(), one.what.time);
            prices.entry(key).or_default().push(one.what.cents);
        }
        let corrected = |prices: &&Vec<i64>| prices.iter().any(|cents| Some(cents) != prices.first());
        assert!(
            prices
                .values()
                .filter(|prices| prices.len() > 2)
                .filter(corrected)
                .count()
                > 20
        );
        let hours: Vec<i64> = said
            .iter()
            .filter(|one| one.what.product == "day_ahead")
            .map(|one| one.what.time)
            .collect();
        assert!(
            hours
                .windows(2)
                .any(|pair| matches!(pair, [first, second] if second < first)),
            "shuffled"
        );
    }
}
