//! Raw topics that an operator changes while the services run.

use super::*;

#[test]
fn partitions_added_to_a_raw_topic_are_read_from_their_first_record() {
    let pipeline = filled();
    let before = pipeline.enriched().unwrap();
    let partitions = kafka::partitions(&pipeline.bootstrap(), RAW).unwrap().len();
    topics(&pipeline).add_partitions(RAW, partitions + 2).unwrap();
    let added = i32::try_from(partitions).unwrap();
    for partition in [added, added + 1] {
        eventually("the broker leads the new partition", || {
            Ok(kafka::partitions(&pipeline.bootstrap(), RAW)?.contains(&partition))
        })
        .unwrap();
        publish_to(&pipeline, partition, 30, &format!("ADDED{partition}"));
    }
    eventually("ticks of new partitions arrive", || {
        Ok(pipeline.enriched()? >= before + 60)
    })
    .unwrap();
    SERVICES
        .iter()
        .for_each(|service| assert!(pipeline.stack().pid(*service).is_some(), "{service:?} has stopped"));
    agrees(&pipeline);
    let of_them = format!("SELECT count() FROM market_ticks WHERE raw_partition >= {added}");
    assert_eq!(pipeline.clickhouse.number(&of_them).unwrap(), 60);
}

#[test]
fn records_with_the_producers_time_are_dead_letters_and_their_topic_is_refused_at_start_up() {
    let pipeline = filled();
    agrees(&pipeline);
    topics(&pipeline)
        .set(RAW, "message.timestamp.type", "CreateTime")
        .unwrap();
    let letters = || {
        let letters = kafka::read_all(&pipeline.bootstrap(), "dlq")?;
        let of_this_kind =
            |letter: &&kafka::Record| letter.header("dp.error.code").as_deref() == Some("no_append_time");
        Ok::<usize, anyhow::Error>(letters.iter().filter(of_this_kind).count())
    };
    let before = letters().unwrap();
    publish_to(&pipeline, 3, 4, "CREATETIME");
    eventually("they become dead letters", || Ok(letters()? == before + 4)).unwrap();
    stop(&pipeline, &[Service::Normalization]);
    let message = refuses_to_run(&pipeline, Service::Normalization);
    all_hold(
        &message,
        &[RAW.to_owned(), "CreateTime".to_owned(), "`dp topics create`".to_owned()],
    );
    let answer = run_as_typed(&pipeline, &command_in(&message));
    assert!(answer.contains("message.timestamp.type"), "{answer}");
    start(&pipeline, &[Service::Normalization]);
    let enriched = pipeline.enriched().unwrap();
    publish_to(&pipeline, 3, 4, "APPENDTIME");
    eventually("good ones arrive", || Ok(pipeline.enriched()? == enriched + 4)).unwrap();
    agrees(&pipeline);
}
