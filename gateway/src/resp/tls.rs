//! TLS for clients: certificates from PEM files, and one stream that moves between threads.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::handshakes::AT_ONCE_MAX;

/// A certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the file of grid.tls.cert holds no certificate in PEM")]
    NoCertificate,
    #[error("the file of grid.tls.key holds no private key in PEM, or it is encrypted")]
    NoKey,
    #[error("the file of grid.tls.client_ca holds no certificates of authorities in PEM: {0}")]
    ClientCa(String),
    #[error("grid.tls.cert and grid.tls.key do not belong together: {0}")]
    Pair(#[source] rustls::Error),
}

/// What TLS handshakes with clients go by: TLS 1.2 and 1.3, without early data.
#[derive(Clone, Debug)]
pub struct TlsConfig(pub(super) Arc<ServerConfig>);

impl TlsConfig {
    /// From PEM: a chain whose first certificate is the gateway's own, its key, and those who may sign
    /// certificates of clients. With those, a client without a certificate is not let in.
    pub fn from_pem(cert: &[u8], key: &[u8], client_ca: Option<&[u8]>) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_slice_iter(cert).collect::<Result<Vec<_>, _>>();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or(TlsError::NoCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::NoKey)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Pair)?;
        let builder = match client_ca {
            Some(ca) => builder.with_client_cert_verifier(verifier(ca)?),
            None => builder.with_no_client_auth(),
        };
        let config = builder.with_single_cert(chain, key);
        Ok(Self(Arc::new(config.map_err(TlsError::Pair)?)))
    }
}

fn verifier(ca: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca) {
        let certificate = certificate.map_err(|error| TlsError::ClientCa(error.to_string()))?;
        let added = roots.add(certificate);
        added.map_err(|error| TlsError::ClientCa(error.to_string()))?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let verifier = verifier.map_err(|error| TlsError::ClientCa(error.to_string()))?;
    Ok(verifier)
}

/// What TLS keeps of a connection beside its buffers, at most: records that are not whole, or not sent.
const CONNECTION_BYTES_MAX: u64 = 128 << 10;
/// The same of a handshake: no message of one is longer.
const HANDSHAKE_BYTES_MAX: u64 = 64 << 10;

/// Memory that so many clients behind TLS take beside what clients take without it, at most.
pub fn tls_bytes_max(clients: usize) -> u64 {
    clients as u64 * CONNECTION_BYTES_MAX + AT_ONCE_MAX as u64 * HANDSHAKE_BYTES_MAX
}

/// The socket below TLS. It is taken out while the connection moves to the runtime of another thread.
#[derive(Debug)]
pub(super) struct Roaming(Option<TcpStream>);

impl Roaming {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(Some(stream))
    }

    /// No runtime watches it from now on.
    pub(super) fn leave(&mut self) -> io::Result<std::net::TcpStream> {
        self.0.take().ok_or_else(away)?.into_std()
    }

    /// The runtime of this thread watches it from now on.
    pub(super) fn arrive(&mut self, stream: std::net::TcpStream) -> io::Result<()> {
        self.0 = Some(TcpStream::from_std(stream)?);
        Ok(())
    }

    fn stream(self: Pin<&mut Self>) -> io::Result<Pin<&mut TcpStream>> {
        self.get_mut().0.as_mut().map(Pin::new).ok_or_else(away)
    }
}

fn away() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl AsyncRead for Roaming {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Roaming {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}
