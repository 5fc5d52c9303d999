use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::log_pace::LogPace;

/// Why somebody who dialed us was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It dialed from where no peer is let in from.
    NotAllowed,
    /// Too many handshakes were in progress, in all or from its address.
    TooMany,
    /// Its key is not pinned.
    UnknownKey,
    /// It speaks another version of the protocol.
    Version,
    /// Its handshake or its first words made no sense, or took too long.
    Handshake,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::NotAllowed,
        Self::TooMany,
        Self::UnknownKey,
        Self::Version,
        Self::Handshake,
    ];

    /// Lower-case name, as metrics show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::TooMany => "too_many",
            Self::UnknownKey => "unknown_key",
            Self::Version => "version",
            Self::Handshake => "handshake",
        }
    }

    pub(crate) fn because(self, reason: impl ToString) -> Refused {
        Refused {
            refusal: self,
            reason: reason.to_string(),
        }
    }
}

/// Somebody is turned away, and what an operator needs to know of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    pub(crate) reason: String,
}

/// Those whom a node has turned away: all are counted, and of each kind one in ten seconds is
/// logged, however often they knock.
#[derive(Debug, Default)]
pub struct Refusals([Kind; Refusal::ALL.len()]);

#[derive(Debug, Default)]
struct Kind {
    connections: AtomicU64,
    lines: Mutex<LogPace>,
}

impl Refusals {
    /// Connections turned away since the node was bound.
    pub fn connections(&self, refusal: Refusal) -> u64 {
        self.0[refusal as usize].connections.load(Ordering::Relaxed)
    }

    pub(crate) fn record(&self, now: Instant, address: SocketAddr, refused: &Refused) {
        let Refused { refusal, reason } = refused;
        let kind = &self.0[*refusal as usize];
        kind.connections.fetch_add(1, Ordering::Relaxed);
        let due = kind.lines.lock().is_due(now);
        match due {
            Some(more) => {
                tracing::warn!(%address, reason, more, "refused a connection");
            }
            None => tracing::trace!(%address, reason, "refused a connection"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_counted_for_itself() {
        let refusals = Refusals::default();
        let address = ([192, 0, 2, 1], 7440).into();
        for _ in 0..3 {
            let refused = Refusal::Version.because("too old");
            refusals.record(Instant::now(), address, &refused);
        }
        let counts = Refusal::ALL.map(|refusal| refusals.connections(refusal));
        assert_eq!(counts, [0, 0, 0, 3, 0]);
    }
}
