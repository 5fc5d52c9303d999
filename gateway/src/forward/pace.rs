//! What a flow does, and what follows from it: how long its bytes wait for company, and
//! in which class they travel. Pure: the shell says what it read and how long it waited.

use std::time::Duration;

use strait_transport::Class;

use super::settings::FlowClass;

/// A flow that sent this much without a pause streams.
const STREAK_BYTES: u64 = 512 << 10;
/// Silence that ends a streak: the client was waiting for something.
const PAUSE: Duration = Duration::from_millis(50);
/// While streaming, a batch that is not full waits this long for the next bytes…
pub(super) const LINGER: Duration = Duration::from_millis(2);
/// …and this long in all.
pub(super) const LINGER_MAX: Duration = Duration::from_millis(20);

/// One direction of a flow.
#[derive(Debug)]
pub(super) struct Pace {
    class: FlowClass,
    streak_bytes: u64,
}

impl Pace {
    pub(super) fn new(class: FlowClass) -> Self {
        Self {
            class,
            streak_bytes: 0,
        }
    }

    /// The client was silent for so long while it could have sent.
    pub(super) fn handle_silence(&mut self, silence: Duration) {
        if silence >= PAUSE {
            self.streak_bytes = 0;
        }
    }

    /// So much came.
    pub(super) fn handle_bytes(&mut self, bytes: usize) {
        self.streak_bytes = self.streak_bytes.saturating_add(bytes as u64);
    }

    /// Whether full batches are worth a few milliseconds.
    pub(super) fn is_streaming(&self) -> bool {
        self.streak_bytes >= STREAK_BYTES
    }

    /// The class for what came last.
    pub(super) fn class(&self) -> Class {
        match self.class {
            FlowClass::Auto if self.is_streaming() => Class::Bulk,
            FlowClass::Auto | FlowClass::Interactive => Class::Interactive,
            FlowClass::Bulk => Class::Bulk,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn questions_go_at_once_and_a_dump_fills_batches() {
        let mut pace = Pace::new(FlowClass::Auto);
        for _ in 0..10_000 {
            pace.handle_silence(100 * MS);
            pace.handle_bytes(400);
            assert!(!pace.is_streaming());
            assert_eq!(pace.class(), Class::Interactive);
        }
        for _ in 0..64 {
            pace.handle_silence(MS);
            pace.handle_bytes(8192);
        }
        assert!(pace.is_streaming());
        assert_eq!(pace.class(), Class::Bulk);
        pace.handle_silence(100 * MS);
        pace.handle_bytes(400);
        assert!(!pace.is_streaming());
        assert_eq!(pace.class(), Class::Interactive);
    }

    #[test]
    fn a_configured_class_stays() {
        let (mut urgent, mut bulk) = (
            Pace::new(FlowClass::Interactive),
            Pace::new(FlowClass::Bulk),
        );
        urgent.handle_bytes(10 << 20);
        bulk.handle_bytes(1);
        assert_eq!(urgent.class(), Class::Interactive);
        assert!(urgent.is_streaming() && !bulk.is_streaming());
        assert_eq!(bulk.class(), Class::Bulk);
    }
}
