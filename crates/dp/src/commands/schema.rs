//! `dp schema`: the schemas of the pipeline, whether messages and changed schemas fit them, and their registration.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::builder::PossibleValuesParser;
use codec::changed::Changed;
use ops::connection::{Connection, READS_WAIT};
use ops::present::{found, print_either, printable, table};
use ops::schema_registration::{Registration, register};
use ops::schemas::{Compatibility, Known, compare, known, topics_of};
use ops::topic_names::resolve;
use reconcile::explain::session::own_settings;
use reconcile::messages::{Checked, ReadAgain, Sample, of_file, of_topic, read_again};
use reconcile::raw::Rules;
use stream::kafka::reader::LogReader;

/// List the schemas, check messages and changed schemas against them, and register a schema
///
/// Only register changes something, and only with --yes.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 everything fits; 1 something does not; 2 a server is unavailable, or wrong usage\n\n\
    Examples:\n  dp schema list\n  dp schema validate --topic raw --limit 100\n  dp schema check-compat bar.avsc\n  \
    dp schema register bar.avsc --dry-run"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the Avro schemas with fingerprint, topics and older versions
    ///
    /// Connects to no server.
    #[command(after_help = "Examples:\n  dp schema list\n  dp schema list --json | jq -r '.[].fingerprint'")]
    List,
    Validate(ValidateArgs),
    CheckCompat(CheckCompatArgs),
    Register(RegisterArgs),
}

impl Args {
    /// Whether a schema is registered.
    pub fn writes(&self, yes: bool) -> bool {
        matches!(&self.command, Command::Register(args) if yes && !args.dry_run)
    }
}

/// Check the schemas, or messages of a topic or of files
///
/// Without --topic and FILE it checks the schemas themselves, and that each older version can still be read. Raw messages are checked
/// with normalization's rules, so what is valid here becomes ticks; each problem names its code and place. Files may also contain
/// documents of market operators.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp schema validate\n  dp schema validate --topic ingestion.market.raw.v1 --limit 1 --from-beginning\n  \
    dp schema validate message.json\n  dp schema validate --topic raw --json | jq '.[] | select(.problems != [])'"
)]
struct ValidateArgs {
    /// Files with one message each
    #[arg(value_name = "FILE", conflicts_with = "topic")]
    files: Vec<PathBuf>,
    /// Check messages of this topic; short names such as raw and bars are accepted
    #[arg(long)]
    topic: Option<String>,
    /// Number of messages to check
    #[arg(long = "limit", alias = "max", value_name = "N", default_value_t = 100, requires = "topic", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    max: u32,
    /// Check the oldest messages instead of the newest
    #[arg(long, requires = "topic")]
    from_beginning: bool,
    /// Format of the files, for documents whose content does not tell
    #[arg(long = "as", value_name = "FORMAT", value_parser = PossibleValuesParser::new(markets::FORMATS.iter().map(|format| format.name)))]
    format: Option<String>,
}

/// Check whether a changed schema can replace the current one
///
/// The schema is compared with the current one of the same name. Exit code 1 if records that exist could not be read with it, or would
/// change their meaning. With --messages it also reads records that exist, and names the field that stops it; without, it connects to no
/// server.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp schema check-compat bar.avsc\n  dp schema check-compat tick.avsc --messages 1000\n  \
    dp schema check-compat tick.avsc --messages 1000 --json | jq .messages.unreadable"
)]
struct CheckCompatArgs {
    /// The changed schema
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Also read the records among the newest N messages of each of its topics with the changed schema
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    messages: Option<u32>,
}

/// A comparison, and what was read.
#[derive(serde::Serialize)]
struct Judged {
    #[serde(flatten)]
    compared: Compatibility,
    /// Only with --messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<ReadAgain>,
}

/// Register a changed schema at the schema registry; without --yes only check whether it can be
///
/// The schema is compared with the current one of the same name, as check-compat does, and then by the registry with the newest version
/// of the subject that has this name. Exit code 1 if one of them objects; then nothing is registered. Services register the schemas that
/// they write when they start: this is for a schema that readers should get to know, or the registry should refuse, before a
/// release. The registry is that of DATA_PROC_SCHEMA_REGISTRY_URL.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp schema register bar.avsc --dry-run\n  dp schema register bar.avsc --yes\n  \
    dp schema register bar.avsc --yes --json | jq .registered.id"
)]
struct RegisterArgs {
    /// The schema
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only check, which is also the default
    #[arg(long)]
    dry_run: bool,
}

/// Runs `dp schema`; without `yes` nothing is registered.
///
/// # Errors
/// Kafka or the registry does not answer, a file cannot be read, or its schema is not known.
pub async fn run(connection: &Connection, args: &Args, yes: bool) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::List => {
            let known = known(&connection.names);
            print_either(connection.json, &known, || known_text(&known))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Validate(args) => validate(connection, args).await,
        Command::CheckCompat(args) => check_compat(connection, args).await,
        Command::Register(chosen) => {
            let shown = chosen.file.display();
            let registered = register(connection, &text_of(&chosen.file)?, args.writes(yes)).await;
            let registered = registered.with_context(|| format!("register {shown}"))?;
            print_either(connection.json, &registered, || {
                registration_text(&registered, &shown.to_string())
            })?;
            Ok(found(!registered.fits()))
        }
    }
}

async fn check_compat(connection: &Connection, args: &CheckCompatArgs) -> anyhow::Result<ExitCode> {
    let (shown, text) = (args.file.display(), text_of(&args.file)?);
    let compared = compare(&text).with_context(|| format!("check {shown}"))?;
    let messages = match args.messages {
        Some(most) => Some(read_with(connection, &text, most as usize).await?),
        None => None,
    };
    let is_unreadable = messages.as_ref().is_some_and(|read| !read.unreadable.is_empty());
    let judged = Judged { compared, messages };
    print_either(connection.json, &judged, || judged_text(&judged))?;
    Ok(found(judged.compared.backward.is_some() || is_unreadable))
}

/// Reads the newest records of the topics of a changed schema with it.
async fn read_with(connection: &Connection, text: &str, most: usize) -> anyhow::Result<ReadAgain> {
    let changed = Changed::new(text)?;
    connection.await_kafka(READS_WAIT).await?;
    let (bootstrap, wire) = (connection.settings.kafka_bootstrap.clone(), connection.wire().await?);
    let topics = topics_of(changed.record(), &connection.names);
    tokio::task::spawn_blocking(move || read_again(&LogReader::new(&bootstrap)?, &wire, &topics, &changed, most))
        .await
        .context("read records")?
        .context("read records with the changed schema")
}

fn text_of(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))
}

async fn validate(connection: &Connection, args: &ValidateArgs) -> anyhow::Result<ExitCode> {
    let checked = match &args.topic {
        Some(topic) => of_messages(connection, topic, args).await?,
        None if !args.files.is_empty() => of_files(connection, args).await?,
        None => {
            let known = known(&connection.names);
            print_either(connection.json, &known, || known_text(&known))?;
            return Ok(found(known.iter().any(|schema| schema.problem.is_some())));
        }
    };
    print_either(connection.json, &checked, || checked_text(&checked))?;
    Ok(found(!checked.iter().all(Checked::is_valid)))
}

async fn of_messages(connection: &Connection, topic: &str, args: &ValidateArgs) -> anyhow::Result<Vec<Checked>> {
    let topic = resolve(&connection.names, topic)?;
    connection.await_kafka(READS_WAIT).await?;
    let (rules, wire, names) = (
        rules(connection).await?,
        connection.wire().await?,
        connection.names.clone(),
    );
    let sample = Sample {
        most: args.max as usize,
        oldest: args.from_beginning,
    };
    let asked = topic.clone();
    tokio::task::spawn_blocking(move || of_topic(&rules, &wire, &names, &asked, sample))
        .await
        .context("check messages")?
        .with_context(|| format!("read {topic}: does it exist (`dp kafka topics`)?"))
}

async fn of_files(connection: &Connection, args: &ValidateArgs) -> anyhow::Result<Vec<Checked>> {
    let config = rules(connection).await?.config;
    let now = jiff::Timestamp::now().as_microsecond();
    let mut checked = Vec::new();
    for file in &args.files {
        let shown = file.display().to_string();
        let content = std::fs::read(file).with_context(|| format!("read {shown}"))?;
        if content.is_empty() {
            bail!("{shown} is empty");
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let format = args
            .format
            .as_deref()
            .or_else(|| markets::detect_format(&name, &content));
        checked.push(of_file(&config, &shown, &content, format, now));
    }
    Ok(checked)
}

/// Normalization's rules under the settings in effect.
async fn rules(connection: &Connection) -> anyhow::Result<Rules> {
    let (config, _) = own_settings(connection)?;
    Ok(Rules {
        bootstrap: connection.settings.kafka_bootstrap.clone(),
        limits: config.window,
        config: config.normalizer(&connection.settings.tenant_id, connection.wire().await?),
    })
}

fn known_text(known: &[Known]) -> String {
    let rows = known.iter().map(|schema| {
        vec![
            schema.name.to_owned(),
            schema.fingerprint.clone(),
            schema.topics.join(", "),
            schema.problem.clone().unwrap_or_else(|| "ok".to_owned()),
            schema.fields.to_string(),
            schema.older.to_string(),
        ]
    });
    table(
        &["schema", "fingerprint", "topics", "", "fields", "older versions"],
        4,
        rows,
    )
}

fn checked_text(checked: &[Checked]) -> String {
    let invalid: Vec<&Checked> = checked.iter().filter(|checked| !checked.is_valid()).collect();
    let mut text = problems_text(invalid.iter().copied());
    text.push_str(&match invalid.len() {
        0 => format!("{} message(s) checked, all valid", checked.len()),
        number => format!("{} message(s) checked, {number} invalid", checked.len()),
    });
    text
}

fn problems_text<'c>(invalid: impl Iterator<Item = &'c Checked>) -> String {
    let mut text = String::new();
    for message in invalid {
        text.push_str(&format!("{}\n", printable(&message.message)));
        for problem in &message.problems {
            text.push_str(&format!("  {}\n", printable(problem)));
        }
    }
    text
}

fn compatibility_text(compared: &Compatibility) -> String {
    let record = compared.record;
    let backward = match &compared.backward {
        None => format!("records of the current schema {record} can be read with this one"),
        Some(why) => format!("records of the current schema {record} cannot be read with this one: {why}"),
    };
    let forward = match &compared.forward {
        None => "programs with the current schema can read its records".to_owned(),
        Some(why) => format!(
            "update readers before writers, since programs with the current schema cannot read its records: {why}"
        ),
    };
    format!("{}\n{}", printable(&backward), printable(&forward))
}

fn judged_text(judged: &Judged) -> String {
    let compared = compatibility_text(&judged.compared);
    let Some(read) = &judged.messages else {
        return compared;
    };
    let last = match (read.records, read.unreadable.len()) {
        (0, _) => "none of the newest messages of its topics is such a record".to_owned(),
        (all, 0) => format!("{all} record(s) were read with it"),
        (all, number) => format!("{number} of {all} record(s) cannot be read with it"),
    };
    format!("{compared}\n{}{last}", problems_text(read.unreadable.iter()))
}

fn registration_text(registration: &Registration, file: &str) -> String {
    let Registration {
        registry,
        subject,
        compatibility,
        refusal,
        registered,
        executed,
    } = registration;
    let at = format!("subject {subject} of {registry}");
    let outcome = match (registered, refusal) {
        (Some(version), _) => {
            let since = if *executed { "now" } else { "already" };
            let (number, id) = (version.version, version.id);
            format!("it is {since} version {number} of {at}, with id {id}")
        }
        (None, Some(why)) => {
            format!("nothing was registered: the registry refuses it as the next version of {at}: {why}")
        }
        (None, None) if compatibility.backward.is_some() => "nothing was registered".to_owned(),
        (None, None) => {
            format!("nothing was registered; `dp schema register {file} --yes` makes it the next version of {at}")
        }
    };
    format!("{}\n{}", compatibility_text(compatibility), printable(&outcome))
}
