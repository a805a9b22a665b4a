#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

pub(crate) fn row(tenant_id: &str, instrument_id: &str, commodity: &str) -> Reference {
    Reference {
        tenant_id: tenant_id.into(),
        instrument_id: instrument_id.into(),
        commodity: commodity.into(),
        region: "north".into(),
        product_tier: "premium".into(),
        unit: Some("MWh".into()),
        contract_size: Some("1.5".parse().unwrap()),
        tick_size: None,
        curve_id: None,
        curve_definition: None,
    }
}

fn subject(instrument_id: &str) -> Subject<'_> {
    Subject {
        instrument_id,
        market: "MISO",
        ..Subject::default()
    }
}

fn commodity(view: &mut View, tenant: &str, instrument: &str, now: Micros) -> (bool, String) {
    match view.find(tenant, &subject(instrument), now) {
        Found::Row(row) => (true, row.commodity.clone()),
        Found::Guess(names) => (false, names.commodity.clone()),
    }
}

fn directory() -> (Arc<Directory>, mpsc::Receiver<Key>) {
    let (sender, receiver) = mpsc::channel(16);
    (Arc::new(Directory::new(sender)), receiver)
}

#[test]
fn rows_belong_to_their_tenant() {
    let (directory, _misses) = directory();
    directory.publish(|_| Snapshot::loaded(vec![row("a", "X", "coal")], RuleBook::default(), 1));
    let mut view = View::new(directory);
    assert_eq!(commodity(&mut view, "a", "X", 0), (true, "coal".into()));
    assert_eq!(commodity(&mut view, "b", "X", 0), (false, "electricity".into()));
}

#[test]
fn a_view_sees_a_new_row_after_its_next_refresh() {
    let (directory, _misses) = directory();
    let mut view = View::new(Arc::clone(&directory));
    assert!(!commodity(&mut view, "a", "X", 0).0);
    directory.publish(|snapshot| snapshot.with(vec![row("a", "X", "coal")]));
    assert!(!commodity(&mut view, "a", "X", 0).0);
    view.refresh();
    assert_eq!(commodity(&mut view, "a", "X", 0), (true, "coal".into()));
    view.refresh();
    assert_eq!(directory.counts(), (1, 2));
}

#[test]
fn an_unknown_key_is_looked_up_at_most_once_a_minute() {
    let (directory, mut misses) = directory();
    let mut view = View::new(directory);
    let mut asked = |view: &mut View, now| {
        commodity(view, "a", "X", now);
        std::iter::from_fn(|| misses.try_recv().ok()).count()
    };
    assert_eq!(asked(&mut view, 0), 1);
    assert_eq!(asked(&mut view, 30_000_000), 0);
    assert_eq!(asked(&mut view, 59_999_999), 0);
    assert_eq!(asked(&mut view, 60_000_000), 1);
}

#[test]
fn new_rules_replace_cached_guesses() {
    let (directory, _misses) = directory();
    let mut view = View::new(Arc::clone(&directory));
    assert_eq!(commodity(&mut view, "a", "EUA_M1", 0).1, "electricity");
    let carbon = crate::core::taxonomy::CustomRule {
        name: "carbon".into(),
        keywords: vec!["EUA".into()],
        priority: 0,
    };
    let own = crate::core::taxonomy::TenantRules {
        tenant_id: "a".into(),
        commodities: vec![carbon],
        ..crate::core::taxonomy::TenantRules::default()
    };
    directory.publish(|_| Snapshot::loaded(vec![], RuleBook::new(std::slice::from_ref(&own)), 1));
    view.refresh();
    assert_eq!(commodity(&mut view, "a", "EUA_M1", 0).1, "carbon");
    assert_eq!(
        commodity(&mut view, "b", "EUA_M1", 0).1,
        "electricity",
        "rules belong to their tenant"
    );
}

#[test]
fn a_full_queue_of_missed_keys_never_blocks_ticks() {
    let (directory, _misses) = directory();
    let mut view = View::new(directory);
    for number in 0..1000 {
        assert!(!commodity(&mut view, "a", &format!("X{number}"), 0).0);
    }
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<parking_lot::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_instrument_that_no_rule_knows_is_logged_once() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let (directory, _misses) = directory();
        let mut view = View::new(directory);
        for instrument_id in ["QZXQ", "QZXQ", "QZXP", "QZXQ"] {
            let unknown = Subject {
                instrument_id,
                market: "ICE",
                ..Subject::default()
            };
            assert!(matches!(view.find("acme", &unknown, 0), Found::Guess(names) if !names.is_known()));
        }
        assert_eq!(commodity(&mut view, "acme", "X", 0).1, "electricity");
    });
    let lines = String::from_utf8(log.0.lock().clone()).unwrap();
    let fallbacks: Vec<&str> = lines
        .lines()
        .filter(|line| line.contains("classification_fallback"))
        .collect();
    assert_eq!(fallbacks.len(), 2, "{lines}");
    assert!(
        fallbacks[0].contains("WARN") && fallbacks[0].contains("QZXQ") && fallbacks[0].contains("acme"),
        "{lines}"
    );
}
