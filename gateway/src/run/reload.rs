//! What a running gateway takes over from its files on SIGHUP, or when a command says so: its own key,
//! what is said of its peers, and who is let in as a Redis client.

use std::path::PathBuf;

use strait_transport::{Identity, PublicKey};
use tracing::{error, info, warn};

use super::{Gateway, access, blocking};
use crate::config::{self, Config};
use crate::datadir::{Layout, check_password_file};
use crate::resp::Users;

impl Gateway {
    /// Reads key and configuration anew. What is wrong with them is logged, and changes nothing.
    /// `by` says which signal or command asked for it.
    pub(super) async fn reload(&self, by: &str) -> Result<(), String> {
        match self.try_reload(by).await {
            Ok(key) => {
                let key = config::fingerprint(&key);
                info!(key, "{by}: read keys and peers anew");
                Ok(())
            }
            Err(error) => {
                error!("{by}: nothing was changed: {error:#}");
                Err(format!("nothing was changed: {error:#}"))
            }
        }
    }

    async fn try_reload(&self, by: &str) -> anyhow::Result<PublicKey> {
        let layout = self.dir.layout().clone();
        let (identity, new, users) = blocking(move || read(&layout)).await?;
        let unlinked = self.node.reload(&identity, &new.peers)?;
        let peers = new.peers.iter().map(|peer| peer.site.clone());
        self.parts.grid.set_peers(peers.collect());
        for site in unlinked {
            warn!(%site, "{by}: a peer was added: it has a link from the next start on");
        }
        *self.parts.key.write() = identity.public_key();
        self.parts.grid_access.set_users(users);
        if taken_at_start(&new) != taken_at_start(&self.parts.config) {
            warn!("{by}: what else was changed in strait.toml takes effect at the next start");
        }
        Ok(identity.public_key())
    }
}

fn read(layout: &Layout) -> anyhow::Result<(Identity, Config, Users)> {
    let identity = Identity::load(&layout.identity())?;
    let path: PathBuf = layout.config();
    let config = config::load_for(&path, Some(identity.public_key()))?;
    if config.holds_password() {
        check_password_file(layout)?;
    }
    let users = access::read(&config)?;
    Ok((identity, config, users))
}

/// Without what is taken over while running.
fn taken_at_start(config: &Config) -> Config {
    let mut config = config.clone();
    config.peers = Vec::new();
    config.grid.password = None;
    config
}
