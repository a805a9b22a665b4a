//! One file for each command or group of commands. A new command needs a variant of [`crate::cli::Command`] and a line in
//! `dispatch`.

pub mod alerts;
pub mod analyze;
pub mod backfill;
pub mod backup;
pub mod bench;
pub mod cache;
pub mod capacity;
pub mod check_market;
pub mod clickhouse;
pub mod completions;
pub mod config;
pub mod curve;
pub mod demo;
pub mod dlq;
pub mod doctor;
pub mod explain;
pub mod gaps;
pub mod groups;
pub mod health;
pub mod incident;
pub mod ingest;
pub mod kafka;
pub mod logs;
pub mod migrate;
pub mod net;
pub mod pause;
pub mod ping;
pub mod position;
pub mod postgres;
pub mod profile;
pub mod projection;
pub mod reconcile;
pub mod redis;
pub mod replay;
pub mod retention;
pub mod schema;
pub mod send;
pub mod simulate;
pub mod sql;
pub mod stack;
pub mod tail;
pub mod top;
pub mod topics;
pub mod trace;
pub mod verify;

use std::process::ExitCode;

use clap::CommandFactory as _;
use ops::connection::{Connection, READS_WAIT, WRITES_WAIT};
use ops::health::require;
use ops::interrupt::unless_interrupted;
use ops::place::Place;
use ops::progress::waiting;
use service::clients::Dependency;

use crate::cli::{Cli, Command};

/// Runs the command and returns its exit code.
pub async fn run(cli: &Cli, place: &Place) -> anyhow::Result<ExitCode> {
    // These handle Ctrl-C themselves: they stop or roll back what they have started.
    if let Command::Up(_) | Command::Start(_) | Command::Restart(_) | Command::Bench(_) | Command::Demo(_) =
        &cli.command
    {
        return dispatch(cli, place).await;
    }
    if let Command::Dlq(args) = &cli.command
        && args.ends_itself()
    {
        return dispatch(cli, place).await;
    }
    let work = unless_interrupted(dispatch(cli, place), || left_by(&cli.command, cli.yes).to_owned());
    match waits_for(&cli.command, cli.yes) {
        Some(what) => waiting(what, work).await,
        None => work.await,
    }
}

/// What to show while a command works that prints once, and asks nothing.
fn waits_for(command: &Command, yes: bool) -> Option<&'static str> {
    Some(match command {
        Command::Kafka(args) if args.prints_once(yes) => "reading groups and topics of Kafka",
        Command::Groups(_) => "reading groups and topics of Kafka",
        Command::Topics(args) if !args.writes() => "reading groups and topics of Kafka",
        Command::Position(args) if !args.writes() => "reading the positions and their logs",
        Command::Projection(args) if args.prints_once() => "reading the projections",
        Command::Cache(args) if !args.writes() => "reading Redis",
        Command::Redis(_) => "reading Redis",
        Command::Clickhouse(_) => "reading ClickHouse",
        Command::Postgres(args) if !args.writes() => "reading PostgreSQL",
        Command::Gaps(_) => "looking for missing intervals",
        Command::Health(_) => "asking services and servers",
        Command::Schema(args) if !args.writes(yes) => "checking schemas and messages",
        Command::Curve(args) if !args.needed_servers().is_empty() => "reading the curves",
        Command::Pause(args) if !args.writes() => "reading the orders",
        Command::Stop(_) | Command::Down => "stopping; services drain for up to 30 s",
        _ => return None,
    })
}

/// The servers without which the command cannot even begin. Kafka is awaited instead ([`reader`], [`publisher`]), and `dp verify` asks
/// itself, since it records that it could not.
fn needed_servers(command: &Command) -> Vec<Dependency> {
    match command {
        Command::Clickhouse(_)
        | Command::Retention(_)
        | Command::Gaps(_)
        | Command::CheckMarket(_)
        | Command::Explain(_)
        | Command::Trace(_) => vec![Dependency::ClickHouse],
        Command::Postgres(_) | Command::Projection(_) => vec![Dependency::Postgres],
        Command::Redis(args) if args.asks_redis() => vec![Dependency::Redis],
        Command::Cache(args) if !args.writes() => vec![Dependency::Redis],
        // Projection carries a request out with both of them; without one it would wait, and nobody would be told.
        Command::Cache(_) => vec![Dependency::Redis, Dependency::Postgres],
        Command::Reconcile(_) => vec![Dependency::ClickHouse, Dependency::Postgres],
        Command::Curve(args) => args.needed_servers(),
        Command::Backup(args) => args.needed_servers(),
        _ => Vec::new(),
    }
}

/// What an interrupted command has left behind.
fn left_by(command: &Command, yes: bool) -> &'static str {
    match command {
        Command::Sql(args) if args.writes() => {
            "the statement may still run in ClickHouse; its changes are not rolled back"
        }
        Command::Down | Command::Stop(_) => "some processes may be stopped already; `dp status` shows what still runs",
        Command::CleanData(args) if args.removes() => "some data may be left; run the command again to remove it",
        Command::Migrate(_) => "some migrations may be applied; run the command again to apply the rest",
        Command::Topics(args) if args.writes() => {
            "some topics may be created; run the command again to create the rest"
        }
        Command::Projection(args) if args.writes() => {
            "what is served is complete; run the command again to continue at the last checkpoint"
        }
        Command::Projection(args) if args.is_dry_run() => {
            "nothing that is served was changed; the next rebuild or dry run removes the copy"
        }
        Command::Backfill(args) if args.writes() => {
            "what was replayed or written stays, and nothing is doubled; run the command again for the rest"
        }
        Command::Reconcile(args) if args.writes() => {
            "what was written stays, and nothing is doubled; run the command again for the rest"
        }
        Command::Position(args) if args.writes() => "some positions may be moved; `dp position show` lists them",
        Command::Cache(args) if args.writes() => "the request may be published; it can be repeated without harm",
        Command::Pause(args) if args.writes() => "the order may be given; `dp pause` lists what is paused",
        Command::Resume(_) => "the order may be given; `dp pause` lists what is still paused",
        Command::Alerts(_) => "`dp alerts list` shows the silences",
        Command::Backup(args) => args.left_by(yes),
        Command::Retention(args) if args.writes(yes) => {
            "ClickHouse goes on removing the rows that it has begun; run the command again for the rest"
        }
        Command::Postgres(args) if args.writes() => {
            "the sessions may have ended; `dp postgres activity` lists the others"
        }
        Command::Schema(args) if args.writes(yes) => {
            "the schema may be registered; run the command again to see its version"
        }
        Command::Kafka(args) if args.writes(yes) => {
            "some offsets may be set; `dp kafka lag` shows them, and the command can be run again"
        }
        Command::Dlq(args) if args.writes() => {
            "some letters may be removed or given up; `dp dlq purge --dry-run` shows what is left"
        }
        Command::Logs(args) if args.writes() => {
            "the level may be changed; `dp logs level SERVICE` shows it, and --reset brings that of the settings back"
        }
        // Blocks on a thread of its own, which is not interrupted.
        Command::Send(_) => "the message may be published; `dp tail raw --limit 1` shows the newest one",
        Command::Simulate(_) | Command::Ingest(_) => "nothing was published",
        _ => "nothing was changed",
    }
}

async fn dispatch(cli: &Cli, place: &Place) -> anyhow::Result<ExitCode> {
    let json = cli.json;
    let connect = || Connection::resolve(place, json);
    let on_kafka = |writes| publisher_or_reader(cli, place, writes);
    let on_stores = |writes| writer_or_not(cli, place, writes);
    let needed = needed_servers(&cli.command);
    if !needed.is_empty() {
        require(place, &connect()?, &needed).await?;
    }
    match &cli.command {
        Command::Up(args) => stack::up(place, args, json).await,
        Command::Down => stack::down(place, json).await,
        Command::Status => return stack::status(place, json),
        Command::Logs(args) => return logs::run(place, args, json).await,
        Command::Start(args) => stack::start(place, args, json).await,
        Command::Stop(args) => stack::stop(place, args, json).await,
        Command::Restart(args) => stack::restart(place, args, json).await,
        Command::Ps => stack::ps(place, json),
        Command::CleanData(args) => stack::clean_data(place, *args, cli.yes, json).await,
        Command::Config(args) => return config::run(place, args, json),
        Command::Doctor(args) => return doctor::run(place, &connect()?, args).await,
        Command::Health(args) => return health::run(place, &connect()?, args).await,
        Command::Alerts(args) => return alerts::run(place, &connect()?, args, cli.yes).await,
        Command::Incident(args) => return incident::run(place, &connect()?, args).await,
        Command::Analyze(args) => return analyze::run(place, &connect()?, args).await,
        Command::Capacity(args) => return capacity::run(place, &connect()?, args).await,
        Command::Top(args) => return top::run(place, &connect()?, args).await,
        Command::Ping(args) => return ping::run(place, args, json).await,
        Command::Completions(args) => completions::run(args, &mut Cli::command()),
        Command::Topics(args) if args.writes() => topics::run(&publisher(cli, place).await?, args, cli.yes).await,
        Command::Topics(args) => topics::run(&connect()?, args, cli.yes).await,
        Command::Migrate(args) => return migrate::run(&writer(cli, place).await?, args).await,
        Command::Simulate(args) => simulate::run(&publisher(cli, place).await?, args).await,
        Command::Send(args) => return send::run(&publisher(cli, place).await?, args).await,
        Command::Ingest(args) => ingest::run(&publisher(cli, place).await?, args).await,
        Command::Backfill(args) => return backfill::run(&on_kafka(args.writes()).await?, args, cli.yes).await,
        Command::Tail(args) => tail::run(&reader(cli, place).await?, args).await,
        Command::Sql(args) => sql::run(&on_stores(args.writes()).await?, args, cli.yes).await,
        Command::Groups(args) => groups::run(&reader(cli, place).await?, args).await,
        Command::Position(args) => return position::run(place, &on_kafka(args.writes()).await?, args, cli.yes).await,
        Command::Projection(args) => return projection::run(&on_kafka(args.writes()).await?, args, cli.yes).await,
        Command::Pause(args) => return pause::pause(place, &on_kafka(args.writes()).await?, args).await,
        Command::Resume(args) => return pause::resume(place, &publisher(cli, place).await?, args).await,
        Command::Kafka(args) => return kafka::run(&on_kafka(args.writes(cli.yes)).await?, args, cli.yes).await,
        Command::Dlq(args) => return dlq::run(&on_kafka(args.writes()).await?, args, cli.yes).await,
        Command::Backup(args) => {
            return backup::run(place, &backup_connection(cli, place, args).await?, args, cli.yes).await;
        }
        Command::Retention(args) => {
            return retention::run(&on_stores(args.writes(cli.yes)).await?, args, cli.yes).await;
        }
        Command::Clickhouse(args) => return clickhouse::run(&connect()?, args).await,
        Command::Profile(args) => profile::run(place, &connect()?, args).await,
        Command::Postgres(args) => return postgres::run(&on_stores(args.writes()).await?, args, cli.yes).await,
        Command::Schema(args) => return schema::run(&on_stores(args.writes(cli.yes)).await?, args, cli.yes).await,
        Command::Net(args) => return net::run(&connect()?, args).await,
        Command::Cache(args) if args.writes() => return cache::run(&publisher(cli, place).await?, args, cli.yes).await,
        Command::Cache(args) => return cache::run(&connect()?, args, cli.yes).await,
        Command::Redis(args) => return redis::run(&connect()?, args).await,
        Command::Verify(args) => return verify::run(place, &connect()?, args).await,
        Command::Reconcile(args) => return reconcile::run(&on_kafka(args.writes()).await?, args, cli.yes).await,
        Command::Explain(args) => return explain::run(place, &reader(cli, place).await?, args).await,
        Command::Trace(args) => return trace::run(&reader(cli, place).await?, args).await,
        Command::Replay(args) => return replay::run(&connect()?, args),
        Command::Gaps(args) => return gaps::run(&connect()?, args).await,
        Command::Curve(args) => return curve::run(args, connect, json).await,
        Command::CheckMarket(args) => return check_market::run(&connect()?, args).await,
        Command::Bench(args) => match args.produces() {
            Some(load) => return bench::produce(&publisher(cli, place).await?, args, load).await,
            None => return bench::run(place, args, json).await,
        },
        Command::Demo(args) => return demo::run(place, args, json).await,
    }?;
    Ok(ExitCode::SUCCESS)
}

/// For a command that reads Kafka.
async fn reader(cli: &Cli, place: &Place) -> anyhow::Result<Connection> {
    let connection = Connection::resolve(place, cli.json)?;
    connection.await_kafka(READS_WAIT).await?;
    Ok(connection)
}

/// For a command that publishes, or only reads Kafka.
async fn publisher_or_reader(cli: &Cli, place: &Place, publishes: bool) -> anyhow::Result<Connection> {
    match publishes {
        true => publisher(cli, place).await,
        false => reader(cli, place).await,
    }
}

/// For a command that changes what a store has, or only asks.
async fn writer_or_not(cli: &Cli, place: &Place, writes: bool) -> anyhow::Result<Connection> {
    match writes {
        true => writer(cli, place).await,
        false => Connection::resolve(place, cli.json),
    }
}

/// For a backup. A restore does nothing without `--yes`, so it need not ask.
async fn backup_connection(cli: &Cli, place: &Place, args: &backup::Args) -> anyhow::Result<Connection> {
    match args.reads_kafka() {
        true => reader(cli, place).await,
        false => Connection::resolve(place, cli.json),
    }
}

/// For a command that changes data or tables.
async fn writer(cli: &Cli, place: &Place) -> anyhow::Result<Connection> {
    let connection = Connection::resolve(place, cli.json)?;
    connection.confirm_write(cli.yes).await?;
    Ok(connection)
}

/// For a command that publishes.
async fn publisher(cli: &Cli, place: &Place) -> anyhow::Result<Connection> {
    let connection = writer(cli, place).await?;
    connection.await_kafka(WRITES_WAIT).await?;
    Ok(connection)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn left(line: &str) -> &'static str {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        left_by(&cli.command, cli.yes)
    }

    /// Commands without an entry in `waits_for`, with what they show instead.
    const SHOWS_ELSEWHERE: [(&str, &str); 32] = [
        ("up", "each process that is started"),
        ("start", "each process that is awaited"),
        ("restart", "each process that is awaited"),
        ("clean-data", "asks, then what it stops"),
        ("status", "local processes, read without waiting"),
        ("ps", "local processes, read without waiting"),
        ("doctor", "its own wait"),
        ("top", "a live screen"),
        ("analyze", "its own bar"),
        ("capacity", "its own bar"),
        ("profile", "its own wait"),
        ("alerts", "its own wait"),
        ("incident", "its own bar"),
        ("ping", "one request, with a limit of its own"),
        ("logs", "lines as they come, or its own wait"),
        ("migrate", "its own wait for each server"),
        ("simulate", "its own bar"),
        ("send", "the wait for Kafka"),
        ("ingest", "its own bar"),
        ("backfill", "its own bars"),
        ("tail", "messages as they come"),
        ("sql", "its own wait"),
        ("resume", "its own bar"),
        ("dlq", "its own wait, or its own bar"),
        ("backup", "its own bars"),
        ("retention", "its own wait"),
        ("net", "its own wait"),
        ("verify", "its own waits and bars"),
        ("reconcile", "its own waits and bars"),
        ("explain", "its own wait"),
        ("trace", "its own wait"),
        ("check-market", "its own bar"),
    ];
    /// Commands that need neither a server nor two seconds, or run others that report.
    const SHOWS_NOTHING: [&str; 5] = ["replay", "config", "completions", "bench", "demo"];

    #[test]
    fn every_command_says_what_it_waits_for_or_is_excepted_by_name() {
        let mut named: Vec<&str> = SHOWS_ELSEWHERE.iter().map(|(name, _)| *name).collect();
        named.extend(SHOWS_NOTHING);
        for line in [
            "dp down",
            "dp stop",
            "dp health",
            "dp topics list",
            "dp groups",
            "dp position show",
            "dp projection list",
            "dp pause",
            "dp kafka groups",
            "dp clickhouse processes",
            "dp postgres locks",
            "dp redis memory",
            "dp cache status",
            "dp schema validate",
            "dp gaps",
            "dp curve list",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert!(waits_for(&cli.command, cli.yes).is_some(), "{line}");
            named.extend(line.split(' ').nth(1));
        }
        let command = Cli::command();
        let mut all: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        named.sort_unstable();
        all.sort_unstable();
        assert_eq!(named, all);
    }

    #[test]
    fn an_interrupted_command_says_what_it_may_have_done() {
        for (line, said) in [
            ("dp dlq purge --open --yes", "letters may be removed"),
            ("dp dlq purge --open --dry-run", "nothing was changed"),
            ("dp dlq list", "nothing was changed"),
            ("dp clean-data", "some data may be left"),
            ("dp clean-data --dry-run", "nothing was changed"),
            ("dp cache invalidate --all", "request may be published"),
            ("dp cache invalidate --all --dry-run", "nothing was changed"),
            ("dp logs level normalization debug", "level may be changed"),
            ("dp logs level normalization --reset", "level may be changed"),
            ("dp logs level normalization", "nothing was changed"),
            ("dp send --raw x", "may be published"),
            ("dp position accept enrichment", "positions may be moved"),
            ("dp position accept enrichment --dry-run", "nothing was changed"),
            (
                "dp projection rebuild latest_price --full",
                "continue at the last checkpoint",
            ),
            (
                "dp projection rebuild latest_price --full --dry-run",
                "nothing that is served was changed",
            ),
        ] {
            assert!(left(line).contains(said), "{line}: {}", left(line));
        }
    }

    #[test]
    fn a_command_that_asks_or_prints_while_it_works_has_no_spinner() {
        for (line, waits) in [
            ("dp kafka groups", true),
            ("dp kafka tail raw --follow", false),
            ("dp kafka reset-offsets --group g --to earliest --yes", false),
            ("dp topics list", true),
            ("dp topics create", false),
            ("dp position show", true),
            ("dp position accept enrichment", false),
            ("dp postgres locks", true),
            ("dp postgres terminate 1", false),
            ("dp projection list", true),
            ("dp projection rebuild latest_price --full", false),
            ("dp projection rebuild latest_price --full --dry-run", false),
            ("dp tail raw", false),
            ("dp schema check-compat bar.avsc", true),
            ("dp schema register bar.avsc --yes", false),
            ("dp curve show CURVE", true),
            ("dp curve build quotes.csv", false),
            ("dp pause enrichment", false),
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(waits_for(&cli.command, cli.yes).is_some(), waits, "{line}");
        }
    }

    #[test]
    fn a_command_first_asks_whether_the_servers_that_it_reads_answer() {
        for (line, names) in [
            ("dp clickhouse processes", "clickhouse"),
            ("dp postgres locks", "postgres"),
            ("dp redis memory", "redis"),
            ("dp redis sentinel", ""),
            ("dp cache status", "redis"),
            ("dp cache refresh", "redis postgres"),
            ("dp cache invalidate --all --dry-run", "redis"),
            ("dp reconcile", "clickhouse postgres"),
            ("dp verify", ""),
            ("dp health", ""),
            ("dp start clickhouse", ""),
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            let needed: Vec<&str> = needed_servers(&cli.command).iter().map(|one| one.name()).collect();
            assert_eq!(needed.join(" "), names, "{line}");
        }
    }
}
