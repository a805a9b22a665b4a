//! A model of replays: producers, a stage that rejects, and runs of `dp dlq replay`, each of which may be killed at any step.
//!
//! Role: proves that a letter is sent again once, with the [`Ledger`] that the runs use; the logs are lists. Each rule that a run follows is
//! taken out once, and some history must notice it.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

use super::header;
use super::ledger::tests::read;
use super::ledger::{Ledger, Marker};

/// Letters that were tried this often stay.
const MOST_ATTEMPTS: u32 = 3;

/// What a run of `dp dlq replay` holds to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// The replay and the marker of its letter are in one transaction.
    OneTransaction,
    /// What an older run would still send is refused.
    OlderRunsAreFenced,
    /// A run claims its transactional id before it reads the letters.
    ClaimsBeforeItReads,
    /// Letters that have a marker are passed over.
    MarkersCount,
}

const RULES: [Rule; 4] = [
    Rule::OneTransaction,
    Rule::OlderRunsAreFenced,
    Rule::ClaimsBeforeItReads,
    Rule::MarkersCount,
];

#[derive(Debug, Clone)]
enum Step {
    /// A producer sends a message, which this many attempts reject.
    Publish { rejections: u32 },
    /// The stage handles the next message; killed, it handles it again.
    Handle { killed: bool },
    /// A run claims, and reads the letters.
    Begin,
    /// The run with this number sends its next letter; killed, it does not come to the end of the transaction.
    Send { run: usize, killed: bool },
}

/// A message of the raw topic: the first one of its kind, or a replay of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Raw {
    origin: usize,
    attempt: u32,
}

#[derive(Debug)]
struct Run {
    epoch: usize,
    /// Letters that are still to be sent, the next one last.
    letters: Vec<Raw>,
}

#[derive(Debug, Default)]
struct World {
    without: Option<Rule>,
    rejections: Vec<u32>,
    raw: Vec<Raw>,
    handled: usize,
    /// The letters and markers, as headers.
    dlq: Vec<Vec<(&'static str, String)>>,
    runs: Vec<Run>,
    newest_epoch: usize,
}

impl World {
    fn has(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Publish { rejections } => {
                let origin = self.rejections.len();
                self.rejections.push(rejections);
                self.raw.push(Raw { origin, attempt: 1 });
            }
            Step::Handle { killed } => self.handle(killed),
            Step::Begin => self.begin(),
            Step::Send { run, killed } => self.send(run, killed),
        }
    }

    // A stage that is killed between letter and position sends the letter again.
    fn handle(&mut self, killed: bool) {
        let Some(message) = self.raw.get(self.handled).copied() else {
            return;
        };
        if message.attempt <= self.rejections[message.origin] {
            self.dlq.push(letter(message));
        }
        self.handled += usize::from(!killed);
    }

    fn begin(&mut self) {
        if self.has(Rule::ClaimsBeforeItReads) {
            self.newest_epoch += 1;
        }
        let epoch = self.newest_epoch;
        let mut letters = self.open_letters();
        letters.retain(|letter| letter.attempt < MOST_ATTEMPTS);
        letters.reverse();
        self.runs.push(Run { epoch, letters });
    }

    fn open_letters(&self) -> Vec<Raw> {
        let (mut ledger, mut found) = (Ledger::default(), Vec::new());
        for (offset, headers) in self.dlq.iter().enumerate() {
            let is_marker = headers.iter().all(|(name, _)| *name != header::CODE);
            if is_marker && !self.has(Rule::MarkersCount) {
                continue;
            }
            read(&mut ledger, offset as i64, headers);
        }
        for (offset, headers) in self.dlq.iter().enumerate() {
            if ledger.is_open(offset as i64) {
                found.push(message_of(headers));
            }
        }
        found
    }

    fn send(&mut self, run: usize, killed: bool) {
        let count = self.runs.len();
        if count == 0 {
            return;
        }
        let place = run % count;
        let is_refused = self.runs[place].epoch < self.newest_epoch && self.has(Rule::OlderRunsAreFenced);
        let next = self.runs[place].letters.pop();
        if let Some(letter) = next.filter(|_| !is_refused) {
            let replay = Raw {
                attempt: letter.attempt + 1,
                ..letter
            };
            if !killed || !self.has(Rule::OneTransaction) {
                self.raw.push(replay);
            }
            if !killed {
                self.dlq.push(marker(letter).headers().to_vec());
            }
        }
        if killed || is_refused {
            self.runs.remove(place);
        }
    }

    /// What must hold after every step.
    fn check(&self) -> Result<(), TestCaseError> {
        for (place, message) in self.raw.iter().enumerate() {
            let earlier = self.raw.iter().take(place).any(|other| other == message);
            prop_assert!(!earlier, "{message:?} was sent twice");
        }
        Ok(())
    }

    /// Everything is handled and replayed, without a kill.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..=MOST_ATTEMPTS {
            while self.handled < self.raw.len() {
                self.handle(false);
            }
            self.begin();
            let last = self.runs.len() - 1;
            while self.runs.get(last).is_some_and(|run| !run.letters.is_empty()) {
                self.send(last, false);
                self.check()?;
            }
        }
        let mut open: Vec<usize> = self.open_letters().iter().map(|letter| letter.origin).collect();
        open.sort_unstable();
        let failed = self
            .rejections
            .iter()
            .enumerate()
            .filter(|(_, rejections)| **rejections >= MOST_ATTEMPTS);
        let expected: Vec<usize> = failed.map(|(origin, _)| origin).collect();
        prop_assert_eq!(open, expected, "open letters");
        for (origin, rejections) in self.rejections.iter().enumerate() {
            let attempts = self.raw.iter().filter(|message| message.origin == origin).count();
            prop_assert_eq!(
                attempts as u32,
                (rejections + 1).min(MOST_ATTEMPTS),
                "attempts of {}",
                origin
            );
        }
        Ok(())
    }
}

fn letter(message: Raw) -> Vec<(&'static str, String)> {
    vec![
        (header::CODE, "no_price".to_owned()),
        (header::TOPIC, "raw".to_owned()),
        (header::PARTITION, "0".to_owned()),
        (header::OFFSET, message.origin.to_string()),
        (header::ATTEMPTS, message.attempt.to_string()),
    ]
}

fn marker(letter: Raw) -> Marker {
    Marker {
        letter: 0,
        origin: format!("raw/0/{}", letter.origin),
        rows: String::new(),
        attempts: letter.attempt.to_string(),
        replay: "raw/0/99".to_owned(),
    }
}

/// The message that a letter is of.
fn message_of(headers: &[(&'static str, String)]) -> Raw {
    let number = |name: &str| {
        let value = headers.iter().find(|(known, _)| *known == name);
        value
            .and_then(|(_, value)| value.parse::<u32>().ok())
            .unwrap_or_default()
    };
    Raw {
        origin: number(header::OFFSET) as usize,
        attempt: number(header::ATTEMPTS),
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0..5_u32).prop_map(|rejections| Step::Publish { rejections }),
        4 => prop::bool::weighted(0.2).prop_map(|killed| Step::Handle { killed }),
        2 => Just(Step::Begin),
        4 => (0..3_usize, prop::bool::weighted(0.2)).prop_map(|(run, killed)| Step::Send { run, killed }),
    ];
    prop::collection::vec(step, 0..60)
}

fn holds(without: Option<Rule>, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut world = World {
        without,
        ..World::default()
    };
    for step in steps {
        world.step(step);
        world.check()?;
    }
    world.settle()
}

proptest! {
    #![proptest_config(Config::with_cases(2_000))]
    #[test]
    fn a_letter_is_sent_again_once_whatever_is_killed(steps in steps()) {
        holds(None, &steps)?;
    }
}

#[test]
fn each_rule_that_is_taken_out_is_noticed() {
    for rule in RULES {
        let mut runner = TestRunner::new(Config {
            failure_persistence: None,
            ..Config::with_cases(2_000)
        });
        let found = runner.run(&steps(), |steps| holds(Some(rule), &steps));
        assert!(matches!(found, Err(TestError::Fail(..))), "{rule:?}: {found:?}");
    }
}
