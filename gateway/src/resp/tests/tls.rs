//! Clients behind TLS.

use std::future::Future;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

/// Of gateway/tests/tls, as all that a test needs to know by name.
macro_rules! pem {
    ($name:literal) => {
        include_bytes!(concat!("../../../tests/tls/", $name)).as_slice()
    };
}

/// What a gateway or a client shows.
type Pair = (&'static [u8], &'static [u8]);

const SERVER: Pair = (pem!("server.pem"), pem!("server.key"));
const NEXT_SERVER: Pair = (pem!("next-server.pem"), pem!("next-server.key"));
const CLIENT: Pair = (pem!("client.pem"), pem!("client.key"));
const OTHER_CLIENT: Pair = (pem!("other-client.pem"), pem!("other-client.key"));
const AUTHORITY: &[u8] = pem!("authority.pem");

fn tls(pair: Pair, client_ca: Option<&[u8]>) -> Admission {
    Admission {
        tls: Some(TlsConfig::from_pem(pair.0, pair.1, client_ca).unwrap()),
        ..admission(None)
    }
}

async fn started(admission: Admission) -> Site {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = RespConfig {
        admission,
        ..resp_config()
    };
    Site::at(&Endpoint::Tls(any), grid_config(None), config).await
}

/// A client's end.
struct Tls(TlsStream<TcpStream>);

impl Tls {
    async fn connect(site: &Site, shown: Option<Pair>) -> std::io::Result<Self> {
        Self::speak(&TLS13, TcpStream::connect(site.address).await?, shown).await
    }

    async fn speak(
        version: &'static SupportedProtocolVersion,
        stream: TcpStream,
        shown: Option<Pair>,
    ) -> std::io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(AUTHORITY).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        let config = match shown {
            Some((cert, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(cert).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key).unwrap();
                config.with_client_auth_cert(chain, key).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        let name = ServerName::try_from("localhost").unwrap();
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        Ok(Self(connecting.await?))
    }

    /// Sends commands and reads as much as is expected.
    async fn ask(&mut self, sent: &str, length: usize) -> std::io::Result<String> {
        self.0.write_all(sent.as_bytes()).await?;
        self.0.flush().await?;
        let mut reply = vec![0; length];
        tokio::time::timeout(PATIENCE, self.0.read_exact(&mut reply)).await??;
        Ok(String::from_utf8(reply).unwrap())
    }

    async fn pings(&mut self) -> bool {
        self.ask("PING\r\n", 7)
            .await
            .is_ok_and(|reply| reply == "+PONG\r\n")
    }

    fn shown(&self) -> &[u8] {
        &self.0.get_ref().1.peer_certificates().unwrap()[0]
    }
}

/// Waits until `holds`.
async fn until<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "it never holds");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn clients_come_in_behind_tls() {
    let site = started(Admission {
        users: Users::with_password(Some("secret")),
        ..tls(SERVER, None)
    })
    .await;
    for version in [&TLS12, &TLS13] {
        let stream = TcpStream::connect(site.address).await.unwrap();
        let mut client = Tls::speak(version, stream, None).await.unwrap();
        assert!(!client.pings().await, "without the password");
        drop(client);
        let stream = TcpStream::connect(site.address).await.unwrap();
        let mut client = Tls::speak(version, stream, None).await.unwrap();
        assert_eq!(client.ask("AUTH secret\r\n", 5).await.unwrap(), "+OK\r\n");
        // Longer than several records of TLS, both ways.
        let text = "x".repeat(100_000);
        let echo = format!("*2\r\n$4\r\nECHO\r\n$100000\r\n{text}\r\n");
        let reply = format!("$100000\r\n{text}\r\n");
        assert_eq!(client.ask(&echo, reply.len()).await.unwrap(), reply);
        assert_eq!(client.ask("QUIT\r\n", 5).await.unwrap(), "+OK\r\n");
        // It says that nothing was cut off.
        assert_eq!(client.0.read(&mut [0]).await.unwrap(), 0);
    }
    assert_eq!(site.clients.figures().handshakes, 4);
    site.stop().await;
}

#[tokio::test]
async fn a_client_needs_a_certificate_where_authorities_are_named() {
    let site = started(tls(SERVER, Some(AUTHORITY))).await;
    for (n, shown) in [None, Some(OTHER_CLIENT)].into_iter().enumerate() {
        // With TLS 1.3 a client hears only afterwards that it was refused.
        let refused = match Tls::connect(&site, shown).await {
            Ok(mut client) => !client.pings().await,
            Err(_) => true,
        };
        assert!(refused, "number {n}");
    }
    let mut client = Tls::connect(&site, Some(CLIENT)).await.unwrap();
    assert!(client.pings().await);
    until(async || site.clients.figures().failed_handshakes == 2).await;
    assert_eq!(site.clients.figures().connections, 1);
    site.stop().await;
}

#[tokio::test]
async fn another_certificate_cuts_nobody_off() {
    let site = started(tls(SERVER, None)).await;
    let mut early = Tls::connect(&site, None).await.unwrap();
    site.access.change(tls(NEXT_SERVER, None));
    let mut late = Tls::connect(&site, None).await.unwrap();
    assert_ne!(early.shown(), late.shown());
    assert!(early.pings().await && late.pings().await);
    site.access.change(admission(None));
    assert!(Tls::connect(&site, None).await.is_err());
    assert!(early.pings().await && late.pings().await);
    site.stop().await;
}

#[tokio::test]
async fn who_shakes_no_hands_is_sent_away() {
    let site = started(tls(SERVER, None)).await;
    let mut plain = site.client().await;
    plain.0.write_all(b"PING\r\n").await.unwrap();
    let mut reply = Vec::new();
    plain.0.read_to_end(&mut reply).await.ok();
    assert!(!reply.starts_with(b"+"), "{reply:?}");
    let mut silent = site.client().await;
    let sent_away = tokio::time::timeout(PATIENCE, silent.closed()).await;
    assert_eq!(sent_away, Ok(true));
    until(async || site.clients.figures().failed_handshakes == 2).await;
    assert_eq!(site.clients.figures().connections, 0);
    site.stop().await;
}

/// More than may shake hands at a time, which begin and do not go on.
#[tokio::test]
async fn a_crowd_that_shakes_no_hands_keeps_nobody_out() {
    let site = started(tls(SERVER, None)).await;
    // From another address, and slower than the crowd comes in.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
    let slow = socket.connect(site.address).await.unwrap();
    let mut crowd = Vec::new();
    for _ in 0..300 {
        crowd.push(site.client().await);
    }
    until(async || site.clients.figures().failed_handshakes >= 44).await;
    let mut client = Tls::speak(&TLS13, slow, None).await.unwrap();
    assert!(client.pings().await);
    let mut client = Tls::connect(&site, None).await.unwrap();
    assert!(client.pings().await);
    assert!(crowd[0].closed().await);
    site.stop().await;
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let fault = |cert, key, ca| TlsConfig::from_pem(cert, key, ca).unwrap_err().to_string();
    let (cert, key) = SERVER;
    for (fault, part) in [
        (fault(key, key, None), "grid.tls.cert holds no certificate"),
        (fault(cert, cert, None), "grid.tls.key holds no private key"),
        (fault(cert, CLIENT.1, None), "do not belong together"),
        (
            fault(cert, key, Some(key)),
            "grid.tls.client_ca holds no certificates",
        ),
        (
            fault(cert, key, Some(b"")),
            "grid.tls.client_ca holds no certificates",
        ),
        (
            fault(
                b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
                key,
                None,
            ),
            "grid.tls.cert",
        ),
    ] {
        assert!(fault.contains(part), "{fault}");
    }
}
