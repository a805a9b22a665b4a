//! A TLS front: accepts TLS connections and forwards them to servers without TLS, round robin.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use anyhow::Context as _;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::certificates::{Issued, IssuedFiles};

/// The front. It stops when dropped.
pub struct TlsFront {
    port: u16,
    /// Shut down in the background, because a runtime must not block on another one.
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl TlsFront {
    /// Listens on a free port of 127.0.0.1 with this certificate, and forwards connections to these servers in turn, like a
    /// load balancer.
    pub fn start(certificate: &Issued, targets: &[&str]) -> anyhow::Result<TlsFront> {
        let acceptor = acceptor(certificate)?;
        TlsFront::accepting(targets, move || Some(acceptor.clone()))
    }

    /// The same with the certificate that these files hold when a connection begins: a renewed one is used at once. While they cannot be
    /// used, connections are closed.
    pub fn reading(files: &IssuedFiles, targets: &[&str]) -> anyhow::Result<TlsFront> {
        let files = files.clone();
        TlsFront::accepting(targets, move || acceptor(&files.read().ok()?).ok())
    }

    fn accepting(
        targets: &[&str],
        acceptor: impl Fn() -> Option<TlsAcceptor> + Send + 'static,
    ) -> anyhow::Result<TlsFront> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen for the TLS front")?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let targets: Vec<String> = targets.iter().map(|target| (*target).to_owned()).collect();
        runtime.spawn(async move {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
                return;
            };
            for target in targets.iter().cycle() {
                let Ok((client, _)) = listener.accept().await else {
                    return;
                };
                let (Some(acceptor), target) = (acceptor(), target.clone()) else {
                    continue;
                };
                tokio::spawn(async move {
                    // If the handshake fails or the server is unavailable, the connection is closed.
                    let Ok(mut client) = acceptor.accept(client).await else {
                        return;
                    };
                    if let Ok(mut server) = tokio::net::TcpStream::connect(&target).await {
                        let _ended = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Ok(TlsFront {
            port,
            runtime: Some(runtime),
        })
    }

    /// The port for clients.
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn acceptor(certificate: &Issued) -> anyhow::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_slice_iter(certificate.certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes())?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
