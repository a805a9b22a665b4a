//! Kills, restarts, additional replicas and offset resets under load. Afterwards both judges agree.

use e2e::fault_run::groups_of;
use e2e::{PATIENCE, Pipeline, SERVICES, eventually};
use localstack::{Name, Server, Service};
use testkit::kafka;

#[test]
fn killing_each_service_under_load_loses_and_doubles_nothing() {
    let pipeline = Pipeline::shared();
    let load = pipeline.publish(1);
    for service in SERVICES {
        pipeline.wait_for_more(1_000).unwrap();
        pipeline.kill_and_restart(service).unwrap();
    }
    load.finish().unwrap();
    pipeline.agree().unwrap();
}

/// The oracle's own load contains corrections, shuffled day-ahead hours, and ticks that are minutes, an hour or three years
/// late.
#[test]
fn late_ticks_reach_their_bars_while_aggregation_and_clickhouse_are_killed() {
    let pipeline = Pipeline::shared();
    let load = pipeline.load(10).unwrap();
    for _ in 0..2 {
        pipeline.wait_for_more(1_000).unwrap();
        pipeline.kill_and_restart(Service::Aggregation).unwrap();
        pipeline.wait_for_more(1_000).unwrap();
        pipeline.kill_and_restart(Server::ClickHouse).unwrap();
    }
    load.pause().unwrap();
    pipeline.agree().unwrap();
    let by_table = "SELECT count() FROM late_ticks WHERE instrument_id LIKE '%.FAULT.OLD%'";
    assert!(pipeline.clickhouse.number(by_table).unwrap() > 20);
}

/// The oracle's own load continues however long Kafka is down.
#[test]
fn killing_each_server_under_load_loses_and_doubles_nothing() {
    let pipeline = Pipeline::shared();
    let load = pipeline.load(2).unwrap();
    for server in [Server::ClickHouse, Server::Postgres, Server::Redis, Server::Kafka] {
        pipeline.wait_for_more(1_000).unwrap();
        pipeline.kill_and_restart(server).unwrap();
    }
    load.pause().unwrap();
    for service in SERVICES {
        pipeline.stack().wait_ready(service, PATIENCE).unwrap();
    }
    pipeline.agree().unwrap();
}

#[test]
fn replicas_that_join_and_leave_under_load_lose_and_double_nothing() {
    let pipeline = Pipeline::shared();
    let load = pipeline.publish(3);
    pipeline.wait_for_more(1_000).unwrap();
    let stack = pipeline.stack();
    let second = SERVICES.map(|service| Name::replica(service, 2));
    for name in second {
        stack.start(name).unwrap();
    }
    for name in second {
        stack.wait_ready(name, PATIENCE).unwrap();
    }
    pipeline.wait_for_more(2_000).unwrap();
    // The first replicas stop cleanly and restart; then the second ones are killed.
    for service in SERVICES {
        assert!(stack.stop(service).unwrap());
    }
    pipeline.wait_for_more(1_000).unwrap();
    stack.start_services().unwrap();
    for name in second {
        stack.kill9(name).unwrap();
    }
    load.finish().unwrap();
    pipeline.agree().unwrap();
}

#[test]
fn groups_reset_to_the_earliest_offset_double_nothing() {
    let pipeline = Pipeline::shared();
    pipeline.publish_once(3_000, 50_000).unwrap();
    let before = pipeline.agree().unwrap();
    let (stack, bootstrap) = (pipeline.stack(), pipeline.bootstrap());
    let letters = || kafka::read_all(&bootstrap, "dlq").unwrap().len();
    let letters_before = letters();
    assert!(letters_before > 0, "the load contains poison");
    for service in SERVICES {
        assert!(stack.stop(service).unwrap());
    }
    for (group, topics) in SERVICES.into_iter().flat_map(groups_of) {
        for topic in *topics {
            eventually("the group is reset", || {
                kafka::reset_to_earliest(&bootstrap, group, topic).map(|()| true)
            })
            .unwrap();
            let committed = kafka::committed(&bootstrap, group, topic).unwrap();
            assert!(
                committed.iter().all(|(_, offset, _)| *offset == Some(0)),
                "{group} {topic} {committed:?}"
            );
        }
    }
    stack.start_services().unwrap();
    assert_eq!(pipeline.agree().unwrap(), before);
    assert_eq!(letters(), letters_before, "dead letters are not sent again");
}

#[test]
fn frozen_services_that_resume_after_a_takeover_double_nothing() {
    let pipeline = Pipeline::shared();
    let load = pipeline.publish(5);
    pipeline.wait_for_more(1_000).unwrap();
    let stack = pipeline.stack();
    for service in [Service::Normalization, Service::Enrichment, Service::Aggregation] {
        stack.pause(service).unwrap();
    }
    // Their partitions move to the second replicas when the sessions time out.
    let second =
        [Service::Normalization, Service::Enrichment, Service::Aggregation].map(|service| Name::replica(service, 2));
    for name in second {
        stack.start(name).unwrap();
    }
    pipeline.wait_for_more(1_000).unwrap();
    for service in [Service::Normalization, Service::Enrichment, Service::Aggregation] {
        stack.resume(service).unwrap();
    }
    load.finish().unwrap();
    pipeline.agree().unwrap();
    for name in second {
        assert!(stack.stop(name).unwrap());
    }
    pipeline.agree().unwrap();
}
