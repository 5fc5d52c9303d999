//! What a running gateway takes over from its files on SIGHUP: its own key, and what is said of its
//! peers.

use std::path::PathBuf;

use strait_transport::{Identity, PublicKey};
use tracing::{error, info, warn};

use super::{Gateway, blocking};
use crate::config::{self, Config};
use crate::datadir::Layout;

impl Gateway {
    /// Reads key and configuration anew. What is wrong with them is logged, and changes nothing.
    pub(super) async fn reload(&self) {
        match self.try_reload().await {
            Ok(key) => info!(
                key = config::fingerprint(&key),
                "SIGHUP: read keys and peers anew"
            ),
            Err(error) => error!("SIGHUP: nothing was changed: {error:#}"),
        }
    }

    async fn try_reload(&self) -> anyhow::Result<PublicKey> {
        let layout = self.dir.layout().clone();
        let (identity, new) = blocking(move || read(&layout)).await?;
        let unlinked = self.node.reload(&identity, &new.peers)?;
        for site in unlinked {
            warn!(%site, "SIGHUP: a peer was added: it has a link from the next start on");
        }
        *self.parts.key.write() = identity.public_key();
        if without_peers(&new) != without_peers(&self.parts.config) {
            warn!("SIGHUP: what else was changed in strait.toml takes effect at the next start");
        }
        Ok(identity.public_key())
    }
}

fn read(layout: &Layout) -> anyhow::Result<(Identity, Config)> {
    let identity = Identity::load(&layout.identity())?;
    let path: PathBuf = layout.config();
    let config = config::load_for(&path, Some(identity.public_key()))?;
    Ok((identity, config))
}

fn without_peers(config: &Config) -> Config {
    Config {
        peers: Vec::new(),
        ..config.clone()
    }
}
