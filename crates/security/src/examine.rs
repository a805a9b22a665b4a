//! Finds out with a separate handshake why a server's certificate is not accepted.
//!
//! Some client libraries report only "verify failed". An operator must know whether the certificate has expired, comes from
//! another authority, or is for another host.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, ClientConnection, Error};

use crate::Trust;

/// What is wrong with the certificate of the server at `host:port`; `None` if it is accepted, or if the server does not use
/// TLS.
pub fn examine_certificate(address: &str, trust: &Trust, within: Duration) -> Option<String> {
    match handshake(address, trust, within)? {
        Err(Error::InvalidCertificate(error)) => Some(meaning(&error, host(address)?)),
        _ => None,
    }
}

/// Whether the server at `host:port` answers a TLS handshake.
pub fn speaks_tls(address: &str, within: Duration) -> bool {
    let unknown = Trust::default();
    matches!(
        handshake(address, &unknown, within),
        Some(Ok(()) | Err(Error::InvalidCertificate(_) | Error::AlertReceived(_)))
    )
}

/// The result of a handshake; `None` if the server closes the connection or does not answer.
fn handshake(address: &str, trust: &Trust, within: Duration) -> Option<Result<(), Error>> {
    handshake_with(address, trust.client_config().ok()?, within)
}

/// The same with these settings.
pub(crate) fn handshake_with(address: &str, config: ClientConfig, within: Duration) -> Option<Result<(), Error>> {
    let host = host(address)?;
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let mut client = ClientConnection::new(Arc::new(config), name).ok()?;
    let mut stream = address
        .to_socket_addrs()
        .ok()?
        .find_map(|address| TcpStream::connect_timeout(&address, within).ok())?;
    stream.set_read_timeout(Some(within)).ok()?;
    while client.is_handshaking() {
        if let Err(error) = client.complete_io(&mut stream) {
            return error.get_ref()?.downcast_ref::<Error>().cloned().map(Err);
        }
    }
    Some(Ok(()))
}

fn host(address: &str) -> Option<&str> {
    let (host, _) = address.rsplit_once(':')?;
    Some(host.trim_start_matches('[').trim_end_matches(']'))
}

fn meaning(error: &CertificateError, host: &str) -> String {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet".to_owned(),
        CertificateError::UnknownIssuer => "it comes from an authority that is not accepted".to_owned(),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("it is not for host name {host}")
        }
        other => other.to_string(),
    }
}
