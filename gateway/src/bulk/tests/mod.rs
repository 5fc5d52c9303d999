//! Two rooms on one machine with a real link between them.

mod commands;
mod fuzz;
mod hostile;
mod memory;
mod transfers;

use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use strait_transport::{
    Identity, LinkEvent, LinkEvents, LinkHandle, Node, NodeConfig, PassThrough, PeerConfig,
    SiteName, WireVersion,
};
use tokio::net::UnixStream;

use super::control::client::{ClientError, Gateway, Moved, PushedFile, Sink};
use super::control::{Ask, Local};
use super::location::Location;
use super::store::FileMeta;
use super::{Bulk, BulkConfig, BulkFigures};
use crate::streams::StreamOpen;

const PATIENCE: Duration = Duration::from_secs(20);

fn site(name: &str) -> SiteName {
    name.parse().unwrap()
}

fn place(text: &str) -> Location {
    text.parse().unwrap()
}

/// A node with one peer.
struct End {
    node: Node,
    link: LinkHandle,
    events: LinkEvents,
}

/// Keys of two ends; the address of the one that is dialed.
struct Wires {
    east: tempfile::TempDir,
    west: tempfile::TempDir,
    west_address: SocketAddr,
}

impl Wires {
    fn new() -> Self {
        Self {
            east: key_dir(),
            west: key_dir(),
            west_address: strait_ports::free_port(),
        }
    }

    async fn east(&self) -> End {
        let dialed = vec![self.west_address.to_string()];
        bind(
            "east",
            &self.east,
            "127.0.0.1:0".parse().unwrap(),
            "west",
            &self.west,
            dialed,
        )
        .await
    }

    async fn west(&self) -> End {
        bind(
            "west",
            &self.west,
            self.west_address,
            "east",
            &self.east,
            Vec::new(),
        )
        .await
    }
}

async fn bind(
    own: &str,
    own_dir: &tempfile::TempDir,
    listen: SocketAddr,
    peer: &str,
    peer_dir: &tempfile::TempDir,
    addresses: Vec<String>,
) -> End {
    let (node, mut links) = bind_among(own, own_dir, listen, &[(peer, peer_dir, addresses)]).await;
    let (link, events) = links.remove(0);
    End { node, link, events }
}

/// A node with these peers.
async fn bind_among(
    own: &str,
    own_dir: &tempfile::TempDir,
    listen: SocketAddr,
    peers: &[(&str, &tempfile::TempDir, Vec<String>)],
) -> (Node, Vec<(LinkHandle, LinkEvents)>) {
    let identity = |dir: &tempfile::TempDir| Identity::load(&dir.path().join("key")).unwrap();
    let peers = peers.iter().map(|(peer, dir, addresses)| PeerConfig {
        addresses: addresses.clone(),
        ..PeerConfig::new(site(peer), identity(dir).public_key())
    });
    let config = NodeConfig {
        site: site(own),
        incarnation: 1,
        identity: identity(own_dir),
        listen,
        callers_from: Vec::new(),
        gso: true,
        peers: peers.collect(),
    };
    Node::bind(config, |_| (Box::new(PassThrough), Box::new(PassThrough)))
        .await
        .unwrap()
}

fn key_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    Identity::generate()
        .unwrap()
        .save(&dir.path().join("key"))
        .unwrap();
    dir
}

/// A gateway with this room alone.
struct Gate {
    node: Node,
    bulk: Arc<Bulk>,
    socket: PathBuf,
    files: PathBuf,
    _dir: tempfile::TempDir,
}

impl Gate {
    fn start(end: End, bytes_max: Option<u64>) -> Self {
        Self::start_with(end, bytes_max, WireVersion(u16::MAX))
    }

    /// With a peer that is said to speak no newer version.
    fn start_with(end: End, bytes_max: Option<u64>, newest: WireVersion) -> Self {
        let End { node, link, events } = end;
        let change = |config: &mut BulkConfig| config.bytes_max = bytes_max.unwrap_or(u64::MAX);
        Self::start_among(node, vec![(link, events)], newest, change)
    }

    fn start_among(
        node: Node,
        links: Vec<(LinkHandle, LinkEvents)>,
        newest: WireVersion,
        change: impl FnOnce(&mut BulkConfig),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = BulkConfig {
            dir: dir.path().join("bulk"),
            snapshots: None,
            seen: None,
            bytes_max: u64::MAX,
            free_bytes_min: 0,
            shared: Some(true),
            idle_max: PATIENCE * 100,
        };
        change(&mut config);
        let handles = links
            .iter()
            .map(|(link, _)| (link.site().clone(), link.clone()));
        let bulk = Arc::new(Bulk::new(&config, handles.collect()).unwrap().0);
        for (link, events) in links {
            tokio::spawn(pump(bulk.clone(), link.site().clone(), (events, newest)));
        }
        let socket = dir.path().join("strait.sock");
        let (serving, path) = (bulk.clone(), socket.clone());
        tokio::spawn(async move {
            serving
                .serve_control(&path, None, Arc::new(Nobody), std::future::pending())
                .await
        });
        Self {
            node,
            bulk,
            socket,
            files: config.dir,
            _dir: dir,
        }
    }

    /// Runs a command; commands block.
    async fn run<T: Send + 'static>(
        &self,
        command: impl FnOnce(Gateway) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, ClientError> {
        while !self.socket.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let gateway = Gateway::new(&self.socket, PATIENCE);
        tokio::task::spawn_blocking(move || command(gateway))
            .await
            .unwrap()
    }

    async fn push(&self, to: &str, from: impl Read + Send + 'static) -> Result<Moved, ClientError> {
        let to = place(to);
        let push = move |gateway: Gateway| {
            gateway.push(&to, PushedFile::default(), from, |_| Ok(()), |_| {})
        };
        self.run(push).await
    }

    async fn pull(&self, from: &str) -> Result<Vec<u8>, ClientError> {
        let from = place(from);
        self.run(move |gateway| {
            let mut bytes = Collected::default();
            gateway.pull(&from, &mut bytes).map(|_| bytes.0)
        })
        .await
    }

    async fn stop(self) {
        self.bulk.close();
        self.node.close().await;
    }

    fn unfinished(&self) -> usize {
        let names = std::fs::read_dir(self.files.join(super::path::PARTIAL_DIR)).unwrap();
        let is_file = |name: &std::ffi::OsStr| !name.as_encoded_bytes().starts_with(b".");
        names
            .filter(|name| is_file(&name.as_ref().unwrap().file_name()))
            .count()
    }

    /// Until nothing is under way here.
    async fn idle(&self) {
        self.until(|figures| figures.sending + figures.receiving == 0)
            .await;
    }

    /// Until a file is under way to here.
    async fn receives(&self) {
        self.until(|figures| figures.receiving > 0).await;
    }

    /// Until so many files have failed here.
    async fn failed(&self, files: u64) {
        self.until(|figures| figures.failed == files).await;
    }

    async fn until(&self, check: impl Fn(BulkFigures) -> bool) {
        let checked = async {
            while !check(self.bulk.figures()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, checked).await.unwrap();
    }
}

async fn pump(bulk: Arc<Bulk>, site: SiteName, (mut events, newest): (LinkEvents, WireVersion)) {
    while let Some(event) = events.next().await {
        match event {
            LinkEvent::Up { peer, fresh } => {
                bulk.handle_up(&site, fresh, peer.wire_version.min(newest));
            }
            LinkEvent::Down { .. } => bulk.handle_down(&site),
            LinkEvent::Batch(batch) => {
                let open = StreamOpen::decode(&batch.open).unwrap();
                bulk.handle_batch(&site, &open, batch);
            }
        }
    }
}

#[derive(Default)]
struct Collected(Vec<u8>);

impl Sink for Collected {
    fn begin(&mut self, _length: u64, _meta: FileMeta) -> io::Result<()> {
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Bytes without any pattern, the same for the same seed.
fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new_keyed(&[seed; 32])
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

async fn two_gates(west_bytes_max: Option<u64>) -> (Gate, Gate) {
    let wires = Wires::new();
    let (east, west) = (wires.east().await, wires.west().await);
    (Gate::start(east, None), Gate::start(west, west_bytes_max))
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

/// A gateway of which nothing is known.
struct Nobody;

impl Local for Nobody {
    fn ask(&self, _ask: Ask) -> BoxFuture<'static, Result<String, String>> {
        Box::pin(async { Err("nobody is here".to_owned()) })
    }

    fn connect_grid(&self) -> BoxFuture<'static, io::Result<UnixStream>> {
        Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) })
    }
}
