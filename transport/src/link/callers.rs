//! Those who dial us, sorted by what they want.

use std::time::Instant;

use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use super::copies::Run;
use super::establish::{Caller, EstablishError, Introduction, STEP_MAX};
use crate::line::{Goodbye, Line};
use crate::wire::hello::{Hello, PairToken};

/// A control connection that a peer has dialed.
#[derive(Debug)]
pub(super) enum Call {
    /// To begin anew.
    Hello(Greeting),
    /// To take over from the pair with this token.
    Join(Line, PairToken),
}

/// A caller's control connection and its Hello.
#[derive(Debug)]
pub(super) struct Greeting {
    pub(super) line: Line,
    /// When its handshake began.
    pub(super) begun: Instant,
    pub(super) hello: Box<Hello>,
}

impl Greeting {
    /// Who says Hello.
    pub(super) fn run(&self) -> Run {
        Run::of(&self.hello, &self.line)
    }
}

#[derive(Debug)]
pub(super) struct Callers {
    incoming: Receiver<Caller>,
    /// A bulk connection that came before it was asked for.
    early_bulk: Option<(PairToken, Line)>,
}

impl Callers {
    pub(super) fn new(incoming: Receiver<Caller>) -> Self {
        Self {
            incoming,
            early_bulk: None,
        }
    }

    /// The next control connection. Keeps a bulk connection for later. May be cancelled.
    pub(super) async fn next(&mut self) -> Call {
        loop {
            let Some(caller) = self.incoming.recv().await else {
                return std::future::pending().await;
            };
            let Caller {
                line,
                begun,
                introduction,
            } = caller;
            match introduction {
                Introduction::Hello(hello) => {
                    return Call::Hello(Greeting { line, begun, hello });
                }
                Introduction::Join(token) => return Call::Join(line, token),
                Introduction::Attach(token) => self.early_bulk = Some((token, line)),
            }
        }
    }

    /// The next that begins anew; there is nothing to take over from. May be cancelled.
    pub(super) async fn next_hello(&mut self) -> Greeting {
        loop {
            match self.next().await {
                Call::Hello(greeting) => return greeting,
                Call::Join(line, _) => refuse(&line),
            }
        }
    }

    /// The bulk connection of the pair with this token.
    pub(super) async fn bulk(&mut self, token: PairToken) -> Result<Line, EstablishError> {
        let found = timeout(STEP_MAX, async {
            loop {
                if let Some((early, line)) = self.early_bulk.take()
                    && early == token
                {
                    return line;
                }
                let busy = match self.incoming.recv().await {
                    Some(caller) => match caller.introduction {
                        Introduction::Attach(token) => {
                            self.early_bulk = Some((token, caller.line));
                            continue;
                        }
                        Introduction::Hello(_) | Introduction::Join(_) => caller.line,
                    },
                    None => std::future::pending().await,
                };
                busy.connection.close(Goodbye::Replaced, "busy");
            }
        });
        let slow = EstablishError::Slow("open its bulk connection");
        found.await.map_err(|_| slow)
    }

    /// While the link is paused nobody is answered.
    pub(super) async fn turn_away(&mut self) {
        if let Some(caller) = self.incoming.recv().await {
            let connection = caller.line.connection;
            connection.close(Goodbye::Stopping, "paused");
        }
    }
}

/// Tells a caller that there is nothing to take over from.
pub(super) fn refuse(line: &Line) {
    let reason = "there is no such connection to take over from";
    line.connection.close(Goodbye::Replaced, reason);
}
