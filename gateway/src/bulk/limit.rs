//! How fast the files of a command may go: `--bwlimit`.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use strait_transport::BATCH_BYTES_MAX;
use tokio::time::{Instant, sleep_until};

/// Lower rates, which nobody means, count as this many bits a second.
const BITS_S_MIN: u64 = 1000;
/// Shorter pieces of a file would cost more than their bytes.
const PIECE_BYTES_MIN: usize = 32 << 10;
/// So many pieces a second of a file that nothing makes smaller.
const PIECES_S: f64 = 8.0;

/// What all files of one command may take together of the link, in encoded bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Random: names the command.
    pub command: u64,
    pub bits_s: u64,
}

/// Commands with a limit that are under way.
#[derive(Debug, Default)]
pub(super) struct Limits(Mutex<HashMap<u64, Weak<Limiter>>>);

/// What lets the files of one command go, one piece at a time.
#[derive(Debug)]
pub(super) struct Limiter {
    bytes_s: f64,
    /// When what has gone has had its time.
    free_at: tokio::sync::Mutex<Instant>,
}

/// Nobody else's piece goes meanwhile.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    bytes_s: f64,
    free_at: tokio::sync::MutexGuard<'a, Instant>,
}

impl Limits {
    /// The one that all files of the command share.
    pub(super) fn of(&self, limit: Limit) -> Arc<Limiter> {
        let mut commands = self.0.lock();
        if let Some(limiter) = commands.get(&limit.command).and_then(Weak::upgrade) {
            return limiter;
        }
        commands.retain(|_, limiter| limiter.strong_count() > 0);
        let limiter = Arc::new(Limiter {
            bytes_s: limit.bits_s.max(BITS_S_MIN) as f64 / 8.0,
            free_at: tokio::sync::Mutex::new(Instant::now()),
        });
        commands.insert(limit.command, Arc::downgrade(&limiter));
        limiter
    }
}

impl Limiter {
    /// Longest piece of a file that goes at a time.
    pub(super) fn piece_bytes(&self) -> usize {
        ((self.bytes_s / PIECES_S) as usize).clamp(PIECE_BYTES_MIN, BATCH_BYTES_MAX)
    }

    /// Waits for those before, and until they have had their time.
    pub(super) async fn turn(&self) -> Turn<'_> {
        let free_at = self.free_at.lock().await;
        sleep_until(*free_at).await;
        Turn {
            bytes_s: self.bytes_s,
            free_at,
        }
    }
}

impl Turn<'_> {
    /// The piece took so many bytes of the link.
    pub(super) fn spend(mut self, bytes: u64) {
        let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_s);
        *self.free_at = Instant::now() + takes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_files_of_a_command_together_take_what_they_may() {
        let limits = Limits::default();
        let limit = |command| Limit {
            command,
            bits_s: 8_000_000,
        };
        let limiter = limits.of(limit(1));
        let began = Instant::now();
        let file = async || {
            for _ in 0..5 {
                limits.of(limit(1)).turn().await.spend(20_000);
            }
        };
        tokio::join!(file(), file());
        // 20 ms each; the last has not had its time yet.
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(180), "{took:?}");

        let other = limits.of(limit(2));
        assert!(!Arc::ptr_eq(&other, &limiter));
        drop((other, limiter));
        assert_eq!(limits.of(limit(3)).piece_bytes(), 125_000);
        assert_eq!(
            limits.0.lock().len(),
            1,
            "those that are over are forgotten"
        );
    }
}
