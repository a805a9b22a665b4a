//! The address of PostgreSQL, and how connections to it are opened: with TLS or without.
//!
//! Role: parses the DSN, with `sslmode` as in libpq, and opens connections for the pool and for LISTEN.
//! Invariant: a connection with TLS verifies the certificate and the host name; no mode verifies less.
//! Failure: an invalid DSN is refused at start-up. A DSN in a file is read again for each connection; while the file
//! does not contain a valid DSN, the last valid one is used.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use security::{Secret, Trust};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{CONNECT_TIMEOUT, refused};
use crate::StoreError;

type Stream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// The parameter that selects TLS.
const SSLMODE: &str = "sslmode";

/// A parsed address. Cheap to clone.
#[derive(Clone)]
pub(super) struct Address {
    dsn: Secret,
    tls: MakeRustlsConnect,
    last: Arc<Mutex<Config>>,
}

impl Address {
    pub(super) fn read(dsn: &Secret, trust: &Trust) -> Result<Address, StoreError> {
        let config = parse(&dsn.expose()).map_err(refused)?;
        let tls = trust.client_config().map_err(|error| refused(error.to_string()))?;
        Ok(Address {
            dsn: dsn.clone(),
            tls: MakeRustlsConnect::new(tls),
            last: Arc::new(Mutex::new(config)),
        })
    }

    /// The configuration of the next connection.
    pub(super) fn config(&self) -> Config {
        let mut last = self.last.lock();
        if self.dsn.is_in_file() {
            match parse(&self.dsn.expose()) {
                Ok(config) => *last = config,
                Err(error) => {
                    tracing::warn!(
                        error,
                        "the file named by DATA_PROC_POSTGRES_DSN_FILE contains no valid DSN, so the last valid one is used: correct the file"
                    );
                }
            }
        }
        last.clone()
    }

    pub(super) async fn open(&self) -> Result<(Client, Connection<Socket, Stream>), tokio_postgres::Error> {
        self.config().connect(self.tls.clone()).await
    }
}

impl deadpool_postgres::Connect for Address {
    fn connect(
        &self,
        _: &Config,
    ) -> futures_util::future::BoxFuture<'_, Result<(Client, tokio::task::JoinHandle<()>), tokio_postgres::Error>> {
        Box::pin(async {
            let (client, connection) = self.open().await?;
            let driver = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(error = %error, "a connection to PostgreSQL has ended");
                }
            });
            Ok((client, driver))
        })
    }
}

fn parse(dsn: &str) -> Result<Config, String> {
    let (rest, mode) = without_sslmode(dsn);
    let mode = match mode.as_deref() {
        None | Some("disable") => SslMode::Disable,
        Some("require" | "verify-full") => SslMode::Require,
        Some(other) => {
            return Err(format!(
                "sslmode={other} is not supported: use sslmode=verify-full, which checks certificate and host \
                 (sslmode=require does the same here), or sslmode=disable"
            ));
        }
    };
    let mut config: Config = rest.parse().map_err(|error: tokio_postgres::Error| {
        let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        match cause.contains("sslrootcert") {
            true => format!("{cause}; name the private authority in DATA_PROC_TLS_CA"),
            false => cause,
        }
    })?;
    if config.get_dbname().is_none_or(str::is_empty) {
        // The server would use a database with the name of the user.
        return Err(
            "the address names no database: write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE".to_owned(),
        );
    }
    config.ssl_mode(mode);
    config.connect_timeout(CONNECT_TIMEOUT);
    config.keepalives_idle(Duration::from_secs(30));
    config.application_name("data-processing");
    Ok(config)
}

/// The DSN without its `sslmode` (the client library does not support all its values), and that value.
fn without_sslmode(dsn: &str) -> (String, Option<String>) {
    let is_url = dsn.starts_with("postgres://") || dsn.starts_with("postgresql://");
    let (head, parameters, separator) = match dsn.split_once('?') {
        Some((head, parameters)) if is_url => (format!("{head}?"), parameters, '&'),
        None if is_url => return (dsn.to_owned(), None),
        _ => (String::new(), dsn, ' '),
    };
    let mut mode = None;
    let kept: Vec<&str> = parameters
        .split(separator)
        .filter(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.trim() == SSLMODE => {
                mode = Some(value.trim().to_owned());
                false
            }
            _ => true,
        })
        .collect();
    (format!("{head}{}", kept.join(&separator.to_string())), mode)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_database_is_refused() {
        for dsn in [
            "postgresql://u:s3cret@h",
            "postgresql://u:s3cret@h:5432/",
            "host=h user=u password=s3cret",
        ] {
            let error = parse(dsn).unwrap_err();
            assert!(
                error.contains("names no database") && !error.contains("s3cret"),
                "{error}"
            );
        }
        assert!(parse("host=h user=u dbname=d").is_ok());
    }

    #[test]
    fn sslmode_is_read_in_both_forms_of_a_dsn() {
        for (dsn, rest, mode) in [
            ("postgresql://u:p@h:5432/db", "postgresql://u:p@h:5432/db", None),
            (
                "postgresql://u:p@h/db?sslmode=verify-full&target_session_attrs=read-write",
                "postgresql://u:p@h/db?target_session_attrs=read-write",
                Some("verify-full"),
            ),
            (
                "host=h user=u sslmode=require dbname=db",
                "host=h user=u dbname=db",
                Some("require"),
            ),
        ] {
            assert_eq!(without_sslmode(dsn), (rest.to_owned(), mode.map(str::to_owned)));
            let expected = if mode.is_some() {
                SslMode::Require
            } else {
                SslMode::Disable
            };
            assert_eq!(parse(dsn).unwrap().get_ssl_mode(), expected, "{dsn}");
        }
    }

    #[test]
    fn a_mode_that_checks_less_is_refused_by_name() {
        for mode in ["verify-ca", "prefer", "allow", "nonsense"] {
            let error = parse(&format!("postgresql://u:secret@h/db?sslmode={mode}")).unwrap_err();
            assert!(error.contains(mode) && error.contains("verify-full"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let error = parse("postgresql://u:p@h/db?sslmode=require&sslrootcert=/ca.pem").unwrap_err();
        assert!(error.contains("DATA_PROC_TLS_CA"), "{error}");
    }
}
