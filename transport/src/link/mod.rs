//! One link to one peer.
//!
//! A link has an encoder thread, a decoder thread, and a task (`driver`) that dials,
//! answers and dials again. While a pair of connections stands, `carry` moves bytes between
//! it and the state they all share (`core`).

mod backoff;
mod carry;
mod core;
mod decoder;
mod driver;
mod encoder;
mod establish;
mod events;
mod handle;
mod read;
mod shared;
mod telemetry;
mod write;

use std::sync::{Arc, mpsc};
use std::{io, thread};

use tokio::sync::oneshot;

pub use events::{LinkEvent, LinkEvents, PeerInfo, Received};
pub use handle::{LinkHandle, OutStream};

pub(crate) use establish::{Caller, introduce};

use self::driver::Driver;
use self::shared::Shared;
use crate::codec::{Decode, Encode};
use crate::config::PeerConfig;
use crate::identity::Identity;
use crate::ids::SiteName;
use crate::session::Instance;

/// Those who dial us and have not been answered.
const CALLERS_MAX: usize = 4;

/// Who we are, to each peer.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    pub(crate) site: SiteName,
    pub(crate) incarnation: u64,
    pub(crate) identity: Identity,
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
    let link = Arc::new(Shared::new(peer.site.clone(), peer.key, own.instance));
    let (jobs, decoder_jobs) = mpsc::channel();
    let shared = Arc::clone(&link);
    let encoder = spawn(format!("encode-{}", peer.site), move || {
        encoder::run(&shared, encode);
    })?;
    let shared = Arc::clone(&link);
    let decoder = spawn(format!("decode-{}", peer.site), move || {
        decoder::run(&shared, decode, &decoder_jobs);
    })?;
    let (callers, incoming) = tokio::sync::mpsc::channel(CALLERS_MAX);
    let driver = Driver::new(Arc::clone(&link), own, peer, jobs);
    let running = Running {
        link: Arc::clone(&link),
        callers,
        driver: tokio::spawn(driver.run(incoming)),
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

    /// Asks the link to say goodbye and stop; [`Running::stopped`] waits for it.
    pub(crate) fn stop(&self) {
        self.link.close();
    }

    pub(crate) async fn stopped(self) {
        // Whether task and threads ended well or not, they ended.
        drop(self.driver.await);
        for thread in self.threads {
            drop(thread.await);
        }
    }
}
