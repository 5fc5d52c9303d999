//! Work on the disk in steps, each of which ends by itself: no thread waits for a peer.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::failure::Failure;

/// Steps for one peer that are under way at once. As many files of it as that are flushed to the
/// disk together.
const STEPS_PEER_MAX: usize = 96;
/// Steps for all peers: fewer than tokio has threads that may block, which others need, too.
const STEPS_MAX: usize = 256;

/// The steps of all peers.
#[derive(Debug)]
pub(super) struct Disk {
    all: Arc<Semaphore>,
}

/// The steps of one peer.
#[derive(Debug)]
pub(super) struct Steps {
    own: Arc<Semaphore>,
    all: Arc<Semaphore>,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(STEPS_MAX)),
        }
    }
}

impl Disk {
    /// For another peer.
    pub(super) fn steps(&self) -> Steps {
        Steps {
            own: Arc::new(Semaphore::new(STEPS_PEER_MAX)),
            all: self.all.clone(),
        }
    }
}

impl Steps {
    /// Does one step, which blocks, when it is its turn.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        step: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let own = self.own.clone().acquire_owned().await;
        let all = self.all.clone().acquire_owned().await;
        let done = spawn_blocking(move || {
            let done = step();
            drop((own, all));
            done
        });
        done.await.map_err(Failure::io)
    }
}
