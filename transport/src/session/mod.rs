//! The session between two gateways: a sans-io core without clock or I/O.
//!
//! A session is born when two instances of gateways first hear each other's Hello, and
//! outlives any number of connections. Within it every batch is delivered once, in the
//! order of its stream. When either end restarts, its instance is another one: both ends
//! drop what they had under way and begin afresh.

mod gauge;
mod handover;
mod inbox;
mod limits;
mod number_set;
mod outbox;
mod schedule;
#[cfg(test)]
mod simulation;

pub(crate) use gauge::Gauge;
pub(crate) use handover::Handover;
pub(crate) use inbox::{Arrival, Delivery, Inbox};
pub(crate) use limits::RAW_BYTES_MAX;
pub(crate) use limits::UNACKED_SPAN_MAX;
pub(crate) use number_set::NumberSet;
pub(crate) use outbox::{Acked, Outbox, Transmit};
pub(crate) use schedule::Schedule;

use crate::class::Class;

/// The peer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer broke the protocol: {0}")]
pub(crate) struct Violation(pub(crate) &'static str);

/// What one end has of the other's batches of a class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClassMarks {
    /// Decoded, and safe from being needed again.
    pub(crate) received: NumberSet,
    /// Applied: a subset.
    pub(crate) acked: NumberSet,
}

/// One run of a gateway: drawn at random when it starts, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instance(pub(crate) u64);

/// The session's part of a Hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionHello {
    pub(crate) instance: Instance,
    /// Whom the sender's session is with.
    pub(crate) peer: Option<Instance>,
    pub(crate) marks: [ClassMarks; Class::COUNT],
}

/// What a Hello led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) fresh: bool,
    /// Acknowledged batches of which we had not heard.
    pub(crate) acked: Vec<Acked>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Session {
    instance: Instance,
    peer: Option<Instance>,
    pub(crate) outbox: Outbox,
    pub(crate) inbox: Inbox,
    schedule: Schedule,
}

impl Session {
    pub(crate) fn new(instance: Instance) -> Self {
        Self {
            instance,
            peer: None,
            outbox: Outbox::default(),
            inbox: Inbox::default(),
            schedule: Schedule::default(),
        }
    }

    /// What to say on a new connection. From here to [`Session::handle_hello`] no batch may
    /// come in.
    pub(crate) fn hello(&mut self) -> SessionHello {
        self.inbox.handle_disconnected();
        SessionHello {
            instance: self.instance,
            peer: self.peer,
            marks: Class::ALL.map(|class| self.inbox.marks(class)),
        }
    }

    /// Goes on where both ends remember each other, or else begins afresh.
    pub(crate) fn handle_hello(&mut self, theirs: &SessionHello) -> Result<Opened, Violation> {
        let mutual = self.peer == Some(theirs.instance) && theirs.peer == Some(self.instance);
        let mut acked = Vec::new();
        if mutual {
            for (class, marks) in Class::ALL.into_iter().zip(&theirs.marks) {
                self.outbox.resume(class, marks, &mut acked)?;
            }
        } else {
            self.peer = Some(theirs.instance);
            self.outbox.reset();
            self.inbox = Inbox::default();
        }
        let fresh = !mutual;
        Ok(Opened { fresh, acked })
    }

    /// Raw bytes of batches that are held here: to be sent or acknowledged, either way.
    pub(crate) fn batch_bytes(&self) -> u64 {
        let of_class = |class| {
            let out = self.outbox.gauge(class);
            out.queued_bytes + out.unacked_bytes + self.inbox.unacked_bytes(class)
        };
        Class::ALL.into_iter().map(of_class).sum()
    }

    /// Forgets the peer, so that the next Hello begins afresh: after it broke the protocol.
    pub(crate) fn forget_peer(&mut self) {
        self.peer = None;
    }

    /// The next batch to send among the classes for which `room` is true: the most urgent,
    /// but none waits for ever.
    pub(crate) fn poll_transmit(&mut self, room: [bool; Class::COUNT]) -> Option<Transmit> {
        let ready = Class::ALL.map(|class| match room[class.index()] {
            true => self.outbox.next_len(class),
            false => None,
        });
        let class = self.schedule.pick(ready)?;
        self.outbox.poll_transmit(class)
    }
}
