//! Asks the gateway that is linked whether it still lives, while another one waits to take its place.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::callers::Greeting;
use super::shared::Shared;
use crate::line::Connection;
use crate::status::Transport;

/// Between two looks at what came in.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Before the first sample.
const RTT_GUESS: Duration = Duration::from_millis(100);
/// A gateway that was killed costs the one after it so much time where nothing says that it is gone.
const PATIENCE_MIN: Duration = Duration::from_millis(300);
const PATIENCE_MAX: Duration = Duration::from_secs(2);
/// Over TCP a question goes out that often.
const TCP_EVERY: Duration = Duration::from_millis(600);

/// A question that is under way.
#[derive(Debug)]
pub(super) struct Probe {
    /// Whoever waits.
    pub(super) greeting: Greeting,
    link: Arc<Shared>,
    connection: Connection,
    /// Answers that had come when the greeting was here: older words of the linked one prove nothing.
    answers: u64,
    every: Duration,
    asked: Option<Instant>,
    over: Instant,
}

impl Probe {
    /// Begins to ask the other end of `connection`.
    pub(super) fn new(greeting: Greeting, link: &Arc<Shared>, connection: &Connection) -> Self {
        let figures = connection.sample();
        let every = figures.rtt.unwrap_or(RTT_GUESS).max(RTT_GUESS);
        let extra = match connection.transport() {
            Transport::Quic => Duration::ZERO,
            Transport::Tcp => TCP_EVERY,
        };
        let patience = (4 * every).clamp(PATIENCE_MIN, PATIENCE_MAX) + extra;
        Self {
            greeting,
            link: Arc::clone(link),
            connection: connection.clone(),
            answers: figures.answers,
            every,
            asked: None,
            over: Instant::now() + patience,
        }
    }

    /// Whether it answered. May be cancelled.
    pub(super) async fn is_answered(&mut self) -> bool {
        loop {
            if self.connection.sample().answers > self.answers {
                return true;
            }
            let now = Instant::now();
            if now >= self.over {
                return false;
            }
            if self.asked.is_none_or(|asked| asked + self.every < now) {
                self.asked = Some(now);
                self.link.lock().ask_answer();
                self.link.tell.notify_one();
            }
            sleep(LOOK_EVERY).await;
        }
    }
}
