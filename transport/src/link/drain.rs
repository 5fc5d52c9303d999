//! [`Handover`] with the bells that its tasks wait for.

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::session::{Handover, Violation};
use crate::wire::control::Message;

#[derive(Debug)]
pub(super) struct Drain {
    handover: Mutex<Handover>,
    retired: watch::Sender<bool>,
    /// There may be something to tell the peer.
    pub(super) tell: Notify,
    over: Notify,
}

impl Drain {
    pub(super) fn new() -> Self {
        Self {
            handover: Mutex::default(),
            retired: watch::Sender::new(false),
            tell: Notify::new(),
            over: Notify::new(),
        }
    }

    pub(super) fn retire(&self) {
        self.handover.lock().retire();
        self.retired.send_replace(true);
        self.tell.notify_one();
    }

    pub(super) fn is_retired(&self) -> bool {
        *self.retired.borrow()
    }

    /// Waits for a newer pair to take over.
    pub(super) async fn retired(&self) {
        let mut retired = self.retired.subscribe();
        // The sender is ours: it cannot go.
        drop(retired.wait_for(|retired| *retired).await);
    }

    /// False: nothing new goes out over this pair.
    pub(super) fn begin_write(&self) -> bool {
        self.handover.lock().begin_write()
    }

    pub(super) fn handle_written(&self) {
        self.handover.lock().handle_written();
        self.tell.notify_one();
    }

    pub(super) fn handle_read(&self) {
        self.handover.lock().handle_read();
        self.tell.notify_one();
    }

    pub(super) fn handle_last(&self, batches: u64) -> Result<(), Violation> {
        self.handover.lock().handle_last(batches)?;
        self.tell.notify_one();
        Ok(())
    }

    pub(super) fn handle_drained(&self) -> Result<(), Violation> {
        self.handover.lock().handle_drained()?;
        self.ring_if_over();
        Ok(())
    }

    pub(super) fn poll_message(&self) -> Option<Message> {
        self.handover.lock().poll_message()
    }

    /// What was polled is on its way.
    pub(super) fn ring_if_over(&self) {
        if self.handover.lock().is_over() {
            self.over.notify_one();
        }
    }

    pub(super) fn has_all(&self) -> bool {
        self.handover.lock().has_all()
    }

    /// Waits until both ends have everything.
    pub(super) async fn over(&self) {
        self.over.notified().await;
    }
}
