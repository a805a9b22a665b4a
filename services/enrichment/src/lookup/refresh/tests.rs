#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::lookup::tests::row;
use futures_util::future::BoxFuture;
use service::settings::BreakerSettings;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[derive(Default)]
struct FakeSource {
    rows: Mutex<Vec<Reference>>,
    down: AtomicBool,
    refuses: AtomicBool,
    lookups: AtomicUsize,
}

impl FakeSource {
    fn rows(&self) -> Result<Vec<Reference>, LookupError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(LookupError {
                message: "connection refused".to_owned(),
                is_outage: true,
            });
        }
        if self.refuses.load(Ordering::SeqCst) {
            return Err(LookupError {
                message: "invalid byte sequence".to_owned(),
                is_outage: false,
            });
        }
        Ok(self.rows.lock().unwrap().clone())
    }
}

impl ReferenceSource for FakeSource {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, LookupError>> {
        Box::pin(async {
            self.rows().map(|rows| Loaded {
                rows,
                ..Loaded::default()
            })
        })
    }

    fn lookup<'a>(&'a self, keys: &'a [Key]) -> BoxFuture<'a, Result<Vec<Reference>, LookupError>> {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        Box::pin(async {
            Ok(self
                .rows()?
                .into_iter()
                .filter(|row| keys.iter().any(|key| is_of(row, key)))
                .collect())
        })
    }
}

#[derive(Default)]
struct FakeCache {
    texts: Mutex<HashMap<String, String>>,
    silent: AtomicBool,
}

impl ReferenceCache for FakeCache {
    fn get_many<'a>(&'a self, keys: &'a [String]) -> BoxFuture<'a, Result<Vec<Option<String>>, LookupError>> {
        Box::pin(async {
            if self.silent.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            let texts = self.texts.lock().unwrap();
            Ok(keys.iter().map(|key| texts.get(key).cloned()).collect())
        })
    }

    fn set_many<'a>(&'a self, pairs: &'a [(String, String)], _: Duration) -> BoxFuture<'a, Result<(), LookupError>> {
        Box::pin(async {
            if self.silent.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            self.texts.lock().unwrap().extend(pairs.iter().cloned());
            Ok(())
        })
    }
}

struct Fixture {
    source: Arc<FakeSource>,
    cache: Arc<FakeCache>,
    refresher: Arc<Refresher>,
    misses: mpsc::Receiver<Key>,
}

fn fixture() -> Fixture {
    let settings = BreakerSettings {
        failure_threshold: 2,
        success_threshold: 1,
        base_timeout: Duration::from_secs(600),
        max_timeout: Duration::from_secs(600),
    };
    let (sender, misses) = mpsc::channel(16);
    let (source, cache) = (Arc::new(FakeSource::default()), Arc::new(FakeCache::default()));
    let refresher = Refresher::new(
        Arc::new(Directory::new(sender)),
        Arc::clone(&source) as Arc<dyn ReferenceSource>,
        Arc::clone(&cache) as Arc<dyn ReferenceCache>,
        (
            Arc::new(Breaker::new("postgres", settings)),
            Arc::new(Breaker::new("redis", settings)),
        ),
    );
    Fixture {
        source,
        cache,
        refresher: Arc::new(refresher),
        misses,
    }
}

fn key(instrument_id: &str) -> Key {
    Key {
        tenant_id: "a".into(),
        instrument_id: instrument_id.into(),
    }
}

fn known(fixture: &Fixture, instrument_id: &str) -> bool {
    fixture
        .refresher
        .directory()
        .snapshot()
        .get(&key(instrument_id))
        .is_some()
}

#[tokio::test]
async fn a_load_fills_the_directory_and_the_shared_cache() {
    let fixture = fixture();
    *fixture.source.rows.lock().unwrap() = vec![row("a", "X", "coal")];
    assert_eq!(fixture.refresher.load().await, Ok(1));
    assert!(known(&fixture, "X"));
    assert_eq!(fixture.refresher.last_error(), None);
    let text = fixture.cache.texts.lock().unwrap()["reference:a:X"].clone();
    assert_eq!(from_text(&text), Some(row("a", "X", "coal")));
}

#[tokio::test]
async fn while_postgres_is_down_rows_in_memory_are_kept_and_the_cache_serves_others() {
    let fixture = fixture();
    *fixture.source.rows.lock().unwrap() = vec![row("a", "X", "coal")];
    fixture.refresher.load().await.unwrap();
    fixture.source.down.store(true, Ordering::SeqCst);
    assert!(fixture.refresher.load().await.is_err());
    assert!(fixture.refresher.last_error().unwrap().contains("refused"));
    assert!(known(&fixture, "X"));
    let other = row("a", "Y", "carbon");
    fixture
        .cache
        .texts
        .lock()
        .unwrap()
        .insert("reference:a:Y".into(), to_text(&other));
    assert_eq!(fixture.refresher.look_up(&[key("Y"), key("Z")]).await, [other]);
    assert!(known(&fixture, "Y") && !known(&fixture, "Z"));
}

#[tokio::test]
async fn a_deleted_row_does_not_come_back_from_the_cache() {
    let fixture = fixture();
    *fixture.source.rows.lock().unwrap() = vec![row("a", "X", "coal")];
    fixture.refresher.load().await.unwrap();
    fixture.source.rows.lock().unwrap().clear();
    fixture.refresher.load().await.unwrap();
    assert_eq!(fixture.refresher.look_up(&[key("X")]).await, []);
    assert!(!known(&fixture, "X"));
}

#[tokio::test]
async fn a_cached_row_is_used_for_its_own_tenant_and_instrument_only() {
    let fixture = fixture();
    *fixture.source.rows.lock().unwrap() = vec![row("p", "q:rX", "coal")];
    fixture.refresher.load().await.unwrap();
    let pair = |tenant_id: &str, instrument_id: &str| Key {
        tenant_id: tenant_id.into(),
        instrument_id: instrument_id.into(),
    };
    assert_eq!(fixture.refresher.look_up(&[pair("p:q", "rX")]).await, []);
    // A row of another pair under the key of this pair, as another version or program may leave it.
    let foreign = (cache_key("p:q", "rX"), to_text(&row("p", "q:rX", "coal")));
    fixture.cache.texts.lock().unwrap().extend([foreign]);
    assert_eq!(fixture.refresher.look_up(&[pair("p:q", "rX")]).await, []);
    assert_eq!(fixture.refresher.look_up(&[pair("p", "q:rX")]).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_redis_that_does_not_answer_costs_bounded_waits_until_its_breaker_opens() {
    let fixture = fixture();
    fixture.cache.silent.store(true, Ordering::SeqCst);
    *fixture.source.rows.lock().unwrap() = vec![row("a", "X", "coal")];
    for (look_up, longest) in [(0, 400), (1, 400), (2, 0)] {
        let began = tokio::time::Instant::now();
        assert_eq!(
            fixture.refresher.look_up(&[key("X")]).await.len(),
            1,
            "postgres answers"
        );
        assert!(
            began.elapsed() <= Duration::from_millis(longest),
            "{look_up}: {:?}",
            began.elapsed()
        );
    }
}

#[tokio::test]
async fn the_breaker_stops_look_ups_in_a_failing_postgres() {
    let fixture = fixture();
    fixture.source.down.store(true, Ordering::SeqCst);
    for _ in 0..5 {
        fixture.refresher.look_up(&[key("X")]).await;
    }
    assert_eq!(fixture.source.lookups.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn misses_are_looked_up_in_the_background() {
    let Fixture {
        source,
        refresher,
        misses,
        ..
    } = fixture();
    *source.rows.lock().unwrap() = vec![row("a", "X", "coal")];
    let directory = Arc::clone(refresher.directory());
    let task = tokio::spawn(Arc::clone(&refresher).run(misses, Duration::from_secs(600)));
    directory.misses.send(key("X")).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while directory.snapshot().get(&key("X")).is_none() {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    task.abort();
}

#[tokio::test]
async fn rejected_requests_do_not_open_the_breaker_and_an_outage_does() {
    let fixture = fixture();
    fixture.source.refuses.store(true, Ordering::SeqCst);
    for _ in 0..6 {
        fixture.refresher.look_up(&[key("x")]).await;
    }
    assert_eq!(fixture.source.lookups.load(Ordering::SeqCst), 6);
    fixture.source.down.store(true, Ordering::SeqCst);
    for _ in 0..6 {
        fixture.refresher.look_up(&[key("x")]).await;
    }
    assert_eq!(
        fixture.source.lookups.load(Ordering::SeqCst),
        8,
        "two failures open the breaker"
    );
}
