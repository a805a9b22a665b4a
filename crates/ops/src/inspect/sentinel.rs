//! The masters that a sentinel of Redis watches, with their replicas, and what is wrong with them.

use anyhow::{Context as _, bail};
use security::mask;
use serde::Serialize;
use stores::StoreError;
use stores::redis::sentinel::{Fields, Watched, ask};

use crate::connection::Connection;

/// Flags of a server that the sentinel cannot use.
const SICK: [&str; 3] = ["s_down", "o_down", "disconnected"];

/// A master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Master {
    /// Its name in the configuration of the sentinels.
    pub name: String,
    /// Its address, as the sentinel knows it: the new one after a failover.
    pub address: String,
    /// Such as `master`, and `s_down` or `o_down` if this sentinel, or the quorum, does not reach it.
    pub flags: Vec<String>,
    /// Sentinels that must agree that it is down.
    pub quorum: u64,
    /// Sentinels that watch it, this one included.
    pub sentinels: u64,
    /// Its replicas.
    pub replicas: Vec<Replica>,
    /// What is wrong.
    pub problems: Vec<String>,
}

/// A replica of a master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replica {
    /// Its address.
    pub address: String,
    /// Such as `slave`, and `s_down` if the sentinel does not reach it.
    pub flags: Vec<String>,
    /// Its connection to the master: `ok` or `err`.
    pub link: String,
}

/// Asks the sentinel at this address.
///
/// # Errors
/// Nothing answers there, or no sentinel does.
pub async fn masters(connection: &Connection, host: &str, port: u16) -> anyhow::Result<Vec<Master>> {
    let redis = mask(&connection.settings.redis_url.expose());
    let unanswered = || {
        format!(
            "no sentinel answers at {host}:{port}. The pipeline needs none: its services connect to the one address of \
             DATA_PROC_REDIS_URL ({redis}), and `dp redis memory` asks that server. If sentinels watch it, check that they run, and \
             their host and port with --address (26379 unless it is configured)"
        )
    };
    let refused =
        || format!("ask the sentinel at {host}:{port}; one that requires a login or TLS answers to redis-cli only");
    let failed = |error: StoreError| {
        let what = if error.is_outage() { unanswered() } else { refused() };
        anyhow::Error::from(error).context(what)
    };
    let Some(watched) = ask(host, port).await.map_err(failed)? else {
        bail!(
            "the server at {host}:{port} is Redis and no sentinel: name the port of a sentinel with --address (26379 unless it is \
             configured), or ask this server with `dp redis memory`"
        );
    };
    watched.iter().map(master_of).collect()
}

fn master_of(watched: &Watched) -> anyhow::Result<Master> {
    let fields = &watched.master;
    let replicas = watched
        .replicas
        .iter()
        .map(replica_of)
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut master = Master {
        name: field(fields, "name")?.to_owned(),
        address: address(fields)?,
        flags: flags(fields)?,
        quorum: number(fields, "quorum")?,
        sentinels: number(fields, "num-other-sentinels")?.saturating_add(1),
        replicas,
        problems: Vec::new(),
    };
    master.problems = problems(&master, watched.no_quorum.as_deref());
    Ok(master)
}

fn replica_of(fields: &Fields) -> anyhow::Result<Replica> {
    Ok(Replica {
        address: address(fields)?,
        flags: flags(fields)?,
        link: field(fields, "master-link-status")?.to_owned(),
    })
}

fn problems(master: &Master, no_quorum: Option<&str>) -> Vec<String> {
    let is_sick = |flags: &[String]| flags.iter().any(|flag| SICK.contains(&flag.as_str()));
    let mut problems = Vec::new();
    if is_sick(&master.flags) {
        let flags = master.flags.join(", ");
        problems.push(format!("the master at {} is not reached: {flags}", master.address));
    }
    if let Some(why) = no_quorum {
        problems.push(format!("there can be no failover: {}", why.trim()));
    }
    for replica in &master.replicas {
        if is_sick(&replica.flags) {
            let flags = replica.flags.join(", ");
            problems.push(format!("the replica at {} is not reached: {flags}", replica.address));
        } else if replica.link != "ok" {
            problems.push(format!(
                "the replica at {} has no connection to its master",
                replica.address
            ));
        }
    }
    problems
}

fn flags(fields: &Fields) -> anyhow::Result<Vec<String>> {
    Ok(field(fields, "flags")?.split(',').map(str::to_owned).collect())
}

fn address(fields: &Fields) -> anyhow::Result<String> {
    Ok(format!("{}:{}", field(fields, "ip")?, field(fields, "port")?))
}

fn number(fields: &Fields, name: &str) -> anyhow::Result<u64> {
    let text = field(fields, name)?;
    text.parse()
        .with_context(|| format!("the sentinel says {name} {text}, which is not a number"))
}

fn field<'f>(fields: &'f Fields, name: &str) -> anyhow::Result<&'f str> {
    let found = fields.get(name).map(String::as_str);
    found.with_context(|| format!("the sentinel does not say {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn watched(flags: &str, replica: &str, link: &str, no_quorum: Option<&str>) -> Watched {
        let server = [("ip", "10.0.0.1"), ("port", "6379"), ("name", "cache")];
        let own = [("flags", flags), ("quorum", "2"), ("num-other-sentinels", "2")];
        let of_replica = [("flags", replica), ("master-link-status", link)];
        Watched {
            master: fields(&[&server[..], &own].concat()),
            replicas: vec![fields(&[&server[..], &of_replica].concat())],
            no_quorum: no_quorum.map(str::to_owned),
        }
    }

    #[test]
    fn each_thing_that_is_wrong_is_a_problem_and_a_failover_under_way_is_none() {
        for (of, problem) in [
            (watched("master", "slave", "ok", None), None),
            (watched("master,failover_in_progress", "slave", "ok", None), None),
            (
                watched("master,s_down", "slave", "ok", None),
                Some("master at 10.0.0.1:6379"),
            ),
            (watched("master,o_down", "slave", "ok", None), Some("o_down")),
            (
                watched("master", "slave,s_down", "err", None),
                Some("replica at 10.0.0.1:6379 is not reached"),
            ),
            (
                watched("master", "slave", "err", None),
                Some("no connection to its master"),
            ),
            (
                watched("master", "slave", "ok", Some("1 usable ")),
                Some("no failover: 1 usable"),
            ),
        ] {
            let problems = master_of(&of).map(|master| master.problems).ok();
            let is_it = |problems: Vec<String>| match problem {
                None => problems.is_empty(),
                Some(expected) => problems.len() == 1 && problems.iter().all(|one| one.contains(expected)),
            };
            assert!(problems.clone().is_some_and(is_it), "{of:?}: {problems:?}");
        }
    }

    #[test]
    fn this_sentinel_counts_and_a_missing_field_is_named() {
        let master = master_of(&watched("master", "slave", "ok", None)).ok();
        assert_eq!(master.map(|master| (master.quorum, master.sentinels)), Some((2, 3)));
        let mut of = watched("master", "slave", "ok", None);
        of.master.remove("quorum");
        let error = master_of(&of).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("the sentinel does not say quorum"));
    }
}
