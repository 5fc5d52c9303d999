//! TLS 1.3 with raw public keys (RFC 7250) both ways: no certificates, no authorities, only
//! pinned ed25519 keys.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use zeroize::Zeroizing;

use crate::identity::{Identity, PublicKey};
use crate::ids::SiteName;
use crate::refusals::Refusal;

/// The protocol's name and generation. What may change more often has its version in the
/// Hello.
const ALPN: &[u8] = b"strait/1";

/// DER of an ed25519 SubjectPublicKeyInfo (RFC 8410, section 4) up to the key itself.
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// The key that we show, and those that we let in, each with the site it belongs to. Shared by
/// all connections, so that keys can be exchanged while running: handshakes from then on use
/// the new ones.
#[derive(Clone)]
pub(crate) struct Keyring(Arc<RwLock<Keys>>);

struct Keys {
    own: Arc<CertifiedKey>,
    identity: Identity,
    pinned: BTreeMap<PublicKey, SiteName>,
}

impl Keys {
    fn new(identity: &Identity, pinned: BTreeMap<PublicKey, SiteName>) -> Result<Self, Error> {
        Ok(Self {
            own: Arc::new(certified_key(identity)?),
            identity: identity.clone(),
            pinned,
        })
    }
}

impl Keyring {
    pub(crate) fn new(
        identity: &Identity,
        pinned: BTreeMap<PublicKey, SiteName>,
    ) -> Result<Self, Error> {
        let keys = Keys::new(identity, pinned)?;
        Ok(Self(Arc::new(RwLock::new(keys))))
    }

    /// Exchanges all keys at once.
    pub(crate) fn replace(
        &self,
        identity: &Identity,
        pinned: BTreeMap<PublicKey, SiteName>,
    ) -> Result<(), Error> {
        *self.0.write() = Keys::new(identity, pinned)?;
        Ok(())
    }

    /// Our own.
    pub(crate) fn own(&self) -> PublicKey {
        self.0.read().identity.public_key()
    }

    /// See [`Identity::secret`].
    pub(crate) fn secret(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        self.0.read().identity.secret(purpose)
    }

    /// Whose key this is, if it is pinned.
    pub(crate) fn site_of(&self, key: &PublicKey) -> Option<SiteName> {
        self.0.read().pinned.get(key).cloned()
    }

    fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().own)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keyring").field(&self.own()).finish()
    }
}

impl ResolvesServerCert for Keyring {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certified())
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }
}

impl ResolvesClientCert for Keyring {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.certified())
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }

    fn has_certs(&self) -> bool {
        true
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
pub(crate) fn peer_key(chain: &[CertificateDer<'_>]) -> Option<PublicKey> {
    public_key(chain.first()?)
}

/// For connections that others dial: any pinned key is welcome.
pub(crate) fn server(ring: &Keyring) -> Result<rustls::ServerConfig, Error> {
    let provider = Arc::new(provider());
    let verifier = Arc::new(Pinned::new(&provider, ring, None));
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(ring.clone()));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// For a connection that we dial: the other end must have a key of `site`.
pub(crate) fn client(ring: &Keyring, site: &SiteName) -> Result<rustls::ClientConfig, Error> {
    let provider = Arc::new(provider());
    let verifier = Arc::new(Pinned::new(&provider, ring, Some(site.clone())));
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(ring.clone()));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    Ok(config)
}

const NO_APPLICATION_PROTOCOL: u8 = 120;

/// What it means for one who dials us that we send it this alert.
pub(crate) fn refusal(alert: u8) -> Refusal {
    match alert {
        NO_APPLICATION_PROTOCOL => Refusal::Version,
        alert if is_about_key(alert) => Refusal::UnknownKey,
        _ => Refusal::Handshake,
    }
}

/// What the peer means by an alert (RFC 8446, section 6.2), where an operator can do something.
pub(crate) fn explain_alert(alert: u8) -> Option<&'static str> {
    match alert {
        NO_APPLICATION_PROTOCOL => Some("the peer speaks another version of the protocol"),
        alert if is_about_key(alert) => {
            Some("the peer does not know this gateway's key: pair the two sites")
        }
        _ => None,
    }
}

/// The alerts that rustls sends for a key that its verifier refuses.
pub(crate) fn is_about_key(alert: u8) -> bool {
    matches!(alert, 42..=49 | 116)
}

/// We refused the key of whom we dialed.
pub(crate) fn not_the_peer(reason: impl fmt::Display) -> String {
    format!("the other end is not the paired gateway: {reason}")
}

/// What an operator needs to know of a failed handshake.
pub(crate) fn explain(error: &Error) -> String {
    if let Error::AlertReceived(alert) = error
        && let Some(known) = explain_alert(u8::from(*alert))
    {
        return known.to_owned();
    }
    match matches!(error, Error::InvalidCertificate(_)) {
        true => not_the_peer(error),
        false => error.to_string(),
    }
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

/// Accepts raw keys that are pinned, and nothing else.
struct Pinned {
    ring: Keyring,
    /// The one site that is expected, if any.
    site: Option<SiteName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pinned").field(&self.site).finish()
    }
}

impl Pinned {
    fn new(provider: &CryptoProvider, ring: &Keyring, site: Option<SiteName>) -> Self {
        Self {
            ring: ring.clone(),
            site,
            algorithms: provider.signature_verification_algorithms,
        }
    }

    fn check(&self, spki: &[u8]) -> Result<(), Error> {
        let key = public_key(spki).ok_or(CertificateError::BadEncoding)?;
        let owner = self.ring.site_of(&key);
        match owner.is_some_and(|owner| self.site.as_ref().is_none_or(|site| owner == *site)) {
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

#[cfg(test)]
mod tests {
    use rustls::{ClientConnection, NamedGroup, ServerConnection};

    use super::*;

    /// Bytes back and forth until nobody has anything to say.
    fn shake_hands(
        client: &mut ClientConnection,
        server: &mut ServerConnection,
    ) -> Result<(), Error> {
        for _ in 0..10 {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut &bytes[..]).unwrap();
            server.process_new_packets()?;
            let mut bytes = Vec::new();
            server.write_tls(&mut bytes).unwrap();
            client.read_tls(&mut &bytes[..]).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }

    #[test]
    fn key_exchange_is_hybrid_and_nothing_is_resumed() {
        let (east, west) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let pin = |of: &Identity, site: &str| {
            BTreeMap::from([(of.public_key(), site.parse::<SiteName>().unwrap())])
        };
        let dialer = Keyring::new(&east, pin(&west, "west")).unwrap();
        let listener = Keyring::new(&west, pin(&east, "east")).unwrap();
        let (client_config, server_config) = (
            Arc::new(client(&dialer, &"west".parse().unwrap()).unwrap()),
            Arc::new(server(&listener).unwrap()),
        );
        let connections = || {
            let name = ServerName::try_from("strait").unwrap();
            let client = ClientConnection::new(Arc::clone(&client_config), name).unwrap();
            let server = ServerConnection::new(Arc::clone(&server_config)).unwrap();
            (client, server)
        };
        for _ in 0..2 {
            let (mut client, mut server) = connections();
            shake_hands(&mut client, &mut server).unwrap();
            let group = server.negotiated_key_exchange_group().unwrap().name();
            assert_eq!(group, NamedGroup::X25519MLKEM768);
            let key = client.peer_certificates().and_then(peer_key);
            assert_eq!(key, Some(west.public_key()));
            let kind = client.handshake_kind();
            assert_eq!(
                kind,
                Some(rustls::HandshakeKind::Full),
                "nothing is resumed"
            );
        }
        // Keys that are exchanged while running count from the next handshake on.
        let other = Identity::generate().unwrap();
        listener.replace(&other, pin(&east, "east")).unwrap();
        let (mut client, mut server) = connections();
        let refused = shake_hands(&mut client, &mut server).unwrap_err();
        assert!(
            explain(&refused).contains("not the paired gateway"),
            "{refused}"
        );
    }
}
