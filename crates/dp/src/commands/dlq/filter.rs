//! Which dead letters a command of `dp dlq` is about, and what to say if there is none.

use ops::dead_letters::{Wanted, names};
use ops::present::moment;

#[derive(Debug, clap::Args)]
pub(super) struct Filter {
    /// Only letters with this code
    #[arg(long)]
    code: Option<String>,
    /// Only letters of this stage
    #[arg(long)]
    stage: Option<String>,
    /// Only records of this market
    #[arg(long)]
    market: Option<String>,
    /// Only records of this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Only failures at or after this time, or within this length of time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<jiff::Timestamp>,
    /// Only failures before this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<jiff::Timestamp>,
}

impl Filter {
    /// Whether it chooses letters by more than the end of a span of time.
    pub(super) fn chooses(&self) -> bool {
        let names = [&self.code, &self.stage, &self.market, &self.tenant];
        names.into_iter().any(Option::is_some) || self.since.is_some()
    }

    /// What to say if there is no such letter.
    pub(super) fn none(&self) -> &'static str {
        match self.chooses() || self.until.is_some() {
            false => "there are no open dead letters",
            true => "no open dead letter matches; without filters all are counted",
        }
    }

    pub(super) fn wanted(&self) -> anyhow::Result<Wanted> {
        if let (Some(since), Some(until)) = (self.since, self.until)
            && since >= until
        {
            anyhow::bail!("--since {since} is not before --until {until}: no letter can match");
        }
        Ok(Wanted {
            code: self.code.clone(),
            stage: self.stage.clone(),
            market: self.market.clone(),
            tenant: self.tenant.clone(),
            since: self.since.map(jiff::Timestamp::as_microsecond),
            until: self.until.map(jiff::Timestamp::as_microsecond),
            closed: false,
        })
    }
}

/// Which name of a filter that matches nothing no letter has.
pub(super) fn unknown(
    bootstrap: &stream::Brokers,
    topic: &str,
    wanted: &Wanted,
    matching: u64,
) -> Result<Option<String>, stream::StreamError> {
    match matching {
        0 => names::unknown(bootstrap, topic, wanted),
        _ => Ok(None),
    }
}
