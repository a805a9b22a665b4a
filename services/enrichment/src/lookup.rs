//! Reference data for the hot path: an immutable snapshot, read without locks, and guesses for instruments without a row.
//!
//! Role: [`Directory`] holds the newest [`Snapshot`]; the [`View`] of each worker picks it up once per turn. A miss never
//! waits: the tick gets a guess by rules, and its key goes to the background task ([`refresh`]) at most once a minute. The
//! task looks it up in Redis, then in Postgres, and publishes the row.
//! Failure: while the stores are down, the snapshot does not change; misses are guesses and are marked as such.

mod by_tenant;
pub mod refresh;
pub mod source;
pub mod stored;

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use domain::{Decimal, Micros};
use tokio::sync::mpsc;

use self::by_tenant::ByTenant;
use crate::core::taxonomy::{Names, RuleBook, Subject};

/// An unknown key is looked up again after this time.
const ASK_AGAIN: Micros = 60_000_000;
/// Most guesses that one worker caches; above it, the cache is cleared.
const MAX_GUESSES: usize = 200_000;

/// One row of reference data.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Reference {
    pub tenant_id: String,
    pub instrument_id: String,
    pub commodity: String,
    pub region: String,
    pub product_tier: String,
    pub unit: Option<String>,
    pub contract_size: Option<Decimal>,
    pub tick_size: Option<Decimal>,
    pub curve_id: Option<String>,
    /// How its curve is made; filled in from the rules, so that copies of rows need not have it.
    pub curve_definition: Option<String>,
}

/// Tenant and instrument.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Key {
    pub tenant_id: String,
    pub instrument_id: String,
}

type Rows = ByTenant<Arc<Reference>>;

/// All reference data at one point in time; immutable.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// All rows as of the last full load.
    rows: Arc<Rows>,
    /// Rows found by single look-ups since that load.
    found: Rows,
    /// Rules for instruments without a row.
    pub rules: Arc<RuleBook>,
    /// End of the last full load; `None` before the first.
    pub loaded_at: Option<Micros>,
}

impl Snapshot {
    /// The snapshot of a full load.
    pub fn loaded(rows: Vec<Reference>, rules: RuleBook, loaded_at: Micros) -> Snapshot {
        Snapshot {
            rows: Arc::new(rows_of(rows, &rules)),
            found: Rows::default(),
            rules: Arc::new(rules),
            loaded_at: Some(loaded_at),
        }
    }

    /// This snapshot with these rows added.
    fn with(&self, found: Vec<Reference>) -> Snapshot {
        let mut next = self.clone();
        for row in found {
            next.found.add(on_its_curve(row, &self.rules));
        }
        next
    }

    /// The row of an instrument.
    pub fn get(&self, key: &Key) -> Option<&Arc<Reference>> {
        self.row(&key.tenant_id, &key.instrument_id)
    }

    /// Number of rows of all tenants.
    pub fn len(&self) -> usize {
        self.rows.len() + self.found.len()
    }

    /// Number of rows of one tenant.
    pub fn len_of(&self, tenant_id: &str) -> usize {
        self.rows.len_of(tenant_id) + self.found.len_of(tenant_id)
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keys of this snapshot that the other does not have.
    fn missing_in(&self, other: &Snapshot) -> Vec<Key> {
        self.rows
            .values()
            .filter(|row| other.row(&row.tenant_id, &row.instrument_id).is_none())
            .map(|row| Key {
                tenant_id: row.tenant_id.clone(),
                instrument_id: row.instrument_id.clone(),
            })
            .collect()
    }

    fn row(&self, tenant_id: &str, instrument_id: &str) -> Option<&Arc<Reference>> {
        self.rows
            .get(tenant_id, instrument_id)
            .or_else(|| self.found.get(tenant_id, instrument_id))
    }
}

impl Rows {
    fn add(&mut self, row: Reference) {
        let (tenant_id, instrument_id) = (row.tenant_id.clone(), row.instrument_id.clone());
        self.insert(&tenant_id, &instrument_id, Arc::new(row));
    }
}

fn rows_of(rows: Vec<Reference>, rules: &RuleBook) -> Rows {
    let mut by_tenant = Rows::default();
    rows.into_iter().for_each(|row| by_tenant.add(on_its_curve(row, rules)));
    by_tenant
}

/// A row that names no curve has the one whose pattern its instrument fits. The definition is that of the loaded rules.
fn on_its_curve(row: Reference, rules: &RuleBook) -> Reference {
    let rules = rules.of(&row.tenant_id);
    let curve = match &row.curve_id {
        Some(curve_id) => rules.curve_named(curve_id),
        None => rules.curve_of(&row.instrument_id),
    };
    let curve_definition = curve.and_then(|curve| curve.definition.clone());
    let curve_id = row.curve_id.or_else(|| curve.map(|curve| curve.curve_id.clone()));
    Reference {
        curve_id,
        curve_definition,
        ..row
    }
}

/// The newest snapshot, and the queue of missed keys.
#[derive(Debug)]
pub struct Directory {
    current: ArcSwap<Snapshot>,
    misses: mpsc::Sender<Key>,
    hits_counted: AtomicU64,
    misses_counted: AtomicU64,
}

impl Directory {
    /// An empty directory; unknown keys are sent to `misses`.
    pub fn new(misses: mpsc::Sender<Key>) -> Directory {
        Directory {
            current: ArcSwap::default(),
            misses,
            hits_counted: AtomicU64::new(0),
            misses_counted: AtomicU64::new(0),
        }
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Replaces the snapshot with the result of `change`.
    pub fn publish(&self, change: impl Fn(&Snapshot) -> Snapshot) {
        self.current.rcu(|current| change(current));
    }

    /// Ticks with a row, and ticks with a guess.
    pub fn counts(&self) -> (u64, u64) {
        (
            self.hits_counted.load(Ordering::Relaxed),
            self.misses_counted.load(Ordering::Relaxed),
        )
    }
}

/// The result of [`View::find`].
#[derive(Debug)]
pub enum Found<'v> {
    /// A row of reference data.
    Row(&'v Reference),
    /// A classification by rules.
    Guess(&'v Names),
}

/// One worker's access to the directory.
#[derive(Debug)]
pub struct View {
    directory: Arc<Directory>,
    snapshot: Arc<Snapshot>,
    guesses: ByTenant<Guess>,
    nothing: Names,
    hits: u64,
    misses: u64,
}

#[derive(Debug)]
struct Guess {
    names: Names,
    asked_at: Micros,
    /// Hash of the market: two markets may use the same instrument id.
    market: u64,
}

impl View {
    /// A view of the directory's current snapshot.
    pub fn new(directory: Arc<Directory>) -> View {
        let snapshot = directory.snapshot();
        View {
            directory,
            snapshot,
            guesses: ByTenant::default(),
            nothing: Names::unknown(),
            hits: 0,
            misses: 0,
        }
    }

    /// Picks up the newest snapshot and adds up the counters; around each batch, so that the hot path reads plain memory.
    pub fn refresh(&mut self) {
        self.directory
            .hits_counted
            .fetch_add(std::mem::take(&mut self.hits), Ordering::Relaxed);
        self.directory
            .misses_counted
            .fetch_add(std::mem::take(&mut self.misses), Ordering::Relaxed);
        let next = self.directory.snapshot();
        if Arc::ptr_eq(&next, &self.snapshot) {
            return;
        }
        if !Arc::ptr_eq(&next.rules, &self.snapshot.rules) {
            self.guesses.clear();
        }
        self.snapshot = next;
    }

    /// The row of the instrument, or a guess, whose row is looked up in the background at most once a minute.
    pub fn find(&mut self, tenant_id: &str, subject: &Subject<'_>, now: Micros) -> Found<'_> {
        let instrument_id = subject.instrument_id;
        if let Some(row) = self.snapshot.row(tenant_id, instrument_id) {
            self.hits += 1;
            return Found::Row(row);
        }
        self.misses += 1;
        let market = market_hash(subject.market);
        if self
            .guesses
            .get(tenant_id, instrument_id)
            .is_none_or(|guess| guess.market != market)
        {
            if self.guesses.len() >= MAX_GUESSES {
                self.guesses.clear();
            }
            let names = self.snapshot.rules.of(tenant_id).classify(subject);
            // Once for each instrument, not for each tick.
            if !names.is_known() {
                tracing::warn!(
                    event = "classification_fallback",
                    tenant_id,
                    instrument_id,
                    market = subject.market,
                    "no reference data and no rule for an instrument; it is classified as unknown with low confidence until it has a row or a rule"
                );
            }
            let asked_at = now - ASK_AGAIN;
            let guess = Guess {
                names,
                asked_at,
                market,
            };
            self.guesses.insert(tenant_id, instrument_id, guess);
        }
        let Some(guess) = self.guesses.get_mut(tenant_id, instrument_id) else {
            return Found::Guess(&self.nothing);
        };
        if now - guess.asked_at >= ASK_AGAIN {
            guess.asked_at = now;
            // If the queue is full, the look-up is requested again a minute later.
            _ = self.directory.misses.try_send(Key {
                tenant_id: tenant_id.to_owned(),
                instrument_id: subject.instrument_id.to_owned(),
            });
        }
        Found::Guess(&guess.names)
    }
}

fn market_hash(market: &str) -> u64 {
    let mut hasher = rustc_hash::FxHasher::default();
    market.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
