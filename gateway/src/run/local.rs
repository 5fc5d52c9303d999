//! What commands ask the gateway of their data directory.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use strait_transport::Phase;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::parts::Parts;
use crate::bulk::control::{Ask, Local};
use crate::observe::StatusSource;
use crate::replicate::compare::{CompareError, Comparison};

/// Orders to read keys and peers anew that wait for the one before.
pub(super) const RELOADS_MAX: usize = 4;
/// Longest that reading anew may take.
const RELOAD_MAX: Duration = Duration::from_secs(8);

/// An order to read keys and peers anew, and where to say how it went.
pub(super) type Reload = oneshot::Sender<Result<(), String>>;

/// A gateway as its own commands see it.
pub(super) struct Own {
    pub(super) parts: Arc<Parts>,
    pub(super) reloads: mpsc::Sender<Reload>,
}

impl Local for Own {
    fn ask(&self, ask: Ask) -> BoxFuture<'static, Result<String, String>> {
        let (parts, reloads) = (self.parts.clone(), self.reloads.clone());
        Box::pin(async move {
            match ask {
                Ask::Status => status(parts).await,
                Ask::Compare { site } => {
                    let found = compare(&parts, site).await;
                    let found = found.map_err(|error| error.to_string())?;
                    json(&found)
                }
                Ask::Reload => reload(&reloads).await.map(|()| String::new()),
                Ask::Alive | Ask::Grid => Err("this is answered elsewhere".to_owned()),
            }
        })
    }

    fn connect_grid(&self) -> BoxFuture<'static, io::Result<UnixStream>> {
        let door = self.parts.grid_door.clone();
        Box::pin(async move { door.connect().await })
    }
}

/// Gathered under locks: not on a thread that moves packets.
async fn status(parts: Arc<Parts>) -> Result<String, String> {
    let status = tokio::task::spawn_blocking(move || json(&parts.status()));
    status.await.map_err(|_| stopping())?
}

fn json(value: &impl serde::Serialize) -> Result<String, String> {
    let text = serde_json::to_string(value).map_err(|error| error.to_string())?;
    Ok(text + "\n")
}

/// Compares the grid with that of a peer, which mends what differs.
async fn compare(parts: &Parts, peer: String) -> Result<Comparison, CompareError> {
    let mut links = parts.peers.present();
    let link = links.find(|link| link.handle.site().as_ref() == peer);
    // A session that may yet be resumed takes demands, and answers them when it is.
    let linked = link.map(|link| (link.comparer.clone(), link.handle.status().phase));
    match linked {
        Some((comparer, Phase::Up)) => comparer.compare(&peer).await,
        Some(_) => Err(CompareError::NotLinked(peer)),
        None => Err(CompareError::NoSuchPeer(peer)),
    }
}

async fn reload(reloads: &mpsc::Sender<Reload>) -> Result<(), String> {
    let (told, outcome) = oneshot::channel();
    reloads.try_send(told).map_err(|_| busy())?;
    match timeout(RELOAD_MAX, outcome).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(stopping()),
        Err(_) => Err(busy()),
    }
}

fn busy() -> String {
    "the gateway is busy: see its log, and run the same command again".to_owned()
}

fn stopping() -> String {
    "the gateway is going down".to_owned()
}
