//! `dp cache`: the copies of prices in Redis, and requests to projection to drop or rewrite them.

use std::process::ExitCode;

use ops::cache::{Chosen, Copies, Sent, get, message, nothing_found, publish, status};
use ops::connection::Connection;
use ops::consent;
use ops::migrations::stores;
use ops::present::{found, print_either, printable, table};
use projection::core::invalidation::{Action, Invalidation};
use serde::Serialize;
use stores::redis::Key;

use crate::cells::count;

/// Look at the copies of prices in Redis; have projection drop them, or write them again
///
/// Redis holds copies of what PostgreSQL has. invalidate and refresh publish a request on topic projection.invalidation.v1; projection
/// carries it out and publishes a notice on Redis channel cache:invalidation. If it does not run, the request waits for it. A request
/// about an unknown instrument or key is published, too, and the command says what it did not find. Nothing is published while Redis or
/// PostgreSQL does not answer.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 fine; 1 there is no such key, instrument, curve or series; 2 a server is unavailable, or wrong usage\n\n\
    Examples:\n  dp cache status\n  dp cache get served:latest_price:default:NG_HH_M1\n  dp cache refresh --instrument NG_HH_M1\n  \
    dp cache invalidate --all --yes"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show how many latest prices of each tenant are in Redis
    #[command(
        after_help = "Examples:\n  dp cache status\n  dp cache status --json | jq '.[] | {tenant_id, latest_prices}'"
    )]
    Status,
    /// Show the value of a key
    ///
    /// A price has the field `standing` in front, by which an older price never replaces a newer one. Exit code 1 if there is no such key.
    #[command(after_help = "Examples:\n  dp cache get served:latest_price:default:NG_HH_M1\n  \
        dp cache get served:latest_price:default:NG_HH_M1 --json | jq -r .value")]
    Get {
        /// The key, as `dp redis keys` shows it
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// Have projection drop copies, and write prices again from PostgreSQL
    ///
    /// For copies that were changed by hand. A price is missing for milliseconds, after --all for a second or two. A value of
    /// served:custom is written again if its type is derived_price or PROJECTION_CUSTOM defines it, otherwise by the program that owns it.
    #[command(
        after_help = "Examples:\n  dp cache invalidate --instrument NG_HH_M1\n  dp cache invalidate --key served:custom:vwap:acme:NG_HH_M1\n  \
        dp cache invalidate --all --dry-run\n  dp cache invalidate --all --yes"
    )]
    Invalidate(InvalidateArgs),
    /// Have projection write prices to Redis again from PostgreSQL, without dropping them
    ///
    /// For copies that are missing; a newer copy stays. Without --instrument, all prices, curves and derived prices of all tenants.
    #[command(after_help = "Examples:\n  dp cache refresh\n  dp cache refresh --instrument NG_HH_M1 --tenant acme")]
    Refresh(RefreshArgs),
}

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("copies").required(true)))]
struct InvalidateArgs {
    /// The latest price of this instrument
    #[arg(long, value_name = "ID", group = "copies")]
    instrument: Option<String>,
    /// The copy with this key: of served:latest_price, served:curve_snapshot or served:custom
    #[arg(long, value_name = "KEY", group = "copies")]
    key: Option<String>,
    /// All latest prices, curves and derived prices of all tenants; asks for confirmation
    #[arg(long, group = "copies")]
    all: bool,
    /// Only say which copies would be dropped
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    about: About,
}

#[derive(Debug, clap::Args)]
struct RefreshArgs {
    /// Only the latest price of this instrument
    #[arg(long, value_name = "ID")]
    instrument: Option<String>,
    #[command(flatten)]
    about: About,
}

#[derive(Debug, clap::Args)]
struct About {
    /// Tenant of the instrument [default: DATA_PROC_TENANT_ID]
    #[arg(long, value_name = "TENANT", requires = "instrument")]
    tenant: Option<String>,
    /// Why; appears in the notice
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Args {
    /// Whether the command publishes a request.
    pub fn writes(&self) -> bool {
        match &self.command {
            Command::Invalidate(args) => !args.dry_run,
            Command::Refresh(_) => true,
            Command::Status | Command::Get { .. } => false,
        }
    }
}

/// Runs `dp cache`; `yes` skips the question before all copies are dropped.
///
/// # Errors
/// A server does not answer, or the user does not confirm.
pub async fn run(connection: &Connection, args: &Args, yes: bool) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Status => {
            let copies = status(&stores(connection)?.redis).await?;
            print_either(connection.json, &copies, || status_text(&copies))?;
        }
        Command::Get { key } => {
            let copy = get(&stores(connection)?.redis, key).await?;
            let text = || {
                copy.value
                    .as_deref()
                    .map_or_else(|| format!("there is no key {}", printable(key)), printable)
            };
            print_either(connection.json, &copy, text)?;
            return Ok(found(copy.value.is_none()));
        }
        Command::Invalidate(args) => {
            let chosen = match (&args.key, args.all) {
                (_, true) => Chosen::All,
                (Some(key), _) => Chosen::Key(key.clone()),
                (None, false) => price(connection, args.instrument.as_deref().unwrap_or_default(), &args.about),
            };
            if args.dry_run {
                let would = would_drop(connection, chosen, &args.about).await?;
                print_either(connection.json, &would, || would_text(&would))?;
                return Ok(ExitCode::SUCCESS);
            }
            if chosen == Chosen::All {
                let what = "drop the copies of all prices, curves and derived prices in Redis";
                consent::ask(what, "invalidate", yes).await?;
            }
            return ask(connection, Action::Invalidate, chosen, &args.about).await;
        }
        Command::Refresh(args) => {
            let chosen = match &args.instrument {
                Some(instrument) => price(connection, instrument, &args.about),
                None => Chosen::All,
            };
            return ask(connection, Action::Refresh, chosen, &args.about).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn price(connection: &Connection, instrument: &str, about: &About) -> Chosen {
    Chosen::Price {
        tenant: about
            .tenant
            .clone()
            .unwrap_or_else(|| connection.settings.tenant_id.clone()),
        instrument: instrument.to_owned(),
    }
}

/// A published request, and whether there was anything that it is about.
#[derive(Debug, Serialize)]
struct Asked {
    #[serde(flatten)]
    sent: Sent,
    found: bool,
    /// What was not found.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<String>,
}

async fn ask(connection: &Connection, action: Action, chosen: Chosen, about: &About) -> anyhow::Result<ExitCode> {
    let request = message(action, chosen, about.reason.clone())?;
    // Before the request can be carried out: an invalidation drops what is looked for.
    let missing = nothing_found(connection, &request).await?;
    let asked = Asked {
        sent: publish(connection, request).await?,
        found: missing.is_none(),
        missing,
    };
    print_either(connection.json, &asked, || asked_text(&asked))?;
    Ok(found(!asked.found))
}

/// What a request would do.
#[derive(Debug, Serialize)]
struct Would {
    request: Invalidation,
    /// The copy; `None` if the request is about all.
    key: Option<String>,
    /// Whether the copy is there, or the number of latest prices.
    copies: u64,
}

async fn would_drop(connection: &Connection, chosen: Chosen, about: &About) -> anyhow::Result<Would> {
    let key = match &chosen {
        Chosen::All => None,
        Chosen::Key(key) => Some(key.clone()),
        Chosen::Price { tenant, instrument } => Some(Key::latest_price(tenant, instrument).to_string()),
    };
    let request = message(Action::Invalidate, chosen, about.reason.clone())?;
    let redis = stores(connection)?.redis;
    let copies = match &key {
        None => status(&redis).await?.iter().map(|copies| copies.latest_prices).sum(),
        Some(key) => u64::from(get(&redis, key).await?.value.is_some()),
    };
    Ok(Would { request, key, copies })
}

fn would_text(would: &Would) -> String {
    let what = match &would.key {
        None => format!(
            "would drop the copies of {} latest price(s) and of all curves and derived prices",
            count(would.copies)
        ),
        Some(key) if would.copies > 0 => format!("would drop {}", printable(key)),
        Some(key) => format!(
            "there is no copy {} to drop; it would be written if PostgreSQL has what it is made of",
            printable(key)
        ),
    };
    format!("{what}; nothing was published")
}

fn asked_text(asked: &Asked) -> String {
    let sent = &asked.sent;
    let outcome = match &asked.missing {
        Some(missing) => printable(missing),
        None => outcome(&sent.request),
    };
    format!(
        "asked projection: {} partition {} offset {}; {outcome}",
        sent.topic, sent.partition, sent.offset
    )
}

/// Where to look for what the request did.
fn outcome(request: &Invalidation) -> String {
    match (&request.tenant_id, &request.instrument_id) {
        (Some(tenant), Some(instrument)) => {
            let key = Key::latest_price(tenant, instrument).to_string();
            format!("`dp cache get {}` shows the copy", printable(&key))
        }
        _ => "`dp cache status` counts the copies".to_owned(),
    }
}

fn status_text(copies: &[Copies]) -> String {
    if copies.is_empty() {
        return "there is no price in Redis".to_owned();
    }
    let rows = copies
        .iter()
        .map(|copies| vec![printable(&copies.tenant_id), count(copies.latest_prices)]);
    table(&["tenant", "latest prices"], 1, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(missing: Option<&str>) -> Asked {
        let request = Invalidation {
            action: Action::Refresh,
            tenant_id: Some("acme".to_owned()),
            instrument_id: Some("A".to_owned()),
            key: None,
            all: false,
            reason: None,
        };
        Asked {
            sent: Sent {
                topic: "t".to_owned(),
                partition: 1,
                offset: 7,
                request,
            },
            found: missing.is_none(),
            missing: missing.map(str::to_owned),
        }
    }

    #[test]
    fn a_request_that_finds_nothing_says_so_instead_of_naming_the_copy() {
        let text = asked_text(&asked(None));
        assert!(text.contains("dp cache get served:latest_price:acme:A"), "{text}");
        let text = asked_text(&asked(Some("nothing was found: there is no \u{1b}price")));
        assert!(
            text.contains("offset 7; nothing was found") && !text.contains("dp cache get") && !text.contains('\u{1b}'),
            "{text}"
        );
        let json = serde_json::to_value(asked(Some("nothing"))).unwrap_or_default();
        assert_eq!((&json["found"], &json["offset"]), (&false.into(), &7.into()));
        assert_eq!(json["request"]["instrument_id"], "A");
    }
}
