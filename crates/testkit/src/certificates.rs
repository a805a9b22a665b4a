//! Certificates for tests: an authority, and valid or expired certificates of servers and clients.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// An authority that signs certificates. Two authorities do not accept each other's certificates.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its private key, both PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key, PKCS#8.
    pub key: String,
}

/// The files of an [`Issued`].
#[derive(Debug, Clone)]
pub struct IssuedFiles {
    /// PEM file of the certificate.
    pub certificate: PathBuf,
    /// PEM file of the key.
    pub key: PathBuf,
}

impl Authority {
    /// A new authority with this common name.
    pub fn new(name: &str) -> anyhow::Result<Authority> {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Authority {
            certificate,
            issuer: Issuer::new(params, key),
        })
    }

    /// The authority's own certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Writes the authority's certificate into a folder. Returns the path.
    pub fn write(&self, folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
        write(folder, name, &self.certificate)
    }

    /// A server certificate for `localhost` and `127.0.0.1`.
    pub fn server(&self) -> anyhow::Result<Issued> {
        self.issue(
            "localhost",
            &["localhost", "127.0.0.1"],
            ExtendedKeyUsagePurpose::ServerAuth,
            2100,
        )
    }

    /// A server certificate for these host names and addresses.
    pub fn server_named(&self, names: &[&str]) -> anyhow::Result<Issued> {
        let first = names.first().context("a server needs a name")?;
        self.issue(first, names, ExtendedKeyUsagePurpose::ServerAuth, 2100)
    }

    /// A server certificate that expired years ago.
    pub fn expired_server(&self) -> anyhow::Result<Issued> {
        self.issue(
            "localhost",
            &["localhost", "127.0.0.1"],
            ExtendedKeyUsagePurpose::ServerAuth,
            2021,
        )
    }

    /// A client certificate with this common name.
    pub fn client(&self, name: &str) -> anyhow::Result<Issued> {
        self.issue(name, &[], ExtendedKeyUsagePurpose::ClientAuth, 2100)
    }

    /// A client certificate that expired years ago.
    pub fn expired_client(&self, name: &str) -> anyhow::Result<Issued> {
        self.issue(name, &[], ExtendedKeyUsagePurpose::ClientAuth, 2021)
    }

    fn issue(
        &self,
        name: &str,
        hosts: &[&str],
        purpose: ExtendedKeyUsagePurpose,
        last_year: i32,
    ) -> anyhow::Result<Issued> {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name = named(name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(last_year, 1, 1);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued {
            certificate,
            key: key.serialize_pem(),
        })
    }
}

impl Issued {
    /// Writes `NAME.pem` and `NAME.key` into a folder.
    pub fn write(&self, folder: &Path, name: &str) -> anyhow::Result<IssuedFiles> {
        Ok(IssuedFiles {
            certificate: write(folder, &format!("{name}.pem"), &self.certificate)?,
            key: write(folder, &format!("{name}.key"), &self.key)?,
        })
    }
}

impl IssuedFiles {
    /// What the files hold now.
    pub fn read(&self) -> anyhow::Result<Issued> {
        let text = |path: &Path| std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()));
        Ok(Issued {
            certificate: text(&self.certificate)?,
            key: text(&self.key)?,
        })
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn write(folder: &Path, name: &str, content: &str) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    std::fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}
