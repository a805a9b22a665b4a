//! `dp projection rebuild`: arguments, confirmation, progress and the report.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::builder::NonEmptyStringValueParser;
use jiff::Timestamp;
use ops::connection::Connection;
use ops::consent;
use ops::inspect::projection::served_topic;
use ops::migrations::{Stores, stores};
use ops::present::{found, moment, print_either};
use ops::progress::Progress;
use projection::rebuild::{Mode, Plan, Report, Scope, ServedRebuild, Step, Strategy};
use reconcile::repair::prices::{rebuild, since_event};
use stores::Projection;

use crate::cells::count;

/// Write a projection again from the log, while the old one is served
///
/// Reads the enriched topic into a copy beside the served prices, with a checkpoint every 1,000 events. Each partition is exchanged
/// in one transaction, when its copy has reached the served position. The service then loads the new prices and fills Redis.
/// Readers see the old prices or the new ones. If the command is interrupted, run it again: it continues at its last checkpoint.
///
/// --full replaces every price. If the log no longer begins with its first event, prices of instruments that it does not contain
/// are kept. --since and --from-event read less: they correct the prices of the events that they read, and keep all others.
///
/// --tenant and --instrument replace only prices of that tenant or instrument, with each of the three. All other prices stay as they are served,
/// also wrong ones. A rebuild that was interrupted continues only with the same options.
///
/// --dry-run reads up to the served position, exchanges each partition in a transaction that it rolls back, and reports what would change. It
/// asks nothing. Neither what is served nor its position, the copy of an interrupted rebuild, a kept backup or Redis changes. It does write a
/// copy of its own in PostgreSQL, generation `~dry-run`, and removes it at its end: it needs the rights and the room of a rebuild. The service
/// waits during each exchange, as in a rebuild. If it stores events faster than the copy can follow, some of them are counted as changes.
///
/// curve_snapshot and derived_price are small: --full is their only strategy, and it has no checkpoints and no copy. --instrument names a curve
/// or a series. If their topic no longer begins with its first record, rows that it does not have, or that are newer, are kept. The service then
/// fills Redis from PostgreSQL.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 rebuilt, or with --dry-run: nothing would change; 1 rebuilt, but the service has not loaded it (it does when it \
    starts), or with --dry-run: something would change; 2 not rebuilt\n\n\
    Examples:\n  dp projection rebuild latest_price --full --dry-run\n  dp projection rebuild latest_price --full --yes\n  \
    dp projection rebuild latest_price --since 2h --instrument NG_HH_M1 --dry-run\n  \
    dp projection rebuild latest_price --since 2h --tenant acme --yes\n  \
    dp projection rebuild latest_price --from-event 6b1f --yes --json\n  dp projection rebuild curve_snapshot --full --yes\n  \
    dp projection rebuild derived_price --full --tenant acme --instrument NG --dry-run --json | jq '{changed, added, removed}'"
)]
#[command(group(clap::ArgGroup::new("strategy").required(true)))]
pub struct Args {
    /// Name of the projection
    #[arg(value_name = "NAME", value_parser = super::name::projection)]
    name: String,
    /// Read the whole log
    #[arg(long, group = "strategy")]
    full: bool,
    /// Read events that were appended at or after this time, or this long ago
    #[arg(long, value_name = "TIME", value_parser = moment, group = "strategy")]
    since: Option<Timestamp>,
    /// Read from the event with this id; with --tenant, from that of the tenant
    #[arg(long, value_name = "ID", group = "strategy")]
    from_event: Option<String>,
    /// Replace only prices of this tenant [default: of all tenants]
    #[arg(long, value_name = "TENANT", value_parser = NonEmptyStringValueParser::new())]
    tenant: Option<String>,
    /// Replace only the price of this instrument, or of this curve or series [default: of all]
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    instrument: Option<String>,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, clap::Args)]
struct How {
    /// Say what would change, and change nothing that is served
    #[arg(long, conflicts_with_all = ["restart", "keep_backup"])]
    dry_run: bool,
    /// Discard the copy of an interrupted rebuild
    #[arg(long)]
    restart: bool,
    /// Keep the replaced rows in generation `~backup` until the next rebuild
    #[arg(long)]
    keep_backup: bool,
}

impl Args {
    /// Whether it only says what it would change.
    pub fn is_dry_run(&self) -> bool {
        self.how.dry_run
    }

    fn scope(&self) -> Scope {
        Scope {
            tenant: self.tenant.clone(),
            instrument: self.instrument.clone(),
        }
    }

    fn mode(&self) -> Mode {
        let How {
            dry_run,
            restart,
            keep_backup,
        } = self.how;
        match dry_run {
            true => Mode::DryRun,
            false => Mode::Exchange { restart, keep_backup },
        }
    }
}

/// Runs `dp projection rebuild`.
///
/// # Errors
/// The user does not confirm, a server does not answer, or another rebuild is under way.
pub async fn run(connection: &Connection, args: &Args, yes: bool) -> anyhow::Result<ExitCode> {
    let stores = stores(connection)?;
    if let Some(projection) = Projection::ALL.into_iter().find(|known| known.name() == args.name) {
        return run_served(connection, &stores, projection, (args, yes)).await;
    }
    let plan = Plan {
        strategy: strategy(connection, &stores, args).await?,
        scope: args.scope(),
        mode: args.mode(),
    };
    if !args.is_dry_run() {
        let what = format!("replace the served prices of {} ({})", args.name, plan.text());
        consent::ask(&what, "rebuild", yes).await?;
    }
    let rebuild = rebuild(connection, &stores, &connection.names.enriched).await?;
    let report = rebuild.run(&plan, progress()).await.context(match plan.mode {
        Mode::DryRun => "try to rebuild latest_price; nothing that is served has changed",
        Mode::Exchange { .. } => "rebuild latest_price; what is served is complete: run the command again to continue",
    })?;
    print_either(connection.json, &report, || text(&report, "prices"))?;
    Ok(code(&report))
}

async fn run_served(
    connection: &Connection,
    stores: &Stores,
    projection: Projection,
    (args, yes): (&Args, bool),
) -> anyhow::Result<ExitCode> {
    if !args.full || args.how.restart || args.how.keep_backup {
        bail!(
            "{} supports only --full. --restart and --keep-backup do not apply: there is no checkpoint and no backup copy",
            args.name
        );
    }
    let (scope, is_dry_run) = (args.scope(), args.is_dry_run());
    if !is_dry_run {
        let what = format!(
            "replace the served rows of {} ({})",
            args.name,
            Strategy::Full.text(&scope)
        );
        consent::ask(&what, "rebuild", yes).await?;
    }
    let topic = served_topic(&connection.names, projection);
    let rebuild = ServedRebuild {
        projection,
        of: rebuild(connection, stores, topic).await?,
        scope,
        is_dry_run,
    };
    let report = rebuild.run(progress()).await.with_context(|| match is_dry_run {
        true => format!("try to rebuild {}; nothing that is served has changed", args.name),
        false => format!(
            "rebuild of {} is incomplete; each partition holds either its old or its rebuilt rows. Run the command again",
            args.name
        ),
    })?;
    print_either(connection.json, &report, || text(&report, "rows"))?;
    Ok(code(&report))
}

fn progress() -> impl FnMut(&Step) + Send + 'static {
    let mut progress = Progress::new("reading", 0, "events");
    move |step: &Step| {
        progress.set_total(step.total);
        progress.set(step.events, &format!("partition {}", step.partition));
    }
}

fn code(report: &Report) -> ExitCode {
    found(match report.dry_run {
        true => report.changed + report.added + report.removed > 0,
        false => !report.is_reloaded,
    })
}

async fn strategy(connection: &Connection, stores: &Stores, args: &Args) -> anyhow::Result<Strategy> {
    if args.full {
        return Ok(Strategy::Full);
    }
    if let Some(since) = args.since {
        return Ok(Strategy::Since(since.as_microsecond()));
    }
    let Some(event) = &args.from_event else {
        bail!("name one of --full, --since and --from-event");
    };
    since_event(connection, stores, event, args.tenant.as_deref()).await
}

fn text(report: &Report, rows: &str) -> String {
    let (done, verb) = match report.dry_run {
        true => ("would be rebuilt", "would be "),
        false => ("rebuilt", ""),
    };
    let mut lines = vec![
        format!(
            "{done} ({}): {} events read in {:.1} s, {} partition(s) {verb}exchanged{}",
            report.strategy,
            count(report.events),
            report.seconds,
            report.partitions,
            if report.is_resumed {
                ", continued after an interruption"
            } else {
                ""
            }
        ),
        format!(
            "{rows}: {} {verb}changed, {} {verb}added, {} {verb}removed",
            count(report.changed),
            count(report.added),
            count(report.removed)
        ),
    ];
    if report.unreadable > 0 {
        lines.push(format!(
            "{} record(s) cannot be read; the service has sent them to the dead letters (`dp dlq list`)",
            count(report.unreadable)
        ));
    }
    if let Some(backup) = &report.backup {
        lines.push(format!(
            "the replaced rows are kept in PostgreSQL: SELECT * FROM served_latest_prices WHERE generation = '{backup}'"
        ));
    }
    lines.push(match (report.dry_run, report.is_reloaded) {
        (true, _) => "nothing that is served has changed: run the command without --dry-run to rebuild".to_owned(),
        (_, true) => format!("the service serves the new {rows}"),
        _ => format!("projection has not loaded the new {rows} within 30 s: is it running (`dp status`)? It loads them when it starts"),
    });
    lines.join("\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Ok(Line::try_parse_from(line.split(' '))?.args)
    }

    #[test]
    fn a_dry_run_has_no_copy_to_discard_and_no_backup_to_keep() {
        let args = parse("rebuild latest_price --since 2h --tenant acme --instrument X --dry-run").unwrap();
        assert_eq!(args.scope().text(), "tenant acme, instrument X");
        assert_eq!(args.mode(), Mode::DryRun);
        for refused in [
            "--dry-run --restart",
            "--keep-backup --dry-run",
            "--tenant=",
            "--since 2h",
        ] {
            assert!(
                parse(&format!("rebuild latest_price --full {refused}")).is_err(),
                "{refused}"
            );
        }
        let args = parse("rebuild latest_price --full --restart").unwrap();
        let (restart, keep_backup) = (true, false);
        assert_eq!(args.mode(), Mode::Exchange { restart, keep_backup });
        assert!(args.scope().is_all());
    }

    #[test]
    fn the_report_of_a_dry_run_says_what_would_be_and_its_code_whether_anything_would() {
        let mut report = Report {
            strategy: "full, tenant acme".to_owned(),
            dry_run: true,
            partitions: 3,
            ..Report::default()
        };
        assert_eq!(code(&report), ExitCode::SUCCESS);
        report.removed = 2;
        assert_eq!(code(&report), ExitCode::from(1));
        let said = text(&report, "prices");
        for words in [
            "would be rebuilt (full, tenant acme)",
            "3 partition(s) would be exchanged",
            "0 would be changed, 0 would be added, 2 would be removed",
            "nothing that is served has changed",
        ] {
            assert!(said.contains(words), "{said}");
        }
        report.dry_run = false;
        assert!(!text(&report, "prices").contains("would"));
        assert_eq!(code(&report), ExitCode::from(1));
        report.is_reloaded = true;
        assert_eq!(code(&report), ExitCode::SUCCESS);
    }
}
