use std::fmt;
use std::time::Instant;

use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
use tokio::sync::{Notify, watch};

use super::core::{AckTicket, Core};
use crate::class::Class;
use crate::config::PeerConfig;
use crate::ids::SiteName;
use crate::session::Instance;

/// A link's state and the bells that its threads and tasks ring for each other.
pub(super) struct Shared {
    pub(super) site: SiteName,
    settings: RwLock<PeerConfig>,
    core: Mutex<Core>,
    /// There may be something to encode.
    pub(super) encode: Condvar,
    /// A class's queue may have room, or the session was reset.
    pub(super) room: [Notify; Class::COUNT],
    /// Batches were acknowledged, or the session was reset.
    pub(super) acked: Notify,
    /// There is an event to read.
    pub(super) event: Notify,
    /// There is an encoded batch to write.
    pub(super) outgoing: [Notify; Class::COUNT],
    /// There is something to tell the peer.
    pub(super) tell: Notify,
    /// The link was paused, resumed or closed.
    pub(super) command: Notify,
    /// Connections should be dialed anew: our key or the link's settings have changed.
    pub(super) renew: Notify,
    /// Other keys are pinned than before.
    pub(super) keys: Notify,
    /// The peer has refused us as a copy.
    pub(super) refused: watch::Sender<bool>,
}

impl Shared {
    pub(super) fn new(settings: PeerConfig, instance: Instance) -> Self {
        Self {
            site: settings.site.clone(),
            settings: RwLock::new(settings),
            core: Mutex::new(Core::new(instance)),
            encode: Condvar::new(),
            room: Default::default(),
            acked: Notify::new(),
            event: Notify::new(),
            outgoing: Default::default(),
            tell: Notify::new(),
            command: Notify::new(),
            renew: Notify::new(),
            keys: Notify::new(),
            refused: watch::Sender::new(false),
        }
    }

    pub(super) fn settings(&self) -> PeerConfig {
        self.settings.read().clone()
    }

    /// What is read anew is used from the next connection on; if it differs, or `rekeyed` says
    /// that our own key does, that one is dialed at once.
    pub(super) fn reload(&self, settings: PeerConfig, rekeyed: bool) {
        let before = std::mem::replace(&mut *self.settings.write(), settings.clone());
        self.keys.notify_one();
        if rekeyed || before.differs_on_the_wire(&settings) {
            self.renew.notify_one();
        }
    }

    /// Locks are held for moments: no I/O, no encoding, no waiting.
    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock()
    }

    /// Waits for a bell, or until a time, while holding the lock that its work is behind.
    pub(super) fn wait_encode(&self, core: &mut MutexGuard<'_, Core>, until: Option<Instant>) {
        match until {
            Some(until) => drop(self.encode.wait_until(core, until)),
            None => self.encode.wait(core),
        }
    }

    pub(super) fn ack(&self, ticket: AckTicket) {
        if self.lock().ack(ticket) {
            self.tell.notify_one();
        }
    }

    /// Wakes everyone who waits for something that a new session, or none, changes.
    pub(super) fn wake_users(&self) {
        for room in &self.room {
            room.notify_waiters();
        }
        self.acked.notify_waiters();
        self.event.notify_one();
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.lock().paused = paused;
        self.command.notify_one();
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.command.notify_one();
        self.encode.notify_all();
        self.wake_users();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({})", self.site)
    }
}
