//! TLS 1.3 with raw public keys (RFC 7250) both ways: no certificates, no authorities, only
//! pinned ed25519 keys.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};

use crate::identity::{Identity, PublicKey};

/// The protocol's name and generation. What may change more often has its version in the
/// Hello.
const ALPN: &[u8] = b"strait/1";

/// DER of an ed25519 SubjectPublicKeyInfo (RFC 8410, section 4) up to the key itself.
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// The keys that are let in. Shared, so that a key can be added or taken away while running.
#[derive(Clone, Debug, Default)]
pub(crate) struct PinnedKeys(Arc<RwLock<BTreeSet<PublicKey>>>);

impl PinnedKeys {
    pub(crate) fn insert(&self, key: PublicKey) -> bool {
        self.0.write().insert(key)
    }

    fn contains(&self, key: &PublicKey) -> bool {
        self.0.read().contains(key)
    }
}

/// The peer's key is not among the pinned ones.
#[derive(Clone, Copy, thiserror::Error)]
#[error("unknown key {0}: it is not paired with this site")]
struct UnknownKey(PublicKey);

// rustls shows what we found by its debug form alone, and people read it in the log.
impl fmt::Debug for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The key that a finished handshake proved.
pub(crate) fn peer_key(connection: &quinn::Connection) -> Option<PublicKey> {
    let identity = connection.peer_identity()?;
    let chain = identity.downcast_ref::<Vec<CertificateDer<'static>>>()?;
    public_key(chain.first()?)
}

/// For connections that others dial: any pinned key is welcome.
pub(crate) fn server(identity: &Identity, pinned: PinnedKeys) -> Result<QuicServerConfig, Error> {
    let provider = Arc::new(provider());
    let verifier = Arc::new(Pinned::new(&provider, Accepted::AnyOf(pinned)));
    let key = Arc::new(certified_key(identity)?);
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(
            rustls::server::AlwaysResolvesServerRawPublicKeys::new(key),
        ));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    QuicServerConfig::try_from(config).map_err(|error| Error::General(error.to_string()))
}

/// For a connection that we dial: the other end must be the owner of `peer`.
pub(crate) fn client(identity: &Identity, peer: PublicKey) -> Result<QuicClientConfig, Error> {
    let provider = Arc::new(provider());
    let verifier = Arc::new(Pinned::new(&provider, Accepted::Only(peer)));
    let key = Arc::new(certified_key(identity)?);
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(
            rustls::client::AlwaysResolvesClientRawPublicKeys::new(key),
        ));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    QuicClientConfig::try_from(config).map_err(|error| Error::General(error.to_string()))
}

/// Hybrid post-quantum key exchange first; today's alone for nobody but debuggers.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![kx_group::X25519MLKEM768, kx_group::X25519];
    provider
}

fn certified_key(identity: &Identity) -> Result<CertifiedKey, Error> {
    let spki = [&SPKI_PREFIX[..], identity.public_key().as_bytes()].concat();
    let der = PrivatePkcs8KeyDer::from(identity.pkcs8());
    let signer = aws_lc_rs::sign::any_eddsa_type(&der)?;
    Ok(CertifiedKey::new(vec![CertificateDer::from(spki)], signer))
}

fn public_key(spki: &[u8]) -> Option<PublicKey> {
    let key = spki.strip_prefix(&SPKI_PREFIX)?;
    key.try_into().ok().map(PublicKey::from_bytes)
}

#[derive(Debug)]
enum Accepted {
    Only(PublicKey),
    AnyOf(PinnedKeys),
}

/// Accepts raw keys that are pinned, and nothing else.
struct Pinned {
    accepted: Accepted,
    algorithms: WebPkiSupportedAlgorithms,
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pinned").field(&self.accepted).finish()
    }
}

impl Pinned {
    fn new(provider: &CryptoProvider, accepted: Accepted) -> Self {
        Self {
            accepted,
            algorithms: provider.signature_verification_algorithms,
        }
    }

    fn check(&self, spki: &[u8]) -> Result<(), Error> {
        let key = public_key(spki).ok_or(CertificateError::BadEncoding)?;
        let known = match &self.accepted {
            Accepted::Only(peer) => *peer == key,
            Accepted::AnyOf(pinned) => pinned.contains(&key),
        };
        match known {
            true => Ok(()),
            false => Err(CertificateError::Other(OtherError(Arc::new(UnknownKey(key)))).into()),
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let spki = SubjectPublicKeyInfoDer::from(spki.as_ref());
        verify_tls13_signature_with_raw_key(message, &spki, signature, &self.algorithms)
    }
}

fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::PeerIncompatible(
        rustls::PeerIncompatible::Tls12NotOffered,
    ))
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
