//! Newest curve snapshots and derived prices against a real Postgres and Redis.

use localstack::{Server, Temporary};
use security::{Secret, Trust};
use stores::postgres::{FromLog, Held, Replaced, RowChanges, Scope, ServedBatch, migrate, recreate};
use stores::redis::Key;
use stores::{Applied, Postgres, Projection, Redis, ServedKey, ServedRow, ServedStore};

use crate::common::{self, shuffled};

const TOPIC: &str = "aggregation.curves.v1";

async fn postgres() -> (Temporary, Postgres) {
    let stack = common::started(&[Server::Postgres]);
    let dsn = Secret::new(stack.env()["DATA_PROC_POSTGRES_DSN"].as_str());
    let postgres = Postgres::connect(&dsn, &Trust::default(), 5).unwrap();
    migrate(&postgres).await.unwrap();
    (stack, postgres)
}

fn row(projection: Projection, name: &str, (minute, version): (i64, i64)) -> ServedRow {
    let horizon = match projection {
        Projection::CurveSnapshot => "1y",
        Projection::DerivedPrice => "",
    };
    ServedRow {
        key: ServedKey {
            tenant_id: "t".to_owned(),
            name: name.to_owned(),
            horizon: horizon.to_owned(),
        },
        time: 1_790_812_800_000_000 + minute * 60_000_000,
        version,
        src_partition: 1,
        body: format!(r#"{{"value":"{minute}.{version}"}}"#),
    }
}

async fn apply(store: &ServedStore, expected: Option<i64>, next_offset: i64, rows: &[ServedRow]) -> Applied {
    let batch = ServedBatch {
        topic: TOPIC,
        partition: 1,
        expected: expected.map(|next_offset| Held { next_offset, epoch: 0 }),
        next_offset,
        rows,
    };
    store.apply(&batch).await.unwrap()
}

async fn all(store: &ServedStore) -> Vec<ServedRow> {
    store.newest_of("t", (None, None), 100).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_row_never_replaces_a_newer_one_and_a_lost_compare_and_set_changes_nothing() {
    let (_stack, postgres) = postgres().await;
    for projection in Projection::ALL {
        let store = ServedStore::new(postgres.clone(), projection, "");
        let ranks: Vec<(i64, i64)> = vec![(1, 1), (1, 2), (2, 9), (3, 1), (3, 4), (3, 4), (2, 99)];
        let rows: Vec<ServedRow> = ranks.iter().map(|rank| row(projection, "a", *rank)).collect();
        let mut offset = None;
        for one in shuffled(&rows, 7) {
            let next = offset.unwrap_or(0) + 1;
            assert_eq!(apply(&store, offset, next, &[one]).await, Applied::Yes);
            offset = Some(next);
        }
        let newest = row(projection, "a", (3, 4));
        assert_eq!(all(&store).await, std::slice::from_ref(&newest));
        // A writer whose position is not the stored one.
        for expected in [None, Some(3)] {
            let later = row(projection, "a", (9, 9));
            assert_eq!(apply(&store, expected, 20, &[later]).await, Applied::Conflict);
        }
        assert_eq!(all(&store).await, [newest]);
        let held = store.load_position(TOPIC, 1).await.unwrap().unwrap().held();
        assert_eq!(
            held,
            Held {
                next_offset: 7,
                epoch: 0
            }
        );
        assert_eq!(store.load_position(TOPIC, 2).await.unwrap(), None);
        assert_eq!(store.positions().await.unwrap().len(), 1);
        // Another generation has rows and positions of its own.
        let next = ServedStore::new(postgres.clone(), projection, "g2");
        assert_eq!(
            (all(&next).await, next.load_position(TOPIC, 1).await.unwrap()),
            (vec![], None)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_found_by_name_and_read_again_in_parts() {
    let (_stack, postgres) = postgres().await;
    for projection in Projection::ALL {
        let store = ServedStore::new(postgres.clone(), projection, "");
        let rows: Vec<ServedRow> = (0..7)
            .map(|number| row(projection, &format!("n{number}"), (number, 1)))
            .collect();
        assert_eq!(apply(&store, None, 7, &rows).await, Applied::Yes);
        let (mut parts, mut after) = (Vec::new(), None);
        loop {
            let part = store.rows_after(1, after.as_ref(), 3).await.unwrap();
            let Some(last) = part.last() else { break };
            after = Some(last.key.clone());
            parts.extend(part);
        }
        assert_eq!(parts, rows);
        let mut ranks = Vec::new();
        store.read_ranks(1, |key, rank| ranks.push((key, rank))).await.unwrap();
        ranks.sort();
        let expected: Vec<_> = rows.iter().map(|row| (row.key.clone(), row.rank())).collect();
        assert_eq!(ranks, expected);
        let found = store.newest_of("t", (Some("n3"), None), 9).await.unwrap();
        assert_eq!(found, rows[3..4]);
        let newest = store.newest_of("t", (None, None), 2).await.unwrap();
        assert_eq!(newest, [rows[6].clone(), rows[5].clone()]);
        assert!(store.newest_of("u", (Some("n3"), None), 9).await.unwrap().is_empty());
        // Pages of a tenant are in the order of names, however new their rows are, and end before the limit.
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let place = after.as_ref().map(|key: &ServedKey| (&*key.name, &*key.horizon));
            let page = store.by_name("t", (None, None), place, 3).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            pages.push(page);
        }
        assert_eq!(pages.concat(), rows);
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 1]);
        let of_one = |after| store.by_name("t", (Some("n3"), None), after, 9);
        assert_eq!(of_one(Some(("n2", "all"))).await.unwrap(), rows[3..4]);
        assert!(of_one(Some(("n3", "1y"))).await.unwrap().is_empty());
        assert!(store.by_name("u", (None, None), None, 9).await.unwrap().is_empty());
    }
    let curves = ServedStore::new(postgres, Projection::CurveSnapshot, "");
    let of = async |horizon| curves.newest_of("t", (None, Some(horizon)), 9).await.unwrap().len();
    assert_eq!((of("1y").await, of("1m").await), (7, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rows_of_a_partition_are_replaced_by_those_of_its_log() {
    let (_stack, postgres) = postgres().await;
    for projection in Projection::ALL {
        let store = ServedStore::new(postgres.clone(), projection, "");
        let served =
            [("same", (1, 1)), ("ahead", (9, 9)), ("ghost", (1, 1))].map(|(name, rank)| row(projection, name, rank));
        assert_eq!(apply(&store, None, 7, &served).await, Applied::Yes);
        let rows =
            [("same", (1, 1)), ("ahead", (2, 1)), ("new", (1, 1))].map(|(name, rank)| row(projection, name, rank));
        let everything = Scope::default();
        let log = |next_offset, is_whole| FromLog {
            topic: TOPIC,
            partition: 1,
            next_offset,
            rows: &rows,
            is_whole,
            scope: &everything,
            complete_from: 0,
            is_dry_run: false,
        };
        let behind = store.replace(&log(6, true)).await.unwrap();
        assert_eq!(behind, Replaced::Behind { served: 7 });
        // A part of the log: what is newer, or unknown to it, stays.
        let Replaced::Done(changes) = store.replace(&log(7, false)).await.unwrap() else {
            unreachable!("the log has reached the position");
        };
        assert_eq!(
            (changes.added.len(), changes.changed.len(), changes.removed.len()),
            (1, 0, 0)
        );
        assert_eq!(all(&store).await.len(), 4);
        let Replaced::Done(changes) = store.replace(&log(8, true)).await.unwrap() else {
            unreachable!("the log has reached the position");
        };
        assert_eq!(
            (changes.added.len(), changes.changed.len(), changes.removed.len()),
            (0, 1, 1)
        );
        let mut found = all(&store).await;
        found.sort_by(|a, b| a.key.cmp(&b.key));
        let mut expected = rows.to_vec();
        expected.sort_by(|a, b| a.key.cmp(&b.key));
        assert_eq!(found, expected);
        // The owner, whose memory is of the rows before, gets a conflict, even at the offset that it expects.
        let held = store.load_position(TOPIC, 1).await.unwrap().unwrap().held();
        assert_eq!(
            held,
            Held {
                next_offset: 8,
                epoch: 2
            }
        );
        assert_eq!(apply(&store, Some(8), 9, &[]).await, Applied::Conflict);
    }
    // A table that was dropped is filled from the beginning of its topic.
    postgres.exec("DROP TABLE served_derived_prices").await.unwrap();
    recreate(&postgres).await.unwrap();
    for (projection, is_there) in [(Projection::CurveSnapshot, true), (Projection::DerivedPrice, false)] {
        let position = ServedStore::new(postgres.clone(), projection, "")
            .load_position(TOPIC, 1)
            .await;
        assert_eq!(position.unwrap().is_some(), is_there, "{projection:?}");
    }
}

/// Names of the keys that were added, removed and changed.
fn names(changes: &RowChanges) -> [Vec<&str>; 3] {
    [&changes.added, &changes.removed, &changes.changed].map(|keys| keys.iter().map(|key| &*key.name).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_rows_of_the_scope_are_replaced_others_take_newer_records_and_a_dry_run_changes_nothing() {
    let (_stack, postgres) = postgres().await;
    for projection in Projection::ALL {
        let store = ServedStore::new(postgres.clone(), projection, "");
        let mut edited = row(projection, "edited", (1, 1));
        edited.body = r#"{"value":"by hand"}"#.to_owned();
        let mut other = row(projection, "other", (1, 1));
        other.body.clone_from(&edited.body);
        let of = |name, rank| row(projection, name, rank);
        let served = [
            edited,
            other.clone(),
            of("ghost", (1, 1)),
            of("moves", (1, 1)),
            of("ahead", (9, 9)),
        ];
        assert_eq!(apply(&store, None, 7, &served).await, Applied::Yes);
        let rows = [
            ("edited", (1, 1)),
            ("other", (1, 1)),
            ("moves", (2, 1)),
            ("ahead", (3, 3)),
        ];
        let rows = rows.map(|(name, rank)| of(name, rank));
        let only = |tenant: &str, instrument: Option<&str>| Scope {
            tenant: Some(tenant.to_owned()),
            instrument: instrument.map(str::to_owned),
        };
        let replace = async |scope: &Scope, complete_from, is_dry_run| {
            let log = FromLog {
                topic: TOPIC,
                partition: 1,
                next_offset: 8,
                rows: &rows,
                is_whole: true,
                scope,
                complete_from,
                is_dry_run,
            };
            store.replace(&log).await.unwrap()
        };
        let state = async || (all(&store).await, store.load_position(TOPIC, 1).await.unwrap());
        let before = state().await;
        for (scope, expected) in [
            (
                only("t", None),
                [vec![], vec!["ghost"], vec!["edited", "other", "moves", "ahead"]],
            ),
            (only("t", Some("edited")), [vec![], vec![], vec!["edited", "moves"]]),
            (only("t", Some("ghost")), [vec![], vec!["ghost"], vec!["moves"]]),
            (only("u", None), [vec![], vec![], vec!["moves"]]),
        ] {
            let Replaced::Done(changes) = replace(&scope, 7, true).await else {
                unreachable!("the log has reached the position");
            };
            assert_eq!(names(&changes), expected, "{scope:?}");
            assert_eq!(state().await, before, "{scope:?}");
        }
        let scope = only("t", Some("edited"));
        assert_eq!(replace(&scope, 8, false).await, Replaced::WentBack { served: 7 });
        assert_eq!(state().await, before);
        assert!(matches!(replace(&scope, 7, false).await, Replaced::Done(_)));
        let mut found = all(&store).await;
        found.sort_by(|a, b| a.key.cmp(&b.key));
        let expected = [
            of("ahead", (9, 9)),
            of("edited", (1, 1)),
            of("ghost", (1, 1)),
            of("moves", (2, 1)),
            other,
        ];
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn a_copy_is_replaced_only_by_one_that_is_not_older() {
    let stack = common::started(&[Server::Redis]);
    let redis = Redis::new(
        &Secret::new(stack.env()["DATA_PROC_REDIS_URL"].as_str()),
        &Trust::default(),
    )
    .unwrap();
    let keys = [
        Key::curve_snapshot("t", "a", "1y"),
        Key::derived_price("t", "a"),
        // What another program keeps under the same names is not touched.
        Key::custom("mark", "t", "a"),
    ]
    .map(|key| key.to_string());
    let [snapshot, price, other] = &keys;
    redis
        .put_custom(vec![(Key::custom("mark", "t", "a"), "1".to_owned())])
        .await
        .unwrap();
    for (projection, key) in [(Projection::CurveSnapshot, snapshot), (Projection::DerivedPrice, price)] {
        let rows: Vec<ServedRow> = [(1, 1), (-9, 7), (2, -3), (2, 5), (2, 5), (1, 9)]
            .map(|rank| row(projection, "a", rank))
            .into();
        let newest = row(projection, "a", (2, 5)).to_copy();
        let key = std::slice::from_ref(key);
        for seed in 0..20 {
            for part in shuffled(&rows, seed).chunks(1 + seed as usize % 3) {
                redis.put_served(projection, part).await.unwrap();
            }
            assert_eq!(
                redis.get_many(key).await.unwrap(),
                [Some(newest.clone())],
                "{projection:?}, seed {seed}"
            );
            redis.delete(key).await.unwrap();
        }
    }
    assert_eq!(redis.scan("served:*").await.unwrap(), std::slice::from_ref(other));
    // More than one call takes.
    let mut large = row(Projection::CurveSnapshot, "a", (1, 1));
    large.body = format!(r#"{{"value":"{}"}}"#, "x".repeat(700_000));
    let many: Vec<ServedRow> = (0..5)
        .map(|number| ServedRow {
            key: row(Projection::CurveSnapshot, &number.to_string(), (1, 1)).key,
            ..large.clone()
        })
        .collect();
    assert_eq!(redis.put_served(Projection::CurveSnapshot, &many).await.unwrap(), 5);
    for projection in Projection::ALL {
        let mark = Key::served_mark(projection, "curves[1]");
        assert_eq!(redis.state_with(&mark).await.unwrap().mark, None, "{projection:?}");
        redis.set_mark(&mark, "1-1").await.unwrap();
        assert_eq!(redis.state_with(&mark).await.unwrap().mark.as_deref(), Some("1-1"));
    }
}
