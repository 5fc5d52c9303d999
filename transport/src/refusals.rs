use std::net::SocketAddr;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(10);

/// One log line for those whom we refuse, however often they knock.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    last: Option<Instant>,
    unlogged: u64,
}

impl Refusals {
    pub(crate) fn log(&mut self, now: Instant, address: SocketAddr, reason: &str) {
        match self.is_due(now) {
            Some(more) => {
                tracing::warn!(%address, reason, more, "refused a connection");
            }
            None => tracing::trace!(%address, reason, "refused a connection"),
        }
    }

    /// How many went unlogged since, if a line may be written now.
    fn is_due(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now < last + EVERY) {
            self.unlogged += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_ten_seconds() {
        let mut refusals = Refusals::default();
        let start = Instant::now();
        assert_eq!(refusals.is_due(start), Some(0));
        for ms in 1..100 {
            assert_eq!(refusals.is_due(start + Duration::from_millis(ms)), None);
        }
        assert_eq!(refusals.is_due(start + EVERY), Some(99));
    }
}
