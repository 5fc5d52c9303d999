//! The gateway's own commands: they reach its grid through the socket of its data directory, which
//! only its owner and root may use, whatever ports and passwords clients need.

use std::io;
use std::sync::Arc;

use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::address::ClientAddress;
use super::endpoint::{Accepted, Endpoint};
use super::stream::Handover;
use super::threads::Threads;

/// Connections that wait to be served, at most.
const WAITING_MAX: usize = 16;

/// Connects to the grid from within.
#[derive(Clone, Debug)]
pub struct OwnDoor(mpsc::Sender<UnixStream>);

/// The other end.
#[derive(Debug)]
pub(super) struct OwnClients(mpsc::Receiver<UnixStream>);

pub(super) fn door() -> (OwnDoor, OwnClients) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (OwnDoor(sender), OwnClients(receiver))
}

impl OwnDoor {
    /// A connection that is trusted with everything.
    ///
    /// # Errors
    /// When the grid is no longer served.
    pub async fn connect(&self) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        let served = self.0.send(theirs).await;
        served.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        Ok(ours)
    }
}

impl OwnClients {
    /// Has them served, for ever.
    pub(super) async fn serve(mut self, threads: Arc<Threads>) {
        let endpoint = Arc::new(Endpoint::Own);
        while let Some(stream) = self.0.recv().await {
            let served = match stream.into_std() {
                Ok(stream) => {
                    let accepted = Accepted {
                        stream: Handover::Unix(stream),
                        address: ClientAddress::Own,
                        listener: endpoint.clone(),
                    };
                    threads.serve(accepted).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                tracing::warn!(%error, "cannot serve a command of this gateway");
            }
        }
    }
}
