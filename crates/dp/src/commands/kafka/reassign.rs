//! `dp kafka plan-reassign`: arguments and the file.

use std::process::ExitCode;

use ops::connection::Connection;
use ops::present::print_json;
use ops::reassign::plan;
use ops::topic_names::resolve;

/// Plan which brokers have which partitions, as input of kafka-reassign-partitions
///
/// Prints the file for --reassignment-json-file, and on stderr how much it moves. Replicas that may stay are kept, so after a broker
/// was added or removed only what must move does. Nothing is moved: carry it out with kafka-reassign-partitions --execute, and check
/// with --verify. Data moves through the network, so use --throttle on a busy cluster.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  dp kafka plan-reassign > reassign.json\n  \
    dp kafka plan-reassign --brokers 1 --replication 1 > reassign.json\n  dp kafka plan-reassign --topic raw --topic dlq")]
pub struct Args {
    /// Brokers to use, separated by commas [default: all that run]
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    brokers: Vec<i32>,
    /// Replicas of each partition [default: as many as it has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    replication: Option<u32>,
    /// Only this topic; may be repeated [default: all topics of the pipeline]
    #[arg(long)]
    topic: Vec<String>,
}

/// Runs `dp kafka plan-reassign`.
///
/// # Errors
/// Kafka does not answer, a topic or broker does not exist, or there are too few brokers.
pub async fn run(connection: &Connection, args: &Args) -> anyhow::Result<ExitCode> {
    let topics = match args.topic.is_empty() {
        true => {
            let listed = ops::topics::list(connection).await?;
            let existing = listed.into_iter().filter(|topic| topic.id.is_some());
            existing.map(|topic| topic.name).collect()
        }
        false => {
            let named = args.topic.iter().map(|topic| resolve(&connection.names, topic));
            named.collect::<anyhow::Result<Vec<String>>>()?
        }
    };
    let replication = args.replication.map(|replication| replication as usize);
    let plan = plan(connection, topics, &args.brokers, replication).await?;
    eprintln!(
        "{} of {} partitions change, {} copies move to another broker; kafka-reassign-partitions --execute does it",
        plan.changed,
        plan.file.partitions.len(),
        plan.moved
    );
    print_json(&plan.file)?;
    Ok(ExitCode::SUCCESS)
}
