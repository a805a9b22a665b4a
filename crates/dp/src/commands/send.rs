//! `dp send`: publishes one tick, or one message unchanged.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use markets::{Normalizer, NormalizerConfig, RawMessage};
use normalization::config::Config;
use serde::Serialize;
use serde_json::{Map, Value, json};
use service::{Env, Reader};
use stream::Brokers;
use stream::kafka::publisher::{Place, Publisher, Record};
use stream::kafka::settings::MAX_RAW_BYTES;
use stream::trace::{TRACEPARENT, Traceparent};

use ops::connection::Connection;
use ops::hints::command;
use ops::present::{found, print_either};
use ops::simulation::{EVENT_TYPE, source};

/// Publish one tick and show its partition and offset.
///
/// The tick is sent in shape A (envelope and payload). With --raw a message is sent unchanged, for example to test a
/// producer's JSON. The message is first parsed with normalization's code and settings (NORMALIZATION_VENUES and the others, on a
/// local stack with the venues of the running normalization); if it will become a dead letter, the command reports the reason, and
/// ends with exit code 1. It sends the message in both cases.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    dp send --market MISO --instrument MISO.INDIANA.HUB.RT5 --price 31.55 --volume 10\n  \
    dp send --market ERCOT --instrument ERCOT.HB_NORTH.RT15 --price=-4.2 --time 2026-10-01T00:05:00Z\n  \
    dp send --raw '{\"oops\":1}'        # then: dp tail dlq --limit 1\n  \
    dp send --raw @message.json --traceparent new   # then: dp trace with the id that it shows")]
pub struct Args {
    /// Market, case-insensitive: miso, caiso, ercot, pjm, nyiso, …
    #[arg(long, required_unless_present = "raw", conflicts_with = "raw")]
    market: Option<String>,
    /// Instrument id, also used as the Kafka key
    #[arg(long, required_unless_present = "raw")]
    instrument: Option<String>,
    /// Price as an exact decimal, for example 31.55 or -4.2
    #[arg(
        long,
        required_unless_present = "raw",
        conflicts_with = "raw",
        allow_hyphen_values = true
    )]
    price: Option<String>,
    /// Volume
    #[arg(long, conflicts_with = "raw", allow_hyphen_values = true)]
    volume: Option<String>,
    /// Best bid
    #[arg(long, conflicts_with = "raw", allow_hyphen_values = true)]
    bid: Option<String>,
    /// Best ask
    #[arg(long, conflicts_with = "raw", allow_hyphen_values = true)]
    ask: Option<String>,
    /// Pricing node
    #[arg(long, conflicts_with = "raw")]
    node: Option<String>,
    /// Zone
    #[arg(long, conflicts_with = "raw")]
    zone: Option<String>,
    /// Hub
    #[arg(long, conflicts_with = "raw")]
    hub: Option<String>,
    /// Product: rt5, rt15, rth, da, exante or trade
    #[arg(long, conflicts_with = "raw")]
    product: Option<String>,
    /// Event time: ISO 8601, or seconds, ms or µs since 1970 [default: now]
    #[arg(long, conflicts_with = "raw")]
    time: Option<String>,
    /// Event id; with the same source, id and values within NORMALIZATION_DEDUP_WINDOW_S (300 s) a message is dropped as a
    /// repetition, with other values it passes with flag event_id_reused [default: a new id]
    #[arg(long, conflicts_with = "raw")]
    event_id: Option<String>,
    /// Tenant [default: DATA_PROC_TENANT_ID]
    #[arg(long)]
    tenant: Option<String>,
    /// Send this message unchanged: its text, @FILE, or - for stdin
    #[arg(long, value_name = "TEXT|@FILE|-", allow_hyphen_values = true)]
    raw: Option<String>,
    /// Raw topic [default: the first of DATA_PROC_RAW_TOPICS]
    #[arg(long)]
    topic: Option<String>,
    /// Send it with this W3C trace context, or with a new one that is recorded: then its trace id is shown
    #[arg(long, value_name = "VALUE|new", value_parser = traceparent)]
    traceparent: Option<Traceparent>,
}

fn traceparent(text: &str) -> Result<Traceparent, String> {
    if text == "new" {
        return Ok(service::traces::random(true));
    }
    Traceparent::parse(text.as_bytes()).ok_or_else(|| {
        "must be `new`, or 00-TRACE-SPAN-FLAGS with 32, 16 and 2 hex digits in lower case, no id zero".to_owned()
    })
}

#[derive(Debug, Serialize)]
struct Sent {
    /// `topic/partition/offset/index`: the tick's id everywhere downstream.
    tick_id: String,
    topic: String,
    partition: i32,
    offset: i64,
    /// Id of its trace.
    trace_id: Option<String>,
    /// Why it will become a dead letter; `None` if it will not.
    will_be_refused: Option<String>,
}

/// Runs `dp send`.
pub async fn run(connection: &Connection, args: &Args) -> anyhow::Result<ExitCode> {
    let topic = connection.names.raw_topic(args.topic.as_deref());
    let topic = topic
        .map_err(|problem| anyhow::anyhow!("--topic {problem}; nothing was sent"))?
        .to_owned();
    let now = jiff::Timestamp::now();
    let payload = match &args.raw {
        Some(raw) => read_raw(raw)?,
        None => envelope(args, &connection.settings.tenant_id, now),
    };
    let config = normalizer(connection, args).await.context("nothing was sent")?;
    let will_be_refused = refusal(&payload, config, now);
    let (bootstrap, key, to) = (
        connection.settings.kafka_bootstrap.clone(),
        args.instrument.clone(),
        topic.clone(),
    );
    let parent = args.traceparent;
    let place = tokio::task::spawn_blocking(move || publish(&bootstrap, &to, key.as_deref(), &payload, parent))
        .await
        .context("send")??;
    let sent = Sent {
        tick_id: format!("{topic}/{}/{}/0", place.partition, place.offset),
        topic,
        partition: place.partition,
        offset: place.offset,
        trace_id: parent.map(|parent| parent.trace().to_string()),
        will_be_refused,
    };
    print_either(connection.json, &sent, || shown(connection, &sent))?;
    Ok(found(sent.will_be_refused.is_some()))
}

fn shown(connection: &Connection, sent: &Sent) -> String {
    let mut head = format!(
        "sent to {} partition {} offset {}",
        sent.topic, sent.partition, sent.offset
    );
    if let Some(trace) = &sent.trace_id {
        head = format!("{head}\nfollow it with: {}", command(&format!("dp trace {trace}")));
    }
    match &sent.will_be_refused {
        Some(reason) => format!(
            "{head}\nit will become a dead letter ({reason}); show it with: {}",
            command("dp tail dlq --limit 1")
        ),
        None => format!(
            "{head}\nshow its row with: {} \"SELECT instrument_id, price, timestamp FROM {} WHERE tick_id = '{}'\"",
            command("dp sql"),
            connection.names.table("market_ticks"),
            sent.tick_id
        ),
    }
}

fn publish(
    bootstrap: &Brokers,
    topic: &str,
    key: Option<&str>,
    payload: &[u8],
    parent: Option<Traceparent>,
) -> anyhow::Result<Place> {
    let parent = parent.map(|parent| parent.to_string());
    let headers: Vec<(&str, &[u8])> = parent.iter().map(|parent| (TRACEPARENT, parent.as_bytes())).collect();
    let record = Record {
        topic,
        key: key.map(str::as_bytes),
        payload: Some(payload),
        headers: &headers,
        ..Record::default()
    };
    Publisher::new(bootstrap, "dp-send")?
        .publish(&record)
        .with_context(|| format!("send to {topic} at {bootstrap}"))
}

fn read_raw(raw: &str) -> anyhow::Result<Vec<u8>> {
    if raw == "-" {
        return bounded(std::io::stdin().lock(), "stdin");
    }
    match raw.strip_prefix('@') {
        Some(file) => {
            let opened = std::fs::File::open(Path::new(file));
            bounded(opened.with_context(|| format!("read the message from {file}"))?, file)
        }
        None => Ok(raw.as_bytes().to_vec()),
    }
}

/// Reads the input completely, unless it is larger than a raw topic accepts.
fn bounded(input: impl Read, name: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input
        .take(MAX_RAW_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("read the message from {name}"))?;
    if bytes.len() > MAX_RAW_BYTES {
        bail!("{name} contains more than the {MAX_RAW_BYTES} bytes that a raw topic accepts; nothing was sent");
    }
    Ok(bytes)
}

fn envelope(args: &Args, default_tenant: &str, now: jiff::Timestamp) -> Vec<u8> {
    let mut raw_data = Map::new();
    let time = args.time.clone().unwrap_or_else(|| now.to_string());
    raw_data.insert("timestamp".to_owned(), json!(time));
    let texts = [
        ("price", &args.price),
        ("volume", &args.volume),
        ("bid", &args.bid),
        ("ask", &args.ask),
        ("node", &args.node),
        ("zone", &args.zone),
        ("hub", &args.hub),
        ("product", &args.product),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            // Numbers are sent as strings, so that no conversion to binary floating point changes them.
            raw_data.insert(name.to_owned(), Value::String(text.clone()));
        }
    }
    let event_id = args
        .event_id
        .clone()
        .unwrap_or_else(|| format!("send-{}-{}", now.as_nanosecond(), std::process::id()));
    json!({
        "envelope": {
            "event_type": EVENT_TYPE,
            "event_id": event_id,
            "timestamp": now.to_string(),
            "tenant_id": args.tenant.as_deref().unwrap_or(default_tenant),
            "source": source(args.market.as_deref().unwrap_or_default()),
            "version": "1.0",
        },
        "payload": { "market": args.market, "instrument_id": args.instrument, "raw_data": raw_data },
    })
    .to_string()
    .into_bytes()
}

/// The rules of the running normalization, as far as the settings of this process tell them (as for `dp verify`).
async fn normalizer(connection: &Connection, args: &Args) -> anyhow::Result<NormalizerConfig> {
    let config = settings(&connection.env)?;
    // A tick of this command is JSON, so it needs no schema registry.
    let wire = match args.raw {
        Some(_) => connection.wire().await?,
        None => codec::Wire::single_object(),
    };
    Ok(config.normalizer(&connection.settings.tenant_id, wire))
}

fn settings(env: &Env) -> anyhow::Result<Config> {
    let mut reader = Reader::new(env);
    let config = normalization::config::read(&mut reader);
    reader.finish()?;
    Ok(config)
}

fn refusal(payload: &[u8], config: NormalizerConfig, now: jiff::Timestamp) -> Option<String> {
    let message = RawMessage {
        feed: "dp-send",
        partition: 0,
        offset: 0,
        appended_at: now.as_microsecond(),
        key: None,
        payload,
        format: None,
        tenant: None,
        replay: None,
    };
    let read = Normalizer::new(config).normalize(&message, now.as_microsecond(), &mut |_| {});
    read.err().map(|rejection| rejection.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(arguments: &[&str]) -> Result<Args, String> {
        Cli::try_parse_from(std::iter::once(&"send").chain(arguments))
            .map(|cli| cli.args)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_sent_tick_is_accepted_by_the_normalizer_and_keeps_its_digits() {
        let args = parse(&[
            "--market",
            "miso",
            "--instrument",
            "MISO.A.RT5",
            "--price",
            "-9007199254.74099301",
        ])
        .unwrap();
        let now = jiff::Timestamp::now();
        let payload = envelope(&args, "default", now);
        assert_eq!(refusal(&payload, NormalizerConfig::default(), now), None);
        let sent: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(sent["payload"]["raw_data"]["price"], "-9007199254.74099301");
        // As the ingestion service of that market names its events.
        assert_eq!(sent["envelope"]["event_type"], "ingestion.market.raw.v1");
        assert_eq!(sent["envelope"]["source"], "ingestion.miso");
    }

    #[test]
    fn the_reason_for_a_dead_letter_is_known_before_the_message_is_sent() {
        let args = parse(&["--market", "atlantis", "--instrument", "X", "--price", "1"]).unwrap();
        let now = jiff::Timestamp::now();
        let reason = refusal(&envelope(&args, "default", now), NormalizerConfig::default(), now).unwrap();
        assert!(reason.starts_with("unknown_market: "), "{reason}");
    }

    #[test]
    fn a_tick_of_a_venue_is_judged_with_the_venues_of_normalization() {
        let args = parse(&["--market", "KRAKEN", "--instrument", "KRAKEN.XBTUSD", "--price", "1"]).unwrap();
        let now = jiff::Timestamp::now();
        let payload = envelope(&args, "default", now);
        let refusal_with = |venues: &str| {
            let env = Env::from([("NORMALIZATION_VENUES".to_owned(), venues.to_owned())]);
            let config = settings(&env).unwrap();
            refusal(
                &payload,
                config.normalizer("default", codec::Wire::single_object()),
                now,
            )
        };
        assert_eq!(refusal_with("KRAKEN:USDT:XBT"), None);
        let reason = refusal_with("ICE:USD:bbl").unwrap();
        assert!(reason.starts_with("unknown_market: "), "{reason}");
        let broken = Env::from([("NORMALIZATION_VENUES".to_owned(), "KRAKEN".to_owned())]);
        assert!(settings(&broken).is_err());
    }

    #[test]
    fn a_trace_context_is_checked_before_anything_is_sent() {
        let of = |value: &str| parse(&["--raw", "{}", "--traceparent", value]);
        let value = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(of(value).unwrap().traceparent.unwrap().to_string(), value);
        let new = of("new").unwrap().traceparent.unwrap();
        assert!(new.is_sampled() && of("new").unwrap().traceparent != Some(new));
        let error = of("0af7651916cd43dd8448eb211c80319c").unwrap_err();
        assert!(error.contains("00-TRACE-SPAN-FLAGS"), "{error}");
    }

    #[test]
    fn an_endless_file_is_refused_instead_of_read() {
        let error = bounded(std::io::repeat(b'0'), "/dev/zero").unwrap_err().to_string();
        assert!(
            error.contains("/dev/zero contains more than the 67108864 bytes"),
            "{error}"
        );
        assert_eq!(bounded(&b"{}"[..], "x").unwrap(), b"{}");
    }

    #[test]
    fn a_tick_without_a_price_and_a_raw_message_with_one_are_argument_errors() {
        let missing = parse(&["--market", "miso", "--instrument", "X"]).unwrap_err();
        assert!(missing.contains("--price"), "{missing}");
        let both = parse(&["--raw", "{}", "--price", "1"]).unwrap_err();
        assert!(both.contains("cannot be used with"), "{both}");
        assert!(parse(&["--raw", "-"]).is_ok());
    }
}
