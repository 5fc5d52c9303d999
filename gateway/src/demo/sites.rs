//! Two gateways on loopback, with a wide-area link between them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use strait_transport::PublicKey;

use super::wan::{Wan, WanConfig};
use crate::config;
use crate::datadir::DataDir;
use crate::run::Gateway;

/// Both sites, running. East dials west through the link.
#[derive(Debug)]
pub struct Sites {
    pub east: Gateway,
    pub west: Gateway,
    pub wan: Wan,
    pub east_data: PathBuf,
    pub west_data: PathBuf,
}

impl Sites {
    /// Makes two data directories below `root`, pairs them and starts both gateways. `settings`
    /// are further sections of both configurations.
    ///
    /// # Errors
    /// When a folder or a port cannot be had.
    pub async fn start(root: &Path, wan: WanConfig, settings: &str) -> anyhow::Result<Self> {
        let mut link = None;
        let (east, west) = pair(root, settings, async |west| {
            let wan = link.insert(Wan::start(wan, west).await?);
            Ok(wan.address())
        })
        .await?;
        Ok(Self {
            east,
            west,
            wan: link.context("the link was not asked for")?,
            east_data: root.join("east"),
            west_data: root.join("west"),
        })
    }

    /// Bytes on the link so far, both directions, IP and UDP headers included.
    pub fn wire_bytes(&self) -> u64 {
        let (there, back) = self.wan.figures();
        there.bytes + back.bytes
    }

    /// Stops both gateways.
    ///
    /// # Errors
    /// When what was written last did not reach a disk.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.east.stop().await?;
        self.west.stop().await
    }
}

/// Makes two data directories below `root`, pairs them and starts both gateways. East dials what
/// `through` makes of west's address.
///
/// # Errors
/// When a folder or a port cannot be had.
pub async fn pair(
    root: &Path,
    settings: &str,
    through: impl AsyncFnOnce(SocketAddr) -> std::io::Result<SocketAddr>,
) -> anyhow::Result<(Gateway, Gateway)> {
    let east = DataDir::create(&root.join("east"), &text("east", None, settings))?;
    let west = DataDir::create(&root.join("west"), &text("west", None, settings))?;
    let (east_key, west_key) = (east.identity().public_key(), west.identity().public_key());

    let west = start(west, "west", Peer::trusted("east", east_key), settings).await?;
    let peer = Peer {
        address: Some(through(west.link_address()).await?),
        ..Peer::trusted("west", west_key)
    };
    let east = start(east, "east", peer, settings).await?;
    Ok((east, west))
}

struct Peer {
    site: &'static str,
    key: PublicKey,
    address: Option<SocketAddr>,
}

impl Peer {
    fn trusted(site: &'static str, key: PublicKey) -> Self {
        Self {
            site,
            key,
            address: None,
        }
    }
}

async fn start(dir: DataDir, site: &str, peer: Peer, settings: &str) -> anyhow::Result<Gateway> {
    let path = dir.layout().config();
    std::fs::write(&path, text(site, Some(&peer), settings))
        .with_context(|| format!("cannot write {}", path.display()))?;
    let config = config::load(&path)?;
    Gateway::start(dir, config).await
}

/// A `strait.toml` on ports that the system picks.
fn text(site: &str, peer: Option<&Peer>, settings: &str) -> String {
    let listen =
        "[listen]\nlink = \"127.0.0.1:0\"\ngrid = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\n";
    let peer = peer.map_or_else(String::new, |peer| {
        let addresses = peer.address.map_or_else(String::new, |address| {
            format!("addresses = [\"{address}\"]\n")
        });
        format!(
            "\n[[peer]]\nsite = \"{}\"\nkey = \"{}\"\n{addresses}",
            peer.site, peer.key
        )
    });
    format!("site = \"{site}\"\n\n{listen}\n{settings}{peer}")
}
