//! Strangers at the clients' port: they speak no Redis, or do not know the password.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use strait_transport::LogPace;

use super::address::ClientAddress;
use super::attempts::Attempts;

/// A client that needs a password has so long to send it.
pub(super) const AUTH_WITHIN: Duration = Duration::from_secs(10);

/// Counts strangers, bounds their tries, and names some of them in the log.
#[derive(Debug, Default)]
pub(super) struct Door {
    attempts: Mutex<Attempts>,
    wrong_passwords: AtomicU64,
    unauthenticated: AtomicU64,
    http: AtomicU64,
    denied: AtomicU64,
    handshakes: AtomicU64,
    failed_handshakes: AtomicU64,
    password_lines: Mutex<LogPace>,
    http_lines: Mutex<LogPace>,
    denied_lines: Mutex<LogPace>,
    handshake_lines: Mutex<LogPace>,
}

impl Door {
    pub(super) fn wrong_passwords(&self) -> u64 {
        self.wrong_passwords.load(Ordering::Relaxed)
    }

    pub(super) fn unauthenticated(&self) -> u64 {
        self.unauthenticated.load(Ordering::Relaxed)
    }

    pub(super) fn http(&self) -> u64 {
        self.http.load(Ordering::Relaxed)
    }

    pub(super) fn denied_commands(&self) -> u64 {
        self.denied.load(Ordering::Relaxed)
    }

    /// A user has no right to a command, or to one of its keys.
    pub(super) fn denied(&self, address: &ClientAddress, user: &str, command: &str) {
        self.denied.fetch_add(1, Ordering::Relaxed);
        if let Some(more) = self.denied_lines.lock().is_due(Instant::now()) {
            tracing::warn!(%address, user, command, more, "a Redis client's user has no right to a command");
        }
    }

    pub(super) fn handshakes(&self) -> u64 {
        self.handshakes.load(Ordering::Relaxed)
    }

    pub(super) fn failed_handshakes(&self) -> u64 {
        self.failed_handshakes.load(Ordering::Relaxed)
    }

    /// A TLS handshake was completed.
    pub(super) fn shook_hands(&self) {
        self.handshakes.fetch_add(1, Ordering::Relaxed);
    }

    /// A TLS handshake was not. A client that just hangs up, as a probe of the port does, is no line.
    pub(super) fn failed_handshake(&self, address: &ClientAddress, error: &io::Error) {
        self.failed_handshakes.fetch_add(1, Ordering::Relaxed);
        let hung_up = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
        if hung_up.contains(&error.kind()) {
            tracing::debug!(%address, %error, "a Redis client hung up during the TLS handshake");
        } else if let Some(more) = self.handshake_lines.lock().is_due(Instant::now()) {
            tracing::warn!(%address, %error, more, "the TLS handshake of a Redis client failed");
        }
    }

    /// Whether a password from this address is looked at now; if not, how long until one is.
    pub(super) fn check_attempts(&self, address: &ClientAddress) -> Result<(), Duration> {
        self.attempts.lock().check(address.origin(), Instant::now())
    }

    /// A password was wrong.
    pub(super) fn wrong_password(&self, address: &ClientAddress) {
        self.wrong_passwords.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        self.attempts.lock().failed(address.origin(), now);
        if let Some(more) = self.password_lines.lock().is_due(now) {
            tracing::warn!(%address, more, "a Redis client sent a wrong password");
        }
    }

    /// A connection was closed before its client gave the password.
    pub(super) fn closed_unauthenticated(&self) {
        self.unauthenticated.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection is closed because it speaks HTTP.
    pub(super) fn spoke_http(&self, address: &ClientAddress) {
        self.http.fetch_add(1, Ordering::Relaxed);
        if let Some(more) = self.http_lines.lock().is_due(Instant::now()) {
            tracing::warn!(
                %address,
                more,
                "closed a connection that speaks HTTP to the port of Redis clients: a web page may be \
                 attacking this gateway through a browser"
            );
        }
    }
}
