//! Stock quinn's end, with its own BBR: what strait's transport is measured against in CPU.
//!
//! One uni stream for each piece, as a single long one does not survive loss on a long fat link,
//! and windows as large as strait's; everything else as quinn has it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use quinn::congestion::BbrConfig;
use quinn::rustls::RootCertStore;
use quinn::rustls::pki_types::pem::PemObject;
use quinn::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use quinn::{ClientConfig, Connection, Endpoint, ServerConfig, TransportConfig};
use tokio::time::{interval, timeout};

use super::end::{CONTROL_BYTES, CONTROL_EVERY_MS, Counters, EndArguments, Received};
use super::{PIECE_BYTES, clock};

const NAME: &str = "strait-bench";
const WINDOW_BYTES: u32 = 64 << 20;

/// Makes a certificate with openssl(1).
pub(super) fn make_certificate(dir: &Path) -> anyhow::Result<()> {
    let output = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-newkey", "ec"])
        .args(["-pkeyopt", "ec_paramgen_curve:P-256", "-days", "2"])
        .args(["-subj", "/CN=strait-bench"])
        .args(["-addext", &format!("subjectAltName=DNS:{NAME}")])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(dir.join("stock.key"))
        .arg("-out")
        .arg(dir.join("stock.pem"))
        .output()
        .context("cannot start openssl, which makes the certificate for stock quinn")?;
    if !output.status.success() {
        bail!("openssl: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn transport() -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .receive_window(WINDOW_BYTES.into())
        .send_window(WINDOW_BYTES.into())
        .stream_receive_window((2 * PIECE_BYTES as u32).into())
        .max_concurrent_uni_streams(1024u32.into())
        .congestion_controller_factory(Arc::new(BbrConfig::default()));
    Arc::new(config)
}

#[tokio::main]
pub(super) async fn send(arguments: &EndArguments) -> anyhow::Result<()> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(
        arguments.keys.join("stock.pem"),
    )?)?;
    let mut config = ClientConfig::with_root_certificates(Arc::new(roots))?;
    config.transport_config(transport());
    tokio::time::sleep(clock::until(arguments.start)).await;
    let address = SocketAddr::new(arguments.peer.parse()?, arguments.port);
    let dial = || async {
        let mut endpoint = Endpoint::client((Ipv4Addr::UNSPECIFIED, 0).into())?;
        endpoint.set_default_client_config(config.clone());
        anyhow::Ok(endpoint.connect(address, NAME)?.await?)
    };
    let sending = async {
        let (bulk, control) = tokio::try_join!(dial(), dial())?;
        tokio::try_join!(send_bulk(bulk, arguments), send_control(control)).map(|_: ((), ())| ())
    };
    // Time is up: that is how it ends.
    timeout(clock::until(arguments.end()), sending)
        .await
        .unwrap_or(Ok(()))
}

async fn send_bulk(connection: Connection, arguments: &EndArguments) -> anyhow::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    rand::fill(&mut piece[..]);
    let piece = Bytes::from(piece);
    for number in 0_u64.. {
        arguments.until_due(number).await;
        let mut stream = connection.open_uni().await?;
        for offset in (0..PIECE_BYTES).step_by(64 << 10) {
            stream
                .write_chunk(piece.slice(offset..offset + (64 << 10)))
                .await?;
        }
        stream.finish()?;
    }
    Ok(())
}

async fn send_control(connection: Connection) -> anyhow::Result<()> {
    let mut ticks = interval(Duration::from_millis(CONTROL_EVERY_MS));
    loop {
        ticks.tick().await;
        let mut message = [0; CONTROL_BYTES];
        message[..8].copy_from_slice(&clock::unix_nanos().to_le_bytes());
        let mut stream = connection.open_uni().await?;
        stream.write_all(&message).await?;
        stream.finish()?;
    }
}

#[tokio::main]
pub(super) async fn receive(
    arguments: &EndArguments,
    counters: Counters,
) -> anyhow::Result<Received> {
    let certificate = CertificateDer::from_pem_file(arguments.keys.join("stock.pem"))?;
    let key = PrivateKeyDer::from_pem_file(arguments.keys.join("stock.key"))?;
    let mut config = ServerConfig::with_single_cert(vec![certificate], key)?;
    config.transport_config(transport());
    let endpoint = Endpoint::server(config, (Ipv4Addr::UNSPECIFIED, arguments.port).into())?;
    let counters = Arc::new(counters);
    let receiving = async {
        while let Some(incoming) = endpoint.accept().await {
            tokio::spawn(receive_all(incoming.await?, Arc::clone(&counters)));
        }
        anyhow::Ok(())
    };
    timeout(clock::until(arguments.end()), receiving)
        .await
        .unwrap_or(Ok(()))?;
    counters.report()
}

async fn receive_all(connection: Connection, counters: Arc<Counters>) -> anyhow::Result<()> {
    loop {
        let mut stream = connection.accept_uni().await?;
        let counters = Arc::clone(&counters);
        tokio::spawn(async move {
            let Ok(piece) = stream.read_to_end(PIECE_BYTES).await else {
                return;
            };
            match piece.len() <= CONTROL_BYTES {
                true => counters.count_control(&piece),
                false => counters.count_bulk(piece.len()),
            }
        });
    }
}
