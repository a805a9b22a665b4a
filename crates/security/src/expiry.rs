//! Reads when the certificate of a server expires.
//!
//! Role: the certificate is verified twice in one handshake: now, as every client does, and at a time at which every certificate has
//! expired. The error of the second names the end of its validity. Nothing is accepted that would not be accepted otherwise.
//! Failure: a server that does not answer, or speaks no TLS, has no answer here.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use crate::Trust;
use crate::examine::handshake_with;

/// Beyond the year 9999, the last one that a certificate can name.
const END_OF_TIME: Duration = Duration::from_secs(300_000_000_000);

/// When the certificate of the server at `host:port` expires, in seconds since 1970; an expired one included.
pub fn certificate_expiry(address: &str, trust: &Trust, within: Duration) -> Option<i64> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = Arc::new(trust.roots().ok()?);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
    let reader = Arc::new(Reader {
        verifier: verifier.ok()?,
        not_after: OnceLock::new(),
    });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::<Reader>::clone(&reader))
        .with_no_client_auth();
    // Whether it is accepted now is not the question.
    _ = handshake_with(address, config, within)?;
    let seconds = reader.not_after.get()?;
    i64::try_from(*seconds).ok()
}

/// Verifies as usual, and remembers the end of the validity.
#[derive(Debug)]
struct Reader {
    verifier: Arc<WebPkiServerVerifier>,
    not_after: OnceLock<u64>,
}

impl ServerCertVerifier for Reader {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify = |at| {
            self.verifier
                .verify_server_cert(certificate, intermediates, name, ocsp, at)
        };
        if let Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) =
            verify(UnixTime::since_unix_epoch(END_OF_TIME))
        {
            // A handshake verifies one certificate.
            _ = self.not_after.set(not_after.as_secs());
        }
        verify(now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use testkit::certificates::Authority;
    use testkit::secured::front::TlsFront;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(10);
    /// 2100-01-01 and 2021-01-01, as the certificates of the test kit.
    const VALID_UNTIL: i64 = 4_102_444_800;
    const EXPIRED_AT: i64 = 1_609_459_200;

    #[test]
    fn the_end_of_a_valid_and_of_an_expired_certificate_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("private").unwrap();
        let trust = Trust::with_authority(authority.write(folder.path(), "ca.pem").unwrap()).unwrap();
        let valid = authority.server().unwrap();
        let expired = authority.expired_server().unwrap();
        for (certificate, expected) in [(valid, VALID_UNTIL), (expired, EXPIRED_AT)] {
            let front = TlsFront::start(&certificate, &["127.0.0.1:1"]).unwrap();
            let address = format!("localhost:{}", front.port());
            assert_eq!(certificate_expiry(&address, &trust, WITHIN), Some(expected));
        }
        assert_eq!(certificate_expiry("127.0.0.1:1", &trust, WITHIN), None);
    }
}
