//! One link to one peer.
//!
//! A link has an encoder thread, a decoder thread, and a task (`driver`) that dials,
//! answers and dials again. While a pair of connections stands (`pair`), it moves bytes between
//! them and the state they all share (`core`). Meanwhile `scout` looks for a better pair, and
//! `carry` goes over to it.

mod allowance;
mod backoff;
mod callers;
mod carry;
mod copies;
mod core;
mod decoder;
mod dial;
mod drain;
mod driver;
mod encoder;
mod establish;
mod events;
mod handle;
mod pair;
mod probe;
mod read;
mod scout;
mod shared;
mod stall;
mod starvation;
mod telemetry;
#[cfg(test)]
mod tests;
mod write;

use std::sync::{Arc, mpsc};
use std::{io, thread};

use tokio::sync::oneshot;

pub use events::{LinkEvent, LinkEvents, PeerInfo, Received};
pub use handle::{LinkHandle, OutStream};

pub(crate) use establish::{Caller, introduce};
pub(crate) use write::IN_HANDS_BYTES_MAX;

use self::driver::Driver;
use self::shared::Shared;
use crate::codec::{Decode, Encode};
use crate::config::PeerConfig;
use crate::ids::SiteName;
use crate::peer_networks::PeerNetworks;
use crate::session::Instance;
use crate::tls::Keyring;

/// Those who dial us and have not been answered.
const CALLERS_MAX: usize = 4;

/// Who we are, to each peer.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    pub(crate) site: SiteName,
    pub(crate) incarnation: u64,
    pub(crate) ring: Keyring,
    pub(crate) gso: bool,
    pub(crate) networks: Arc<PeerNetworks>,
    pub(crate) instance: Instance,
}

/// A running link, as its node holds it.
#[derive(Debug)]
pub(crate) struct Running {
    link: Arc<Shared>,
    callers: tokio::sync::mpsc::Sender<Caller>,
    driver: tokio::task::JoinHandle<()>,
    /// Each is dropped when its thread ends.
    threads: [oneshot::Receiver<()>; 2],
}

/// Starts a link's threads and its task.
pub(crate) fn start(
    own: Own,
    peer: PeerConfig,
    (encode, decode): (Box<dyn Encode>, Box<dyn Decode>),
) -> io::Result<(Running, LinkHandle, LinkEvents)> {
    let site = peer.site.clone();
    let link = Arc::new(Shared::new(peer, own.instance));
    let (jobs, decoder_jobs) = mpsc::channel();
    let shared = Arc::clone(&link);
    let encoder = spawn(format!("encode-{site}"), move || {
        encoder::run(&shared, encode);
    })?;
    let shared = Arc::clone(&link);
    let decoder = spawn(format!("decode-{site}"), move || {
        decoder::run(&shared, decode, &decoder_jobs);
    })?;
    let (callers, incoming) = tokio::sync::mpsc::channel(CALLERS_MAX);
    let driver = Driver::new(Arc::clone(&link), own, jobs, incoming);
    let running = Running {
        link: Arc::clone(&link),
        callers,
        driver: tokio::spawn(driver.run()),
        threads: [encoder, decoder],
    };
    let handle = LinkHandle::new(Arc::clone(&link));
    Ok((running, handle, LinkEvents::new(link)))
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> io::Result<oneshot::Receiver<()>> {
    let (done, ended) = oneshot::channel();
    // Linux shows 15 characters of a thread's name.
    thread::Builder::new().name(name).spawn(move || {
        body();
        drop(done);
    })?;
    Ok(ended)
}

impl Running {
    /// Where to announce those who dial us.
    pub(crate) fn callers(&self) -> tokio::sync::mpsc::Sender<Caller> {
        self.callers.clone()
    }

    pub(crate) fn site(&self) -> &SiteName {
        &self.link.site
    }

    /// Takes over what was read anew. `rekeyed`: our own key has changed.
    pub(crate) fn reload(&self, settings: PeerConfig, rekeyed: bool) {
        self.link.reload(settings, rekeyed);
    }

    /// Asks the link to say goodbye and stop; [`Running::stopped`] waits for it.
    pub(crate) fn stop(&self) {
        self.link.close();
    }

    /// Whether it was asked to.
    pub(crate) fn is_closed(&self) -> bool {
        self.link.lock().closed
    }

    pub(crate) async fn stopped(self) {
        // Whether task and threads ended well or not, they ended.
        drop(self.driver.await);
        for thread in self.threads {
            drop(thread.await);
        }
    }
}
