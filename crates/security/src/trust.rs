//! The authorities that a TLS client accepts: those of the system, and a private one from `DATA_PROC_TLS_CA`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Why TLS cannot be set up; the message names the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TrustError(String);

/// The accepted authorities. Certificates and host names are always verified; no setting disables this.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    authority: Option<PathBuf>,
}

impl Trust {
    /// The authorities of the system, and those in this PEM file.
    ///
    /// # Errors
    /// The file cannot be read or contains no certificate.
    pub fn with_authority(path: impl Into<PathBuf>) -> Result<Trust, TrustError> {
        let path = path.into();
        certificates(&path)?;
        Ok(Trust { authority: Some(path) })
    }

    /// The PEM file of the private authority.
    pub fn authority(&self) -> Option<&Path> {
        self.authority.as_deref()
    }

    /// Settings of a TLS client without a client certificate. Reads the files again, so a client that is created later uses a
    /// renewed authority.
    ///
    /// # Errors
    /// The file of the private authority cannot be read or contains no certificate.
    pub fn client_config(&self) -> Result<ClientConfig, TrustError> {
        let roots = self.roots()?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TrustError(format!("set up TLS: {error}")))?;
        Ok(config.with_root_certificates(roots).with_no_client_auth())
    }

    /// The accepted authorities.
    pub(crate) fn roots(&self) -> Result<RootCertStore, TrustError> {
        let mut roots = RootCertStore::empty();
        // An image without a certificate store has no system authorities: then only the private one is accepted.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = &self.authority {
            for certificate in certificates(path)? {
                roots
                    .add(certificate)
                    .map_err(|error| TrustError(format!("certificate in {}: {error}", path.display())))?;
            }
        }
        Ok(roots)
    }

    /// The same authorities as one PEM document, for a client that does not accept rustls settings.
    ///
    /// # Errors
    /// As [`Trust::client_config`].
    pub fn to_pem(&self) -> Result<String, TrustError> {
        // A TLS library would reject the whole document for one certificate that it cannot parse.
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs().certs;
        let mut all: Vec<CertificateDer<'static>> = system
            .into_iter()
            .filter(|certificate| roots.add(certificate.clone()).is_ok())
            .collect();
        if let Some(path) = &self.authority {
            all.extend(certificates(path)?);
        }
        let blocks: Vec<pem::Pem> = all
            .iter()
            .map(|one| pem::Pem::new("CERTIFICATE", one.as_ref()))
            .collect();
        Ok(pem::encode_many(&blocks))
    }
}

/// Makes aws-lc-rs the default cryptography of TLS clients in this process. A process calls it once, before it creates a
/// client; later calls change nothing.
pub fn install_provider() {
    // It fails if a provider is already installed: that is this one.
    _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// An HTTP client that accepts these authorities and limits a request to this time; `None` = without limit.
///
/// # Errors
/// As [`Trust::client_config`].
pub fn http_client(trust: &Trust, timeout: Option<Duration>) -> Result<reqwest::Client, TrustError> {
    let builder = trusting(trust)?;
    built(match timeout {
        Some(timeout) => builder.timeout(timeout),
        None => builder,
    })
}

/// Makes clients that ask the named addresses and no others: they use no proxy and follow no redirect.
#[derive(Debug, Clone)]
pub struct DirectClients {
    config: ClientConfig,
    timeout: Duration,
}

impl DirectClients {
    /// Clients that accept these authorities and limit a request to this time. The files are read once.
    ///
    /// # Errors
    /// As [`Trust::client_config`].
    pub fn new(trust: &Trust, timeout: Duration) -> Result<DirectClients, TrustError> {
        Ok(DirectClients {
            config: trust.client_config()?,
            timeout,
        })
    }

    /// A client that resolves names as the system does.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn client(&self) -> Result<reqwest::Client, TrustError> {
        built(self.builder())
    }

    /// A client that reaches this host at this address alone. The name in the request and in the certificate remains the host's.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn pinned(&self, host: &str, address: SocketAddr) -> Result<reqwest::Client, TrustError> {
        built(self.builder().resolve(host, address))
    }

    fn builder(&self) -> reqwest::ClientBuilder {
        reqwest::Client::builder()
            .use_preconfigured_tls(self.config.clone())
            .timeout(self.timeout)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
    }
}

fn trusting(trust: &Trust) -> Result<reqwest::ClientBuilder, TrustError> {
    Ok(reqwest::Client::builder().use_preconfigured_tls(trust.client_config()?))
}

fn built(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, TrustError> {
    builder
        .build()
        .map_err(|error| TrustError(format!("set up an HTTP client: {error}")))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let wrong = |problem: String| TrustError(format!("certificate file {} {problem}", path.display()));
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(format!("cannot be read: {error}")))?;
    match certificates.is_empty() {
        true => Err(wrong("contains no certificate in PEM form".to_owned())),
        false => Ok(certificates),
    }
}

/// An error with its causes: "error sending request" alone does not mention a certificate.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        said = format!("{said}: {inner}");
        cause = inner.source();
    }
    said
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use testkit::certificates::Authority;

    use super::*;

    #[test]
    fn a_private_authority_is_read_and_a_wrong_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = Authority::new("private")
            .unwrap()
            .write(folder.path(), "ca.pem")
            .unwrap();
        let trust = Trust::with_authority(&file).unwrap();
        trust.client_config().unwrap();
        http_client(&trust, Some(Duration::from_secs(1))).unwrap();
        http_client(&Trust::default(), None).unwrap();
        std::fs::write(&file, "no certificate").unwrap();
        for error in [
            Trust::with_authority(&file).expect_err("no certificate"),
            Trust::with_authority(folder.path().join("none")).expect_err("missing"),
            trust.client_config().expect_err("renewed with garbage"),
        ] {
            assert!(error.to_string().contains(&*folder.path().to_string_lossy()), "{error}");
        }
    }
}
