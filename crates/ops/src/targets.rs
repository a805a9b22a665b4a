//! Which services a command asks over HTTP: those that the user names, else those of the local stack, else the usual ports.
//!
//! Failure: outside of the local environment nothing is guessed; the error says how to name the services.

use anyhow::bail;
use localstack::{Condition, Name, Service, Stack};
use service::settings::{Environment, OTHER_PROGRAMS, SERVICE_URLS, named_url};
use service::{Env, Reader};

use crate::connection::{Connection, uses_stack};
use crate::place::Place;
use crate::scrape::Scrape;

/// A service and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name of the service.
    pub name: String,
    /// Its address.
    pub at: Where,
}

impl Target {
    /// Its metrics; `None` if it does not answer: its health says why.
    pub async fn scrape(&self, client: &reqwest::Client) -> Option<Scrape> {
        let Where::Url(url) = &self.at else { return None };
        let url = format!("{}/metrics", url.trim_end_matches('/'));
        let answer = client.get(url).send().await.ok()?.error_for_status().ok()?;
        Some(Scrape::parse(&answer.text().await.ok()?))
    }
}

/// Where a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Where {
    /// It serves HTTP here.
    Url(String),
    /// It does not run, for this reason.
    Stopped(String),
}

/// Reads `NAME=URL`.
///
/// # Errors
/// The message shows the form, not the text, which may contain a password.
pub fn parse(text: &str) -> Result<Target, String> {
    match named_url(text) {
        Some((name, url)) => Ok(Target {
            name: name.to_owned(),
            at: Where::Url(url.to_owned()),
        }),
        // The text itself may contain a password.
        None => Err("write it as NAME=URL, such as aggregation=http://localhost:8082".to_owned()),
    }
}

/// The services to ask. `usual` are the names and local ports to fall back to.
///
/// # Errors
/// An address cannot be parsed, or no service is named outside of the local environment.
pub fn find(
    place: &Place,
    connection: &Connection,
    named: &[Target],
    usual: &[(&str, u16)],
) -> anyhow::Result<Vec<Target>> {
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let configured = configured(&connection.env)?;
    if !configured.is_empty() {
        return Ok(configured);
    }
    if uses_stack(place, &connection.env) {
        return of_stack(&place.open()?);
    }
    if connection.settings.environment != Environment::Local {
        bail!(
            "no services are named: pass --service NAME=URL, or set {SERVICE_URLS} to NAME=URL items separated by commas"
        );
    }
    let usual = usual.iter().map(|(name, port)| Target {
        name: (*name).to_owned(),
        at: Where::Url(format!("http://localhost:{port}")),
    });
    Ok(usual.collect())
}

/// The services that `DATA_PROC_SERVICE_URLS` names.
///
/// # Errors
/// An item is not of the form `NAME=URL`.
pub fn configured(env: &Env) -> anyhow::Result<Vec<Target>> {
    let meaning = OTHER_PROGRAMS
        .iter()
        .find(|other| other.name == SERVICE_URLS)
        .map_or("", |other| other.meaning);
    let mut reader = Reader::new(env);
    let items = reader.list(SERVICE_URLS, "", meaning);
    reader.finish()?;
    items
        .iter()
        .map(|item| parse(item).map_err(|problem| anyhow::anyhow!("{SERVICE_URLS}: {problem}")))
        .collect()
}

fn of_stack(stack: &Stack) -> anyhow::Result<Vec<Target>> {
    let processes = stack.status()?;
    let mut found = Vec::new();
    for process in &processes {
        let Name::Service(_, number) = process.name else {
            continue;
        };
        let at = match process.condition {
            Condition::Running => Where::Url(format!("http://127.0.0.1:{}", process.port)),
            // An additional replica runs only on request.
            Condition::Stopped if number > 1 && process.why.is_none() => continue,
            Condition::Stopped | Condition::Frozen => {
                Where::Stopped(process.why.clone().unwrap_or_else(|| "does not run".to_owned()))
            }
        };
        found.push((process.name, at));
    }
    for name in Service::ALL.map(Name::from) {
        if !processes.iter().any(|process| process.name == name) {
            let reason = format!("was never started; `dp start {name}` starts it");
            found.push((name, Where::Stopped(reason)));
        }
    }
    found.sort_by_key(|(name, _)| *name);
    let targets = found.into_iter().map(|(name, at)| Target {
        name: name.to_string(),
        at,
    });
    Ok(targets.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_named_with_its_url() {
        let target = parse("a-2=https://u:p@a:1/x?y=z").ok();
        assert_eq!(
            target.map(|target| (target.name, target.at)),
            Some(("a-2".to_owned(), Where::Url("https://u:p@a:1/x?y=z".to_owned())))
        );
        for text in [
            "",
            "a",
            "a=",
            "=http://a",
            "a=b:1",
            "http://u:s3cret@a",
            "a=http://",
            "a=http://u:s3cret@:x",
        ] {
            let problem = parse(text).err().unwrap_or_default();
            assert!(
                problem.contains("NAME=URL") && !problem.contains("s3cret"),
                "{text}: {problem}"
            );
        }
    }
}
